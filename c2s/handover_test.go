package c2s

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
	"jackdaw/xmpp/stream"
)

// A country is several nodes, and where accounts are at home.
type country struct {
	t testing.TB

	mu    sync.Mutex // guards the rest
	at    map[string]*house
	away  bool   // no node reaches another
	late  *house // knows of moves only when it looks
	links map[*house][]net.Conn

	breaks int // bytes in each direction after which a link breaks; 0: it does not
}

// A brittle connection breaks when so much has come.
type brittle struct {
	net.Conn
	left int
}

func (b *brittle) Read(p []byte) (int, error) {
	n, err := b.Conn.Read(p[:min(len(p), max(b.left, 1))])
	if b.left -= n; b.left <= 0 {
		_ = b.Conn.Close() // it breaks
	}
	return n, err
}

// A seat is one node's view of it.
type seat struct {
	*country
	h *house
}

func (s *seat) Here(owner string, handed bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.late == s.h && !handed {
		return false
	}
	return s.at[owner] == s.h
}

func (s *seat) Open(_ context.Context, owner string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	home := s.at[owner]
	if s.away || home == nil {
		return nil, errors.New("no route to host")
	}
	ours, theirs := tcpPair(s.t)
	s.links[s.h] = append(s.links[s.h], ours)
	if s.breaks > 0 {
		ours, theirs = &brittle{ours, s.breaks}, &brittle{theirs, s.breaks}
	}
	home.Adopt(theirs)
	return ours, nil
}

// cutFrom breaks the links that a node has opened, as when it dies.
func (c *country) cutFrom(h *house) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.links[h] {
		_ = l.Close() // it may be closed already
	}
}

// nodes starts as many; romeo and juliet are at home at the first.
func nodes(t testing.TB, n int, change func(*Options)) (c *country, all []*house) {
	t.Helper()
	c = &country{t: t, at: map[string]*house{}, links: map[*house][]net.Conn{}}
	for range n {
		s := &seat{country: c}
		s.h = open(t, func(o *Options) {
			o.Elsewhere = s
			if change != nil {
				change(o)
			}
		})
		all = append(all, s.h)
	}
	for _, u := range []string{"romeo", "juliet"} {
		c.at[u+"@"+host] = all[0]
	}
	return c, all
}

// through lets clients in at another node.
func (h *house) through(edge *house) *house {
	h.door = edge.Server
	return h
}

// untouched says that nothing has been decided at a node, and that nothing is left there.
func (h *house) untouched(handed int) {
	h.t.Helper()
	if n := h.Stats.Logins.Load() + h.Stats.AuthFailures.Load() + h.Stats.Sessions.Load(); n != 0 {
		h.t.Errorf("the node with the connection has had %d logins, failures and sessions", n)
	}
	if n := int(h.Stats.HandedOver.Load()); n != handed {
		h.t.Errorf("%d streams were handed over, want %d", n, handed)
	}
	eventually(h.t, "all connections are closed", func() bool {
		return h.Stats.Passing.Load() == 0 && h.Stats.Connections.Load() == 0
	})
}

func TestEachMechanismLogsInByAnotherNode(t *testing.T) {
	_, all := nodes(t, 2, nil)
	home, edge := all[0], all[1]
	defer home.close()
	defer edge.close()
	home.through(edge)
	n := 0
	for _, m := range []sasl.Mechanism{sasl.ScramSHA256Plus, sasl.ScramSHA1Plus, sasl.ScramSHA256, sasl.ScramSHA1,
		sasl.Plain} {
		for _, from := range []bool{false, true} {
			for _, kind := range []string{sasl.TLSExporter, sasl.TLSServerEndPoint} {
				c := home.connect(DirectTLS).handshake()
				cred := sasl.Credentials{User: "romeo", Password: password}
				if m.Plus() {
					cs := c.tls.ConnectionState()
					cred.Binding, _ = sasl.Exporter(&cs)
					if kind == sasl.TLSServerEndPoint {
						cred.Binding, _ = sasl.ServerEndPoint(cs.PeerCertificates[0])
					}
				}
				features := ""
				if from {
					features = c.headerFrom("romeo")
				} else {
					features = c.header()
				}
				if !strings.Contains(features, "<mechanism>"+string(m)+"</mechanism>") {
					t.Errorf("%s is not offered: %s", m, features)
				}
				if got := c.auth(m, cred); !strings.HasPrefix(got, "<success") {
					t.Errorf("%s, %s, from %t: %s", m, kind, from, got)
				}
				c.header()
				c.bind("balcony").ping()
				at := home.router.Session(jid.MustParse(c.jid)).Connection()
				if at.TLS != "TLS 1.3" || at.Address.String() != "127.0.0.1" {
					t.Errorf("the session is said to be at %+v", at)
				}
				c.leave()
				n++
			}
		}
	}
	edge.untouched(n)
	if got := int(home.Stats.Adopted.Load()); got != n {
		t.Errorf("%d streams were adopted, want %d", got, n)
	}
}

