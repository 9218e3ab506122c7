package muc

import (
	"strings"
	"testing"

	"jackdaw/router"
)

// be makes a user what "affiliation/role" says: in the coven by a nick that is its name, or, with "-" for the role, not
// in it.
func (w *world) be(who, what string) {
	w.t.Helper()
	rank, given, _ := strings.Cut(what, "/")
	if rank != "none" {
		w.admin("crone", `<item affiliation='`+rank+`' jid='`+who+`@example.org'/>`)
	}
	if given == "-" {
		return
	}
	w.join(who, who)
	if r := w.room().Occupant(who); r == nil || r.Role.String() != given {
		w.admin("crone", `<item role='`+given+`' nick='`+who+`'/>`)
	}
	if r := w.room().Occupant(who); r == nil || r.Role.String() != given || w.room().Rank(r).String() != rank {
		w.t.Fatalf("%s is not %s", who, what)
	}
}

// outcome is "ok" or the condition.
func outcome(e *router.Envelope) string {
	if e.Err != nil {
		return string(e.Err.Condition)
	}
	if e.Outcome == router.Delivered {
		return "ok"
	}
	return e.Outcome.String()
}

// parties are those of the columns below, left to right.
var parties = strings.Fields(`none/- member/- admin/- owner/- none/visitor none/participant none/moderator
	member/visitor member/participant member/moderator admin/moderator owner/moderator`)

// grid reads a table of actions by parties; "." is ok, "-" cannot be.
func grid(t *testing.T, table string, do func(t *testing.T, action, party string) string) {
	t.Helper()
	short := map[string]string{".": "ok", "F": "forbidden", "A": "not-allowed", "N": "not-acceptable", "R": "registration-required", "I": "item-not-found", "C": "conflict"}
	for _, row := range strings.Split(strings.TrimSpace(table), "\n") {
		action, cells, ok := strings.Cut(row, "|")
		want := strings.Fields(cells)
		if !ok || len(want) != len(parties) {
			t.Fatalf("%q has %d cells", row, len(want))
		}
		action = strings.TrimSpace(action)
		for i, party := range parties {
			if want[i] == "-" {
				continue
			}
			if got := do(t, action, party); got != short[want[i]] {
				t.Errorf("%s, %s: %s, want %s", party, action, got, short[want[i]])
			}
		}
	}
}

