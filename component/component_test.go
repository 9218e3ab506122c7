package component

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jackdaw/config"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

func TestComponentAndUsersTalk(t *testing.T) {
	h := newHouse(t, nil)
	bot := h.connect("bot.example.org", "botsecret")
	if got := bot.scan.Header(); got.From.String() != "bot.example.org" || got.ID == "" || got.Version != "" ||
		got.Content != xmpp.NSComponentAccept {
		t.Errorf("header %+v", got)
	}
	e := h.route("<message type='chat' from='romeo@users.example.org/a' to='any@bot.example.org/x'><body>hi</body></message>", nil)
	if e.Outcome != router.Delivered || len(e.Pendings) != 0 {
		t.Errorf("%v, %d pendings", e.Outcome, len(e.Pendings))
	}
	bot.expect("<message type='chat' from='romeo@users.example.org/a' to='any@bot.example.org/x'><body>hi</body></message>")
	bot.say(" <message from='any@bot.example.org/x' to='romeo@users.example.org/a' type='chat'><body>yo</body></message>\n")
	h.expect("<message type='chat' from='any@bot.example.org/x' to='romeo@users.example.org/a'><body>yo</body></message>")
	bot.say("<iq type='get' id='1' from='bot.example.org' to='example.org'><query xmlns='urn:x'/></iq>")
	bot.expect("<iq type='error' id='1' from='example.org' to='bot.example.org'>", "service-unavailable")
	// A component may write to itself and to another, which is away.
	bot.say("<message from='bot.example.org' to='b@bot.example.org' id='2'/><message from='bot.example.org' to='irc.example.org' id='3'/>")
	bot.expect("id='2'")
	bot.expect("id='3'", "type='error'", "service-unavailable", "type='wait'")
	bot.say(stream.Close)
	bot.expect("end")
	bot.expect("closed")
	h.eventually("the link has gone", func() bool { return h.Stats.Links.Load() == 0 })
	if e := h.route("<message from='romeo@users.example.org' to='bot.example.org'/>", nil); e.Outcome != router.Refused ||
		e.Err.Condition != xmpp.CondServiceUnavailable || e.Err.Type != xmpp.ErrorWait {
		t.Errorf("%v %v", e.Outcome, e.Err)
	}
	h.expect("type='error'", "service-unavailable")
}

func TestStanzasOfTheClientNamespaceAreTakenToo(t *testing.T) {
	h := newHouse(t, nil)
	bot := h.connect("bot.example.org", "botsecret")
	bot.say("<message xmlns='jabber:client' from='bot.example.org' to='a@users.example.org'><body>1</body></message>")
	h.expect("<message from='bot.example.org' to='a@users.example.org'><body>1</body></message>")
	bot.say("<message xmlns='jabber:client' from='example.org' to='a@users.example.org'/>")
	bot.ends(stream.InvalidFrom)
	h.nothing()
}

func TestPayloadIsInTheContentNamespaceOnEitherSide(t *testing.T) {
	h := newHouse(t, nil)
	bot := h.connect("bot.example.org", "botsecret")
	for in, want := range map[string]string{
		"<body>1</body>": "<body>1</body>",
		"<body xmlns='jabber:component:accept'>2</body>":                         "<body>2</body>",
		"<body xmlns='jabber:client'>3</body>":                                   "<body>3</body>",
		"<x xmlns='urn:x'><body xmlns='jabber:component:accept'/></x>":           "<x xmlns='urn:x'><body xmlns='jabber:client'/></x>",
		"<x xmlns='urn:x'><body xmlns='jabber:client'/></x>":                     "<x xmlns='urn:x'><body xmlns='jabber:client'/></x>",
		"<error type='wait'><gone xmlns='" + xmpp.NSStanzaErrors + "'/></error>": "<error type='wait'><gone xmlns='" + xmpp.NSStanzaErrors + "'/></error>",
	} {
		bot.say("<message from='bot.example.org' to='a@users.example.org'>" + in + "</message>")
		h.expect(">" + want + "</message>")
	}
}

