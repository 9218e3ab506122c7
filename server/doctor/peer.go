package doctor

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/stream"
)

// peerPatience is how long another server may take to ask back.
const peerPatience = 40 * time.Second

// peer examines the way to another server as the domain, and the way back: by what it thinks of the certificate
// (XEP-0178), and by a key that it can only have judged where the records of the domain lead (XEP-0220 §2.1.1).
func (e *examination) peer(ctx context.Context) {
	to, err := jid.Parse(e.Peer)
	name, bad := ascii(e.Peer)
	from, unfit := jid.Parse(e.Domain)
	if err := errors.Join(err, bad, unfit); err != nil {
		e.add(Finding{Level: Wrong, What: err.Error(), Why: "it cannot be asked",
			Do: "name another server's domain with --peer"})
		return
	}
	theirs := "it may be theirs to mend; other domains may work"
	h := stream.Header{Content: xmpp.NSServer, From: from, To: to, Version: "1.0", Lang: "en", Dialback: true}
	where := e.targets(ctx, name)
	var failed error
	for _, t := range where {
		if failed = e.certified(ctx, h, t, name); failed == nil {
			e.dialback(ctx, h, t, name)
			e.peerClock(ctx, name)
			return
		}
	}
	if failed == nil {
		failed = errors.New("there is no address")
	}
	e.add(Finding{Level: Wrong, What: fmt.Sprintf("%s is not reached: %v", e.Peer, failed),
		Why: "users cannot write to theirs", Do: "see `jackdaw doctor " + e.Peer + "` for its records and ports; " + theirs})
}

// A way leads to a peer.
type way struct {
	addr   string // HOST:PORT
	direct bool   // TLS from the first byte
}

// targets are where the DNS says that a peer is: at most four.
func (e *examination) targets(ctx context.Context, name string) (all []way) {
	for _, s := range []struct {
		label  string
		direct bool
	}{{"xmpps-server", true}, {"xmpp-server", false}} {
		_, records, err := e.Resolver.LookupSRV(ctx, s.label, "tcp", name+".")
		if err != nil {
			continue // another finding says so, of domains that matter
		}
		for _, r := range records[:min(len(records), 2)] {
			if host := strings.TrimSuffix(r.Target, "."); host != "" {
				all = append(all, way{net.JoinHostPort(host, strconv.Itoa(int(r.Port))), s.direct})
			}
		}
	}
	if len(all) == 0 {
		all = append(all, way{net.JoinHostPort(name, "5269"), false})
	}
	return all
}

// link opens a stream to a peer, behind TLS. What it is offered is returned with it.
func (e *examination) link(ctx context.Context, h stream.Header, t way, name string, shown *tls.Certificate) (
	net.Conn, *dialogue, *xmpp.Element, error) {
	conn, err := e.dialName(ctx, "tcp", t.addr)
	if err != nil {
		return nil, nil, nil, err
	}
	// The first bytes of a peer that is silent are waited for no longer than the whole may take.
	if until, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(until) // a connection without one is one that has failed
	}
	c := &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12, InsecureSkipVerify: true} // it is not our login
	if shown != nil {
		c.Certificates = []tls.Certificate{*shown}
	}
	if t.direct {
		c.NextProtos = protocols(xmpp.ALPNServer)
	} else {
		err = e.upgrade(conn, h)
	}
	secured := tls.Client(conn, c)
	if err == nil {
		err = secured.HandshakeContext(ctx)
	}
	var d *dialogue
	var offered []byte
	if err == nil {
		d, offered, err = e.open(secured, h)
	}
	var features *xmpp.Element
	if err == nil {
		features, err = xmpp.ParseElement(offered)
	}
	if err != nil {
		conn.Close() // the error above says more
		return nil, nil, nil, err
	}
	return secured, d, features, nil
}

// upgrade goes as far as <proceed/>.
func (e *examination) upgrade(conn net.Conn, h stream.Header) error {
	d, offered, err := e.open(conn, h)
	if err != nil {
		return err
	}
	return d.startTLS(conn, offered)
}

