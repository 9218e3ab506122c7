package federation

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"jackdaw/testsuite/harness"
)

// many is a multicast to one here and two elsewhere.
func many(from, id string) string {
	return "<message type='chat' id='" + id + "' from='" + from + "' to='multicast'><addresses xmlns='http://jabber.org/protocol/address'>" +
		"<address type='to' jid='" + bob + "'/><address type='to' jid='" + skel + "'/><address type='to' jid='x@trac.example'/></addresses><body>yo</body></message>"
}

func one(from, to, id string) string {
	return "<message type='chat' id='" + id + "' from='" + from + "' to='" + to + "'><body>yo</body></message>"
}

func same(t *testing.T, what string, want, got []string) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestNothingIsSentToAnybodyUnlessLenient(t *testing.T) {
	t.Parallel()
	m := openMarket(t, "")
	forger := "forger@" + home
	a := m.post(request{user: forger, body: many(foreign, "a")})
	if a.Status != 403 || !strings.Contains(a.Text, skel) || !strings.Contains(a.Text, "x@trac.example") ||
		strings.Contains(a.Text, bob) {
		t.Errorf("answer %d %s", a.Status, a.Text)
	}
	local, elsewhere := m.settled(0)
	same(t, "to bob", nil, local)
	same(t, "elsewhere", nil, elsewhere)

	plain := m.post(request{user: forger, body: many(foreign, "b"), headers: []string{"Accept", "text/plain"}})
	if plain.Status != 403 || !strings.Contains(plain.Text, skel) || !strings.Contains(plain.Text, "x@trac.example") {
		t.Errorf("answer %d %s", plain.Status, plain.Text)
	}

	a = m.post(request{user: forger, body: many(foreign, "c"), headers: []string{"Prefer", "handling=lenient"}})
	if a.Status != 200 || a.outcome(bob) != "delivered" || a.outcome(skel) != "refused forged-sender-remote" || a.outcome("x@trac.example") != "refused forged-sender-remote" {
		t.Errorf("answer %d %s", a.Status, a.Text)
	}
	local, elsewhere = m.settled(0)
	same(t, "to bob", []string{one(foreign, bob, "c")}, local)
	same(t, "elsewhere", nil, elsewhere)

	// Lenience does not help where nothing is left to send.
	a = m.post(request{user: forger, body: one(foreign, skel, "d"), headers: []string{"Prefer", "handling=lenient"}})
	if a.Status != 403 || a.outcome(skel) != "refused forged-sender-remote" {
		t.Errorf("answer %d %s", a.Status, a.Text)
	}
	// Nor has it to do with permissions.
	a = m.post(request{user: "plain@" + home, body: many(foreign, "e"), headers: []string{"Prefer", "handling=lenient"}})
	if a.Status != 403 || !strings.Contains(a.Text, "forge senders") {
		t.Errorf("answer %d %s", a.Status, a.Text)
	}
	local, elsewhere = m.settled(0)
	same(t, "to bob", nil, local)
	same(t, "elsewhere", nil, elsewhere)

	// A sender of ours may go everywhere, and everybody gets a copy of its own that shows nobody else.
	a = m.post(request{user: forger, body: many(nobody, "f")})
	if a.Status != 200 || a.outcome(bob) != "delivered" || a.outcome(skel) != "queued" || a.outcome("x@trac.example") != "queued" {
		t.Errorf("answer %d %s", a.Status, a.Text)
	}
	local, elsewhere = m.settled(0)
	same(t, "to bob", []string{one(nobody, bob, "f")}, local)
	slices.Sort(elsewhere)
	same(t, "elsewhere", []string{one(nobody, skel, "f"), one(nobody, "x@trac.example", "f")}, elsewhere)
}

func TestForgedRemoteCopiesGoFromTheAccountIfToldSo(t *testing.T) {
	t.Parallel()
	m := openMarket(t, "forged_remote: own-address")
	forger := "forger@" + home
	a := m.post(request{user: forger, body: many(foreign, "a")})
	if a.Status != 200 || a.outcome(bob) != "delivered" || a.outcome(skel) != "queued" || a.outcome("x@trac.example") != "queued" {
		t.Errorf("answer %d %s", a.Status, a.Text)
	}
	// XEP-0033 §4.5: the original sender goes with it.
	instead := func(to, id string) string {
		return "<message type='chat' id='" + id + "' from='" + forger + "' to='" + to + "'><body>yo</body>" +
			"<addresses xmlns='http://jabber.org/protocol/address'><address type='ofrom' jid='" + foreign + "'/></addresses></message>"
	}
	local, elsewhere := m.settled(0)
	same(t, "to bob", []string{one(foreign, bob, "a")}, local)
	slices.Sort(elsewhere)
	same(t, "elsewhere", []string{instead(skel, "a"), instead("x@trac.example", "a")}, elsewhere)

	a = m.post(request{user: forger, body: one(foreign, skel, "b")})
	if a.Status != 200 || a.outcome(skel) != "queued" {
		t.Errorf("answer %d %s", a.Status, a.Text)
	}
	// A sender of ours needs none of that, and who may not forge still may not.
	a = m.post(request{user: forger, body: one(nobody, skel, "c")})
	if a.Status != 200 || a.outcome(skel) != "queued" {
		t.Errorf("answer %d %s", a.Status, a.Text)
	}
	for _, user := range []string{"plain", "keeper"} {
		if a = m.post(request{user: user + "@" + home, body: one(foreign, skel, "d")}); a.Status != 403 ||
			!strings.Contains(a.Text, "forge senders") {
			t.Errorf("%s: answer %d %s", user, a.Status, a.Text)
		}
	}
	local, elsewhere = m.settled(0)
	same(t, "to bob", nil, local)
	same(t, "elsewhere", []string{instead(skel, "b"), one(nobody, skel, "c")}, elsewhere)
}

