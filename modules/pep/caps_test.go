package pep

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func TestAnswerThatPassesForAnotherIsNotBelieved(t *testing.T) {
	feature := func(v string) string { return "<feature var='" + v + "'/>" }
	form := func(kind, field, value string) string {
		return "<x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'><value>" + kind + "</value></field><field var='" + field + "'><value>" + value + "</value></field></x>"
	}
	for answer, want := range map[string]bool{
		feature("urn:a") + feature("urn:n+notify"):                true,
		feature("urn:a") + form("urn:f", "os", "Mac"):             true,
		feature("urn:a&lt;urn:n+notify"):                          false,
		feature("urn:a") + form("urn:m", "urn:n+notify", "x"):     false,
		feature("urn:a") + form("urn:m", "os", "urn:n+notify"):    false,
		feature("urn:a") + form("urn:n+notify", "os", "x"):        false,
		"<identity category='urn:' type='a' name='n+notify'/>":    false,
		"<identity category='client' type='pc' name='a&lt;b'/>":   false,
		"<identity category='client' type='pc' name='Client 1'/>": true,
	} {
		el, err := xmpp.ParseElement([]byte("<query xmlns='http://jabber.org/protocol/disco#info'>" + answer + "</query>"))
		if err != nil {
			t.Fatal(err)
		}
		if got := sound(el); got != want {
			t.Errorf("%s: %v", answer, got)
		}
	}
}

func TestClientThatNeverAnswersIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := moduletest.Login(t, w.Router, "juliet/a"), moduletest.Login(t, w.Router, "juliet/b")
		for _, c := range []*moduletest.Client{a, b} {
			c.Send("<presence>" + capsOf("urn:n") + "</presence>")
		}
		if len(a.Deliveries()) != 1 || len(b.Deliveries()) != 0 {
			t.Fatal("not one of them was asked")
		}
		<-time.After(patience)
		c := moduletest.Login(t, w.Router, "juliet/c")
		c.Send("<presence>" + capsOf("urn:other") + "</presence>")
		if got := b.Deliveries(); len(got) != 1 || got[0].Stanza.Kind != xmpp.IQ {
			t.Errorf("the next one is asked %d times", len(got))
		}
	})
}

func TestContactThatCannotBeAskedIsPassedOver(t *testing.T) {
	w := newWorld(t)
	w.remote.Denied = map[string]bool{"montague.example": true}
	w.peer("<presence from='" + benvolio + "/a' to='" + juliet + "'>" + capsOf("urn:n") + "</presence>")
	desk := moduletest.Login(t, w.Router, "juliet/desk")
	desk.Send("<presence>" + capsOf("urn:n") + "</presence>")
	if got := desk.Deliveries(); len(got) != 1 {
		t.Errorf("the next one is asked %d times", len(got))
	}
}

func TestMemoryOfCapabilitiesIsBoundedAndShared(t *testing.T) {
	w := newWorld(t)
	c := &w.pep.caps
	large := make([]string, 8)
	for i := range large {
		large[i] = fmt.Sprint(i, strings.Repeat("n", maxNode-1))
	}
	keep := func(who, ver string, nodes ...string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.load()
		c.keep("sha-1 "+ver, &interest{nodes}, who)
	}
	keep(romeo, "a", "urn:n")
	for i := range 1000 {
		keep("evil.example", fmt.Sprint("evil", i), large...)
	}
	keep(romeo, "b", "urn:n")
	if n := c.known.Weight(); n > maxKnown/4+2000 {
		t.Errorf("%d bytes are known", n)
	}
	entries, _, err := w.store.Map("pep-caps").List(t.Context(), capsOwner)
	if err != nil || len(entries) != c.known.Len() {
		t.Errorf("%d are kept and %d known, %v", len(entries), c.known.Len(), err)
	}
	w.start()
	for _, ver := range []string{"a", "b"} {
		known := false
		w.pep.caps.learn(capability{"sha-1", "urn:client", ver}, jid.MustParse("romeo@example.org/x"), jid.MustParse(romeo),
			func(_ *router.Batch, in *interest) { known = in.has("urn:n") }, nil)
		if !known {
			t.Errorf("%s is not known after a restart", ver)
		}
	}
}

