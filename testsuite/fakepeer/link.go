package fakepeer

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
)

// A Link is a stream with what has been negotiated on it.
type Link struct {
	*Stream
	Number   int
	Incoming bool
	ID       string // of the stream, given by whoever accepted it
	Features Element

	peer     *Peer
	life     int
	secured  bool
	external string // the domain that the certificate of the other side proves
	bidi     bool
	local    string // our domain, of the stream header
	remote   string

	// What follows is guarded by peer.mu.
	theirs  map[Pair]bool // that may come
	ours    map[Pair]bool // that may go
	managed *managed
	answers map[Pair]chan Element // to our db:result
}

// managed is what is known of a stream that the other side manages (XEP-0198 §5).
type managed struct {
	id       string
	handled  int
	answered int    // what our last <a/> said
	remote   string // who may resume it
	theirs   map[Pair]bool
	ours     map[Pair]bool
}

// Secured says whether there is TLS.
func (l *Link) Secured() bool { return l.secured }

// serve is the receiving side of a connection, to its end.
func (l *Link) serve(direct bool) {
	if direct {
		if l.AcceptTLS("") != nil {
			return
		}
	}
	authenticated := false
	for {
		again, err := l.turn(&authenticated)
		if err != nil || !again {
			return
		}
	}
}

// turn is one XML stream of a connection that came in. again says that another follows.
func (l *Link) turn(authenticated *bool) (again bool, err error) {
	l.Patience(0)
	if err := l.ReadHeader(); err != nil {
		return false, err
	}
	l.ID, l.remote, l.local = random(), l.Header.Attr("from"), l.Header.Attr("to")
	if l.local == "" {
		l.local = l.peer.o.Domains[0]
	}
	if err := l.Send(header(l.local, l.remote, l.ID)); err != nil {
		return false, err
	}
	if !l.peer.Serves(l.local) {
		l.peer.fault("a stream to %q", l.local)
		return false, l.fail("host-unknown")
	}
	features := l.offer(*authenticated)
	if f := l.peer.playing().Features; f != nil {
		features = f(l, features)
	}
	if err := l.Send(features); err != nil {
		return false, err
	}
	for {
		el, err := l.Next()
		if err != nil {
			if errors.Is(err, ErrStreamEnd) {
				l.Send("</stream:stream>")
			}
			return false, err
		}
		if f := l.peer.playing().Element; f != nil && f(l, el) {
			continue
		}
		switch {
		case el.Is(nsTLS, "starttls"):
			if l.secured || l.peer.o.NoTLS {
				return false, l.fail("policy-violation")
			}
			if err := l.Send("<proceed xmlns='" + nsTLS + "'/>"); err != nil {
				return false, err
			}
			return true, l.AcceptTLS(l.local)
		case el.Is(nsSASL, "auth"):
			// XEP-0178 §3: the authorization identity is empty, or what the header says.
			if l.external == "" || el.Attr("mechanism") != "EXTERNAL" {
				return false, l.Send("<failure xmlns='" + nsSASL + "'><not-authorized/></failure></stream:stream>")
			}
			l.prove(Pair{l.external, l.local})
			*authenticated = true
			return true, l.Send("<success xmlns='" + nsSASL + "'/>")
		case el.Is(nsBidi, "bidi"):
			l.bidi = l.peer.o.Bidi
		default:
			if err := l.handle(el); err != nil {
				return false, err
			}
		}
	}
}

// offer are the features of where the stream is.
func (l *Link) offer(authenticated bool) string {
	o := &l.peer.o
	var b strings.Builder
	b.WriteString("<stream:features>")
	if !l.secured && !o.NoTLS {
		b.WriteString("<starttls xmlns='" + nsTLS + "'><required/></starttls>")
	} else {
		if l.external != "" && !o.NoExternal && !authenticated {
			b.WriteString("<mechanisms xmlns='" + nsSASL + "'><mechanism>EXTERNAL</mechanism></mechanisms>")
		}
		if !o.NoDialback {
			b.WriteString("<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>")
		}
		if o.Bidi && !authenticated {
			b.WriteString("<bidi xmlns='urn:xmpp:features:bidi'/>")
		}
		if o.Management != Unmanaged && (authenticated || !o.NoDialback) {
			b.WriteString("<sm xmlns='" + nsManage + "'/>")
		}
	}
	b.WriteString("</stream:features>")
	return b.String()
}

// AcceptTLS is the server's side of a TLS handshake, with the certificate of the domain; "" takes the name that the
// other side asks for.
func (l *Link) AcceptTLS(domain string) error {
	config := &tls.Config{
		ClientAuth: tls.RequestClientCert,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if domain == "" {
				domain = hello.ServerName
			}
			return l.peer.certificate(domain), nil
		},
	}
	state, err := l.serveTLS(config)
	if err != nil {
		return err
	}
	l.secured = true
	l.external = l.peer.proves(state.PeerCertificates, l.remote)
	if l.remote == "" && len(state.PeerCertificates) > 0 { // direct TLS: the header comes later
		if names := state.PeerCertificates[0].DNSNames; len(names) > 0 {
			l.external = l.peer.proves(state.PeerCertificates, names[0])
		}
	}
	return nil
}

