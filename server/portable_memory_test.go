package server

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"jackdaw/portable"
)

// TestALongArchiveNeedsNoMoreMemoryThanAShortOne imports and exports more than could be held.
// testsuite/load/portable measures a million messages.
func TestALongArchiveNeedsNoMoreMemoryThanAShortOne(t *testing.T) {
	const messages, most = 25_000, 36 << 20 // of 2 KiB each
	c := client(t, controlConfig(t))
	text := strings.Repeat("so wan with care ", 110)
	in, out := io.Pipe()
	go func() {
		fmt.Fprint(out, "<server-data xmlns='urn:xmpp:pie:0'><host jid='localhost'><user name='a' password='x'>"+
			"<archive xmlns='urn:xmpp:pie:0#mam'>")
		for i := range messages {
			fmt.Fprintf(out, "<result xmlns='urn:xmpp:mam:2' id='x%d'><forwarded xmlns='urn:xmpp:forward:0'>"+
				"<delay xmlns='urn:xmpp:delay' stamp='2024-01-02T03:04:05Z'/><message xmlns='jabber:client' from='b@c/d'>"+
				"<body>%d %s</body></message></forwarded></result>", i, i, text)
		}
		fmt.Fprint(out, "</archive></user></host></server-data>")
		_ = out.Close() // never fails
	}()
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	highest := uint64(0)
	look := func(portable.Progress) { // every 200 ms
		runtime.GC()
		runtime.ReadMemStats(&now)
		highest = max(highest, now.HeapAlloc-min(before.HeapAlloc, now.HeapAlloc))
	}
	report, err := c.Import(t.Context(), in, false, look)
	if err != nil || len(report.Lost) > 0 || report.Things[0].Came != messages {
		t.Fatalf("%+v, %v", report, err)
	}
	size := &counting{}
	if err := c.Export(t.Context(), nil, size, look); err != nil {
		t.Fatal(err)
	}
	if size.n < messages*2000 {
		t.Errorf("the export has %d bytes", size.n)
	}
	if highest > most {
		t.Errorf("%d MiB were held of %d MiB", highest>>20, size.n>>20)
	}
	t.Logf("%d MiB were held of %d MiB", highest>>20, size.n>>20)
}

type counting struct{ n int }

func (c *counting) Write(b []byte) (int, error) { c.n += len(b); return len(b), nil }
