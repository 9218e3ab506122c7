package delegation

import (
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/config"
	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const pepDomain = "pep.example.org"

// house has ann, who is here, and a component to which all of 'given' is delegated, and of 'some' what has a node.
type house struct {
	*router.Router
	t    *testing.T
	d    *Delegations
	v    map[string]config.Delegation
	away bool

	mu  sync.Mutex // guards got
	got []*xmpp.Stanza
	own []string // what a module of the server was asked
}

func newHouse(t *testing.T) *house { return newHouseOn(t, moduletest.NewStore()) }

func newHouseOn(t *testing.T, store *moduletest.Store) *house {
	h := &house{t: t, Router: moduletest.New("ann", "ben"), v: map[string]config.Delegation{pepDomain: {
		Namespaces: map[string][]string{"given": nil, "some": {"node"}, bare + "disco#info:*": nil}}}}
	h.d = New(Options{Router: h.Router, Hosts: func() []string { return []string{"example.org"} },
		Delegations: func() map[string]config.Delegation { return h.v }, Store: store.Map("delegation"),
		Log: moduletest.Discard()})
	own := func(e *router.Envelope) {
		h.own = append(h.own, string(e.Stanza.Payload))
		h.Answer(e, []byte("<own xmlns='own'/>"))
	}
	owns := func(space string) router.IQ {
		return router.IQ{Payload: xmpp.Name{Space: space, Local: "q"}, Scope: router.Host | router.Account, Handle: own}
	}
	h.Use(h.d.Module(), router.Module{Name: "rest", IQ: []router.IQ{owns("given"), owns("some")},
		Service: &router.Service{Domains: func() []string { return []string{pepDomain} }, Home: jid.JID.Domain,
			Handle: func(e *router.Envelope) {
				if h.away {
					e.Refuse(xmpp.ServiceUnavailable(""))
					return
				}
				s := e.Stanza.Clone()
				h.mu.Lock()
				h.got = append(h.got, &s)
				h.mu.Unlock()
				e.Settle(router.Delivered)
			}}})
	return h
}

func inBubble(t *testing.T, f func(h *house, ann *moduletest.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		f(h, moduletest.Login(t, h.Router, "ann/a"))
	})
}

// take returns what the component has got, and forgets it.
func (h *house) take() []*xmpp.Stanza {
	h.mu.Lock()
	defer h.mu.Unlock()
	got := h.got
	h.got = nil
	return got
}

// one is what the component has got, which must be one stanza.
func (h *house) one() *xmpp.Stanza {
	h.t.Helper()
	got := h.take()
	if len(got) != 1 {
		h.t.Fatalf("the component got %d stanzas", len(got))
	}
	return got[0]
}

// brings routes what the component sends.
func (h *house) brings(xml string) {
	h.t.Helper()
	s := moduletest.Parse(h.t, xml)
	if s.From.IsZero() {
		s.From = jid.MustParse(pepDomain)
	}
	h.Route(&router.Envelope{Stanza: s, Component: pepDomain})
	synctest.Wait()
}

// answers what the component was handed with this iq.
func (h *house) answers(s *xmpp.Stanza, iq string) {
	h.t.Helper()
	h.brings(`<iq type='result' id='` + s.ID + `' to='example.org'><delegation xmlns='urn:xmpp:delegation:2'>` +
		`<forwarded xmlns='urn:xmpp:forward:0'>` + iq + `</forwarded></delegation></iq>`)
}

const (
	asks = `<iq type='get' id='1'><q xmlns='given'/></iq>`
	good = `<iq xmlns='jabber:client' type='result' id='1' to='ann@example.org/a'><a xmlns='given'/></iq>`
)

func received(t *testing.T, s *moduletest.Client) string {
	t.Helper()
	var all []string
	for _, d := range s.Deliveries() {
		all = append(all, string(d.Stanza.Append(nil)))
	}
	return strings.Join(all, "")
}

