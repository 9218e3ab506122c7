package link

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

func TestEnvelopesHaveAConnectionOfTheirOwnIfBothNodesKnowHow(t *testing.T) {
	w, k := newWorld(), NewKey()
	a := w.node(t, "a", k)
	w.node(t, "b", k)
	before := w.node(t, "before", k, func(l *Links) { l.spoken = hello{1, 1} })
	own := a.open(t, "b", Envelopes)
	if _, ok := own.(*alone); !ok {
		t.Errorf("to a node of this version there is a %T", own)
	}
	echo(t, own, "b hears a\n", "hello")
	if s := a.Status()[0]; s.Node != "b" || s.BytesIn < 15 || s.BytesOut < 5 {
		t.Errorf("its bytes are not counted: %+v", s)
	}
	for _, c := range []net.Conn{a.open(t, "before", Envelopes), before.open(t, "a", Envelopes)} {
		if _, ok := c.(*stream); !ok {
			t.Errorf("with a node of the version before there is a %T", c)
		}
	}
	echo(t, a.open(t, "before", Envelopes), "before hears a\n", "hello")
	echo(t, before.open(t, "a", Envelopes), "a hears before\n", "hello")
}

// held are the streams with connections of their own that others have opened.
func (n *node) held(from string) int {
	n.mu.Lock()
	s := n.in[from]
	n.mu.Unlock()
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.own)
}

func TestConnectionOfEnvelopesEndsWithTheLink(t *testing.T) {
	w, k := newWorld(), NewKey()
	a, b := w.node(t, "a", k), w.node(t, "b", k)
	c := a.open(t, "b", Envelopes)
	echo(t, c, "b hears a\n", "hello")
	a.mu.Lock()
	s := a.out["b"].up()
	a.mu.Unlock()
	s.close(errSilent)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a Read has got %v", err)
	}
	within(t, "the other end has not ended", func() bool { return b.held("a") == 0 })
	// And alone, if one end closes it: the link stays.
	c = a.open(t, "b", Envelopes)
	echo(t, c, "b hears a\n", "hello")
	if n := b.held("a"); n != 1 {
		t.Errorf("%d streams", n)
	}
	_ = c.Close()
	within(t, "the other end has not ended", func() bool { return b.held("a") == 0 })
	echo(t, a.open(t, "b", Control), "b hears a\n", "the same link")
	if n := a.Stats.Dialed.Load(); n != 2 {
		t.Errorf("%d links", n)
	}
}

func TestConnectionOfEnvelopesWithoutAWordEnds(t *testing.T) {
	t.Parallel()
	w, k := newWorld(), NewKey()
	a, b := w.node(t, "a", k, impatient), w.node(t, "b", k, impatient)
	c := a.open(t, "b", Envelopes)
	echo(t, c, "b hears a\n", "hello")
	began := time.Now()
	_, err := io.ReadAll(c)
	if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) && err != nil || took < short/2 {
		t.Errorf("after %v a Read has got %v", took, err)
	}
	within(t, "the other end has not ended", func() bool { return b.held("a") == 0 })
}

func TestConnectionForOneStreamOfWhoHasNoLinkIsRefused(t *testing.T) {
	w, k := newWorld(), NewKey()
	a, b := w.node(t, "a", k), w.node(t, "b", k)
	below, err := net.Dial("tcp", b.listen.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	g, err := a.shake(t.Context(), below, "b", Envelopes)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := g.conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes came", n)
	}
	_ = below.Close()
}
