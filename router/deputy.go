package router

import "jackdaw/xmpp/jid"

// Deputy returns a session by which the server does something for a user, whether he is here or not. It has the bare
// address, is in nobody's table, and lasts as long as somebody has it: nothing finds it, and no module hears of it but
// as the Session of an envelope. What is said to whoever has sent a stanza is given to the outlet, by Send; none of the
// other methods does anything that matters.
func (r *Router) Deputy(user jid.JID, out Outlet) *Session {
	bare := user.Bare()
	return &Session{addr: bare, bare: bare, out: out, u: r.table.user(bare.String()), stats: &r.Stats}
}
