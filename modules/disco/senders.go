package disco

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// maxSenders bounds each of the two generations of senders.
const maxSenders = 8192

// senders remembers bare addresses: at least the last maxSenders that were added. The
// zero value is ready.
type senders struct {
	any      atomic.Bool  // there are some: it is asked for every message
	mu       sync.RWMutex // guards the rest
	now, old map[string]struct{}
}

func (s *senders) add(a jid.JID) {
	s.mu.RLock()
	_, ok := s.now[a.String()] // a post to thousands asks thousands of times
	s.mu.RUnlock()
	if ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil || len(s.now) >= maxSenders {
		s.old, s.now = s.now, map[string]struct{}{}
	}
	s.now[strings.Clone(a.String())] = struct{}{} // the address may lie in a request's buffer
	s.any.Store(true)
}

func (s *senders) has(a jid.JID) bool {
	if !s.any.Load() {
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if _, ok := s.now[a.String()]; ok {
		return true
	}
	_, ok := s.old[a.String()]
	return ok
}

// senderName is of what the home of a recipient says to that of a sender.
var senderName = xmpp.Name{Space: xmpp.NSNodes, Local: "sender"}

// tellAgain is how long the home of a sender is taken to know that it is one: it may be another node by then.
const tellAgain = time.Minute

// told are the senders of whom other nodes have been told, and when. The zero value is ready.
type told struct {
	mu sync.Mutex // guards at
	at map[string]time.Time
}

// due says whether it is time to tell of a sender, and takes it that it is done.
func (t *told) due(a jid.JID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if at, ok := t.at[a.String()]; ok && now.Sub(at) < tellAgain {
		return false
	}
	if t.at == nil || len(t.at) >= maxSenders {
		t.at = map[string]time.Time{}
	}
	t.at[strings.Clone(a.String())] = now
	return true
}

// tell says to the home of a sender, if that is another node, that it is one. What recipients at home here write to
// the sender goes the same way behind it.
func (d *Disco) tell(e *router.Envelope, sender jid.JID) {
	if d.o.Router.IsHome(sender) || !d.told.due(sender) {
		return
	}
	s := xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeSet, ID: "sender", From: sender.DomainJID(), To: sender,
		Payload: xmpp.NewWriter(nil).Start(senderName.Space, senderName.Local).End().Bytes()}
	s.Children = xmpp.Index(s.Payload)
	d.o.Router.Route(&router.Envelope{Stanza: &s, Own: true, Quiet: true, Batch: e.Batch})
}

// hears remembers a sender of whom another node tells. From anybody else it is nothing that is known.
func (d *Disco) hears(e *router.Envelope) {
	s := e.Stanza
	if e.Own && s.Type == xmpp.TypeSet && s.From.IsDomain() && d.o.Router.Serves(s.From.Domain()) {
		d.senders.add(s.To)
		e.Settle(router.Dropped)
	}
}
