// Package moduletest is what the tests of modules share: a router with users and
// without sockets, clients that remember what they were given, a store in memory, a listener for bubbles, and XML
// compared as XML. It has no part in the server.
package moduletest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Host is the domain that the router of New serves.
const Host = "example.org"

// Users are the accounts that exist, by bare address. Not to be changed while a router uses it.
type Users map[string]bool

// Exists implements router.Users.
func (u Users) Exists(_ context.Context, user jid.JID) (bool, error) { return u[user.String()], nil }

// New returns a router for Host with these local parts as users. Plug the modules in with
// its Use.
func New(users ...string) *router.Router {
	u := Users{}
	for _, name := range users {
		u[name+"@"+Host] = true
	}
	return router.New(router.Options{Hosts: []string{Host}, Users: u, Log: slog.New(slog.DiscardHandler)})
}

// Discard is a logger for constructors that want one.
func Discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// An Outlet keeps what a session is given. It implements router.Outlet.
type Outlet struct {
	mu       sync.Mutex // guards the rest
	cond     *sync.Cond
	got      []router.Delivery // owned
	read     int               // how many of got Next has returned
	bytes    int               // of got from taken on
	taken    int
	asked    int // how many of got Uncopied has looked at
	report   func(kept ...uint64)
	detached bool
	prompt   bool
	full     bool
	ended    bool
	reason   string
	logout   func() // what the client does when its stream is ended; nil: nothing
}

// NewOutlet returns an outlet that takes everything.
func NewOutlet() *Outlet {
	o := &Outlet{}
	o.cond = sync.NewCond(&o.mu)
	return o
}

// Send implements router.Outlet.
func (o *Outlet) Send(d router.Delivery) (wake, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return false, false
	}
	s := d.Stanza.Clone()
	d.Stanza = &s
	o.got = append(o.got, d)
	o.bytes += len(s.Payload)
	o.cond.Broadcast()
	return false, true
}

// Flush implements router.Outlet.
func (o *Outlet) Flush() {}

// Detached implements router.Outlet.
func (o *Outlet) Detached() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.detached
}

// Prompt implements router.Outlet.
func (o *Outlet) Prompt() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.prompt
}

// Full implements router.Outlet.
func (o *Outlet) Full() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.full
}

// Fill makes the outlet one that is full, or not.
func (o *Outlet) Fill(full bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.full = full
}

// BePrompt makes the outlet one that takes what it gets at once, but for what Take has yet to.
func (o *Outlet) BePrompt() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.prompt = true
}

// Detach makes the outlet one whose connection is gone.
func (o *Outlet) Detach() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.detached = true
}

// Uncopied implements router.Keeper.
func (o *Outlet) Uncopied() (list []router.Undelivered, first uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	waits := func(d router.Delivery) bool { return router.Storable(d.Stanza) && (!d.Copy || d.Kept != 0) }
	from := max(o.asked, o.taken)
	o.asked = len(o.got)
	i := slices.IndexFunc(o.got[from:], func(d router.Delivery) bool { return waits(d) && d.Kept == 0 })
	if i < 0 {
		return nil, 0
	}
	for j := from + i; j < len(o.got); j++ {
		d := &o.got[j]
		u := router.Undelivered{Kept: d.Kept}
		if waits(*d) {
			u.Stanza = *d.Stanza
			u.Receipt, d.Receipt = d.Receipt, nil
		}
		list = append(list, u)
	}
	return list, uint64(from + i)
}

// Copied implements router.Keeper.
func (o *Outlet) Copied(list []router.Undelivered, first uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, u := range list {
		d := &o.got[int(first)+i]
		if u.Receipt != nil {
			d.Receipt = u.Receipt
		}
		if d.Kept = u.Kept; int(first)+i < o.taken {
			if d.Receipt != nil {
				d.Receipt.Finish(nil)
			}
			if u.Kept != 0 {
				go o.report(u.Kept)
			}
		}
	}
}

// WaitBelow implements router.Outlet; what Take has not taken counts as queued.
func (o *Outlet) WaitBelow(ctx context.Context, n int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer context.AfterFunc(ctx, o.cond.Broadcast)()
	for !o.ended && o.bytes >= n {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		o.cond.Wait()
	}
	if o.ended {
		return context.Canceled
	}
	return nil
}

