package httpmessage

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/router/budget"
	"jackdaw/web"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// api is one of the ways to post.
type api uint8

const (
	direct      api = iota // POST /message
	gatewayUser            // the gateway, with an XMPP account
	gatewayAPI             // the gateway, with an API account
)

// maxPooled is the largest body buffer that waits for another request.
const maxPooled = 64 << 10

// A post is one request on its way through the pipeline. It is reused.
type post struct {
	s   *Service
	w   http.ResponseWriter
	r   *http.Request
	set *Settings

	api      api
	fqdn     string // of the path, normalised
	username string // of the path, as it came
	shape    shape
	lenient  bool
	client   client

	user      jid.JID
	account   string // that is authenticated: a bare address, or the name of an API account
	attempted string // that was not
	mayPost   bool   // an API account may post for fqdn
	rights    *accounts.Rights
	purse     *budget.Budget // of the account; nil: no limit on the rate
	paid      int            // of it, before the body had come

	body       []byte
	isJSON     bool
	stanza     xmpp.Stanza
	badTo      string // what stands in 'to' and is no address
	hasList    bool   // the recipients came as a list in JSON
	list       []string
	recipients []recipient

	id     string // of the report, once there is one
	key    string // Idempotency-Key
	hash   [32]byte
	replay *answer

	lane
	cut bool // the client has gone
}

// A recipient and what became of its copy.
type recipient struct {
	to      jid.JID
	outcome router.Outcome
	reason  string
	// own says that the copy goes out from the authenticated account.
	own bool
}

// serve is one request, from its first check to its audit line.
func (s *Service) serve(w http.ResponseWriter, r *http.Request, by api, fqdn, username string) {
	p := s.posts.Get().(*post)
	p.w, p.r, p.api, p.username = w, r, by, username
	p.set, p.client = s.settings.Load(), s.client(r)
	if p.shape = shapeGateway; by == direct {
		p.shape = shapeOf(r)
	}
	refused := p.host(fqdn)
	if refused == nil {
		refused = p.run()
	}
	status := p.answer(refused)
	s.Stats.answered(status)
	p.audit(status)
	p.release()
}

// release gives the post back without what it held of the request.
func (p *post) release() {
	body := p.body[:0]
	if cap(body) > maxPooled {
		body = make([]byte, 0, 4<<10)
	}
	clear(p.recipients)
	recipients := p.recipients[:0]
	if cap(recipients) > 1000 {
		recipients = nil
	}
	clear(p.waits)
	s, waits, batch := p.s, p.waits[:0], p.batch
	p.env.Batch = nil
	p.env.Reset()
	*p = post{s: s, body: body, recipients: recipients, lane: lane{waits: waits, batch: batch, env: p.env}}
	s.posts.Put(p)
}

// host checks that the path of the gateway names a domain of ours.
func (p *post) host(fqdn string) *refusal {
	if p.api == direct {
		return nil
	}
	if j, err := jid.New("", fqdn, ""); err == nil && p.s.o.Router.Serves(j.Domain()) {
		p.fqdn = j.Domain()
		return nil
	}
	x := problem(http.StatusNotFound, "Not found: "+quoted(fqdn)+" is not a domain of this server.")
	x.close = true
	return x
}

// run does the checks in the order of the contract; the first that fails answers.
func (p *post) run() *refusal {
	if x := p.authenticate(); x != nil {
		return x
	}
	web.Authenticated(p.r)
	if x := p.authorise(); x != nil {
		return x
	}
	if x := p.contentType(); x != nil {
		return x
	}
	if x := p.afford(); x != nil {
		return x
	}
	defer p.purse.Close()
	if x := p.read(); x != nil {
		return x
	}
	p.purse.Spend(len(p.body) - p.paid)
	if p.r.Header["Idempotency-Key"] != nil {
		if x := p.enter(); x != nil || p.replay != nil {
			return x
		}
		defer p.leave()
	}
	if x := p.parse(); x != nil {
		return x
	}
	if x := p.sender(); x != nil {
		return x
	}
	if x := p.address(); x != nil {
		return x
	}
	p.lenient = prefersLenient(p.r.Header)
	if x := p.decide(); x != nil {
		return x
	}
	return p.send()
}

// contentType finds out whether the body is JSON or XML.
func (p *post) contentType() *refusal {
	media, params, _ := strings.Cut(p.r.Header.Get("Content-Type"), ";")
	media = strings.TrimSpace(media)
	p.isJSON = strings.EqualFold(media, "application/json") || hasSuffix(media, "+json")
	if p.api == direct { // curl says that everything is a form
		return nil
	}
	xml := strings.EqualFold(media, "application/xml") || strings.EqualFold(media, "text/xml") || hasSuffix(media,
		"+xml")
	if p.isJSON || xml && utf8Charset(params) {
		return nil
	}
	return &refusal{status: http.StatusUnsupportedMediaType, close: true,
		text: "Unsupported media type: send application/xml, text/xml or application/json, in UTF-8."}
}

// hasSuffix says whether a media type has a structured syntax suffix (RFC 6839 §2): such a document can be read as what
// the suffix says.
func hasSuffix(media, suffix string) bool {
	n := len(media) - len(suffix)
	return n > 0 && strings.EqualFold(media[n:], suffix)
}

