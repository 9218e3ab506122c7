package offline

import (
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
)

const stored = copied + 1 // the way of what no session is there to take

// The tables of the type way, cell by cell.
func TestWaysToKeepAMessage(t *testing.T) {
	senders := []string{"nothing", "an acknowledgement", "an acknowledgement, with a key"}
	for _, row := range []struct {
		recipient       string
		want, inArchive [3]way
		login           func(*scene) []*moduletest.Client
	}{
		{"one session, at once", [3]way{given, awaited, copied}, [3]way{given, awaited, awaited},
			func(c *scene) []*moduletest.Client {
				j := c.juliet("a")
				j.Out.BePrompt()
				return []*moduletest.Client{j}
			}},
		{"one session, in time", [3]way{given, copied, copied}, [3]way{archived, archived, archived},
			func(c *scene) []*moduletest.Client {
				return []*moduletest.Client{c.juliet("a")}
			}},
		{"one session, disconnected", [3]way{copied, copied, copied}, [3]way{archived, archived, archived},
			func(c *scene) []*moduletest.Client {
				j := c.juliet("a")
				j.Out.Detach()
				return []*moduletest.Client{j}
			}},
		{"several sessions", [3]way{copied, copied, copied}, [3]way{archived, archived, archived},
			func(c *scene) []*moduletest.Client {
				a, b := c.juliet("a"), c.juliet("b")
				a.Out.BePrompt()
				b.Out.BePrompt()
				return []*moduletest.Client{a, b}
			}},
		{"none", [3]way{stored, stored, stored}, [3]way{stored, stored, stored},
			func(*scene) []*moduletest.Client { return nil }},
	} {
		for i, promised := range senders {
			for _, end := range []string{"taken", "ended", "followed"} {
				name := row.recipient + "/" + promised + "/" + end
				t.Run(name, func(t *testing.T) {
					goWay(newScene(t, Options{}), row.want[i], i, end, row.login)
				})
				t.Run(name+"/archive", func(t *testing.T) {
					goWay(sceneOn(t, Options{}, moduletest.NewStore(), true, ""), row.inArchive[i], i, end, row.login)
				})
			}
		}
	}
}

func goWay(c *scene, want way, promised int, end string, login func(*scene) []*moduletest.Client) {
	sessions := login(c)
	for _, s := range sessions {
		s.Available(0)
	}
	c.store.Hold()
	e := c.promised(promised)
	c.wantWay(e, want, promised > 0)
	inArchive := c.kept != nil && promised > 0 // its write is waited for, too
	switch {
	case sessions == nil:
		c.store.Release(nil)
		c.wantPromise(e, true)
		c.wantComes("hi")
	case end == "taken":
		sessions[0].Take()
		c.wantPromise(e, want == awaited && !inArchive)
		c.store.Release(nil)
		c.wantPromise(e, true)
		c.wantStored(0)
	case end == "ended":
		for _, s := range sessions {
			s.Logout()
		}
		c.wantPromise(e, false) // whatever has it now, the disk has not
		c.store.Release(nil)
		c.wantPromise(e, true)
		c.wantComes("hi")
	case end == "followed": // what is stored behind it must not overtake it if the sessions end
		for _, s := range sessions {
			s.Out.Fill(true)
		}
		c.romeo.Send(message("next"))
		c.wantPromise(e, false)
		c.store.Release(nil)
		c.wantPromise(e, true)
		c.wantStored(2)
		for _, s := range sessions {
			s.Logout()
		}
		c.wantComes("hi next")
	}
}

// promised sends a message for which the sender is promised what the column says.
func (c *scene) promised(column int) *router.Envelope {
	c.Helper()
	switch column {
	case 0:
		return c.romeo.Send(hi)
	case 1:
		return c.romeo.SendDurable(hi)
	}
	return c.romeo.SendDurable(strings.Replace(hi, "</body>", "</body><origin-id xmlns='urn:xmpp:sid:0' id='o1'/>", 1))
}

// wantWay checks what a way means right after the message was routed, while no write has finished.
func (c *scene) wantWay(e *router.Envelope, want way, promised bool) {
	c.Helper()
	outcome, records, writes := router.Delivered, 1, 1
	switch want {
	case given:
		records, writes = 0, 0
	case awaited:
		records = 0
		if c.kept != nil { // the archive's beside the receipt
			writes = 2
		}
	case archived:
		if records = 0; !promised {
			writes = 0
		}
	case stored:
		outcome = router.Stored
	}
	if e.Outcome != outcome || len(e.Pendings) != writes || (e.Kept != 0) != (want == copied || want == archived) {
		c.Errorf("%v with the copy %d, and %d writes are awaited", e.Outcome, e.Kept, len(e.Pendings))
	}
	if (e.Kept&inArchive != 0) != (want == archived) {
		c.Errorf("kept as %d", e.Kept)
	}
	c.wantStored(records)
	c.wantPromise(e, !promised && (want == given || want == archived))
}

// wantPromise checks whether the acknowledgement of the message may go.
func (c *scene) wantPromise(e *router.Envelope, want bool) {
	c.Helper()
	done, err := storage.Join(e.Pendings...).Finished()
	if !e.Durable && len(e.Pendings) == 0 {
		return
	}
	if done != want || err != nil {
		c.Errorf("acknowledged: %v, not %v (%v)", done, want, err)
	}
}

// wantComes logs juliet in and checks what comes, once each.
func (c *scene) wantComes(want string) {
	c.Helper()
	j := c.juliet("next")
	j.Available(0)
	j.Wait(len(strings.Fields(want)))
	waitFor(c.T, c.idle)
	if got := bodies(j.Take()); got != want {
		c.Errorf("got %q, not %q", got, want)
	}
	c.wantStored(0)
	again := c.juliet("again")
	again.Available(1)
	waitFor(c.T, c.idle)
	again.Want()
}
