package c2s

import (
	"context"
	"errors"
	"strconv"
	"time"

	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/router/devices"
	"jackdaw/router/gate"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
	"jackdaw/xmpp/stream"
)

// A greeting is the negotiation of a stream, from the first byte to the bound resource. It has a goroutine of its own
// and is gone afterwards.
type greeting struct {
	*conn
	out      []byte // leaves before the client is waited for
	mode     Mode
	source   accounts.Source
	host     jid.JID      // zero before the first header
	user     jid.JID      // zero before authentication
	began    bool         // our header for the present stream is out
	failures int          // logins with a wrong proof
	declines int          // attempts without any
	unsaid   sasl.Failure // why the last of them was declined, and who it was: logged if no login follows
	claimed  string
	how      sasl.Mechanism // by which the user logged in
	tried    time.Time      // when that attempt began
	waits    bool           // the account that it names waits for approval: nobody gets in
	*profile                // that the client has chosen
	classic  profile
	modern   sasl2
	// visit answers requests to register; nil: there was none.
	visit   func(context.Context, *xmpp.Stanza) xmpp.Stanza
	device  string        // see router.Connection
	entered devices.Login // how the device has logged in
	flowing bool          // after the login the stream goes on without being opened anew (XEP-0388 §2.6.1)

	// Where there are several nodes.
	attempt  []byte         // the element of the login that is under way
	preauth  []byte         // a request that was granted, for another to be answered elsewhere (XEP-0445)
	handed   *wire.Handover // what another node has left to do
	hops     int            // nodes that have handed the stream over
	bound    []sasl.Binding // the channel, where another node has the connection
	response string         // the answer to a challenge of another node
}

// errTaken says that the connection has been handed to a session.
var errTaken = errors.New("bound")

// deepen makes the stack of this goroutine at once as large as a handshake needs it. Else it would grow four times, and
// each time all that is on it by then is copied and looked through, deep inside the handshake.
//
//go:noinline
func deepen(at int) byte {
	var room [12 << 10]byte
	return room[at]
}

// greet negotiates. On success another goroutine goes on with the connection.
func (c *conn) greet(m Mode) {
	deepen(0)
	(&greeting{conn: c, mode: m, source: accounts.Source{Addr: c.from, Exempt: gate.Exempt(c.from)}}).greet()
}

func (g *greeting) greet() {
	c := g.conn
	c.greeting = g
	err := g.negotiate()
	if err == errTaken || err == errPassed {
		return
	}
	defer c.srv.left(c)
	if g.unsaid != "" && g.user.IsZero() {
		g.noteFailure(g.claimed, g.unsaid)
	}
	if c.srv.streams.Closed() || err == wire.ErrLeaves {
		err = wire.Fault(stream.SystemShutdown, "")
	}
	g.sayStranger(err)
	if f, ok := errors.AsType[*wire.Farewell](err); ok {
		g.sayRefused(f)
		g.part(f)
	}
	c.Release()
	_ = c.Transport.Close() // it may be closed already
}

// part says why the stream ends, and makes it arrive.
func (g *greeting) part(f *wire.Farewell) {
	if !g.began {
		g.header()
	}
	g.Part(f, g.out)
}

// write lets leave what is to be said. Where the client is waited for next, that is done without it.
func (g *greeting) write() error {
	_, err := g.Write(g.out)
	g.out = g.out[:0]
	return err
}

// patience sets the time for what comes next.
func (g *greeting) patience(d time.Duration) error {
	err := g.Transport.SetDeadline(time.Now().Add(d))
	if err == nil && g.srv.streams.Closed() { // it may have been interrupted before
		err = wire.Fault(stream.SystemShutdown, "")
	}
	return err
}