// utf8Charset is false for a charset parameter other than UTF-8.
func utf8Charset(params string) bool {
	for one := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(one), "=")
		if strings.EqualFold(name, "charset") && !strings.EqualFold(strings.Trim(value, `"`), "utf-8") {
			return false
		}
	}
	return true
}

func (p *post) tooLarge() *refusal {
	return &refusal{status: http.StatusRequestEntityTooLarge, close: true,
		text: "Request entity too large: the limit is " + strconv.Itoa(p.set.MaxBody) + " bytes."}
}

// read reads the body, in the time and up to the size that are allowed.
func (p *post) read() *refusal {
	if p.r.ContentLength > int64(p.set.MaxBody) {
		return p.tooLarge()
	}
	if p.r.ContentLength != 0 {
		// Not every transport can: a test's recorder has nothing to wait for.
		_ = http.NewResponseController(p.w).SetReadDeadline(time.Now().Add(p.set.BodyTime))
	}
	b := p.body[:0]
	if n := int(p.r.ContentLength); n > cap(b) {
		b = make([]byte, 0, min(n, maxPooled)) // no more is believed before it is there
	}
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := p.r.Body.Read(b[len(b):min(cap(b), p.set.MaxBody+1)])
		b = b[:len(b)+n]
		p.body = b
		switch {
		case len(b) > p.set.MaxBody:
			return p.tooLarge()
		case err == io.EOF:
			return nil
		case err != nil:
			return p.unread(err)
		case len(b) == int(p.r.ContentLength) && n > 0:
			return nil
		}
	}
}

func (p *post) unread(err error) *refusal {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &refusal{status: http.StatusRequestTimeout, close: true,
			text: "Request timeout: the body did not arrive in " + p.set.BodyTime.String() + "."}
	}
	x := badRequest("the body cannot be read to its end.")
	x.close = true
	return x
}

// sender sets who the message is from, and checks whether that is allowed.
func (p *post) sender() *refusal {
	if p.api != direct || p.stanza.From.IsZero() {
		p.stanza.From = p.user
		return nil
	}
	// The addresses are normalised, so letter case and the like do not matter.
	if !p.rights.MayForge(p.stanza.From) {
		return forbidden("the authenticated user does not have permission to forge senders.")
	}
	return nil
}

// answer writes the answer and returns its status.
func (p *post) answer(x *refusal) int {
	switch {
	case p.replay != nil:
		p.replay.write(p.w)
		p.s.Stats.Replayed.Add(1)
		return p.replay.status
	case x != nil:
		var report []byte
		if x.report && p.shape != shapeText {
			report = appendReport([]byte{','}, p.reportID(), p.recipients)
		}
		x.write(p.w, p.shape, report)
		return x.status
	}
	h := p.w.Header()
	if p.lenient {
		h["Preference-Applied"] = lenientOnly // RFC 7240 §3
	}
	if p.shape == shapeText {
		h["Content-Type"] = typeHTML
		io.WriteString(p.w, textOK) // a client that has gone needs no answer
		return http.StatusOK
	}
	h["Content-Type"] = typeJSON
	p.w.Write(p.success())
	return http.StatusOK
}

// success is the body of an answer of 200, in the form that was asked for.
func (p *post) success() []byte {
	switch p.shape {
	case shapeText:
		return []byte(textOK)
	case shapeGateway:
		b := []byte(`{"status":"success","message":"The message was accepted.",`)
		return append(appendReport(b, p.reportID(), p.recipients), "}\n"...)
	default:
		return append(appendReport([]byte{'{'}, p.reportID(), p.recipients), "}\n"...)
	}
}

// reportID names the request in the report and in the log.
func (p *post) reportID() string {
	if p.id == "" {
		var b [8]byte
		rand.Read(b[:]) // never returns an error
		p.id = "m-" + hex.EncodeToString(b[:])
	}
	return p.id
}

// audited bounds how many addresses of one outcome an audit line holds.
const audited = 20

// audit writes the one line of a request: never a body, never a password.
func (p *post) audit(status int) {
	log := p.s.o.Log
	ctx := context.Background()
	if !log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	account := p.account
	if account == "" {
		account = p.attempted
	}
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs, slog.Int("status", status), slog.String("account", account))
	if !p.stanza.From.IsZero() {
		attrs = append(attrs, slog.String("sender", p.stanza.From.String()))
	}
	attrs = append(attrs, slog.String("id", p.reportID()), slog.String("client", p.client.name()),
		slog.String("path", p.r.URL.Path))
	if p.replay != nil {
		attrs = append(attrs, slog.Bool("replayed", true))
	}
	for _, o := range [...]router.Outcome{router.Delivered, router.Stored, router.Queued, router.Refused} {
		if list := p.audited(o); list != "" {
			attrs = append(attrs, slog.String(o.String(), list))
		}
	}
	log.LogAttrs(ctx, slog.LevelInfo, "http post", attrs...)
}

func (p *post) audited(o router.Outcome) string {
	n := 0
	var b []byte
	for i := range p.recipients {
		r := &p.recipients[i]
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