func TestARequestIsHandedToTheComponentAndItsAnswerToTheUser(t *testing.T) {
	inBubble(t, func(h *house, ann *moduletest.Client) {
		for _, row := range []struct{ to, from, answers string }{
			{"", "", "ann@example.org"},
			{"", "ann@example.org", "ann@example.org"},
			{"ann@example.org", "ann@example.org", "ann@example.org"},
			{"example.org", "", "example.org"},
			{"ben@example.org", "ben@example.org", "ben@example.org"},
			{"nobody@example.org", "", "nobody@example.org"}, // as for everybody: nothing tells who has an account
		} {
			to, from := "", ""
			if row.to != "" {
				to = " to='" + row.to + "'"
			}
			if row.from != "" {
				from = " from='" + row.from + "'"
			}
			ann.Send(strings.Replace(asks, " id='1'", " id='1'"+to, 1))
			s := h.one()
			moduletest.Same(t, string(s.Append(nil)), `<iq type='set' id='`+s.ID+`' from='example.org' to='pep.example.org'>`+
				`<delegation xmlns='urn:xmpp:delegation:2'><forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client' type='get' `+
				`id='1' from='ann@example.org/a'`+to+`><q xmlns='given'/></iq></forwarded></delegation></iq>`)
			h.answers(s, strings.Replace(good, " to=", from+" to=", 1))
			moduletest.Same(t, received(t, ann),
				`<iq type='result' id='1' from='`+row.answers+`' to='ann@example.org/a'><a xmlns='given'/></iq>`)
		}
		if h.own != nil || len(h.d.asked) != 0 || len(h.d.of) != 0 {
			t.Errorf("the server was asked %q; %d, %v wait", h.own, len(h.d.asked), h.d.of)
		}
	})
}

func TestWhatIsNotDelegatedStaysWithTheServer(t *testing.T) {
	inBubble(t, func(h *house, ann *moduletest.Client) {
		ann.Send(`<iq type='get' id='1'><q xmlns='some'/></iq>`)
		ann.Send(`<iq type='get' id='2'><q xmlns='some' node='n'/></iq>`)
		if s := h.one(); !strings.Contains(string(s.Payload), "node=") || len(h.own) != 1 {
			t.Errorf("handed over: %s; the server was asked %q", s.Payload, h.own)
		}
		ben := moduletest.Login(t, h.Router, "ben/b")
		ann.Send(`<iq type='get' id='3' to='ben@example.org/b'><q xmlns='given'/></iq>`)
		if got := received(t, ben); !strings.Contains(got, "id='3'") {
			t.Errorf("a client got %q", got)
		}
		// §4.3.1: what the component itself asks, also in a user's name, is never handed back to it.
		h.brings(`<iq type='get' id='4' to='example.org'><q xmlns='given'/></iq>`)
		deputy := h.Deputy(jid.MustParse("ann@example.org"), moduletest.NewOutlet())
		s := moduletest.Parse(t, `<iq type='get' id='5' from='ann@example.org'><q xmlns='given'/></iq>`)
		h.Route(&router.Envelope{Stanza: s, Session: deputy, Account: deputy.Bare(), Component: pepDomain})
		if len(h.own) != 3 {
			t.Errorf("the server was asked %q", h.own)
		}
		h.v[pepDomain] = config.Delegation{Hosts: []string{"example.net"}, Namespaces: h.v[pepDomain].Namespaces}
		h.take()
		ann.Send(asks)
		if got := h.take(); got != nil || len(h.own) != 4 {
			t.Errorf("of another host: handed over %v, the server was asked %q", got, h.own)
		}
	})
}

func TestABadAnswerIsServiceUnavailable(t *testing.T) {
	for name, iq := range map[string]string{
		"another id":     strings.Replace(good, "id='1'", "id='2'", 1),
		"no id":          strings.Replace(good, "id='1'", "", 1),
		"to another":     strings.Replace(good, "ann@", "ben@", 1),
		"to nobody":      strings.Replace(good, "to='ann@example.org/a'", "", 1),
		"to no address":  strings.Replace(good, "ann@", "@", 1),
		"from another":   strings.Replace(good, " to=", " from='ben@example.org' to=", 1),
		"from itself":    strings.Replace(good, " to=", " from='pep.example.org' to=", 1),
		"an error":       strings.Replace(good, "type='result'", "type='error'", 1),
		"a request":      strings.Replace(good, "type='result'", "type='set'", 1),
		"two payloads":   strings.Replace(good, "<a xmlns='given'/>", "<a xmlns='given'/><b xmlns='given'/>", 1),
		"another stanza": strings.Replace(strings.Replace(good, "<iq", "<message", 1), "</iq", "</message", 1),
		"nothing":        "",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(h *house, ann *moduletest.Client) {
				ann.Send(asks)
				h.answers(h.one(), iq)
				if got := received(t, ann); !strings.Contains(got, "type='error'") || !strings.Contains(got, "<service-unavailable") ||
					!strings.Contains(got, "id='1'") {
					t.Errorf("ann got %q", got)
				}
			})
		})
	}
	inBubble(t, func(h *house, ann *moduletest.Client) { // §4.3: an error becomes service-unavailable
		ann.Send(asks)
		h.brings(`<iq type='error' id='` + h.one().ID + `' to='example.org'><error type='cancel'><forbidden xmlns='` +
			xmpp.NSStanzaErrors + `'/></error></iq>`)
		if got := received(t, ann); !strings.Contains(got, "<service-unavailable") {
			t.Errorf("ann got %q", got)
		}
	})
}

