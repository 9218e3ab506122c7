package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/load/stage"
)

const couples = 100 // that talk; each has two archives

// measurePurge fills archives, measures, starts the server anew with all that is older than keep to be purged, which
// begins at once, and measures again until nothing of it is left or the limit is over.
func measurePurge(s *stage.Stage, program string, messages, rate int, quiet, limit, keep time.Duration) []figure {
	var users []string
	var talks [][2]string
	for i := range couples {
		talks = append(talks, [2]string{fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i)})
		users = append(users, talks[i][0], talks[i][1])
	}
	server := serve(s, program, "0", users...)
	fill(s, server, talks, messages/couples/2)
	filled := time.Now()
	s.Logf("archive: %d archives are filled", 2*couples)
	// The journal that the filling has left is merged meanwhile.
	base := loaded(s, server, talks[:20], rate, quiet, func() bool { return false })
	server.Stop()

	text, err := os.ReadFile(server.Config)
	if err != nil {
		s.Fatal(err)
	}
	changed := strings.Replace(string(text), config("0"), config(keep.String()), 1)
	if changed == string(text) {
		s.Fatalf("no %q in\n%s", config("0"), text)
	}
	if err := os.WriteFile(server.Config, []byte(changed), 0o600); err != nil {
		s.Fatal(err)
	}
	// The round at the start is the only one for an hour, and is to find all of what was said before.
	<-time.After(time.Until(filled.Add(keep)))
	server.Launch()
	began := time.Now()
	slices.Sort(users) // the order in which the embedded store goes through them
	left := watch(server, users, filled)
	then := loaded(s, server, talks[:20], rate, limit, func() bool { return left.Load() == 0 })
	took := time.Since(began)
	note := fmt.Sprintf("all of %s messages purged in %.0f s", stage.Thousands(float64(messages)), took.Seconds())
	if n := left.Load(); n > 0 {
		note = fmt.Sprintf("%d of %d archives still held messages after %.0f s", n, len(users), took.Seconds())
	}
	server.Stop()
	figures := []figure{
		compare("acknowledged, mean, while purging beside before", base.acked, then.acked, mean),
		compare("acknowledged, p99", base.acked, then.acked, p99),
		compare("delivered, mean", base.heard, then.heard, mean),
		compare("delivered, p99", base.heard, then.heard, p99),
	}
	for i := range figures {
		figures[i].Bar = 1.5
	}
	figures[len(figures)-1].Note = note
	return figures
}

func compare(what string, base, then []time.Duration, by func([]time.Duration) time.Duration) figure {
	f := figure{What: what, Base: by(base).Seconds() * 1000, Then: by(then).Seconds() * 1000}
	f.Ratio = f.Then / f.Base
	return f
}

func mean(all []time.Duration) (sum time.Duration) {
	for _, d := range all {
		sum += d
	}
	return sum / time.Duration(len(all))
}

func p99(all []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(all))[len(all)*99/100]
}

// watch returns how many archives may still hold something of before. It asks one after the other, each until it is
// empty.
func watch(server *harness.Server, users []string, before time.Time) *atomic.Int32 {
	left := &atomic.Int32{}
	left.Store(int32(len(users)))
	go func() {
		for _, user := range users {
			c, err := harness.Connect(server.C2STLS, user, "watch") // without presence: it gets no messages
			if err != nil {
				return // the server has been stopped
			}
			o := &owner{client: c, domain: server.Domain}
			for {
				_, n, err := o.page(field("end", before.UTC().Format(time.RFC3339)), "<max>1</max>")
				if err != nil {
					return
				}
				if n == 0 {
					break
				}
				<-time.After(100 * time.Millisecond)
			}
			c.Close()
			left.Add(-1)
		}
	}()
	return left
}

// latencies of messages.
type latencies struct{ acked, heard []time.Duration }

// loaded has the talks exchange rate messages a second in all, evenly, for a time or until over.
func loaded(s *stage.Stage, server *harness.Server, talks [][2]string, rate int, limit time.Duration,
	over func() bool) (all latencies) {
	var mu sync.Mutex // guards all
	var wg sync.WaitGroup
	faults := make(chan error, 3*len(talks))
	every := time.Second * time.Duration(len(talks)) / time.Duration(rate)
	stop := time.Now().Add(limit)
	for i, talk := range talks {
		from, to := online(s, server, talk[0]), online(s, server, talk[1])
		if _, err := from.Enable(); err != nil {
			s.Fatal(err)
		}
		var sent sync.Map // number of a message to the time.Time at which it was said
		var last atomic.Int64
		say := func(n int) error {
			sent.Store(n, time.Now())
			return from.Send(chat(strconv.Itoa(n), talk[1]+"@"+server.Domain) + "<r xmlns='urn:xmpp:sm:3'/>")
		}
		wg.Go(func() {
			n := 0
			next := time.Now().Add(every * time.Duration(i) / time.Duration(len(talks)))
			for ; time.Now().Before(stop) && !over(); next = next.Add(every) {
				<-time.After(time.Until(next))
				n++
				if err := say(n); err != nil {
					faults <- err
					return
				}
			}
			// One more tells the readers that it is the last.
			last.Store(int64(n + 1))
			if err := say(n + 1); err != nil {
				faults <- err
			}
		})
		read := func(c *harness.Client, number func(el string) string, into *[]time.Duration) {
			defer c.Conn.Close()
			var took []time.Duration
			for heard := 0; last.Load() == 0 || int64(heard) < last.Load(); {
				el, err := c.Next()
				now := time.Now()
				if err != nil {
					faults <- fmt.Errorf("after %d of %d: %w", heard, last.Load(), err)
					return
				}
				n, err := strconv.Atoi(number(el))
				if err != nil {
					continue // something else
				}
				for ; heard < n; heard++ { // an acknowledgement may stand for several
					at, _ := sent.Load(heard + 1)
					took = append(took, now.Sub(at.(time.Time)))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			*into = append(*into, took...)
		}
		wg.Go(func() {
			read(from, func(el string) string {
				if !strings.HasPrefix(el, "<a ") {
					return ""
				}
				return harness.Attr(el, "h")
			}, &all.acked)
		})
		wg.Go(func() {
			read(to, func(el string) string {
				if !strings.HasPrefix(el, "<message") {
					return ""
				}
				return harness.Attr(el, "id")
			}, &all.heard)
		})
	}
	wg.Wait()
	close(faults)
	for err := range faults {
		s.Fatal(err)
	}
	return all
}
