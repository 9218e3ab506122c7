package modules

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"jackdaw/config"
	"jackdaw/modules/caps"
	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// book stands for the accounts: romeo's and juliet's.
type book struct{ moduletest.Users }

func (book) Create(context.Context, jid.JID, string) error      { return nil }
func (book) SetPassword(context.Context, jid.JID, string) error { return nil }
func (book) Delete(context.Context, jid.JID) error              { return nil }
func (book) Get(_ context.Context, user jid.JID) (accounts.Account, error) {
	return accounts.Account{User: user}, nil
}
func (book) Rights(context.Context, jid.JID) (*accounts.Rights, error) {
	return &accounts.Rights{}, nil
}
func (book) OnChange(func(user jid.JID, what accounts.Change))        {}
func (book) List(context.Context, string) ([]accounts.Account, error) { return nil, nil }
func (book) Throttle() *accounts.Throttle                             { return accounts.NewThrottle(time.Now) }

func (book) Apply(context.Context, jid.JID, string, accounts.Source, accounts.Bounds) error {
	return nil
}
func (book) Waiting(context.Context, string) ([]accounts.Application, error) { return nil, nil }
func (book) Refuse(context.Context, jid.JID) error                           { return nil }
func (book) Reserved(jid.JID) bool                                           { return false }
func (book) Granted(context.Context) ([]jid.JID, error)                      { return nil, nil }

func (book) Derive(string, ...string) (sum [32]byte) { return sum }

func (book) Page(context.Context, string, string, int) ([]accounts.Account, error) {
	return nil, nil
}

func deps(c *config.Config) Deps {
	c.Hosts = []config.Host{{Domain: moduletest.Host, Contact: config.Contact{Abuse: []string{"mailto:abuse@example.org"}},
		Outage: []string{"https://status.example.net/o.json"}}}
	return Deps{
		Router:   moduletest.New("romeo", "juliet"),
		Store:    moduletest.NewStore(),
		Accounts: book{moduletest.Users{"romeo@example.org": true, "juliet@example.org": true}},
		Config:   func() *config.Config { return c },
		Version:  "1",
		Log:      moduletest.Discard(),
	}
}

func use(t *testing.T, c *config.Config) (*router.Router, *moduletest.Client) {
	t.Helper()
	d := deps(c)
	d.Router.Use(All(d).Modules()...)
	return d.Router, moduletest.Login(t, d.Router, "romeo/orchard")
}

func TestDefaultRoomsAreAmongTheBookmarks(t *testing.T) {
	c := config.Default()
	d := deps(c)
	d.Router.Use(All(d).Modules()...)
	c.Hosts[0].Rooms = []string{"team@rooms.example.org"}
	romeo := moduletest.Login(t, d.Router, "romeo/orchard")
	romeo.Send(`<iq type='get' id='1'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:bookmarks:1'/></pubsub></iq>`)
	got := romeo.Deliveries()
	if len(got) != 1 {
		t.Fatalf("%d answers", len(got))
	}
	const want = `<item id='team@rooms.example.org'><conference xmlns='urn:xmpp:bookmarks:1' autojoin='true'/></item>`
	if xml := string(got[0].Stanza.Payload); !strings.Contains(xml, want) {
		t.Errorf("got %s", xml)
	}
}

func names(all []router.Module) []string {
	var out []string
	for _, m := range all {
		out = append(out, m.Name)
	}
	return out
}

func TestWhoMustComeFirstDoes(t *testing.T) {
	all := names(All(deps(config.Default())).Modules())
	if all[0] != "blocking" {
		t.Errorf("%s comes before blocking: whoever is blocked must be stopped before anything else happens", all[0])
	}
	for _, pair := range [][2]string{
		{"stanzaid", "offline"}, {"markers", "presence"}, {"markers", "carbons"}, {"markers", "offline"},
		{"blocking", "forged"}, {"carbons", "forged"}, {"forged", "disco"}, {"carbons", "offline"},
		{"archive", "carbons"}, {"stanzaid", "archive"}, {"last", "presence"}, {"caps", "pep"}, {"caps", "presence"},
		{"pep", "presence"}, {"pep", "archive"}, {"pep", "carbons"}, {"multicast", "presence"},
		{"multicast", "carbons"}, {"markers", "reports"}, {"markers", "strangers"}, {"stanzaid", "strangers"},
		{"roster", "strangers"}, {"strangers", "presence"}, {"strangers", "archive"}, {"strangers", "carbons"},
		{"strangers", "offline"},
	} {
		i, k := slices.Index(all, pair[0]), slices.Index(all, pair[1])
		if i < 0 || k < 0 || i > k {
			t.Errorf("%s must come before %s: %v", pair[0], pair[1], all)
		}
	}
}

