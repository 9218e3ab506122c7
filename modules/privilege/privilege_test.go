package privilege

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/config"
	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const gateway = "irc.example.org"

// house has ann, who may be here, and a gateway that is connected.
type house struct {
	*router.Router
	t       *testing.T
	p       *Privileges
	v       config.Privilege
	mu      sync.Mutex // guards got
	got     []string   // by the gateway
	own     func(e *router.Envelope)
	push    func(b *router.Batch, user jid.JID, payload func() []byte)
	friends []string
	left    []string // what a session has sent
}

func (h *house) OnPush(f func(b *router.Batch, user jid.JID, payload func() []byte)) { h.push = f }

func (h *house) Befriend(_ *router.Batch, user, contact jid.JID) (*storage.Pending, error) {
	h.friends = append(h.friends, user.String()+" "+contact.String())
	return nil, nil
}

func newHouse(t *testing.T, v config.Privilege) *house {
	h := &house{t: t, v: v, Router: moduletest.New("ann", "ben")}
	h.p = New(Options{Router: h.Router, Users: moduletest.Users{"ann@example.org": true, "ben@example.org": true}, Roster: h,
		Hosts:      func() []string { return []string{"example.org"} },
		Privileges: func() map[string]config.Privilege { return map[string]config.Privilege{gateway: h.v} },
		Log:        moduletest.Discard()})
	h.Use(h.p.Module(), router.Module{Name: "rest",
		Leaving: router.Stage{Message: func(e *router.Envelope) {
			h.left = append(h.left, e.Session.Addr().String()+" says "+string(e.Stanza.Append(nil)))
		}},
		IQ: []router.IQ{
			{Payload: rosterName, Scope: router.Account, Others: xmpp.Forbidden(""), Handle: func(e *router.Envelope) {
				h.Answer(e, []byte("<query xmlns='jabber:iq:roster'><item jid='"+e.Session.Bare().String()+"'/></query>"))
			}},
			{Payload: xmpp.Name{Space: "own", Local: "q"}, Scope: router.Account, Others: xmpp.Forbidden(""),
				Handle: func(e *router.Envelope) { h.own(e) }},
		},
		Service: &router.Service{Domains: func() []string { return []string{gateway} }, Home: jid.JID.Domain,
			Handle: func(e *router.Envelope) {
				h.mu.Lock()
				h.got = append(h.got, string(e.Stanza.Append(nil)))
				h.mu.Unlock()
				e.Settle(router.Delivered)
			}}})
	return h
}

// brings routes what the gateway sends, and returns what it gets then.
func (h *house) brings(xml string) []string {
	h.t.Helper()
	h.take()
	s := moduletest.Parse(h.t, xml)
	if s.From.IsZero() {
		s.From = jid.MustParse(gateway)
	}
	h.Route(&router.Envelope{Stanza: s, Component: gateway})
	synctest.Wait()
	return h.take()
}

// take returns what the gateway has got, and forgets it.
func (h *house) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	got := h.got
	h.got = nil
	return got
}

func (h *house) want(got []string, want ...string) {
	h.t.Helper()
	if len(got) != len(want) {
		h.t.Fatalf("got %d stanzas, not %d: %q", len(got), len(want), got)
	}
	for i := range want {
		moduletest.Same(h.t, got[i], want[i])
	}
}

func inBubble(t *testing.T, v config.Privilege, f func(h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(newHouse(t, v)) })
}

var everything = config.Privilege{Roster: config.AccessBoth, Message: true, Presence: true,
	IQ: map[string]config.Access{"own": config.AccessBoth, "get": config.AccessGet, "none": config.AccessNone}}

