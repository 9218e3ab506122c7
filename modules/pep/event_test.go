package pep

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/modules/internal/pubsub"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func TestEventReachesOwnSessionsAndContactsThatWantIt(t *testing.T) {
	w := newWorld(t)
	desk, phone := w.login("juliet/desk", "urn:tune"), w.login("juliet/phone", "urn:other")
	orchard, street := w.login("romeo/orchard", "urn:tune"), w.login("romeo/street")
	nurse := w.login("nurse/home", "urn:tune")
	w.come(benvolio+"/a", "urn:tune")
	w.come(benvolio+"/b", "urn:other")

	desk.Send("<iq type='set' id='p'>" + publishXML("urn:tune", "1", "lark") + "</iq>")
	w.got(desk, "juliet@example.org/desk|items urn:tune 1:lark addresses")
	w.got(orchard, "romeo@example.org/orchard|items urn:tune 1:lark addresses")
	w.sent("benvolio@montague.example/a|items urn:tune 1:lark addresses")
	for _, c := range []*moduletest.Client{phone, street, nurse} {
		w.got(c)
	}
}

func TestEventComesFromTheAccountAsAHeadline(t *testing.T) {
	w := newWorld(t)
	desk := w.login("juliet/desk")
	orchard := w.login("romeo/orchard", "urn:tune")
	w.want(desk, "set", "", publishXML("urn:tune", "1", "lark"), published("urn:tune", "1"))
	got := orchard.Deliveries()
	if len(got) != 1 {
		t.Fatalf("%d stanzas", len(got))
	}
	s := got[0].Stanza
	moduletest.Same(t, string(s.Append(nil)), `<message type='headline' id='`+s.ID+`' from='juliet@example.org' to='romeo@example.org/orchard'>
		<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:tune'><item id='1'><t xmlns='urn:t'>lark</t></item></items></event>
		<addresses xmlns='http://jabber.org/protocol/address'><address type='replyto' jid='juliet@example.org/desk'/></addresses></message>`)
}

func TestNewSessionIsSentTheLastItemsThatItWants(t *testing.T) {
	w := newWorld(t)
	desk := w.login("juliet/desk")
	w.want(desk, "set", "", publishXML("urn:tune", "1", "lark"), published("urn:tune", "1"))
	w.want(desk, "set", "", publishXML("urn:mood", "2", "sad"), published("urn:mood", "2"))
	w.want(desk, "set", "", publishXML("urn:quiet", "3", "x", "send_last_published_item", "never"), published("urn:quiet", "3"))

	orchard := w.login("romeo/orchard", "urn:tune", "urn:quiet")
	w.got(orchard, "romeo@example.org/orchard|items urn:tune 1:lark delay")
	orchard.Send("<presence><show>away</show>" + capsOf("urn:tune", "urn:quiet") + "</presence>")
	w.got(orchard) // XEP-0163 §4.3.3: no more after the first presence

	w.appear(orchard, "urn:tune", "urn:mood")
	w.got(orchard, "romeo@example.org/orchard|items urn:mood 2:sad delay") // what it wants beyond that

	orchard.Send("<presence type='unavailable'/>")
	w.want(desk, "set", "", publishXML("urn:tune", "4", "owl"), published("urn:tune", "4"))
	w.got(orchard)
	w.appear(orchard, "urn:tune")
	w.got(orchard, "romeo@example.org/orchard|items urn:tune 4:owl delay")

	phone := w.login("juliet/phone", "urn:mood")
	w.got(phone, "juliet@example.org/phone|items urn:mood 2:sad delay")
	nurse := w.login("nurse/home", "urn:tune", "urn:mood")
	w.got(nurse)
}

func TestContactElsewhereIsSentTheLastItemsOnce(t *testing.T) {
	w := newWorld(t)
	desk := w.login("juliet/desk")
	w.want(desk, "set", "", publishXML("urn:tune", "1", "lark"), published("urn:tune", "1"))
	w.come(benvolio+"/a", "urn:tune")
	w.sent("benvolio@montague.example/a|items urn:tune 1:lark delay")
	w.come(benvolio+"/a", "urn:tune")
	w.sent()

	desk.Logout() // away, nothing is sent twice either
	w.come(benvolio+"/a", "urn:tune")
	w.sent()
	w.peer("<presence type='unavailable' from='benvolio@montague.example/a' to='juliet@example.org'/>")
	w.come(benvolio+"/a", "urn:tune")
	w.sent("benvolio@montague.example/a|items urn:tune 1:lark delay")

	desk = w.login("juliet/desk")
	w.come(benvolio+"/a", "urn:tune") // the answer to the probe
	w.sent()
	w.want(desk, "set", "", publishXML("urn:tune", "2", "owl"), published("urn:tune", "2"))
	w.sent("benvolio@montague.example/a|items urn:tune 2:owl addresses")

	w.come(mercutio+"/x", "urn:tune")
	w.want(desk, "set", "", publishXML("urn:tune", "3", "dove"), published("urn:tune", "3"))
	w.sent("benvolio@montague.example/a|items urn:tune 3:dove addresses")
}