// XEP-0045 §5.1.1 and §5.2.1, row by row: who may do what. Columns are parties: affiliation and role.
func TestPrivilegesAreThoseOfTheTables(t *testing.T) {
	//                    in the room:  no           none   member  ad ow
	//                                  n m a o   v p m   v p m   m  m
	const table = `
		change availability           | . . . .   . . .   . . .   .  .
		change nick                   | . . . .   . . .   . . .   .  .
		private message               | N N N N   . . .   . . .   .  .
		invite                        | N N N N   . . .   . . .   .  .
		invite into members-only room | N N N N   - - -   F F F   .  .
		message to all                | N N N N   F . .   F . .   .  .
		subject                       | N N N N   F F .   F F .   .  .
		subject, if participants may  | N N N N   F . .   F . .   .  .
		kick participant              | F F . .   F F .   F F .   .  .
		grant voice                   | F F . .   F F .   F F .   .  .
		revoke voice                  | F F . .   F F .   F F .   .  .
		grant moderator               | F F . .   F F F   F F F   .  .
		revoke moderator              | F F . .   F F A   F F A   .  .
		list of participants          | F F . .   F F .   F F .   .  .
		list of moderators            | F F . .   F F .   F F .   .  .
		ban                           | F F . .   F F F   F F F   .  .
		list of outcasts              | F F . .   F F F   F F F   .  .
		grant membership              | F F . .   F F F   F F F   .  .
		revoke membership             | F F . .   F F F   F F F   .  .
		list of members               | F F . .   F F .   F F .   .  .
		list of members, non-anonymous| F . . .   . . .   . . .   .  .
		grant admin                   | F F F .   F F F   F F F   F  .
		revoke admin                  | F F F .   F F F   F F F   F  .
		list of admins                | F F F .   F F F   F F F   F  .
		grant owner                   | F F F .   F F F   F F F   F  .
		revoke owner                  | F F F .   F F F   F F F   F  .
		list of owners                | F F F .   F F F   F F F   F  .
		see configuration             | F F F .   F F F   F F F   F  .
		configure                     | F F F .   F F F   F F F   F  .
		picture                       | F F F .   F F F   F F F   F  .
		destroy                       | F F F .   F F F   F F F   F  .
		register                      | . . . .   . . .   . . .   .  .
		enter members-only room       | R . . .   - - -   . . .   .  .
		moderate a message            | N N N N   F F .   F F .   .  .`
	grid(t, strings.ReplaceAll(table, "\t", ""), func(t *testing.T, action, what string) string {
		w := newWorld(t)
		w.instant("allowinvites=0")
		w.say("crone", "said")
		id := ""
		if records := w.records(); len(records) > 0 {
			id = records[0]
		}
		w.be("hag", "none/participant") // whom it is done to
		w.be("king", what)
		name, variant, _ := strings.Cut(action, ", ")
		switch {
		case variant == "if participants may":
			w.configure("crone", "changesubject=1")
		case variant == "non-anonymous":
			w.configure("crone", "whois=anyone")
		case strings.Contains(name, "members-only"):
			w.configure("crone", "membersonly=1")
		}
		w.client("hecate").Available(0)
		const muc = `http://jabber.org/protocol/muc`
		item := func(s string) string {
			return `<iq type='set' id='a' to='` + coven + `'><query xmlns='` + muc + `#admin'>` + s + `</query></iq>`
		}
		list := func(s string) string {
			return `<iq type='get' id='a' to='` + coven + `'><query xmlns='` + muc + `#admin'><item ` + s + `/></query></iq>`
		}
		target := func(what string) {
			rank, role, _ := strings.Cut(what, "/")
			w.admin("crone", `<item affiliation='`+rank+`' jid='hag@example.org'/>`)
			w.admin("crone", `<item role='`+role+`' nick='hag'/>`)
		}
		switch name {
		case "revoke moderator":
			target("none/moderator")
		case "grant voice":
			target("none/visitor")
		case "revoke membership":
			target("member/participant")
		case "revoke admin":
			target("admin/moderator")
		case "revoke owner":
			target("owner/moderator")
		}
		xml := map[string]string{
			"change availability":           `<presence to='` + coven + `/king'><show>away</show></presence>`,
			"change nick":                   `<presence to='` + coven + `/lear'/>`,
			"private message":               `<message type='chat' to='` + coven + `/hag'><body>x</body></message>`,
			"invite":                        `<message to='` + coven + `'><x xmlns='` + muc + `#user'><invite to='hecate@example.org'/></x></message>`,
			"invite into members-only room": `<message to='` + coven + `'><x xmlns='` + muc + `#user'><invite to='hecate@example.org'/></x></message>`,
			"message to all":                `<message type='groupchat' to='` + coven + `'><body>x</body></message>`,
			"subject":                       `<message type='groupchat' to='` + coven + `'><subject>x</subject></message>`,
			"kick participant":              item(`<item nick='hag' role='none'/>`),
			"grant voice":                   item(`<item nick='hag' role='participant'/>`),
			"revoke voice":                  item(`<item nick='hag' role='visitor'/>`),
			"grant moderator":               item(`<item nick='hag' role='moderator'/>`),
			"revoke moderator":              item(`<item nick='hag' role='participant'/>`),
			"ban":                           item(`<item jid='hag@example.org' affiliation='outcast'/>`),
			"grant membership":              item(`<item jid='hag@example.org' affiliation='member'/>`),
			"revoke membership":             item(`<item jid='hag@example.org' affiliation='none'/>`),
			"grant admin":                   item(`<item jid='hag@example.org' affiliation='admin'/>`),
			"revoke admin":                  item(`<item jid='hag@example.org' affiliation='none'/>`),
			"grant owner":                   item(`<item jid='hag@example.org' affiliation='owner'/>`),
			"revoke owner":                  item(`<item jid='hag@example.org' affiliation='none'/>`),
			"list of participants":          list(`role='participant'`),
			"list of moderators":            list(`role='moderator'`),
			"list of outcasts":              list(`affiliation='outcast'`),
			"list of members":               list(`affiliation='member'`),
			"list of admins":                list(`affiliation='admin'`),
			"list of owners":                list(`affiliation='owner'`),
			"see configuration":             `<iq type='get' id='a' to='` + coven + `'><query xmlns='` + muc + `#owner'/></iq>`,
			"configure":                     `<iq type='set' id='a' to='` + coven + `'><query xmlns='` + muc + `#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>`,
			"destroy":                       `<iq type='set' id='a' to='` + coven + `'><query xmlns='` + muc + `#owner'><destroy/></query></iq>`,
			"picture":                       `<iq type='set' id='a' to='` + coven + `'><vCard xmlns='vcard-temp'><FN>x</FN></vCard></iq>`,
			"register":                      `<iq type='get' id='a' to='` + coven + `'><query xmlns='jabber:iq:register'/></iq>`,
			"enter members-only room":       `<presence to='` + coven + `/king'><x xmlns='` + muc + `'/></presence>`,
			"moderate a message":            `<iq type='set' id='a' to='` + coven + `'><moderate id='` + id + `' xmlns='urn:xmpp:message-moderate:1'><retract xmlns='urn:xmpp:message-retract:1'/></moderate></iq>`,
		}[name]
		if xml == "" {
			t.Fatalf("what is %q?", name)
		}
		return outcome(w.send("king", xml))
	})
}

