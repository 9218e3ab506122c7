package c2s

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// BenchmarkMessages is a chat message from one client to another, window messages in each write, with both ends in this
// process.
func BenchmarkMessages(b *testing.B) {
	for _, kind := range []string{"tls", "plain", "managed"} {
		for _, window := range []int{1, 10} {
			b.Run(fmt.Sprintf("%s/window=%d", kind, window), func(b *testing.B) { benchMessages(b, kind, window) })
		}
	}
}

func benchMessages(b *testing.B, kind string, window int) {
	h := open(b, withoutTLS)
	defer h.close()
	h.mute = true
	enter := func(user string) *client {
		if kind != "plain" {
			return h.enter(user, "bench")
		}
		c := h.connect(STARTTLS)
		c.header()
		return c.login(user).bind("bench")
	}
	romeo, juliet := enter("romeo"), enter("juliet")
	defer romeo.close()
	defer juliet.close()
	if kind == "managed" {
		romeo.manage()
	}
	const message = "<message type='chat' id='m12345' to='juliet@example.org/bench'><body>Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod</body></message>"
	batch := []byte(strings.Repeat(message, window))
	in := make([]byte, 64<<10)
	end := []byte("</message>")
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done += window {
		if _, err := romeo.c.Write(batch); err != nil {
			b.Fatal(err)
		}
		for got, kept := 0, 0; got < window; {
			n, err := juliet.c.Read(in[kept:])
			if err != nil {
				b.Fatal(err)
			}
			n += kept
			got += bytes.Count(in[:n], end)
			last := max(bytes.LastIndex(in[:n], end)+len(end), 0)
			kept = copy(in, in[max(last, n-len(end)):n])
		}
	}
}