// End implements router.Outlet.
func (o *Outlet) End(condition, _ string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ended && o.logout != nil {
		go o.logout()
	}
	o.ended, o.reason = true, condition
	o.cond.Broadcast()
}

// Ended is the condition with which the router has ended the stream, empty if it has not.
func (o *Outlet) Ended() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.reason
}

// A Client is a session with its outlet.
type Client struct {
	*router.Session
	Out *Outlet

	t    testing.TB
	r    *router.Router
	gone sync.Once
}

// Login binds a session for "user/resource" at Host.
func Login(t testing.TB, r *router.Router, address string) *Client {
	t.Helper()
	user, resource, _ := strings.Cut(address, "/")
	out := NewOutlet()
	s, err := r.Bind(jid.MustParse(user+"@"+Host+"/"+resource), out)
	if err != nil {
		t.Fatalf("bind %s: %v", address, err)
	}
	c := &Client{Session: s, Out: out, t: t, r: r}
	out.mu.Lock()
	defer out.mu.Unlock()
	out.logout = c.Logout
	out.report = func(kept ...uint64) { r.Taken(s, kept) }
	return c
}

// Available records an available presence of this priority with the router, without any
// module seeing it.
func (c *Client) Available(priority int8) {
	p := &xmpp.Stanza{Kind: xmpp.Presence, From: c.Addr()}
	if priority != 0 {
		p.Payload = fmt.Appendf(nil, "<priority>%d</priority>", priority)
	}
	c.r.SetPresence(c.Session, p, priority)
}

// Send routes a stanza of the client, with its address as sender.
func (c *Client) Send(xml string) *router.Envelope { return c.route(xml, false) }

// SendDurable is Send for a client that is promised an acknowledgement.
func (c *Client) SendDurable(xml string) *router.Envelope { return c.route(xml, true) }

func (c *Client) route(xml string, durable bool) *router.Envelope {
	c.t.Helper()
	s := Parse(c.t, xml)
	s.From = c.Addr()
	e := &router.Envelope{Stanza: s, Session: c.Session, Account: c.Bare(), Durable: durable}
	c.r.Route(e)
	return e
}

// Received returns what came since the last call, as XML, each with 'to' as it was.
func (c *Client) Received() []string {
	var out []string
	for _, d := range c.Deliveries() {
		out = append(out, string(d.Stanza.Append(nil)))
	}
	return out
}

// Deliveries returns what came since the last call to it or to Received.
func (c *Client) Deliveries() []router.Delivery {
	c.Out.mu.Lock()
	defer c.Out.mu.Unlock()
	fresh := slices.Clone(c.Out.got[c.Out.read:])
	c.Out.read = len(c.Out.got)
	return fresh
}

// Wait returns once n stanzas came since the last call to Received, which it leaves
// unread; it gives up after a minute.
func (c *Client) Wait(n int) {
	c.t.Helper()
	c.Out.mu.Lock()
	defer c.Out.mu.Unlock()
	stop := time.AfterFunc(time.Minute, c.Out.cond.Broadcast)
	defer stop.Stop()
	deadline := time.Now().Add(time.Minute)
	for len(c.Out.got)-c.Out.read < n {
		if !time.Now().Before(deadline) {
			c.t.Fatalf("%s got %d stanzas, not %d", c.Addr(), len(c.Out.got)-c.Out.read, n)
		}
		c.Out.cond.Wait()
	}
}

// Take acknowledges everything given so far, and returns what is acknowledged thereby.
func (c *Client) Take() []router.Delivery {
	c.Out.mu.Lock()
	var kept []uint64
	fresh := slices.Clone(c.Out.got[c.Out.taken:])
	for _, d := range fresh {
		if d.Kept != 0 {
			kept = append(kept, d.Kept)
		}
		if d.Receipt != nil {
			d.Receipt.Finish(nil)
		}
	}
	c.Out.taken, c.Out.bytes = len(c.Out.got), 0
	c.Out.cond.Broadcast()
	c.Out.mu.Unlock()
	c.r.Taken(c.Session, kept)
	return fresh
}

// Linger lets the client stay when its stream is ended, until Logout; others leave as soon as they learn of it.
func (c *Client) Linger() {
	c.Out.mu.Lock()
	defer c.Out.mu.Unlock()
	c.Out.logout = nil
}

// Logout ends the session; what Take has not taken goes back to the router, as c2s does it.
func (c *Client) Logout() { c.gone.Do(c.unbind) }

