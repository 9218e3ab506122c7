package scenes

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"jackdaw/testsuite/fakepeer"
	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

func TestSpamIsReportedHeldAndBounded(t *testing.T) {
	onEach(t, "spam", harness.Options{Config: "modules: {strangers: {hosts: {localhost: hold}, recipients: 5}}"})
}

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{Place: place, Env: quick, Users: []string{"romeo", "juliet", "admin"},
				Config: "modules: {strangers: {policy: refuse, recipients: 4}}"})
			romeo, juliet := enter(t, s, "romeo", "desk"), enter(t, s, "juliet", "desk")
			for _, to := range []string{"juliet@localhost", juliet.JID, "nobody@localhost"} {
				romeo.say("<message to='" + to + "' type='chat' id='m'><body>hello</body></message>")
				got := romeo.only("a stranger's message to "+to, romeo.settled())
				if harness.Attr(got, "type") != "error" || !strings.Contains(got, "<policy-violation ") {
					t.Errorf("to %s: %s", to, got)
				}
			}
			juliet.nothing("of strangers", juliet.settled())
			romeo.say("<message to='juliet@localhost' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>")
			romeo.nothing("who says nothing is told nothing", romeo.settled())
			juliet.say("<message to='romeo@localhost' type='chat' id='a'><body>come</body></message>")
			juliet.nothing("romeo has written to her", juliet.settled())
			if got := romeo.only("her message", romeo.settled()); !strings.Contains(got, "<body>come</body>") {
				t.Error(got)
			}
			romeo.say("<message to='juliet@localhost' type='chat' id='b'><body>I come</body></message>")
			romeo.nothing("who was written to may answer", romeo.settled())
			if got := juliet.only("his answer", juliet.settled()); !strings.Contains(got, "<body>I come</body>") {
				t.Error(got)
			}

			// Juliet, as she was told, and nobody; these are two more.
			admin := enter(t, s, "admin", "desk")
			for i := range 3 {
				romeo.say(fmt.Sprintf("<message to='friar%d@localhost' type='chat' id='f%d'><body>help</body></message>", i, i))
			}
			// What each is answered comes from his home, so that the last may come first.
			last := slices.DeleteFunc(romeo.settled(), func(el string) bool { return harness.Attr(el, "id") != "f2" })
			romeo.refusal("a fifth recipient", last, "friar2@localhost", "resource-constraint", "too many different addresses")
			el, err := admin.Until(func(el string) bool { return strings.HasPrefix(el, "<message") })
			if want := "romeo@localhost writes to more than 4 different addresses a minute."; err != nil || !strings.Contains(el, want) {
				t.Errorf("%v; the administrator gets %s, want %q", err, el, want)
			}
		})
	}
}