func TestNothingIsKeptInMemoryOfWhoIsAway(t *testing.T) {
	w := newWorld(t)
	desk := w.login("juliet/desk", "urn:tune")
	w.come(benvolio+"/a", "urn:tune")
	if len(w.pep.remote.users) != 1 {
		t.Fatalf("watchers of %d users", len(w.pep.remote.users))
	}
	desk.Logout()
	count := w.pep.here.sessions.size()
	if len(w.pep.remote.users) != 0 || count != 0 {
		t.Errorf("there is something left of %d users, %d sessions", len(w.pep.remote.users), count)
	}
}

func TestClientsAreAskedOnceForOneVerificationString(t *testing.T) {
	w := newWorld(t)
	asked := func(c *moduletest.Client) int {
		n := 0
		for _, x := range c.Received() {
			if strings.Contains(x, "disco#info") {
				n++
			}
		}
		return n
	}
	a, b := moduletest.Login(t, w.Router, "juliet/a"), moduletest.Login(t, w.Router, "juliet/b")
	a.Send("<presence>" + capsOf("urn:tune") + "</presence>")
	b.Send("<presence>" + capsOf("urn:tune") + "</presence>")
	got := a.Deliveries()
	if len(got) != 1 || asked(b) != 0 {
		t.Fatalf("%d questions for the first", len(got))
	}
	q := got[0].Stanza
	_, ver := disco("urn:tune")
	moduletest.Same(t, string(q.Append(nil)), `<iq type='get' id='`+q.ID+`' from='juliet@example.org' to='juliet@example.org/a'>
		<query xmlns='http://jabber.org/protocol/disco#info' node='urn:client#`+ver+`'/></iq>`)
	info, _ := disco("urn:tune")
	a.Send("<iq type='result' id='" + q.ID + "' to='juliet@example.org'>" + info + "</iq>")
	a.Send("<iq type='set' id='p'>" + publishXML("urn:tune", "1", "lark") + "</iq>")
	w.got(b, "juliet@example.org/b|items urn:tune 1:lark addresses") // the one that waited knows too

	w.start() // after a restart nobody is asked again
	c := moduletest.Login(t, w.Router, "juliet/c")
	c.Send("<presence>" + capsOf("urn:tune") + "</presence>")
	w.got(c, "juliet@example.org/c|items urn:tune 1:lark delay")
	if asked(c) != 0 {
		t.Error("asked again after a restart")
	}
}

func TestAnswerThatDoesNotFitIsBelievedOfItsSenderOnly(t *testing.T) {
	w := newWorld(t)
	a, b := moduletest.Login(t, w.Router, "juliet/a"), moduletest.Login(t, w.Router, "juliet/b")
	a.Send("<presence>" + capsOf("urn:tune") + "</presence>")
	b.Send("<presence>" + capsOf("urn:tune") + "</presence>")
	lie, _ := disco("urn:mood")
	q := a.Deliveries()[0].Stanza
	b.Send("<iq type='result' id='" + q.ID + "' to='juliet@example.org'>" + lie + "</iq>") // was not asked
	a.Send("<iq type='result' id='" + q.ID + "' to='juliet@example.org'>" + lie + "</iq>")
	q = b.Deliveries()[0].Stanza // so that the other is asked
	info, _ := disco("urn:tune")
	b.Send("<iq type='result' id='" + q.ID + "' to='juliet@example.org'>" + info + "</iq>")
	a.Send("<iq type='set' id='p'>" + publishXML("urn:tune", "1", "lark") + "</iq>")
	a.Send("<iq type='set' id='p'>" + publishXML("urn:mood", "2", "sad") + "</iq>")
	w.got(a, "juliet@example.org/a|items urn:mood 2:sad addresses")
	w.got(b, "juliet@example.org/b|items urn:tune 1:lark addresses")
}

