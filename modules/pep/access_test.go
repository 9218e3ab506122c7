package pep

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/xmpp"
)

// deeds are what somebody may do with a node, by the words of accessTable.
var deeds = []struct{ word, kind, payload string }{
	{"retrieve", "get", pubsubXML("<items node='urn:n'/>")},
	{"publish", "set", publishXML("urn:n", "theirs", "x")},
	{"retract", "set", pubsubXML("<retract node='urn:n'><item id='first'/></retract>")},
	{"configuration", "get", ownerXML("<configure node='urn:n'/>")},
	{"configure", "set", ownerXML("<configure node='urn:n'>" + formXML("node_config", "title", "x") + "</configure>")},
	{"purge", "set", ownerXML("<purge node='urn:n'/>")},
	{"subscribers", "get", ownerXML("<subscriptions node='urn:n'/>")},
	{"affiliate", "set", ownerXML("<affiliations node='urn:n'><affiliation jid='nurse@example.org' affiliation='member'/></affiliations>")},
	{"delete", "set", ownerXML("<delete node='urn:n'/>")},
	{"create", "set", pubsubXML("<create node='urn:other'/>")},
	{"publish elsewhere", "set", publishXML("urn:other", "theirs", "x")},
	{"subscribe", "set", ""}, // last, since it changes what may be retrieved
	{"retrieve as subscriber", "get", pubsubXML("<items node='urn:n'/>")},
}

const (
	stranger  = "auth not-authorized presence-subscription-required"
	noGroup   = "auth not-authorized not-in-roster-group"
	closed    = "cancel not-allowed closed-node"
	waits     = "auth not-authorized not-subscribed"
	forbids   = "auth forbidden"
	noSuch    = "cancel item-not-found"
	theNode   = "result"
	subscribe = "subscribed"
)

// accessTable says for each access model who may retrieve, subscribe, and retrieve then. What only publishers and
// owners may do nobody else may under any model.
var accessTable = []struct {
	model, who                     string
	retrieve, subscribe, afterward string
}{
	{"open", juliet, theNode, subscribe, theNode},
	{"open", romeo, theNode, subscribe, theNode},
	{"open", nurse, theNode, subscribe, theNode},
	{"open", benvolio, theNode, subscribe, theNode},
	{"open", mercutio, theNode, subscribe, theNode},

	{"presence", juliet, theNode, subscribe, theNode},
	{"presence", romeo, theNode, subscribe, theNode},
	{"presence", nurse, stranger, stranger, stranger},
	{"presence", benvolio, theNode, subscribe, theNode},
	{"presence", mercutio, stranger, stranger, stranger},

	{"roster", juliet, theNode, subscribe, theNode},
	{"roster", romeo, theNode, subscribe, theNode}, // in the group
	{"roster", nurse, stranger, stranger, stranger},
	{"roster", benvolio, noGroup, noGroup, noGroup}, // not in the group
	{"roster", mercutio, stranger, stranger, stranger},

	{"authorize", juliet, theNode, subscribe, theNode},
	{"authorize", romeo, waits, "pending", waits},
	{"authorize", nurse, waits, "pending", waits},
	{"authorize", benvolio, waits, "pending", waits},
	{"authorize", mercutio, waits, "pending", waits},

	{"whitelist", juliet, theNode, subscribe, theNode},
	{"whitelist", romeo, closed, closed, closed},
	{"whitelist", nurse, closed, closed, closed},
	{"whitelist", benvolio, closed, closed, closed},
	{"whitelist", mercutio, closed, closed, closed},
}

func TestAccessModelsAdmitWhomTheyShould(t *testing.T) {
	for _, row := range accessTable {
		t.Run(row.model+" "+row.who, func(t *testing.T) {
			w := newWorld(t)
			w.make("urn:n", "access_model", row.model, "roster_groups_allowed", "Friends", "max_items", "5")
			for _, deed := range deeds {
				want := forbids
				switch {
				case deed.word == "retrieve":
					want = row.retrieve
				case deed.word == "subscribe":
					want = row.subscribe
					deed.payload = pubsubXML("<subscribe node='urn:n' jid='" + row.who + "'/>")
				case deed.word == "retrieve as subscriber":
					want = row.afterward
				case row.who == juliet:
					want = theNode
				case deed.word == "publish elsewhere":
					want = noSuch
				}
				if deed.word == "subscribe" && row.who == juliet { // has deleted it meanwhile
					w.make("urn:n", "access_model", row.model)
				}
				if got := w.deed(row.who, deed.kind, deed.payload); got != want {
					t.Errorf("%s: got %s, want %s", deed.word, got, want)
				}
			}
		})
	}
}