// A service elsewhere tells who sends spam, and users and rooms here are spared from then on, also after a restart in
// which the service is silent.
func TestBlockListsAreFollowed(t *testing.T) {
	t.Parallel()
	const lists, spam = "rtbl.example", "spam.example"
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			authority := peers.NewAuthority(t)
			peer := fakepeer.Start(t, fakepeer.Options{Domains: []string{lists, spam}}.Certified(t, authority, peers.None))
			own := authority.Issue(harness.Domain, peers.None)
			s := harness.Start(t, harness.Options{Place: place, Env: append(authority.Env(), quick...), Users: []string{"juliet"},
				Federate: true, Cert: own.Cert, Key: own.Key,
				S2S:    fmt.Sprintf("resolve: {%q: %q, %q: %q}", lists, peer.Addr, spam, peer.Addr),
				Config: "modules: {blocklists: {enabled: true, lists: [{service: " + lists + ", node: bans}]}}"})
			peer.Locate(harness.Domain, s.S2S)
			peer.Locate("rooms."+harness.Domain, s.S2S)
			far := &foreigner{t: t, peer: peer}
			connect := func() {
				t.Helper()
				var err error
				if far.link, err = peer.Connect(lists, harness.Domain, fakepeer.Way{}); err != nil {
					t.Fatal(err)
				}
				for _, to := range []string{harness.Domain, "rooms." + harness.Domain} {
					if err := far.link.Prove(fakepeer.Pair{From: spam, To: to}); err != nil {
						t.Fatal(err)
					}
				}
			}
			connect()
			question := func(verb string) fakepeer.Stanza {
				return far.until("the request to "+verb, func(s fakepeer.Stanza) bool { return s.To == lists && strings.Contains(s.Raw, "<"+verb+" ") })
			}
			answer := func(to fakepeer.Stanza, payload string) {
				far.say("<iq type='result' id='" + to.Attr("id") + "' from='" + lists + "' to='" + to.From + "'>" +
					"<pubsub xmlns='http://jabber.org/protocol/pubsub'>" + payload + "</pubsub></iq>")
			}
			// Each node follows lists for itself, from an address that is at home there; from another one when that has moved,
			// as it does while nodes begin.
			followers := len(s.Nodes) + 1
			addresses := map[string]bool{}
			for len(addresses) < followers {
				asked := far.until("a follower's request", func(s fakepeer.Stanza) bool {
					return s.To == lists && (strings.Contains(s.Raw, "<subscribe ") || strings.Contains(s.Raw, "<items "))
				})
				if strings.Contains(asked.Raw, "<items ") {
					answer(asked, "<items node='bans'/>")
					addresses[asked.From] = true
					continue
				}
				answer(asked, "<subscription node='bans' jid='"+asked.From+"' subscription='subscribed'/>")
			}
			juliet := enter(t, s, "juliet", "desk")
			asked := 0
			// ask sends something from an address, and returns the answer, or nothing once a ping behind it is answered. Both
			// are for the same one, and have the same home.
			ask := func(from, stanza string) string {
				t.Helper()
				asked++
				to, _, _ := strings.Cut(harness.Attr(stanza, "to"), "/")
				id := fmt.Sprint("spam-", asked)
				pinged := func(stanza string) (refused string) {
					far.say(stanza + "<iq type='get' id='after-" + id + "' from='" + from + "' to='" + to + "'><ping xmlns='urn:xmpp:ping'/></iq>")
					got := far.until("an answer", func(s fakepeer.Stanza) bool {
						return s.Attr("id") == id && s.Attr("type") == "error" || s.Attr("id") == "after-"+id
					})
					if got.Attr("id") == id {
						return got.Raw
					}
					return ""
				}
				refused := pinged(fmt.Sprintf(stanza, "id='"+id+"' from='"+from+"'"))
				if refused == "" && len(s.Nodes) > 0 { // who has taken it from the peer says so, when its home has told him
					s.Quiet()
					refused = pinged("")
				}
				return refused
			}
			const tybalt, paris = "tybalt@" + spam + "/street", "paris@" + spam + "/street"
			const hello = "<message type='chat' %s to='" + juliets + "'><body>hello</body></message>"
			const room = "verona@rooms." + harness.Domain
			const join = "<presence %s to='" + room + "/nick'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
			juliet.say("<presence to='" + room + "/juliet'><x xmlns='http://jabber.org/protocol/muc'/></presence>" +
				"<iq type='set' id='open' to='" + room + "'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>")
			juliet.until("open")
			if got := ask(tybalt, hello); got != "" {
				t.Errorf("before the service says something: %s", got)
			}
			sum := sha256.Sum256([]byte("tybalt@" + spam))
			for address := range addresses {
				far.say("<message from='" + lists + "' to='" + address + "'><event xmlns='http://jabber.org/protocol/pubsub#event'>" +
					"<items node='bans'><item id='" + hex.EncodeToString(sum[:]) + "'/></items></event></message>" +
					"<iq type='get' id='told' from='" + lists + "' to='" + address + "'><ping xmlns='urn:xmpp:ping'/></iq>")
				far.until("what comes behind the event", func(s fakepeer.Stanza) bool { return s.From == address && s.Attr("id") == "told" })
			}
			for range 2 {
				if got := ask(tybalt, hello); !strings.Contains(got, "<policy-violation ") {
					t.Errorf("a message of a spammer: %q", got)
				}
				if got := ask("tybalt@"+spam, "<presence type='subscribe' %s to='"+juliets+"'/>"); !strings.Contains(got, "<policy-violation ") {
					t.Errorf("a request of a spammer: %q", got)
				}
				if got := ask(tybalt, join); !strings.Contains(got, "<forbidden ") {
					t.Errorf("a spammer enters a room: %q", got)
				}
				if got := ask(paris, hello); got != "" {
					t.Errorf("a message of another: %s", got)
				}
				metrics := measured(t, s)
				for _, want := range []string{fmt.Sprint("jackdaw_blocklist_entries ", followers), `jackdaw_blocklist_stanzas_total{what="message"} 1`,
					`jackdaw_blocklist_stanzas_total{what="room"} 1`, `jackdaw_blocklist_stanzas_total{what="request"} 1`} {
					if !strings.Contains(metrics, want+"\n") {
						t.Errorf("the metrics do not say %s", want)
					}
				}
				if code := s.Stop(); code != 0 {
					t.Fatalf("exit code %d", code)
				}
				s.Launch()
				connect()
				for asking := map[string]bool{}; len(asking) < followers; { // and no answer
					asking[question("subscribe").From] = true
				}
				juliet = enter(t, s, "juliet", "desk")
				juliet.say("<presence to='" + room + "/juliet'><x xmlns='http://jabber.org/protocol/muc'/></presence>" +
					"<iq type='set' id='open' to='" + room + "'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>")
				juliet.until("open")
			}
			juliet.say("<message type='chat' to='tybalt@" + spam + "'><body>who are you?</body></message>")
			far.until("her message", func(s fakepeer.Stanza) bool { return s.Body() == "who are you?" })
			if got := ask(tybalt, hello); got != "" {
				t.Errorf("to whom he was written to: %s", got)
			}
		})
	}
}