func (c *Client) unbind() {
	c.r.Unbind(c.Session, func() (rest []router.Undelivered) {
		c.Out.mu.Lock()
		defer c.Out.mu.Unlock()
		for _, d := range c.Out.got[c.Out.taken:] {
			if !d.Copy {
				rest = append(rest, router.Undelivered{Stanza: *d.Stanza, Kept: d.Kept, Receipt: d.Receipt})
			}
		}
		c.Out.ended = true
		c.Out.cond.Broadcast()
		return rest
	})
}

// LogoutTaken ends the session after it has taken everything.
func (c *Client) LogoutTaken() {
	c.Take()
	c.Logout()
}

// Want compares what came since the last call with the stanzas given, in order.
func (c *Client) Want(want ...string) {
	c.t.Helper()
	got := c.Received()
	if len(got) != len(want) {
		c.t.Fatalf("%s got %d stanzas, not %d:\n%s", c.Addr(), len(got), len(want), strings.Join(got, "\n"))
	}
	for i := range want {
		Same(c.t, got[i], want[i])
	}
}

// WantAnyOrder is Want where the order does not matter.
func (c *Client) WantAnyOrder(want ...string) {
	c.t.Helper()
	got := c.Received()
	a, b := make([]string, 0, len(got)), make([]string, 0, len(want))
	for _, x := range got {
		a = append(a, Canonical(c.t, x))
	}
	for _, x := range want {
		b = append(b, Canonical(c.t, x))
	}
	slices.Sort(a)
	slices.Sort(b)
	if !slices.Equal(a, b) {
		c.t.Fatalf("%s got\n%s\nwant\n%s", c.Addr(), strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
}

// Same compares two elements as XML: the order of attributes, the prefixes and white space around
// elements do not matter.
func Same(t testing.TB, got, want string) {
	t.Helper()
	if g, w := Canonical(t, got), Canonical(t, want); g != w {
		t.Fatalf("got\n%s\nwant\n%s", g, w)
	}
}

// Canonical writes an element in one way out of many.
func Canonical(t testing.TB, xml string) string {
	t.Helper()
	e, err := xmpp.ParseElement([]byte(strings.TrimSpace(xml)))
	if err != nil {
		t.Fatalf("read %s: %v", xml, err)
	}
	tidy(e)
	return string(e.Append(nil))
}

func tidy(e *xmpp.Element) {
	slices.SortFunc(e.Attrs, func(a, b xmpp.Attr) int {
		return strings.Compare(a.Name.Space+" "+a.Name.Local, b.Name.Space+" "+b.Name.Local)
	})
	elements := len(e.Children()) > 0
	e.Content = slices.DeleteFunc(e.Content, func(n xmpp.Node) bool {
		return n.Elem == nil && elements && strings.TrimSpace(n.Text) == ""
	})
	for _, c := range e.Children() {
		tidy(c)
	}
}

// Parse reads a stanza; every child must declare its own namespace.
func Parse(t testing.TB, xml string) *xmpp.Stanza {
	t.Helper()
	b := []byte(strings.TrimSpace(xml))
	e, err := xmpp.ParseElement(b)
	if err != nil {
		t.Fatalf("read %s: %v", xml, err)
	}
	s := &xmpp.Stanza{Kind: xmpp.KindOf(e.Name.Local)}
	for _, a := range e.Attrs {
		switch {
		case a.Name.Space == xmpp.NSXML && a.Name.Local == "lang":
			s.Lang = a.Value
		case a.Name.Local == "type":
		case a.Name.Local == "id":
			s.ID = a.Value
		case a.Name.Local == "from":
			s.From = jid.MustParse(a.Value)
		case a.Name.Local == "to":
			s.To = jid.MustParse(a.Value)
		default:
			s.Attrs = fmt.Appendf(s.Attrs, " %s='%s'", a.Name.Local, xmpp.AppendAttr(nil, a.Value))
		}
	}
	s.Type = xmpp.TypeOf(s.Kind, e.Attr("type"))
	if end := bytes.LastIndex(b, []byte("</")); end >= 0 && !bytes.HasSuffix(b[:bytes.IndexByte(b, '>')+1], []byte("/>")) {
		s.Payload = b[bytes.IndexByte(b, '>')+1 : end]
	}
	s.Children = xmpp.Index(s.Payload)
	return s
}
