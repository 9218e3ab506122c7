package main

import (
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/load/stage"
)

// bits reads as from a network that cuts anywhere.
type bits struct {
	net.Conn
	r io.Reader
	n *rand.Rand
}

func (b bits) Read(p []byte) (int, error)      { return b.r.Read(p[:1+b.n.IntN(min(len(p), 30))]) }
func (bits) SetReadDeadline(_ time.Time) error { return nil }

func TestMessagesAreCountedWhereverTheyAreCut(t *testing.T) {
	text := strings.Repeat(chat("f", "juliet@localhost")+"<r xmlns='urn:xmpp:sm:3'/>", 100)
	for seed := range uint64(20) {
		read := func(n int) error {
			return count(&harness.Client{Conn: bits{r: strings.NewReader(text), n: rand.New(rand.NewPCG(seed, 1))}}, n)
		}
		if err := read(100); err != nil {
			t.Errorf("of 100: %v", err)
		}
		if err := read(101); err == nil || !strings.HasPrefix(err.Error(), "1 have not come") {
			t.Errorf("of 101 when 100 come: %v", err)
		}
	}
}

func TestTheToolMeasuresAServer(t *testing.T) {
	var figures []figure
	status := stage.Run("archive", func(s *stage.Stage) int {
		defer harness.Cleanup()
		figures = append(measurePages(s, "", 2000, 4000, 3),
			measurePurge(s, "", 4000, 200, time.Second, harness.Timeout, 2*time.Second)...)
		return 0
	})
	if status != 0 || len(figures) != 7 {
		t.Fatalf("status %d, %v", status, figures)
	}
	for _, f := range figures {
		if f.Base <= 0 || f.Then <= 0 || f.Ratio != f.Then/f.Base {
			t.Errorf("a figure of nothing: %+v", f)
		}
	}
	if note := figures[6].Note; !strings.HasPrefix(note, "all of 4,000 messages purged") {
		t.Errorf("%s", note)
	}
}
