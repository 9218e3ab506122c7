package router

import (
	"strings"
	"testing"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func TestStampIsReadAsTheIDOfItsAccount(t *testing.T) {
	e := &Envelope{Stanza: &xmpp.Stanza{Kind: xmpp.Message, Payload: []byte("<body>x</body>")}}
	before := e.Stanza
	e.Stamp("o'neill@example.org", 7)
	if got := StanzaID(e.Stanza, "o'neill@example.org"); got != 7 {
		t.Errorf("the id is %d in %s", got, e.Stanza.Payload)
	}
	if got := StanzaID(e.Stanza, "juliet@example.org"); got != 0 {
		t.Errorf("somebody else has %d", got)
	}
	if string(before.Payload) != "<body>x</body>" {
		t.Errorf("the stanza before was changed: %s", before.Payload)
	}
}

func TestIDsThatAreNoneAreNotRead(t *testing.T) {
	for _, payload := range []string{
		"<stanza-id xmlns='urn:xmpp:sid:0' by='a@b' id='x'/>",
		"<stanza-id xmlns='urn:xmpp:sid:0' by='a@b'/>",
		"<stanza-id xmlns='other' by='a@b' id='1'/>",
		"<x xmlns='y'><stanza-id xmlns='urn:xmpp:sid:0' by='a@b' id='1'/></x>",
	} {
		if got := StanzaID(&xmpp.Stanza{Payload: []byte(payload)}, "a@b"); got != 0 {
			t.Errorf("%s: %d", payload, got)
		}
	}
}

func TestWhatTellsAMessageFromItsRepetition(t *testing.T) {
	const origin = "<body>x</body><origin-id xmlns='urn:xmpp:sid:0' id='o1'/>"
	session := &Session{}
	for _, test := range []struct {
		name string
		e    Envelope
		in   string
		want string
	}{
		{"a client's origin-id", Envelope{Session: session}, origin, "origin a@b o1"},
		{"a peer's", Envelope{Peer: "b"}, origin, "origin a@b o1"},
		{"what the sender said comes first", Envelope{Session: session, Dedup: "key"}, origin, "key"},
		{"a post without a key", Envelope{}, origin, ""},
		{"one given back", Envelope{Session: session, Returned: true}, origin, ""},
		{"none", Envelope{Session: session}, "<body>x</body>", ""},
		{"one without a value", Envelope{Session: session}, "<origin-id xmlns='urn:xmpp:sid:0'/>", ""},
		{"one that is too long", Envelope{Session: session}, "<origin-id xmlns='urn:xmpp:sid:0' id='" + strings.Repeat("x", 201) + "'/>", ""},
	} {
		test.e.Stanza = &xmpp.Stanza{Kind: xmpp.Message, From: jid.MustParse("a@b/c"), Payload: []byte(test.in)}
		for range 2 {
			if got := test.e.DedupKey(); got != test.want {
				t.Errorf("%s: %q, want %q", test.name, got, test.want)
			}
		}
	}
}

// Nearly every message of a client has an origin-id.
func TestTheKeyOfAMessageIsReadWithoutATree(t *testing.T) {
	payload := []byte("<body>x</body><origin-id xmlns='urn:xmpp:sid:0' id='0f3c7d1e-5f2b-4a4a-9c1d-0123456789ab'/>")
	s := &xmpp.Stanza{From: jid.MustParse("a@b/c"), Payload: payload, Children: xmpp.Index(payload)}
	var key string
	if n := testing.AllocsPerRun(100, func() { key = keyOf(s) }); n > 2 { // the id, and the key
		t.Errorf("%q takes %v allocations", key, n)
	}
}

func TestARefusalTakesBackWhatWasWritten(t *testing.T) {
	e := &Envelope{Stanza: &xmpp.Stanza{Kind: xmpp.Message}}
	var back []uint64
	f := func(owner string, id uint64) { back = append(back, id) }
	e.OnRefusal(f, "a@b", 1)
	e.Reset()
	e.Stanza = &xmpp.Stanza{Kind: xmpp.Message}
	e.OnRefusal(f, "a@b", 2)
	e.OnRefusal(f, "c@b", 3)
	e.Refuse(xmpp.NotAllowed(""))
	e.Refuse(xmpp.NotAllowed(""))
	if len(back) != 2 || back[0] != 2 || back[1] != 3 {
		t.Errorf("taken back: %v", back)
	}
}
