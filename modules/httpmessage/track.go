package httpmessage

import (
	"context"
	"net/http"
	"time"

	"jackdaw/modules/internal/posting"
	"jackdaw/router"
	"jackdaw/xmpp/jid"
)

// owner is whose posts these are.
func (d *delivery) owner() string {
	if d.rights.None() {
		return posting.APIAccount(d.account)
	}
	return d.account
}

// track begins to keep what becomes of the message, which is told by its id: it gets that of the post if it has none.
func (d *delivery) track() {
	t := d.s.tracker()
	if t == nil {
		return
	}
	s := posting.Sent{ID: d.reportID(), Account: d.owner(), Sender: d.stanza.From, MessageID: d.stanza.ID,
		Said: d.shape != shapeText || d.patience > 0}
	if s.MessageID == "" {
		s.MessageID = s.ID
	}
	d.tracking = t.Begin(s, len(d.recipients), func(i int) jid.JID { return d.recipients[i].to })
	if d.tracking != nil {
		d.stanza.ID = s.MessageID
	}
}

// tracked says what has become of the message by now.
func (d *delivery) tracked() {
	if d.tracking == nil {
		return
	}
	if w := d.tracking.Settle(func(i int) (router.Outcome, string, bool) {
		r := &d.recipients[i]
		return r.outcome, r.reason, r.open
	}); w != nil {
		d.waits = append(d.waits, w)
	}
}

// await waits for what becomes of the message, as long as the request wants (RFC 7240 §4.3). The first answer is that
// which is given then.
func (p *post) await() *refusal {
	if p.patience == 0 || p.tracking == nil {
		return nil
	}
	// Not every transport can: a test's recorder has no deadlines. A read that is given up would end the request.
	control := http.NewResponseController(p.w)
	_ = control.SetReadDeadline(time.Time{})
	_ = control.SetWriteDeadline(time.Now().Add(p.patience + p.set.BodyTime))
	ctx, cancel := context.WithTimeout(p.r.Context(), p.patience)
	defer cancel()
	if p.waited = p.tracking.Wait(ctx); !p.waited {
		return nil
	}
	for i := range p.recipients {
		r := &p.recipients[i]
		r.now, r.why = p.tracking.Now(i)
	}
	if p.key == "" {
		return nil
	}
	if err := p.amend(); err != nil {
		p.s.o.Log.Warn("http post not remembered as it was answered", "account", p.account, "id", p.reportID(), "err", err)
	}
	return nil
}