func TestWhoDoesNotAnswerHoldsNobodyUp(t *testing.T) {
	w := newWorld(t)
	a, b := moduletest.Login(t, w.Router, "juliet/a"), moduletest.Login(t, w.Router, "juliet/b")
	a.Send("<presence>" + capsOf("urn:tune") + "</presence>")
	b.Send("<presence>" + capsOf("urn:tune") + "</presence>")
	q := a.Deliveries()[0].Stanza
	a.Send("<iq type='error' id='" + q.ID + "' to='juliet@example.org'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
	if got := b.Deliveries(); len(got) != 1 {
		t.Errorf("%d questions for the next one", len(got))
	}
}

func TestBlockedContactGetsNothing(t *testing.T) {
	w := newWorld(t)
	desk, orchard := w.login("juliet/desk"), w.login("romeo/orchard", "urn:tune")
	w.blocked[juliet+" "+romeo] = true
	w.want(desk, "set", "", publishXML("urn:tune", "1", "lark"), published("urn:tune", "1"))
	w.got(orchard)
	orchard.Send("<presence type='unavailable'/>")
	w.appear(orchard, "urn:tune")
	w.got(orchard)
}

func TestRetractionPurgeAndDeletionAreTold(t *testing.T) {
	w := newWorld(t)
	desk, orchard := w.login("juliet/desk"), w.login("romeo/orchard", "urn:n")
	for _, id := range []string{"a", "b", "c"} {
		w.want(desk, "set", "", publishXML("urn:n", id, id, "max_items", "5"), published("urn:n", id))
	}
	orchard.Received()
	w.want(desk, "set", "", pubsubXML("<retract node='urn:n' notify='true'><item id='b'/></retract>"), "ok")
	w.got(orchard, "romeo@example.org/orchard|items urn:n -b addresses")
	w.want(desk, "get", "", pubsubXML("<items node='urn:n'/>"), pubsubXML("<items node='urn:n'>"+itemXML("a", "a")+itemXML("c", "c")+"</items>"))
	w.want(desk, "set", "", ownerXML("<purge node='urn:n'/>"), "ok")
	w.got(orchard, "romeo@example.org/orchard|purge urn:n addresses")
	w.want(desk, "get", "", pubsubXML("<items node='urn:n'/>"), pubsubXML("<items node='urn:n'/>"))
	w.want(desk, "set", "", ownerXML("<delete node='urn:n'/>"), "ok")
	w.got(orchard, "romeo@example.org/orchard|delete urn:n addresses")
	w.want(desk, "get", "", pubsubXML("<items node='urn:n'/>"), "cancel item-not-found")
}

func TestEventsAreWhatTheNodeIsConfiguredFor(t *testing.T) {
	w := newWorld(t)
	desk, orchard := w.login("juliet/desk"), w.login("romeo/orchard", "urn:n")
	configure := func(options ...string) {
		t.Helper()
		w.want(desk, "set", "", ownerXML("<configure node='urn:n'>"+formXML("node_config", options...)+"</configure>"), "ok")
	}
	w.want(desk, "set", "", pubsubXML("<create node='urn:n'/>"), "ok")
	configure("deliver_payloads", "0")
	w.want(desk, "set", "", publishXML("urn:n", "1", "x"), published("urn:n", "1"))
	w.got(orchard, "romeo@example.org/orchard|items urn:n 1: addresses")
	configure("deliver_payloads", "1", "itemreply", "publisher")
	w.want(desk, "set", "", publishXML("urn:n", "1", "x"), published("urn:n", "1"))
	w.got(orchard, "romeo@example.org/orchard|items urn:n 1:x by juliet@example.org addresses")
	configure("deliver_notifications", "0")
	w.want(desk, "set", "", publishXML("urn:n", "1", "y"), published("urn:n", "1"))
	w.got(orchard)
	configure("deliver_notifications", "1", "notify_config", "1")
	w.got(orchard, "romeo@example.org/orchard|configuration urn:n addresses")
	configure("notify_retract", "0", "notify_config", "0")
	w.want(desk, "set", "", pubsubXML("<retract node='urn:n'><item id='1'/></retract>"), "ok")
	w.got(orchard)
	configure("persist_items", "0")
	w.want(desk, "set", "", publishXML("urn:n", "2", "z"), published("urn:n", "2"))
	w.got(orchard, "romeo@example.org/orchard|items urn:n 2:z by juliet@example.org addresses")
	w.want(desk, "get", "", pubsubXML("<items node='urn:n'/>"), "cancel feature-not-implemented unsupported persistent-items")
}

// A contact with much to say does not fill the queue of a session that takes what it gets more slowly.
func TestLastItemsOfOneContactComeAsTheyAreTaken(t *testing.T) {
	const many, size = 40, 50 << 10
	for about, come := range map[string]func(w *world) *moduletest.Client{
		"at login": func(w *world) *moduletest.Client { return w.login("romeo/phone", nodeNames(many)...) },
		"as a new contact": func(w *world) *moduletest.Client {
			delete(w.contacts, romeo+" "+juliet)
			delete(w.contacts, juliet+" "+romeo)
			c := w.login("romeo/phone", nodeNames(many)...)
			w.contacts.befriend(juliet, romeo)
			w.pep.ContactChanged(nil, jid.MustParse(juliet), jid.MustParse(romeo), true)
			return c
		},
	} {
		w := newWorld(t)
		w.limits = Limits{Nodes: many, Items: 1, ItemBytes: 2 * size}
		item := pubsub.Item{ID: "1", Payload: []byte("<t xmlns='urn:t'>" + strings.Repeat("x", size) + "</t>")}
		for _, node := range nodeNames(many) {
			if _, err := w.pep.engine.Publish(nil, jid.MustParse(juliet), node, profile{w.pep}.Default(node), item); err != nil {
				t.Fatal(err)
			}
		}
		c := come(w)
		count := func() (n int) {
			for _, d := range c.Deliveries() {
				if d.Stanza.Kind == xmpp.Message {
					n++
				}
			}
			return n
		}
		got := count()
		if got == 0 || got > 10 {
			t.Errorf("%s: %d items of 50 KiB are given before one is taken", about, got)
		}
		for got < many {
			c.Take()
			c.Wait(1)
			got += count()
		}
		c.Take()
	}
}

func nodeNames(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("urn:n%d", i))
	}
	return all
}
