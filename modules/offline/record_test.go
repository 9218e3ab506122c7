package offline

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

var compareJID = cmp.Comparer(func(a, b jid.JID) bool { return a == b })

func TestRecordKeepsTheWholeMessage(t *testing.T) {
	for _, s := range []xmpp.Stanza{
		{Kind: xmpp.Message},
		{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: "1", Lang: "de", From: jid.MustParse("a@b/c"), To: jid.MustParse("d@e"),
			Attrs: []byte(" x='y'"), Payload: []byte("<body>ä</body>")},
		{Kind: xmpp.Message, From: jid.MustParse("ticket@trac"), To: jid.MustParse("d@e/f"), Payload: bytes.Repeat([]byte("<x/>"), 1000)},
	} {
		if s.Payload == nil {
			s.Payload = []byte{}
		}
		got, flags, err := readRecord(appendRecord(nil, &s, s.Payload, flagsOf(s.ID == "", s.ID == "1")))
		if err != nil {
			t.Fatal(err)
		}
		if flags != flagsOf(s.ID == "", s.ID == "1") {
			t.Errorf("the flags are %x", flags)
		}
		if d := cmp.Diff(s, got, compareJID); d != "" {
			t.Error(d)
		}
	}
}

func TestRecordThatIsCutIsAnError(t *testing.T) {
	s := moduletest.Parse(t, `<message from='a@b/c' to='d@e' id='1'/>`)
	b := appendRecord(nil, s, nil, settledID)
	for i := range b {
		if _, _, err := readRecord(b[:i]); err == nil {
			t.Errorf("the first %d of %d bytes passed for a record", i, len(b))
		}
	}
	b[0] = 99
	if _, _, err := readRecord(b); err == nil {
		t.Error("a record of an unknown version was read")
	}
}

func FuzzReadRecord(f *testing.F) {
	f.Add([]byte{recordVersion, 1, 1, 'i', 0, 3, 'a', '@', 'b', 0, 0, '<', 'x', '/', '>'})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, flags, err := readRecord(b)
		if err != nil {
			return
		}
		again, still, err := readRecord(appendRecord(nil, &s, s.Payload, flags))
		if err != nil || still != flags {
			t.Fatal(still, err)
		}
		if d := cmp.Diff(s, again, compareJID); d != "" {
			t.Error(d)
		}
	})
}

func BenchmarkStore(b *testing.B) {
	s := moduletest.Parse(b, hi)
	s.From = jid.MustParse("romeo@example.org/a")
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if !worthKeeping(s) {
			b.Fatal("not worth keeping")
		}
		buf = appendRecord(buf[:0], s, s.Payload, 0)
	}
}
