package httpmessage

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"strconv"
	"time"

	"jackdaw/modules/internal/posting"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/router/budget"
	"jackdaw/router/tokens"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A delivery is one message of an account on its way to its recipients, however it came in: by a request (post) or by a
// draft of another module (Service.Post). Whoever brings it in says who may do what, which message it is and who gets
// it, in the order of the checks of docs/http.md §2; the checks themselves, and all that follows, are here.
type delivery struct {
	s   *Service
	set *Settings

	user    jid.JID
	account string        // that is authenticated: a bare address, or the name of an API account
	rights  tokens.Rights // of the account, or of its token; None: those of an API account
	scopes  tokens.Scopes // of the token, if scoped
	scoped  bool
	most    int // bytes that the token may bring at once; 0: as many as others
	source  accounts.Source
	purse   *budget.Budget // of the account; nil: no limit on the rate
	paid    int            // of it, before the message had come

	stanza     xmpp.Stanza
	attached   []posting.Attachment // that the stanza does not tell of yet
	recipients []recipient
	lenient    bool
	dry        bool // only what would happen is asked: nothing is sent or kept

	shape  shape  // in which the answer is remembered
	id     string // of the report, once there is one
	key    string // Idempotency-Key
	hash   [sha256.Size]byte
	kept   uint64 // the record of the first answer
	replay *answer

	tracking posting.Tracking // nil: nobody keeps what becomes of it
	patience time.Duration    // to wait for what becomes of it; 0: not at all
	waited   bool             // it has been waited for

	lane
}

// A recipient and what became of its copy.
type recipient struct {
	to      jid.JID
	outcome router.Outcome
	reason  string
	open    bool // more is to be expected soon
	// now and why are what has become of it since, after it was waited for.
	now router.Outcome
	why string
	// own says that the copy goes out from the authenticated account.
	own bool
	// answer is what another node will say of it; nil once it is known.
	answer *router.Answer
	// stanzaID is the id under which the recipient has archived it, as in router.Fate.
	stanzaID uint64
}

// release makes the delivery ready for another message, without what it held of this one.
func (d *delivery) release() {
	clear(d.recipients)
	recipients := d.recipients[:0]
	if cap(recipients) > 1000 {
		recipients = nil
	}
	clear(d.waits)
	d.env.Batch = nil
	d.env.Reset()
	*d = delivery{s: d.s, recipients: recipients, lane: lane{waits: d.waits[:0], batch: d.batch, env: d.env}}
}

// sender sets who the message is from, and checks whether that is allowed.
func (d *delivery) sender() *refusal {
	if d.stanza.From.IsZero() {
		d.stanza.From = d.user
		return nil
	}
	// The addresses are normalised, so letter case and the like do not matter.
	if !d.rights.MayForge(d.stanza.From) {
		return d.lacks("forge senders")
	}
	return nil
}

// many checks whether the account may address more than one.
func (d *delivery) many() *refusal {
	if !d.rights.Has(accounts.PermMulticast) {
		return d.lacks("multicast")
	}
	return nil
}

// deliver decides where the copies may go, sends them, and returns when all that was accepted is durable. One that is
// dry only finds out what would become of them.
func (d *delivery) deliver(ctx context.Context) *refusal {
	if x := d.decide(); x != nil {
		return x
	}
	if len(d.attached) > 0 {
		if x := d.fits(); x != nil {
			return x
		}
	}
	if d.dry {
		return d.foresee()
	}
	if len(d.attached) > 0 {
		if x := d.attach(ctx); x != nil {
			return x
		}
	}
	return d.send()
}

// success is the body of an answer of 200, in the form that was asked for.
func (d *delivery) success() []byte {
	switch d.shape {
	case shapeText:
		return []byte(textOK)
	case shapeGateway:
		b := []byte(`{"status":"success","message":"The message was accepted.",`)
		if d.dry {
			b = []byte(`{"status":"success","message":"The message would be accepted.",`)
		}
		return append(d.appendReport(b), "}\n"...)
	default:
		return append(d.appendReport([]byte{'{'}), "}\n"...)
	}
}

// appendReport appends the members of the report, without braces.
func (d *delivery) appendReport(b []byte) []byte {
	if d.dry {
		b = append(b, `"dry_run":true,`...)
	}
	return appendReport(b, d.reportID(), d.recipients)
}

// reportID names the message in the report and in the log.
func (d *delivery) reportID() string {
	if t := d.s.tracker(); d.id == "" && t != nil {
		d.id = t.NewID()
	}
	if d.id == "" {
		var b [8]byte
		rand.Read(b[:]) // never returns an error
		d.id = "m-" + hex.EncodeToString(b[:])
	}
	return d.id
}

// audited bounds how many addresses of one outcome an audit line holds.
const audited = 20

// audit writes the one line of a message: never a body, never a password. way says how it came in.
func (d *delivery) audit(text string, status int, account string, way ...slog.Attr) {
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs, slog.Int("status", status), slog.String("account", account))
	if !d.stanza.From.IsZero() {
		attrs = append(attrs, slog.String("sender", d.stanza.From.String()))
	}
	attrs = append(attrs, slog.String("id", d.reportID()))
	attrs = append(attrs, way...)
	if d.replay != nil {
		attrs = append(attrs, slog.Bool("replayed", true))
	}
	if d.dry { // nothing became of its recipients
		attrs = append(attrs, slog.Bool("dry_run", true), slog.Int("recipients", len(d.recipients)))
		d.s.o.Log.LogAttrs(context.Background(), slog.LevelInfo, text, attrs...)
		return
	}
	for _, o := range [...]router.Outcome{router.Delivered, router.Stored, router.Queued, router.Refused} {
		if list := d.audited(o); list != "" {
			attrs = append(attrs, slog.String(o.String(), list))
		}
	}
	d.s.o.Log.LogAttrs(context.Background(), slog.LevelInfo, text, attrs...)
}

func (d *delivery) audited(o router.Outcome) string {
	n := 0
	var b []byte
	for i := range d.recipients {
		r := &d.recipients[i]
		if r.outcome != o {
			continue
		}
		if n++; n > audited {
			continue
		}
		if n > 1 {
			b = append(b, ' ')
		}
		b = append(b, r.to.String()...)
	}
	if n > audited {
		b = append(b, " and "...)
		b = strconv.AppendInt(b, int64(n-audited), 10)
		b = append(b, " more"...)
	}
	return string(b)
}
