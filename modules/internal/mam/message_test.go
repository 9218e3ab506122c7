package mam

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

var compareJID = cmp.Comparer(func(a, b jid.JID) bool { return a == b })

var samples = []xmpp.Stanza{
	{Kind: xmpp.Message, Payload: []byte{}},
	{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: "1", Lang: "de", From: jid.MustParse("a@b/c"), To: jid.MustParse("d@e"),
		Attrs: []byte(" x='y'"), Payload: []byte("<body>ä</body>")},
	{Kind: xmpp.Message, Type: xmpp.TypeGroupchat, From: jid.MustParse("room@rooms/nick"), Payload: bytes.Repeat([]byte("<x/>"), 1000)},
}

func TestMessageIsReadAsItWasWritten(t *testing.T) {
	for _, s := range samples {
		got, err := ReadMessage(AppendMessage(nil, &s))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(s, got, compareJID); d != "" {
			t.Error(d)
		}
	}
}

func TestMessageThatIsCutIsAnError(t *testing.T) {
	b := AppendMessage(nil, &xmpp.Stanza{Kind: xmpp.Message, ID: "1", From: jid.MustParse("a@b/c"), To: jid.MustParse("d@e")})
	for i := range b {
		if _, err := ReadMessage(b[:i]); err == nil {
			t.Errorf("the first %d of %d bytes passed for a message", i, len(b))
		}
	}
	b[0] = 99
	if _, err := ReadMessage(b); err == nil {
		t.Error("a message of an unknown version was read")
	}
}

func FuzzReadMessage(f *testing.F) {
	for _, s := range samples {
		f.Add(AppendMessage(nil, &s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ReadMessage(b)
		if err != nil {
			return
		}
		again, err := ReadMessage(AppendMessage(nil, &s))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(s, again, compareJID); d != "" {
			t.Error(d)
		}
	})
}

func TestResultHoldsTheMessageInItsNamespace(t *testing.T) {
	s := samples[1]
	want := `<result xmlns='urn:xmpp:mam:2' queryid='&lt;q&gt;' id='1795341600123456'><forwarded xmlns='urn:xmpp:forward:0'>` +
		`<delay xmlns='urn:xmpp:delay' stamp='2026-11-22T10:00:00.123Z'/>` +
		`<message xmlns='jabber:client' type='chat' id='1' from='a@b/c' to='d@e' xml:lang='de' x='y'><body>ä</body></message></forwarded></result>`
	if got := string(AppendResult(nil, "<q>", 1795341600123456, &s)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestFormNamesAllFields(t *testing.T) {
	want := `<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='form'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>` +
		`<field var='with' type='jid-single'/><field var='start' type='text-single'/><field var='end' type='text-single'/>` +
		`<field var='before-id' type='text-single'/><field var='after-id' type='text-single'/><field var='ids' type='list-multi'>` +
		`<validate xmlns='http://jabber.org/protocol/xdata-validate' datatype='xs:string'><open/></validate></field>` +
		`<field var='include-groupchat' type='boolean'/></x></query>`
	if got := string(Form(false)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