// records are the ids in the archive of the coven.
func (w *world) records() (ids []string) {
	w.t.Helper()
	for _, d := range w.client("crone").Deliveries() {
		if el := d.Stanza.Child(stanzaID); el != nil {
			ids = append(ids, el.Attr("id"))
		}
	}
	return ids
}

// XEP-0045 §8.2, §8.4, §9.1, §9.7: to whom it may be done.
func TestNobodyActsAgainstWhoIsHigher(t *testing.T) {
	targets := strings.Fields(`none/visitor none/participant none/moderator member/participant member/moderator admin/moderator owner/moderator`)
	table := map[string]map[string]string{ // by action and actor, in the order of targets
		"kick": {
			"none/moderator":   `. . A A A A A`,
			"member/moderator": `. . A . A A A`,
			"admin/moderator":  `. . . . . . A`,
			"owner/moderator":  `. . . . . . .`,
		},
		"revoke voice": {
			"none/moderator":   `. . A A A A A`,
			"member/moderator": `. . A . A A A`,
			"admin/moderator":  `. . . . . A A`,
			"owner/moderator":  `. . . . . A A`,
		},
		"make participant": {
			"none/moderator":   `. . A . A A A`,
			"member/moderator": `. . A . A A A`,
			"admin/moderator":  `. . . . . A A`,
			"owner/moderator":  `. . . . . A A`,
		},
		"ban": {
			"none/moderator":   `F F F F F F F`,
			"member/moderator": `F F F F F F F`,
			"admin/moderator":  `. . . . . A A`,
			"owner/moderator":  `. . . . . . .`,
		},
	}
	items := map[string]string{
		"kick": `<item nick='hag' role='none'/>`, "revoke voice": `<item nick='hag' role='visitor'/>`,
		"make participant": `<item nick='hag' role='participant'/>`, "ban": `<item jid='hag@example.org' affiliation='outcast'/>`,
	}
	short := map[string]string{".": "ok", "F": "forbidden", "A": "not-allowed"}
	for action, actors := range table {
		for actor, row := range actors {
			for i, cell := range strings.Fields(row) {
				w := newWorld(t)
				w.instant()
				w.be("king", actor)
				w.be("hag", targets[i])
				if got := outcome(w.admin("king", items[action])); got != short[cell] {
					t.Errorf("%s by %s of %s: %s, want %s", action, actor, targets[i], got, short[cell])
				}
			}
		}
	}
}