func (g *greeting) negotiate() (err error) {
	defer g.srv.streams.Recover(&err)
	l := g.srv.limits()
	settings := g.srv.settings()
	g.Strict(xmpp.NSClient, settings.MaxStanzaPreauth, l)
	if g.mode == DirectTLS {
		if err := g.handshake(); err != nil {
			return err
		}
	}
	if err := g.patience(l.AuthTime); err != nil {
		return err
	}
	for g.user.IsZero() {
		if g.handed == nil {
			if err := g.open(); err != nil {
				return err
			}
			if err := g.settled(); err != nil {
				return err
			}
		}
		if err := g.introduce(); err != nil {
			return err
		}
	}
	if err := g.patience(l.AuthTime); err != nil {
		return err
	}
	if !g.flowing {
		if err := g.open(); err != nil {
			return err
		}
		g.out = g.Framing.AppendFeatures(g.out, g.features())
		if err := g.write(); err != nil {
			return err
		}
	}
	return g.settle()
}

// admit gives the stream the limits of one whose user is known.
func (g *greeting) admit() {
	g.srv.Stats.Logins.Add(1)
	g.known()
	g.profile, g.classic, g.modern = nil, profile{}, sasl2{}
	g.Relax(g.srv.settings().MaxStanza, g.srv.limits())
}

// header writes our stream header.
func (g *greeting) header() {
	h := g.Scanner.Header()
	from := g.host
	if from.IsZero() {
		from = h.To.DomainJID()
	}
	to := h.From
	if !g.user.IsZero() && !to.IsZero() && to.Local() == "" {
		to = g.user
	}
	g.out = g.Framing.AppendHeader(g.out, stream.Header{Content: xmpp.NSClient, From: from, To: to,
		ID: wire.NewID(), Version: "1.0", Lang: "en"})
	g.began = true
}

// open reads the client's stream header and answers it (RFC 6120 §4.7).
func (g *greeting) open() error {
	if g.began { // a stream that is opened anew
		if err := g.blanks(); err != nil {
			return err
		}
	}
	g.began = false
	item, err := g.Next()
	if err != nil {
		return err
	}
	h := g.Scanner.Header()
	switch {
	case item != stream.ItemHeader:
		return wire.Fault(stream.BadFormat, "")
	case h.Content != xmpp.NSClient:
		return wire.Fault(stream.InvalidNamespace, "this is a server for clients")
	case h.BadTo, !h.To.IsZero() && !h.To.IsDomain():
		return wire.Fault(stream.ImproperAddressing, "'to' is not a domain")
	case h.To.IsZero():
		return wire.Fault(stream.ImproperAddressing, "'to' is missing")
	case !g.srv.router.Serves(h.To.Domain()), !g.host.IsZero() && h.To != g.host:
		return wire.Fault(stream.HostUnknown, "")
	case !wire.Current(h.Version):
		return wire.Fault(stream.UnsupportedVersion, "")
	case h.BadFrom, !g.user.IsZero() && h.From.Local() != "" && h.From.Bare() != g.user:
		// RFC 6120 §4.7.1: somebody else. COMPAT(sendxmpp 1.24 with XML::Stream): a name of a machine is nobody, and 'from'
		// is ours to write.
		return wire.Fault(stream.InvalidFrom, "")
	}
	g.host = h.To
	g.header()
	return nil
}

// blanks passes over white space that belongs to the stream before, since none may stand before an XML declaration.
//
// COMPAT(go-sendxmpp 0.5.6): it ends what it sends with a newline; without this it comes no further than SASL.
func (g *greeting) blanks() error {
	for !g.SkipSpace() {
		if err := g.More(); err != nil {
			return err
		}
	}
	return nil
}

// introduce offers TLS and SASL, and goes on until the stream must be opened anew.
func (g *greeting) introduce() error {
	h, err := g.takeOver()
	if err != nil {
		return err
	}
	g.prepareLogin(g.srv.settings().RequireTLS)
	if h == nil {
		g.announce()
	} else {
		g.recall(h)
		if again, err := g.answer(h); err != nil || !again {
			return err
		}
	}
	for {
		item, err := g.Next()
		if err != nil {
			return err
		}
		switch item {
		case stream.ItemEnd:
			return &wire.Farewell{}
		case stream.ItemStanza:
			if err := g.stranger(g.Scanner.Stanza()); err != nil {
				return err
			}
			continue
		}
		if again, err := g.element(g.Scanner.Element()); err != nil || !again {
			return err
		}
	}
}

