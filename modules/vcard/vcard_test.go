package vcard

import (
	"context"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

const maxSize = 64 << 10

func limit() int { return maxSize }

type house struct {
	*router.Router
	store         *moduletest.Store
	romeo, juliet *moduletest.Client
}

func newHouse(t *testing.T) *house {
	h := &house{Router: moduletest.New("romeo", "juliet"), store: moduletest.NewStore()}
	h.Use(New(h.Router, h.store.Map("vcard"), limit, moduletest.Discard()).Module())
	h.romeo, h.juliet = moduletest.Login(t, h.Router, "romeo/orchard"), moduletest.Login(t, h.Router, "juliet/balcony")
	return h
}

const (
	card = `<vCard xmlns='vcard-temp'><FN>Juliet &amp; no other</FN><PHOTO><TYPE>image/png</TYPE><BINVAL>aGk=</BINVAL></PHOTO></vCard>`
	ask  = `<vCard xmlns='vcard-temp'/>`
)

func refused(t *testing.T, e *router.Envelope, want xmpp.Condition) {
	t.Helper()
	if e.Err == nil || e.Err.Condition != want {
		t.Errorf("%s: %v, %v, want %s", e.Stanza.Append(nil), e.Outcome, e.Err, want)
	}
}

func TestTheWorldReadsWhatTheOwnerWrote(t *testing.T) {
	h := newHouse(t)
	h.juliet.Send(`<iq type='set' id='1'>` + card + `</iq>`)
	h.juliet.Want(`<iq type='result' id='1' from='juliet@example.org' to='juliet@example.org/balcony'/>`)
	h.juliet.Send(`<iq type='get' id='2'>` + ask + `</iq>`)
	h.juliet.Want(`<iq type='result' id='2' from='juliet@example.org' to='juliet@example.org/balcony'>` + card + `</iq>`)
	h.romeo.Send(`<iq type='get' id='3' to='juliet@example.org'>` + ask + `</iq>`)
	h.romeo.Want(`<iq type='result' id='3' from='juliet@example.org' to='romeo@example.org/orchard'>` + card + `</iq>`)

	const second = `<vCard xmlns='vcard-temp'><FN>J</FN></vCard>`
	h.juliet.Send(`<iq type='set' id='4' to='juliet@example.org'>` + second + `</iq>`)
	h.juliet.Received()
	h.romeo.Send(`<iq type='get' id='5' to='juliet@example.org'>` + ask + `</iq>`)
	h.romeo.Want(`<iq type='result' id='5' from='juliet@example.org' to='romeo@example.org/orchard'>` + second + `</iq>`)
}

func TestAMissingCardIsToldToItsOwnerOnly(t *testing.T) {
	h := newHouse(t)
	refused(t, h.romeo.Send(`<iq type='get' id='1'>`+ask+`</iq>`), xmpp.CondItemNotFound)
	refused(t, h.romeo.Send(`<iq type='get' id='2' to='juliet@example.org'>`+ask+`</iq>`), xmpp.CondServiceUnavailable)
	refused(t, h.romeo.Send(`<iq type='get' id='3' to='nurse@example.org'>`+ask+`</iq>`), xmpp.CondServiceUnavailable)
}

func TestNobodyWritesTheCardOfAnother(t *testing.T) {
	h := newHouse(t)
	refused(t, h.romeo.Send(`<iq type='set' id='1' to='juliet@example.org'>`+card+`</iq>`), xmpp.CondForbidden)
	refused(t, h.romeo.Send(`<iq type='set' id='2' to='nurse@example.org'>`+card+`</iq>`), xmpp.CondForbidden)
	refused(t, h.juliet.Send(`<iq type='get' id='3'>`+ask+`</iq>`), xmpp.CondItemNotFound)
}

func TestACardIsBounded(t *testing.T) {
	h := newHouse(t)
	of := func(size int) string {
		const frame = len(`<vCard xmlns='vcard-temp'><FN></FN></vCard>`)
		return `<vCard xmlns='vcard-temp'><FN>` + strings.Repeat("x", size-frame) + `</FN></vCard>`
	}
	if e := h.juliet.Send(`<iq type='set' id='1'>` + of(maxSize) + `</iq>`); e.Err != nil {
		t.Errorf("a card of the greatest size: %v", e.Err)
	}
	refused(t, h.juliet.Send(`<iq type='set' id='2'>`+of(maxSize+1)+`</iq>`), xmpp.CondResourceConstraint)
}

func TestTheResultOfAWriteComesWhenItIsDurable(t *testing.T) {
	h := newHouse(t)
	h.store.Hold()
	e := h.juliet.Send(`<iq type='set' id='1'>` + card + `</iq>`)
	h.juliet.Want()
	if len(e.Pendings) != 1 {
		t.Errorf("%d pendings, want the write", len(e.Pendings))
	}
	h.store.Release(nil)
	h.juliet.Want(`<iq type='result' id='1' from='juliet@example.org' to='juliet@example.org/balcony'/>`)
}

func TestStorageThatIsAwayMakesTheAskerWait(t *testing.T) {
	h := newHouse(t)
	h.store.Fail(storage.ErrUnavailable)
	refused(t, h.juliet.Send(`<iq type='set' id='1'>`+card+`</iq>`), xmpp.CondResourceConstraint)
	refused(t, h.romeo.Send(`<iq type='get' id='2' to='juliet@example.org'>`+ask+`</iq>`), xmpp.CondResourceConstraint)
}

func TestADeletedAccountHasNoCard(t *testing.T) {
	h := newHouse(t)
	h.juliet.Send(`<iq type='set' id='1'>` + card + `</iq>`)
	if err := h.Remove(h.juliet.Bare()); err != nil {
		t.Fatal(err)
	}
	if b, err := h.store.Map("vcard").Get(context.Background(), "juliet@example.org", key); err == nil {
		t.Errorf("still there: %s", b)
	}
}

func TestPresenceKeepsTheHashOfTheClient(t *testing.T) {
	h := newHouse(t)
	h.juliet.Send(`<iq type='set' id='1'>` + card + `</iq>`)
	h.juliet.Received()
	for _, x := range []string{`<x xmlns='vcard-temp:x:update'/>`, `<x xmlns='vcard-temp:x:update'><photo/></x>`,
		`<x xmlns='vcard-temp:x:update'><photo>01b87fcd030b72895ff8e88db57ec525450f000d</photo></x>`} {
		h.juliet.Send(`<presence to='romeo@example.org/orchard'>` + x + `</presence>`)
		h.romeo.Want(`<presence from='juliet@example.org/balcony' to='romeo@example.org/orchard'>` + x + `</presence>`)
	}
}
