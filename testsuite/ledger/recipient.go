package ledger

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"jackdaw/testsuite/harness"
)

// arrival is a message that a recipient saw.
type arrival struct {
	n        int
	id       string // stanza-id
	round    int
	session  int // of the recipient
	handled  int // how many stanzas of the session have come, with it
	marked   bool
	wasAcked int // what its sender knew as acknowledged at the end of that round, or before the trouble in it
}

type recipient struct {
	book                   *Book
	name                   string
	away, managed, resumes bool

	mu   sync.Mutex // guards the rest
	got  map[string][]arrival
	conn net.Conn // while there is one
	over bool     // no more connections in this round
	// doing is what it does, for whoever wonders why it does not come to an end.
	doing string

	handled  int // of the stream, for its reader
	session  int // likewise: how many there were
	sessions []life
}

// A life is what a session has said and heard.
type life struct {
	answers []answered
	heard   time.Time // for the last time
}

// answered is an acknowledgement.
type answered struct {
	handled int
	at      time.Time
}

// begins counts a new session.
func (r *recipient) begins() {
	r.handled = 0
	r.session++
	for len(r.sessions) <= r.session {
		r.sessions = append(r.sessions, life{})
	}
}

// hears notes that the server has said something.
func (r *recipient) hears() { r.sessions[r.session].heard = time.Now() }

// answers notes that what was handled is acknowledged.
func (r *recipient) answers() {
	l := &r.sessions[r.session]
	l.answers = append(l.answers, answered{r.handled, time.Now()})
}

// known is how long the server has lived, at least, after a message that has arrived was acknowledged; 0: it may not
// have heard of that.
func (r *recipient) known(a arrival) time.Duration {
	l := r.sessions[a.session]
	i := sort.Search(len(l.answers), func(i int) bool { return l.answers[i].handled >= a.handled })
	if i == len(l.answers) {
		return 0
	}
	return max(0, l.heard.Sub(l.answers[i].at))
}

// cut resets the connection, and says whether there was one; for good: none follows.
func (r *recipient) cut(forGood bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = forGood
	if r.conn == nil {
		return false
	}
	if t, ok := r.conn.(*tls.Conn); ok { // without a farewell
		if c, ok := t.NetConn().(*net.TCPConn); ok {
			c.SetLinger(0) // a cut that the server hears of as an end is one too
		}
		t.NetConn().Close()
	}
	r.conn = nil
	return true
}

// holds notes the connection, unless there is to be none.
func (r *recipient) holds(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		c.Close()
		return false
	}
	r.conn = c
	return true
}

// watch is a recipient who is online during a round; there is told when it is, or cannot be.
func (r *recipient) watch(round int, there chan<- struct{}, doors chan struct{}) {
	r.over = false
	doors <- struct{}{}
	c, id, err := r.enters()
	<-doors
	there <- struct{}{}
	if err != nil {
		return
	}
	defer r.does("")
	for {
		r.does("reads since " + time.Now().Format("15:04:05.000") + " from " + c.Conn.RemoteAddr().String())
		err := r.read(c, round, firstMarker+round)
		if err == nil {
			if r.managed {
				c.Send(r.answer()) // a failure leaves the marker in storage, where nobody minds it
			}
			c.Close()
			return
		}
		c.Conn.Close()
		r.book.lost.Add(1)
		if id == "" && r.book.way == nil {
			return
		}
		r.does("comes again: " + err.Error())
		if id != "" {
			c, id, err = r.resume(id)
			if err == nil && c == nil {
				return
			}
			if err == nil {
				r.book.resumed.Add(1)
				continue
			}
			if r.book.way == nil {
				r.book.T.Errorf("%s does not resume: %v", r.name, err)
				return
			}
		}
		if c, id, err = r.enters(); err != nil { // its home is gone: a new session
			return
		}
		r.book.anew.Add(1)
	}
}

func (r *recipient) does(what string) {
	r.mu.Lock()
	r.doing = what
	r.mu.Unlock()
}

func (r *recipient) isOver() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.over
}

