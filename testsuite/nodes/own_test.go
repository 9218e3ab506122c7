package nodes

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

// What is promised of several nodes, one thing after the other, on the same three.
func TestNodesKeepTheirPromises(t *testing.T) {
	t.Parallel()
	var users []string
	for i := range 24 {
		users = append(users, fmt.Sprintf("u%d", i))
	}
	r := newRig(t, plan{}, 3, users)
	p := &people{r: r, free: users}
	t.Run("resume", func(t *testing.T) { p.resume(t, false) })
	t.Run("resume at home", func(t *testing.T) { p.resume(t, true) })
	t.Run("stop", p.stop)
	t.Run("sleep", p.sleep)
	t.Run("cut", p.cut)
}

// people are accounts that nobody uses yet.
type people struct {
	r    *rig
	free []string
}

// of is an account that is at home on a node now.
func (p *people) of(t *testing.T, home *node) string {
	t.Helper()
	for i, name := range p.free {
		if p.homeOf(t, name) == home {
			p.free = slices.Delete(p.free, i, i+1)
			return name
		}
	}
	t.Fatalf("nobody is at home on %s", home.Name)
	return ""
}

// homeOf is where an account is at home now: who says that it has logged in has the session.
func (p *people) homeOf(t *testing.T, name string) *node {
	t.Helper()
	var from []int
	for _, n := range p.r.nodes {
		from = append(from, len(n.Log()))
	}
	enter(t, p.r.nodes[0], name, "look").Close()
	for end := time.After(harness.Timeout); ; { // the log may be behind
		for i, n := range p.r.nodes {
			if strings.Contains(n.Log()[from[i]:], "session="+name+"@localhost/look ") {
				return n
			}
		}
		select {
		case <-end:
			t.Fatalf("no node says that %s has logged in", name)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// enter logs in; a login fails for a while where the account is on its way to another home.
func enter(t *testing.T, n *node, user, resource string) *harness.Client {
	t.Helper()
	for end := time.Now().Add(harness.Timeout); ; <-time.After(50 * time.Millisecond) {
		c, err := harness.Connect(n.C2STLS, user, resource)
		if err == nil {
			return c
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// A phone is a client with stream management.
type phone struct {
	*harness.Client
	t       *testing.T
	id      string
	handled int
	sent    int // stanzas
}

func call(t *testing.T, n *node, user string) *phone {
	t.Helper()
	c := enter(t, n, user, "phone")
	id, err := c.Enable()
	if err == nil {
		err = c.Send("<presence/>")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Conn.Close() })
	return &phone{Client: c, t: t, id: id, sent: 1}
}

// says sends a message and returns when it is acknowledged.
func (p *phone) says(to, body string) {
	p.t.Helper()
	p.sent++
	if err := p.Send("<message to='" + to + "@localhost' type='chat' id='" + body + "'><body>" + body +
		"</body></message><r xmlns='urn:xmpp:sm:3'/>"); err != nil {
		p.t.Fatal(err)
	}
	for {
		el, err := p.next(20 * time.Second)
		if err != nil {
			p.t.Fatalf("%s is not acknowledged: %v", body, err)
		}
		if strings.HasPrefix(el, "<a ") && harness.Attr(el, "h") == strconv.Itoa(p.sent) {
			return
		}
		if strings.Contains(el, "type='error'") {
			p.t.Fatalf("%s comes back: %s", body, el)
		}
	}
}

// next is the next element; requests for acknowledgements are not answered.
func (p *phone) next(within time.Duration) (string, error) {
	el, err := p.NextWithin(within)
	for _, name := range []string{"<message", "<presence", "<iq"} {
		if strings.HasPrefix(el, name) {
			p.handled++
		}
	}
	return el, err
}

// hears returns the bodies of messages up to the last that is expected.
func (p *phone) hears(last string) (bodies []string) {
	p.t.Helper()
	for {
		el, err := p.next(harness.Timeout)
		if err != nil {
			p.t.Fatalf("no %s after %q: %v", last, bodies, err)
		}
		if _, after, ok := strings.Cut(el, "<body>"); ok {
			body, _, _ := strings.Cut(after, "</body>")
			if bodies = append(bodies, body); body == last {
				return bodies
			}
		}
	}
}

// others are the nodes but these.
func (r *rig) others(not ...*node) (list []*node) {
	for _, n := range r.nodes {
		if !slices.Contains(not, n) {
			list = append(list, n)
		}
	}
	return list
}

// resume has a client resume through another node when the one with its connection was killed, whether that is its home
// or not.
func (p *people) resume(t *testing.T, home bool) {
	r := p.r
	edge := r.nodes[0]
	other := r.others(edge)
	user, friend := p.of(t, other[0]), p.of(t, other[1])
	u, f := call(t, edge, user), call(t, other[1], friend)
	f.says(user, "one")
	if got := u.hears("one"); len(got) != 1 {
		t.Errorf("%q", got)
	}
	handled := u.handled
	f.says(user, "two") // which the client will not have read
	edge.kill()
	f.says(user, "three")
	through := other[1]
	if home {
		through = other[0]
	}
	c, err := harness.Login(through.C2STLS, user)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Conn.Close()
	if err := c.Send(fmt.Sprintf("<resume xmlns='urn:xmpp:sm:3' previd='%s' h='%d'/>", u.id, handled)); err != nil {
		t.Fatal(err)
	}
	if el, err := c.Next(); err != nil || !strings.HasPrefix(el, "<resumed") {
		t.Fatalf("not resumed: %s, %v", el, err)
	}
	again := &phone{Client: c, t: t}
	f.says(user, "four")
	if got := again.hears("four"); !slices.Equal(got, []string{"two", "three", "four"}) {
		t.Errorf("after resumption came %q", got)
	}
	edge.launch()
	r.settled(3)
}

// stop loses nothing, and who is neither at home nor connected there does not notice it.
func (p *people) stop(t *testing.T) {
	r := p.r
	gone := r.nodes[2]
	other := r.others(gone)
	user, friend, moves := p.of(t, other[0]), p.of(t, other[1]), p.of(t, gone)
	u, f, m := call(t, other[1], user), call(t, other[0], friend), call(t, other[0], moves)
	f.says(user, "before")
	f.says(moves, "untaken")
	gone.stop(t)
	for { // told to come again
		el, err := m.next(harness.Timeout)
		if strings.HasPrefix(el, "<stream:error") {
			if !strings.Contains(el, "system-shutdown") {
				t.Errorf("whose home is stopped is told: %s", el)
			}
			break
		}
		if err != nil {
			t.Fatalf("whose home is stopped is told nothing: %v", err)
		}
	}
	f.says(user, "after")
	if got := u.hears("after"); !slices.Equal(got, []string{"before", "after"}) {
		t.Errorf("a client of another home got %q", got)
	}
	f.says(moves, "last")
	if got := call(t, other[1], moves).hears("last"); !slices.Equal(got, []string{"untaken", "last"}) {
		t.Errorf("a client whose home was stopped gets %q", got)
	}
	gone.launch()
	r.settled(3)
}

// sleep makes no two homes: one that sleeps beyond its lease writes nothing any more when it wakes, and drops its
// clients.
func (p *people) sleep(t *testing.T) {
	r := p.r
	asleep := r.nodes[1]
	other := r.others(asleep)
	user, friend := p.of(t, asleep), p.of(t, other[0])
	u, f := call(t, asleep, user), call(t, other[0], friend)
	u.says(friend, "awake")
	f.hears("awake")
	before := rosterVersion(t, u.Client)
	lost := asleep.says("has lost its lease")
	asleep.sleep()
	for i := range 20 { // at work for its home as soon as it wakes
		if err := u.Send(fmt.Sprintf("<iq type='set' id='s%[1]d'><query xmlns='jabber:iq:roster'><item jid='ghost%[1]d@localhost'/>"+
			"</query></iq><message to='%[2]s@localhost' type='chat'><body>ghost</body></message><r xmlns='urn:xmpp:sm:3'/>",
			i, friend)); err != nil {
			t.Fatal(err)
		}
	}
	f.says(user, "meanwhile") // taken by another home
	now := enter(t, other[1], user, "desk")
	defer now.Close()
	el, err := now.Ask("set", "<iq type='set' id='set'><query xmlns='jabber:iq:roster'><item jid='kept@localhost'/></query></iq>")
	if err != nil || harness.Attr(el, "type") != "result" {
		t.Fatalf("%s, %v", el, err)
	}
	during := rosterVersion(t, now)
	asleep.wake()
	for {
		el, err := u.next(harness.Timeout)
		if err != nil {
			break // dropped
		}
		if strings.HasPrefix(el, "<a ") && harness.Attr(el, "h") > "3" || strings.Contains(el, "type='result'") {
			t.Errorf("who has slept through its lease answers %s", el)
		}
	}
	r.settled(3)
	if asleep.says("has lost its lease") == lost {
		t.Error("the node does not say that it has lost its lease")
	}
	last := enter(t, asleep, user, "last")
	defer last.Close()
	el, err = last.Ask("get", "<iq type='get' id='get'><query xmlns='jabber:iq:roster'/></iq>")
	// Requests to the account itself may have been passed on to its home, which may have done them: not so messages,
	// which the sender's home keeps.
	if err != nil || !strings.Contains(el, "kept@") {
		t.Errorf("the roster is %s, %v", el, err)
	}
	after := rosterVersion(t, last)
	if !(before < during && during <= after) {
		t.Errorf("versions of the roster: %d, %d, %d", before, during, after)
	}
	var ids []uint64
	if err := last.Send("<iq type='set' id='mam'><query xmlns='urn:xmpp:mam:2'/></iq>"); err != nil {
		t.Fatal(err)
	}
	if _, err := last.Until(func(el string) bool {
		if _, after, ok := strings.Cut(el, "<result "); ok {
			id, _ := strconv.ParseUint(harness.Attr("<result "+after, "id"), 10, 64)
			ids = append(ids, id)
			if strings.Contains(el, "ghost") {
				t.Errorf("in the archive is %s", el)
			}
		}
		return strings.HasPrefix(el, "<iq") && harness.Attr(el, "id") == "mam"
	}); err != nil {
		t.Fatal(err)
	}
	if len(ids) != 2 || !slices.IsSorted(ids) {
		t.Errorf("ids of the archive: %d", ids)
	}
}

func rosterVersion(t *testing.T, c *harness.Client) uint64 {
	t.Helper()
	id := fmt.Sprintf("ver%d", time.Now().UnixNano())
	el, err := c.Ask(id, "<iq type='get' id='"+id+"'><query xmlns='jabber:iq:roster' ver=''/></iq>")
	if err != nil {
		t.Fatal(err)
	}
	_, query, _ := strings.Cut(el, "<query")
	v, err := strconv.ParseUint(harness.Attr("<query"+query, "ver"), 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", el, err)
	}
	return v
}

// cut off from Redis, a node acknowledges nothing, says so, drops who is there, and joins again.
func (p *people) cut(t *testing.T) {
	r := p.r
	alone := r.nodes[0]
	other := r.others(alone)
	user, friend := p.of(t, alone), p.of(t, other[0])
	u := call(t, alone, user)
	u.says(friend, "well")
	joined := alone.says("this node has joined the cluster")
	alone.redis.Hold(true, true)
	began := time.Now()
	if err := u.Send("<message to='" + friend + "@localhost' type='chat'><body>unwell</body></message><r xmlns='urn:xmpp:sm:3'/>"); err != nil {
		t.Fatal(err)
	}
	for {
		el, err := u.next(2 * lease)
		if err != nil {
			if errors.Is(err, harness.ErrStreamEnd) || time.Since(began) < 2*lease {
				break
			}
			t.Fatalf("the session is still there after %v: %v", time.Since(began), err)
		}
		if strings.HasPrefix(el, "<a ") && harness.Attr(el, "h") > "2" {
			t.Errorf("who does not reach Redis answers %s", el)
		}
	}
	if got := ready(t, alone); got == http.StatusOK {
		t.Errorf("/readyz says %d", got)
	}
	r.settled(2)
	enter(t, other[1], user, "desk").Close()
	alone.redis.Heal()
	r.settled(3)
	if alone.says("this node has joined the cluster") <= joined {
		t.Error("the node has not joined again")
	}
	if got := ready(t, alone); got != http.StatusOK {
		t.Errorf("afterwards /readyz says %d", got)
	}
}

func ready(t *testing.T, n *node) int {
	t.Helper()
	resp, err := http.Get("http://" + n.Metrics + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// A machine that is slow, or on which all starts at once, is no reason for nodes not to come.
func TestNodesStartOnARedisThatAnswersLate(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Place: harness.Several})
	if code := s.Stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	from := s.Output().Len()
	s.Redis.Pause()
	late := make(chan error)
	go func() {
		err := s.Output().AwaitWhere(func(log string) bool {
			return strings.Count(log[from:], "the start waits for Redis") == 3
		}, harness.Timeout, nil)
		s.Redis.Wake()
		late <- err
	}()
	s.Launch()
	if err := <-late; err != nil {
		t.Errorf("not all nodes have said that they wait: %v\n%s", err, s.Output().From(from))
	}
}
