package muc

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/modules/muc/room"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	domain = "rooms.example.org"
	coven  = "coven@rooms.example.org"
)

// What clients see of package room.
const (
	prefix     = "muc#roomconfig_"
	nickLock   = "jackdaw#registered_nicks"
	registers  = "jackdaw#registration"
	nsRegForm  = "http://jabber.org/protocol/muc#register"
	nickField  = "muc#register_roomnick"
	allowField = "muc#register_allow"
	askerField = "jackdaw#register_jid"
	maxText    = 1024
	maxCard    = 128 << 10
	maxSeats   = 20
	maxLetters = 20

	silence      = 15 * time.Minute
	answerWithin = 2 * time.Minute
)

var stanzaID = xmpp.Name{Space: xmpp.NSStanzaID, Local: "stanza-id"}

// A world is a router with rooms and users.
type world struct {
	*router.Router
	t      testing.TB
	m      *Rooms
	store  *moduletest.Store
	remote *moduletest.Remote
	limits Limits
	exempt string
	full   bool // the disk
	banned string
	users  map[string]*moduletest.Client
}

func newWorld(t testing.TB) *world {
	w := &world{Router: moduletest.New("crone", "hag", "witch", "hecate", "king"), t: t,
		store: moduletest.NewStore(), remote: &moduletest.Remote{}, users: map[string]*moduletest.Client{},
		limits: Limits{Occupants: 500, RoomsPerUser: 50, MessageRate: 1000, History: 100, Page: 100}}
	w.SetRemote(w.remote)
	w.restart()
	return w
}

// restart forgets all that is not in storage.
func (w *world) restart() {
	w.m = New(Options{Router: w.Router, Rooms: w.store.Map("rooms"), Archive: w.store.Log("rooms"),
		Domains: func() []string { return []string{domain} }, Limits: func() Limits { return w.limits },
		Full:   func() bool { return w.full },
		Banned: func(who jid.JID) bool { return who.Bare().String() == w.banned },
		Exempt: func(user jid.JID) bool { return user.Local() == w.exempt && w.exempt != "" }, Log: moduletest.Discard()})
	w.Use(w.m.Module())
}

// client is the one of "user/resource", logged in when it is first named; without a resource that is "pda".
func (w *world) client(who string) *moduletest.Client {
	if !strings.Contains(who, "/") {
		who += "/pda"
	}
	if w.users[who] == nil {
		w.users[who] = moduletest.Login(w.t, w.Router, who)
	}
	return w.users[who]
}

// send routes a stanza in the name of a client here, or of an address elsewhere.
func (w *world) send(who, xml string) *router.Envelope {
	w.t.Helper()
	if !strings.Contains(who, "@") {
		return w.client(who).Send(xml)
	}
	s := moduletest.Parse(w.t, xml)
	s.From = jid.MustParse(who)
	e := &router.Envelope{Stanza: s, Peer: s.From.Domain()}
	w.Route(e)
	return e
}

