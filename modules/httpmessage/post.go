package httpmessage

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"jackdaw/web"
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

// A post is one request: how it comes to a delivery, and how that is answered. It is reused.
type post struct {
	delivery
	w http.ResponseWriter
	r *http.Request

	api      api
	fqdn     string // of the path, normalised
	username string // of the path, as it came
	client   client

	attempted string    // the account that is not authenticated
	token     string    // the id of the one that was shown; "": none was that is known
	why       string    // the reason why it was refused, for the log
	peer      *web.Peer // who it is of on this machine, where that was enough
	mayPost   bool      // an API account may post for fqdn

	body    []byte
	media   media
	badTo   string // what stands in 'to' and is no address
	hasList bool   // the recipients came as a list in JSON
	list    []string

	cut bool // the client has gone
}

// serve is one request, from its first check to its audit line.
func (s *Service) serve(w http.ResponseWriter, r *http.Request, by api, fqdn, username string) {
	p := s.posts.Get().(*post)
	p.w, p.r, p.api, p.username = w, r, by, username
	p.set, p.client = s.settings.Load(), s.client(r)
	p.source = p.client.Source
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
	p.delivery.release()
	*p = post{delivery: p.delivery, body: body}
	p.s.posts.Put(p)
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
	if x := p.dryRun(); x != nil {
		return x
	}
	if x := p.afford(p.r.Context(), p.expected()); x != nil {
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
	if p.api != direct {
		p.stanza.From = jid.JID{} // it is always the account's, whatever stands there
	}
	if x := p.sender(); x != nil {
		return x
	}
	if x := p.address(); x != nil {
		return x
	}
	if p.r.Header["Prefer"] != nil {
		p.lenient, p.patience = prefersLenient(p.r.Header), prefersWait(p.r.Header)
	}
	if x := p.deliver(p.r.Context()); x != nil {
		return x
	}
	return p.await()
}

// contentType finds out what the body is said to be.
func (p *post) contentType() *refusal {
	name, params, _ := strings.Cut(p.r.Header.Get("Content-Type"), ";")
	name = strings.TrimSpace(name)
	p.media = mediaOf(name)
	if p.api == direct { // curl says that everything is a form
		return nil
	}
	xml := strings.EqualFold(name, "application/xml") || strings.EqualFold(name, "text/xml") || hasSuffix(name, "+xml")
	if p.media == mediaJSON || xml && utf8Charset(params) {
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
		text: "Request entity too large: the limit is " + strconv.Itoa(p.maxBody()) + " bytes."}
}

// read reads the body, in the time and up to the size that are allowed.
func (p *post) read() *refusal {
	if p.r.ContentLength > int64(p.maxBody()) {
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
		n, err := p.r.Body.Read(b[len(b):min(cap(b), p.maxBody()+1)])
		b = b[:len(b)+n]
		p.body = b
		switch {
		case len(b) > p.maxBody():
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
			report = p.appendReport([]byte{','})
		}
		x.write(p.w, p.shape, report)
		return x.status
	}
	h := p.w.Header()
	if p.lenient {
		h["Preference-Applied"] = lenientOnly // RFC 7240 §3
	}
	if p.waited {
		h["Preference-Applied"] = append(h["Preference-Applied"][:len(h["Preference-Applied"]):len(h["Preference-Applied"])],
			"wait="+strconv.Itoa(int(p.patience/time.Second)))
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

// audit writes the one line of a request.
func (p *post) audit(status int) {
	if !p.s.o.Log.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	account := p.account
	if account == "" {
		account = p.attempted
	}
	way := make([]slog.Attr, 0, 4)
	way = append(way, slog.String("client", p.client.name()), slog.String("path", p.r.URL.Path))
	if p.peer != nil {
		way = append(way, slog.Int64("uid", int64(p.peer.UID)))
	}
	if p.token != "" {
		way = append(way, slog.String("token", p.token))
	}
	if p.why != "" {
		way = append(way, slog.String("reason", p.why))
	}
	p.delivery.audit("http post", status, account, way...)
}
