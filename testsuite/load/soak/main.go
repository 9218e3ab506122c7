// Command soak runs two jackdaws, that are peers of each other, for a long time with users that come and go: they
// log in, lose their connections, resume or forget their sessions, write to each other within a server and across,
// post over HTTP, enter rooms, which begin and end, and upload files. It looks at the memory, goroutines, descriptors
// and the disk of each server every few seconds.
//
// It ends with status 1 if a message that was acknowledged has neither arrived nor come back, if something was
// answered wrongly or never, or if anything that is measured is not flat: over the last half of the time its median
// slope (Theil and Sen) may make it grow by a tenth of its median, or by a small floor. Archives are bounded by bytes
// here, so that they are full soon: what is kept for users does not grow then, and neither may the disk, but for the
// ids of messages, which are remembered for a day or two.
//
// It leaves out faults (testsuite/kill), WebSocket and BOSH.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/load/stage"
	"jackdaw/testsuite/peers"
)

func main() { os.Exit(stage.Run("soak", soak)) }

// A plan is what is run.
type plan struct {
	long, every time.Duration
	users       int     // of each server
	rate        float64 // deeds a second in all
	program     string
	out         string
}

func soak(s *stage.Stage) int {
	var p plan
	flag.DurationVar(&p.long, "for", time.Hour, "how long")
	flag.DurationVar(&p.every, "every", 10*time.Second, "from one look at the servers to the next")
	flag.IntVar(&p.users, "users", 40, "of each of the two servers")
	flag.Float64Var(&p.rate, "rate", 60, "deeds a second, of all users that are there; most are messages")
	flag.StringVar(&p.program, "jackdaw", "", "the program (default: built now)")
	flag.StringVar(&p.out, "out", "", "append what was seen to this file, as JSON lines; testsuite/load/draw draws it")
	flag.Parse()
	if p.long <= 0 || p.every <= 0 || p.users < 2 || p.rate <= 0 {
		fmt.Fprintln(os.Stderr, "soak: -for, -every and -rate are above 0, -users is at least 2")
		return 2
	}
	defer harness.Cleanup()
	r := begin(s, p)
	r.last()
	return r.verdict()
}

// A run is one soak.
type run struct {
	*stage.Stage
	plan
	houses []*house
	book   *ledger
	deeds  deeds
	web    http.Client
	end    chan struct{} // closed when persons are to stop
	began  time.Time

	mu     sync.Mutex // guards faults
	faults []string
	looks  map[string][]look // by server
}

// begin starts the servers and lets the users live until the time is over.
func begin(s *stage.Stage, p plan) *run {
	r := &run{Stage: s, plan: p, book: newLedger(), end: make(chan struct{}), looks: map[string][]look{}}
	r.web.Timeout = patience
	if p.program == "" {
		r.program = harness.Binary(s, "")
	}
	net := peers.NewNetwork(s)
	for _, name := range []string{"capulet", "montague"} {
		r.houses = append(r.houses, r.build(net, name))
	}
	r.began = time.Now()
	var persons sync.WaitGroup
	pause := time.Duration(float64(2*p.users) / p.rate * float64(time.Second))
	for h, at := range r.houses {
		for i := range p.users {
			x := &person{run: r, at: at, name: fmt.Sprintf("user%d", i), pause: pause, dice: rand.New(rand.NewPCG(uint64(h), uint64(i)))}
			persons.Go(func() {
				if err := x.live(); err != nil {
					r.fault("%v", err)
				}
			})
		}
	}
	stop := time.After(p.long)
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for over := false; !over; {
		select {
		case <-stop:
			over = true
		case <-tick.C:
			r.look()
			over = r.over()
		}
	}
	r.stop()
	persons.Wait()
	return r
}

const config = `
log: {level: warn}
limits: {archive_bytes: 131072, room_archive_bytes: 131072, rooms_archive_bytes: 524288}
modules:
  muc: {open_new_rooms: true}
  upload: {url: "http://HTTP/upload"}
  posts: {max_bytes: 1048576, max_total: 1048576}
`

