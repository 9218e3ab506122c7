package room

import (
	"strings"
	"testing"

	"jackdaw/xmpp"
)

// cells reads a table: the name of each row, then one word for each column.
func cells(t *testing.T, table string, columns []string, check func(t *testing.T, row, column, want string)) {
	t.Helper()
	for _, line := range strings.Split(strings.TrimSpace(table), "\n") {
		row, rest, _ := strings.Cut(line, "|")
		row = strings.TrimSpace(row)
		want := strings.Fields(rest)
		if len(want) != len(columns) {
			t.Fatalf("%q has %d cells", line, len(want))
		}
		for i, column := range columns {
			t.Run(row+"/"+column, func(t *testing.T) { check(t, row, column, want[i]) })
		}
	}
}

func roleOf(t *testing.T, name string) Role {
	r, ok := parseRole(name)
	if !ok {
		t.Fatalf("there is no role %s", name)
	}
	return r
}

func affiliationOf(t *testing.T, name string) Affiliation {
	a, ok := parseAffiliation(name)
	if !ok {
		t.Fatalf("there is no affiliation %s", name)
	}
	return a
}

var (
	roles        = strings.Fields("none visitor participant moderator")
	affiliations = strings.Fields("outcast none member admin owner")
)

// XEP-0045 §5.1.1: what each role may do. The cells that the settings change ("default", * in the specification) are a
// row for each setting. king acts, hag is acted upon, crone owns the room.
func TestPrivilegesOfRoles(t *testing.T) {
	const table = `
		present in the room                  | no  yes yes yes
		receive messages                     | no  yes yes yes
		receive occupant presence            | no  yes yes yes
		broadcast presence                   | no  yes yes yes
		broadcast presence, moderators only  | no  no  no  yes
		change availability                  | no  yes yes yes
		change nick                          | no  yes yes yes
		send private messages                | no  yes yes yes
		send private messages, participants  | no  no  yes yes
		send private messages, moderators    | no  no  no  yes
		send private messages, nobody        | no  no  no  no
		invite                               | no  yes yes yes
		send messages to all                 | no  no  yes yes
		modify subject                       | no  no  no  yes
		modify subject, participants         | no  no  yes yes
		kick participants and visitors       | no  no  no  yes
		grant voice                          | no  no  no  yes
		revoke voice                         | no  no  no  yes
		revoke voice of an admin             | no  no  no  no
		give voice that is asked for         | no  no  no  yes
		moderate a message                   | no  no  no  yes
		list participants                    | no  no  no  yes`
	cells(t, table, roles, func(t *testing.T, row, column, want string) {
		p := newPlay(t)
		p.affiliate("witch", Admin)
		for _, who := range []string{"crone", "hag", "witch"} {
			p.enter(who, who)
		}
		if role := roleOf(t, column); role != NoRole {
			p.enter("king", "king")
			p.Occupant("king").Role = role
		}
		p.told()
		may := func(bad *xmpp.Error) bool { return bad == nil }
		told := func(what string) bool { return strings.Contains(p.told(), what) }
		action, variant, _ := strings.Cut(row, ", ")
		switch variant {
		case "moderators only":
			p.Conf.Broadcast = [4]bool{Moderator: true}
		case "participants":
			p.Conf.PM, p.Conf.ChangeSubject = Participant, true
		case "moderators":
			p.Conf.PM = Moderator
		case "nobody":
			p.Conf.PM = pmNobody
		}
		kingSends := func(xml string) *Event { return p.event("king", xml) }
		changes := func(nick string) bool {
			inside, bad := p.Change(&p.effects, kingSends(`<presence to='`+coven+`/`+nick+`'><show>away</show></presence>`))
			return inside && bad == nil
		}
		form := `<message to='` + coven + `'><x xmlns='jabber:x:data' type='submit'><field var='muc#roomnick'><value>hag</value></field>` +
			`<field var='muc#request_allow'><value>1</value></field></x></message>`
		got := false
		switch action {
		case "present in the room":
			got = p.Occupant("king") != nil
		case "receive messages":
			p.say("crone", "<body>x</body>")
			got = told("king: crone: x")
		case "receive occupant presence":
			p.enter("hecate", "hecate")
			got = told("king: hecate none/participant")
		case "broadcast presence":
			changes("king")
			got = told("hag: king none/")
		case "change availability":
			got = changes("king") && told("king: king none/")
		case "change nick":
			got = changes("lear") && p.Occupant("lear") != nil
		case "send private messages":
			_, to, bad := p.Private(kingSends(`<message type='chat' to='` + coven + `/hag'><body>x</body></message>`))
			got = may(bad) && len(to) == 1
		case "invite":
			_, bad := p.Inviter(kingSends(`<message to='` + coven + `'/>`))
			got = may(bad)
		case "send messages to all":
			_, bad := p.say("king", "<body>x</body>")
			got = may(bad) && told("hag: king: x")
		case "modify subject":
			_, bad := p.say("king", "<subject>x</subject>")
			got = may(bad) && told("hag: king: x")
		case "kick participants and visitors":
			got = may(p.administer("king", `<item nick='hag' role='none'/>`)) && p.Occupant("hag") == nil
		case "grant voice":
			p.Occupant("hag").Role = Visitor
			got = may(p.administer("king", `<item nick='hag' role='participant'/>`)) && p.Occupant("hag").Role == Participant
		case "revoke voice":
			got = may(p.administer("king", `<item nick='hag' role='visitor'/>`)) && p.Occupant("hag").Role == Visitor
		case "revoke voice of an admin":
			got = may(p.administer("king", `<item nick='witch' role='visitor'/>`)) || p.Occupant("witch").Role != Moderator
		case "give voice that is asked for":
			p.Occupant("hag").Role = Visitor
			got = may(p.GrantVoice(&p.effects, address("king"), formIn(t, kingSends(form)))) && p.Occupant("hag").Role == Participant
		case "moderate a message":
			retract := &xmpp.Element{Content: []xmpp.Node{{Elem: &xmpp.Element{Name: RetractName}}}}
			_, bad := p.Moderate(address("king"), "1", retract, RetractName, p.now)
			got = may(bad)
		case "list participants":
			_, bad := p.List(address("king"), query(t, `<item role='participant'/>`))
			got = may(bad)
		default:
			t.Fatalf("what is %q?", action)
		}
		if got != (want == "yes") {
			t.Errorf("%v, want %s", got, want)
		}
	})
}