// withoutInitial begins a login without its first message, which the server then asks for.
func (c *client) withoutInitial(space, element string, m sasl.Mechanism, message []byte) string {
	c.t.Helper()
	c.send("<" + element + " xmlns='" + space + "' mechanism='" + string(m) + "'/>").expect("<challenge")
	c.send("<response xmlns='" + space + "'>" + base64.StdEncoding.EncodeToString(message) + "</response>")
	return c.read()
}

func TestALoginWithoutAnInitialResponseIsHandedOverWithTheResponse(t *testing.T) {
	_, all := nodes(t, 2, nil)
	home, edge := all[0], all[1]
	defer home.close()
	defer edge.close()
	home.through(edge)
	for space, element := range map[string]string{xmpp.NSSASL: "auth", xmpp.NSSASL2: "authenticate"} {
		for secret, want := range map[string]string{password: "<success", "wrong": "<failure"} {
			c := home.connect(DirectTLS).handshake()
			c.header()
			if got := c.withoutInitial(space, element, sasl.Plain, []byte("\x00romeo\x00"+secret)); !strings.HasPrefix(got, want) {
				t.Errorf("%s, %s: %s", element, secret, got)
			}
			c.close()
		}
		// One that names nobody is answered where it is.
		c := home.connect(DirectTLS).handshake()
		c.header()
		if got := c.withoutInitial(space, element, sasl.Plain, []byte("romeo")); !strings.Contains(got, "<malformed-request") {
			t.Errorf("%s: %s", element, got)
		}
		c.close()
	}
	edge.untouched(4)
}

func TestEachMechanismOfSASL2LogsInByAnotherNode(t *testing.T) {
	tokens := &memoryTokens{of: map[string]*tokenSlots{}}
	_, all := nodes(t, 2, func(o *Options) { o.Tokens, o.Location = tokens, "one.example.org:5222" })
	home, edge := all[0], all[1]
	defer home.close()
	defer edge.close()
	home.through(edge)
	home.keep("juliet", sasl.SHA1)
	if c, f := home.secure("juliet"); strings.Contains(f, "<authentication xmlns='urn:xmpp:sasl:2'><mechanism>SCRAM-SHA-512") {
		t.Errorf("what is offered is not what the account has: %s", f)
	} else {
		c.close()
	}
	n := 1
	for _, m := range []sasl.Mechanism{sasl.ScramSHA512Plus, sasl.ScramSHA256Plus, sasl.ScramSHA1Plus, sasl.ScramSHA512,
		sasl.ScramSHA256, sasl.ScramSHA1, sasl.Plain} {
		for _, open := range []func(*client) string{(*client).header, func(c *client) string { return c.headerFrom("romeo") }} {
			c := home.connect(DirectTLS).handshake()
			if !strings.Contains(open(c), "<mechanism>"+string(m)+"</mechanism>") {
				c.close() // SHA-512 is for accounts that have it
				continue
			}
			cred := sasl.Credentials{User: "romeo", Password: password}
			if m.Plus() {
				cred = c.bindingCredentials()
			}
			el := c.auth2(m, cred, bindManaged)
			got := string(el.Append(nil))
			if el.Name.Local != "success" || !strings.Contains(got, " location='one.example.org:5222'") {
				t.Errorf("%s: %s", m, got)
			}
			c.expect("features")
			c.ping()
			c.close()
			n++
		}
	}
	for _, m := range []sasl.Mechanism{sasl.HTSHA256Exporter, sasl.HTSHA256EndPoint, sasl.HTSHA256None} {
		token := home.obtain("romeo", deviceA, m)
		for _, open := range []func(*client) string{(*client).header, func(c *client) string { return c.headerFrom("romeo") }} {
			c := home.connect(DirectTLS).handshake()
			open(c)
			if el := c.fast2("romeo", token, m, bind2+fast+agentOf(deviceA)); el.Name.Local != "success" {
				t.Errorf("%s: %s", m, el.Append(nil))
			}
			c.expect("features")
			c.ping()
			c.leave()
			n++
		}
		n++
	}
	edge.untouched(n)
}

