package federation

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jackdaw/testsuite/fakepeer"
	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

// recipients is how many there are. A sender numbers its messages, and number n goes to recipient n % recipients, so
// that what a recipient gets from one sender must come in steps of that size.
const recipients = 3

func to(n int) string { return fmt.Sprintf("r%d@far.example", n%recipients) }

// A sender sends its messages in order, and again what was not acknowledged.
type sender struct {
	name  string
	count int
	seen  atomic.Int64 // one more than the highest number that the peer has seen

	mu      sync.Mutex // guards the rest
	acked   int        // messages below are acknowledged, by HTTP 200 or <a/>
	bounced []int      // in the order in which errors came
}

func (s *sender) body(n int) string { return fmt.Sprintf("%s|%d", s.name, n) }

func (s *sender) done() (acked int, bounced int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acked, len(s.bounced)
}

// byHTTP posts one message after the other, each until it is accepted, and not so far ahead of the peer that the queue
// for it, which all share, would be full.
func (s *sender) byHTTP(addr string, stop *atomic.Bool) {
	for n, _ := s.done(); n < s.count && !stop.Load(); {
		if n >= int(s.seen.Load())+ahead {
			<-time.After(time.Millisecond)
			continue
		}
		a, err := post(addr, request{user: s.name + "@" + home, headers: []string{"Idempotency-Key", s.body(n)},
			body: "<message to='" + to(n) + "' type='chat'><body>" + s.body(n) + "</body></message>"})
		if err == nil && a.Status == 200 {
			n++
			s.mu.Lock()
			s.acked = n
			s.mu.Unlock()
			continue
		}
		<-time.After(20 * time.Millisecond) // the server is away, or its queue is full: 503
	}
}

// byStream sends with stream management, likewise, and as far as window ahead of the acknowledgements. It connects
// again when the connection is lost, and sends again what was not acknowledged. It listens until stop is set.
func (s *sender) byStream(addr string, window int, stop *atomic.Bool) {
	for !stop.Load() {
		if c, err := harness.ConnectTo(addr, home, s.name, "r"); err == nil {
			s.session(c, window, stop)
			c.Conn.Close()
		}
		<-time.After(20 * time.Millisecond)
	}
}

func (s *sender) session(c *harness.Client, window int, stop *atomic.Bool) {
	if _, err := c.Enable(); err != nil {
		return
	}
	elements := make(chan string)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(elements)
		for {
			el, err := c.NextWithin(time.Hour)
			if err != nil {
				return
			}
			elements <- el
		}
	})
	defer func() {
		c.Conn.Close()
		for range elements {
		}
		reader.Wait()
	}()
	base, _ := s.done()
	acked, next, handled := base, base, 0
	for !stop.Load() {
		for next < s.count && next < acked+window && next < int(s.seen.Load())+ahead {
			var b strings.Builder
			for range min(10, s.count-next) {
				fmt.Fprintf(&b, "<message to='%s' type='chat' id='%s'><origin-id xmlns='urn:xmpp:sid:0' id='%s'/><body>%s</body></message>",
					to(next), s.body(next), s.body(next), s.body(next))
				next++
			}
			if c.Send(b.String()+"<r xmlns='urn:xmpp:sm:3'/>") != nil {
				return
			}
		}
		var el string
		var open bool
		select {
		case <-time.After(5 * time.Millisecond): // more may be sent now
			continue
		case el, open = <-elements:
		}
		switch {
		case !open:
			return
		case strings.HasPrefix(el, "<a "):
			h, err := strconv.Atoi(harness.Attr(el, "h"))
			if err != nil {
				return
			}
			acked = base + h
			s.mu.Lock()
			s.acked = max(s.acked, acked)
			s.mu.Unlock()
		case strings.HasPrefix(el, "<r "):
			if c.Send(fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", handled)) != nil {
				return
			}
		case strings.HasPrefix(el, "<message") && harness.Attr(el, "type") == "error":
			handled++
			_, number, _ := strings.Cut(harness.Attr(el, "id"), "|")
			n, err := strconv.Atoi(number)
			if err != nil {
				n = -1
			}
			s.mu.Lock()
			s.bounced = append(s.bounced, n)
			s.mu.Unlock()
		default:
			handled++
		}
	}
}