func TestHandshakeIsRefused(t *testing.T) {
	h := newHouse(t, nil)
	for name, c := range map[string]struct {
		say       string // in place of a header
		then      func(p *program) string
		condition stream.Condition
	}{
		"unknown domain":  {header("other.example.org"), nil, stream.HostUnknown},
		"host":            {header("example.org"), nil, stream.HostUnknown},
		"address":         {header("a@bot.example.org"), nil, stream.ImproperAddressing},
		"no address":      {header("@"), nil, stream.ImproperAddressing},
		"no domain":       {strings.Replace(header(""), " to=''", "", 1), nil, stream.ImproperAddressing},
		"client":          {strings.Replace(header("bot.example.org"), "jabber:component:accept", "jabber:client", 1), nil, stream.InvalidNamespace},
		"not XML":         {"GET / HTTP/1.1\r\n\r\n", nil, stream.NotWellFormed},
		"huge header":     {opening + strings.Repeat("x", preauthStanza), nil, stream.PolicyViolation},
		"wrong secret":    {"", func(p *program) string { return p.handshake("ircsecret") }, stream.NotAuthorized},
		"no secret":       {"", func(p *program) string { return p.handshake("") }, stream.NotAuthorized},
		"upper case":      {"", func(p *program) string { return strings.ToUpper(p.handshake("botsecret")) }, stream.NotAuthorized},
		"half a hash":     {"", func(p *program) string { return p.handshake("botsecret")[:30] + "</handshake>" }, stream.NotAuthorized},
		"empty":           {"", func(p *program) string { p.next(); return "<handshake/>" }, stream.NotAuthorized},
		"nested":          {"", func(p *program) string { p.next(); return "<handshake><a>x</a></handshake>" }, stream.NotAuthorized},
		"stanza first":    {"", func(p *program) string { p.next(); return "<message from='bot.example.org' to='a@users.example.org'/>" }, stream.NotAuthorized},
		"another element": {"", func(p *program) string { p.next(); return "<auth xmlns='" + xmpp.NSSASL + "' mechanism='PLAIN'/>" }, stream.NotAuthorized},
		"huge handshake":  {"", func(p *program) string { p.next(); return "<handshake>" + strings.Repeat("0", preauthStanza) }, stream.PolicyViolation},
		"stanza behind it": {"", func(p *program) string {
			return p.handshake("no") + "<message from='bot.example.org' to='a@users.example.org'/>"
		}, stream.NotAuthorized},
	} {
		t.Run(name, func(t *testing.T) {
			if c.say == "" {
				c.say = header("bot.example.org")
			}
			p := h.dial(c.say)
			p.t = t
			if c.then != nil {
				p.say(c.then(p))
			} else {
				p.expect("header")
				if p.scan.Header().Content != xmpp.NSComponentAccept {
					t.Errorf("header %+v", p.scan.Header())
				}
			}
			p.ends(c.condition)
			h.nothing()
		})
	}
	if n := h.Stats.Failures.Load(); n == 0 {
		t.Error("no failure was counted")
	}
	if got := h.Links()[0]; got.Domain != "bot.example.org" || got.Connected || !strings.Contains(got.LastError, "wrong secret from 127.0.0.1:") {
		t.Errorf("%+v", got)
	}
	if strings.Contains(h.log.String(), "botsecret") || strings.Contains(h.log.String(), "ircsecret") {
		t.Errorf("a secret is in the log:\n%s", h.log)
	}
}

func TestHandshakeIsOfOneStreamOnly(t *testing.T) {
	h := newHouse(t, nil)
	p := h.dial(header("bot.example.org"))
	proof := p.handshake("botsecret")
	again := h.dial(header("bot.example.org"))
	again.expect("header")
	again.say(proof)
	again.ends(stream.NotAuthorized)
	p.say(proof)
	p.expect("<handshake/>")
}

