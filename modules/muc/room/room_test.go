package room

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"jackdaw/modules/internal/forms"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/stream"
)

const (
	coven = "coven@rooms.example.org"
	muc   = "http://jabber.org/protocol/muc"
)

// A play is a room, its occupants, and the time.
type play struct {
	*Room
	t       testing.TB
	now     time.Time
	effects Effects
}

// newPlay returns the coven: configured, owned by crone, and empty.
func newPlay(t testing.TB) *play {
	ours := func(domain string) bool { return domain == "rooms.example.org" }
	server := &Server{Sharer: func(j jid.JID) string { return j.Domain() }, Owns: ours, Rooms: ours}
	p := &play{t: t, now: time.Unix(1_800_000_000, 0).UTC(), Room: New(jid.MustParse(coven), server)}
	p.Conf = Defaults(Limits{Occupants: 100, History: 20})
	p.affiliate("crone", Owner)
	return p
}

func (p *play) affiliate(user string, a Affiliation) {
	p.SetPerson(Known{user + "@example.org", Person{Affiliation: a}})
}

// address is that of "user" or "user/resource"; without a resource that is "pda".
func address(who string) jid.JID {
	user, resource, ok := strings.Cut(who, "/")
	if !ok {
		resource = "pda"
	}
	return jid.MustParse(user + "@example.org/" + resource)
}

// event is what a client sends to the coven, or to the occupant in it that to names.
func (p *play) event(who, xml string) *Event {
	p.t.Helper()
	s, err := stream.ParseStanza([]byte(xml), stream.Limits{})
	if err != nil {
		p.t.Fatalf("%s: %v", xml, err)
	}
	s.From = address(who)
	return &Event{Stanza: s, Session: who, Now: p.now}
}

func (p *play) enter(who, nick string) *xmpp.Error {
	p.t.Helper()
	ev := p.event(who, `<presence to='`+coven+`/`+nick+`'><x xmlns='`+muc+`'/></presence>`)
	return p.Enter(&p.effects, ev, Entry{Form: ev.Stanza.Child(JoinName), Places: 100})
}

// seat is that of a client, which must be in the room.
func (p *play) seat(who string) *Seat {
	p.t.Helper()
	s := p.Seat(address(who))
	if s == nil {
		p.t.Fatalf("%s is not in the room", who)
	}
	return s
}

func (p *play) say(who, payload string) (Utterance, *xmpp.Error) {
	p.t.Helper()
	u, bad := p.Say(p.event(who, `<message type='groupchat' to='`+coven+`'>`+payload+`</message>`))
	if bad == nil {
		p.Spread(&p.effects, &u, false)
		if said, ok := u.Said(0, p.now); ok {
			p.Remember(said)
		}
	}
	return u, bad
}

// administer carries out the items of an admin as its service would, with a write in between that nobody sees.
func (p *play) administer(who, items string) *xmpp.Error {
	p.t.Helper()
	q := p.event(who, `<iq type='set' id='a' to='`+coven+`'><query xmlns='`+muc+`#admin'>`+items+`</query></iq>`).Stanza.Child(AdminQuery)
	orders, actor, bad := p.Ordered(address(who), q)
	switch {
	case bad != nil:
	case orders[0].IsRole:
		p.Assign(&p.effects, orders, actor)
	default:
		for _, i := range orders {
			p.Affiliate(&p.effects, i, p.Next(i), address(who), actor)
		}
	}
	return bad
}

// told is what clients are to be given since the last call, each as "user: nick[!] affiliation/role codes", with '!'
// for unavailable, or as "user: nick: body".
func (p *play) told() string {
	var out []string
	for _, d := range p.effects.Deliveries {
		if d.To == nil {
			out = append(out, "the answer")
			continue
		}
		client := strings.TrimSuffix(d.To.Full.Local()+"/"+d.To.Full.Resource(), "/pda")
		out = append(out, client+": "+brief(&p.effects.Stanzas[d.Stanza]))
	}
	p.effects.Reset()
	return strings.Join(out, ", ")
}

