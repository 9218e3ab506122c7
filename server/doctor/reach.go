package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/stream"
)

// reach connects to an address of a target and goes as far as TLS and the first features. It says whether all was well.
func (e *examination) reach(ctx context.Context, s service, t target, ip netip.Addr) bool {
	ctx, cancel := e.within(ctx)
	defer cancel()
	at := net.JoinHostPort(ip.String(), strconv.Itoa(int(t.port)))
	conn, err := e.Dial(ctx, "tcp", at)
	if err != nil {
		e.add(Finding{Level: Wrong, What: fmt.Sprintf("%s (%s) is not reached: %v", t, ip, err),
			Why: s.who + " come here", Do: "open the port in the firewall, forward it at the router, or correct the record"})
		return false
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })() // that it ended shows in the error
	if s.alpn == "" {
		if err := e.startTLS(conn, s); err != nil {
			do := "look whether something else listens there, and at the server's log"
			if errors.Is(err, errNoTLS) {
				do = "have jackdaw itself listen there (listen.c2s, listen.s2s), or a proxy that passes on TCP as it is"
			}
			e.add(Finding{Level: Wrong, What: fmt.Sprintf("%s (%s): %v", t, ip, err), Why: s.who + " do not get to TLS", Do: do})
			return false
		}
	}
	c, ok := e.handshake(ctx, conn, s, t)
	if !ok {
		return false
	}
	if s.alpn != "" && c.ConnectionState().NegotiatedProtocol != s.alpn {
		// XEP-0368 §4: what shares a port needs it; nothing else does.
		e.add(Finding{Level: Warning, What: fmt.Sprintf("%s (%s) does not agree on ALPN %s", t, ip, s.alpn),
			Why: "behind a port for several protocols " + s.who + " reach another one",
			Do:  "have the proxy pass TLS through, or offer that protocol there"})
	}
	if err := e.offered(c, s); err != nil {
		e.add(Finding{Level: Wrong, What: fmt.Sprintf("%s (%s), behind TLS: %v", t, ip, err),
			Why: s.who + " get no further", Do: "look whether the domain is in the configuration, and at the server's log"})
		return false
	}
	return true
}

// handshake puts TLS on a connection and judges the certificate.
func (e *examination) handshake(ctx context.Context, conn net.Conn, s service, t target) (*tls.Conn, bool) {
	// The version and the certificate are judged below, so that one can say what is wrong with them.
	c := tls.Client(conn, &tls.Config{ServerName: e.name, MinVersion: tls.VersionTLS10, NextProtos: protocols(s.alpn),
		InsecureSkipVerify: true})
	if err := c.HandshakeContext(ctx); err != nil {
		e.add(Finding{Level: Wrong, What: fmt.Sprintf("%s: TLS fails: %v", t, err), Why: s.who + " get no further",
			Do: "look whether the port is one for TLS from the first byte, and at the server's log"})
		return nil, false
	}
	state := c.ConnectionState()
	if state.Version < tls.VersionTLS12 { // RFC 9325 §3.1.1
		e.add(Finding{Level: Wrong, What: t.String() + " speaks " + tls.VersionName(state.Version) + " at most",
			Why: s.who + " of today refuse that",
			Do:  "have whatever ends TLS there speak TLS 1.2 and 1.3 (ssl_protocols of nginx)"})
		return nil, false
	}
	e.pinned(ctx, s, t, state.PeerCertificates)
	return c, e.certificate(state.PeerCertificates, t.String(), s.server)
}

func protocols(alpn string) []string {
	if alpn == "" {
		return nil
	}
	return []string{alpn}
}

// startTLS goes as far as <proceed/> (RFC 6120 §5.4.2).
func (e *examination) startTLS(conn net.Conn, s service) error {
	d, features, err := e.open(conn, e.header(s))
	if err != nil {
		return err
	}
	f, err := xmpp.ParseElement(features)
	if err == nil && f.Child(xmpp.Name{Space: xmpp.NSSASL, Local: "mechanisms"}) != nil && !s.server {
		e.add(Finding{Level: Warning, What: "logins are offered before TLS",
			Why: "whoever is on the way reads the password of a client that takes the offer", Do: "set c2s.require_tls: true"})
	}
	return d.startTLS(conn, features)
}

