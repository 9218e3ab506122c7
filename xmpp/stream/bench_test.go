package stream

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/xmpp"
)

// chat is 230 bytes, what a common client sends.
const chat = `<message xml:lang="en" to="user17@localhost/resource-one" from="user42@localhost/client" type="chat" id="msg-000012345">` +
	`<body>Wherefore art thou, Romeo? Deny thy father and refuse.</body><active xmlns="http://jabber.org/protocol/chatstates"/></message>`

var samples = map[string]string{
	"chat": chat,
	"body20k": `<message to="user17@localhost/r" type="chat" id="m1"><body>` +
		strings.Repeat("the quick brown fox jumps over the lazy dog, 0123456789. ", 20000/57) + `</body></message>`,
	"cyrillic20k": `<message to="user17@localhost/r" type="chat" id="m1"><body>` +
		strings.Repeat("Съешь же ещё этих мягких французских булок ", 20000/78) + `</body></message>`,
	"presence": `<presence from="user42@localhost/client"><show>away</show><priority>5</priority>` +
		`<c xmlns="http://jabber.org/protocol/caps" hash="sha-1" node="https://example.org" ver="QgayPKawpkPSDYmwT/WM94uAlu0="/></presence>`,
	"iq": `<iq type="get" id="disco1" to="localhost"><query xmlns="http://jabber.org/protocol/disco#info"/></iq>`,
}

func started(t testing.TB) *Scanner {
	var s Scanner
	if item, n, err := s.Scan([]byte(header)); item != ItemHeader || n != len(header) || err != nil {
		t.Fatal(item, n, err)
	}
	return &s
}

func BenchmarkScan(b *testing.B) {
	for _, name := range []string{"chat", "body20k", "cyrillic20k", "presence", "iq"} {
		b.Run(name, func(b *testing.B) {
			s := started(b)
			// Eight in a buffer, as one read brings them under load.
			const many = 8
			buf := []byte(strings.Repeat(samples[name], many))
			b.SetBytes(int64(len(buf) / many))
			b.ReportAllocs()
			for i := 0; i < b.N; {
				for p := 0; p < len(buf); i++ {
					item, n, err := s.Scan(buf[p:])
					if item != ItemStanza || err != nil {
						b.Fatal(item, err)
					}
					p += n
				}
			}
		})
	}
}

func BenchmarkScanThenAppend(b *testing.B) {
	s := started(b)
	buf := []byte(chat)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		if _, _, err := s.Scan(buf); err != nil {
			b.Fatal(err)
		}
		out = s.Stanza().Append(out[:0])
	}
}

func BenchmarkParseStanza(b *testing.B) {
	buf := []byte(chat)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseStanza(buf, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkChild(b *testing.B) {
	s := started(b)
	if _, _, err := s.Scan([]byte(chat)); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if s.Stanza().Child(xmpp.Name{Space: xmpp.NSClient, Local: "body"}) == nil {
			b.Fatal("no body")
		}
	}
}

func TestCostDoesNotGrowWithThePayload(t *testing.T) {
	for _, unit := range []string{"x", "ж", "&amp;", "<a xmlns='urn:a' b='c'>d</a>", "<x><y/>\n</x>", "\t"} {
		var allocs [2]float64
		for i, n := range []int{10, 2000} {
			s := started(t)
			buf := []byte(`<message to="a@b/c" from="d@e/f" type="chat" id="1"><body>` + strings.Repeat(unit, n) + `</body></message>`)
			allocs[i] = testing.AllocsPerRun(100, func() {
				if item, _, err := s.Scan(buf); item != ItemStanza || err != nil {
					t.Fatal(item, err)
				}
			})
		}
		if allocs[1] > allocs[0] || allocs[0] > 1 {
			t.Errorf("payload of %q: %v allocations for 10, %v for 2,000", unit, allocs[0], allocs[1])
		}
	}
}

func TestOnlyTheIdentifierIsAllocated(t *testing.T) {
	for name, text := range samples {
		s := started(t)
		buf := []byte(text)
		got := testing.AllocsPerRun(100, func() {
			if item, _, err := s.Scan(buf); item != ItemStanza || err != nil {
				t.Fatal(item, err)
			}
		})
		if got > 1 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}

func TestIdleScannerHoldsNoScratch(t *testing.T) {
	s := started(t)
	if s.w == nil {
		t.Fatal("no scratch after a scan")
	}
	if s.Release(); s.w != nil {
		t.Fatal("scratch kept")
	}
	if got := fmt.Sprint(s.Header().To); got != "example.com" {
		t.Errorf("header lost: %s", got)
	}
}

func TestReleaseKeepsNoLargeBuffers(t *testing.T) {
	s := started(t)
	big := "<message xmlns:x='urn:x' x:a='" + strings.Repeat("y", 20000) + "' id='" + strings.Repeat("&lt;", 20000) + "'>" +
		strings.Repeat("<x:a/><![CDATA[]]>", 3000) + "</message>"
	if item, _, err := s.Scan([]byte(big)); item != ItemStanza || err != nil {
		t.Fatal(item, err)
	}
	w := s.w
	s.Release()
	if w.rewritten != nil || w.headAttrs != nil || w.decoded != nil || w.children != nil || w.edits != nil ||
		w.needs != nil || w.stanza.Payload != nil {
		t.Error("large buffers went back to the pool")
	}
}
