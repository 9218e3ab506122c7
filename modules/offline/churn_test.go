package offline

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp"
)

func TestNothingIsLostOrDoubledWhileSessionsComeAndGo(t *testing.T) {
	t.Run("no archive", func(t *testing.T) { comeAndGo(t, newScene(t, Options{})) })
	t.Run("archive", func(t *testing.T) {
		c := sceneOn(t, Options{}, moduletest.NewStore(), true, "")
		stop := make(chan struct{})
		var looking sync.WaitGroup
		looking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					c.m.copyOld(all)
					<-time.After(time.Millisecond)
				}
			}
		})
		comeAndGo(t, c)
		close(stop)
		looking.Wait()
	})
}

func comeAndGo(t *testing.T, c *scene) {
	const all = 600
	var seen sync.Map // body → times taken
	take := func(j *moduletest.Client) {
		for _, d := range j.Take() {
			b := d.Stanza.Child(xmpp.Name{Space: xmpp.NSClient, Local: "body"}).Text()
			if old, dup := seen.Swap(b, d.Kept); dup && old != d.Kept {
				t.Errorf("%s came as %v and as %v", b, old, d.Kept)
			}
		}
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for _, name := range []string{"a", "b"} {
		wg.Go(func() {
			for i := 0; ; i++ {
				j := c.juliet(name + strconv.Itoa(i))
				j.Available(int8(i % 3))
				for range i % 5 {
					take(j)
				}
				j.Logout()
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for i := range all {
		e := c.romeo.SendDurable(message(strconv.Itoa(i)))
		if e.Outcome != router.Delivered && e.Outcome != router.Stored {
			t.Errorf("%d: %v, %v", i, e.Outcome, e.Err)
		}
	}
	close(stop)
	wg.Wait()
	waitFor(t, c.idle)
	j := c.juliet("last")
	j.Available(0)
	waitFor(t, func() bool { take(j); return c.stored() == 0 })
	var lost []int
	for i := range all {
		if _, ok := seen.Load(strconv.Itoa(i)); !ok {
			lost = append(lost, i)
		}
	}
	if lost != nil {
		t.Errorf("lost %v", lost)
	}
}