// announce queues the features of a stream before the login.
func (g *greeting) announce() {
	settings := g.srv.settings()
	f := make([]byte, 0, 2<<10) // they are two thirds of it
	if g.encrypts() {
		f = wire.AppendStartTLS(f, settings.RequireTLS)
	}
	if len(g.classic.offered) > 0 {
		f = append(f, "<mechanisms xmlns='"+xmpp.NSSASL+"'>"...)
		for _, m := range g.classic.offered {
			f = append(f, "<mechanism>"...)
			f = append(f, m...)
			f = append(f, "</mechanism>"...)
		}
		f = append(f, "</mechanisms>"...)
	}
	if len(g.classic.sasl.Bindings) > 0 { // XEP-0440 wants at least one
		f = append(f, "<sasl-channel-binding xmlns='"+xmpp.NSChannelBinding+"'>"...)
		for _, b := range g.classic.sasl.Bindings {
			f = append(f, "<channel-binding type='"...)
			f = append(f, b.Type...)
			f = append(f, "'/>"...)
		}
		f = append(f, "</sasl-channel-binding>"...)
	}
	inBand, byToken := g.registers()
	if byToken {
		f = append(f, "<register xmlns='"+xmpp.NSIBRToken+"'/>"...)
	}
	if inBand {
		f = append(f, "<register xmlns='"+xmpp.NSRegisterFeature+"'/>"...)
	}
	f = g.appendAuthentication(f)
	f = wire.AppendLimits(f, settings.MaxStanzaPreauth, 0)
	f = g.appendVersion(f)
	g.out = g.Framing.AppendFeatures(g.out, f) // with the answer to a login that was sent with the header
}

// element handles an element before the login. again says that others may follow in the same stream.
func (g *greeting) element(name xmpp.Name, raw []byte) (again bool, err error) {
	switch {
	case name == xmpp.Name{Space: xmpp.NSTLS, Local: "starttls"}:
		return false, g.startTLS()
	case name == xmpp.Name{Space: xmpp.NSSASL, Local: "auth"}:
		return g.login(raw)
	case name == xmpp.Name{Space: xmpp.NSSASL2, Local: "authenticate"} && len(g.modern.offered) > 0:
		return g.authenticate(raw)
	case name == xmpp.Name{Space: xmpp.NSSASL, Local: "abort"}, name == xmpp.Name{Space: xmpp.NSSASL, Local: "response"}:
		g.profile = &g.classic
		return true, g.declined(sasl.MalformedRequest, "")
	case name.Space == xmpp.NSSM: // XEP-0198 §3
		g.out = append(g.out, wire.Failed(xmpp.CondUnexpectedRequest)...)
		return true, g.write()
	}
	return false, wire.Fault(stream.UnsupportedStanzaType, "")
}

// encrypts says whether TLS can be put on the stream now.
func (g *greeting) encrypts() bool { return g.mode == STARTTLS && g.TLS == nil && g.srv.tls != nil }

// startTLS answers <starttls/> (RFC 6120 §5.4.2).
func (g *greeting) startTLS() error {
	if !g.encrypts() {
		g.out = append(g.out, "<failure xmlns='"+xmpp.NSTLS+"'/>"...)
		g.out = g.Framing.AppendEnd(g.out, &wire.Farewell{})
		if err := g.write(); err != nil {
			return err
		}
		return &wire.Farewell{Cause: errLost}
	}
	// COMPAT(go-sendxmpp 0.5.6): a newline ends its <starttls/>; what is dropped here is never read as if it were
	// protected.
	if g.SkipSpace() || !g.Empty() {
		// Sent before TLS and read after it: somebody in between (RFC 6120 §5.4.3.3).
		return wire.Fault(stream.PolicyViolation, "data behind <starttls/>")
	}
	g.out = append(g.out, "<proceed xmlns='"+xmpp.NSTLS+"'/>"...)
	if err := g.write(); err != nil {
		return err
	}
	if err := g.handshake(); err != nil {
		return err
	}
	g.Scanner.Reset()
	return g.patience(g.srv.limits().AuthTime)
}

