package room

import (
	"strings"
	"testing"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// post is what an account says over HTTP.
func (p *play) post(account, from, payload string) (Utterance, *xmpp.Error) {
	p.t.Helper()
	ev := p.event("somebody", `<message type='groupchat' to='`+coven+`'>`+payload+`</message>`)
	ev.Session, ev.Stanza.From = nil, jid.MustParse(from+"@example.org")
	if account != "" {
		ev.Account = jid.MustParse(account + "@example.org")
	}
	u, bad := p.Say(ev)
	if bad == nil {
		p.Spread(&p.effects, &u, false)
	}
	return u, bad
}

// XEP-0045 §5, §7.2.5 to §7.2.7, §7.4: what an account posts is heard as far as it would be if the account entered.
func TestWhoSpeaksFromOutside(t *testing.T) {
	settings := strings.Fields("open moderated members password silenced")
	const table = `
		owner   | ok ok ok ok ok
		admin   | ok ok ok ok ok
		member  | ok ok ok ok forbidden
		none    | ok forbidden registration-required not-authorized forbidden
		outcast | forbidden forbidden forbidden forbidden forbidden`
	cells(t, table, settings, func(t *testing.T, row, column, want string) {
		p := newPlay(t)
		p.enter("crone", "crone")
		p.affiliate("king", affiliationOf(t, row))
		switch column {
		case "moderated":
			p.Conf.Moderated = true
		case "members":
			p.Conf.MembersOnly = true
		case "password":
			p.Conf.Password = "toil"
		case "silenced":
			p.roles["king@example.org"] = Visitor
		}
		p.told()
		_, bad := p.post("king", "king", "<body>trouble</body>")
		p.want(bad, want)
		if want == "ok" {
			p.wantTold("crone: king: trouble")
		} else {
			p.wantTold()
		}
		if p.Occupant("king") != nil || len(p.Seats()) != 1 {
			t.Error("speaking has let it in")
		}
	})
}

func TestNobodySpeaksFromOutsideForAnother(t *testing.T) {
	p := newPlay(t)
	for _, account := range []string{"", "king"} { // a peer or a component; an account that forges
		_, bad := p.post(account, "crone", "<body>x</body>")
		p.want(bad, "not-acceptable")
	}
}

func TestTheNickOfWhoSpeaksFromOutside(t *testing.T) {
	const nick = "<nick xmlns='http://jabber.org/protocol/nick'>"
	for name, c := range map[string]struct {
		prepare     func(p *play)
		from, asked string
		want        string
		own         bool // the occupant is the account itself, not a program of its
	}{
		"the local part":                {from: "king", want: "king", own: true},
		"the registered one":            {prepare: registered("king", "lear"), from: "king", want: "lear", own: true},
		"the one it bears":              {prepare: enters("king", "fool"), from: "king", want: "fool", own: true},
		"the one that is asked for":     {from: "king", asked: "alerts", want: "alerts"},
		"one that itself bears":         {prepare: enters("king/pda", "alerts"), from: "king", asked: "alerts", want: "alerts"},
		"another while it is inside":    {prepare: enters("king", "fool"), from: "king", asked: "alerts", want: "alerts"},
		"in use by another":             {prepare: enters("hag", "alerts"), from: "king", asked: "alerts", want: "alerts (2)"},
		"registered by another":         {prepare: registered("hag", "alerts"), from: "king", asked: "alerts", want: "alerts (2)"},
		"in use by two others":          {prepare: both(enters("hag", "alerts"), enters("witch", "alerts (2)")), from: "king", asked: "alerts", want: "alerts (3)"},
		"the local part, had by others": {prepare: enters("hag", "king"), from: "king", want: "king (2)", own: true},
		"with no letters":               {from: "king", asked: "  ", want: "king", own: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlay(t)
			if c.prepare != nil {
				c.prepare(p)
			}
			payload := "<body>x</body>"
			if c.asked != "" {
				payload += nick + c.asked + "</nick>"
			}
			u, bad := p.post(c.from, c.from, payload)
			p.want(bad, "ok")
			if got := u.from.Resource(); got != c.want {
				t.Errorf("it is shown as %q, want %q", got, c.want)
			}
			if own := strings.Contains(string(u.Payload), p.occupantID("king@example.org")); own != c.own {
				t.Errorf("it is shown as the account itself: %v, want %v", own, c.own)
			}
			if !c.own && strings.Contains(string(u.Payload), "protocol/nick") {
				t.Error("the nick is said twice")
			}
			if u.Author.Name != "king@example.org" {
				t.Errorf("its author is %s", u.Author.Name)
			}
		})
	}
	p := newPlay(t)
	_, bad := p.post("king", "king", "<body>x</body>"+nick+strings.Repeat("a", 1024)+"</nick>")
	p.want(bad, "not-acceptable")
}

func enters(who, nick string) func(*play) { return func(p *play) { p.enter(who, nick) } }

func registered(who, nick string) func(*play) {
	return func(p *play) {
		p.SetPerson(Known{who + "@example.org", Person{Affiliation: Member, Nick: nick}})
	}
}

func both(a, b func(*play)) func(*play) { return func(p *play) { a(p); b(p) } }

// XEP-0421 §3: a program keeps its id, so that what it corrects is known to be its own, and no two have the same.
func TestProgramsOfAnAccountAreToldApart(t *testing.T) {
	p := newPlay(t)
	id := func(account, nick string) string {
		u, bad := p.post(account, account, "<nick xmlns='http://jabber.org/protocol/nick'>"+nick+"</nick><body>x</body>")
		p.want(bad, "ok")
		_, id, _ := strings.Cut(string(u.Payload), "<occupant-id ")
		return id
	}
	first := id("king", "alerts")
	if again := id("king", "alerts"); again != first {
		t.Error("its id changes")
	}
	if first == id("king", "news") || first == id("hag", "alerts") {
		t.Error("two have the same id")
	}
}