func brief(s *xmpp.Stanza) string {
	out := s.From.Resource()
	if s.Type == xmpp.TypeUnavailable {
		out += "!"
	}
	for _, name := range []xmpp.Name{SubjectName, BodyName} {
		if el := s.Child(name); el != nil {
			out += ": " + el.Text()
		}
	}
	if x := s.Child(UserName); x != nil {
		for _, c := range x.Children() {
			switch c.Name.Local {
			case "item":
				out += " " + c.Attr("affiliation") + "/" + c.Attr("role")
				if c.HasAttr("jid") {
					out += " jid"
				}
				if c.HasAttr("nick") {
					out += " >" + c.Attr("nick")
				}
			case "status":
				out += " " + c.Attr("code")
			default:
				out += " " + c.Name.Local
			}
		}
	}
	return out
}

func (p *play) wantTold(want ...string) {
	p.t.Helper()
	if got := p.told(); got != strings.Join(want, ", ") {
		p.t.Errorf("told is  %s\n    want %s", got, strings.Join(want, ", "))
	}
}

// condition is "ok", or that of the error.
func condition(bad *xmpp.Error) string {
	if bad == nil {
		return "ok"
	}
	return string(bad.Condition)
}

func (p *play) want(bad *xmpp.Error, condition_ string) {
	p.t.Helper()
	if got := condition(bad); got != condition_ {
		p.t.Errorf("%s, want %s", got, condition_)
	}
}

// XEP-0045 §7.1: first the other occupants, then the client's own presence, then the history, then the subject.
func TestWhoeverEntersIsToldInOrder(t *testing.T) {
	p := newPlay(t)
	p.want(p.enter("crone", "first"), "ok")
	p.wantTold("crone: first mav owner/moderator jid 110 170", "crone: : ")
	p.say("crone", "<body>Thrice</body>")
	p.wantTold("crone: first: Thrice")
	p.want(p.enter("hag", "third"), "ok")
	p.wantTold("hag: first owner/moderator", "crone: third none/participant jid", "hag: third none/participant jid 110 170",
		"hag: first: Thrice", "hag: : ")
}

// §7.2.3, §7.2.12, §10.1.1, §7.10: the codes that greet.
func TestWhoeverEntersIsGreetedByTheSettings(t *testing.T) {
	for want, set := range map[string]func(*play){
		"hag: x none/participant jid 110":             func(p *play) { p.Conf.Archived = false },
		"hag: x none/participant jid 110 170":         func(*play) {},
		"hag: x mav none/participant jid 110 100 170": func(p *play) { p.Conf.NonAnonymous = true },
		"hag: x none/participant jid 110 170 201":     func(p *play) { p.Locked = true },
		"hag: hag member/participant jid 110 170 210": func(p *play) {
			p.Conf.LockedNicks = true
			p.SetPerson(Known{"hag@example.org", Person{Affiliation: Member, Nick: "hag"}})
		},
	} {
		p := newPlay(t)
		set(p)
		p.want(p.enter("hag", "x"), "ok")
		p.wantTold(want, "hag: : ")
	}
}

// §7.2.5 to §7.2.9: what keeps somebody out.
func TestWhatKeepsSomebodyOut(t *testing.T) {
	for want, set := range map[string]func(*play){
		"forbidden":             func(p *play) { p.affiliate("hag", Outcast) },
		"registration-required": func(p *play) { p.Conf.MembersOnly = true },
		"not-authorized":        func(p *play) { p.Conf.Password = "cauldronburn" },
		"conflict":              func(p *play) { p.enter("witch", "third") },
		"service-unavailable":   func(p *play) { p.enter("witch", "second"); p.Conf.MaxOccupants = 1 },
		"ok":                    func(*play) {},
	} {
		p := newPlay(t)
		set(p)
		p.want(p.enter("hag", "third"), want)
	}
	p := newPlay(t)
	p.SetPerson(Known{User: "example.org", Person: Person{Affiliation: Outcast}}) // §9.2
	p.want(p.enter("hag", "third"), "forbidden")
	p.want(p.enter("crone", "first"), "ok")
}

