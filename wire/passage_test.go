package wire

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// A crossing is a passage between a client and what stands for the home of its account.
type crossing struct {
	t            *testing.T
	client, home net.Conn
	over         chan struct{}
}

// cross begins one. The client may take nothing for so long.
func cross(t *testing.T, stall time.Duration, stalled func(*crossing)) *crossing {
	c := &crossing{t: t, over: make(chan struct{})}
	var far, near net.Conn
	c.client, far = net.Pipe()
	c.home, near = net.Pipe()
	s := new(Stream)
	s.Begin(Entry{Transport: NewTransport(far), Framing: NewFraming("bytes")}, new(pacer))
	NewPassage(s, near, Passing{
		Stall:   func() time.Duration { return stall },
		Stalled: func() { stalled(c) },
		Over:    func() { close(c.over) },
	})
	return c
}

// says has the home say something.
func (c *crossing) says(kind byte, data string) {
	c.t.Helper()
	b := append(make([]byte, headSize), data...)
	putHead(b, kind, len(data))
	if _, err := c.home.Write(b); err != nil {
		c.t.Error(err)
	}
}

// told is how many bytes the home hears to have been taken until the link ends.
func (c *crossing) told() (n int) {
	c.t.Helper()
	head := make([]byte, headSize)
	for {
		if _, err := io.ReadFull(c.home, head); err != nil {
			return n
		}
		if head[0] == kindTaken {
			n += int(head[1])<<16 | int(head[2])<<8 | int(head[3])
		}
	}
}

// gets has the client read what comes within a second.
func (c *crossing) gets() string {
	_ = c.client.SetReadDeadline(time.Now().Add(time.Second)) // a pipe has deadlines
	b, _ := io.ReadAll(c.client)
	return string(b)
}

// What a client takes while it is cut off counts, or it would have that twice.
func TestNothingReachesAClientOnceTheHomeHasHeardTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cross(t, time.Minute, func(*crossing) {})
		c.says(kindData, "first")
		got := make([]byte, 5)
		if _, err := io.ReadFull(c.client, got); err != nil {
			t.Fatal(err)
		}
		c.says(kindData, "second")
		synctest.Wait()
		c.says(kindCut, "")
		synctest.Wait()
		// The home has not heard it yet: the link takes its time.
		more := c.gets()
		if n := c.told(); n != len("first")+len(more) {
			t.Errorf("the client has first%s, the home heard of %d bytes", more, n)
		}
		<-c.over
	})
}

func TestTheLastIsToldThoughTheHomeSaysMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cross(t, time.Second, func(c *crossing) {
			c.says(kindData, "third") // on a connection that takes nothing any more
			<-time.After(time.Second)
		})
		c.says(kindData, "first")
		got := make([]byte, 5)
		if _, err := io.ReadFull(c.client, got); err != nil {
			t.Fatal(err)
		}
		c.says(kindData, "second")
		if n := c.told(); n != len("first") {
			t.Errorf("the home heard of %d bytes, want 5", n)
		}
		<-c.over
	})
}