// certified sees whether the peer believes the domain's certificate. An error says that the peer was not reached.
func (e *examination) certified(ctx context.Context, h stream.Header, t way, name string) error {
	ctx, cancel := e.within(ctx)
	defer cancel()
	conn, d, features, err := e.link(ctx, h, t, name, e.Certificate)
	if err != nil {
		return err
	}
	defer conn.Close()
	const why = "without that only servers let it in that ask back (dialback)"
	do := "see what is said above of the certificate; it may also be that they do not trust its authority, or ask " +
		"for the purpose clientAuth, which authorities no longer give"
	external := false
	if m := features.Child(xmpp.Name{Space: xmpp.NSSASL, Local: "mechanisms"}); m != nil {
		for _, one := range m.Children() {
			external = external || one.Text() == "EXTERNAL"
		}
	}
	switch {
	case e.Certificate == nil:
		return nil
	case !external:
		e.add(Finding{Level: Warning, What: e.Peer + " does not take the certificate of " + e.Domain + " as a proof",
			Why: why, Do: do})
		return nil
	}
	auth := "<auth xmlns='" + xmpp.NSSASL + "' mechanism='EXTERNAL'>" +
		base64.StdEncoding.EncodeToString([]byte(e.Domain)) + "</auth>"
	if _, err := conn.Write([]byte(auth)); err != nil {
		return err
	}
	answer, _, err := d.element()
	if err != nil || answer.Local != "success" {
		e.add(Finding{Level: Warning, What: e.Peer + " refuses the certificate of " + e.Domain, Why: why, Do: do})
		return nil
	}
	e.good(e.Peer + " lets " + e.Domain + " in by its certificate")
	return nil
}

// dialback gives the peer a key that the server does not know. That it is refused as such shows that the peer has asked
// the server.
func (e *examination) dialback(ctx context.Context, h stream.Header, t way, name string) {
	ctx, cancel := context.WithTimeout(ctx, peerPatience)
	defer cancel()
	conn, d, _, err := e.link(ctx, h, t, name, nil)
	if err == nil {
		defer conn.Close()
		_, err = conn.Write([]byte("<db:result from='" + string(xmpp.AppendAttr(nil, h.From.String())) + "' to='" +
			string(xmpp.AppendAttr(nil, h.To.String())) + "'>" + rand.Text() + "</db:result>"))
	}
	var raw []byte
	if err == nil {
		_, raw, err = d.element()
	}
	var verdict *xmpp.Element
	if err == nil {
		verdict, err = xmpp.ParseElement(raw)
	}
	records := "see what is said above of _xmpp-server._tcp." + e.name + ", and whether a firewall keeps " + e.Peer +
		" out"
	switch {
	case err != nil:
		e.add(Finding{Level: Note, What: fmt.Sprintf("whether %s can connect back is not shown: %v", e.Peer, err),
			Why: "it does not ask back (dialback)", Do: "have somebody there write to a user here"})
	case verdict.Name == xmpp.Name{Space: xmpp.NSDialback, Local: "result"} && verdict.Attr("type") == "invalid":
		e.good(e.Peer + " connects back to the server of " + e.Domain)
	case verdict.Name == xmpp.Name{Space: xmpp.NSDialback, Local: "result"} && verdict.Attr("type") == "error":
		e.add(Finding{Level: Wrong, What: e.Peer + " cannot connect back: " + condition(verdict),
			Why: "its users cannot write to those here", Do: records})
	default:
		e.add(Finding{Level: Note, What: "whether " + e.Peer + " can connect back is not shown: it answers with " +
			verdict.Name.Local, Why: "it does not ask back (dialback)", Do: "have somebody there write to a user here"})
	}
}

// condition is that of an error in a verdict.
func condition(verdict *xmpp.Element) string {
	for _, c := range verdict.Children() {
		for _, one := range c.Children() {
			return one.Name.Local
		}
	}
	return "no reason is given"
}

// peerClock compares the clock with that of the peer's website, where it has one.
func (e *examination) peerClock(ctx context.Context, name string) {
	answer, err := e.request(ctx, http.MethodHead, "https://"+name+"/", nil, 0)
	if err != nil {
		return // it need not have one
	}
	e.clock(name, answer.Header.Get("Date"))
}