// §7.2.8: the clients of a user share a nick, and the room sees one occupant.
func TestClientsOfAUserShareANick(t *testing.T) {
	p := newPlay(t)
	p.enter("crone", "first")
	p.enter("hag", "third")
	p.told()
	p.want(p.enter("hag/phone", "third"), "ok")
	p.wantTold("hag/phone: first owner/moderator", "crone: third none/participant jid", "hag: third none/participant jid 110",
		"hag/phone: third none/participant jid 110 170", "hag/phone: : ")
	p.Leave(&p.effects, p.seat("hag"), Departure{})
	p.wantTold("hag: third! none/none jid 110")
	p.Leave(&p.effects, p.seat("hag/phone"), Departure{})
	p.wantTold("hag/phone: third! none/none jid 110", "crone: third! none/none jid")
	for i := range maxSeats {
		p.want(p.enter(fmt.Sprint("witch/", i), "second"), "ok")
	}
	p.want(p.enter("witch/more", "second"), "resource-constraint")
}

// §7.2.1: a client that enters again has lost what it knew. The others are told only what is new.
func TestAClientThatEntersAgainIsToldEverythingAgain(t *testing.T) {
	p := newPlay(t)
	p.enter("crone", "first")
	p.enter("hag", "third")
	p.told()
	p.want(p.enter("hag", "third"), "ok")
	p.wantTold("hag: first owner/moderator", "hag: third none/participant jid 110 170", "hag: : ")
	p.want(p.enter("hag", "fourth"), "ok")
	if got := p.told(); !strings.Contains(got, "crone: third! none/participant jid >fourth 303") {
		t.Errorf("told is %s", got)
	}
}

// §7.6
func TestAnOccupantChangesItsNick(t *testing.T) {
	p := newPlay(t)
	p.enter("crone", "first")
	p.enter("hag", "third")
	p.told()
	change := func(who, nick string) *xmpp.Error {
		_, bad := p.Change(&p.effects, p.event(who, `<presence to='`+coven+`/`+nick+`'/>`))
		return bad
	}
	p.want(change("hag", "first"), "conflict")
	p.wantTold("")
	p.want(change("hag", "oldhag"), "ok")
	p.wantTold("crone: third! none/participant jid >oldhag 303", "hag: third! none/participant jid >oldhag 110 303",
		"crone: oldhag none/participant jid", "hag: oldhag none/participant jid 110")
	if p.Occupant("third") != nil || p.Occupant("oldhag") == nil {
		t.Error("the nick is the old one")
	}
	if inside, _ := p.Change(&p.effects, p.event("witch", `<presence to='`+coven+`/x'/>`)); inside {
		t.Error("witch is in the room")
	}
}

// §8.2: the one who is kicked is told first, then whoever wanted it, then all others.
func TestAKickIsToldInOrder(t *testing.T) {
	p := newPlay(t)
	for _, who := range []string{"crone", "hag", "witch"} {
		p.enter(who, who)
	}
	p.told()
	p.want(p.administer("crone", `<item nick='hag' role='none'/>`), "ok")
	p.wantTold("hag: hag! none/none jid 110 307", "the answer", "crone: hag! none/none jid 307", "witch: hag! none/none 307")
}