// A client that knows the features sends its login with the header (XEP-0509), and what follows too.
func TestWhatWasSentAheadIsHandedOver(t *testing.T) {
	_, all := nodes(t, 2, nil)
	home, edge := all[0], all[1]
	defer home.close()
	defer edge.close()
	home.through(edge)
	for name, open := range map[string]string{"from": headerOf("romeo"), "nobody": header} {
		c := home.connect(DirectTLS).handshake()
		c.send(open + authenticateXML("PLAIN", base64.StdEncoding.EncodeToString([]byte("\x00romeo\x00"+password)), bind2) +
			"<iq type='get' id='sync' to='" + host + "'><query xmlns='urn:test'/></iq>")
		c.expect("<header>")
		c.expect("features")
		c.expect("<success")
		c.expect("features")
		if got := c.expect("id='sync'", "type='result'"); got == "" {
			t.Error(name)
		}
		c.close()
	}
	edge.untouched(2)
}

func TestAFailedLoginMayBeFollowedByOneOfAnotherAccount(t *testing.T) {
	c, all := nodes(t, 3, func(o *Options) { o.Limits.FailedLogins = 3 })
	for _, h := range all {
		defer h.close()
	}
	home, edge := all[0], all[1]
	c.at["juliet@"+host] = all[2]
	home.through(edge)
	wrong := func(user string) sasl.Credentials { return sasl.Credentials{User: user, Password: "wrong"} }
	d := home.connect(DirectTLS).handshake()
	d.header()
	for _, user := range []string{"romeo", "juliet"} {
		if got := d.auth(sasl.ScramSHA256, wrong(user)); !strings.Contains(got, "<not-authorized/>") {
			t.Errorf("%s: %s", user, got)
		}
	}
	d.login("juliet").bind("x")
	if s := all[2].router.Session(jid.MustParse(d.jid)); s == nil || all[2].Stats.Sessions.Load() != 1 {
		t.Error("juliet is not where she is at home")
	}
	d.ping()
	d.leave()
	// The failures are those of the stream, wherever they were.
	e := home.connect(DirectTLS).handshake()
	e.header()
	for _, user := range []string{"romeo", "juliet", "romeo"} {
		if got := e.auth(sasl.ScramSHA256, wrong(user)); !strings.Contains(got, "<not-authorized/>") {
			t.Errorf("%s: %s", user, got)
		}
	}
	e.expectError("policy-violation")
	e.close()
	edge.untouched(2)
}

func TestAStreamIsNotHandedOverForEver(t *testing.T) {
	c, all := nodes(t, 2, func(o *Options) { o.Limits.FailedLogins = 20 })
	for _, h := range all {
		defer h.close()
	}
	home, edge := all[0], all[1]
	c.at["juliet@"+host] = edge
	home.through(edge)
	d := home.connect(DirectTLS).handshake()
	d.header()
	got := ""
	for i := range wire.MaxHops + 1 {
		if got = d.auth(sasl.Plain, sasl.Credentials{User: []string{"romeo", "juliet"}[i%2], Password: "wrong"}); i < wire.MaxHops &&
			!strings.Contains(got, "<not-authorized/>") {
			t.Errorf("attempt %d: %s", i, got)
		}
	}
	if !strings.Contains(got, "<temporary-auth-failure/>") {
		t.Errorf("then: %s", got)
	}
	d.close()
}

