package offline

import (
	"strings"
	"testing"

	"jackdaw/router"
)

// stampedBy is a module that does as an archive does with messages of chats.
func stampedBy(id *uint64) router.Module {
	return router.Module{Name: "archive", Unclaimed: func(e *router.Envelope) {
		if *id != 0 {
			*id++
			e.Stamp(julietJID.String(), *id)
			e.Identify(*id)
		}
	}}
}

func TestWhatIsInTheArchiveIsNotBroughtToWhoBindsWithTheLogin(t *testing.T) {
	c := newScene(t, Options{})
	id := uint64(100)
	c.r.Use(stampedBy(&id), c.m.module())
	c.romeo.Send(message("archived"))
	c.romeo.Send(message("too"))
	id = 0
	c.romeo.Send(message("not"))
	c.wantStored(3)
	a := c.juliet("a")
	if got := c.r.BindInline(a.Session, nil); len(got) != 0 {
		t.Errorf("answered with %s", got)
	}
	c.wantStored(1)
	a.Available(0)
	a.Wait(1)
	if got := bodies(a.Deliveries()); got != "not" {
		t.Errorf("brought: %s", got)
	}
}

func TestWhatAnotherSessionIsBroughtStays(t *testing.T) {
	c := newScene(t, Options{})
	id := uint64(100)
	c.r.Use(stampedBy(&id), c.m.module())
	for range 3 {
		c.romeo.Send(message(strings.Repeat("x", 200<<10)))
	}
	a := c.juliet("a")
	a.Available(0)
	a.Wait(1)
	b := c.juliet("b")
	c.r.BindInline(b.Session, nil)
	// What it has not taken is in flight, and the rest is on its way to it.
	c.wantStored(3)
}