// enters is enter, again and again where there are several nodes.
func (r *recipient) enters() (c *harness.Client, id string, err error) {
	end := time.Now().Add(harness.Timeout)
	for {
		if c, id, err = r.enter(); err == nil || r.book.way == nil {
			return c, id, err
		}
		r.does("does not get in: " + err.Error())
		if r.isOver() || time.Now().After(end) {
			r.book.T.Errorf("%s does not get in: %v", r.name, err)
			return nil, "", err
		}
		<-time.After(50 * time.Millisecond)
	}
}

// mark notes of what has come what senders know as acknowledged.
func (r *recipient) mark() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.book.senders {
		acked := s.done()
		for i := len(r.got[s.name]) - 1; i >= 0; i-- {
			a := &r.got[s.name][i]
			if a.marked {
				break
			}
			a.marked, a.wasAcked = true, acked
		}
	}
}

// enter logs in and is available; id is for resume, if the recipient does.
func (r *recipient) enter() (c *harness.Client, id string, err error) {
	way, _ := r.book.at()
	if c, err = harness.Connect(way.C2STLS, r.name, "r"); err != nil {
		return nil, "", err
	}
	r.begins()
	if r.managed {
		if id, err = c.Enable(); err != nil {
			c.Conn.Close()
			return nil, "", err
		}
	}
	if !r.resumes {
		id = ""
	}
	if !r.holds(c.Conn) {
		return nil, "", errors.New("the round is over")
	}
	return c, id, c.Send("<presence/>")
}

// resumption is how long it may take until all have resumed, on a slow and busy machine.
const resumption = 5 * harness.Timeout

// resume continues the stream (XEP-0198 §5). What was sent before is not lost: the recipient has sent nothing but
// presence. Without a client and an error the round is over.
func (r *recipient) resume(id string) (*harness.Client, string, error) {
	end := time.Now().Add(resumption)
	for { // as a phone does; a crowd may have to wait
		c, err := r.continues(id)
		switch {
		case err == nil && r.holds(c.Conn):
			return c, id, nil
		case err == nil:
			return nil, "", nil
		case errors.Is(err, errRefused), time.Now().After(end), r.book.way == nil && !r.book.Alive():
			return nil, "", err
		case r.book.way != nil:
			r.does("does not resume: " + err.Error())
			if r.isOver() {
				return nil, "", nil
			}
			<-time.After(50 * time.Millisecond)
		}
	}
}

// errRefused says that the server does not know the stream any more.
var errRefused = errors.New("the stream is not resumed")

func (r *recipient) continues(id string) (*harness.Client, error) {
	way, _ := r.book.at()
	c, err := harness.Login(way.C2STLS, r.name)
	if err != nil {
		return nil, err
	}
	err = c.Send(fmt.Sprintf("<resume xmlns='urn:xmpp:sm:3' previd='%s' h='%d'/>", id, r.handled))
	el := ""
	if err == nil {
		el, err = c.Next()
	}
	if err == nil && strings.HasPrefix(el, "<resumed") {
		r.answers()
		return c, nil
	}
	c.Conn.Close()
	if err == nil {
		err = errors.New(el)
	}
	if strings.HasPrefix(el, "<failed") || strings.Contains(el, "handled-count-too-high") {
		err = fmt.Errorf("%w: %s", errRefused, el)
	}
	return nil, err
}

// answer is the acknowledgement of what was handled.
func (r *recipient) answer() string {
	r.answers()
	return fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", r.handled)
}

// afterAll is how long after an acknowledgement that a server has heard a kill may have the message come again
// (docs/promises.md §3), and as much again for what is on its way on a busy machine.
const afterAll = 2 * 4 * time.Second