func TestBytesBeforeTheHandshakeAreBounded(t *testing.T) {
	h := newHouse(t, func(l *config.Limits) { l.PreauthBytes = 3000 })
	p := h.dial(header("bot.example.org"))
	p.expect("header")
	for range 4 {
		if _, err := p.Write([]byte(strings.Repeat(" ", 1000))); err != nil {
			break // it has been closed already
		}
	}
	p.ends(stream.PolicyViolation)
}

func TestTimeBeforeTheHandshakeIsBounded(t *testing.T) {
	h := newHouse(t, func(l *config.Limits) { l.AuthTime = 50 * time.Millisecond })
	silent, half := h.dial(""), h.dial(header("bot.example.org"))
	half.expect("header")
	half.ends(stream.ConnectionTimeout)
	silent.expect("header")
	silent.ends(stream.ConnectionTimeout)
	// What was bounded before is not afterwards.
	const enough = time.Second // for a handshake
	h.mu.Lock()
	h.limits.AuthTime = enough
	h.mu.Unlock()
	bot := h.connect("bot.example.org", "botsecret")
	h.eventually("the time is over", func() bool { return time.Since(h.Links()[0].Since) > enough+50*time.Millisecond })
	bot.say("<message from='bot.example.org' to='a@users.example.org'/>")
	h.expect("<message")
}

func TestStanzaWithoutFromIsTheDomains(t *testing.T) {
	h := newHouse(t, nil)
	bot := h.connect("bot.example.org", "botsecret")
	for _, name := range []string{"message", "message xmlns='jabber:client'"} {
		bot.say("<" + name + " to='a@users.example.org' id='1'/>")
		h.expect("<message", " from='bot.example.org'", " id='1'")
	}
	bot.say("<iq type='get' id='2' to='a@users.example.org'/>")
	bot.expect(" id='2'", " type='error'", " to='bot.example.org'")
	h.nothing()
}

func TestStanzasThatAreNotTheComponentsEndTheStream(t *testing.T) {
	h := newHouse(t, nil)
	for say, condition := range map[string]stream.Condition{
		"<message from='romeo@example.org' to='a@users.example.org'/>":           stream.InvalidFrom,
		"<message from='irc.example.org' to='a@users.example.org'/>":             stream.InvalidFrom,
		"<message from='a.bot.example.org' to='a@users.example.org'/>":           stream.InvalidFrom,
		"<message from='bot.example.org@example.org' to='a@users.example.org'/>": stream.InvalidFrom,
		"<message from='@' to='a@users.example.org'/>":                           stream.InvalidFrom,
		"<message from='bot.example.org'/>":                                      stream.ImproperAddressing,
		"<iq type='result' id='1' from='bot.example.org'/>":                      stream.ImproperAddressing,
		"<handshake/>": stream.UnsupportedStanzaType,
		"<message xmlns='jabber:server' from='bot.example.org' to='a@users.example.org'/>": stream.UnsupportedStanzaType,
		"text":                    stream.BadFormat,
		"<a></b>":                 stream.NotWellFormed,
		"<!-- -->":                stream.RestrictedXML,
		header("bot.example.org"): stream.BadFormat,
		"<message from='bot.example.org' to='a@users.example.org'><body>" + strings.Repeat("x", 600<<10): stream.PolicyViolation,
	} {
		p := h.connect("bot.example.org", "botsecret")
		p.say(say)
		p.ends(condition)
		if t.Failed() {
			t.Fatalf("it was %.100s", say)
		}
	}
	h.nothing()
	if got := h.Links()[0].LastError; got == "" {
		t.Error("why the last stream ended is not told")
	}
}

