package stream

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"jackdaw/xmpp"
)

func seeds() []string {
	var out []string
	for _, c := range scans {
		out = append(out, c.in)
	}
	for _, c := range refusals {
		out = append(out, c.in)
	}
	for _, text := range bombs {
		out = append(out, strings.NewReplacer("L", "urn:llllllllllllllll", "Q", `"""`).Replace(text))
	}
	return append(out, chat, samples["presence"], samples["iq"])
}

// A stream makes the same items however its bytes arrive; each payload is content on its own and comes out of a second
// scan unchanged.
func FuzzScan(f *testing.F) {
	for _, in := range seeds() {
		f.Add(header+in+in, uint64(1))
	}
	component := strings.Replace(header, xmpp.NSClient, xmpp.NSComponentAccept, 1)
	for _, c := range append(scans, componentScans...) {
		f.Add(component+c.in+c.in, uint64(1))
	}
	f.Fuzz(func(t *testing.T, text string, seed uint64) {
		l := Limits{Bytes: 4096, Depth: 20, Elements: 50, Attributes: 8, Declarations: 8}
		var one, many Scanner
		one.SetLimits(l)
		many.SetLimits(l)
		rnd := rand.New(rand.NewPCG(seed, 0))
		a, b := feed(&one, text, whole), feed(&many, text, func() int { return rnd.IntN(9) })
		if strings.Join(a, "\n") != strings.Join(b, "\n") {
			t.Fatalf("whole  %q\npieces %q", a, b)
		}
		var s Scanner
		s.SetLimits(l)
		for buf := []byte(text); ; {
			item, n, err := s.Scan(buf)
			if err != nil || item == ItemNone {
				break
			}
			buf = buf[n:]
			if c := s.Header().Content; c != xmpp.NSClient && c != xmpp.NSServer && c != xmpp.NSComponentAccept {
				break // the caller refuses it; what a payload makes of such a namespace is not defined
			}
			switch item {
			case ItemStanza:
				checkPayload(t, s.Stanza().Payload, s.Stanza().Children)
				checkRescan(t, s.Stanza())
				checkMade(t, s.Stanza().Payload, len(s.Stanza().Attrs), l.Bytes)
			case ItemElement:
				_, raw := s.Element()
				// The content namespace may be named in it: it can be the wrong one.
				payload, err := ParseContent(raw, wide)
				if err != nil {
					t.Fatalf("element %q does not stand on its own: %v", raw, err)
				}
				checkPayload(t, payload, nil)
				checkMade(t, raw, 0, l.Bytes)
			}
		}
	})
}

// wide are limits that nothing a test scans twice can run into.
var wide = Limits{Bytes: 1 << 24, Depth: 200, Elements: 1 << 20, Attributes: 1 << 10, Declarations: 200}

func checkPayload(t *testing.T, payload []byte, children []xmpp.Child) {
	t.Helper()
	again, err := ParseContent(payload, wide)
	if err != nil || !bytes.Equal(again, payload) {
		t.Fatalf("payload %q does not stand on its own: %q, %v", payload, again, err)
	}
	index := xmpp.Index(payload)
	for i, c := range children {
		if i >= len(index) || c != index[i] {
			t.Fatalf("payload %q: scanned %v, indexed %v", payload, children, index)
		}
	}
	if children == nil {
		children = index
	}
	for _, c := range children {
		e, err := xmpp.ParseElement(payload[c.Start:c.End])
		if err != nil {
			t.Fatalf("element %q: %v", payload[c.Start:c.End], err)
		}
		if e.Name.Local != c.Name.Local || e.Name.Space != c.Name.Space {
			t.Fatalf("element %q: scanned %v, parsed %v", payload[c.Start:c.End], c.Name, e.Name)
		}
		checkWritten(t, e)
	}
}

// checkMade: neither a payload nor the trees made of it and written again are larger than the limit for what was
// received.
func checkMade(t *testing.T, payload []byte, more, limit int) {
	t.Helper()
	trees := 0
	for _, c := range xmpp.Index(payload) {
		e, err := xmpp.ParseElement(payload[c.Start:c.End])
		if err != nil {
			t.Fatalf("element %q: %v", payload[c.Start:c.End], err)
		}
		trees += len(e.Append(nil))
	}
	if more+max(len(payload), trees) > limit {
		t.Fatalf("payload of %d and trees of %d bytes, with %d in the head, where %d are the limit: %q",
			len(payload), trees, more, limit, payload)
	}
}

// checkWritten: parse(write(parse(x))) == parse(x).
func checkWritten(t *testing.T, e *xmpp.Element) {
	t.Helper()
	text := e.Append(nil)
	again, err := xmpp.ParseElement(text)
	if err != nil {
		t.Fatalf("%q, written from %+v: %v", text, e, err)
	}
	if second := again.Append(nil); !bytes.Equal(text, second) {
		t.Fatalf("written %q, read and written %q", text, second)
	}
}

// checkRescan: a stanza written is read back as it was.
func checkRescan(t *testing.T, st *xmpp.Stanza) {
	t.Helper()
	if st.Type == xmpp.TypeInvalid {
		return // not written
	}
	text := st.Append(nil)
	s := started(t)
	s.SetLimits(wide)
	item, n, err := s.Scan(text)
	if item != ItemStanza || n != len(text) || err != nil {
		t.Fatalf("%q read back: %v, %v", text, item, err)
	}
	if again := s.Stanza().Append(nil); !bytes.Equal(text, again) {
		t.Fatalf("written %q, read and written %q", text, again)
	}
}

func FuzzParseContent(f *testing.F) {
	for _, in := range seeds() {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		payload, err := ParseContent(in, Limits{})
		var e *SyntaxError
		if err != nil {
			if !errors.As(err, &e) || e.Line < 1 || e.Column < 1 || e.Offset > len(in) ||
				e.Condition == "" || e.What == "" {
				t.Fatalf("%q: %#v", in, err)
			}
			return
		}
		checkPayload(t, payload, nil)
		if tight, err := ParseContent(in, Limits{Bytes: len(in) + 32}); err == nil {
			checkMade(t, tight, 0, len(in)+32)
		}
		st, err := ParseStanza(append(append([]byte("<message xmlns='jabber:client'>"), payload...), "</message>"...), wide)
		if err != nil || !bytes.Equal(st.Payload, payload) {
			t.Fatalf("content %q leaves its message: %+v, %v", payload, st, err)
		}
	})
}

func FuzzParseStanza(f *testing.F) {
	for _, in := range seeds() {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		st, err := ParseStanza(in, Limits{})
		if err != nil {
			return
		}
		checkPayload(t, st.Payload, st.Children)
		checkRescan(t, st)
		if tight, err := ParseStanza(in, Limits{Bytes: len(in) + 32}); err == nil {
			checkMade(t, tight.Payload, len(tight.Attrs), len(in)+32)
		}
	})
}