func TestModulesCanBeTurnedOff(t *testing.T) {
	c := config.Default()
	all := All(deps(c)).Modules()
	c.Modules.Off = map[string]bool{}
	for _, name := range names(all) {
		if !c.Modules.Enabled(name) {
			t.Errorf("the configuration does not know the module %s", name)
		}
		c.Modules.Off = map[string]bool{name: true}
		r := router.New(router.Options{})
		r.Use(All(deps(c)).Modules()...) // panics if the rest does not fit together
		if slices.Contains(names(r.Modules()), name) {
			t.Errorf("%s is there though it is off", name)
		}
	}
}

func TestAReloadTurnsModulesOffAndOn(t *testing.T) {
	c := config.Default()
	d := deps(c)
	set := All(d)
	d.Router.Use(set.Modules()...)
	romeo := moduletest.Login(t, d.Router, "romeo/orchard")
	answer := func() xmpp.Type {
		romeo.Send(`<iq type='get' id='1' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>`)
		got := romeo.Deliveries()
		if len(got) != 1 {
			t.Fatalf("%d answers", len(got))
		}
		return got[0].Stanza.Type
	}
	announced := func() bool {
		romeo.Send(`<iq type='get' id='1' to='example.org'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`)
		return strings.Contains(string(romeo.Deliveries()[0].Stanza.Append(nil)), "urn:xmpp:ping")
	}
	if answer() != xmpp.TypeResult || !announced() {
		t.Error("no ping to begin with")
	}
	c.Modules.Off = map[string]bool{"ping": true}
	d.Router.Use(set.Modules()...)
	if answer() != xmpp.TypeError || announced() {
		t.Error("ping is there though it is off")
	}
	c.Modules.Off = nil
	d.Router.Use(set.Modules()...)
	if answer() != xmpp.TypeResult || !announced() {
		t.Error("ping did not come back")
	}
}

func TestTheHashOfCapabilitiesIsThatOfTheAnswer(t *testing.T) {
	r, romeo := use(t, config.Default())
	feature, err := xmpp.ParseElement([]byte(featureIn(r.StreamFeatures(moduletest.Host), "<c ")))
	if err != nil {
		t.Fatal(err)
	}
	node := feature.Attr("node") + "#" + feature.Attr("ver")
	romeo.Send(`<iq type='get' id='1' to='example.org'><query xmlns='http://jabber.org/protocol/disco#info' node='` + node + `'/></iq>`)
	got := romeo.Deliveries()
	if len(got) != 1 {
		t.Fatalf("%d answers", len(got))
	}
	q := got[0].Stanza.Child(xmpp.Name{Space: xmpp.NSDiscoInfo, Local: "query"})
	if q == nil || q.Attr("node") != node || caps.Ver(q) != feature.Attr("ver") {
		t.Errorf("for %s came %s", node, got[0].Stanza.Append(nil))
	}
	if form := q.Child(xmpp.Name{Space: xmpp.NSDataForms, Local: "x"}); form == nil ||
		!strings.Contains(string(form.Append(nil)), "mailto:abuse@example.org") {
		t.Error("the contact addresses are missing")
	}
	if !strings.Contains(string(q.Append(nil)), "<value>https://status.example.net/o.json</value>") {
		t.Error("where outages are told is missing")
	}
}

// featureIn cuts one empty element out of the stream features.
func featureIn(features, start string) string {
	_, rest, _ := strings.Cut(features, start)
	rest, _, _ = strings.Cut(rest, "/>")
	return start + rest + "/>"
}

func TestContactsLearnWhatAUserSaidLast(t *testing.T) {
	r, romeo := use(t, config.Default())
	juliet := moduletest.Login(t, r, "juliet/balcony")
	romeo.Send(`<presence to='juliet@example.org' type='subscribe'/>`)
	juliet.Send(`<presence to='romeo@example.org' type='subscribed'/>`)
	juliet.Send(`<presence/>`)
	juliet.Send(`<presence type='unavailable'><status>Heading Home</status></presence>`)
	juliet.LogoutTaken()
	romeo.Received()
	romeo.Send(`<iq type='get' id='1' to='juliet@example.org'><query xmlns='jabber:iq:last'/></iq>`)
	got := romeo.Deliveries()
	if len(got) != 1 || !strings.Contains(string(got[0].Stanza.Payload), ">Heading Home</query>") {
		t.Errorf("romeo got %v", got)
	}
}

