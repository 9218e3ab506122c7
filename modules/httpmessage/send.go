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
}

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
		if err == nil && p.leadsNowhere(r.to) {
			err = xmpp.RemoteServerNotFound("")
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
	p.purse.Spend((len(p.recipients) - 1) * len(p.stanza.Payload)) // the first copy is the body
	dedup := ""
	if p.key != "" {
		// The hash is part of it: if the server dies before the first answer is kept, another message with the same key
		// must not pass for a repetition.
		dedup = p.account + "\n" + p.key + "\n" + hex.EncodeToString(p.hash[:16])
	}
	if n := min(p.s.o.Lanes, len(p.recipients)/perLane); n > 1 {
		p.sendSideBySide(n, dedup)
	} else {
		p.sendOn(&p.lane, 0, 1, dedup)
	}
	for i := range p.recipients {
		p.s.Stats.Recipients[p.recipients[i].outcome].Add(1)
	}
	switch {
	case p.accepted > 0:
	case p.busy:
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

// sendSideBySide sends on n lanes. Each recipient is on one, so that its order is kept.
func (p *post) sendSideBySide(n int, dedup string) {
	others := make([]lane, n-1)
	var wg sync.WaitGroup
	for i := range others {
		wg.Go(func() { p.sendOn(&others[i], i+1, n, dedup) })
	}
	p.sendOn(&p.lane, 0, n, dedup)
	wg.Wait()
	for i := range others {
		l := &others[i]
		p.waits = append(p.waits, l.waits...)
		p.accepted += l.accepted
		p.busy = p.busy || l.busy
	}
}

// sendOn sends to every step-th recipient from the first on.
func (p *post) sendOn(l *lane, first, step int, dedup string) {
	l.waits, l.accepted, l.busy = l.waits[:0], 0, false
	for i := first; i < len(p.recipients); i += step {
		if r := &p.recipients[i]; !r.refused() {
			p.routeTo(l, r, dedup)
		}
	}
	l.batch.Flush()
}

// routeTo sends one copy: a head of its own around the one payload.
func (p *post) routeTo(l *lane, r *recipient, dedup string) {
	l.head = p.stanza
	l.head.To = r.to
	if r.own {
		l.head = p.fromOwnAddress(l.head)
	}
	if dedup != "" && r.to.IsFull() { // two resources of one user share a log
		dedup += "\n" + r.to.Resource()
	}
	e := &l.env
	e.Reset()
	e.Stanza, e.Account, e.Durable, e.Dedup, e.Quiet, e.Batch = &l.head, p.user.Bare(), true, dedup, true, &l.batch
	p.s.o.Router.Route(e)
	for _, w := range e.Pendings {
		if n := len(l.waits); n == 0 || l.waits[n-1] != w {
			l.waits = append(l.waits, w)
		}
	}
	switch r.outcome = e.Outcome; r.outcome {
	case router.Delivered, router.Stored, router.Queued:
		l.accepted++
	case router.Refused:
		r.reason = reasonOf(e.Err)
		l.busy = l.busy || e.Err != nil && e.Err.Condition == xmpp.CondResourceConstraint && e.Err.Type == xmpp.ErrorWait
	default: // RFC 6121 §8 asks to ignore it: nobody has it
		r.outcome, r.reason = router.Refused, string(xmpp.CondRecipientUnavailable)
	}
}

// fromOwnAddress makes the copy one of the authenticated account, which carries the forged address as the original
// sender (XEP-0033 §4.5).
func (p *post) fromOwnAddress(s xmpp.Stanza) xmpp.Stanza {
	w := xmpp.NewWriter(nil)
	w.Start(xmpp.NSAddress, "addresses").
		Start("", "address").Attr("type", "ofrom").Attr("jid", p.stanza.From.String()).End().
		End()
	s = s.WithAdded(w.Bytes())
	s.From = p.user
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
