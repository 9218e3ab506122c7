package pubsub

import (
	"cmp"
	"context"
	"slices"

	"jackdaw/modules/internal/mam"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// archive shows what a node keeps as a storage.Log, in which the record of an item is the event that told of it
// (XEP-0442). Its ids are the times of publication, which rise within a node. Nothing but what is here works.
type archive struct {
	storage.Log // nil
	g           *Engine
	of          jid.JID
	node        string
}

// Archive is that of a node, for an entity, a bare address: for mam.Archive, which only reads it. The error is for the
// client if it is an *xmpp.Error: it may not read the node (§6.5.9), or nothing is kept.
func (g *Engine) Archive(of, entity jid.JID, node string) (storage.Log, error) {
	s, err := g.lock(of)
	if err != nil {
		return nil, err
	}
	defer g.unlock(s)
	n := s.nodes[node]
	if n == nil {
		return nil, noNode()
	}
	if err := g.mayRead(s, n, entity); err != nil {
		return nil, err
	}
	if !n.config.Persist {
		return nil, unsupported("persistent-items")
	}
	return &archive{g: g, of: of, node: node}, nil
}

// see calls f with the node and its order. A node that is gone meanwhile is empty.
func (a *archive) see(f func(s *service, n *node, index []place) error) error {
	s, err := a.g.lock(a.of)
	if err != nil {
		return err
	}
	defer a.g.unlock(s)
	n := s.nodes[a.node]
	if n == nil {
		return nil
	}
	index, err := a.g.places(s, n)
	if err != nil {
		return err
	}
	return f(s, n, index)
}

func (a *archive) record(s *service, n *node, it *Item) storage.Record {
	t := xmpp.TypeHeadline
	if n.config.Normal {
		t = xmpp.TypeNormal
	}
	event := xmpp.Stanza{Kind: xmpp.Message, Type: t, From: s.jid, Payload: itemsEvent(n, []Item{*it})}
	return storage.Record{ID: uint64(it.At), Peer: it.By, Data: mam.AppendMessage(nil, &event)}
}

// Page is that of storage.Log.
func (a *archive) Page(_ context.Context, _ string, q storage.Query) (records []storage.Record, more bool, err error) {
	limit := cmp.Or(q.Limit, 100)
	err = a.see(func(s *service, n *node, index []place) error {
		var found []place
		for _, p := range index {
			id := uint64(p.at)
			by := cmp.Or(p.by, s.jid.String())
			if id > q.After && (q.Before == 0 || id < q.Before) && (q.Peer == "" || by == q.Peer) {
				found = append(found, p)
			}
		}
		if more = len(found) > limit; more && q.Backward {
			found = found[len(found)-limit:]
		} else if more {
			found = found[:limit]
		}
		for _, p := range found {
			it, err := a.g.item(s, n, p.id)
			if err != nil {
				return err
			}
			if it != nil {
				records = append(records, a.record(s, n, it))
			}
		}
		return nil
	})
	return records, more, err
}

// Get is that of storage.Log.
func (a *archive) Get(_ context.Context, _ string, id uint64) (r storage.Record, err error) {
	found := false
	err = a.see(func(s *service, n *node, index []place) error {
		i := slices.IndexFunc(index, func(p place) bool { return uint64(p.at) == id })
		if i < 0 {
			return nil
		}
		it, err := a.g.item(s, n, index[i].id)
		if it != nil && err == nil {
			found, r = true, a.record(s, n, it)
		}
		return err
	})
	if err == nil && !found {
		err = storage.ErrNotFound
	}
	return r, err
}

// Size is that of storage.Log.
func (a *archive) Size(context.Context, string) (records int, bytes int64, err error) {
	err = a.see(func(_ *service, n *node, index []place) error {
		records, bytes = len(index), n.size
		return nil
	})
	return records, bytes, err
}
