// Package notices writes to people on the server's behalf, and not too often: the first notice leaves at once, those of
// the time after it together in one message.
package notices

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// How often the administrators of a host, and a user, are written to at most.
const (
	everyAdmins = 5 * time.Minute
	everyUser   = time.Hour
)

const (
	maxLines = 20   // of one message, in which nobody's lines keep those of others out
	maxLine  = 1024 // bytes of a line
)

// Options of New; all are needed.
type Options struct {
	Router *router.Router
	// To are who is written to, by the topic; asked when a message leaves.
	To func(topic string) []jid.JID
	// From is the domain of ours that writes.
	From  func(topic string) string
	Every time.Duration // between two messages of one topic
}

// Notices is safe for concurrent use.
type Notices struct {
	o Options

	mu      sync.Mutex // guards the rest
	topics  map[string]*topic
	closed  bool
	running sync.WaitGroup // timers and what they began
}

// A topic is there from its first notice until nothing new has come for a while.
type topic struct {
	lines []line
	more  int // beyond maxLines
	timer *time.Timer
}

// A line is about somebody.
type line struct{ about, text string }

// room makes room for a line about somebody, in place of the last about whom there are most, if these are more. It says
// whether there is room.
func (t *topic) room(about string) bool {
	if len(t.lines) < maxLines {
		return true
	}
	count, most := map[string]int{}, about
	for _, l := range t.lines {
		if count[l.about]++; count[l.about] > count[most] {
			most = l.about
		}
	}
	if count[most] <= count[about]+1 {
		return false
	}
	for i := len(t.lines) - 1; i >= 0; i-- {
		if t.lines[i].about == most {
			t.lines = slices.Delete(t.lines, i, i+1)
			t.more++
			return true
		}
	}
	return false
}

// ToAdmins writes to the administrators of hosts; the topic is the host, in whose name they are written to.
func ToAdmins(p parts.Parts) *Notices {
	return New(Options{Router: p.Router, Every: everyAdmins, To: p.Admins, From: func(host string) string { return host }})
}

// ToUsers writes to users in the name of their hosts; the topic is the bare address.
func ToUsers(p parts.Parts) *Notices {
	parsed := func(user string) jid.JID {
		j, _ := jid.Parse(user) // it comes from a session or an account
		return j
	}
	return New(Options{Router: p.Router, Every: everyUser,
		To:   func(user string) []jid.JID { return []jid.JID{parsed(user)} },
		From: func(user string) string { return parsed(user).Domain() }})
}

// New returns notices without any.
func New(o Options) *Notices { return &Notices{o: o, topics: map[string]*topic{}} }

// Add has a line about somebody written: whoever fills the notices with lines about themselves hides nothing about
// others. It routes nothing itself, so that its caller may hold locks. The line must not be of more than one line; what
// is too long is cut.
func (n *Notices) Add(name, about, text string) {
	if len(text) > maxLine {
		text = strings.ToValidUTF8(text[:maxLine], "") + "…"
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	t := n.topics[name]
	if t == nil {
		t = &topic{}
		n.topics[strings.Clone(name)] = t
		n.wait(name, t, 0)
	}
	if !t.room(about) {
		t.more++
		return
	}
	t.lines = append(t.lines, line{strings.Clone(about), strings.Clone(text)})
}

// wait has the topic looked at. The caller holds mu.
func (n *Notices) wait(name string, t *topic, d time.Duration) {
	n.running.Add(1)
	t.timer = time.AfterFunc(d, func() {
		defer n.running.Done()
		n.send(name, t)
	})
}

// send writes what there is, and looks again later; a topic that is quiet by then is forgotten.
func (n *Notices) send(name string, t *topic) {
	n.mu.Lock()
	if n.closed || len(t.lines) == 0 {
		delete(n.topics, name)
		n.mu.Unlock()
		return
	}
	text := ""
	for i, l := range t.lines {
		if i > 0 {
			text += "\n"
		}
		text += l.text
	}
	if t.more > 0 {
		text += fmt.Sprintf("\nand %d more", t.more)
	}
	t.lines, t.more = nil, 0
	n.wait(name, t, n.o.Every)
	n.mu.Unlock()
	payload := xmpp.NewWriter(nil).Leaf(xmpp.NSClient, "body", text).Bytes()
	from, err := jid.Parse(n.o.From(name))
	if err != nil { // a domain that is not served any more
		return
	}
	for _, to := range n.o.To(name) {
		n.o.Router.Emit(&xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeNormal, From: from, To: to, Payload: payload}, nil)
	}
}

// Close ends what runs in the background and returns when it has ended. What was not written yet is not.
func (n *Notices) Close() {
	n.mu.Lock()
	n.closed = true
	for _, t := range n.topics {
		if t.timer.Stop() {
			n.running.Done()
		}
	}
	n.mu.Unlock()
	n.running.Wait()
}