func TestNobodyElseAnswersForAComponent(t *testing.T) {
	inBubble(t, func(h *house, ann *moduletest.Client) {
		ann.Send(asks)
		s := h.one()
		answer := `<iq type='result' id='` + s.ID + `' to='example.org' from='pep.example.org'><delegation xmlns='urn:xmpp:delegation:2'>` +
			`<forwarded xmlns='urn:xmpp:forward:0'>` + good + `</forwarded></delegation></iq>`
		h.Route(&router.Envelope{Stanza: moduletest.Parse(t, answer), Quiet: true})                               // forged
		h.Route(&router.Envelope{Stanza: moduletest.Parse(t, answer), Component: "irc.example.org", Quiet: true}) // of another
		h.brings(strings.Replace(answer, "from='pep.example.org'", "from='a@pep.example.org'", 1))                // of its user
		h.brings(strings.Replace(answer, "to='example.org'", "to='ben@example.org'", 1))                          // elsewhere
		h.brings(strings.Replace(answer, s.ID, idPrefix+"x", 1))                                                  // to nothing
		ann.Send(strings.Replace(answer, " from='pep.example.org'", "", 1))                                       // of a client
		if got := received(t, ann); got != "" {
			t.Errorf("ann got %q", got)
		}
		h.brings(answer)
		h.brings(answer)
		if got := received(t, ann); strings.Count(got, "<iq") != 1 || !strings.Contains(got, "<a xmlns='given'/>") {
			t.Errorf("ann got %q", got)
		}
	})
}

func TestAComponentThatIsAwayOrSilentIsServiceUnavailable(t *testing.T) {
	inBubble(t, func(h *house, ann *moduletest.Client) {
		h.away = true
		ann.Send(asks)
		if got := received(t, ann); strings.Count(got, "<iq") != 1 || !strings.Contains(got, "<service-unavailable") {
			t.Errorf("away: ann got %q", got)
		}
		h.away = false
		ann.Send(asks)
		<-time.After(patience)
		synctest.Wait()
		if got := received(t, ann); strings.Count(got, "<iq") != 1 || !strings.Contains(got, "<service-unavailable") {
			t.Errorf("silent: ann got %q", got)
		}
		s := h.one()
		h.answers(s, good) // too late
		if got := received(t, ann); got != "" {
			t.Errorf("ann got %q", got)
		}
		ann.Send(asks) // it goes while it is asked: its stream returns what it had not taken
		s = h.one()
		h.Bounce(s, xmpp.ServiceUnavailable(""))
		if got := received(t, ann); !strings.Contains(got, "<service-unavailable") {
			t.Errorf("gone: ann got %q", got)
		}
		if len(h.d.asked) != 0 || len(h.d.of) != 0 || h.own != nil {
			t.Errorf("%d, %v wait; the server was asked %q", len(h.d.asked), h.d.of, h.own)
		}
	})
}

func TestRequestsThatWaitAreBounded(t *testing.T) {
	inBubble(t, func(h *house, ann *moduletest.Client) {
		for range mostOfOne {
			ann.Send(asks)
		}
		if got := received(t, ann); got != "" {
			t.Fatalf("refused: %q", got)
		}
		ann.Send(asks)
		if got := received(t, ann); !strings.Contains(got, "<resource-constraint") {
			t.Errorf("one account: %q", got)
		}
		peer := func(i int) *router.Envelope {
			s := moduletest.Parse(t, `<iq type='get' id='1' to='ann@example.org' from='x@p`+strconv.Itoa(i)+`.example'><q xmlns='given'/></iq>`)
			e := &router.Envelope{Stanza: s, Quiet: true, Peer: "p" + strconv.Itoa(i) + ".example"}
			h.Route(e)
			return e
		}
		for i := range mostWaiting - mostOfOne {
			if e := peer(i / mostOfOne); e.Outcome != router.Delivered {
				t.Fatalf("%d: %v", i, e.Err)
			}
		}
		if e := peer(99); e.Outcome != router.Refused || e.Err.Condition != xmpp.CondResourceConstraint {
			t.Errorf("all: %v", e.Outcome)
		}
		<-time.After(patience)
		synctest.Wait()
		received(t, ann)
		h.take()
		ann.Send(asks)
		h.one()
		<-time.After(patience)
	})
}