// A report goes to the server of the one that is reported, and to others, if the user agrees, and does not say who that
// is.
func TestReportsAreForwardedWhereUsersAgree(t *testing.T) {
	t.Parallel()
	const spam, third = "spam.example", "third.example"
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			authority := peers.NewAuthority(t)
			peer := fakepeer.Start(t, fakepeer.Options{Domains: []string{spam, third}}.Certified(t, authority, peers.None))
			own := authority.Issue(harness.Domain, peers.None)
			s := harness.Start(t, harness.Options{Place: place, Env: append(authority.Env(), quick...), Users: []string{"juliet"},
				Federate: true, Cert: own.Cert, Key: own.Key,
				S2S:    fmt.Sprintf("resolve: {%q: %q, %q: %q}", spam, peer.Addr, third, peer.Addr),
				Config: "modules: {reports: {third_parties: [reports@" + third + "]}}"})
			peer.Locate(harness.Domain, s.S2S)
			far := &foreigner{t: t, peer: peer}
			var err error
			if far.link, err = peer.Connect(spam, harness.Domain, fakepeer.Way{}); err != nil {
				t.Fatal(err)
			}
			juliet := enter(t, s, "juliet", "desk")
			const tybalt = "tybalt@" + spam
			far.say("<message type='chat' from='" + tybalt + "/street' to='" + juliets + "' id='buy'><body>Buy poison!</body></message>")
			el, err := juliet.Until(func(el string) bool { return strings.Contains(el, "Buy poison!") })
			if err != nil {
				t.Fatal(err)
			}
			id := harness.Attr(el[max(strings.Index(el, "<stanza-id "), 0):], "id")
			block := func(agrees string) {
				t.Helper()
				juliet.say("<iq type='set' id='block'><block xmlns='urn:xmpp:blocking'><item jid='" + tybalt + "'>" +
					"<report xmlns='urn:xmpp:reporting:1' reason='urn:xmpp:reporting:spam'><stanza-id xmlns='urn:xmpp:sid:0' by='" + juliets + "' id='" + id + "'/>" +
					"<text xml:lang='en'>Never came trouble to my house like this.</text>" + agrees + "</report></item></block></iq>")
				if juliet.until("block"); harness.Attr(juliet.last, "type") != "result" {
					t.Errorf("the request to block: %s", juliet.last)
				}
			}
			block("")
			block("<report-origin/><third-party/>")
			question := far.until("the question for an address", func(s fakepeer.Stanza) bool { return s.To == spam && strings.Contains(s.Raw, "disco#info") })
			far.say("<iq type='result' id='" + question.Attr("id") + "' from='" + spam + "' to='" + question.From + "'>" +
				"<query xmlns='http://jabber.org/protocol/disco#info'><x xmlns='jabber:x:data' type='result'>" +
				"<field var='FORM_TYPE' type='hidden'><value>http://jabber.org/network/serverinfo</value></field>" +
				"<field var='abuse-addresses'><value>mailto:a@" + spam + "</value><value>xmpp:abuse@" + spam + "</value></field></x></query></iq>")
			for _, to := range []string{"abuse@" + spam, "reports@" + third} {
				var reports []fakepeer.Stanza
				peer.Within(harness.Timeout, func(all []fakepeer.Stanza) bool {
					reports = nil
					for _, got := range all {
						if got.To == to {
							reports = append(reports, got)
						}
					}
					return len(reports) > 0
				})
				if len(reports) != 1 {
					t.Fatalf("%d reports for %s", len(reports), to)
				}
				raw := reports[0].Raw
				for _, want := range []string{"urn:xmpp:reporting:spam", ">" + tybalt + "</jid>", "Buy poison!", "Never came trouble"} {
					if !strings.Contains(raw, want) {
						t.Errorf("%s is not in %s", want, raw)
					}
				}
				if reports[0].From != harness.Domain || strings.Contains(raw, "juliet") {
					t.Errorf("a report says who has reported: %s", raw)
				}
			}
		})
	}
}
