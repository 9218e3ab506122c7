package disco

import (
	"strings"
	"sync"
	"sync/atomic"

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