// What answers a forged foreign sender stays here: the domain, which the peer serves, has never heard of us.
func TestNothingThatAnswersAForgedForeignSenderLeaves(t *testing.T) {
	t.Parallel()
	m := openMarket(t, "")
	forger := "forger@" + home
	quiet := func(what string) {
		t.Helper()
		_, elsewhere := m.settled(0)
		same(t, what+": elsewhere", nil, elsewhere)
	}

	a := m.post(request{user: forger, body: one(foreign, "absent@"+home, "a")})
	if a.Status != 403 || a.outcome("absent@"+home) != "refused service-unavailable" {
		t.Errorf("answer %d %s", a.Status, a.Text)
	}
	quiet("to an account that does not exist")

	if a = m.post(request{user: forger, body: one(foreign, bob, "b")}); a.Status != 200 {
		t.Errorf("answer %d %s", a.Status, a.Text)
	}
	got, err := until(m.bob, "b")
	if err != nil || len(got) > 0 {
		t.Fatalf("%q, %v", got, err)
	}
	for _, c := range []struct{ what, send, answer string }{
		{"a reply", "<message type='chat' id='r1' to='" + foreign + "'><body>thanks</body></message>", "error"},
		{"a reply to another resource", "<message type='chat' id='r2' to='" + foreign + "/x'><body>thanks</body></message>", "error"},
		{"a receipt", "<message id='r3' to='" + foreign + "'><received xmlns='urn:xmpp:receipts' id='b'/></message>", "error"},
		{"an error", "<message type='error' id='b' to='" + foreign + "'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>", ""},
		{"a request", "<iq type='get' id='r4' to='" + foreign + "'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>", "error"},
		{"a result", "<iq type='result' id='r5' to='" + foreign + "'/>", ""},
		{"presence", "<presence id='r6' to='" + foreign + "'/>", "error"},
		{"a subscription", "<presence type='subscribe' id='r7' to='" + foreign + "'/>", "error"},
	} {
		if err := m.bob.Send(c.send); err != nil {
			t.Fatal(err)
		}
		local, elsewhere := m.settled(0)
		same(t, c.what+": elsewhere", nil, elsewhere)
		answered := ""
		for _, el := range local {
			if harness.Attr(el, "from") != "" && strings.HasPrefix(harness.Attr(el, "from"), foreign) {
				answered = harness.Attr(el, "type")
			}
		}
		if answered != c.answer {
			t.Errorf("%s is answered by %q, want %q: %q", c.what, answered, c.answer, local)
		}
	}

	// Others at that domain are reached as ever.
	if err := m.bob.Send("<message type='chat' id='e1' to='real@trac.example'><body>hello</body></message>"); err != nil {
		t.Fatal(err)
	}
	_, elsewhere := m.settled(0)
	same(t, "to a real address", []string{"<message type='chat' id='e1' from='" + bob + "/desk' to='real@trac.example'><body>hello</body></message>"}, elsewhere)

	// A client that is away: the error comes when nobody waits for an answer any more.
	m.bob.Close()
	if a = m.post(request{user: forger, body: "<message type='headline' id='h' from='" + foreign + "' to='" + bob + "/gone'><body>yo</body></message>"}); a.Status != 403 {
		t.Errorf("answer %d %s", a.Status, a.Text)
	}
	m.bob = m.client("bob", "desk")
	quiet("to a resource that is gone")
}

// Whoever writes to a name of ours that is nobody's account learns that it takes no replies (XEP-0506).
func TestANameOfOursWithoutAccountTakesNoReplies(t *testing.T) {
	t.Parallel()
	m := openMarket(t, "")
	if a := m.post(request{user: "forger@" + home, body: one(nobody, skel, "a")}); a.Status != 200 {
		t.Fatalf("answer %d %s", a.Status, a.Text)
	}
	if _, err := m.peer.Until(hasID("a")); err != nil {
		t.Fatal(err)
	}
	l, err := m.peer.Connect("remote.example", home, wayBack)
	if err != nil {
		t.Fatal(err)
	}
	l.Send("<iq type='get' id='q' from='" + skel + "/x' to='" + nobody + "'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>" +
		"<message type='chat' id='m' from='" + skel + "/x' to='" + nobody + "'><body>thanks</body></message>")
	got, err := m.peer.Until(hasID("m"))
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(raw(got), "\n")
	if len(got) != 2 || got[0].Attr("type") != "result" || !strings.Contains(all, "urn:xmpp:noreply:0") ||
		got[1].Attr("type") != "error" || got[1].From != nobody {
		t.Errorf("the peer gets %s", all)
	}
}