// §9.1, §9.4, §9.5: what a change of affiliation means for an occupant.
func TestAnAffiliationReachesTheOccupant(t *testing.T) {
	for items, want := range map[string]string{
		`<item jid='hag@example.org' affiliation='outcast'/>`: "hag: hag! outcast/none jid 110 301, crone: hag! mav outcast/none jid 301",
		`<item jid='hag@example.org' affiliation='none'/>`:    "hag: hag! none/none jid 110 321, crone: hag! mav none/none jid 321",
		`<item jid='hag@example.org' affiliation='admin'/>`: "crone: hag mav admin/moderator jid, hag: hag mav admin/moderator jid 110, " +
			"hag: crone owner/moderator jid",
	} {
		p := newPlay(t)
		p.Conf.MembersOnly = true
		p.affiliate("hag", Member)
		p.enter("crone", "crone")
		p.enter("hag", "hag")
		p.told()
		p.want(p.administer("crone", items), "ok")
		p.wantTold(want)
	}
}

// §9.5, §18.1: a user who is elsewhere is told by a message, which goes when the room is not locked any more.
func TestAnAffiliationIsToldToWhoeverIsElsewhere(t *testing.T) {
	p := newPlay(t)
	p.Conf.MembersOnly = true
	p.enter("crone", "crone")
	p.told()
	p.want(p.administer("crone", `<item jid='hecate@example.org' affiliation='member'/>`), "ok")
	later := p.effects.Later
	if len(later) != 1 || later[0].To.String() != "hecate@example.org" || !strings.Contains(string(later[0].Payload), "<invite ") {
		t.Errorf("later goes %v", later)
	}
	if d := p.effects.Deliveries; len(d) != 1 || !d[0].Present {
		t.Errorf("the deliveries are %v", d)
	}
	p.told()
	p.want(p.administer("crone", `<item jid='`+coven+`' affiliation='member'/>`), "ok")
	if len(p.effects.Later) != 0 {
		t.Error("a room is told something")
	}
}

// §7.4: one stanza for all, and nobody else's words in it.
func TestAMessageIsMadeOnce(t *testing.T) {
	p := newPlay(t)
	for _, who := range []string{"crone", "hag", "hag/phone", "witch"} {
		p.enter(who, strings.TrimSuffix(who, "/phone"))
	}
	p.told()
	p.say("hag", "<body>x</body><stanza-id xmlns='urn:xmpp:sid:0' by='"+coven+"' id='1'/>"+
		"<stanza-id xmlns='urn:xmpp:sid:0' by='example.net' id='2'/><x xmlns='"+muc+"#user'/><occupant-id xmlns='urn:xmpp:occupant-id:0' id='me'/>")
	if n := len(p.effects.Stanzas); n != 1 {
		t.Fatalf("there are %d stanzas", n)
	}
	s := p.effects.Stanzas[0]
	want := "<body>x</body><stanza-id xmlns='urn:xmpp:sid:0' by='example.net' id='2'/><occupant-id xmlns='urn:xmpp:occupant-id:0' id='" +
		p.Occupant("hag").id + "'/>"
	if string(s.Payload) != want || s.ID == "" || s.From.String() != coven+"/hag" {
		t.Errorf("the message is %s", s.Append(nil))
	}
	p.wantTold("crone: hag: x", "hag/phone: hag: x", "hag: hag: x", "witch: hag: x")
	u, _ := p.Say(p.event("hag/phone", `<message type='groupchat' to='`+coven+`'><body>again</body></message>`))
	p.Spread(&p.effects, &u, true)
	p.wantTold("hag/phone: hag: again")
}

// §8.1: without a body it is a subject.
func TestASubjectIsToldToWhoeverEnters(t *testing.T) {
	p := newPlay(t)
	p.enter("crone", "first")
	u, bad := p.say("crone", "<subject>Fire</subject>")
	if p.want(bad, "ok"); !u.Subject {
		t.Fatal("it is no subject")
	}
	p.Subject = u.NewSubject(p.now)
	p.told()
	p.enter("hag", "third")
	p.wantTold("hag: first owner/moderator", "crone: third none/participant jid", "hag: third none/participant jid 110 170",
		"hag: first: Fire")
	if _, ok := u.Said(1, p.now); ok {
		t.Error("a subject belongs to the history")
	}
}