// startTLS goes on from the features to <proceed/>.
func (d *dialogue) startTLS(conn net.Conn, features []byte) error {
	f, err := xmpp.ParseElement(features)
	if err != nil || f.Child(xmpp.Name{Space: xmpp.NSTLS, Local: "starttls"}) == nil {
		return errNoTLS
	}
	if _, err := conn.Write([]byte("<starttls xmlns='" + xmpp.NSTLS + "'/>")); err != nil {
		return err
	}
	name, _, err := d.element()
	if err == nil && name != (xmpp.Name{Space: xmpp.NSTLS, Local: "proceed"}) {
		err = errors.New("STARTTLS is refused")
	}
	return err
}

// offered looks whether there is a way to prove oneself behind TLS.
func (e *examination) offered(conn net.Conn, s service) error {
	_, features, err := e.open(conn, e.header(s))
	if err != nil {
		return err
	}
	f, err := xmpp.ParseElement(features)
	if err != nil {
		return err
	}
	if !s.server && f.Child(xmpp.Name{Space: xmpp.NSSASL, Local: "mechanisms"}) == nil {
		return errors.New("no way to log in is offered")
	}
	return nil
}

// header begins a stream to the domain.
func (e *examination) header(s service) stream.Header {
	// Domains that are no addresses were sorted out before.
	to, _ := jid.Parse(e.Domain)
	h := stream.Header{Content: xmpp.NSClient, To: to, Version: "1.0", Lang: "en"}
	if s.server {
		h.Content = xmpp.NSServer
	}
	return h
}

// open begins a stream and returns what is offered.
func (e *examination) open(conn net.Conn, h stream.Header) (*dialogue, []byte, error) {
	d := &dialogue{conn: conn}
	d.scanner.Expect(h.Content)
	if _, err := conn.Write(stream.AppendHeader(nil, h)); err != nil {
		return nil, nil, err
	}
	if item, err := d.next(); err != nil || item != stream.ItemHeader {
		return nil, nil, cmp.Or(err, errNoXMPP)
	}
	name, features, err := d.element()
	if err == nil && name != (xmpp.Name{Space: xmpp.NSStream, Local: "features"}) {
		err = errors.New("no features are offered")
	}
	return d, features, err
}

var (
	errNoXMPP = errors.New("what answers speaks no XMPP")
	errNoTLS  = errors.New("STARTTLS is not offered")
)

// maxAnswer is how many bytes are read of what one connection says.
const maxAnswer = 64 << 10

// A dialogue reads what the other side of a stream says.
type dialogue struct {
	conn    net.Conn
	scanner stream.Scanner
	buf     []byte // read and not consumed
	total   int
}

func (d *dialogue) next() (stream.ItemKind, error) {
	for {
		item, n, err := d.scanner.Scan(d.buf)
		if err != nil {
			return 0, fmt.Errorf("%w (%w)", errNoXMPP, err)
		}
		d.buf = d.buf[n:]
		if item != stream.ItemNone {
			return item, nil
		}
		if d.total > maxAnswer {
			return 0, errors.New("the answer does not end")
		}
		chunk := make([]byte, 4096)
		n, err = d.conn.Read(chunk)
		d.total += n
		d.buf = append(d.buf, chunk[:n]...)
		if n == 0 && err != nil {
			return 0, err
		}
	}
}

// element is the next element at the top, and what a stream error says is an error.
func (d *dialogue) element() (name xmpp.Name, raw []byte, err error) {
	item, err := d.next()
	switch {
	case err != nil:
		return name, nil, err
	case item != stream.ItemElement:
		return name, nil, errors.New("the stream ends without a word")
	}
	name, raw = d.scanner.Element()
	if name != (xmpp.Name{Space: xmpp.NSStream, Local: "error"}) {
		return name, raw, nil
	}
	if e, err := xmpp.ParseElement(raw); err == nil && len(e.Children()) > 0 {
		return name, nil, fmt.Errorf("the stream is refused: %s", e.Children()[0].Name.Local)
	}
	return name, nil, errors.New("the stream is refused")
}