func TestUnfitStanzasAreAnswered(t *testing.T) {
	h := newHouse(t, nil)
	bot := h.connect("bot.example.org", "botsecret")
	for say, want := range map[string]string{
		"<message id='m' from='a@bot.example.org' to='@'/>":                                               ">'to' is no address: ",
		"<iq id='m' from='a@bot.example.org' to='b@users.example.org'/>":                                  "<bad-request",
		"<iq id='m' type='x' from='a@bot.example.org' to='b@users.example.org'/>":                         "<bad-request",
		"<iq id='m' type='get' from='a@bot.example.org' to='b@users.example.org'/>":                       "<bad-request",
		"<iq id='m' type='set' from='a@bot.example.org' to='b@users.example.org'><a xmlns='u'/><b/></iq>": "<bad-request",
		"<presence id='m' type='x' from='a@bot.example.org' to='b@users.example.org'/>":                   "<bad-request",
		"<message id='m' from='a@bot.example.org' to='b@elsewhere.example'/>":                             "<remote-server-not-found",
	} {
		bot.say(say)
		bot.expect(" id='m'", " type='error'", " to='a@bot.example.org'", " from='", want)
	}
	// Neither results nor errors are answered.
	bot.say("<iq type='result' id='n' from='bot.example.org' to='@'/><message type='error' from='bot.example.org' to='@'/>" +
		"<message id='last' from='bot.example.org' to='@'/>")
	bot.expect("id='last'")
	h.nothing()
}

func TestRequestOfAComponentThatIsAnsweredHereNeedsNoID(t *testing.T) {
	h := newHouse(t, nil)
	bot := h.connect("bot.example.org", "botsecret")
	for to, want := range map[string]string{"example.org": "<service-unavailable", "a@example.org": "<service-unavailable",
		"a@example.org/x": "<bad-request", "irc.example.org": "<bad-request", "elsewhere.example": "<bad-request"} {
		bot.say("<iq type='get' from='bot.example.org' to='" + to + "'><x xmlns='urn:x'/></iq>")
		bot.expect("<iq type='error' from='"+to+"' to='bot.example.org'>", want)
	}
}

func TestNewerStreamTakesThePlaceOfTheOlder(t *testing.T) {
	h := newHouse(t, nil)
	older := h.connect("bot.example.org", "botsecret")
	irc := h.connect("irc.example.org", "ircsecret")
	newer := h.connect("bot.example.org", "botsecret")
	older.ends(stream.Conflict)
	h.route("<message from='a@users.example.org' to='bot.example.org' id='1'/>", nil)
	newer.expect("id='1'")
	h.route("<message from='a@users.example.org' to='irc.example.org' id='2'/>", nil)
	irc.expect("id='2'")
	if n := h.Stats.Replaced.Load(); n != 1 {
		t.Errorf("%d replaced", n)
	}
	h.nothing()
}

func TestWrongSecretReplacesNobody(t *testing.T) {
	h := newHouse(t, nil)
	bot := h.connect("bot.example.org", "botsecret")
	p := h.dial(header("bot.example.org"))
	p.say(p.handshake("wrong"))
	p.ends(stream.NotAuthorized)
	h.route("<message from='a@users.example.org' to='bot.example.org' id='1'/>", nil)
	bot.expect("id='1'")
}

func TestReloadEndsStreamsThatAreNotAllowedAnyMore(t *testing.T) {
	h := newHouse(t, nil)
	bot, irc := h.connect("bot.example.org", "botsecret"), h.connect("irc.example.org", "ircsecret")
	h.configure(map[string]string{"bot.example.org": "botsecret", "irc.example.org": "new"})
	irc.ends(stream.Reset)
	h.connect("irc.example.org", "new")
	h.route("<message from='a@users.example.org' to='bot.example.org' id='1'/>", nil)
	bot.expect("id='1'")
	h.configure(map[string]string{"irc.example.org": "new"})
	bot.ends(stream.HostGone)
	if got := h.Links(); len(got) != 1 || got[0].Domain != "irc.example.org" || !got[0].Connected {
		t.Errorf("%+v", got)
	}
	if h.router.Owns("bot.example.org") || !h.router.Owns("irc.example.org") {
		t.Errorf("domains %v", h.router.Services())
	}
}