// A node that is handed a stream for an account that has just moved there may not know of that yet.
func TestAStreamIsTakenByAHomeThatDoesNotKnowItYet(t *testing.T) {
	c, all := nodes(t, 2, nil)
	for _, h := range all {
		defer h.close()
	}
	home, edge := all[0], all[1]
	c.late = home
	home.through(edge)
	d := home.connect(DirectTLS).handshake()
	d.header()
	if got := d.auth(sasl.Plain, sasl.Credentials{User: "romeo", Password: password}); !strings.HasPrefix(got, "<success") {
		t.Errorf("the login: %s", got)
	}
	if n := home.Stats.HandedOver.Load(); n != 0 {
		t.Errorf("it was handed on %d times", n)
	}
	d.close()
}

func TestAHomeThatCannotBeReachedFailsTheLoginForNow(t *testing.T) {
	c, all := nodes(t, 2, nil)
	home, edge := all[0], all[1]
	defer home.close()
	defer edge.close()
	home.through(edge)
	c.away = true
	d := home.connect(DirectTLS).handshake()
	if f := d.headerFrom("romeo"); !strings.Contains(f, ">SCRAM-SHA-256<") {
		t.Errorf("features %s", f)
	}
	cred := sasl.Credentials{User: "romeo", Password: password}
	for _, m := range []sasl.Mechanism{sasl.ScramSHA1, sasl.Plain} {
		if got := d.auth(m, cred); !strings.Contains(got, "<temporary-auth-failure/>") {
			t.Errorf("%s: %s", m, got)
		}
	}
	if el := d.auth2(sasl.ScramSHA1, cred, bind2); el.Child(xmpp.Name{Space: xmpp.NSSASL, Local: "temporary-auth-failure"}) == nil {
		t.Errorf("SASL2: %s", el.Append(nil))
	}
	c.mu.Lock()
	c.away = false
	c.mu.Unlock()
	if got := d.auth(sasl.ScramSHA1, cred); !strings.HasPrefix(got, "<success") {
		t.Errorf("then: %s", got)
	}
	if n := edge.Stats.Unreachable.Load(); n != 4 {
		t.Errorf("%d times unreachable", n)
	}
	d.close()
}

// A link may break at any byte. The client finds its connection closed, or its login failed for now; nothing is left.
func TestALinkMayBreakAnywhere(t *testing.T) {
	c, all := nodes(t, 2, nil)
	home, edge := all[0], all[1]
	defer home.close()
	defer edge.close()
	home.through(edge)
	for at := 0; at < 6000; at += 131 {
		c.mu.Lock()
		c.breaks = at
		c.mu.Unlock()
		d := home.connect(DirectTLS).handshake()
		if at%2 == 0 {
			d.try(headerOf("romeo"))
		} else {
			d.try(header)
		}
		d.try(authenticateXML("PLAIN", base64.StdEncoding.EncodeToString([]byte("\x00romeo\x00"+password)), bind2))
		for d.read() != "EOF" {
			d.try("<iq type='get' id='sync' to='" + host + "'><query xmlns='urn:test'/></iq>")
			if at == 0 {
				break
			}
		}
		d.close()
	}
	eventually(t, "no session is left", func() bool { return home.Stats.Sessions.Load() == 0 })
	edge.untouched(int(edge.Stats.HandedOver.Load()))
}

func TestASessionIsResumedByAnotherNodeWhenOneHasDied(t *testing.T) {
	c, all := nodes(t, 3, nil)
	for _, h := range all {
		defer h.close()
	}
	home, first, second := all[0], all[1], all[2]
	home.copied = true
	d := home.through(first).enter("romeo", "phone")
	id := d.manage()
	home.message(d.jid, "m1", 0)
	d.expectMessages("m1")
	s := home.router.Session(jid.MustParse(d.jid))
	c.cutFrom(first)
	if got := d.expect(); got != "EOF" && !strings.HasPrefix(got, "<r ") {
		t.Errorf("the client got %s", got)
	}
	eventually(t, "the session waits", s.Detached)
	home.message(d.jid, "m2", 0)
	again := home.through(second).resume("romeo", id, 0)
	again.expect("<resumed", "previd='"+id+"'")
	again.expectMessages("m1", "m2")
	again.send("<a xmlns='urn:xmpp:sm:3' h='2'/>").ping()
	// The home's own clients resume likewise, and the other way round.
	here := home.through(home).resume("romeo", id, 2)
	here.expect("<resumed")
	here.ping()
	for again.read() != "EOF" {
		continue
	}
	back := home.through(first).resume("romeo", id, 2)
	back.expect("<resumed")
	back.close()
	d.close()
	again.close()
	here.close()
	if got := home.list(&home.stored); len(got) != 0 {
		t.Errorf("stored: %v", got)
	}
}

