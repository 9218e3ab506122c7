package disco

import (
	"strconv"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// roster holds "owner contact" for each contact who may see the owner's presence.
type roster map[string]bool

func (r roster) Sees(owner, contact jid.JID) (bool, error) {
	if r["broken"] {
		return false, storage.ErrUnavailable
	}
	return r[owner.Local()+" "+contact.Local()], nil
}

type house struct {
	*router.Router
	disco         *Disco
	roster        roster
	romeo, juliet *moduletest.Client
}

// newHouse has romeo, juliet, who lets romeo see her presence, and nurse, who lets nobody.
func newHouse(t *testing.T, forms ...Form) *house {
	h := &house{Router: moduletest.New("romeo", "juliet", "nurse"), roster: roster{"juliet romeo": true}}
	h.disco = New(Options{Router: h.Router, Users: moduletest.Users{"romeo@example.org": true, "juliet@example.org": true,
		"nurse@example.org": true}, Roster: h.roster, Forms: forms,
		Node: "urn:node", Ver: func(*xmpp.Element) string { return "ver=" }})
	h.Use(h.disco.Module(), router.Module{Name: "a", Features: []string{"urn:z", "urn:a"}, AccountFeatures: []string{"urn:pep"}},
		router.Module{Name: "b", Features: []string{"urn:z"}})
	h.romeo, h.juliet = moduletest.Login(t, h.Router, "romeo/orchard"), moduletest.Login(t, h.Router, "juliet/balcony")
	return h
}

const (
	infoNS  = "http://jabber.org/protocol/disco#info"
	itemsNS = "http://jabber.org/protocol/disco#items"

	hostInfo = `<identity category='server' type='im' name='jackdaw'/>` +
		`<feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/disco#items'/>` +
		`<feature var='urn:a'/><feature var='urn:xmpp:noreply:0'/><feature var='urn:z'/>`
	accountInfo = `<identity category='account' type='registered'/>` +
		`<feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/disco#items'/>` +
		`<feature var='urn:pep'/>`
)

// ask sends a request of romeo's and compares the answer: the children of the query, or a condition.
func (h *house) ask(t *testing.T, space, to, node, want string) {
	t.Helper()
	from, attrs := to, ""
	if to == "" {
		from = "romeo@example.org"
	} else {
		to = ` to='` + to + `'`
	}
	if node != "" {
		attrs = ` node='` + node + `'`
	}
	h.romeo.Send(`<iq type='get' id='1'` + to + `><query xmlns='` + space + `'` + attrs + `/></iq>`)
	if condition, ok := strings.CutPrefix(want, "!"); ok {
		got := h.romeo.Deliveries()
		if len(got) != 1 || got[0].Stanza.Err() == nil || string(got[0].Stanza.Err().Condition) != condition ||
			got[0].Stanza.From.String() != from {
			t.Errorf("%s %s of %s: got %v, want %s", space, node, from, got, condition)
		}
		return
	}
	h.romeo.Want(`<iq type='result' id='1' from='` + from + `' to='romeo@example.org/orchard'><query xmlns='` + space + `'` + attrs + `>` + want + `</query></iq>`)
}

func TestTheHostAnnouncesWhatItsModulesOffer(t *testing.T) {
	h := newHouse(t)
	h.ask(t, infoNS, "example.org", "", hostInfo)
	h.ask(t, itemsNS, "example.org", "", "")
}

func TestItemsOfAHostAreTheServicesBelowIt(t *testing.T) {
	h := newHouse(t)
	h.SetHosts([]string{"example.org", "deep.example.org"})
	service := &router.Service{Domains: func() []string {
		return []string{"multicast.example.org", "bot.example.org", "a.b.example.org", "bot.deep.example.org", "irc.example.net", "example.org", "notexample.org"}
	}}
	h.Use(h.disco.Module(), router.Module{Name: "services", Service: service})
	h.ask(t, itemsNS, "example.org", "", `<item jid='a.b.example.org'/><item jid='bot.example.org'/><item jid='multicast.example.org'/>`)
	h.ask(t, itemsNS, "deep.example.org", "", `<item jid='bot.deep.example.org'/>`)
}

func TestServicesForAllHostsAreItemsOfEach(t *testing.T) {
	h := newHouse(t)
	h.SetHosts([]string{"example.org", "deep.example.org"})
	service := &router.Service{Domains: func() []string {
		return []string{"bot.example.org", "chat.example.net",
			"b.deep.example.org"}
	}}
	h.disco.o.Shared = func() []string {
		return []string{"chat.example.net", "b.deep.example.org", "off.example.org", "example.org"}
	}
	h.Use(h.disco.Module(), router.Module{Name: "services", Service: service})
	const shared = `<item jid='chat.example.net'/>`
	h.ask(t, itemsNS, "example.org", "", `<item jid='b.deep.example.org'/><item jid='bot.example.org'/>`+shared)
	h.ask(t, itemsNS, "deep.example.org", "", `<item jid='b.deep.example.org'/>`+shared)
}

func TestTheHostAnswersForTheNodeOfItsCapabilities(t *testing.T) {
	h := newHouse(t)
	h.ask(t, infoNS, "example.org", "urn:node#ver=", hostInfo)
	h.ask(t, infoNS, "example.org", "urn:node#old=", "!item-not-found")
	h.ask(t, itemsNS, "example.org", "urn:node#ver=", "!item-not-found")
}

func TestFormsAreThoseOfTheHostAsked(t *testing.T) {
	h := newHouse(t, func(host string) *xmpp.Element {
		x := &xmpp.Element{Name: xmpp.Name{Space: xmpp.NSDataForms, Local: "x"}}
		x.Attrs = []xmpp.Attr{attr("host", host)}
		return x
	}, func(string) *xmpp.Element { return nil })
	h.ask(t, infoNS, "example.org", "", hostInfo+`<x xmlns='jabber:x:data' host='example.org'/>`)
}

func TestAnAccountIsSeenByItsOwnerAndWhoSeesItsPresence(t *testing.T) {
	h := newHouse(t)
	h.ask(t, infoNS, "", "", accountInfo)
	h.ask(t, infoNS, "romeo@example.org", "", accountInfo)
	h.ask(t, infoNS, "juliet@example.org", "", accountInfo)
	h.ask(t, infoNS, "juliet@example.org", "music", "!item-not-found")
}

func TestAnAccountIsHiddenFromStrangersAsOneThatDoesNotExist(t *testing.T) {
	h := newHouse(t)
	for _, user := range []string{"nurse@example.org", "paris@example.org"} {
		h.ask(t, infoNS, user, "", "!service-unavailable")
		h.ask(t, infoNS, user, "music", "!service-unavailable")
		h.ask(t, itemsNS, user, "", "")
		h.ask(t, itemsNS, user, "music", "")
	}
	moduletest.Login(t, h.Router, "nurse/house").Available(0)
	h.ask(t, itemsNS, "nurse@example.org", "", "")
}

func TestItemsOfAnAccountAreItsAvailableResources(t *testing.T) {
	h := newHouse(t)
	h.ask(t, itemsNS, "juliet@example.org", "", "")
	h.juliet.Available(0)
	moduletest.Login(t, h.Router, "juliet/unseen")
	moduletest.Login(t, h.Router, "juliet/chamber").Available(-1)
	h.ask(t, itemsNS, "juliet@example.org", "", `<item jid='juliet@example.org/balcony'/><item jid='juliet@example.org/chamber'/>`)
	h.ask(t, itemsNS, "juliet@example.org", "music", "!item-not-found")
	h.romeo.Available(0)
	h.ask(t, itemsNS, "", "", `<item jid='romeo@example.org/orchard'/>`)
}

func TestARosterThatIsAwayMakesTheAskerWait(t *testing.T) {
	h := newHouse(t)
	h.roster["broken"] = true
	h.ask(t, infoNS, "juliet@example.org", "", "!resource-constraint")
	h.ask(t, itemsNS, "juliet@example.org", "", "!resource-constraint")
	h.ask(t, infoNS, "", "", accountInfo)
}

func TestDiscoveryIsReadOnly(t *testing.T) {
	h := newHouse(t)
	for _, space := range []string{infoNS, itemsNS} {
		for _, to := range []string{"example.org", "romeo@example.org", "paris@example.org"} {
			e := h.romeo.Send(`<iq type='set' id='1' to='` + to + `'><query xmlns='` + space + `'/></iq>`)
			if e.Err == nil || e.Err.Condition != xmpp.CondServiceUnavailable {
				t.Errorf("set %s to %s: %v, want service-unavailable", space, to, e.Err)
			}
		}
	}
}

// post routes a message as package httpmessage does.
func (h *house) post(from, account string) {
	e := &router.Envelope{Stanza: &xmpp.Stanza{Kind: xmpp.Message, From: jid.MustParse(from), To: jid.MustParse("juliet@example.org"),
		Payload: []byte("<body>hi</body>")}, Quiet: true}
	if account != "" {
		e.Account = jid.MustParse(account)
	}
	h.Route(e)
}

func TestASenderWhoIsNobodysAccountTakesNoReplies(t *testing.T) {
	h := newHouse(t)
	const noReply = `<identity category='client' type='bot'/><feature var='http://jabber.org/protocol/disco#info'/><feature var='urn:xmpp:noreply:0'/>`
	h.ask(t, infoNS, "ticket-1@example.org", "", "!service-unavailable")
	h.post("ticket-1@example.org/trac", "romeo@example.org")
	h.post("ticket-2@example.org", "") // an API account is no user
	h.ask(t, infoNS, "ticket-1@example.org", "", noReply)
	h.ask(t, infoNS, "ticket-2@example.org", "", noReply)
	h.ask(t, infoNS, "ticket-1@example.org", "x", "!service-unavailable")
	h.ask(t, itemsNS, "ticket-1@example.org", "", "")

	for _, reply := range []struct{ to, text string }{{"ticket-1@example.org", "this address takes no messages"}, {"ticket-2@example.org/x", "this address takes no messages"},
		{"paris@example.org", ""}} {
		e := h.romeo.Send(`<message to='` + reply.to + `' type='chat'><body>thanks</body></message>`)
		if e.Err == nil || e.Err.Condition != xmpp.CondServiceUnavailable || e.Err.Text != reply.text {
			t.Errorf("a reply to %s fared as %v, %v", reply.to, e.Outcome, e.Err)
		}
	}
	for _, ignored := range []string{"error", "headline"} {
		if e := h.romeo.Send(`<message to='ticket-1@example.org' type='` + ignored + `'/>`); e.Outcome != router.Dropped {
			t.Errorf("%s fared as %v, %v", ignored, e.Outcome, e.Err)
		}
	}
}

func TestASenderWhoseRepliesAreTakenDoesNotSayOtherwise(t *testing.T) {
	h := newHouse(t)
	h.disco.o.Replies = func() bool { return true }
	h.post("ticket-1@example.org", "juliet@example.org")
	h.ask(t, infoNS, "ticket-1@example.org", "", `<identity category='client' type='bot'/><feature var='http://jabber.org/protocol/disco#info'/>`)
}

func TestAPeerLearnsThatASenderTakesNoReplies(t *testing.T) {
	h := newHouse(t)
	remote := &moduletest.Remote{}
	h.SetRemote(remote)
	e := &router.Envelope{Account: jid.MustParse("romeo@example.org"), Quiet: true,
		Stanza: moduletest.Parse(t, `<message from='ticket-1@example.org' to='tybalt@b.example'><body>hi</body></message>`)}
	if h.Route(e); e.Outcome != router.Queued || len(remote.Sent()) != 1 {
		t.Fatalf("%v, %v", e.Outcome, e.Err)
	}
	for _, row := range []struct{ sent, got string }{
		{`<iq type='get' id='1' from='tybalt@b.example/x' to='ticket-1@example.org'><query xmlns='` + infoNS + `'/></iq>`,
			`<iq type='result' id='1' to='tybalt@b.example/x' from='ticket-1@example.org'><query xmlns='` + infoNS + `'><identity category='client' type='bot'/><feature var='` + infoNS + `'/><feature var='urn:xmpp:noreply:0'/></query></iq>`},
		{`<message id='2' from='tybalt@b.example/x' to='ticket-1@example.org'><body>thanks</body></message>`,
			`<message type='error' id='2' to='tybalt@b.example/x' from='ticket-1@example.org'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>` +
				`<text xml:lang='en' xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>this address takes no messages</text></error></message>`},
	} {
		h.Route(&router.Envelope{Peer: "b.example", Stanza: moduletest.Parse(t, row.sent)})
		got := remote.Sent()
		if len(got) != 1 {
			t.Fatalf("%s is answered with %q", row.sent, got)
		}
		moduletest.Same(t, got[0], row.got)
	}
}

func TestAForgedSenderWhoIsAnAccountStaysHidden(t *testing.T) {
	h := newHouse(t)
	h.post("nurse@example.org", "romeo@example.org")
	h.ask(t, infoNS, "nurse@example.org", "", "!service-unavailable")
	moduletest.Login(t, h.Router, "nurse/house").Available(0)
	if e := h.romeo.Send(`<message to='nurse@example.org' type='chat'><body>hi</body></message>`); e.Outcome != router.Delivered {
		t.Errorf("a message to her fared as %v, %v", e.Outcome, e.Err)
	}
}

func TestTheSendersRememberedAreBounded(t *testing.T) {
	var s senders
	address := func(i int) jid.JID { return jid.MustParse("t" + strconv.Itoa(i) + "@example.org") }
	const n = 5 * maxSenders / 2
	for i := range n {
		s.add(address(i))
		s.add(address(i))
	}
	if len(s.now)+len(s.old) > 2*maxSenders {
		t.Errorf("%d senders are kept", len(s.now)+len(s.old))
	}
	if !s.has(address(n-1)) || !s.has(address(n-maxSenders)) || s.has(address(0)) {
		t.Error("the last ones are forgotten, or the first ones are not")
	}
}

// Where there are several nodes, a name that is nobody's account has a home like others: it answers for it.
func TestTheHomeOfASenderHearsOfIt(t *testing.T) {
	h, far := newHouse(t), newHouse(t)
	moduletest.Link(moduletest.HomeOf("robot@example.org"), h.Router, far.Router)
	post := func() {
		h.Route(&router.Envelope{Quiet: true, Account: jid.MustParse("juliet@example.org"),
			Stanza: moduletest.Parse(t, "<message type='chat' from='robot@example.org/x' to='romeo@example.org'><body>x</body></message>")})
		h.romeo.Take()
	}
	h.ask(t, infoNS, "robot@example.org", "", "!service-unavailable")
	post()
	h.ask(t, infoNS, "robot@example.org", "", `<identity category='client' type='bot'/>`+
		`<feature var='http://jabber.org/protocol/disco#info'/><feature var='urn:xmpp:noreply:0'/>`)
	if e := h.romeo.Send("<message type='chat' to='robot@example.org'><body>x</body></message>"); e.Outcome != router.Forwarded {
		t.Errorf("outcome %v", e.Outcome)
	} else if o, err := e.Settlement(); o != router.Refused || err == nil || err.Text != "this address takes no messages" {
		t.Errorf("a reply: %v, %v", o, err)
	}
	if n := len(far.disco.senders.now); n != 1 {
		t.Errorf("the home knows of %d senders", n)
	}
	// Once a minute is enough, and nobody else says who is one.
	far.disco.senders = senders{}
	post()
	e := h.romeo.Send("<iq type='set' id='s' to='robot@example.org'><sender xmlns='urn:jackdaw:nodes'/></iq>")
	if _, err := e.Settlement(); err == nil || err.Condition != xmpp.CondServiceUnavailable {
		t.Errorf("a client that says so is told %v", err)
	}
	if n := len(far.disco.senders.now); n != 0 {
		t.Errorf("the home hears of %d senders", n)
	}
	h.disco.told.at["robot@example.org"] = h.disco.told.at["robot@example.org"].Add(-tellAgain)
	post()
	if n := len(far.disco.senders.now); n != 1 {
		t.Errorf("a minute later the home knows of %d senders", n)
	}
}