func TestAComponentIsToldWhatItMayDo(t *testing.T) {
	for _, row := range []struct {
		name string
		v    config.Privilege
		want []string
	}{
		{"all", everything, []string{`<message from='example.org' to='irc.example.org'><privilege xmlns='urn:xmpp:privilege:2'>` +
			`<perm access='roster' type='both' push='true'/><perm access='message' type='outgoing'/>` +
			`<perm access='iq'><namespace ns='get' type='get'/><namespace ns='own' type='both'/></perm>` +
			`<perm access='presence' type='managed_entity'/></privilege></message>`}},
		{"no pushes", config.Privilege{Roster: config.AccessGet, Quiet: true},
			[]string{`<message from='example.org' to='irc.example.org'><privilege xmlns='urn:xmpp:privilege:2'>` +
				`<perm access='roster' type='get' push='false'/></privilege></message>`}},
		{"set is not pushed", config.Privilege{Roster: config.AccessSet},
			[]string{`<message from='example.org' to='irc.example.org'><privilege xmlns='urn:xmpp:privilege:2'>` +
				`<perm access='roster' type='set' push='false'/></privilege></message>`}},
		{"of another host", config.Privilege{Message: true, Hosts: []string{"example.net"}}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, row.v, func(h *house) {
				h.p.Connected(gateway)
				h.want(h.take(), row.want...)
				h.p.Reloaded()
				h.want(h.take(), row.want...)
			})
		})
	}
}

const (
	rosterGet = `<iq type='get' id='1' to='ann@example.org'><query xmlns='jabber:iq:roster' ver='7'/></iq>`
	rosterSet = `<iq type='set' id='1' to='ann@example.org'><query xmlns='jabber:iq:roster'><item jid='x@irc.example.org'/></query></iq>`
	says      = `<message to='example.org' id='1'><privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'>` +
		`<message xmlns='jabber:client' from='FROM' to='x@irc.example.org' type='chat'><body>hi</body></message></forwarded></privilege></message>`
)

func asks(kind, inner, from, payload string) string {
	if from != "" {
		from = " from='" + from + "'"
	}
	return `<iq type='` + kind + `' id='o' to='ann@example.org'><privileged_iq xmlns='urn:xmpp:privilege:2'>` +
		`<iq xmlns='jabber:client' type='` + inner + `' id='i'` + from + `>` + payload + `</iq></privileged_iq></iq>`
}

func TestWhatIsNotGrantedIsForbidden(t *testing.T) {
	of := func(user, xml string) string { return strings.ReplaceAll(xml, "ann@", user+"@") }
	for name, row := range map[string]struct {
		v   config.Privilege
		xml string
	}{
		"roster get":                      {config.Privilege{Roster: config.AccessSet}, rosterGet},
		"roster set":                      {config.Privilege{Roster: config.AccessGet}, rosterSet},
		"roster, nothing":                 {config.Privilege{}, rosterGet},
		"roster, none":                    {config.Privilege{Roster: config.AccessNone}, rosterGet},
		"roster, another host":            {config.Privilege{Roster: config.AccessBoth, Hosts: []string{"example.net"}}, rosterGet},
		"roster of nobody":                {everything, of("zoe", rosterGet)},
		"message":                         {config.Privilege{}, strings.Replace(says, "FROM", "ann@example.org", 1)},
		"message with a resource":         {everything, strings.Replace(says, "FROM", "ann@example.org/a", 1)},
		"message of another domain":       {everything, strings.Replace(says, "FROM", "ann@example.net", 1)},
		"message of nobody":               {everything, strings.Replace(says, "FROM", "zoe@example.org", 1)},
		"message without one":             {everything, `<message to='example.org' id='1'><privilege xmlns='urn:xmpp:privilege:2'/></message>`},
		"request, no namespace":           {config.Privilege{}, asks("get", "get", "", "<q xmlns='own'/>")},
		"request, another namespace":      {everything, asks("get", "get", "", "<q xmlns='other'/>")},
		"request, none":                   {everything, asks("get", "get", "", "<q xmlns='none'/>")},
		"request, set of get":             {everything, asks("set", "set", "", "<q xmlns='get'/>")},
		"request, types differ":           {everything, asks("get", "set", "", "<q xmlns='own'/>")},
		"request, a result":               {everything, asks("get", "result", "", "<q xmlns='own'/>")},
		"request of another":              {everything, asks("get", "get", "ben@example.org", "<q xmlns='own'/>")},
		"request with a resource":         {everything, asks("get", "get", "ann@example.org/a", "<q xmlns='own'/>")},
		"request of nobody":               {everything, of("zoe", asks("get", "get", "", "<q xmlns='own'/>"))},
		"request without one":             {everything, `<iq type='get' id='o' to='ann@example.org'><privileged_iq xmlns='urn:xmpp:privilege:2'/></iq>`},
		"request that nobody else may do": {everything, `<iq type='get' id='o' to='ann@example.org'><q xmlns='own'/></iq>`},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, row.v, func(h *house) {
				h.own = func(*router.Envelope) { t.Error("it was asked all the same") }
				got := h.brings(row.xml)
				if len(got) != 1 || !strings.Contains(got[0], "type='error'") || !strings.Contains(got[0], "<forbidden") {
					t.Errorf("answered with %q", got)
				}
				if h.left != nil {
					t.Errorf("sent: %q", h.left)
				}
			})
		})
	}
}