// §5.1.2: the role in which one enters.
func TestInitialRoles(t *testing.T) {
	const table = `
		moderated    | no visitor     participant moderator moderator
		unmoderated  | no participant participant moderator moderator
		members-only | no no          participant moderator moderator`
	cells(t, table, affiliations, func(t *testing.T, row, column, want string) {
		p := newPlay(t)
		p.Conf.Moderated, p.Conf.MembersOnly = row == "moderated", row == "members-only"
		p.affiliate("king", affiliationOf(t, column))
		got := "no"
		if p.enter("king", "king") == nil {
			got = p.Occupant("king").Role.String()
		}
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// §5.1.3, note, and §5.2.2: the role of a participant, and of a visitor in a moderated room, whose affiliation changes
// from the row's to the column's.
func TestRolesAfterAChangeOfAffiliation(t *testing.T) {
	const table = `
		none   | gone participant participant moderator moderator
		member | gone participant participant moderator moderator
		admin  | gone participant participant moderator moderator
		owner  | gone participant participant moderator moderator`
	const moderated = `
		none   | gone visitor     participant moderator moderator
		member | gone participant participant moderator moderator
		admin  | gone visitor     participant moderator moderator
		owner  | gone visitor     participant moderator moderator`
	for name, table := range map[bool]string{false: table, true: moderated} {
		cells(t, table, affiliations, func(t *testing.T, row, column, want string) {
			p := newPlay(t)
			p.Conf.Moderated = name
			p.affiliate("king", affiliationOf(t, row))
			p.enter("king", "king")
			p.enter("crone", "crone")
			p.want(p.administer("crone", `<item jid='king@example.org' affiliation='`+column+`'/>`), "ok")
			got := "gone"
			if o := p.Occupant("king"); o != nil {
				got = o.Role.String()
			}
			if got != want {
				t.Errorf("%s, want %s", got, want)
			}
			if got := p.AffiliationOf(address("king")).String(); got != column {
				t.Errorf("the affiliation is %s", got)
			}
		})
	}
}

// §5.2.1: what each affiliation may do, in the room or not. king acts from outside where that is possible.
func TestPrivilegesOfAffiliations(t *testing.T) {
	const table = `
		enter an open room                 | no yes yes yes yes
		register with an open room         | no yes yes yes yes
		retrieve the member list           | no no  no  yes yes
		retrieve the member list, no secret| no no  yes yes yes
		enter a members-only room          | no no  yes yes yes
		read the archive                   | no yes yes yes yes
		ban members and unaffiliated users | no no  no  yes yes
		ban admins                         | no no  no  no  yes
		edit the member list               | no no  no  yes yes
		assign the moderator role          | no no  no  yes yes
		remove the moderator role          | no no  no  yes yes
		remove an owner's moderator role   | no no  no  no  no
		edit the admin list                | no no  no  no  yes
		edit the owner list                | no no  no  no  yes
		retrieve the ban list              | no no  no  yes yes
		retrieve the ban list, no secret   | no no  no  yes yes
		retrieve the admin list            | no no  no  no  yes
		retrieve the owner list            | no no  no  no  yes
		change the configuration           | no no  no  no  yes
		set the picture                    | no no  no  no  yes
		make a hat                         | no no  no  no  yes
		decide on a registration           | no no  no  yes yes
		destroy the room                   | no no  no  no  yes`
	cells(t, table, affiliations, func(t *testing.T, row, column, want string) {
		p := newPlay(t)
		p.affiliate("king", affiliationOf(t, column))
		p.affiliate("witch", Admin)
		p.SetPerson(Known{"hecate@example.org", Person{Asks: "hecate"}})
		p.enter("crone", "crone")
		p.enter("hag", "hag")
		king := address("king")
		list := func(affiliation string) *xmpp.Error {
			_, bad := p.List(king, query(t, `<item affiliation='`+affiliation+`'/>`))
			return bad
		}
		affiliate := func(user, affiliation string) *xmpp.Error {
			return p.administer("king", `<item jid='`+user+`@example.org' affiliation='`+affiliation+`'/>`)
		}
		var bad *xmpp.Error
		row, variant, _ := strings.Cut(row, ", ")
		p.Conf.NonAnonymous = variant == "no secret"
		switch row {
		case "enter an open room":
			bad = p.enter("king", "king")
		case "register with an open room":
			bad = p.MayRegister(king)
		case "retrieve the member list":
			bad = list("member")
		case "enter a members-only room":
			p.Conf.MembersOnly = true
			bad = p.enter("king", "king")
		case "read the archive":
			bad = p.MayRead(king)
		case "ban members and unaffiliated users":
			bad = affiliate("hag", "outcast")
		case "ban admins":
			bad = affiliate("witch", "outcast")
		case "edit the member list":
			bad = affiliate("hag", "member")
		case "assign the moderator role":
			bad = p.administer("king", `<item nick='hag' role='moderator'/>`)
		case "remove the moderator role":
			p.Occupant("hag").Role = Moderator
			bad = p.administer("king", `<item nick='hag' role='participant'/>`)
		case "remove an owner's moderator role":
			bad = p.administer("king", `<item nick='crone' role='participant'/>`)
		case "edit the admin list":
			bad = affiliate("hag", "admin")
		case "edit the owner list":
			bad = affiliate("hag", "owner")
		case "retrieve the ban list":
			bad = list("outcast")
		case "retrieve the admin list":
			bad = list("admin")
		case "retrieve the owner list":
			bad = list("owner")
		case "change the configuration":
			_, bad = p.Form(king, Limits{Occupants: 100, History: 20})
		case "set the picture":
			bad = p.MaySetCard(king, []byte("<vCard xmlns='vcard-temp'/>"))
		case "make a hat":
			_, _, bad = p.Command(king, &xmpp.Element{Attrs: []xmpp.Attr{
				{Name: xmpp.Name{Local: "node"}, Value: nsHatForm + ":create"}}})
		case "decide on a registration":
			_, _, bad = p.Decide(king, formIn(t, p.event("king", `<message to='`+coven+`'><x xmlns='jabber:x:data' type='submit'>`+
				`<field var='muc#register_roomnick'><value>hecate</value></field><field var='muc#register_allow'><value>1</value></field>`+
				`</x></message>`)))
		case "destroy the room":
			bad = p.MayConfigure(king)
		default:
			t.Fatalf("what is %q?", row)
		}
		if (bad == nil) != (want == "yes") {
			t.Errorf("%s, want %s", condition(bad), want)
		}
	})
}

// §5.2.2: by which affiliation of the actor (the lowest) an affiliation may be changed from the row's to the column's.
func TestChangesOfAffiliation(t *testing.T) {
	const table = `
		outcast | admin admin admin owner owner
		none    | admin admin admin owner owner
		member  | admin admin admin owner owner
		admin   | owner owner owner owner owner
		owner   | owner owner owner owner owner`
	cells(t, table, affiliations, func(t *testing.T, row, column, want string) {
		for _, by := range affiliations {
			allowed := mayAffiliate(affiliationOf(t, by), false, affiliationOf(t, row), affiliationOf(t, column)) == nil
			if allowed != (affiliationOf(t, by) >= affiliationOf(t, want)) {
				t.Errorf("by %s: %v", by, allowed)
			}
		}
	})
}

// Whatever the parties are: nobody takes the role of somebody higher, an owner's or an admin's voice stays, and only
// admins deal with moderators (§5.1.3, §8.2, §8.4, §9.6, §9.7).
func TestNobodyTakesARoleOfWhoeverIsHigher(t *testing.T) {
	for _, by := range parties() {
		for _, to := range parties() {
			for r := NoRole; r <= Moderator; r++ {
				if mayGiveRole(by, to, r) != nil {
					continue
				}
				takes := r < to.role
				switch {
				case by.role != Moderator && by.affiliation < Admin:
					t.Errorf("%v gives %v the role %s and is no moderator", by, to, r)
				case takes && to.affiliation > by.affiliation:
					t.Errorf("%v takes the role of %v, who is higher", by, to)
				case takes && r != NoRole && to.affiliation >= Admin:
					t.Errorf("%v takes the voice of %v", by, to)
				case by.affiliation < Admin && (to.role == Moderator) != (r == Moderator):
					t.Errorf("%v makes %v a %s without being an admin", by, to, r)
				}
			}
		}
	}
}

// parties are all that there can be of occupants.
func parties() (all []party) {
	for a := Unaffiliated; a <= Owner; a++ {
		for r := Visitor; r <= Moderator; r++ {
			if a < Admin || r == Moderator {
				all = append(all, party{r, a})
			}
		}
	}
	return all
}
