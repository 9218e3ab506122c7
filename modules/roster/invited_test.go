package roster

import (
	"errors"
	"slices"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp/jid"
)

// byToken has the roster take one token of romeo, and returns what was asked and settled.
func (c *scene) byToken() *[]string {
	var said []string
	c.m.OnToken(func(user, contact jid.JID, token string) (func(bool), bool) {
		said = append(said, user.Local()+" "+contact.String()+" "+token)
		if token != "good" || user.Local() != "romeo" {
			return nil, false
		}
		return func(granted bool) {
			if granted {
				said = append(said, "granted")
			} else {
				said = append(said, "given back")
			}
		}, true
	})
	return &said
}

const subscribe = `<presence type='subscribe' to='romeo@example.org'><preauth xmlns='urn:xmpp:pars:0' token='good'/></presence>`

func TestATokenMakesTwoUsersContacts(t *testing.T) {
	c := newScene(t, Options{})
	said := c.byToken()
	romeo, juliet := c.login("romeo/a"), c.login("juliet/b")
	juliet.Send(subscribe)
	both := State{To: true, From: true}
	if a, b := c.state("romeo@example.org", "juliet@example.org"), c.state("juliet@example.org", "romeo@example.org"); a != both || b != both {
		t.Errorf("romeo: %+v, juliet: %+v", a, b)
	}
	if want := []string{"romeo juliet@example.org good", "granted"}; !slices.Equal(*said, want) {
		t.Errorf("%q", *said)
	}
	for _, x := range romeo.Deliveries() { // he is asked nothing
		if x.Stanza.Type.String() == "subscribe" {
			t.Errorf("%s", x.Stanza.Append(nil))
		}
	}
	*said = nil
	juliet.Send(subscribe) // some clients do at each login
	if len(*said) != 0 {
		t.Errorf("a second use: %q", *said)
	}
}

func TestATokenAnswersARequestThatWaits(t *testing.T) {
	c := newScene(t, Options{})
	c.byToken()
	c.login("romeo/a")
	juliet := c.login("juliet/b")
	juliet.Send(`<presence type='subscribe' to='romeo@example.org'/>`)
	juliet.Send(subscribe)
	if s := c.state("romeo@example.org", "juliet@example.org"); s != (State{To: true, From: true}) {
		t.Errorf("%+v", s)
	}
	if waits, err := c.m.Requests(jid.MustParse("romeo@example.org")); len(waits) != 0 || err != nil {
		t.Errorf("%v wait, %v", waits, err)
	}
}

func TestAPeersUserWithATokenIsAskedBack(t *testing.T) {
	c := newScene(t, Options{})
	said := c.byToken()
	remote := new(moduletest.Remote)
	c.r.SetRemote(remote)
	c.login("romeo/a")
	s := moduletest.Parse(t, subscribe)
	s.From = jid.MustParse("laura@peer.example")
	c.r.Route(&router.Envelope{Stanza: s, Peer: "peer.example"})
	if s := c.state("romeo@example.org", "laura@peer.example"); s != (State{From: true, PendingOut: true}) {
		t.Errorf("%+v", s)
	}
	var types []string
	for _, s := range remote.Sent() {
		types = append(types, moduletest.Parse(t, s).Type.String())
	}
	if want := []string{"subscribed", "", "subscribe"}; !slices.Equal(types, want) {
		t.Errorf("sent: %q, want %q", types, want)
	}
	if len(*said) != 2 {
		t.Errorf("%q", *said)
	}
}

func TestARequestWithoutAGoodTokenIsOneLikeOthers(t *testing.T) {
	c := newScene(t, Options{})
	c.byToken()
	romeo, juliet := c.login("romeo/a"), c.login("juliet/b")
	bad := `<presence type='subscribe' to='romeo@example.org'><preauth xmlns='urn:xmpp:pars:0' token='bad'/></presence>`
	juliet.Send(bad)
	got := romeo.Received() // with the token, which may be one of a client
	if len(got) != 1 {
		t.Fatalf("%q", got)
	}
	moduletest.Same(t, got[0], `<presence type='subscribe' from='juliet@example.org' to='romeo@example.org'>`+
		`<preauth xmlns='urn:xmpp:pars:0' token='bad'/></presence>`)
	if s := c.state("romeo@example.org", "juliet@example.org"); s != (State{PendingIn: true}) {
		t.Errorf("%+v", s)
	}
}

func TestAUseIsGivenBackWhereTheRosterIsFull(t *testing.T) {
	c := newScene(t, Options{MaxItems: 1})
	said := c.byToken()
	c.login("romeo/a").Send(set(`<item jid='a@b'/>`))
	if e := c.login("juliet/b").Send(subscribe); e.Err == nil {
		t.Error("there was room")
	}
	if want := []string{"romeo juliet@example.org good", "given back"}; !slices.Equal(*said, want) {
		t.Errorf("%q", *said)
	}
}

func TestBefriendGivesAContactWithBothSubscriptions(t *testing.T) {
	c := newScene(t, Options{MaxItems: 1})
	romeo := c.login("romeo/a")
	who, contact := jid.MustParse("romeo@example.org"), jid.MustParse("juliet@example.org")
	for range 2 { // the second time all is so already
		var b router.Batch
		p, err := c.m.Befriend(&b, who, contact)
		if err != nil || p.Wait(t.Context()) != nil {
			t.Fatal(err)
		}
		b.Flush()
	}
	romeo.Want(push("romeo@example.org/a", 1, `<item jid='juliet@example.org' subscription='both'/>`))
	if _, err := c.m.Befriend(new(router.Batch), who, jid.MustParse("paris@example.org")); !errors.Is(err, ErrFull) {
		t.Errorf("beyond the bound: %v", err)
	}
	if _, err := c.m.Befriend(new(router.Batch), jid.MustParse("nobody@example.org"), who); err == nil {
		t.Error("nobody has a contact")
	}
}
