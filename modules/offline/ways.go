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
// and with the message in the recipient's archive, which also tells its repetitions:
//
//	one session, at once         given     awaited              awaited
//	any others                   archived  archived             archived
//	none                         stored    stored               stored
//
// A session takes at once if it has no stream management, is active, and its connection is not behind (Session.Prompt);
// one that is disconnected waits to be resumed. A message may be repeated if it has a key (Envelope.DedupKey), which
// has to survive the message.
//
//	way       who writes it, and when               an acknowledgement waits for
//	given     nobody                                (none is promised)
//	awaited   nobody                                the session's having taken it (router.Delivery.Receipt)
//	archived  nobody: the archive has               the archive's write
//	copied    delivering, before sessions get it    the write
//	stored    unclaimed                             the write
//
// What is given or awaited is stored all the same if the session ends without having taken it (unclaimed), or before
// anything is stored behind it (keep); an acknowledgement then waits for that write. What is archived gets a copy in
// the log then, too (copyLoose), and when no session has taken it for a while (watch). What cannot be stored
// (worthKeeping) is given in every case. Why there are as many ways:
// docs/decisions/0003-kept-copies.md and docs/decisions/0044-the-archive-keeps.md.
type way uint8

const (
	given way = iota
	awaited
	archived
	copied
)

// wayOf is the way of a message that is worth keeping and about to be given to sessions.
func (m *module) wayOf(e *router.Envelope, to []*router.Session) way {
	// A crash has the archive looked through between these.
	found := e.Archived() && e.StanzaID > m.settled.low.Load() && e.StanzaID < m.settled.limit.Load()
	one := len(to) == 1
	switch {
	case one && to[0].Prompt():
		switch {
		case !e.Durable:
			return given
		case e.Archived() || e.DedupKey() == "":
			return awaited
		}
	case found:
		return archived
	case one && !e.Durable && !to[0].Detached():
		return given
	}
	return copied
}
