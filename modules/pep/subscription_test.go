package pep

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func subscribeXML(who string) string {
	return pubsubXML("<subscribe node='urn:n' jid='" + who + "'/>")
}

func TestOpenNodeHasSubscribersFromAnywhere(t *testing.T) {
	w := newWorld(t)
	w.make("urn:n", "access_model", "open", "max_items", "5")
	nurse := w.login("nurse/home")
	nurse.Available(0)
	nurse.Received()
	nurse.Send("<iq type='set' id='s' to='juliet@example.org'>" + subscribeXML("nurse@example.org") + "</iq>")
	w.got(nurse, "nurse@example.org|items urn:n first:1 delay")
	w.remote.Sent()
	w.peer("<iq type='set' id='s' from='mercutio@montague.example/x' to='juliet@example.org'>" + subscribeXML(mercutio) + "</iq>")
	w.sent("mercutio@montague.example|items urn:n first:1 delay")

	desk := w.login("juliet/desk")
	w.want(desk, "set", "", publishXML("urn:n", "2", "x"), published("urn:n", "2"))
	w.got(nurse, "nurse@example.org|items urn:n 2:x") // without the address of the session: XEP-0163 §4.3.1
	w.sent("mercutio@montague.example|items urn:n 2:x")
	w.start() // subscriptions outlive the server
	w.want(desk, "set", "", publishXML("urn:n", "3", "x"), published("urn:n", "3"))
	w.sent("mercutio@montague.example|items urn:n 3:x")
	nurse.Received()
	w.want(nurse, "get", juliet, pubsubXML("<subscriptions/>"), pubsubXML("<subscriptions><subscription node='urn:n' jid='nurse@example.org' subid='1' subscription='subscribed'/></subscriptions>"))
	w.want(nurse, "set", juliet, pubsubXML("<unsubscribe node='urn:n' jid='nurse@example.org'/>"), pubsubXML("<subscription node='urn:n' jid='nurse@example.org' subid='1' subscription='none'/>"))
	w.want(nurse, "get", juliet, pubsubXML("<subscriptions/>"), pubsubXML("<subscriptions/>"))
	w.want(desk, "set", "", publishXML("urn:n", "4", "x"), published("urn:n", "4"))
	w.got(nurse)
}

func TestSubscriberWhoAlsoSharesPresenceGetsAnEventOnce(t *testing.T) {
	w := newWorld(t)
	w.make("urn:n")
	orchard, street := w.login("romeo/orchard", "urn:n"), w.login("romeo/street")
	orchard.Received()
	for _, who := range []string{romeo, romeo + "/street", romeo + "/orchard"} {
		w.do(orchard, "set", juliet, subscribeXML(who))
	}
	orchard.Received()
	street.Received()
	desk := w.login("juliet/desk")
	w.want(desk, "set", "", publishXML("urn:n", "2", "x"), published("urn:n", "2"))
	w.got(orchard, "romeo@example.org/orchard|items urn:n 2:x addresses")
	w.got(street, "romeo@example.org/street|items urn:n 2:x") // it has subscribed with its resource
}