func (p *Peer) certificate(domain string) *tls.Certificate {
	c, ok := p.o.Certificates[domain]
	if !ok {
		c = p.o.Certificates[p.o.Domains[0]]
	}
	return &c
}

// proves is the domain if a chain proves it, else "". Purposes are not looked at: no authority of today gives
// certificates to clients.
func (p *Peer) proves(chain []*x509.Certificate, domain string) string {
	if len(chain) == 0 || domain == "" || p.o.Roots == nil {
		return ""
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		DNSName: domain, Roots: p.o.Roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return ""
	}
	return domain
}

// prove notes that the other side may send for a pair, and with bidi that we may answer.
func (l *Link) prove(pair Pair) {
	l.peer.mu.Lock()
	defer l.peer.mu.Unlock()
	l.theirs[pair] = true
	if l.bidi {
		l.ours[Pair{pair.To, pair.From}] = true
	}
}

// fail ends the stream with an error.
func (l *Link) fail(condition string) error {
	l.Send("<stream:error><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
	return errors.New(condition)
}

// handle does what an element of an established stream, of either direction, asks for.
func (l *Link) handle(el Element) error {
	switch {
	case el.Is(nsDialback, "result"):
		return l.result(el)
	case el.Is(nsDialback, "verify"):
		return l.verify(el)
	case el.Name.Space == nsManage:
		return l.manage(el)
	case el.IsStanza():
		s, err := l.peer.record(l, el)
		if err != nil {
			return l.fail(err.Error())
		}
		l.pong(s)
		return nil
	case el.Is(nsStream, "error"):
		return fmt.Errorf("stream error: %s", el.Raw)
	}
	return nil
}

// manage follows XEP-0198.
func (l *Link) manage(el Element) error {
	p := l.peer
	switch el.Name.Local {
	case "enable":
		p.mu.Lock()
		if p.o.Management == Unmanaged || len(l.theirs) == 0 || l.managed != nil {
			p.mu.Unlock()
			return l.Send("<failed xmlns='" + nsManage + "'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>")
		}
		m := &managed{id: random(), remote: l.remote, theirs: l.theirs, ours: l.ours}
		l.managed = m
		answer := "<enabled xmlns='" + nsManage + "'/>"
		if p.o.Management == Resume && el.Attr("resume") != "" {
			p.managed[m.id] = m
			answer = "<enabled xmlns='" + nsManage + "' id='" + m.id + "' resume='true'/>"
		}
		p.mu.Unlock()
		return l.Send(answer)
	case "resume":
		return l.resume(el)
	case "r":
		p.mu.Lock()
		m := l.managed
		h := 0
		if m != nil {
			h = m.handled
			p.confirmed[l.Number], m.answered = m.answered, h
		}
		p.mu.Unlock()
		if m == nil {
			return l.fail("unsupported-stanza-type")
		}
		return l.Send(fmt.Sprintf("<a xmlns='%s' h='%d'/>", nsManage, h))
	}
	return nil // <a/> for what we sent
}

func (l *Link) resume(el Element) error {
	p := l.peer
	p.mu.Lock()
	m := p.managed[el.Attr("previd")]
	allowed := false
	if m != nil && m.remote == l.remote && l.life == p.life {
		for pair := range m.theirs {
			allowed = allowed || l.theirs[pair]
		}
	}
	if !allowed {
		p.mu.Unlock()
		return l.Send("<failed xmlns='" + nsManage + "'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>")
	}
	for other := range p.links { // the older connection is gone, as far as it knows
		if other.managed == m && other != l {
			other.managed = nil
			other.life = -1 // writes nothing down any more
			other.Cut()
		}
	}
	l.managed = m
	for pair := range m.theirs {
		l.theirs[pair] = true
	}
	m.theirs, m.ours = l.theirs, l.ours
	h := m.handled
	p.mu.Unlock()
	return l.Send(fmt.Sprintf("<resumed xmlns='%s' previd='%s' h='%d'/>", nsManage, m.id, h))
}

// pong answers a ping, on this link if it goes both ways, else on another that is opened for that.
func (l *Link) pong(s Stanza) {
	if l.peer.o.NoPings || s.Name.Local != "iq" || s.Attr("type") != "get" || !strings.Contains(s.Raw, "urn:xmpp:ping") {
		return
	}
	answer := fmt.Sprintf("<iq type='result' id='%s' from='%s' to='%s'/>", escape(s.Attr("id")), escape(s.To), escape(s.From))
	back := Pair{s.Pair.To, s.Pair.From}
	l.peer.mu.Lock()
	here := l.ours[back]
	l.peer.mu.Unlock()
	if here {
		l.Send(answer) // if it fails, nobody waits
		return
	}
	l.peer.running.Go(func() {
		// A ping without an answer is what the other side sees if this fails.
		if out, err := l.peer.Connect(back.From, back.To, Way{}); err == nil {
			out.Send(answer)
		}
	})
}