// judge says what is wrong with what a recipient got from one sender; mayRepeat: what was not taken before a kill may
// come again.
func (r *recipient) judge(index int, s *sender, mayRepeat bool) (problems []string) {
	who := r.name
	seen, last := map[int]arrival{}, map[int]arrival{}
	highest := -1
	for _, a := range r.got[s.name] {
		first, again := seen[a.n]
		if !again {
			if a.n < highest && !s.bounced[a.n] && !(s.again[a.n] && s.book.way != nil) { // sent again, after those
				problems = append(problems, fmt.Sprintf("reordered: %s got %s %d after %d, in round %d",
					who, s.name, a.n, highest, a.round))
			}
			highest = max(highest, a.n)
			seen[a.n], last[a.n] = a, a
			continue
		}
		known := r.known(last[a.n])
		last[a.n] = a
		s.book.again++
		s.book.latest = max(s.book.latest, known)
		switch {
		case !mayRepeat:
			problems = append(problems, fmt.Sprintf("doubled: %s got %s %d twice, ids %s and %s", who, s.name, a.n, first.id, a.id))
		case a.session == first.session:
			problems = append(problems, fmt.Sprintf("doubled: %s got %s %d twice without a kill between, in rounds %d and %d", who,
				s.name, a.n, first.round, a.round))
		case known > afterAll+s.book.size.Skew:
			problems = append(problems, fmt.Sprintf("repeated: %s got %s %d of round %d again in round %d, it had acknowledged it %v before", who,
				s.name, a.n, first.round, a.round, known.Round(time.Millisecond)))
		case a.id != first.id && first.id != "" && a.n < first.wasAcked:
			problems = append(problems, fmt.Sprintf("doubled: %s got %s %d as %s and as %s, and it had been acknowledged", who, s.name, a.n, first.id, a.id))
		}
	}
	for n := index; n < s.sent(); n += len(s.book.recipients) {
		if _, ok := seen[n]; !ok && s.promised(n) {
			problems = append(problems, fmt.Sprintf("lost: %s never got %s %d, which was acknowledged in round %d", who, s.name, n,
				s.roundOf(n)))
		}
	}
	return problems
}

// read takes messages until the stream ends, or until the message with that marker.
func (r *recipient) read(c *harness.Client, round int, marker int) error {
	_, patience := r.book.at()
	for {
		el, err := c.NextWithin(patience)
		if err != nil {
			return err
		}
		r.hears()
		switch {
		case strings.HasPrefix(el, "<message"):
			r.handled++
			_, after, _ := strings.Cut(el, "<body>")
			body, _, _ := strings.Cut(after, "</body>")
			name, number, _ := strings.Cut(body, "|")
			n, err := strconv.Atoi(number)
			if err != nil {
				return fmt.Errorf("not a message of ours: %s", el)
			}
			if name == "marker" {
				if n == marker {
					return nil
				}
				continue
			}
			_, sid, _ := strings.Cut(el, "<stanza-id ")
			r.mu.Lock()
			r.got[name] = append(r.got[name], arrival{n: n, id: harness.Attr("<stanza-id "+sid, "id"), round: round,
				session: r.session, handled: r.handled})
			r.mu.Unlock()
		case strings.HasPrefix(el, "<r "):
			if c.Send(r.answer()) != nil {
				continue // a failure shows at the next read
			}
		case strings.HasPrefix(el, "<presence"), strings.HasPrefix(el, "<iq"): // what ends the stream is none
			r.handled++
		}
	}
}

// close notes, for what arrived in the round, what its senders knew at its end.
func (r *recipient) close(round int) {
	for _, s := range r.book.senders {
		for i := range r.got[s.name] {
			a := &r.got[s.name][i]
			// What a session before has seen may have been sent anew.
			if a.round == round && !a.marked && a.session == r.session {
				a.wasAcked = s.done()
			}
			a.marked = true
		}
	}
}

// collect logs in at the end and takes all that is left, up to a message to itself.
func (r *recipient) collect(round int) error {
	r.begins()
	way, _ := r.book.at()
	c, err := harness.Connect(way.C2STLS, r.name, "last")
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Enable(); err != nil {
		return err
	}
	if err := c.Send("<presence/>"); err != nil {
		return err
	}
	if err := c.Send(marker(r.name+"@localhost", lastMarker)); err != nil {
		return err
	}
	return r.read(c, round, lastMarker)
}
