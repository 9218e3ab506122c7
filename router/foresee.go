package router

import "jackdaw/xmpp"

// Foresee says what Route would make of a message now, and with which error, as far as one can tell without asking the
// modules: nothing is sent, kept or counted. What a service answers for is Undecided. sees says that the asker may know
// whether the recipient is online; for others the answer is the same either way: Stored for what would be delivered or
// stored, Undecided for what depends on it.
func (r *Router) Foresee(m *xmpp.Stanza, sees bool) (Outcome, *xmpp.Error) {
	to := m.To
	e := Envelope{Stanza: m, Quiet: true}
	e.owner = to.Bare().String()
	switch {
	case !r.Owns(to.Domain()):
		if err := r.Admit(m.From, to); err != nil {
			return Refused, err
		}
		return Queued, nil
	case !r.Serves(to.Domain()):
		return Undecided, nil
	case to.Local() == "":
		r.toHost(&e)
		return e.Outcome, e.Err
	}
	if sees {
		u := r.table.user(e.owner)
		if len(able(messageTargets(u.list(), m, to), m)) > 0 && (!u.held() || !Storable(m)) {
			return Delivered, nil
		}
		if r.unstorable(&e, to); e.Settled() {
			return e.Outcome, e.Err
		}
	} else if !Storable(m) || m.Type == xmpp.TypeNormal && to.IsFull() {
		return Undecided, nil
	}
	if r.mustExist(&e, to); !e.Settled() {
		if len(r.plan.Load().unclaimed) > 0 {
			return Stored, nil
		}
		e.Refuse(xmpp.ServiceUnavailable(""))
	}
	return e.Outcome, e.Err
}