func TestOwnerApprovesSubscriptions(t *testing.T) {
	w := newWorld(t)
	w.make("urn:n", "access_model", "authorize", "max_items", "5", "notify_sub", "1")
	desk, nurse := w.login("juliet/desk"), w.login("nurse/home")
	desk.Available(0)
	nurse.Available(0)
	w.want(nurse, "set", juliet, subscribeXML("nurse@example.org"), pubsubXML("<subscription node='urn:n' jid='nurse@example.org' subid='1' subscription='pending'/>"))
	w.want(nurse, "set", juliet, subscribeXML("nurse@example.org"), "auth not-authorized pending-subscription")
	got := desk.Deliveries()
	if len(got) != 1 || !strings.Contains(string(got[0].Stanza.Payload), "subscribe_authorization") {
		t.Fatalf("the owner is asked %d times", len(got))
	}
	answer := func(node, who, allow string) *router.Envelope {
		return desk.Send("<message to='juliet@example.org' id='" + got[0].Stanza.ID + "'>" + formXML("subscribe_authorization", "node", node, "subscriber_jid", who, "allow", allow) + "</message>")
	}
	w.want(desk, "set", "", publishXML("urn:n", "2", "x"), published("urn:n", "2"))
	w.got(nurse) // not yet
	if e := answer("urn:n", mercutio, "true"); e.Err == nil || e.Err.Condition != xmpp.CondItemNotFound {
		t.Errorf("who has not asked is approved: %v", e.Outcome)
	}
	answer("urn:n", nurse.Bare().String(), "true")
	w.got(nurse, "nurse@example.org|items urn:n 2:x delay", "nurse@example.org|subscription urn:n nurse@example.org subscribed")
	w.want(desk, "set", "", publishXML("urn:n", "3", "x"), published("urn:n", "3"))
	w.got(nurse, "nurse@example.org|items urn:n 3:x")

	w.remote.Sent()
	w.peer("<iq type='set' id='s' from='mercutio@montague.example/x' to='juliet@example.org'>" + subscribeXML(mercutio) + "</iq>")
	w.sent()
	desk.Received()
	w.want(desk, "get", "", ownerXML("<subscriptions node='urn:n'/>"), ownerXML("<subscriptions node='urn:n'><subscription jid='nurse@example.org' subid='1' subscription='subscribed'/>"+
		"<subscription jid='mercutio@montague.example' subid='1' subscription='pending'/></subscriptions>"))
	answer("urn:n", mercutio, "0")
	w.sent("mercutio@montague.example|subscription urn:n mercutio@montague.example none")
	w.want(desk, "set", "", ownerXML("<subscriptions node='urn:n'><subscription jid='nurse@example.org' subid='1' subscription='none'/></subscriptions>"), "ok")
	w.got(nurse, "nurse@example.org|subscription urn:n nurse@example.org none")
	w.want(nurse, "get", juliet, pubsubXML("<items node='urn:n'/>"), waits)
}

func TestFormInAMessageToSomebodyElseIsNoApproval(t *testing.T) {
	w := newWorld(t)
	desk, orchard := w.login("juliet/desk"), w.login("romeo/orchard")
	orchard.Available(0)
	desk.Send("<message to='romeo@example.org' type='chat'>" + formXML("subscribe_authorization", "node", "urn:n", "subscriber_jid", mercutio, "allow", "1") + "</message>")
	if got := orchard.Deliveries(); len(got) != 1 {
		t.Errorf("%d messages came", len(got))
	}
}

func TestWhoLosesTheRightLosesTheSubscription(t *testing.T) {
	for what, lose := range map[string]func(w *world, desk *moduletest.Client){
		"presence": func(w *world, _ *moduletest.Client) {
			delete(w.contacts, juliet+" "+romeo)
			w.pep.ContactChanged(nil, jid.MustParse(juliet), jid.MustParse(romeo), false)
		},
		"the group": func(w *world, _ *moduletest.Client) {
			w.contacts.befriend(juliet, romeo, "Foes")
			w.pep.ContactChanged(nil, jid.MustParse(juliet), jid.MustParse(romeo), false)
		},
		"the access model": func(w *world, desk *moduletest.Client) {
			w.do(desk, "set", "", ownerXML("<configure node='urn:n'>"+formXML("node_config", "access_model", "whitelist")+"</configure>"))
		},
		"the affiliation": func(w *world, desk *moduletest.Client) {
			w.do(desk, "set", "", ownerXML("<affiliations node='urn:n'><affiliation jid='romeo@example.org' affiliation='outcast'/></affiliations>"))
		},
	} {
		w := newWorld(t)
		w.make("urn:n", "access_model", "roster", "roster_groups_allowed", "Friends", "max_items", "5")
		desk, orchard := w.login("juliet/desk"), w.login("romeo/orchard")
		orchard.Available(0)
		w.do(orchard, "set", juliet, subscribeXML(romeo))
		orchard.Received()
		lose(w, desk)
		w.got(orchard, "romeo@example.org|subscription urn:n romeo@example.org none")
		w.want(orchard, "get", juliet, pubsubXML("<subscriptions/>"), pubsubXML("<subscriptions/>"))
		w.want(desk, "set", "", publishXML("urn:n", "2", "x"), published("urn:n", "2"))
		w.got(orchard)
		t.Log("without", what, "nothing comes")
	}
}

