package httpmessage

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strconv"

	"jackdaw/modules/internal/addresses"
	"jackdaw/modules/internal/posting"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/router/tokens"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Post sends a draft as a request to POST /message is sent: it is a posting.Post. The payload of the draft is borrowed
// until Post returns, and must be XML that the scanner would take (stream.ParseContent).
func (s *Service) Post(ctx context.Context, d posting.Draft) (posting.Report, error) {
	p := s.posts.Get().(*post)
	p.set, p.source, p.shape = s.settings.Load(), d.Source, shapeJSON
	p.user, p.account = d.Account, d.Account.String()
	p.stanza = d.Stanza
	p.stanza.From, p.stanza.To, p.lenient, p.dry = d.From, jid.JID{}, d.Lenient, d.Dry
	if p.stanza.Children == nil {
		p.stanza.Children = xmpp.Index(p.stanza.Payload)
	}
	refused := p.draft(ctx, &d)
	report, status := posting.Report{ID: p.reportID()}, http.StatusOK
	switch {
	case refused != nil:
		status = refused.status
	case p.replay != nil:
		s.Stats.Replayed.Add(1)
		if report = p.replay.report(); report.ID != "" {
			p.id = report.ID
		}
	default:
		report.Recipients = reported(p.recipients)
	}
	if s.o.Log.Enabled(ctx, slog.LevelInfo) {
		p.delivery.audit("post", status, p.account, slog.String("by", d.By))
	}
	var err error
	if refused != nil {
		x := &posting.Refusal{Status: refused.status, Text: refused.text, Retry: refused.retry}
		if refused.report {
			x.Recipients = reported(p.recipients)
		}
		report, err = posting.Report{}, x
	}
	p.release()
	return report, err
}

// draft does the checks in the order in which those of a request are made.
func (p *post) draft(ctx context.Context, d *posting.Draft) *refusal {
	if !p.user.IsBare() || p.user.Local() == "" {
		return badRequest("a draft is posted for an account.")
	}
	rights, err := p.s.o.Accounts.Rights(ctx, p.user)
	if err != nil {
		return p.failed(err)
	}
	p.rights = tokens.Whole(rights)
	if !p.rights.Has(accounts.PermHTTPMessage) {
		return p.mayNotUse()
	}
	cost := len(p.stanza.Payload)
	for i := range d.Attachments {
		cost += len(d.Attachments[i].Data)
	}
	if cost > p.set.MaxBody {
		return p.tooLarge()
	}
	if x := p.afford(ctx, cost); x != nil {
		return x
	}
	defer p.purse.Close()
	if d.Key != "" {
		if !isKey(d.Key) {
			return badRequest("the key must be 1 to 255 visible characters.")
		}
		p.hash = fingerprintOf(p.account, d)
		x, err := p.once(ctx, d.Key)
		switch {
		case err != nil:
			return p.failed(err)
		case x != nil || p.replay != nil:
			return x
		}
		defer p.leave()
	}
	if p.stanza.Kind != xmpp.Message {
		return badRequest(textRoot)
	}
	if p.attached = slices.Clone(d.Attachments); len(p.attached) > maxAttached {
		return badRequest("attachments: " + strconv.Itoa(maxAttached) + " are allowed.")
	}
	for i := range p.attached {
		if err := checkAttachment(&p.attached[i]); err != nil {
			return badRequest("attachments[" + strconv.Itoa(i) + "]." + err.Error() + ".")
		}
	}
	if x := p.sender(); x != nil {
		return x
	}
	if len(d.To) > 1 {
		if x := p.many(); x != nil {
			return x
		}
	}
	if x := p.drafted(d.To); x != nil {
		return x
	}
	return p.deliver(ctx)
}

// drafted takes the recipients of a draft, each once.
func (p *post) drafted(to []jid.JID) *refusal {
	p.recipients = p.recipients[:0]
	if len(to) == 0 {
		return badRequest("the message has no recipient.")
	}
	bad := addresses.Offenders{Most: listed}
	seen := make(map[jid.JID]struct{}, len(to))
	for i, j := range to {
		if j.IsZero() {
			bad.Add("address " + strconv.Itoa(i+1) + " is empty")
			continue
		}
		if _, again := seen[j]; again {
			continue
		}
		if seen[j] = struct{}{}; len(seen) > p.set.MaxRecipients {
			bad.Add(addresses.TooMany(j.String(), p.set.MaxRecipients))
			break
		}
		p.recipients = append(p.recipients, recipient{to: j})
	}
	return offending(&bad)
}

// fingerprintOf tells drafts apart, as fingerprint does requests; the two differ by their first part.
func fingerprintOf(account string, d *posting.Draft) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, part := range [...]string{"draft", account, d.From.String()} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	for _, j := range d.To {
		h.Write([]byte(j.String()))
		h.Write([]byte{0})
	}
	h.Write([]byte{0})
	h.Write(d.Stanza.Append(nil))
	for _, a := range d.Attachments {
		for _, part := range [...]string{a.Name, a.Type, a.URL, strconv.Itoa(len(a.Data)), string(a.Data)} {
			h.Write([]byte{0})
			h.Write([]byte(part))
		}
	}
	h.Sum(sum[:0])
	return sum
}

func reported(list []recipient) []posting.Recipient {
	all := make([]posting.Recipient, len(list))
	for i := range list {
		r := &list[i]
		all[i] = posting.Recipient{To: r.to, Outcome: r.outcome, Reason: r.reason}
		if r.stanzaID != router.NoStanzaID {
			all[i].StanzaID = r.stanzaID
		}
	}
	return all
}

// report reads the report that was given as the first answer to a draft. One that cannot be read has no recipients.
func (a *answer) report() posting.Report {
	r := posting.Report{Replayed: true}
	var kept struct {
		ID         string
		Recipients []struct{ JID, Outcome, Reason string }
	}
	if json.Unmarshal(a.body, &kept) != nil {
		return r
	}
	r.ID = kept.ID
	for _, one := range kept.Recipients {
		to, err := jid.Parse(one.JID)
		if err != nil {
			continue
		}
		outcome := router.Undecided
		for o := router.Undecided; int(o) < len(Stats{}.Recipients); o++ {
			if o.String() == one.Outcome {
				outcome = o
			}
		}
		r.Recipients = append(r.Recipients, posting.Recipient{To: to, Outcome: outcome, Reason: one.Reason})
	}
	return r
}

var _ posting.Post = (*Service)(nil).Post