// §7.2.14
func TestHistoryKeepsWithinAllLimits(t *testing.T) {
	p := newPlay(t)
	p.enter("crone", "first")
	for i := range 6 {
		p.say("crone", fmt.Sprintf("<body>%d</body>", i))
		p.now = p.now.Add(10 * time.Second)
	}
	p.Conf.History = 4
	for limits, want := range map[string]string{
		``:                            "2 3 4 5",
		`<history maxstanzas='1'/>`:   "5",
		`<history maxstanzas='0'/>`:   "",
		`<history seconds='25'/>`:     "4 5",
		`<history maxchars='0'/>`:     "",
		`<history maxchars='10000'/>`: "2 3 4 5",
		`<history since='` + xmpp.FormatTime(p.now.Add(-15*time.Second)) + `'/>`: "5",
	} {
		p.told()
		ev := p.event("hag", `<presence to='`+coven+`/third'><x xmlns='`+muc+`'>`+limits+`</x></presence>`)
		p.want(p.Enter(&p.effects, ev, Entry{Form: ev.Stanza.Child(JoinName), Places: 100}), "ok")
		var bodies []string
		for i := range p.effects.Stanzas {
			if b := p.effects.Stanzas[i].Child(BodyName); b != nil {
				bodies = append(bodies, b.Text())
			}
		}
		if got := strings.Join(bodies, " "); got != want {
			t.Errorf("%s: %q, want %q", limits, got, want)
		}
		p.Leave(&p.effects, p.seat("hag"), Departure{})
	}
	if freed := p.Trim(2); freed == 0 || p.Remembered() != 2 {
		t.Errorf("%d bytes are freed, %d messages remain", freed, p.Remembered())
	}
}

// §10.2, §10.2.1: what a change of settings means for those in the room.
func TestSettingsReachThoseInTheRoom(t *testing.T) {
	for want, set := range map[string]func(*Settings){
		"":                       func(*Settings) {},
		"crone:  104, hag:  104": func(c *Settings) { c.Name = "A Dark Cave" },
		"crone:  172, hag:  172": func(c *Settings) { c.NonAnonymous = true },
		"crone:  171, hag:  171": func(c *Settings) { c.Archived = false },
		"hag: hag! none/none jid 110 322, crone: hag! none/none jid 322, crone:  104": func(c *Settings) { c.MembersOnly = true },
		"crone: hag! none/none jid, crone:  104, hag:  104":                           func(c *Settings) { c.Broadcast[Participant] = false },
	} {
		p := newPlay(t)
		p.enter("crone", "crone")
		p.enter("hag", "hag")
		p.told()
		was := p.Conf
		set(&p.Conf)
		p.Configured(&p.effects, &was, false)
		p.wantTold(want)
	}
}

// §10.9
func TestADestroyedRoomIsEmpty(t *testing.T) {
	p := newPlay(t)
	p.enter("crone", "first")
	p.enter("hag", "third")
	p.told()
	d, bad := ReadDestruction(&xmpp.Element{Attrs: []xmpp.Attr{{Name: xmpp.Name{Local: "jid"}, Value: "heath@rooms.example.org"}}})
	p.want(bad, "ok")
	p.Destroy(&p.effects, d)
	if len(p.effects.Moves) != 2 || p.effects.Moves[0].In {
		t.Errorf("the moves are %v", p.effects.Moves)
	}
	p.wantTold("crone: first! none/none destroy 110", "hag: third! none/none destroy 110")
	if len(p.Occupants()) != 0 || !p.Over() {
		t.Error("somebody is left")
	}
}