func TestNewContactIsSentTheLastItems(t *testing.T) {
	w := newWorld(t)
	w.make("urn:n")
	home := w.login("nurse/home", "urn:n")
	w.got(home)
	w.contacts.befriend(juliet, nurse)
	w.pep.ContactChanged(nil, jid.MustParse(juliet), jid.MustParse(nurse), true)
	w.got(home, "nurse@example.org/home|items urn:n first:1 delay")
	w.pep.ContactChanged(nil, jid.MustParse(juliet), jid.MustParse(nurse), false)
	w.got(home) // a group has changed, and no node is for that one

	desk := w.login("juliet/desk")
	w.make("urn:servants", "access_model", "roster", "roster_groups_allowed", "Servants")
	phone := w.login("nurse/phone", "urn:servants")
	w.got(phone)
	w.contacts.befriend(juliet, nurse, "Servants")
	w.pep.ContactChanged(nil, jid.MustParse(juliet), jid.MustParse(nurse), false)
	w.got(phone, "nurse@example.org/phone|items urn:servants first:1 delay")
	w.got(home)
	w.contacts[juliet+" "+mercutio] = contact{to: true} // shows its presence, and may not see hers
	w.come(mercutio+"/x", "urn:n")
	w.sent()
	w.contacts[juliet+" "+mercutio] = contact{to: true, from: true}
	w.pep.ContactChanged(nil, jid.MustParse(juliet), jid.MustParse(mercutio), true)
	w.sent("mercutio@montague.example/x|items urn:n first:1 delay")
	delete(w.contacts, juliet+" "+mercutio)
	w.pep.ContactChanged(nil, jid.MustParse(juliet), jid.MustParse(mercutio), false)
	w.want(desk, "set", "", publishXML("urn:n", "2", "x"), published("urn:n", "2"))
	w.sent()
}

