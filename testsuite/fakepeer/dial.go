package fakepeer

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"jackdaw/testsuite/harness"
)

// A Way says how to connect to another server. The zero value is the best that both sides can.
type Way struct {
	Addr        string           // instead of where Locate says; tls:HOST:PORT for direct TLS
	Plain       bool             // no TLS
	Certificate *tls.Certificate // shown instead of our own
	Anonymous   bool             // shows none
	Dialback    bool             // even where EXTERNAL is offered
	Bidi        bool             // if offered
	From        string           // one of the machine's addresses; "" is any
}

// Open connects, says the header and negotiates TLS, and leaves the rest to the caller: the features are in
// Link.Features. Nobody reads the link but the caller. It ends with the peer.
func (p *Peer) Open(from, to string, w Way) (*Link, error) {
	addr := w.Addr
	if addr == "" {
		addr = p.locate(to)
	}
	addr, direct := strings.CutPrefix(addr, "tls:")
	if addr == "" {
		return nil, fmt.Errorf("nobody has said where %s is", to)
	}
	conn, err := harness.Dial(w.From, addr)
	if err != nil {
		return nil, err
	}
	l := p.link(conn, false)
	if l == nil {
		return nil, errors.New("the peer is dead")
	}
	l.local, l.remote = from, to
	if err := l.open(w, direct); err != nil {
		p.drop(l)
		return nil, err
	}
	return l, nil
}

func (l *Link) open(w Way, direct bool) error {
	if direct {
		if err := l.StartTLS(w); err != nil {
			return err
		}
		return l.Greet()
	}
	if err := l.Greet(); err != nil || w.Plain {
		return err
	}
	if !strings.Contains(l.Features.Raw, nsTLS) {
		return fmt.Errorf("no STARTTLS in %s", l.Features.Raw)
	}
	if err := l.Send("<starttls xmlns='" + nsTLS + "'/>"); err != nil {
		return err
	}
	el, err := l.Next()
	if err != nil {
		return err
	}
	if !el.Is(nsTLS, "proceed") {
		return fmt.Errorf("instead of proceed: %s", el.Raw)
	}
	if err := l.StartTLS(w); err != nil {
		return err
	}
	return l.Greet()
}

// StartTLS is the client's side of the handshake. Whatever certificate the other side shows is taken: the
// servers of tests are known by where they are.
func (l *Link) StartTLS(w Way) error {
	config := &tls.Config{InsecureSkipVerify: true, ServerName: l.remote}
	if strings.ContainsAny(l.remote, " /") {
		config.ServerName = ""
	}
	if !w.Anonymous {
		c := w.Certificate
		if c == nil {
			c = l.peer.certificate(l.local)
		}
		// GetClientCertificate shows it whatever the other side says it wants.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil }
	}
	_, err := l.clientTLS(config)
	l.secured = err == nil
	return err
}

// Greet says the header and reads the other one and the features.
func (l *Link) Greet() error {
	if err := l.Send(header(l.local, l.remote, "")); err != nil {
		return err
	}
	if err := l.ReadHeader(); err != nil {
		return err
	}
	l.ID = l.Header.Attr("id")
	el, err := l.Next()
	if err != nil {
		return err
	}
	if !el.Is(nsStream, "features") {
		return fmt.Errorf("instead of features: %s", el.Raw)
	}
	l.Features = el
	return nil
}

// External authenticates by SASL EXTERNAL and greets again. An error holds what the other side said.
func (l *Link) External() error {
	if err := l.Send("<auth xmlns='" + nsSASL + "' mechanism='EXTERNAL'>" + base64.StdEncoding.EncodeToString([]byte(l.local)) + "</auth>"); err != nil {
		return err
	}
	el, err := l.Next()
	if err != nil {
		return err
	}
	if !el.Is(nsSASL, "success") {
		return errors.New(el.Raw)
	}
	return l.Greet()
}

// Connect opens a link on which we may send for the pair, and serves it: what comes is answered and written down.
func (p *Peer) Connect(from, to string, w Way) (*Link, error) {
	l, err := p.Open(from, to, w)
	if err != nil {
		return nil, err
	}
	if err := l.authenticate(w); err != nil {
		p.drop(l)
		return nil, err
	}
	return l, nil
}

func (l *Link) authenticate(w Way) error {
	if w.Bidi && strings.Contains(l.Features.Raw, "urn:xmpp:features:bidi") {
		l.bidi = true
		if err := l.Send("<bidi xmlns='" + nsBidi + "'/>"); err != nil {
			return err
		}
	}
	pair := Pair{l.local, l.remote}
	if !w.Dialback && strings.Contains(l.Features.Raw, ">EXTERNAL<") {
		if err := l.External(); err != nil {
			return err
		}
		l.Proven(pair)
		l.Serve()
		return nil
	}
	l.Serve()
	return l.Prove(pair)
}

// Proven notes that we may send for a pair, and with bidi that the other side may answer.
func (l *Link) Proven(pair Pair) {
	l.peer.mu.Lock()
	defer l.peer.mu.Unlock()
	l.ours[pair] = true
	if l.bidi {
		l.theirs[Pair{pair.To, pair.From}] = true
	}
}