// ahead is how many messages of one sender are on the way to the peer.
const ahead = 100

// A mail is a run of several senders to one peer.
type mail struct {
	*town
	peer    *fakepeer.Peer
	posters []*sender
	streams []*sender

	weDie bool // our server is killed too, and may forget what it was told a moment before

	mu    sync.Mutex // guards kills
	kills []time.Time
}

// openMail starts a server and a peer, with two senders of each kind that have total messages together.
func openMail(t *testing.T, management fakepeer.Management, limits string, total int) *mail {
	t.Helper()
	m := &mail{town: newTown(t)}
	m.peer = m.town.peer(fakepeer.Options{Domains: []string{"far.example"}, Management: management, Bidi: true}, peers.None)
	o := harness.Options{Fast: true, Config: "limits: {peer_backoff_min: 10ms, peer_backoff_max: 100ms, " + limits + "}\nlog: {level: warn}\n"}
	for i := range 2 {
		m.posters = append(m.posters, &sender{name: fmt.Sprintf("h%d", i), count: total / 8})
		m.streams = append(m.streams, &sender{name: fmt.Sprintf("x%d", i), count: 3 * total / 8})
	}
	for _, s := range m.senders() {
		o.Users = append(o.Users, s.name)
	}
	m.open(o)
	m.play(fakepeer.Script{})
	return m
}

func (m *mail) senders() []*sender { return append(append([]*sender(nil), m.posters...), m.streams...) }

// play is Play of the peer, which counts for the senders what comes.
func (m *mail) play(script fakepeer.Script) {
	each := script.Element
	script.Element = func(l *fakepeer.Link, el fakepeer.Element) bool {
		if el.IsStanza() {
			name, number, _ := strings.Cut(fakepeer.Stanza{Element: el}.Body(), "|")
			n, _ := strconv.Atoi(number) // judge looks at that
			for _, s := range m.senders() {
				if s.name == name {
					s.seen.Store(max(s.seen.Load(), int64(n)+1)) // one stream at a time brings them
				}
			}
		}
		return each != nil && each(l, el)
	}
	m.peer.Play(script)
}

// killed notes that one side was killed.
func (m *mail) killed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kills = append(m.kills, time.Now())
}

func (m *mail) killsSoFar() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.kills)
}

// run has everybody send, and returns when all that was acknowledged has arrived or come back.
func (m *mail) run(t *testing.T, window int) {
	t.Helper()
	var stop atomic.Bool
	var all sync.WaitGroup
	for _, s := range m.posters {
		all.Go(func() { s.byHTTP(m.HTTP, &stop) })
	}
	for _, s := range m.streams {
		all.Go(func() { s.byStream(m.C2STLS, window, &stop) })
	}
	// missing is how many acknowledgements and arrivals, or errors in their place, there are yet to come.
	missing := func() (n int) {
		settled := map[string]bool{}
		for _, s := range m.peer.Stanzas() {
			settled[s.Body()] = true
		}
		for _, s := range m.senders() {
			acked, _ := s.done()
			n += s.count - acked
			s.mu.Lock()
			for _, n := range s.bounced {
				settled[s.body(n)] = true
			}
			s.mu.Unlock()
			for i := range s.count {
				if !settled[s.body(i)] {
					n++
				}
			}
		}
		return n
	}
	least, late := missing(), time.Now().Add(harness.Timeout)
	for least > 0 && time.Now().Before(late) {
		<-time.After(100 * time.Millisecond)
		if n := missing(); n < least {
			least, late = n, time.Now().Add(harness.Timeout)
		}
	}
	stop.Store(true)
	all.Wait()
}