func TestANodeThatStopsLeavesTheSessionsWhereTheyAre(t *testing.T) {
	_, all := nodes(t, 3, nil)
	home, edge, other := all[0], all[1], all[2]
	defer home.close()
	defer other.close()
	home.through(edge)
	managed := home.enter("romeo", "phone")
	id := managed.manage()
	plain := home.enter("juliet", "desk")
	stranger := home.connect(DirectTLS).handshake()
	stranger.headerFrom("romeo")
	managed.send("<message to='juliet@example.org/desk' id='last'/>")
	plain.expectMessages("last")
	s := home.router.Session(jid.MustParse(managed.jid))
	edge.Quiesce(t.Context())
	edge.close()
	managed.expect("<a ", "h='1'")
	for _, c := range []*client{managed, plain, stranger} {
		c.expectError("system-shutdown")
		if got := c.read(); got != "EOF" {
			t.Errorf("then came %s", got)
		}
		c.close()
	}
	eventually(t, "one session waits, the other has ended", func() bool { return s.Detached() && home.Stats.Sessions.Load() == 1 })
	back := home.through(other).resume("romeo", id, 0)
	back.expect("<resumed", "h='1'")
	back.leave()
	if n := home.Stats.Panics.Load() + edge.Stats.Panics.Load(); n != 0 {
		t.Errorf("%d panics", n)
	}
}

func TestAHomeThatStopsEndsItsStreamsEverywhere(t *testing.T) {
	_, all := nodes(t, 2, nil)
	home, edge := all[0], all[1]
	defer edge.close()
	home.through(edge)
	c := home.enter("romeo", "phone")
	home.close()
	c.expectError("system-shutdown")
	if got := c.read(); got != "EOF" {
		t.Errorf("then came %s", got)
	}
	c.close()
	edge.untouched(1)
}

func TestStreamsOfEveryKindAreHandedOver(t *testing.T) {
	for name, enter := range map[string]func(h *house) *client{
		"STARTTLS":  func(h *house) *client { c := h.connect(STARTTLS); c.header(); c.startTLS().header(); return c },
		"WebSocket": func(h *house) *client { c := h.dial(h.sockets(true), true); c.header(); return c },
		"ws":        func(h *house) *client { c := h.dial(h.sockets(false), false); c.header(); return c },
		"BOSH":      func(h *house) *client { c := h.boshClient(h.overBOSH()); c.header(); return c },
	} {
		t.Run(name, func(t *testing.T) {
			_, all := nodes(t, 2, nil)
			home, edge := all[0], all[1]
			defer home.close()
			defer edge.close()
			home.t = t
			home.through(edge)
			romeo := enter(home)
			romeo.login("romeo").bind("page")
			juliet := home.through(home).enter("juliet", "phone")
			for i := range 20 {
				id := fmt.Sprintf("id='m%d'", i)
				text := "<body>" + strings.Repeat("x", i*5000) + "</body>"
				romeo.send("<message xmlns='jabber:client' to='" + juliet.jid + "' " + id + " type='chat'>" + text + "</message>")
				juliet.expect(id, "from='"+romeo.jid+"'", text)
				juliet.send("<message to='" + romeo.jid + "' " + id + " type='chat'>" + text + "</message>")
				romeo.expect(id, "from='"+juliet.jid+"'", text)
			}
			romeo.send(stream.Close).expect("</end>")
			romeo.close()
			juliet.leave()
			eventually(t, "the sessions end", func() bool { return home.Stats.Sessions.Load() == 0 })
			edge.untouched(1)
		})
	}
}