func TestARoomKeepsAnOwner(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.wantRefused(w.admin("crone", `<item jid='crone@example.org' affiliation='none'/>`), "cancel:conflict")
	w.wantRefused(w.admin("crone", `<item jid='crone@example.org' affiliation='outcast'/>`), "cancel:conflict")
	w.wantRefused(w.configure("crone", "roomowners="), "cancel:conflict")
	w.wantRefused(w.admin("crone", `<item jid='hag@example.org' affiliation='owner'/>`), "delivered")
	w.wantRefused(w.admin("crone", `<item jid='crone@example.org' affiliation='admin'/>`), "delivered")
	w.wantRefused(w.admin("crone", `<item jid='hag@example.org' affiliation='admin'/>`), "auth:forbidden")
}

func TestOrdersAreCarriedOutAllOrNone(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.be("hag", "none/participant")
	w.be("witch", "owner/moderator")
	w.be("king", "admin/moderator")
	w.wantRefused(w.admin("king", `<item jid='hag@example.org' affiliation='outcast'/><item jid='witch@example.org' affiliation='outcast'/>`), "cancel:not-allowed")
	if w.room().Occupant("hag") == nil {
		t.Error("hag is banned by an order that was refused")
	}
	for item, want := range map[string]string{
		``: "modify:bad-request",
		`<item nick='hag' role='none' affiliation='none'/>`: "modify:bad-request",
		`<item nick='hag'/>`:                                                                  "modify:bad-request",
		`<item nick='hag' role='king'/>`:                                                      "modify:bad-request",
		`<item nick='nobody' role='none'/>`:                                                   "cancel:item-not-found",
		`<item affiliation='member'/>`:                                                        "modify:bad-request",
		`<item affiliation='member' jid='@'/>`:                                                "modify:jid-malformed",
		`<item affiliation='member' jid='example.org'/>`:                                      "modify:jid-malformed",
		`<item affiliation='lord' jid='hag@example.org'/>`:                                    "modify:bad-request",
		`<item nick='hag' role='visitor'/><item affiliation='member' jid='hag@example.org'/>`: "modify:bad-request",
		`<item affiliation='member' jid='hag@example.org' nick='king'/>`:                      "cancel:conflict",
	} {
		w.wantRefused(w.admin("crone", item), want)
	}
}

func TestARoomThatIsAMemberIsToldNothing(t *testing.T) {
	w := newWorld(t)
	w.instant("membersonly=1")
	w.wantRefused(w.admin("crone", `<item jid='`+coven+`' affiliation='member'/>`), "delivered")
	w.wantRefused(w.admin("crone", `<item jid='`+coven+`' affiliation='none'/>`), "delivered")
	w.wantRefused(w.configure("crone", "roomadmins="+coven), "delivered")
}

func TestEachPersonIsNamedOnceInWhatAnAdminOrders(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.join("hag", "hag")
	w.got("hag")
	for _, orders := range []string{
		strings.Repeat(`<item nick='hag' role='visitor'/>`, 2),
		`<item nick='hag' role='visitor'/><item nick='hag' role='moderator'/>`,
		`<item jid='hag@example.org' affiliation='member'/><item nick='hag' affiliation='admin'/>`,
		// The second would undo what the third rests on: a room without an owner.
		`<item jid='hag@example.org' affiliation='owner'/><item jid='hag@example.org' affiliation='none'/><item jid='crone@example.org' affiliation='none'/>`,
	} {
		if got := outcome(w.admin("crone", orders)); got != "bad-request" {
			t.Errorf("%s: %s", orders, got)
		}
	}
	if got := w.got("hag"); len(got) > 0 {
		t.Errorf("told of what was refused: %q", got)
	}
}
