package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"jackdaw/testsuite/load/stage"
)

// A worker has one message on its way at a time, from one of its sessions to any of all.
type worker struct {
	number   int
	sessions []*session
	dice     *rand.Rand
	said     int
	came     chan int    // numbers of its messages, as they reach their recipients
	acked    chan uint64 // counts of its sessions' acknowledgements
}

const body = "But, soft! what light through yonder window breaks? It is the east, and Juliet is the sun."

// employ shares the sessions among workers.
func (c *crowd) employ(n int) {
	c.workers = nil
	for i := range min(n, len(c.sessions)) {
		c.workers = append(c.workers, &worker{number: i, dice: rand.New(rand.NewPCG(1, uint64(i))),
			came: make(chan int, 4), acked: make(chan uint64, 4)})
	}
	for i, s := range c.sessions {
		w := c.workers[i%len(c.workers)]
		w.sessions, s.owner = append(w.sessions, s), w
	}
}

// say sends a message, from one and to one of the first among sessions of the crowd, and waits until it has arrived and
// has been acknowledged. Times count from due.
func (w *worker) say(c *crowd, among int, due time.Time) (arrived, acknowledged time.Duration, err error) {
	own := (among - w.number + len(c.workers) - 1) / len(c.workers) // of these
	from := w.sessions[w.said%own]                                  // they take turns
	to := c.sessions[w.dice.IntN(among)]
	w.said++
	from.sent++
	_, err = fmt.Fprintf(from, "<message type='chat' id='%d-%d' to='%s'><body>%s</body></message><r xmlns='urn:xmpp:sm:3'/>",
		w.number, w.said, to.user, body)
	if err != nil {
		return 0, 0, err
	}
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for arrived == 0 || acknowledged == 0 {
		select {
		case n := <-w.came:
			if n != w.said || arrived != 0 {
				return 0, 0, fmt.Errorf("message %d of worker %d came when %d was on its way", n, w.number, w.said)
			}
			arrived = time.Since(due)
		case h := <-w.acked:
			if h == uint64(from.sent) {
				acknowledged = time.Since(due)
			}
		case <-c.over:
			return 0, 0, c.err()
		case <-late.C:
			return 0, 0, fmt.Errorf("message %d of worker %d: arrived after %v, acknowledged after %v; a minute is over", w.said, w.number,
				arrived, acknowledged)
		}
	}
	return arrived, acknowledged, nil
}

// spoken is what a talk has shown.
type spoken struct {
	messages              int64
	cpu                   time.Duration // of the server
	arrived, acknowledged []time.Duration
}

// warm has all sessions talk until each has said something, for what a session costs once; for a quarter of a minute at
// most.
func (c *crowd) warm() error {
	n := len(c.sessions)
	for end := time.Now().Add(15 * time.Second); n > 0 && time.Now().Before(end); {
		all, err := c.talk(time.Second, 0, len(c.sessions))
		if err != nil {
			return err
		}
		n -= int(all.messages)
	}
	return nil
}

// talk has the first among sessions talk for a time: as fast as they can, or with a rate of messages a second in all.
func (c *crowd) talk(d time.Duration, rate float64, among int) (all spoken, err error) {
	before, err := stage.TreeCPU(c.server.PID())
	if err != nil {
		return all, err
	}
	var mu sync.Mutex // guards all
	var wg sync.WaitGroup
	began := time.Now()
	for _, w := range c.workers {
		wg.Go(func() {
			var arrived, acknowledged []time.Duration
			for i := 0; ; i++ {
				due := time.Now()
				if rate > 0 {
					due = began.Add(time.Duration(float64(i*len(c.workers)+w.number) / rate * float64(time.Second)))
					<-time.After(time.Until(due))
				}
				if due.Sub(began) >= d {
					break
				}
				a, b, err := w.say(c, among, due)
				if err != nil {
					c.fail(err)
					break
				}
				arrived, acknowledged = append(arrived, a), append(acknowledged, b)
			}
			mu.Lock()
			defer mu.Unlock()
			all.arrived, all.acknowledged = append(all.arrived, arrived...), append(all.acknowledged, acknowledged...)
		})
	}
	wg.Wait()
	if err := c.err(); err != nil {
		return all, err
	}
	after, err := stage.TreeCPU(c.server.PID())
	all.messages, all.cpu = int64(len(all.arrived)), after-before
	if err == nil && all.messages == 0 {
		err = fmt.Errorf("nothing was said in %v", d)
	}
	return all, err
}

// quantile of times, in milliseconds.
func quantile(all []time.Duration, q float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))].Seconds() * 1000
}