// judge says what is wrong with what arrived.
//
// In any case: what was acknowledged has arrived or come back, and not both; who wrote each message saw it
// arrive in order at each recipient, where only the first arrival of a message counts; and on one stream nothing is
// left out and nothing comes twice.
//
// Exactly once can be had where the peer says on resumption what it has (XEP-0198 §5) and lives to say it. Without
// that, our server cannot know whether what it wrote before the peer, or it itself, was killed was taken. It must then
// send it again: a message may be seen a second time, on another stream, with a kill between. On that stream all comes
// again from the first message on that was in doubt, so that a stream never starts behind a gap. What the peer had
// acknowledged is not in doubt: our server asks for an acknowledgement when it has got the one before, so that with
// each question but the first it says that it knows.
func (m *mail) judge(t *testing.T, exactly bool) {
	t.Helper()
	var problems []string
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	type key struct {
		sender    string
		recipient int
	}
	type arrival struct {
		n, link, handled int
		at               time.Time
	}
	got := map[key][]arrival{}
	for _, s := range m.peer.Stanzas() {
		if s.Name.Local != "message" {
			if !isPing(s) {
				problem("stray: %s", s.Raw)
			}
			continue
		}
		name, number, _ := strings.Cut(s.Body(), "|")
		n, err := strconv.Atoi(number)
		if err != nil || s.To != to(n) || !strings.HasPrefix(s.From, name+"@"+home) {
			problem("garbled: %s", s.Raw)
			continue
		}
		k := key{name, n % recipients}
		got[k] = append(got[k], arrival{n, s.Link, s.Handled, s.At})
	}
	began := map[int]time.Time{} // streams
	for _, s := range m.peer.Stanzas() {
		if _, known := began[s.Link]; !known {
			began[s.Link] = s.At
		}
	}
	// What was written before a kill may be read after it.
	between := func(a, b arrival) bool {
		for _, k := range m.kills {
			if !k.Before(began[a.link]) && !k.After(b.at) {
				return true
			}
		}
		return false
	}
	arrived, again, back, known := 0, 0, 0, 0
	for _, s := range m.senders() {
		bounced := map[int]bool{}
		for i, n := range s.bounced {
			if bounced[n] {
				problem("bounced twice: %s %d", s.name, n)
			}
			if i > 0 && n < s.bounced[i-1] {
				problem("bounced out of order: %s %d after %d", s.name, n, s.bounced[i-1])
			}
			bounced[n] = true
		}
		back += len(bounced)
		for r := range recipients {
			first := map[int]arrival{}
			highest, link, last := r-recipients, 0, 0
			for _, a := range got[key{s.name, r}] {
				follows := highest // what the message may come after, without a gap
				if a.link == link {
					follows = last
				}
				for follows += recipients; follows < a.n && bounced[follows]; {
					follows += recipients
				}
				switch {
				case a.link == link && a.n <= last:
					problem("reordered or doubled: r%d got %s %d after %d on stream %d", r, s.name, a.n, last, a.link)
				case a.n > follows:
					problem("left out: r%d got %s %d on stream %d, and %d has not come", r, s.name, a.n, a.link, follows)
				}
				link, last, highest = a.link, a.n, max(highest, a.n)
				before, seen := first[a.n]
				switch {
				case !seen:
					first[a.n] = a
					arrived++
				case exactly:
					problem("doubled: r%d got %s %d on streams %d and %d", r, s.name, a.n, before.link, a.link)
				case !between(before, a):
					problem("doubled: r%d got %s %d on streams %d and %d without a kill between", r, s.name, a.n, before.link, a.link)
				default:
					again++
					if a, told := before.handled, m.peer.Confirmed(before.link); told > 0 && a <= told && !m.weDie {
						problem("doubled: r%d got %s %d again, and our server knew that it had been taken", r, s.name, a)
					}
				}
			}
			for n := r; n < s.acked; n += recipients {
				_, seen := first[n]
				switch {
				case !seen && !bounced[n]:
					problem("lost: r%d never got %s %d, which was acknowledged", r, s.name, n)
				case seen && bounced[n]:
					problem("both: r%d got %s %d, and its sender got an error", r, s.name, n)
				}
			}
		}
		if s.acked < s.count {
			problem("stuck: %s has %d of %d acknowledged", s.name, s.acked, s.count)
		}
	}
	for link := range began {
		known += m.peer.Confirmed(link)
	}
	t.Logf("%d kills, %d arrived, %d of them again, %d came back; %d were known to have been taken", len(m.kills), arrived, again, back, known)
	for i, p := range problems {
		if i == 20 {
			t.Errorf("and %d more", len(problems)-i)
			break
		}
		t.Error(p)
	}
}

