package modules

import (
	"slices"
	"strings"
	"testing"

	"jackdaw/config"
	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// answer is what romeo is answered, payload alone.
func answer(t *testing.T, romeo *moduletest.Client, xml string) string {
	t.Helper()
	romeo.Received()
	romeo.Send(xml)
	for _, got := range romeo.Deliveries() {
		if got.Stanza.Kind == xmpp.IQ {
			return string(got.Stanza.Payload)
		}
	}
	t.Fatalf("no answer to %s", xml)
	return ""
}

func TestModulesLeaveAloneTheOnesTheyKnowThatAreOff(t *testing.T) {
	const (
		setCard  = `<iq type='set' id='1'><vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard></iq>`
		getCard4 = `<iq type='get' id='2'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:vcard4'/></pubsub></iq>`
		setRooms = `<iq type='set' id='3'><query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'><conference jid='a@rooms' name='A'/></storage></query></iq>`
		getRooms = `<iq type='get' id='4'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:bookmarks:1'/></pubsub></iq>`
	)
	c := config.Default()
	d := deps(c)
	set := All(d)
	use := func(off ...string) {
		c.Modules.Off = map[string]bool{}
		for _, name := range off {
			c.Modules.Off[name] = true
		}
		d.Router.Use(set.Modules()...)
	}
	use("pep")
	romeo := moduletest.Login(t, d.Router, "romeo/orchard")
	answer(t, romeo, setCard)
	answer(t, romeo, setRooms)
	use()
	if got := answer(t, romeo, getCard4); strings.Contains(got, "Romeo") {
		t.Errorf("a vCard became a node while eventing was off: %s", got)
	}
	answer(t, romeo, setCard)
	answer(t, romeo, setRooms)
	if a, b := answer(t, romeo, getCard4), answer(t, romeo, getRooms); !strings.Contains(a, "Romeo") || !strings.Contains(b, "a@rooms") {
		t.Errorf("no nodes while eventing is on: %s, %s", a, b)
	}
	announced := func() string {
		return answer(t, romeo, `<iq type='get' id='5' to='romeo@example.org'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`)
	}
	for _, row := range []struct{ off, feature string }{{"vcard", "urn:xmpp:pep-vcard-conversion:0"},
		{"private", "urn:xmpp:bookmarks:1#compat'"}, {"pep", "type='pep'"}} {
		use()
		if !strings.Contains(announced(), row.feature) {
			t.Errorf("%s is not announced", row.feature)
		}
		if use(row.off); strings.Contains(announced(), row.feature) {
			t.Errorf("%s is announced without %s", row.feature, row.off)
		}
	}
}

func TestAModuleIsOffWithWhatItNeeds(t *testing.T) {
	c := config.Default()
	set := All(deps(c))
	for _, row := range [][]string{{"disco", "caps", "commands", "serverinfo"}, {"pubsub", "serverinfo"}, {"stanzaid", "archive"}, {"blocking", "reports"}} {
		c.Modules.Off = map[string]bool{row[0]: true}
		for _, m := range set.Modules() {
			if want := slices.Contains(row, m.Name); m.Off != want {
				t.Errorf("%s without %s: off %t, want %t", m.Name, row[0], m.Off, want)
			}
		}
	}
}

func TestNobodyIsBlockedWhileBlockingIsOff(t *testing.T) {
	c := config.Default()
	d := deps(c)
	set := All(d)
	d.Router.Use(set.Modules()...)
	romeo, juliet := moduletest.Login(t, d.Router, "romeo/orchard"), moduletest.Login(t, d.Router, "juliet/balcony")
	romeo.Send(`<presence to='juliet@example.org' type='subscribe'/>`)
	juliet.Send(`<presence to='romeo@example.org' type='subscribed'/>`)
	romeo.Send(`<presence/>`)
	juliet.Send(`<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'><item jid='romeo@example.org'/></block></iq>`)
	seen := func() bool {
		romeo.Received()
		juliet.Send(`<presence><show>away</show></presence>`)
		for _, got := range romeo.Deliveries() {
			if got.Stanza.Kind == xmpp.Presence && got.Stanza.From == jid.MustParse("juliet@example.org/balcony") {
				return true
			}
		}
		return false
	}
	if seen() {
		t.Error("a blocked contact sees presence")
	}
	c.Modules.Off = map[string]bool{"blocking": true}
	d.Router.Use(set.Modules()...)
	if !seen() {
		t.Error("a contact sees no presence though blocking is off")
	}
}

// What components may do ends with the module, and they are not told that they may.
func TestPrivilegesGoWithTheirModule(t *testing.T) {
	c := config.Default()
	c.Component.Privileges = map[string]config.Privilege{"irc.example.org": {Roster: config.AccessBoth, Presence: true}}
	c.Hosts = []config.Host{{Domain: moduletest.Host}}
	d := deps(c)
	set := All(d)
	told := make(chan string, 10)
	component := router.Module{Name: "component", Service: &router.Service{
		Domains: func() []string { return []string{"irc.example.org"} },
		Handle: func(e *router.Envelope) {
			told <- string(e.Stanza.Append(nil))
			e.Settle(router.Delivered)
		}}}
	for _, off := range []bool{true, false} {
		c.Modules.Off = map[string]bool{"privilege": off}
		d.Router.Use(set.Modules(component)...)
		set.Privileges.Connected("irc.example.org")
		set.Privileges.Reloaded()
		want := 2
		if off {
			want = 0
		}
		if got := len(told); got != want {
			t.Errorf("off: %v, and a component was told %d times, not %d", off, got, want)
		}
	}
}