// registers says whether accounts can be made here now, and whether with a token.
func (g *greeting) registers() (inBand, byToken bool) {
	if !g.secure || g.srv.register == nil {
		return false, false
	}
	return g.srv.register.Offered(g.host.Domain())
}

// stranger handles a stanza before authentication.
func (g *greeting) stranger(x *xmpp.Stanza) error {
	name, _ := x.First()
	inBand, byToken := g.registers()
	ours := inBand && name.Space == xmpp.NSRegister || byToken && name.Space == xmpp.NSPARS
	if !ours || !x.IsRequest() || len(x.Children) != 1 || g.Scanner.BadTo() || !x.To.IsZero() && x.To != g.host {
		return wire.Fault(stream.NotAuthorized, "") // RFC 6120 §4.9.3.12
	}
	ctx, cancel := g.srv.within(g.srv.limits().AuthTime)
	defer cancel()
	reply, err := g.visitor(ctx, x)
	if err != nil {
		return err
	}
	g.out = reply.Append(g.out)
	return g.write()
}

// features are those that are offered after authentication: no resource and no stream management where the session has
// them (COMPAT(xmpp.js 0.14): it asks for what it sees).
func (g *greeting) features() (f []byte) {
	settings := g.srv.settings()
	if g.s == nil {
		f = append(f, "<bind xmlns='"+xmpp.NSBind+"'/><session xmlns='"+xmpp.NSSession+"'><optional/></session>"...)
	}
	if g.s == nil || g.s.sm == nil {
		f = append(f, "<sm xmlns='"+xmpp.NSSM+"'/>"...)
	}
	f = append(f, "<csi xmlns='"+xmpp.NSCSI+"'/>"...)
	f = wire.AppendLimits(f, settings.MaxStanza, settings.IdleTimeout)
	return append(f, g.srv.router.StreamFeatures(g.host.Domain())...)
}

// settle reads what comes after authentication, until a resource is bound or a session resumed.
func (g *greeting) settle() error {
	for {
		item, err := g.Next()
		if err != nil {
			return err
		}
		switch item {
		case stream.ItemEnd:
			return &wire.Farewell{}
		case stream.ItemStanza:
			err = g.bindResource(g.Scanner.Stanza())
		default:
			switch name, raw := g.Scanner.Element(); {
			case name == xmpp.Name{Space: xmpp.NSSM, Local: "resume"}:
				err = g.resume(raw)
			case name.Space == xmpp.NSSM: // XEP-0198 §3: not before bind
				g.out = append(g.out, wire.Failed(xmpp.CondUnexpectedRequest)...)
				err = g.write()
			case name.Space == xmpp.NSCSI:
			default:
				err = wire.Fault(stream.UnsupportedStanzaType, "")
			}
		}
		if err != nil {
			return err
		}
	}
}

// bindResource answers the request for a resource (RFC 6120 §7).
func (g *greeting) bindResource(x *xmpp.Stanza) error {
	el := x.Child(xmpp.Name{Space: xmpp.NSBind, Local: "bind"})
	if el == nil || x.Kind != xmpp.IQ || !x.IsRequest() {
		return wire.Fault(stream.NotAuthorized, "bind a resource first") // RFC 6120 §7.1
	}
	var refusal *xmpp.Error
	resource := wire.NewID()
	if r := el.ChildLocal("resource"); r != nil && r.Text() != "" {
		resource = r.Text()
	}
	full, err := g.user.WithResource(resource)
	if err != nil { // RFC 6120 §7.7.1: the server may choose another; the client is told which
		full, err = g.user.WithResource(wire.NewID())
	}
	switch {
	case x.Type != xmpp.TypeSet || x.ID == "" || len(x.Children) != 1:
		refusal = xmpp.BadRequest("")
	case err != nil:
		return wire.Fault(stream.InternalServerError, "") // a resource of ours
	default:
		id := x.ID
		if err = g.bind(full, wishes{device: g.device}); err == nil {
			g.stillActive()
			g.remember()
			b := append([]byte("<bind xmlns='"+xmpp.NSBind+"'><jid>"), xmpp.AppendText(nil, full.String())...)
			b = append(b, "</jid></bind>"...)
			g.out = (&xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeResult, ID: id, Payload: b}).Append(g.out)
			g.sayLogin()
			return g.commit()
		}
		if !errors.Is(err, router.ErrTooManySessions) {
			return wire.Fault(stream.InternalServerError, "")
		}
		refusal = xmpp.ResourceConstraint("too many sessions") // RFC 6120 §7.6.2.1
	}
	reply := x.ErrorReply(refusal)
	reply.To, reply.From = jid.JID{}, jid.JID{}
	g.out = reply.Append(g.out)
	return g.write()
}

