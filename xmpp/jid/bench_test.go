package jid

import "testing"

var sink JID

func TestParseOfNormalisedASCIIDoesNotAllocate(t *testing.T) {
	full := MustParse("juliet@example.com/balcony")
	raw := []byte("juliet@example.com/balcony")
	for name, c := range map[string]struct {
		allocs float64
		do     func()
	}{
		"Parse":            {0, func() { sink, _ = Parse("juliet@example.com/balcony") }},
		"Parse of an IP":   {0, func() { sink, _ = Parse("192.0.2.1") }},
		"Parse, folding":   {1, func() { sink, _ = Parse("Juliet@Example.com/balcony") }},
		"ParseBytes":       {1, func() { sink, _ = ParseBytes(raw) }},
		"a refusal":        {0, func() { sink, _ = Parse("jul iet@example.com") }},
		"parts and bare":   {0, func() { sink = full.Bare(); _ = full.Local() + full.Resource()[:0] }},
		"domain":           {0, func() { sink = full.DomainJID() }},
		"ParseBytes, fold": {1, func() { sink, _ = ParseBytes([]byte("Juliet@Example.com/balcony")) }},
	} {
		if got := testing.AllocsPerRun(100, c.do); got != c.allocs {
			t.Errorf("%s: %v allocations, want %v", name, got, c.allocs)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for _, s := range []string{"juliet@example.com/balcony", "Juliet@Example.com/balcony", "ju\u0301liet@b\u00fccher.example/\u265a", "room@conference.example.com/J\u00fcrgen"} {
		b.Run(s, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				sink, _ = Parse(s)
			}
		})
	}
}

func BenchmarkParseBytes(b *testing.B) {
	raw := []byte("juliet@example.com/balcony")
	b.ReportAllocs()
	for b.Loop() {
		sink, _ = ParseBytes(raw)
	}
}