func TestAClientThatSaysNothingIsAskedAndRemoved(t *testing.T) {
	p := newPlay(t)
	p.enter("crone", "first")
	p.enter("hag", "third")
	p.seat("hag").Session = nil // of another server
	p.told()
	missed := func(after time.Duration) int {
		p.now = p.now.Add(after)
		return len(p.Missed(&p.effects, p.now))
	}
	if missed(silence-1) != 0 || missed(1) != 1 || missed(answerWithin) != 0 {
		t.Error("hag is asked at another time")
	}
	p.wantTold("")
	if missed(1) != 0 {
		t.Error("hag is asked again")
	}
	p.wantTold("hag: third! none/none jid 110 333", "crone: third! none/none jid 333")
}

// §7.5: errors that come back reach whoever has written, for the latest letters.
func TestLettersAreRememberedForAWhile(t *testing.T) {
	p := newPlay(t)
	p.enter("crone", "first")
	p.enter("hag", "third")
	for i := range maxLetters + 1 {
		_, to, bad := p.Private(p.event("crone", fmt.Sprintf(`<message type='chat' id='q%d' to='%s/third'><body>x</body></message>`, i, coven)))
		if p.want(bad, "ok"); len(to) != 1 {
			t.Fatalf("it goes to %v", to)
		}
	}
	if n := len(p.seat("crone").letters); n != maxLetters {
		t.Errorf("%d letters are remembered", n)
	}
	back := func(id string) *xmpp.Stanza {
		return p.CameBack(p.event("hag", `<message type='error' id='`+id+`' to='`+coven+`/first'>`+
			`<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`).Stanza)
	}
	if back("q0") != nil {
		t.Error("the oldest is remembered")
	}
	if s := back("q1"); s == nil || s.To != address("crone") || s.From.String() != coven+"/third" {
		t.Errorf("what comes back is %v", s)
	}
	if back("q1") != nil {
		t.Error("it comes back twice")
	}
}

// §10.4
func TestARoomWithoutAnOwnerGoesToTheNext(t *testing.T) {
	p := newPlay(t)
	p.affiliate("king", Member)
	p.affiliate("witch", Admin)
	p.affiliate("hag", Admin)
	changes := p.WithoutUser("crone@example.org")
	if len(changes) != 2 || !changes[0].Empty() || changes[1].User != "hag@example.org" || changes[1].Affiliation != Owner {
		t.Fatalf("the changes are %v", changes)
	}
	if p.AffiliationOf(address("crone")) != Owner {
		t.Error("a change takes effect before it is stored")
	}
	p.Forget("crone@example.org", changes)
	if got := fmt.Sprint(p.Named(Owner), p.Named(Admin)); got != "[hag@example.org] [witch@example.org]" {
		t.Errorf("owners and admins are %s", got)
	}
	if len(p.WithoutUser("crone@example.org")) != 0 {
		t.Error("crone is known")
	}
}

// A nick that somebody has registered is its own, in the room or not (§7.10).
func TestARegisteredNickIsNobodyElses(t *testing.T) {
	p := newPlay(t)
	p.SetPerson(Known{"hag@example.org", Person{Affiliation: Member, Nick: "third"}})
	p.want(p.enter("witch", "third"), "conflict")
	p.want(p.enter("hag", "third"), "ok")
	p.SetPerson(Known{"hag@example.org", Person{Affiliation: Member, Nick: "oldhag"}})
	if len(p.Nicks) != 1 || p.Nicks["oldhag"] != "hag@example.org" {
		t.Errorf("the nicks are %v", p.Nicks)
	}
}

// query is what an admin sends.
func query(t *testing.T, items string) *xmpp.Element {
	t.Helper()
	el, err := xmpp.ParseElement([]byte(`<query xmlns='` + muc + `#admin'>` + items + `</query>`))
	if err != nil {
		t.Fatal(err)
	}
	return el
}

// formIn is the form of a message.
func formIn(t *testing.T, ev *Event) *forms.Form {
	t.Helper()
	f, bad := forms.Parse(ev.Stanza.Child(forms.Name))
	if bad != nil {
		t.Fatal(bad)
	}
	return f
}