// noneBack checks that there was no reason to give anything back.
func (m *mail) noneBack(t *testing.T) {
	t.Helper()
	for _, s := range m.streams {
		if _, bounced := s.done(); bounced > 0 {
			t.Errorf("%d messages of %s came back, and the peer was there", bounced, s.name)
		}
	}
}

// killPeer is a script that kills the peer each time that so many stanzas have come, and starts it again a moment
// later.
func (m *mail) killPeer(every, times int) fakepeer.Script {
	var seen atomic.Int64
	return fakepeer.Script{Element: func(l *fakepeer.Link, el fakepeer.Element) bool {
		if !el.IsStanza() || !l.Incoming {
			return false
		}
		if n := int(seen.Add(1)); n%every == 0 && n/every <= times {
			m.peer.Kill()
			m.killed()
			time.AfterFunc(time.Duration(rand.IntN(200))*time.Millisecond, m.peer.Restart)
		}
		return false
	}}
}

func TestAPeerThatIsKilledGetsEveryMessageOnce(t *testing.T) {
	const total, kills = 10_000, 10
	m := openMail(t, fakepeer.Resume, "peer_age: 5m", total)
	m.play(m.killPeer(total/(kills+1), kills))
	m.run(t, 50)
	m.judge(t, true)
	m.noneBack(t)
	if m.killsSoFar() != kills {
		t.Errorf("%d kills", m.killsSoFar())
	}
}

func TestAPeerThatCannotResumeGetsAgainWhatWasInFlightAlone(t *testing.T) {
	for management, name := range map[fakepeer.Management]string{fakepeer.Acknowledge: "acknowledges", fakepeer.Unmanaged: "acknowledges nothing"} {
		t.Run(name, func(t *testing.T) {
			const total, kills = 6_000, 5
			m := openMail(t, management, "peer_age: 5m", total)
			m.play(m.killPeer(total/(kills+1), kills))
			m.run(t, 50)
			m.judge(t, false)
			m.noneBack(t)
		})
	}
}

// The peer has nothing of what it never let anybody send, so nothing is in doubt.
func TestAPeerThatAcceptsAndClosesGetsEveryMessageOnceWhenItIsWell(t *testing.T) {
	const total, sick = 10_000, 15
	m := openMail(t, fakepeer.Unmanaged, "peer_age: 5m", total)
	var closed atomic.Int64
	m.play(fakepeer.Script{Accept: func(c net.Conn) bool {
		if closed.Add(1) > sick {
			return false
		}
		c.Close()
		return true
	}})
	m.run(t, 50)
	m.judge(t, true)
	if n := closed.Load(); n <= sick {
		t.Errorf("the server has tried %d times", n)
	}
}

