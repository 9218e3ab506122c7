package disco

import (
	"testing"

	"jackdaw/modules/internal/parts"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// shelf has a node urn:open of juliet's and nurse's that all may see, and urn:friends that romeo may see of juliet.
type shelf struct {
	parts.Switch
	broken bool
}

func element(space, local, name, value string) *xmpp.Element {
	return &xmpp.Element{Name: xmpp.Name{Space: space, Local: local}, Attrs: []xmpp.Attr{attr(name, value)}}
}

func (s shelf) sees(user, asker jid.JID, node string) bool {
	return user.Local() != "romeo" && node == "urn:open" || node == "urn:friends" && user.Local() == "juliet" && asker.Local() == "romeo"
}

func (shelf) Identity() *xmpp.Element {
	return &xmpp.Element{Name: xmpp.Name{Space: infoNS, Local: "identity"}, Attrs: []xmpp.Attr{attr("category", "pubsub"), attr("type", "pep")}}
}

func (s shelf) List(user, asker jid.JID) (out []*xmpp.Element, err error) {
	if s.broken {
		return nil, storage.ErrUnavailable
	}
	for _, node := range []string{"urn:friends", "urn:open"} {
		if s.sees(user, asker, node) {
			out = append(out, element(itemsNS, "item", "node", node))
		}
	}
	return out, nil
}

func (s shelf) Items(user, asker jid.JID, node string) ([]*xmpp.Element, bool, error) {
	if !s.sees(user, asker, node) {
		return nil, false, nil
	}
	return []*xmpp.Element{element(itemsNS, "item", "name", "1")}, true, nil
}

func (s shelf) Info(user, asker jid.JID, node string) (*xmpp.Element, error) {
	if s.broken {
		return nil, storage.ErrUnavailable
	}
	if !s.sees(user, asker, node) {
		return nil, nil
	}
	q := &xmpp.Element{Name: infoQuery}
	add(q, "feature", "var", node)
	return q, nil
}

func TestNodesOfAccountsAreTheirsToWhomTheyAreShown(t *testing.T) {
	h := newHouse(t)
	h.disco.o.Nodes = shelf{}
	h.ask(t, itemsNS, "juliet@example.org", "", `<item node='urn:friends'/><item node='urn:open'/>`)
	h.ask(t, itemsNS, "juliet@example.org", "urn:friends", `<item name='1'/>`)
	h.ask(t, itemsNS, "juliet@example.org", "urn:none", "!item-not-found")
	h.ask(t, infoNS, "juliet@example.org", "urn:friends", `<feature var='urn:friends'/>`)
	h.ask(t, infoNS, "juliet@example.org", "urn:none", "!item-not-found")
	h.ask(t, infoNS, "romeo@example.org", "", `<identity category='account' type='registered'/><identity category='pubsub' type='pep'/>`+
		accountInfo[len(`<identity category='account' type='registered'/>`):])
}

func TestStrangersSeeOfNodesOnlyWhatAllMaySee(t *testing.T) {
	h := newHouse(t)
	h.disco.o.Nodes = shelf{}
	h.ask(t, itemsNS, "nurse@example.org", "", `<item node='urn:open'/>`)
	h.ask(t, itemsNS, "nurse@example.org", "urn:open", `<item name='1'/>`)
	h.ask(t, infoNS, "nurse@example.org", "urn:open", `<feature var='urn:open'/>`)
	for _, nobody := range []string{"nurse@example.org", "nobody@example.org"} { // of other nodes no more than of no account
		h.ask(t, itemsNS, nobody, "urn:friends", "")
		h.ask(t, infoNS, nobody, "urn:friends", "!service-unavailable")
		h.ask(t, infoNS, nobody, "", "!service-unavailable")
	}
}

func TestNodesThatCannotBeReadAreAReasonToWait(t *testing.T) {
	h := newHouse(t)
	h.disco.o.Nodes = shelf{broken: true}
	h.ask(t, itemsNS, "juliet@example.org", "", "!resource-constraint")
	h.ask(t, infoNS, "juliet@example.org", "urn:open", "!resource-constraint")
}