// Serve answers and writes down what comes from now on.
func (l *Link) Serve() {
	l.Patience(0)
	l.peer.running.Go(func() {
		defer l.peer.drop(l)
		for {
			el, err := l.Next()
			if err != nil {
				return
			}
			if f := l.peer.playing().Element; f != nil && f(l, el) {
				continue
			}
			if l.handle(el) != nil {
				return
			}
		}
	})
}

// Key is the dialback key (XEP-0185) for a stream.
func (p *Peer) Key(pair Pair, stream string) string {
	hashed := sha256.Sum256([]byte(p.secret))
	mac := hmac.New(sha256.New, []byte(hex.EncodeToString(hashed[:])))
	mac.Write([]byte(pair.To + " " + pair.From + " " + stream)) // hashes do not fail
	return hex.EncodeToString(mac.Sum(nil))
}

// Request is the element that asks for a pair to be accepted.
func (l *Link) Request(pair Pair) string {
	return fmt.Sprintf("<db:result from='%s' to='%s'>%s</db:result>", escape(pair.From), escape(pair.To), l.peer.Key(pair, l.ID))
}

// Prove asks by dialback for a pair to be accepted on a link that is served, and waits for the answer; on a link that
// carries others already this is piggybacking (XEP-0220 §2.5).
func (l *Link) Prove(pair Pair) error {
	answer := make(chan Element, 1)
	l.peer.mu.Lock()
	l.answers[pair] = answer
	l.peer.mu.Unlock()
	if err := l.Send(l.Request(pair)); err != nil {
		return err
	}
	select {
	case el := <-answer:
		if el.Attr("type") != "valid" {
			return errors.New(el.Raw)
		}
		l.Proven(pair)
		return nil
	case <-time.After(Timeout):
		return errors.New("no answer to a dialback request")
	}
}

// result is a request or an answer of dialback.
func (l *Link) result(el Element) error {
	pair := Pair{el.Attr("from"), el.Attr("to")}
	p := l.peer
	if el.Attr("type") != "" {
		mine := Pair{pair.To, pair.From}
		p.mu.Lock()
		wanted := l.answers[mine]
		delete(l.answers, mine)
		p.mu.Unlock()
		if wanted == nil {
			p.fault("an answer that nobody asked for: %s", el.Raw)
			return nil
		}
		wanted <- el
		return nil
	}
	switch {
	case p.o.NoDialback || !p.Serves(pair.To):
		return l.refuse(pair, "item-not-found")
	case !l.secured && !p.o.NoTLS:
		return l.refuse(pair, "policy-violation")
	}
	p.running.Go(func() { // the link serves on meanwhile: its end may depend on that
		kind, err := p.ask(pair, l.ID, strings.TrimSpace(el.Text))
		switch {
		case err != nil:
			l.refuse(pair, "remote-server-timeout") // if it fails, the link is over
			return
		case kind == "valid":
			l.prove(pair)
		}
		l.Send(fmt.Sprintf("<db:result from='%s' to='%s' type='%s'/>", pair.To, pair.From, kind))
	})
	return nil
}

func (l *Link) refuse(pair Pair, condition string) error {
	return l.Send(fmt.Sprintf("<db:result from='%s' to='%s' type='error'><error type='cancel'><%s xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>",
		escape(pair.To), escape(pair.From), condition))
}

// ask has a key verified by the authoritative server of the sender's domain, and returns the type of the answer.
func (p *Peer) ask(pair Pair, stream, key string) (string, error) {
	l, err := p.Open(pair.To, pair.From, Way{})
	if err != nil {
		return "", err
	}
	defer p.drop(l)
	if err := l.Send(fmt.Sprintf("<db:verify from='%s' to='%s' id='%s'>%s</db:verify>", escape(pair.To), escape(pair.From), escape(stream), escape(key))); err != nil {
		return "", err
	}
	el, err := l.Until(func(el Element) bool {
		return el.Is(nsDialback, "verify") && el.Attr("from") == pair.From && el.Attr("to") == pair.To && el.Attr("id") == stream
	})
	if err != nil {
		return "", err
	}
	l.Send("</stream:stream>") // the connection is closed whether it arrives or not
	return el.Attr("type"), nil
}

// verify answers as the authoritative server of one of our domains.
func (l *Link) verify(el Element) error {
	if el.Attr("type") != "" {
		l.peer.fault("an answer that nobody asked for: %s", el.Raw)
		return nil
	}
	pair, stream := Pair{el.Attr("to"), el.Attr("from")}, el.Attr("id") // the sender is we
	kind := "invalid"
	if l.peer.Serves(pair.From) && hmac.Equal([]byte(l.peer.Key(pair, stream)), []byte(strings.TrimSpace(el.Text))) {
		kind = "valid"
	}
	return l.Send(fmt.Sprintf("<db:verify from='%s' to='%s' id='%s' type='%s'/>", escape(pair.From), escape(pair.To), escape(stream), kind))
}
