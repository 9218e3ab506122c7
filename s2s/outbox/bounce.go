package outbox

import (
	"context"
	"errors"
	"strings"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

// asFailure reads what Open returned.
func asFailure(err error) *Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	text := "no connection could be made"
	if errors.Is(err, context.DeadlineExceeded) {
		text = "the connection took too long"
	}
	return &Failure{Text: text, Condition: xmpp.CondRemoteServerTimeout, Err: err}
}

// errorOf is what the sender of a stanza is told of a failure (RFC 6120 §10.4.3).
func errorOf(f *Failure) *xmpp.Error {
	if f.Condition == xmpp.CondRemoteServerNotFound {
		return xmpp.RemoteServerNotFound(f.Text)
	}
	return xmpp.RemoteServerTimeout(f.Text)
}

// tooOld is the error for what has waited enough.
type tooOld struct {
	*xmpp.Error
	was *Failure // of the last attempt; nil: there is a stream
}

// errUnreached is for messages to a peer that could not be reached all the while. The caller holds mu.
func errUnreached(p *pair) tooOld {
	return tooOld{xmpp.RemoteServerTimeout(p.Remote + " could not be reached: " + p.why.Text), p.why}
}

// errTooOld is for stanzas to a peer that is there and takes nothing, or is lost. The caller holds mu.
func errTooOld(p *pair) tooOld {
	return tooOld{xmpp.RemoteServerTimeout(p.Remote + " does not take messages"), nil}
}

// errBusy refuses what would wait too long.
func errBusy(remote string) *xmpp.Error {
	return xmpp.ResourceConstraint(remote + " is not taking messages at the moment, try again later")
}

// errMoving refuses what comes while the pair moves to another node.
func errMoving() *xmpp.Error {
	return xmpp.ResourceConstraint("the queue for this server moves to another node, try again").
		WithType(xmpp.ErrorWait)
}

func errStopping() *xmpp.Error {
	return xmpp.ResourceConstraint("the server is shutting down")
}

// wide lets every stanza through that was let in.
var wide = stream.Limits{Bytes: 1 << 30, Depth: 1 << 20, Elements: 1 << 30, Attributes: 1 << 20, Declarations: 1 << 20}

// giveBack bounces items that were taken out of the queue, and then removes their records: were it the other way round,
// a crash between would leave their senders without a word.
func (o *Outbox) giveBack(p *pair, out []item, why func(*item) (*xmpp.Error, Reason)) {
	counts, example := [reasons]int{}, ""
	for i := range out {
		err, reason := why(&out[i])
		if o.bounce(&out[i], err) {
			o.Stats.Bounced[reason].Add(1)
			counts[reason]++
			example = err.Text
		} else {
			o.Stats.Dropped.Add(1)
		}
	}
	for reason, n := range counts {
		if n > 0 {
			o.log.Info("stanzas for a peer bounced", "peer", p.Remote, "from", p.Local, "count", n,
				"why", Reason(reason).String(), "text", example)
		}
	}
	p.domain.mu.Lock()
	defer p.domain.mu.Unlock()
	for i := range out {
		if out[i].id != 0 {
			p.done = append(p.done, out[i].id)
		}
	}
	p.clean()
}

// passed tells that the peer has taken a stanza. The caller holds the domain's mu.
func (o *Outbox) passed(it *item) {
	if o.sequel == nil {
		return
	}
	if s, err := stream.ParseStanza(it.xml(), wide); err == nil { // we wrote it ourselves
		o.sequel(router.Sequel{From: s.From, To: s.To, ID: strings.Clone(s.ID), Outcome: router.Delivered})
	}
}

// bounce tells one sender; not if the stanza is an answer itself. The caller holds no lock.
func (o *Outbox) bounce(it *item, err *xmpp.Error) (told bool) {
	if it.class&silent != 0 {
		return false
	}
	s, bad := stream.ParseStanza(it.xml(), wide)
	if bad != nil { // we wrote it ourselves
		o.log.Error("stanza for a peer is lost: it cannot be read", "error", bad)
		return false
	}
	defer func() { // a fault in what the error meets on its way is not to end the server
		if v := recover(); v != nil {
			o.panicked("a bounce made the server panic", v)
		}
	}()
	o.bounceTo(s, err)
	return true
}
