package offline

import "jackdaw/router"

// A way is how a message that was accepted is kept until a session has taken it, or the first of several. Which one it
// is depends on what its sender is promised and on the sessions that are there to take it:
//
//	                             sender is promised
//	recipient                    nothing   an acknowledgement   that, and may repeat it
//	one session, at once         given     awaited              copied
//	one session, in time         given     copied               copied
//	one session, disconnected    copied    copied               copied
//	several sessions             copied    copied               copied
//	none                         stored    stored               stored
//
// A session takes at once if it has no stream management, is active, and its connection is not behind (Session.Prompt);
// one that is disconnected waits to be resumed. A message may be repeated if it has a key (Envelope.DedupKey), which
// has to survive the message.
//
//	way       who writes it, and when               an acknowledgement waits for
//	given     nobody                                (none is promised)
//	awaited   nobody                                the session's having taken it (router.Delivery.Receipt)
//	copied    delivering, before sessions get it    the write
//	stored    unclaimed                             the write
//
// What is given or awaited is stored all the same if the session ends without having taken it (unclaimed), or before
// anything is stored behind it (keep); an acknowledgement then waits for that write. What cannot be stored
// (worthKeeping) is given in every case. Why there are as many ways: docs/decisions/0003-kept-copies.md.
type way uint8

const (
	given way = iota
	awaited
	copied
)

// wayOf is the way of a message that is worth keeping and about to be given to sessions.
func wayOf(e *router.Envelope, to []*router.Session) way {
	switch {
	case len(to) > 1, to[0].Detached():
		return copied
	case !e.Durable:
		return given
	case e.DedupKey() == "" && to[0].Prompt():
		return awaited
	}
	return copied
}