func TestSubscriberThatIsGoneIsForgotten(t *testing.T) {
	w := newWorld(t)
	w.make("urn:n", "access_model", "open", "max_items", "5")
	w.peer("<iq type='set' id='s' from='mercutio@montague.example/x' to='juliet@example.org'>" + subscribeXML(mercutio) + "</iq>")
	desk := w.login("juliet/desk")
	bounce := func(condition string) {
		t.Helper()
		w.remote.Sent()
		w.want(desk, "set", "", publishXML("urn:n", "2", "x"), published("urn:n", "2"))
		sent := w.remote.Sent()
		if len(sent) != 1 {
			t.Fatalf("%d events", len(sent))
		}
		id := moduletest.Parse(t, sent[0]).ID
		w.peer("<message type='error' id='" + id + "' from='mercutio@montague.example' to='juliet@example.org'><error type='cancel'><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
	}
	bounce("service-unavailable") // may come back
	bounce("gone")
	w.want(desk, "set", "", publishXML("urn:n", "3", "x"), published("urn:n", "3"))
	w.sent()
	if got := desk.Deliveries(); len(got) != 0 {
		t.Errorf("the owner sees %d errors", len(got))
	}
}

func TestAffiliationsAreListed(t *testing.T) {
	w := newWorld(t)
	w.make("urn:n")
	desk, nurse := w.login("juliet/desk"), w.login("nurse/home")
	w.want(desk, "set", "", ownerXML("<affiliations node='urn:n'><affiliation jid='nurse@example.org/x' affiliation='publisher'/></affiliations>"), "ok")
	w.start()
	w.want(desk, "get", "", ownerXML("<affiliations node='urn:n'/>"), ownerXML("<affiliations node='urn:n'><affiliation jid='juliet@example.org' affiliation='owner'/>"+
		"<affiliation jid='nurse@example.org' affiliation='publisher'/></affiliations>"))
	w.want(nurse, "get", juliet, pubsubXML("<affiliations/>"), pubsubXML("<affiliations><affiliation node='urn:n' affiliation='publisher'/></affiliations>"))
	w.want(desk, "get", "", pubsubXML("<affiliations node='urn:n'/>"), pubsubXML("<affiliations><affiliation node='urn:n' affiliation='owner'/></affiliations>"))
	w.want(desk, "set", "", ownerXML("<affiliations node='urn:n'><affiliation jid='nurse@example.org' affiliation='none'/></affiliations>"), "ok")
	w.want(nurse, "get", juliet, pubsubXML("<affiliations/>"), pubsubXML("<affiliations/>"))
}

func TestOwnerHearsOfSubscribersIfItWants(t *testing.T) {
	w := newWorld(t)
	w.make("urn:n", "access_model", "open", "notify_sub", "1")
	desk, nurse := w.login("juliet/desk"), w.login("nurse/home")
	desk.Available(0)
	w.do(nurse, "set", juliet, subscribeXML("nurse@example.org"))
	w.got(desk, "juliet@example.org|subscription urn:n nurse@example.org subscribed")
	w.do(nurse, "set", juliet, pubsubXML("<unsubscribe node='urn:n' jid='nurse@example.org'/>"))
	w.got(desk, "juliet@example.org|subscription urn:n nurse@example.org none")
}

func TestSubscribersAndAffiliatesOfANodeAreBounded(t *testing.T) {
	w := newWorld(t)
	w.make("urn:n", "access_model", "open")
	const full = "wait policy-violation too-many-subscriptions"
	home, orchard := w.login("nurse/home"), w.login("romeo/orchard")
	subscribe := func(c *moduletest.Client, who string, times int) (n int) {
		for i := range times {
			switch got := w.do(c, "set", juliet, pubsubXML(fmt.Sprintf("<subscribe node='urn:n' jid='%s/%d'/>", who, i))); {
			case strings.Contains(got, "subscribed"):
				n++
			case got != full:
				t.Fatalf("subscription %d: %s", i, got)
			}
		}
		return n
	}
	if n := subscribe(home, nurse, 300); n != 250 { // a stranger leaves room for others
		t.Errorf("%d subscriptions of a stranger", n)
	}
	w.want(home, "set", juliet, pubsubXML("<subscribe node='urn:n' jid='"+nurse+"'/>"), full)
	if n := subscribe(orchard, romeo, 1000); n != 750 { // a contact needs not
		t.Errorf("%d subscriptions of a contact", n)
	}
	w.want(orchard, "set", juliet, pubsubXML("<subscribe node='urn:n' jid='"+romeo+"'/>"), full)
	desk := w.login("juliet/desk")
	var all strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&all, "<affiliation jid='u%d@example.org' affiliation='member'/>", i)
	}
	w.want(desk, "set", "", ownerXML("<affiliations node='urn:n'>"+all.String()+"</affiliations>"), "ok")
	w.want(desk, "set", "", ownerXML("<affiliations node='urn:n'><affiliation jid='"+romeo+"' affiliation='member'/></affiliations>"), "wait resource-constraint")
	w.want(desk, "set", "", ownerXML("<affiliations node='urn:n'><affiliation jid='"+romeo+"' affiliation='king'/></affiliations>"), "modify not-acceptable")
}