func TestAComponentIsToldWhatIsDelegatedToIt(t *testing.T) {
	inBubble(t, func(h *house, _ *moduletest.Client) {
		const want = `<message from='example.org' to='pep.example.org'><delegation xmlns='urn:xmpp:delegation:2'>` +
			`<delegated namespace='given'/><delegated namespace='some'><attribute name='node'/></delegated>` +
			`<delegated namespace='urn:xmpp:delegation:2:bare:disco#info:*'/></delegation></message>`
		h.d.Connected("irc.example.org")
		if got := h.take(); got != nil {
			t.Errorf("another was told %v", got)
		}
		h.d.Connected(pepDomain)
		got := h.take()
		if len(got) != 5 {
			t.Fatalf("got %d stanzas", len(got))
		}
		moduletest.Same(t, string(got[0].Append(nil)), want)
		nodes := map[string]bool{}
		for _, s := range got[1:] {
			nodes[s.Child(discoInfo).Attr("node")] = true
		}
		for _, node := range []string{ns + "::given", ns + ":bare:given", ns + "::some", ns + ":bare:some"} {
			if !nodes[node] {
				t.Errorf("it was not asked for %s: %v", node, nodes)
			}
		}
		h.d.Reloaded()
		moduletest.Same(t, string(h.take()[0].Append(nil)), want)
		h.v = nil
		h.d.Reloaded()
		moduletest.Same(t, string(h.one().Append(nil)),
			`<message from='example.org' to='pep.example.org'><delegation xmlns='urn:xmpp:delegation:2'/></message>`)
		h.d.Reloaded()
		if got := h.take(); got != nil {
			t.Errorf("told again: %v", got)
		}
		<-time.After(patience)
	})
}

func TestWhatAComponentSaysOfItselfIsKept(t *testing.T) {
	inBubble(t, func(h *house, _ *moduletest.Client) {
		answer := func(of string, content string) {
			for _, s := range h.take() {
				if q := s.Child(discoInfo); q != nil && q.Attr("node") == of {
					h.brings(`<iq type='result' id='` + s.ID + `' to='example.org'><query xmlns='http://jabber.org/protocol/disco#info' node='` +
						of + `'>` + content + `</query></iq>`)
				}
			}
		}
		info := func(account bool) string {
			var all strings.Builder
			for _, el := range h.d.Info("example.org", account) {
				all.Write(el.Append(nil))
			}
			return all.String()
		}
		before := h.d.Version()
		h.d.Connected(pepDomain)
		answer(ns+"::given", "<feature var='given'/><feature/><other xmlns='x'/>")
		if got := info(false); !strings.Contains(got, "var='given'") || strings.Count(got, "<feature") != 1 || strings.Contains(got, "other") {
			t.Errorf("of the host: %s", got)
		}
		if got := info(true); got != "" {
			t.Errorf("of accounts: %s", got)
		}
		if h.d.Version() == before {
			t.Error("the version is the same")
		}
		h.d.Connected(pepDomain)
		answer(ns+":bare:given", "<identity category='pubsub' type='pep'/>")
		if got := info(true); !strings.Contains(got, "type='pep'") || info(false) == "" {
			t.Errorf("of accounts: %s; of the host: %s", got, info(false))
		}
		h.d.Connected(pepDomain)
		answer(ns+"::given", strings.Repeat("<feature var='x'/>", mostNested+1))
		if got := info(false); got != "" {
			t.Errorf("of too many: %s", got)
		}
		h.v = map[string]config.Delegation{}
		h.d.Reloaded()
		if got := info(true); got != "" {
			t.Errorf("of what is not delegated any more: %s", got)
		}
		<-time.After(patience)
	})
}

func TestTheRestOfAnAccountsNodesIsTheComponents(t *testing.T) {
	inBubble(t, func(h *house, ann *moduletest.Client) {
		s := moduletest.Parse(t, `<iq type='get' id='1' from='ann@example.org/a' to='ben@example.org'><query xmlns='`+
			xmpp.NSDiscoInfo+`' node='n'/></iq>`)
		if h.d.Rest(&router.Envelope{Stanza: s}, xmpp.NSDiscoItems) {
			t.Error("items are not delegated")
		}
		e := &router.Envelope{Stanza: s, Batch: new(router.Batch)}
		if !h.d.Rest(e, xmpp.NSDiscoInfo) || e.Outcome != router.Delivered {
			t.Fatal("nobody answers")
		}
		h.answers(h.one(), `<iq xmlns='jabber:client' type='result' id='1' to='ann@example.org/a'><query xmlns='`+xmpp.NSDiscoInfo+`' node='n'/></iq>`)
		if got := received(t, ann); !strings.Contains(got, "from='ben@example.org'") {
			t.Errorf("ann got %q", got)
		}
	})
}
