package room

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/modules/internal/forms"
	"jackdaw/xmpp"
)

// enterSince enters with a <mav/> of these attributes.
func (p *play) enterSince(who, nick, attrs string) {
	p.t.Helper()
	ev := p.event(who, `<presence id='in' to='`+coven+`/`+nick+`'><x xmlns='`+muc+`'><mav xmlns='`+nsVersions+`' `+attrs+`/></x></presence>`)
	if bad := p.Enter(&p.effects, ev, Entry{Form: ev.Stanza.Child(JoinName), Places: 100}); bad != nil {
		p.t.Fatal(bad)
	}
}

// versionsTold is what clients are told of affiliations since the last call, each as "user: kind since>until items",
// the versions by their numbers: 'v' and a number for one of the room, '-' for none, '?' for another one.
func (p *play) versionsTold() string {
	name := func(el *xmpp.Element, attr string) string {
		if !el.HasAttr(attr) {
			return "-"
		}
		version, lists, ok := p.knows(el.Attr(attr))
		if !ok {
			return "?"
		}
		return fmt.Sprintf("v%d/%x", version, uint8(lists))
	}
	var out []string
	for _, d := range p.effects.Deliveries {
		if d.To == nil {
			continue
		}
		s := &p.effects.Stanzas[d.Stanza]
		line := d.To.Full.Local() + ": " + s.Kind.String()
		if bad := s.Err(); bad != nil {
			out = append(out, fmt.Sprint(line, " ", s.ID, " ", bad.Type, " ", bad.Condition, " ", bad.By))
			continue
		}
		x := s.Child(UserName)
		if x == nil || x.Child(versionName) == nil {
			continue
		}
		mav := x.Child(versionName)
		line += " " + name(mav, "since") + ">" + name(mav, "until")
		for _, c := range x.Children() {
			if c.Name.Local == "item" {
				user, _, _ := strings.Cut(c.Attr("jid"), "@")
				line += " " + user + "=" + c.Attr("affiliation")
			}
		}
		out = append(out, line)
	}
	p.effects.Reset()
	return strings.Join(out, "\n")
}

