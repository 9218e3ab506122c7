package c2s

import (
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// An inactivity is what is held back from a client that says nobody looks (XEP-0352): presence and chat states, of each
// sender the last.
type inactivity struct {
	chunk *chunk
	index map[withheld]int // of the mark
}

type withheld struct {
	from jid.JID
	kind xmpp.Kind
}

// What is held back is bounded; more than that is let through.
const (
	maxWithheld      = 1000
	maxWithheldBytes = 256 << 10
)

// inactive begins holding back, active ends it and says whether the caller must flush.
func (s *session) inactive() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle == nil {
		s.idle = &inactivity{}
	}
}

func (s *session) active() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle == nil {
		return false
	}
	s.release()
	return s.wakeQueued()
}

// withhold keeps an unimportant stanza; before an important one it lets out what it kept, so that their order stays.
// The caller holds mu.
func (s *session) withhold(d *router.Delivery) bool {
	i := s.idle
	if d.Kept != 0 || d.Receipt != nil || !unimportant(d.Stanza) { // a receipt is awaited
		s.release()
		s.idle = &inactivity{}
		return false
	}
	if len(i.index) >= maxWithheld || i.chunk != nil && len(i.chunk.buf) > maxWithheldBytes {
		s.release()
		s.idle = &inactivity{}
		return false
	}
	if i.chunk == nil {
		i.chunk, i.index = newChunk(), map[withheld]int{}
	}
	k := withheld{d.Stanza.From, d.Stanza.Kind}
	if at, ok := i.index[k]; ok {
		// The later one stands at its own place, since others may have come between.
		m := &i.chunk.marks[at]
		s.bytes -= int(m.end - m.start)
		m.end = m.start
	}
	i.index[k] = len(i.chunk.marks)
	s.bytes += i.chunk.add(d)
	// Nothing of it is worth a copy, and it may be queued between Uncopied and Copied: they do not count it.
	m := &i.chunk.marks[len(i.chunk.marks)-1]
	m.storable, m.loose = false, false
	return true
}

// release queues what was held back; the client counts as active. The caller holds mu.
func (s *session) release() {
	i := s.idle
	s.idle = nil
	if i == nil || i.chunk == nil {
		return
	}
	if s.queue == nil {
		s.queue = newChunk()
	}
	for _, m := range i.chunk.marks {
		if m.start == m.end {
			continue
		}
		s.queue.addMark(i.chunk, m)
		if s.sm != nil {
			s.sm.unacked++
		}
	}
	i.chunk.free()
}

// unimportant says whether a stanza may wait until somebody looks: availability, and messages of nothing but a chat
// state (XEP-0085 §5.1).
func unimportant(s *xmpp.Stanza) bool {
	switch s.Kind {
	case xmpp.Presence:
		return s.Type == xmpp.TypeAvailable || s.Type == xmpp.TypeUnavailable
	case xmpp.Message:
		if s.Type == xmpp.TypeError || s.Type == xmpp.TypeHeadline {
			return false
		}
		states := false
		children := s.Children
		if children == nil {
			children = xmpp.Index(s.Payload)
		}
		for _, c := range children {
			switch c.Name.Space {
			case xmpp.NSChatStates:
				states = true
			case xmpp.NSHints, xmpp.NSStanzaID:
			default:
				if c.Name != (xmpp.Name{Space: xmpp.NSClient, Local: "thread"}) {
					return false
				}
			}
		}
		return states
	}
	return false
}