func TestSecretOfAFileIsReadForEachStream(t *testing.T) {
	h := newHouse(t, nil)
	file := filepath.Join(t.TempDir(), "secret")
	write := func(secret string) {
		if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one\n")
	h.configure(map[string]string{"bot.example.org": "file:" + file})
	bot := h.connect("bot.example.org", "one")
	write("two\n")
	h.Reload()
	bot.ends(stream.Reset)
	bot = h.connect("bot.example.org", "two")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	h.Reload() // it cannot be read: no reason to end what works
	h.route("<message from='a@users.example.org' to='bot.example.org' id='1'/>", nil)
	bot.expect("id='1'")
	p := h.dial(header("bot.example.org"))
	p.say(p.handshake(""))
	p.ends(stream.InternalServerError)
	write("")
	p = h.dial(header("bot.example.org"))
	p.say(p.handshake(""))
	p.ends(stream.NotAuthorized)
}

func TestShutdownSaysSoAndBringsOutWhatIsQueued(t *testing.T) {
	h := newHouse(t, nil)
	bot := h.connect("bot.example.org", "botsecret")
	strange := h.dial("")
	h.eventually("both are known", func() bool { return h.Stats.Connections.Load() == 2 })
	const many = 1000
	for i := range many {
		h.route(fmt.Sprintf("<message from='a@users.example.org' to='bot.example.org' id='%d'/>", i), nil)
	}
	done := make(chan error, 1)
	go func() { done <- h.Shutdown(context.Background()) }()
	for i := range many {
		bot.expect(fmt.Sprintf("id='%d'", i))
	}
	bot.ends(stream.SystemShutdown)
	strange.expect("header")
	strange.ends(stream.SystemShutdown)
	bot.Close()
	strange.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	h.nothing()
}

func TestShutdownIsCutShort(t *testing.T) {
	h := newHouse(t, func(l *config.Limits) { l.QueueBytes = 64 << 20 })
	h.connect("bot.example.org", "botsecret") // and reads no more
	e := h.route("<message from='a@users.example.org' to='bot.example.org'><body>"+strings.Repeat("x", 32<<20)+"</body></message>", nil)
	if e.Outcome != router.Delivered {
		t.Fatal(e.Outcome, e.Err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := h.Shutdown(ctx); err != context.Canceled {
		t.Error(err)
	}
	h.expect("type='error'")
}

func TestAdministratorsSeeComponents(t *testing.T) {
	h := newHouse(t, nil)
	bot := h.connect("bot.example.org", "botsecret")
	h.route("<message from='a@users.example.org' to='bot.example.org'/>", nil)
	bot.expect("<message")
	bot.say("<message from='bot.example.org' to='a@users.example.org'/><presence from='bot.example.org' to='a@users.example.org'/>")
	h.expect("<message")
	h.expect("<presence")
	h.eventually("counts", func() bool { return h.Links()[0].Out == 1 })
	got := h.Links()
	if len(got) != 2 || got[1] != (Link{Domain: "irc.example.org"}) {
		t.Fatalf("%+v", got)
	}
	one := got[0]
	if one.Domain != "bot.example.org" || !one.Connected || one.Address != bot.LocalAddr().String() || one.In != 2 || one.Queued != 0 ||
		time.Since(one.Since) > time.Minute || one.LastError != "" {
		t.Errorf("%+v", one)
	}
}

// A program begins when it has the handshake, and looks then at what it may do (XEP-0356 §4.2).
func TestWhatAComponentIsToldAtFirstComesWithTheHandshake(t *testing.T) {
	h := newHouse(t, nil)
	h.connected = func(domain string) {
		h.route("<message from='example.org' to='"+domain+"'><privilege xmlns='urn:xmpp:privilege:2'/></message>", nil)
	}
	bot := h.dial(header("bot.example.org"))
	bot.say(bot.handshake("botsecret"))
	once := make([]byte, 4096)
	n, err := bot.Read(once)
	if got := string(once[:n]); err != nil || !strings.HasPrefix(got, "<handshake/><message ") || !strings.HasSuffix(got, "</message>") {
		t.Errorf("it reads %q at first, %v", got, err)
	}
	h.eventually("it is counted", func() bool { return h.Links()[0].Out == 1 && h.Links()[0].Queued == 0 })
}