// build runs a server that knows the other.
func (r *run) build(net *peers.Network, name string) *house {
	domain := name + ".example"
	h := &house{rooms: "rooms." + domain}
	var names []string
	for i := range r.users {
		names = append(names, fmt.Sprintf("user%d", i))
		h.users = append(h.users, names[i]+"@"+domain)
	}
	var resolve strings.Builder
	for _, other := range []string{"capulet", "montague"} {
		for _, service := range []string{"", "rooms."} {
			fmt.Fprintf(&resolve, "\n  %s%s.example: %q", service, other, net.Site(other+".example").S2S)
		}
	}
	cert := net.Authority.IssueForBoth(domain, peers.None)
	// The services of a host are proved by dialback, as they are not in its certificate.
	h.Server = harness.Start(r, harness.Options{Program: r.program, Domain: domain, Cert: cert.Cert, Key: cert.Key,
		Env: net.Authority.Env(), Users: names, C2S: "resume_window: 20s",
		Listen: fmt.Sprintf("s2s: [%q]", net.Site(domain).S2S), S2S: "resolve:" + resolve.String()})
	// Where it listens for HTTP is known only now.
	text, err := os.ReadFile(h.Config)
	if err == nil {
		err = os.WriteFile(h.Config, append(text, strings.Replace(config, "HTTP", h.HTTP, 1)...), 0o600)
	}
	if err != nil {
		r.Fatal(err)
	}
	h.Stop()
	h.Launch()
	return h
}

// over says whether persons are to stop.
func (r *run) over() bool {
	select {
	case <-r.end:
		return true
	default:
		return false
	}
}

// wait is false when persons are to stop.
func (r *run) wait(d time.Duration) bool {
	select {
	case <-r.end:
		return false
	case <-time.After(d):
		return true
	}
}

func (r *run) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over() {
		close(r.end)
	}
}

// fault notes what must not happen, and ends the run.
func (r *run) fault(format string, args ...any) {
	r.mu.Lock()
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
	r.mu.Unlock()
	r.stop()
}

// last has every user take what still waits.
func (r *run) last() {
	for _, h := range r.houses {
		for i := range r.users {
			s, err := open(h.C2STLS, h.Domain, fmt.Sprintf("user%d", i), "last", r.book)
			if err != nil {
				r.fault("the last login of user%d: %v", i, err)
				return
			}
			defer s.close()
		}
	}
	promised, kept, _, _ := r.book.counts()
	for since, seen := time.Now(), kept; kept < promised && time.Since(since) < patience; {
		<-time.After(50 * time.Millisecond)
		if promised, kept, _, _ = r.book.counts(); kept != seen {
			since, seen = time.Now(), kept
		}
	}
}

// verdict prints what came of it and returns the exit status.
func (r *run) verdict() int {
	promised, kept, twice, returned := r.book.counts()
	d := &r.deeds
	fmt.Printf("%.0f s, %d users at each of two servers, %s: "+
		"%d logins, %d resumptions, %d sessions forgotten, %d messages, %d posts, %d visits to rooms, %d uploads.\n"+
		"%d messages acknowledged, %d arrived or came back (%d), %d came twice, %d are lost.\n",
		time.Since(r.began).Seconds(), r.users, runtime.Version(), d.Logins.Load(), d.Resumptions.Load(), d.Forgotten.Load(),
		d.Messages.Load(), d.Posts.Load(), d.Visits.Load(), d.Uploads.Load(),
		promised, kept, returned, twice, len(r.book.lost()))
	status := 0
	fail := func(format string, args ...any) {
		status = 1
		fmt.Printf("FAILED: "+format+"\n", args...)
	}
	for _, f := range r.faults {
		fail("%s", f)
	}
	for i, lost := range r.book.lost() {
		if i < 20 {
			fail("lost: %s", lost)
		}
	}
	if promised == 0 {
		fail("nothing was acknowledged")
	}
	for _, h := range r.houses {
		for _, m := range measures {
			x, y := r.series(h, m.key)
			if len(x) < 20 {
				fail("%d looks are too few to say whether anything grows", len(x))
				return status
			}
			if text, flat := m.judge(x, y); flat {
				fmt.Printf("%s, %s\n", h.Domain, text)
			} else {
				fail("%s, %s", h.Domain, text)
			}
		}
	}
	return status
}
