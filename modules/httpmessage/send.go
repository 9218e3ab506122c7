package httpmessage

import (
	"context"
	"encoding/hex"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

// waiter is a write that must be durable before we answer.
type waiter = *storage.Pending

// forgedRemote is the reason for what must not leave the server under a foreign sender.
const forgedRemote = "forged-sender-remote"

// decide asks the router, before anything is sent, where the copies may go.
func (p *post) decide() *refusal {
	refused := 0
	for i := range p.recipients {
		r := &p.recipients[i]
		err := p.s.admit(p.stanza.From, r.to)
		if err != nil && p.set.OwnAddress && p.api == direct && reasonOf(err) == forgedRemote {
			err = p.s.admit(p.user, r.to)
			r.own = err == nil
		}
		if err != nil {
			r.outcome, r.reason = router.Refused, reasonOf(err)
			refused++
		}
	}
	if refused == 0 || p.lenient && refused < len(p.recipients) {
		return nil
	}
	x := forbidden("the message may not go to " + names(p.recipients, (*recipient).refused) + ".")
	x.report = true
	if refused < len(p.recipients) {
		// Nothing is sent to anybody; the report tells of those that are the reason.
		kept := p.recipients[:0]
		for _, r := range p.recipients {
			if r.refused() {
				kept = append(kept, r)
			}
		}
		p.recipients = kept
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
func (p *post) send() *refusal {
	p.waits = p.waits[:0]
	dedup := ""
	if p.key != "" {
		// The hash is part of it: if the server dies before the first answer is kept, another
		// message with the same key must not pass for a repetition.
		dedup = p.account + "\n" + p.key + "\n" + hex.EncodeToString(p.hash[:16])
	}
	accepted, busy := 0, false
	for i := range p.recipients {
		r := &p.recipients[i]
		if r.refused() {
			continue
		}
		busy = p.routeTo(r, dedup) || busy
		if r.accepted() {
			accepted++
		}
	}
	p.batch.Flush()
	for i := range p.recipients {
		p.s.Stats.Recipients[p.recipients[i].outcome].Add(1)
	}
	switch {
	case accepted > 0:
	case busy:
		x := unavailable()
		x.report = true
		return x
	default:
		x := forbidden("no recipient accepted the message: " + names(p.recipients, (*recipient).refused) + ".")
		x.report = true
		return x
	}
	if err := wait(p.waits); err != nil {
		p.s.o.Log.Warn("http post not acknowledged", "account", p.account, "id", p.reportID(), "err", err)
		p.recipients = p.recipients[:0] // none of their outcomes is certain
		return unavailable()
	}
	if p.key != "" {
		if err := p.keep(); err != nil {
			p.s.o.Log.Warn("http post not remembered", "account", p.account, "id", p.reportID(), "err", err)
			p.recipients = p.recipients[:0]
			return unavailable()
		}
	}
	return nil
}

// routeTo sends one copy: a head of its own around the one payload. busy says that
// it was refused because it cannot be stored now.
func (p *post) routeTo(r *recipient, dedup string) (busy bool) {
	p.head = p.stanza
	p.head.To = r.to
	if r.own {
		p.fromOwnAddress()
	}
	if dedup != "" && r.to.IsFull() { // two resources of one user share a log
		dedup += "\n" + r.to.Resource()
	}
	e := &p.env
	e.Reset()
	e.Stanza, e.Account, e.Durable, e.Dedup, e.Quiet, e.Batch = &p.head, p.user.Bare(), true, dedup, true, &p.batch
	p.s.o.Router.Route(e)
	for _, w := range e.Pendings {
		if n := len(p.waits); n == 0 || p.waits[n-1] != w {
			p.waits = append(p.waits, w)
		}
	}
	switch r.outcome = e.Outcome; r.outcome {
	case router.Delivered, router.Stored, router.Queued:
	case router.Refused:
		r.reason = reasonOf(e.Err)
		busy = e.Err != nil && e.Err.Condition == xmpp.CondResourceConstraint && e.Err.Type == xmpp.ErrorWait
	default: // RFC 6121 §8 asks to ignore it: nobody has it
		r.outcome, r.reason = router.Refused, string(xmpp.CondRecipientUnavailable)
	}
	return busy
}

// fromOwnAddress makes the copy one of the authenticated account, which carries the forged
// address as the original sender (XEP-0033 §4.5).
func (p *post) fromOwnAddress() {
	w := xmpp.NewWriter(nil)
	w.Start(xmpp.NSAddress, "addresses").Start("", "address").Attr("type", "ofrom").Attr("jid", p.stanza.From.String()).End().End()
	p.head = p.head.WithAdded(w.Bytes())
	p.head.From = p.user
}

// wait returns when all writes are durable, or with the first error. It does not end with
// the request: who has gone may still ask for the first answer.
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