func TestOnlyWhatAComponentBringsHasItsPrivileges(t *testing.T) {
	inBubble(t, everything, func(h *house) {
		for _, xml := range []string{strings.Replace(says, "FROM", "ann@example.org", 1), rosterSet,
			asks("get", "get", "", "<q xmlns='own'/>")} {
			s := moduletest.Parse(t, xml)
			s.From = jid.MustParse(gateway)
			e := &router.Envelope{Stanza: s, Account: jid.MustParse("mallory@example.org"), Quiet: true} // forged, over HTTP
			h.Route(e)
			if e.Outcome != router.Refused || h.left != nil {
				t.Errorf("%v: %q", e.Outcome, h.left)
			}
		}
	})
}

func TestAComponentReadsAndChangesARoster(t *testing.T) {
	inBubble(t, everything, func(h *house) {
		h.want(h.brings(rosterGet), `<iq type='result' id='1' from='ann@example.org' to='irc.example.org'>`+
			`<query xmlns='jabber:iq:roster'><item jid='ann@example.org'/></query></iq>`)
		h.brings(rosterSet)
		if h.friends != nil {
			t.Errorf("befriended: %q", h.friends)
		}
		h.brings(strings.Replace(rosterSet, "x@irc.example.org'", "x@irc.example.org' subscription='both'", 1))
		h.brings(strings.Replace(rosterSet, "x@irc.example.org'", "ben@example.org' subscription='both'", 1)) // not its own
		if len(h.friends) != 1 || h.friends[0] != "ann@example.org x@irc.example.org" {
			t.Errorf("befriended: %q", h.friends)
		}
		h.take()
		var b router.Batch
		h.push(&b, jid.MustParse("ann@example.org"), func() []byte { return []byte("<query xmlns='jabber:iq:roster'/>") })
		synctest.Wait()
		if got := h.take(); len(got) != 1 || !strings.Contains(got[0], "from='ann@example.org' to='irc.example.org'") {
			t.Errorf("told of a change: %q", got)
		}
	})
}

func TestAComponentSendsMessagesForUsersAndHosts(t *testing.T) {
	inBubble(t, everything, func(h *house) {
		h.want(h.brings(strings.Replace(says, "FROM", "ann@example.org", 1)),
			`<message from='ann@example.org' to='x@irc.example.org' type='chat'><body>hi</body></message>`)
		if len(h.left) != 1 || !strings.HasPrefix(h.left[0], "ann@example.org says ") {
			t.Errorf("it went as %q", h.left)
		}
		h.want(h.brings(strings.Replace(says, "FROM", "example.org", 1)),
			`<message from='example.org' to='x@irc.example.org' type='chat'><body>hi</body></message>`)
		got := h.brings(strings.Replace(strings.Replace(says, "FROM", "ann@example.org", 1), "x@irc.example.org", "zoe@example.org", 1))
		if len(got) != 1 || !strings.Contains(got[0], "type='error'") {
			t.Errorf("for nobody: %q", got)
		}
	})
}

