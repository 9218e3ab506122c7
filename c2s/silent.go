package c2s

import (
	"time"

	"jackdaw/wire"
)

// A doubt is what was known of a client when it was first found not to answer a request for an acknowledgement.
type doubt struct {
	since int64 // second of the server's clock
	heard int64 // conn.heard
	acked int64 // bytes that the client's kernel had acknowledged
	all   bool  // there were no others
}

// patienceFor is how long a client may take to answer a request for an acknowledgement: a minute, or less where it is
// to be asked early whether it is there.
func patienceFor(idle time.Duration) time.Duration {
	if idle <= 0 {
		return lookEvery
	}
	return min(max(idle/10, time.Second), lookEvery)
}

// unanswered says whether the client has been silent for too long: a request that was there at an earlier look has no
// answer, nothing else has come either, and the client was not busy reading what is before the request. A client that
// has everything and a minute later has not said so is asleep, or its program is (XEP-0198 §4). Where stanzas wait and
// there is no request, it sends one; flush says whether the caller must flush. The caller holds mu.
func (s *session) unanswered(c *conn, now int64, patience time.Duration) (silent, flush bool) {
	m := s.sm
	waits := false
	for _, f := range s.flight {
		waits = waits || f.first < len(f.marks)
	}
	switch {
	case !waits:
		m.doubt = nil
		return false, false
	case !m.asked:
		m.doubt = nil
		if s.queue != nil { // its writer asks
			return false, false
		}
		m.asked = true
		return false, s.nonza(wire.RequestAck)
	}
	produced, accepted := c.Transport.Written()
	unsent, unread := c.Transport.Kernel()
	seen := doubt{since: now, heard: c.heard.Load(), acked: accepted - int64(unsent)}
	seen.all = seen.acked == produced && c.chunk == nil
	d := m.doubt
	if d == nil || d.heard != seen.heard || unread > 0 || !d.all && seen.acked > d.acked {
		m.doubt = &seen
		return false, false
	}
	return time.Duration(now-d.since)*time.Second >= patience, false
}