// As TestSlowClientGetsOrGivesBackEachMessageOnce, with another node between.
func TestASlowClientElsewhereGetsOrGivesBackEachMessageOnce(t *testing.T) {
	for _, managed := range []bool{false, true} {
		t.Run(fmt.Sprintf("managed=%t", managed), func(t *testing.T) {
			_, all := nodes(t, 2, func(o *Options) { o.Limits.WriteStall, o.C2S.ResumeWindow = time.Second, 0 })
			home, edge := all[0], all[1]
			defer home.close()
			defer edge.close()
			home.copied, home.t = true, t
			home.through(edge)
			c := home.narrow(true).handshake()
			c.header()
			c.login("juliet").bind("balcony")
			if managed {
				c.send("<enable xmlns='" + xmpp.NSSM + "'/>").expect("<enabled")
			}
			const n = 400
			for i := range n {
				home.post("juliet@example.org", fmt.Sprintf("m%d", i), 20000, 0)
			}
			eventually(t, "the session is given up", func() bool { return home.over() == 1 })
			seen := map[string]bool{}
			for got := c.readLenient(); got != "EOF"; got = c.readLenient() {
				if i := strings.Index(got, "id='m"); i >= 0 {
					seen[got[i+4:i+4+strings.IndexByte(got[i+4:], '\'')]] = true
				}
			}
			c.close()
			for _, id := range home.list(&home.stored) {
				if seen[id] && !managed { // which says itself what it has
					t.Errorf("%s arrived and was stored", id)
				}
				seen[id] = true
			}
			if len(seen) != n {
				t.Errorf("%d of %d are accounted for", len(seen), n)
			}
			edge.untouched(1)
		})
	}
}

func TestMuchIsMovedBothWaysInOrder(t *testing.T) {
	_, all := nodes(t, 2, nil)
	home, edge := all[0], all[1]
	defer home.close()
	defer edge.close()
	juliet := home.through(edge).enter("juliet", "phone")
	romeo := home.enter("romeo", "phone")
	const n = 1000
	for _, one := range []struct{ from, to *client }{{juliet, romeo}, {romeo, juliet}} {
		go func() {
			var b strings.Builder
			for i := range n {
				fmt.Fprintf(&b, "<message to='%s' id='m%d'><body>%s</body></message>", one.to.jid, i, strings.Repeat("x", i%3000))
			}
			one.from.try(b.String())
		}()
	}
	wrong := make(chan string, 2)
	for _, c := range []*client{romeo, juliet} { // who does not read is not read
		go func() {
			for i := range n {
				if got := c.readLenient(); !strings.Contains(got, fmt.Sprintf(" id='m%d'", i)) {
					wrong <- fmt.Sprintf("message %d is %.80s", i, got)
					return
				}
			}
			wrong <- ""
		}()
	}
	for range 2 {
		if w := <-wrong; w != "" {
			t.Error(w)
		}
	}
	juliet.leave()
	romeo.leave()
	edge.untouched(2)
}

func TestAnAccountIsMadeAtItsHome(t *testing.T) {
	made := map[bool]register{false: {make(chan string, 9)}, true: {make(chan string, 9)}}
	first := true
	c, all := nodes(t, 2, func(o *Options) { o.Register, first = made[first], false })
	home, edge := all[0], all[1]
	defer home.close()
	defer edge.close()
	c.at["mercutio@"+host] = home
	c.at["tybalt@"+host] = edge
	home.through(edge)
	const preauth = "<iq type='set' id='p' to='example.org'><preauth xmlns='urn:xmpp:pars:0' token='x'/></iq>"
	ask := func(c *client, user string) *client {
		return c.send("<iq type='set' id='r'><query xmlns='jabber:iq:register'><username>" + user +
			"</username><password>x</password></query></iq>")
	}
	d := home.connect(DirectTLS).handshake()
	d.header()
	d.send(preauth).expect("type='result'", "id='p'")
	ask(d, "tybalt").expect("type='result'", "id='r'")
	ask(d, "mercutio").expect("type='result'", "id='r'")
	d.login("romeo").bind("x").ping()
	d.leave()
	for where, want := range map[bool][]string{false: {"example.org set 1", "example.org set 2"}, true: {"example.org set 1", "example.org set 2"}} {
		for _, w := range want {
			if got := <-made[where].got; got != w {
				t.Errorf("home %t: %s, want %s", where, got, w)
			}
		}
	}
	c.away = true
	e := home.connect(DirectTLS).handshake()
	e.header()
	ask(e, "mercutio").expect("type='error'", "<resource-constraint", "type='wait'")
	e.close()
	edge.untouched(1)
}