func TestCapabilitiesOfAnEarlierVersionThatAreTooLargeAreForgotten(t *testing.T) {
	w := newWorld(t)
	in := &interest{[]string{"urn:n"}}
	for i := range maxInterest {
		in.nodes = append(in.nodes, fmt.Sprint(i, strings.Repeat("n", 1000)))
	}
	store := w.store.Map("pep-caps")
	for i := range 10 {
		if _, _, err := store.Update(t.Context(), capsOwner, storage.AnyVersion, storage.Change{Key: fmt.Sprint("sha-1 ",
			i), Value: in.record()}); err != nil {
			t.Fatal(err)
		}
	}
	w.login("juliet/desk", "urn:n")
	if entries, _, err := store.List(t.Context(), capsOwner); err != nil || len(entries) != 1 {
		t.Errorf("%d are kept, %v", len(entries), err)
	}
}

// shows sends a presence with capabilities that nobody knows, and returns how many stanzas came for it.
func (w *world) shows(c *moduletest.Client, ver string) int {
	c.Send("<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:client' ver='" + ver +
		"'/></presence>")
	return len(c.Deliveries())
}

func TestOneWhoSaysAlwaysSomethingNewKeepsNobodyFromEvents(t *testing.T) {
	w := newWorld(t)
	evil := moduletest.Login(t, w.Router, "nurse/evil")
	for i := range maxWaiting + 500 {
		w.shows(evil, fmt.Sprint(i))
	}
	if n := len(w.pep.caps.byID); n != 1 {
		t.Errorf("%d questions to one client wait", n)
	}
	w.contacts.befriend(juliet, "x@evil.example")
	for i := range maxWaiting + 500 {
		w.peer("<presence from='x@evil.example/" + fmt.Sprint(i) + "' to='" + juliet + "'>" + capsOf(fmt.Sprint("urn:",
			i)) + "</presence>")
	}
	if n := w.pep.caps.waiting; n > maxWaiting/4+1 {
		t.Errorf("%d wait", n)
	}
	w.make("urn:n")
	orchard := w.login("romeo/orchard", "urn:n")
	w.got(orchard, "romeo@example.org/orchard|items urn:n first:1 delay")
}

func TestNobodyWaitsForTheAnswerOfAnother(t *testing.T) {
	w := newWorld(t)
	evil := moduletest.Login(t, w.Router, "nurse/evil")
	evil.Send("<presence>" + capsOf("urn:n") + "</presence>") // and never answers
	evil.Received()
	w.make("urn:n")
	orchard := w.login("romeo/orchard", "urn:n")
	w.got(orchard, "romeo@example.org/orchard|items urn:n first:1 delay")
	// By now it is known to all.
	if n := len(w.pep.caps.byID) + len(w.pep.caps.asked) + len(w.pep.caps.of) + len(w.pep.caps.taken) +
		int(w.pep.caps.waiting); n != 0 {
		t.Errorf("%d entries wait", n)
	}
}

func TestAddressesOfOneContactAreBounded(t *testing.T) {
	w := newWorld(t)
	w.login("juliet/desk")
	for i := range 3 * maxClients {
		w.come(fmt.Sprint(benvolio, "/", i), "urn:n")
	}
	if n := len(w.pep.remote.who(jid.MustParse(juliet), "urn:n")); n != maxClients {
		t.Errorf("%d addresses are known", n)
	}
	last := fmt.Sprint(benvolio, "/", 3*maxClients-1)
	if !slices.Contains(w.pep.remote.who(jid.MustParse(juliet), "urn:n"), jid.MustParse(last)) {
		t.Error("the last is not among them")
	}
}

func TestWishesOfOneClientAreBounded(t *testing.T) {
	var all []string
	for i := range 2 * maxInterest {
		all = append(all, fmt.Sprintf("urn:%d", i))
	}
	info, _ := disco(append(all, strings.Repeat("n", maxNode+1))...)
	el, err := xmpp.ParseElement([]byte(info))
	if err != nil {
		t.Fatal(err)
	}
	in := interestOf(el)
	if len(in.nodes) != maxInterest || !in.has("urn:0") {
		t.Errorf("%d nodes are wanted", len(in.nodes))
	}
	all = nil
	for i := range maxInterest {
		all = append(all, fmt.Sprint(i, strings.Repeat("n", 1000)))
	}
	info, _ = disco(all...)
	if el, err = xmpp.ParseElement([]byte(info)); err != nil {
		t.Fatal(err)
	}
	if n := interestOf(el).bytes(); n > maxInterestBytes || n < maxInterestBytes-2000 {
		t.Errorf("the names of the nodes that are wanted have %d bytes", n)
	}
	if back := readInterest(in.record()); back == nil || len(back.nodes) != len(in.nodes) {
		t.Errorf("the record holds %v", back)
	}
	for _, bad := range [][]byte{nil, {9}, {capsVersion, 200}, {capsVersion, 5, 'a'}} {
		if readInterest(bad) != nil {
			t.Errorf("%v is a record", bad)
		}
	}
}