func TestAComponentAsksForAUser(t *testing.T) {
	answer := func(kind, payload string) string {
		return `<iq type='result' id='o' from='ann@example.org' to='irc.example.org'><privilege xmlns='urn:xmpp:privilege:2'>` +
			`<forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client' type='` + kind +
			`' id='i' FROM to='ann@example.org'>` + payload + `</iq></forwarded></privilege></iq>`
	}
	inBubble(t, everything, func(h *house) {
		h.own = func(e *router.Envelope) { // the own account
			if e.Session.Bare().String() != "ann@example.org" || !e.FromOwn() {
				t.Errorf("asked by %s", e.Session.Addr())
			}
			h.Answer(e, []byte("<a xmlns='own'/>"))
		}
		h.want(h.brings(asks("set", "set", "ann@example.org", "<q xmlns='own'/>")),
			strings.Replace(answer("result", "<a xmlns='own'/>"), "FROM", "from='ann@example.org'", 1))
		h.own = func(e *router.Envelope) { e.Refuse(xmpp.ItemNotFound("")) }
		got := h.brings(asks("get", "get", "", "<q xmlns='own'/>"))
		if len(got) != 1 || !strings.Contains(got[0], "<item-not-found") || !strings.HasPrefix(got[0], "<iq type='result'") {
			t.Errorf("refused with %q", got)
		}
		ben := moduletest.Login(t, h.Router, "ben/b") // another client
		to := strings.Replace(asks("get", "get", "", "<q xmlns='own'/>"), "id='i'", "id='i' to='ben@example.org/b'", 1)
		if got := h.brings(to); got != nil {
			t.Errorf("answered before it was: %q", got)
		}
		asked := ben.Deliveries()
		if len(asked) != 1 || asked[0].Stanza.From.String() != "ann@example.org" {
			t.Fatalf("ben got %v", asked)
		}
		ben.Send(`<iq type='result' to='ann@example.org' id='` + asked[0].Stanza.ID + `'><b xmlns='own'/></iq>`)
		synctest.Wait()
		h.want(h.take(), strings.Replace(answer("result", "<b xmlns='own'/>"), "FROM", "from='ben@example.org/b'", 1))
		h.brings(to)
		<-time.After(patience)
		synctest.Wait()
		if got := h.take(); len(got) != 1 || !strings.Contains(got[0], "<remote-server-timeout") {
			t.Errorf("never answered: %q", got)
		}
		if len(h.p.asked) != 0 || len(h.p.of) != 0 {
			t.Errorf("still waiting: %v, %v", h.p.asked, h.p.of)
		}
	})
}

func TestRequestsOfAComponentAreBounded(t *testing.T) {
	inBubble(t, everything, func(h *house) {
		moduletest.Login(t, h.Router, "ben/b")
		to := strings.Replace(asks("get", "get", "", "<q xmlns='own'/>"), "id='i'", "id='i' to='ben@example.org/b'", 1)
		for range mostWaiting {
			if got := h.brings(to); got != nil {
				t.Fatalf("refused: %q", got)
			}
		}
		if got := h.brings(to); len(got) != 1 || !strings.Contains(got[0], "<resource-constraint") {
			t.Errorf("answered with %q", got)
		}
		<-time.After(patience)
		synctest.Wait()
		if got := h.brings(to); got != nil {
			t.Errorf("refused after the others had ended: %q", got)
		}
		<-time.After(patience)
	})
}

func TestAComponentHearsWhoComesAndGoes(t *testing.T) {
	inBubble(t, everything, func(h *house) {
		ann := moduletest.Login(t, h.Router, "ann/a")
		ann.Send(`<presence><show>chat</show></presence>`)
		ann.Available(0) // as the module of presence does
		ann.Send(`<presence><show>away</show></presence>`)
		ann.Send(`<presence to='ben@example.org'/>`)
		h.want(h.take(), `<presence from='ann@example.org/a' to='irc.example.org'><show>chat</show></presence>`)
		h.p.Connected(gateway)
		if got := h.take(); len(got) != 2 || got[1] != `<presence from='ann@example.org/a' to='irc.example.org'/>` {
			t.Errorf("told at its beginning: %q", got)
		}
		ann.Logout()
		h.want(h.take(), `<presence type='unavailable' from='ann@example.org/a' to='irc.example.org'/>`)
		h.v.Presence = false
		ben := moduletest.Login(t, h.Router, "ben/b")
		ben.Send(`<presence/>`)
		h.want(h.take())
	})
}