func TestAPeerThatOnlyAcceptsAndClosesHasEveryMessageBounceOnce(t *testing.T) {
	const total = 10_000
	m := openMail(t, fakepeer.Unmanaged, "peer_age: 2s, peer_stanzas: 20000, peer_bytes: 64000000", total)
	m.posters = nil // whoever posts and is not there cannot be told
	m.play(fakepeer.Script{Accept: func(c net.Conn) bool { c.Close(); return true }})
	for _, s := range m.streams {
		s.count = total / 2
	}
	for _, s := range m.streams {
		s.seen.Store(total) // all may be sent at once
	}
	m.run(t, 500)
	m.judge(t, true)
	for _, s := range m.streams {
		if _, bounced := s.done(); bounced != s.count {
			t.Errorf("%d of %d messages of %s came back", bounced, s.count, s.name)
		}
	}
	if got := m.peer.Stanzas(); len(got) > 0 {
		t.Errorf("and %d arrived", len(got))
	}
}

func TestOurOwnDeathLosesNothing(t *testing.T) {
	for management, name := range map[fakepeer.Management]string{fakepeer.Resume: "peer resumes", fakepeer.Unmanaged: "peer acknowledges nothing"} {
		t.Run(name, func(t *testing.T) {
			const total, kills = 10_000, 10
			// What has come and is not known to have come takes room in the queue too.
			m := openMail(t, management, "peer_age: 5m, peer_stanzas: 5000", total)
			m.weDie = true
			// Every second time the peer dies first, so that what is acknowledged meanwhile is nowhere but on our disk.
			var seen atomic.Int64
			due := make(chan bool, kills)
			m.play(fakepeer.Script{Element: func(l *fakepeer.Link, el fakepeer.Element) bool {
				const every = total / (kills + 1)
				if !el.IsStanza() || !l.Incoming {
					return false
				}
				if n := int(seen.Add(1)); n%every == 0 && n/every <= kills {
					both := n/every%2 == 0
					if both {
						m.peer.Kill()
						m.killed()
					}
					due <- both
				}
				return false
			}})
			var dying sync.WaitGroup
			over := make(chan struct{})
			dying.Go(func() {
				for {
					select {
					case both := <-due:
						if both {
							<-time.After(50 * time.Millisecond)
						}
						m.Kill()
						m.killed()
						m.Launch()
						if both {
							m.peer.Restart()
						}
					case <-over:
						return
					}
				}
			})
			m.run(t, 50)
			close(over)
			dying.Wait()
			m.judge(t, false)
			m.noneBack(t)
			if m.killsSoFar() != kills+kills/2 {
				t.Errorf("%d kills", m.killsSoFar())
			}
		})
	}
}

// What does not fit in the queue of a domain is refused before it is acknowledged, and what did fit arrives.
func TestAFullQueueRefusesAndKeepsWhatItHas(t *testing.T) {
	const room = 100
	m := openMail(t, fakepeer.Resume, fmt.Sprintf("peer_age: 5m, peer_stanzas: %d", room), 4)
	m.peer.Kill()
	var accepted []string
	for n := range room + 10 {
		id := fmt.Sprintf("m%d", n)
		a := m.post(request{user: "h0@" + home, body: "<message id='" + id + "' to='r0@far.example'><body>x</body></message>"})
		switch {
		case n < room && a.Status == 200:
			accepted = append(accepted, id)
		case n < room || a.Status != 503:
			t.Fatalf("post %d is answered by %d %s", n, a.Status, a.Text)
		}
	}
	c := m.client("x0", "r")
	c.Send("<message id='full' to='r0@far.example'><body>x</body></message>")
	el, err := c.Until(func(el string) bool { return harness.Attr(el, "id") == "full" })
	if err != nil || harness.Attr(el, "type") != "error" || !strings.Contains(el, "<resource-constraint") || !strings.Contains(el, "type='wait'") {
		t.Errorf("the client gets %s (%v)", el, err)
	}
	m.peer.Restart()
	got, err := m.peer.Until(hasID(accepted[len(accepted)-1]))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, s := range got {
		if !isPing(s) {
			ids = append(ids, s.Attr("id"))
		}
	}
	same(t, "what arrives", accepted, ids)
}