func (p *play) wantVersions(want ...string) {
	p.t.Helper()
	if got := p.versionsTold(); got != strings.Join(want, "\n") {
		p.t.Errorf("told is\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// sinceVersion is the attribute for whoever was told these lists.
func (p *play) sinceVersion(version uint64, lists view) string {
	return "since='" + p.versioned(version, lists) + "'"
}

const (
	openly   = view(0x1c)              // members, admins and owners
	owners   = openly | view(1)        // and outcasts
	nothings = view(0)                 // a client that was told nothing
	members  = view(1 << (Member + 1)) // where addresses are a secret
)

func TestWhoEntersIsToldTheAffiliationsThatChanged(t *testing.T) {
	p := newPlay(t)
	p.Conf.NonAnonymous = true
	p.affiliate("hag", Member)
	p.enterSince("crone", "first", "")
	p.wantVersions("crone: message ->v0/1d crone=owner hag=member", "crone: presence ->v0/1d crone=owner")
	p.administer("crone", `<item jid='hag@example.org' affiliation='none'/><item jid='witch@example.org' affiliation='admin'/>`)
	p.administer("crone", `<item jid='king@example.org' affiliation='outcast'/>`)
	p.wantVersions("crone: message v0/1d>v1/1d hag=none", "crone: message v1/1d>v2/1d witch=admin",
		"crone: message v2/1d>v3/1d king=outcast")
	enter := func(who, attrs string, want ...string) {
		t.Helper()
		p.enterSince(who, who, attrs)
		p.wantVersions(want...)
		p.Leave(&p.effects, p.seat(who), Departure{})
		p.effects.Reset()
	}
	enter("hecate", "", "hecate: message ->v3/1c crone=owner witch=admin", "hecate: presence ->v3/1c hecate=none")
	enter("hecate", p.sinceVersion(3, openly), "hecate: presence ->v3/1c hecate=none")
	// The ban is on a list that it may not see: there is no empty difference.
	enter("hecate", p.sinceVersion(2, openly), "hecate: presence ->v3/1c hecate=none")
	enter("hecate", p.sinceVersion(0, openly), "hecate: message v0/1c>v3/1c hag=none witch=admin", "hecate: presence ->v3/1c hecate=none")
	for name, attrs := range map[string]string{
		"other lists":         p.sinceVersion(2, owners),
		"told nothing":        p.sinceVersion(3, nothings),
		"of the future":       p.sinceVersion(9, openly),
		"made up":             "since='3-s-00000000000000000000'",
		"of another kind":     "since='9pacabr2q1'",
		"empty":               "since=''",
		"cut off":             p.sinceVersion(3, openly)[:20] + "'",
		"with a number above": "since='zzzzzzzzzzzzzzzzzzzzz-1-x'",
	} {
		t.Run(name, func(t *testing.T) {
			enter("hecate", attrs, "hecate: message ->v3/1c crone=owner witch=admin", "hecate: presence ->v3/1c hecate=none")
		})
	}
	// What has come and gone again between two visits is not told.
	p.administer("crone", `<item jid='newt@example.org' affiliation='member'/>`)
	p.administer("crone", `<item jid='newt@example.org' affiliation='none'/>`)
	p.effects.Reset()
	enter("hecate", p.sinceVersion(3, openly), "hecate: presence ->v5/1c hecate=none")
	// Who was on a list that may be seen, and is on none now.
	p.administer("crone", `<item jid='witch@example.org' affiliation='outcast'/>`)
	p.effects.Reset()
	enter("hecate", p.sinceVersion(5, openly), "hecate: message v5/1c>v6/1c witch=none", "hecate: presence ->v6/1c hecate=none")
}

func TestWhoMaySeeNoListIsTold(t *testing.T) {
	p := newPlay(t)
	p.enterSince("hag", "hag", "")
	p.wantVersions("hag: message in auth forbidden coven@rooms.example.org")
	p.enter("crone", "first")
	p.wantVersions("crone: presence ->v0/0 crone=owner") // it has not asked, and knows nothing
	p.administer("crone", `<item jid='witch@example.org' affiliation='member'/>`)
	p.wantVersions("crone: message v0/0>v1/0 witch=member")
	p.administer("crone", `<item jid='hag@example.org' affiliation='admin'/>`)
	p.wantVersions("crone: presence v1/0>v2/0 hag=admin", "hag: presence v1/0>v2/0 hag=admin")
	p.administer("crone", `<item nick='hag' role='participant'/>`) // owners may
	p.effects.Reset()
	p.administer("crone", `<item jid='hag@example.org' affiliation='outcast'/>`)
	p.wantVersions("crone: presence v2/0>v3/0 hag=outcast")
}

func TestModeratorsSeeMembersWhereAddressesAreASecret(t *testing.T) {
	p := newPlay(t)
	p.affiliate("witch", Member)
	p.enter("crone", "first")
	p.enter("hag", "hag")
	p.administer("crone", `<item nick='hag' role='moderator'/>`)
	p.effects.Reset()
	p.enterSince("hag", "hag", "")
	p.wantVersions("hag: message ->v0/4 witch=member", "hag: presence ->v0/4 hag=none")
	p.enterSince("hag", "hag", p.sinceVersion(0, members))
	p.wantVersions("hag: presence ->v0/4 hag=none")
}

func TestChangesOfAnOccupantThatIsNotShownAreMessages(t *testing.T) {
	p := newPlay(t)
	p.Conf.NonAnonymous = true
	p.Conf.Broadcast[Visitor] = false
	p.Conf.Moderated = true
	p.enterSince("crone", "first", "")
	p.enter("hag", "hag")
	p.effects.Reset()
	p.administer("crone", `<item jid='hag@example.org' affiliation='outcast'/>`)
	p.wantVersions("crone: message v0/1d>v1/1d hag=outcast")
	p.administer("crone", `<item jid='example.com' affiliation='outcast'/>`)
	p.wantVersions("crone: message v1/1d>v2/1d example.com=outcast")
}

func TestTwoNicksOfAUserAreOneChange(t *testing.T) {
	p := newPlay(t)
	p.enterSince("crone", "first", "")
	p.enter("hag", "hag")
	p.enter("hag/phone", "third")
	p.effects.Reset()
	p.administer("crone", `<item jid='hag@example.org' affiliation='outcast'/>`)
	p.wantVersions("crone: presence v0/1d>v1/1d hag=outcast")
}

func TestAListThatIsLongComesInParts(t *testing.T) {
	p := newPlay(t)
	for i := range 2*maxListed + 1 {
		p.affiliate(fmt.Sprintf("u%03d", i), Member)
	}
	p.enterSince("crone", "first", "")
	var last string
	parts, listed := 0, 0
	for _, d := range p.effects.Deliveries {
		s := &p.effects.Stanzas[d.Stanza]
		if s.Kind != xmpp.Message || s.Child(UserName) == nil {
			continue
		}
		mav := s.Child(UserName).Child(versionName)
		if mav.Attr("since") != last || mav.HasAttr("since") != (parts > 0) {
			t.Errorf("part %d begins at %q, and the one before ends at %q", parts, mav.Attr("since"), last)
		}
		last = mav.Attr("until")
		parts++
		listed += len(s.Child(UserName).Children()) - 1
	}
	if _, _, ok := p.knows(last); !ok || parts != 3 || listed != 2*maxListed+2 {
		t.Errorf("%d items in %d parts, up to %q", listed, parts, last)
	}
}

func TestOnlyTheLatestChangesAreKept(t *testing.T) {
	p := newPlay(t)
	p.Conf.NonAnonymous = true
	was := p.versioned(0, openly)
	for i := range MaxChanges + 1 {
		p.Learn(Known{"hag@example.org", Person{Affiliation: Affiliation(i%2) + 1}})
	}
	if len(p.Changes) != MaxChanges || p.Version() != MaxChanges+1 {
		t.Errorf("%d changes, version %d", len(p.Changes), p.Version())
	}
	p.enterSince("newt", "newt", "since='"+was+"'")
	p.wantVersions("newt: message ->v501/1c crone=owner hag=member", "newt: presence ->v501/1c newt=none")
}

func TestAVersionOfAnotherRoomIsNone(t *testing.T) {
	p, q := newPlay(t), newPlay(t)
	p.Secret, q.Secret = []byte("one"), []byte("another")
	if _, _, ok := p.knows(q.versioned(0, openly)); ok {
		t.Error("it is known")
	}
}

func TestReactionsAreThoseThatTheRoomAllows(t *testing.T) {
	for name, c := range map[string]struct {
		most    int
		allowed string
		say     []string
		refused bool
	}{
		"anything":             {0, "", []string{"👋", "🐢", "x"}, false},
		"as many as may be":    {2, "", []string{"👋", "🐢"}, false},
		"one twice counts one": {1, "", []string{"👋", "👋"}, false},
		"too many":             {1, "", []string{"👋", "🐢"}, true},
		"one of the list":      {0, "💘\n❤️", []string{"💘"}, false},
		"in another form":      {0, "💘\n❤️", []string{"❤"}, false},
		"not on the list":      {0, "💘\n❤️", []string{"💘", "👋"}, true},
		"taken back":           {1, "💘", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlay(t)
			p.Conf.ReactionsPerUser, p.Conf.Reactions = c.most, c.allowed
			p.enter("hag", "hag")
			p.effects.Reset()
			xml := `<reactions xmlns='urn:xmpp:reactions:0' id='1'>`
			for _, one := range c.say {
				xml += `<reaction>` + one + `</reaction>`
			}
			xml += `</reactions><store xmlns='urn:xmpp:hints'/>`
			_, bad := p.say("hag", xml)
			p.enter("crone", "first")
			_, _, privately := p.Private(p.event("hag", `<message type='chat' to='`+coven+`/first'>`+xml+`</message>`))
			for _, bad := range []*xmpp.Error{bad, privately} {
				if (bad != nil) != c.refused {
					t.Errorf("got %v", bad)
				}
				if bad != nil && (bad.Condition != xmpp.CondNotAcceptable || bad.Type != xmpp.ErrorModify || bad.Text == "") {
					t.Errorf("got %v of type %s", bad, bad.Type)
				}
			}
		})
	}
}

func TestRestrictedReactionsAreAnnounced(t *testing.T) {
	p := newPlay(t)
	info := func() string {
		b, bad := p.Info(address("hag"), "")
		if bad != nil {
			t.Fatal(bad)
		}
		return string(b)
	}
	if strings.Contains(info(), nsReactions) {
		t.Error("announced without a restriction")
	}
	set := func(values ...string) *xmpp.Error {
		f := &forms.Form{Kind: forms.Submit}
		f.Fields = []forms.Field{{Var: reactionsField, Values: values}, {Var: reactionsMost, Values: []string{"2"}}}
		_, bad := p.Conf.read(f, Limits{})
		return bad
	}
	if bad := set("💘", " ", "❤️", "💘"); bad != nil {
		t.Fatal(bad)
	}
	want := `<feature var='urn:xmpp:reactions:0'/>`
	form := `<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:reactions:0:restrictions</value></field>` +
		`<field var='max_reactions_per_user' type='text-single'><value>2</value></field>` +
		`<field var='allowlist' type='text-multi'><value>💘</value><value>❤️</value></field>`
	if got := info(); !strings.Contains(got, want) || !strings.Contains(got, form) {
		t.Errorf("got %s", got)
	}
	if bad := set(strings.Repeat("x", 65)); bad == nil {
		t.Error("a reaction of 65 bytes is taken")
	}
}