// affiliationTable is table 1 of XEP-0060 §4.1: may subscribe, retrieve, publish, take back what another has published,
// configure. Nobody shares presence here, so that only the affiliation counts.
var affiliationTable = []struct {
	affiliation                                      string
	subscribe, retrieve, publish, retract, configure string
}{
	{"publisher", subscribe, theNode, theNode, theNode, forbids},
	{"publish-only", forbids, forbids, theNode, forbids, forbids},
	{"member", subscribe, theNode, forbids, forbids, forbids},
	{"none", closed, closed, forbids, forbids, forbids},
	{"outcast", forbids, forbids, forbids, forbids, forbids},
}

func TestAffiliationsAllowWhatTheyShould(t *testing.T) {
	for _, row := range affiliationTable {
		for _, who := range []string{nurse, mercutio} {
			t.Run(row.affiliation+" "+who, func(t *testing.T) {
				w := newWorld(t)
				w.make("urn:n", "access_model", "whitelist", "max_items", "5")
				w.deed(juliet, "set", ownerXML("<affiliations node='urn:n'><affiliation jid='"+who+"' affiliation='"+row.affiliation+"'/></affiliations>"))
				for _, deed := range []struct{ word, kind, payload, want string }{
					{"subscribe", "set", pubsubXML("<subscribe node='urn:n' jid='" + who + "'/>"), row.subscribe},
					{"retrieve", "get", deeds[0].payload, row.retrieve},
					{"publish", "set", deeds[1].payload, row.publish},
					{"retract", "set", deeds[2].payload, row.retract},
					{"configure", "set", deeds[4].payload, row.configure},
				} {
					if got := w.deed(who, deed.kind, deed.payload); got != deed.want {
						t.Errorf("%s: got %s, want %s", deed.word, got, deed.want)
					}
				}
				if row.affiliation == "publish-only" {
					if got := w.deed(who, "set", pubsubXML("<retract node='urn:n'><item id='theirs'/></retract>")); got != theNode {
						t.Errorf("what it has published cannot be taken back: %s", got)
					}
				}
			})
		}
	}
}

func TestPublishModelsAdmitWhomTheyShould(t *testing.T) {
	for _, row := range []struct{ model, subscriber, other string }{
		{"publishers", forbids, forbids}, {"subscribers", theNode, forbids}, {"open", theNode, theNode},
	} {
		w := newWorld(t)
		w.make("urn:n", "access_model", "open", "publish_model", row.model, "max_items", "5")
		w.deed(nurse, "set", pubsubXML("<subscribe node='urn:n' jid='nurse@example.org'/>"))
		for who, want := range map[string]string{nurse: row.subscriber, mercutio: row.other} {
			if got := w.deed(who, "set", publishXML("urn:n", who, "x")); got != want {
				t.Errorf("%s: %s publishes: %s, want %s", row.model, who, got, want)
			}
			if want == theNode {
				if got := w.deed(who, "set", pubsubXML("<retract node='urn:n'><item id='first'/></retract>")); got != forbids {
					t.Errorf("%s: %s takes back what is juliet's: %s", row.model, who, got)
				}
			}
		}
	}
}

// make has juliet make a node with an item called first.
func (w *world) make(node string, options ...string) {
	w.t.Helper()
	w.deed(juliet, "set", pubsubXML("<create node='"+node+"'/>"+optionsXML("configure", "node_config", options...)))
	if got := w.deed(juliet, "set", publishXML(node, "first", "1")); got != theNode {
		w.t.Fatalf("juliet cannot publish: %s", got)
	}
}

// deed sends a request to juliet's service, in the name of whoever that is, and says what became of it: result, the
// state of a subscription, or the error.
func (w *world) deed(who, kind, payload string) string {
	w.t.Helper()
	var answer string
	if strings.HasSuffix(who, "@example.org") {
		c := moduletest.Login(w.t, w.Router, who[:strings.Index(who, "@")]+"/deed")
		answer = w.do(c, kind, juliet, payload)
		c.LogoutTaken()
	} else {
		w.remote.Sent()
		w.peer(fmt.Sprintf("<iq type='%s' id='do' from='%s/x' to='%s'>%s</iq>", kind, who, juliet, payload))
		for _, x := range w.remote.Sent() {
			if s := moduletest.Parse(w.t, x); s.Kind == xmpp.IQ {
				answer = outcome(w.t, s)
			}
		}
	}
	switch {
	case strings.Contains(answer, "subscription='subscribed'") && strings.Contains(payload, "<subscribe "):
		return subscribe
	case strings.Contains(answer, "subscription='pending'") && strings.Contains(payload, "<subscribe "):
		return "pending"
	case answer == "ok", strings.HasPrefix(answer, "<"):
		return theNode
	}
	return answer
}