// join lets somebody enter the coven by the nick.
func (w *world) join(who, nick string) *router.Envelope {
	w.t.Helper()
	return w.send(who, `<presence to='`+coven+`/`+nick+`'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
}

// instant makes the coven by crone, whose nick is first, with the settings named.
func (w *world) instant(fields ...string) {
	w.t.Helper()
	w.join("crone", "first")
	w.configure("crone", fields...)
	w.client("crone").Received()
}

// configure submits settings as "name=value".
func (w *world) configure(who string, fields ...string) *router.Envelope {
	w.t.Helper()
	form := ""
	for _, f := range fields {
		name, value, _ := strings.Cut(f, "=")
		if !strings.Contains(name, "#") {
			name = prefix + name
		}
		form += `<field var='` + name + `'>`
		for _, v := range strings.Split(value, ",") {
			form += `<value>` + v + `</value>`
		}
		form += `</field>`
	}
	return w.send(who, `<iq type='set' id='c' to='`+coven+`'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>`+form+`</x></query></iq>`)
}

// admin sends an item.
func (w *world) admin(who, item string) *router.Envelope {
	w.t.Helper()
	return w.send(who, `<iq type='set' id='a' to='`+coven+`'><query xmlns='http://jabber.org/protocol/muc#admin'>`+item+`</query></iq>`)
}

// say sends a message to all.
func (w *world) say(who, body string) *router.Envelope {
	w.t.Helper()
	return w.send(who, `<message type='groupchat' id='m' to='`+coven+`'><body>`+body+`</body></message>`)
}

var volatile = regexp.MustCompile(`<occupant-id [^>]*/>|<stanza-id [^>]*/>|<delay [^>]*/>| id='[0-9a-f]{20}'`)

// got is what somebody was given since the last call, without what is not foreseen.
func (w *world) got(who string) []string {
	w.t.Helper()
	var out []string
	for _, x := range w.client(who).Received() {
		out = append(out, volatile.ReplaceAllString(x, ""))
	}
	return out
}

// brief tells what somebody was given in a few words: presence as "nick[!] affiliation/role codes", '!' for
// unavailable, messages as "nick: body", answers as their type or condition.
func (w *world) brief(who string) string {
	w.t.Helper()
	var out []string
	for _, d := range w.client(who).Deliveries() {
		out = append(out, short(d.Stanza))
	}
	return strings.Join(out, ", ")
}

func short(s *xmpp.Stanza) string {
	if err := s.Err(); err != nil {
		return string(err.Type) + ":" + string(err.Condition)
	}
	var codes []string
	item, more := "", ""
	if x := s.Child(room.UserName); x != nil {
		for _, c := range x.Children() {
			switch c.Name.Local {
			case "item":
				item = " " + c.Attr("affiliation") + "/" + c.Attr("role")
				if c.HasAttr("nick") {
					more += ">" + c.Attr("nick")
				}
				if c.HasAttr("jid") {
					more += " jid"
				}
			case "status":
				codes = append(codes, c.Attr("code"))
			default:
				more += " " + c.Name.Local
			}
		}
	}
	text := ""
	if len(codes) > 0 {
		text = " " + strings.Join(codes, " ")
	}
	switch {
	case s.Kind == xmpp.IQ:
		return s.Type.String()
	case s.Kind == xmpp.Presence && s.Type == xmpp.TypeUnavailable:
		return s.From.Resource() + "!" + item + more + text
	case s.Kind == xmpp.Presence:
		return s.From.Resource() + item + more + text
	}
	if b := s.Child(room.SubjectName); b != nil {
		return s.From.Resource() + " subject:" + b.Text()
	}
	if b := s.Child(room.BodyName); b != nil {
		return s.From.Resource() + ": " + b.Text()
	}
	return s.From.Resource() + " message" + item + more + text
}

func (w *world) wantBrief(who, want string) {
	w.t.Helper()
	if got := w.brief(who); got != want {
		w.t.Errorf("%s got  %q\n          want %q", who, got, want)
	}
}

// refused says by which condition.
func refused(e *router.Envelope) string {
	if e.Err == nil {
		return fmt.Sprint(e.Outcome)
	}
	return string(e.Err.Type) + ":" + string(e.Err.Condition)
}

func (w *world) wantRefused(e *router.Envelope, want string) {
	w.t.Helper()
	if got := refused(e); got != want {
		w.t.Errorf("%s fared as %s, want %s", e.Stanza.Append(nil), got, want)
	}
}

// room is the coven in memory, or nil.
func (w *world) room() *hosted {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	return w.m.rooms[jid.MustParse(coven)]
}

func TestWhoEntersIsToldEverythingInOrder(t *testing.T) {
	w := newWorld(t)
	w.join("crone", "first")
	w.wantBrief("crone", "first owner/moderator mav jid 110 170 201,  subject:")
	w.configure("crone")
	w.wantBrief("crone", "result")
	w.say("crone", "Thrice")
	w.send("crone", `<message type='groupchat' to='`+coven+`'><subject>Fire</subject></message>`)
	w.wantBrief("crone", "first: Thrice, first subject:Fire")
	w.join("hag", "third")
	w.wantBrief("hag", "first owner/moderator, third none/participant jid 110 170, first: Thrice, first subject:Fire")
	w.wantBrief("crone", "third none/participant jid")
	w.join("witch", "second")
	w.wantBrief("hag", "second none/participant")
	w.say("hag", "Harpier cries")
	for _, who := range []string{"crone", "witch", "hag"} {
		if got := w.brief(who); !strings.HasSuffix(got, "third: Harpier cries") {
			t.Errorf("%s got %s", who, got)
		}
	}
}

func TestStanzasOfARoomLookAsTheSpecificationHasThem(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.send("hag", `<presence id='p1' to='`+coven+`/third'><show>away</show><x xmlns='http://jabber.org/protocol/muc'><password>x</password></x>`+
		`<x xmlns='http://jabber.org/protocol/muc#user'><item role='moderator'/></x><occupant-id xmlns='urn:xmpp:occupant-id:0' id='forged'/></presence>`)
	moduletest.Same(t, w.got("crone")[0], `<presence from='`+coven+`/third' to='crone@example.org/pda'><show>away</show>`+
		`<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='participant' jid='hag@example.org/pda'/></x></presence>`)
	moduletest.Same(t, w.got("hag")[1], `<presence id='p1' from='`+coven+`/third' to='hag@example.org/pda'><show>away</show>`+
		`<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='participant' jid='hag@example.org/pda'/><status code='110'/><status code='170'/></x></presence>`)
	e := w.send("hag", `<message id='m1' type='groupchat' to='`+coven+`'><body>x</body><x xmlns='http://jabber.org/protocol/muc#user'><status code='307'/></x>`+
		`<stanza-id xmlns='urn:xmpp:sid:0' by='`+coven+`' id='1'/><stanza-id xmlns='urn:xmpp:sid:0' by='crone@example.org' id='1'/><origin-id xmlns='urn:xmpp:sid:0' id='o'/></message>`)
	if e.Outcome != router.Delivered {
		t.Fatalf("%v", e.Err)
	}
	raw := w.client("crone").Received()
	if len(raw) != 1 || strings.Count(raw[0], "<stanza-id ") != 1 || strings.Count(raw[0], "<occupant-id ") != 1 {
		t.Fatalf("crone got %s", raw)
	}
	moduletest.Same(t, volatile.ReplaceAllString(raw[0], ""), `<message id='m1' type='groupchat' from='`+coven+`/third' to='crone@example.org/pda'><body>x</body>`+
		`<origin-id xmlns='urn:xmpp:sid:0' id='o'/></message>`)
}

func TestARoomIsLockedUntilItIsConfigured(t *testing.T) {
	w := newWorld(t)
	w.join("crone", "first")
	w.wantRefused(w.join("hag", "x"), "cancel:item-not-found")
	w.wantRefused(w.say("hag", "x"), "cancel:item-not-found")
	w.wantRefused(w.send("hag", `<message type='chat' to='`+coven+`/first'><body>x</body></message>`), "cancel:item-not-found")
	w.wantRefused(w.send("hag", `<iq type='get' id='1' to='`+coven+`'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`), "cancel:item-not-found")
	w.wantRefused(w.send("hag", `<iq type='set' id='1' to='`+coven+`'><query xmlns='http://jabber.org/protocol/muc#owner'><destroy/></query></iq>`), "cancel:item-not-found")
	w.wantRefused(w.send("hag", `<iq type='get' id='1' to='`+coven+`/x'><ping xmlns='urn:xmpp:ping'/></iq>`), "cancel:not-acceptable")
	w.configure("crone")
	w.wantRefused(w.join("hag", "x"), "delivered")
}

func TestRoomsAreMadeByUsersOfThisServer(t *testing.T) {
	w := newWorld(t)
	w.wantRefused(w.join("a@b.example/x", "a"), "cancel:not-allowed")
	w.wantRefused(w.join("crone", "first"), "delivered")
}

func TestWhatKeepsSomebodyOut(t *testing.T) {
	w := newWorld(t)
	w.instant("passwordprotectedroom=1", "roomsecret=cauldronburn")
	w.wantRefused(w.join("hag", "x"), "auth:not-authorized")
	enter := `<presence to='` + coven + `/x'><x xmlns='http://jabber.org/protocol/muc'><password>cauldronburn</password></x></presence>`
	w.brief("hag")
	w.wantRefused(w.send("hag", enter), "delivered")
	w.configure("crone", "passwordprotectedroom=0", "membersonly=1")
	w.wantBrief("hag", "first owner/moderator, x none/participant jid 110 170,  subject:, x! none/none jid 110 322")
	w.wantRefused(w.join("hag", "x"), "auth:registration-required")
	w.configure("crone", "membersonly=0", "maxusers=1")
	w.wantRefused(w.join("hag", "x"), "wait:service-unavailable")
	w.configure("crone", "maxusers=none")
	w.wantRefused(w.join("hag", "first"), "cancel:conflict")
	w.admin("crone", `<item affiliation='outcast' jid='hag@example.org'/>`)
	w.wantRefused(w.join("hag", "x"), "auth:forbidden")
	w.admin("crone", `<item affiliation='outcast' jid='b.example'/>`)
	w.wantRefused(w.join("anybody@b.example/x", "x"), "auth:forbidden")
	w.wantRefused(w.send("witch", `<presence to='`+coven+`'><x xmlns='http://jabber.org/protocol/muc'/></presence>`), "modify:jid-malformed")
}

func TestWhoIsBannedFromTheServiceNeitherEntersNorSpeaks(t *testing.T) {
	w := newWorld(t)
	w.instant()
	refused := func(what string, e *router.Envelope, want bool) {
		t.Helper()
		if got := e.Outcome == router.Refused && e.Err.Condition == xmpp.CondForbidden; got != want {
			t.Errorf("%s: %v, %v", what, e.Outcome, e.Err)
		}
	}
	w.banned = "cat@far.example"
	refused("entering", w.join("cat@far.example/x", "cat"), true)
	w.banned = ""
	refused("entering before", w.join("cat@far.example/x", "cat"), false)
	w.banned = "cat@far.example"
	refused("speaking", w.say("cat@far.example/x", "meow"), true)
	refused("whispering", w.send("cat@far.example/x", `<message type='chat' to='`+coven+`/first'><body>meow</body></message>`), true)
	refused("another", w.join("dog@far.example/x", "dog"), false)
	if n := w.m.Stats.Banned.Load(); n != 3 {
		t.Errorf("%d are counted", n)
	}
	w.admin("crone", "<item affiliation='member' jid='cat@far.example'/>")
	refused("a member", w.say("cat@far.example/x", "purr"), false)
	refused("leaving", w.send("cat@far.example/x", `<presence type='unavailable' to='`+coven+`/cat'/>`), false)
}

func TestWhoIsNotInTheRoomIsToldSo(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.send("hag", `<presence id='7' to='`+coven+`/old'/>`)
	w.wantBrief("hag", "old! none/none 110 307 333")
	w.wantRefused(w.say("hag", "x"), "modify:not-acceptable")
	w.wantRefused(w.send("hag", `<message type='chat' to='`+coven+`/first'><body>x</body></message>`), "modify:not-acceptable")
	w.wantRefused(w.send("hag", `<iq type='get' id='1' to='`+coven+`/first'><ping xmlns='urn:xmpp:ping'/></iq>`), "cancel:not-acceptable")
	w.wantRefused(w.send("hag", `<iq type='get' id='1' to='`+coven+`/first'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`), "modify:bad-request")
	w.wantRefused(w.send("hag", `<message type='groupchat' to='nowhere@rooms.example.org'><body>x</body></message>`), "cancel:item-not-found")
	w.wantBrief("crone", "")
}

func TestAnOccupantLeaves(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.join("hag", "third")
	w.brief("hag")
	w.brief("crone")
	w.send("hag", `<presence type='unavailable' to='`+coven+`/third'><status>gone where the goblins go</status></presence>`)
	w.wantBrief("hag", "third! none/none jid 110")
	raw := w.got("crone")
	moduletest.Same(t, raw[0], `<presence type='unavailable' from='`+coven+`/third' to='crone@example.org/pda'><status>gone where the goblins go</status>`+
		`<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='none' jid='hag@example.org/pda'/></x></presence>`)
}

func TestTheEndOfASessionIsALeave(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.join("hag", "third")
	w.brief("crone")
	w.client("hag").LogoutTaken()
	w.wantBrief("crone", "third! none/none jid")
	w.client("crone").LogoutTaken()
	if w.room() != nil {
		t.Error("a temporary room stays though nobody is in it")
	}
}

func TestATemporaryRoomEndsWithItsLastOccupantAndAPersistentOneDoesNot(t *testing.T) {
	w := newWorld(t)
	for _, persistent := range []string{"0", "1"} {
		w.instant("persistentroom=" + persistent)
		w.say("crone", "x")
		w.send("crone", `<presence type='unavailable' to='`+coven+`/first'/>`)
		w.restart()
		w.brief("hag")
		w.join("hag", "x")
		want := map[string]string{"0": "x owner/moderator mav jid 110 170 201,  subject:", "1": "x none/participant jid 110 170, first: x,  subject:"}[persistent]
		w.wantBrief("hag", want)
		w.send("hag", `<presence type='unavailable' to='`+coven+`/x'/>`)
	}
}

func TestNicksChange(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.join("hag", "third")
	w.brief("hag")
	w.brief("crone")
	w.send("hag", `<presence to='`+coven+`/oldhag'/>`)
	w.wantBrief("crone", "third! none/participant>oldhag jid 303, oldhag none/participant jid")
	w.wantBrief("hag", "third! none/participant>oldhag jid 110 303, oldhag none/participant jid 110")
	w.wantRefused(w.send("hag", `<presence to='`+coven+`/first'/>`), "cancel:conflict")
	w.brief("hag")
	w.send("hag", `<presence to='`+coven+`/oldhag'><show>xa</show></presence>`)
	if got := w.got("crone"); len(got) != 1 || !strings.Contains(got[0], "<show>xa</show>") {
		t.Errorf("crone got %v", got)
	}
}

func TestTwoClientsOfAUserShareANick(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.join("hag", "third")
	w.join("hag/phone", "third")
	w.brief("hag")
	w.wantBrief("hag/phone", "first owner/moderator, third none/participant jid 110 170,  subject:")
	w.wantBrief("crone", "third none/participant jid, third none/participant jid")
	w.say("hag/phone", "hi")
	w.wantBrief("hag", "third: hi")
	w.client("hag/phone").LogoutTaken()
	w.wantBrief("crone", "third: hi, third none/participant jid")
	w.say("hag", "still here")
	w.wantBrief("crone", "third: still here")
	w.client("hag").LogoutTaken()
	w.wantBrief("crone", "third! none/none jid")
}

func TestWhoEntersAgainIsToldEverythingAgain(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.join("hag", "third")
	w.brief("crone")
	first := w.brief("hag")
	w.join("hag", "third")
	w.wantBrief("hag", first)
	w.wantBrief("crone", "")
}

func TestTheRoomAnswersAPingToOneself(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.send("crone", `<iq type='get' id='1' to='`+coven+`/first'><ping xmlns='urn:xmpp:ping'/></iq>`)
	w.client("crone").Want(`<iq type='result' id='1' from='` + coven + `/first' to='crone@example.org/pda'/>`)
}

func TestARequestGoesThroughTheRoomAndHidesWhoAsks(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.join("hag", "third")
	w.brief("hag")
	w.brief("crone")
	w.send("hag", `<iq type='get' id='v' to='`+coven+`/first'><query xmlns='jabber:iq:version'/></iq>`)
	got := w.client("crone").Deliveries()
	if len(got) != 1 || got[0].Stanza.From.String() != coven+"/third" || got[0].Stanza.To != w.client("crone").Addr() ||
		got[0].Stanza.ID == "v" {
		t.Fatalf("crone got %v", got)
	}
	answer := `<iq type='result' id='` + got[0].Stanza.ID + `' to='` + coven + `/third'><query xmlns='jabber:iq:version'><name>x</name></query></iq>`
	if e := w.send("witch", answer); e.Outcome == router.Delivered {
		t.Error("another's answer is passed on")
	}
	w.send("crone", answer)
	w.client("hag").Want(`<iq type='result' id='v' from='` + coven + `/first' to='hag@example.org/pda'><query xmlns='jabber:iq:version'><name>x</name></query></iq>`)
	w.send("crone", answer)
	w.wantBrief("hag", "")
}

func TestPrivateMessagesReachAllClientsOfAnOccupant(t *testing.T) {
	w := newWorld(t)
	w.instant()
	for _, who := range []string{"hag", "hag/phone"} {
		w.join(who, "third")
		w.brief(who)
	}
	w.send("crone", `<message type='chat' id='p' to='`+coven+`/third'><body>I'll give thee a wind</body></message>`)
	for _, who := range []string{"hag", "hag/phone"} {
		got := w.got(who)
		moduletest.Same(t, got[len(got)-1], `<message type='chat' id='p' from='`+coven+`/first' to='`+w.client(who).Addr().String()+`'><body>I'll give thee a wind</body>`+
			`<x xmlns='http://jabber.org/protocol/muc#user'/></message>`)
	}
	w.wantRefused(w.send("crone", `<message type='groupchat' to='`+coven+`/third'><body>x</body></message>`), "modify:bad-request")
	w.wantRefused(w.send("crone", `<message type='chat' to='`+coven+`/nobody'><body>x</body></message>`), "cancel:item-not-found")
	w.configure("crone", "allowpm=moderators")
	w.wantRefused(w.send("hag", `<message type='chat' to='`+coven+`/first'><body>x</body></message>`), "auth:forbidden")
	w.wantRefused(w.send("crone", `<message type='chat' to='`+coven+`/third'><body>x</body></message>`), "delivered")
	w.configure("crone", "allowpm=none")
	w.wantRefused(w.send("crone", `<message type='chat' to='`+coven+`/third'><body>x</body></message>`), "auth:forbidden")
}