func TestWhatIsOffIsNotAnnounced(t *testing.T) {
	c := config.Default()
	c.Modules.Off = map[string]bool{"disco": true, "contact": true, "vcard": true}
	r, romeo := use(t, c)
	if f := r.StreamFeatures(moduletest.Host); strings.Contains(f, xmpp.NSCaps) {
		t.Errorf("capabilities without discovery: %s", f)
	}
	for _, payload := range []string{"<query xmlns='http://jabber.org/protocol/disco#info'/>", "<vCard xmlns='vcard-temp'/>"} {
		if e := romeo.Send(`<iq type='get' id='1' to='romeo@example.org'>` + payload + `</iq>`); e.Err == nil || e.Err.Condition != xmpp.CondServiceUnavailable {
			t.Errorf("%s: %v, %v", payload, e.Outcome, e.Err)
		}
	}
}

func TestTheMulticastServiceIsFoundThroughItsHost(t *testing.T) {
	c := config.Default()
	items := func() string {
		t.Helper()
		_, romeo := use(t, c)
		romeo.Send(`<iq type='get' id='1' to='example.org'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>`)
		e := romeo.Send(`<message to='multicast'><addresses><address jid='juliet@example.org'/></addresses></message>`)
		return string(romeo.Deliveries()[0].Stanza.Payload) + " " + string(e.Err.Condition)
	}
	if got, want := items(), `<query xmlns='http://jabber.org/protocol/disco#items'><item jid='multicast.example.org'/><item jid='pubsub.example.org'/><item jid='rooms.example.org'/></query> forbidden`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	c.Component.Secrets = map[string]string{"multicast.example.org": "a component's own"}
	if got, want := items(), `<query xmlns='http://jabber.org/protocol/disco#items'><item jid='pubsub.example.org'/><item jid='rooms.example.org'/></query> remote-server-not-found`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAPeerAndAComponentCannotSpeakForUs(t *testing.T) {
	c := config.Default()
	c.Modules.Off = map[string]bool{"archive": true} // which gives an id of our own
	r, romeo := use(t, c)
	romeo.Available(0)
	for _, e := range []*router.Envelope{{Peer: "b.example"}, {}} {
		e.Stanza = moduletest.Parse(t, `<message from='bot@b.example/x' to='romeo@example.org/orchard' type='chat'><body>a</body>`+
			`<stanza-id xmlns='urn:xmpp:sid:0' by='Romeo@example.org' id='1'/><stanza-id xmlns='urn:xmpp:sid:0' by='example.org' id='1'/>`+
			`<stanza-id xmlns='urn:xmpp:sid:0' by='room@b.example' id='2'/><sent xmlns='urn:xmpp:carbons:2'/><result xmlns='urn:xmpp:mam:2'/>`+
			`<delay xmlns='urn:xmpp:delay' from='example.org' stamp='2002-09-10T23:08:25Z'/></message>`)
		r.Route(e)
		romeo.Want(`<message from='bot@b.example/x' to='romeo@example.org/orchard' type='chat'><body>a</body><stanza-id xmlns='urn:xmpp:sid:0' by='room@b.example' id='2'/></message>`)
	}
}

func TestRegistrationFollowsTheConfigurationAndItsSwitch(t *testing.T) {
	c := config.Default()
	offered := func(policy config.Registration, off ...string) string {
		c.Registration, c.Modules.Off = policy, map[string]bool{}
		for _, name := range off {
			c.Modules.Off[name] = true
		}
		inBand, byToken := All(deps(c)).Registration.Offered(moduletest.Host)
		return fmt.Sprint(inBand, byToken)
	}
	for _, row := range []struct {
		got, want string
	}{
		{offered(config.RegistrationClosed), "false false"},
		{offered(config.RegistrationInvite), "true true"},
		{offered(config.RegistrationOpen), "true true"},
		{offered(config.RegistrationInvite, "invitations"), "false false"},
		{offered(config.RegistrationOpen, "invitations"), "true false"},
		{offered(config.RegistrationInvite, "registration"), "false false"},
		{offered(config.RegistrationOpen, "registration"), "false false"},
	} {
		if row.got != row.want {
			t.Errorf("offered: %s, want %s", row.got, row.want)
		}
	}
}
