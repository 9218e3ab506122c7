// Package notices writes to people on the server's behalf, and not too often: the first notice leaves at once, those of the time
// after it together in one message.
package notices

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// ToAdmins is how often the administrators of a host are written to at most.
const ToAdmins = 5 * time.Minute

// ToUsers is how often a user is.
const ToUsers = time.Hour

const (
	maxLines = 20   // of one message
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
	lines []string
	more  int // beyond maxLines
	timer *time.Timer
}

// New returns notices without any.
func New(o Options) *Notices { return &Notices{o: o, topics: map[string]*topic{}} }

// Add has a line written. It routes nothing itself, so that its caller may hold locks. The line must not be of more than
// one line; what is too long is cut.
func (n *Notices) Add(name, line string) {
	if len(line) > maxLine {
		line = strings.ToValidUTF8(line[:maxLine], "") + "…"
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
	if len(t.lines) >= maxLines {
		t.more++
		return
	}
	t.lines = append(t.lines, strings.Clone(line))
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
	text := strings.Join(t.lines, "\n")
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
		n.o.Router.Post(&xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeNormal, From: from, To: to, Payload: payload}, nil)
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