// stillActive ends the session that was just bound if the account has been disabled or deleted since its login, or has
// got another password: whoever did that ended the sessions that there were.
func (g *greeting) stillActive() {
	r, err := g.srv.accounts.Rights(g.srv.ctx, g.user)
	switch {
	case err != nil: // what cannot be found out ends nothing
	case !r.Active():
		g.s.End(string(stream.NotAuthorized), "the account is not active")
	case r.Changed().After(g.tried):
		g.s.End(string(stream.NotAuthorized), accounts.PasswordChanged.String())
	}
}

// commit writes what makes the session the client's, and hands the connection over.
func (g *greeting) commit() error {
	err := g.write()
	g.greeting = nil
	g.Scanner.Forget()
	if !g.source.Exempt && !g.srv.accounts.Permitted(g.srv.ctx, g.user, accounts.PermAdmin) {
		g.purse = g.srv.budgets.Open(g.user.String())
	}
	if e := g.Transport.SetDeadline(time.Time{}); err != nil || e != nil {
		g.Transport.Interrupt() // the reader finds out
	}
	g.start()
	return errTaken
}

// resume answers <resume/> (XEP-0198 §5).
func (g *greeting) resume(raw []byte) error {
	el, err := xmpp.ParseElement(raw)
	if err != nil {
		return wire.Fault(stream.BadFormat, "")
	}
	h, err := wire.Height(raw)
	if err != nil {
		return err
	}
	answer, err := g.takeUp(el.Attr("previd"), h)
	if err != nil {
		return err
	}
	g.out = append(g.out, answer...)
	if g.s != nil {
		return g.commit()
	}
	return g.write()
}

// takeUp makes a session that waits to be resumed the one of this connection, if it can, and returns what the client is
// told: <resumed/>, or <failed/> and there is no session.
func (g *greeting) takeUp(id string, h uint32) (answer []byte, err error) {
	if g.srv.settings().ResumeWindow < time.Second {
		return []byte(wire.Failed(xmpp.CondFeatureNotImplemented)), nil
	}
	s, had, known := g.srv.resumable.find(id, g.user)
	if s == nil {
		return unresumed(had, known), nil
	}
	handled, err := s.resume(g.conn, h)
	if err != nil {
		if f, ok := errors.AsType[*wire.Farewell](err); ok {
			return nil, f
		}
		return unresumed(handled, errors.Is(err, errGone)), nil
	}
	g.conn.s, g.resumed = s, true
	g.srv.Stats.Resumptions.Add(1)
	g.sayResumed()
	answer = append(answer, "<resumed xmlns='"+xmpp.NSSM+"' previd='"...)
	answer = append(xmpp.AppendAttr(answer, id), "' h='"...)
	return append(strconv.AppendUint(answer, uint64(handled), 10), "'/>"...), nil
}

// unresumed lets the client bind instead.
func unresumed(h uint32, known bool) (answer []byte) {
	answer = append(answer, "<failed xmlns='"+xmpp.NSSM+"'"...)
	if known {
		answer = append(answer, " h='"...)
		answer = append(strconv.AppendUint(answer, uint64(h), 10), '\'')
	}
	return append(answer, "><item-not-found xmlns='"+xmpp.NSStanzaErrors+"'/></failed>"...)
}
