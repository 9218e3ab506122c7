package pubsub

import (
	"context"

	engine "jackdaw/modules/internal/pubsub"
	"jackdaw/xmpp/jid"
)

// Publish publishes an item for a host at its service, in place of all that the node has, and makes the node, which
// everybody may read and is the service's own. What is there already is not published again; where there is no service,
// nothing is. An error says that somebody else has made the node.
func (m *Service) Publish(ctx context.Context, host, node, id string, payload []byte) error {
	of, ok := m.at(host)
	if !ok {
		return nil
	}
	old, _, err := m.engine.Item(of, node, "")
	if err != nil || old != nil && old.ID == id && string(old.Payload) == string(payload) && old.By == of.String() {
		return err
	}
	config := profile{m}.Default(node)
	config.MaxItems = 1
	p, err := m.engine.Publish(nil, of, node, config, engine.Item{ID: id, Payload: payload})
	if err != nil {
		return err
	}
	return p.Wait(ctx)
}

// Withdraw deletes a node that is the service's own, if there is one.
func (m *Service) Withdraw(ctx context.Context, host, node string) error {
	of, ok := m.at(host)
	if !ok {
		return nil
	}
	p, err := m.engine.Delete(of, node)
	if err != nil {
		return err
	}
	return p.Wait(ctx)
}

// at is the service of a host.
func (m *Service) at(host string) (jid.JID, bool) {
	j, err := jid.New("", host, "")
	if err != nil {
		return j, false
	}
	return service(j, m.o.Domains())
}
