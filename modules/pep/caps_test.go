package pep

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
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

func TestMemoryOfCapabilitiesIsBounded(t *testing.T) {
	w := newWorld(t)
	c := &w.pep.caps
	for i := range maxKnown + 100 {
		c.mu.Lock()
		c.load()
		c.keep(fmt.Sprintf("sha-1 %d", i), &interest{[]string{"urn:n"}})
		c.mu.Unlock()
	}
	if len(c.known) != maxKnown {
		t.Errorf("%d are known", len(c.known))
	}
	entries, _, err := w.store.Map("pep-caps").List(t.Context(), capsOwner)
	if err != nil || len(entries) != maxKnown {
		t.Errorf("%d are kept, %v", len(entries), err)
	}
	w.start()
	known := false
	w.pep.caps.learn(capability{"sha-1", "urn:client", fmt.Sprint(maxKnown + 99)}, jid.MustParse("romeo@example.org/x"), jid.MustParse(romeo),
		func(_ *router.Batch, in *interest) { known = in.has("urn:n") }, nil)
	if !known {
		t.Error("what came last is not known after a restart")
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
	if back := readInterest(in.record()); back == nil || len(back.nodes) != len(in.nodes) {
		t.Errorf("the record holds %v", back)
	}
	for _, bad := range [][]byte{nil, {9}, {capsVersion, 200}, {capsVersion, 5, 'a'}} {
		if readInterest(bad) != nil {
			t.Errorf("%v is a record", bad)
		}
	}
}
