package httpmessage

import (
	"context"
	"encoding/hex"
	"sync"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

// waiter is a write that must be durable before we answer.
type waiter = *storage.Pending

// perLane is from how many recipients on a lane is worth a goroutine.
const perLane = 64

// A lane sends copies one after the other.
type lane struct {
	head     xmpp.Stanza
	env      router.Envelope
	batch    router.Batch
	waits    []waiter
	accepted int
	busy     bool // one was refused because it cannot be stored now
	// forwarded says that other nodes were given some, and have to be waited for.
	forwarded bool
}

// forgedRemote is the reason for what must not leave the server under a foreign sender.
const forgedRemote = "forged-sender-remote"

// decide asks the router, before anything is sent, where the copies may go.
func (d *delivery) decide() *refusal {
	refused := 0
	for i := range d.recipients {
		r := &d.recipients[i]
		err := d.s.admit(d.stanza.From, r.to)
		if err != nil && d.set.OwnAddress && reasonOf(err) == forgedRemote {
			err = d.s.admit(d.user, r.to)
			r.own = err == nil
		}
		if err == nil && d.leadsNowhere(r.to) {
			err = xmpp.RemoteServerNotFound("")
		}
		switch {
		case !d.within(r):
			r.outcome, r.reason = router.Refused, tokenScope
			refused++
		case err != nil:
			r.outcome, r.reason = router.Refused, reasonOf(err)
			refused++
		}
	}
	if refused == 0 || d.lenient && refused < len(d.recipients) {
		return nil
	}
	x := forbidden("the message may not go to " + names(d.recipients, (*recipient).refused) + ".")
	x.report = true
	if refused < len(d.recipients) {
		// Nothing is sent to anybody; the report tells of those that are the reason.
		kept := d.recipients[:0]
		for _, r := range d.recipients {
			if r.refused() {
				kept = append(kept, r)
			}
		}
		d.recipients = kept
	}
	return x
}

func (r *recipient) refused() bool { return r.outcome == router.Refused }

// reasonOf is the word of the report for an error.
func reasonOf(err *xmpp.Error) string {
	switch {
	case err == nil:
		return string(xmpp.CondUndefinedCondition)
	case err.Text == forgedRemote:
		return forgedRemote
	}
	return string(err.Condition)
}

// send routes the copies and waits until all that was accepted is safe.
func (d *delivery) send() *refusal {
	d.purse.Spend((len(d.recipients) - 1) * len(d.stanza.Payload)) // the first copy is the body
	dedup := ""
	if d.key != "" {
		// The hash is part of it: if the server dies before the first answer is kept, another message with the same key
		// must not pass for a repetition.
		dedup = d.account + "\n" + d.key + "\n" + hex.EncodeToString(d.hash[:16])
	}
	d.track()
	settled := false
	if t := d.tracking; t != nil {
		defer func() { // also where routing panics
			if !settled {
				t.Drop()
			}
		}()
	}
	if n := min(d.s.o.Lanes, len(d.recipients)/perLane); n > 1 {
		d.sendSideBySide(n, dedup)
	} else {
		d.sendOn(&d.lane, 0, 1, dedup)
	}
	if err := d.answered(); err != nil {
		return d.unacknowledged(err)
	}
	for i := range d.recipients {
		d.s.Stats.Recipients[d.recipients[i].outcome].Add(1)
	}
	if d.accepted > 0 {
		d.tracked()
		settled = true
	}
	switch {
	case d.accepted > 0:
	case d.busy:
		x := unavailable()
		x.report = true
		return x
	default:
		return d.nobody()
	}
	if err := wait(d.waits); err != nil {
		return d.unacknowledged(err)
	}
	if d.key != "" {
		if err := d.keep(); err != nil {
			d.s.o.Log.Warn("http post not remembered", "account", d.account, "id", d.reportID(), "err", err)
			d.recipients = d.recipients[:0]
			return unavailable()
		}
	}
	return nil
}

// unacknowledged is the answer where it is not certain that all is durable.
func (d *delivery) unacknowledged(err error) *refusal {
	d.s.o.Log.Warn("http post not acknowledged", "account", d.account, "id", d.reportID(), "err", err)
	d.recipients = d.recipients[:0] // none of their outcomes is certain
	return unavailable()
}

// nobody is the answer where no recipient accepts the message.
func (d *delivery) nobody() *refusal {
	x := forbidden("no recipient accepted the message: " + names(d.recipients, (*recipient).refused) + ".")
	x.report = true
	return x
}

// sendSideBySide sends on n lanes. Each recipient is on one, so that its order is kept.
func (d *delivery) sendSideBySide(n int, dedup string) {
	others := make([]lane, n-1)
	var wg sync.WaitGroup
	for i := range others {
		wg.Go(func() { d.sendOn(&others[i], i+1, n, dedup) })
	}
	d.sendOn(&d.lane, 0, n, dedup)
	wg.Wait()
	for i := range others {
		l := &others[i]
		d.waits = append(d.waits, l.waits...)
		d.accepted += l.accepted
		d.busy = d.busy || l.busy
		d.forwarded = d.forwarded || l.forwarded
	}
}

// sendOn sends to every step-th recipient from the first on.
func (d *delivery) sendOn(l *lane, first, step int, dedup string) {
	l.waits, l.accepted, l.busy, l.forwarded = l.waits[:0], 0, false, false
	for i := first; i < len(d.recipients); i += step {
		if r := &d.recipients[i]; !r.refused() {
			d.routeTo(l, r, dedup)
		}
	}
	l.batch.Flush()
}

// routeTo sends one copy: a head of its own around the one payload.
func (d *delivery) routeTo(l *lane, r *recipient, dedup string) {
	l.head = d.stanza
	l.head.To = r.to
	if r.own {
		l.head = d.fromOwnAddress(l.head)
	}
	if dedup != "" && r.to.IsFull() { // two resources of one user share a log
		dedup += "\n" + r.to.Resource()
	}
	e := &l.env
	e.Reset()
	e.Stanza, e.Account, e.Durable, e.Dedup, e.Quiet, e.Batch = &l.head, d.user.Bare(), true, dedup, true, &l.batch
	e.Tracked = d.tracking != nil
	d.s.o.Router.Route(e)
	for _, w := range e.Pendings {
		if n := len(l.waits); n == 0 || l.waits[n-1] != w {
			l.waits = append(l.waits, w)
		}
	}
	if e.Outcome == router.Forwarded {
		r.answer = e.Answer
		l.forwarded = true
		return
	}
	l.settle(r, e.Outcome, e.Err, e.StanzaID, e.Kept != 0)
}

// settle notes what became of a copy; kept says that it waits in storage until it is taken.
func (l *lane) settle(r *recipient, o router.Outcome, err *xmpp.Error, id uint64, kept bool) {
	r.stanzaID = id
	switch r.outcome = o; o {
	case router.Delivered, router.Stored, router.Queued:
		l.accepted++
		r.open = o != router.Delivered || kept
	case router.Refused:
		r.reason = reasonOf(err)
		l.busy = l.busy || err != nil && err.Condition == xmpp.CondResourceConstraint && err.Type == xmpp.ErrorWait
	default: // RFC 6121 §8 asks to ignore it: nobody has it
		r.outcome, r.reason = router.Refused, string(xmpp.CondRecipientUnavailable)
	}
}

// answered waits for what other nodes say of the copies that they were given.
func (d *delivery) answered() error {
	if !d.forwarded {
		return nil
	}
	if err := wait(d.waits); err != nil {
		return err
	}
	for i := range d.recipients {
		if r := &d.recipients[i]; r.answer != nil {
			d.settle(r, r.answer.Outcome, r.answer.Err, r.answer.StanzaID, r.answer.Open)
			r.answer = nil
		}
	}
	return nil
}

// fromOwnAddress makes the copy one of the authenticated account, which carries the forged address as the original
// sender (XEP-0033 §4.5).
func (d *delivery) fromOwnAddress(s xmpp.Stanza) xmpp.Stanza {
	w := xmpp.NewWriter(nil)
	w.Start(xmpp.NSAddress, "addresses").
		Start("", "address").Attr("type", "ofrom").Attr("jid", d.stanza.From.String()).End().
		End()
	s = s.WithAdded(w.Bytes())
	s.From = d.user
	return s
}

// wait returns when all writes are durable, or with the first error. It does not end with the request: a client that
// has gone may still ask for the first answer.
func wait(list []waiter) error {
	var ctx context.Context
	for _, w := range list {
		if done, err := w.Finished(); done {
			if err != nil {
				return err
			}
			continue
		}
		if ctx == nil {
			c, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			ctx = c
		}
		if err := w.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}
