package devices

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	known "jackdaw/router/devices"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

var (
	first = time.Date(2026, 4, 6, 14, 26, 8, 0, time.UTC)
	last  = time.Date(2026, 5, 7, 15, 0, 0, 0, time.UTC)
	now   = time.Date(2026, 6, 8, 9, 30, 0, 0, time.UTC)
)

// shelf stands for the devices that the server knows.
type shelf struct {
	list   []known.Device
	broken error
}

func (s *shelf) List(context.Context, jid.JID) ([]known.Device, error) { return s.list, s.broken }

func (s *shelf) Remove(_ context.Context, user jid.JID, id string) error {
	i := slices.IndexFunc(s.list, func(d known.Device) bool { return d.ID == id })
	if i < 0 || user.String() != "romeo@example.org" {
		return known.ErrNotFound
	}
	s.list = slices.Delete(s.list, i, i+1)
	return nil
}

// An outlet is a client that is connected.
type outlet struct {
	*moduletest.Outlet
	at    router.Connection
	ended *string // why its stream was
}

func (o outlet) End(condition, _ string) { *o.ended = condition }

func (o outlet) Connection() router.Connection { return o.at }

type house struct {
	*router.Router
	t     *testing.T
	shelf *shelf
	romeo *moduletest.Client
}

func newHouse(t *testing.T) *house {
	h := &house{Router: moduletest.New("romeo", "juliet"), t: t, shelf: &shelf{}}
	h.Use(New(Options{Router: h.Router, Known: h.shelf, Erase: moduletest.NewStore().Map("devices").DeleteOwner,
		Log: moduletest.Discard()}))
	return h
}

// login makes a session of a device, and returns where it is said why its stream has ended.
func (h *house) login(resource, device string) (ended *string) {
	ended = new(string)
	at := router.Connection{Address: netip.MustParseAddr("192.0.2.1"), Device: device, Since: now}
	if _, err := h.Bind(jid.MustParse("romeo@example.org/"+resource), outlet{moduletest.NewOutlet(), at, ended}); err != nil {
		h.t.Fatal(err)
	}
	return ended
}

const list = "<iq type='get' id='1'><list xmlns='urn:xmpp:cam:0'/></iq>"

func revoke(id string) string {
	return "<iq type='set' id='1'><revoke xmlns='urn:xmpp:cam:0' id='" + id + "'/></iq>"
}

// listed are the clients in the answer.
func (h *house) listed() []*xmpp.Element {
	h.t.Helper()
	h.romeo.Send(list)
	got := h.romeo.Deliveries()
	if len(got) != 1 || got[0].Stanza.Type != xmpp.TypeResult {
		h.t.Fatalf("%d answers", len(got))
	}
	return got[0].Stanza.Child(xmpp.Name{Space: xmpp.NSClientAccess, Local: "clients"}).Children()
}

func TestWhatHasAccessIsListed(t *testing.T) {
	h := newHouse(t)
	h.login("phone", "phone")
	h.romeo = moduletest.Login(t, h.Router, "romeo/old")
	h.shelf.list = []known.Device{
		{ID: "phone", Software: "Conversations", Name: "Romeo's <phone>", First: first, Last: last, Token: true, Password: true},
		{ID: "laptop", Software: "Gajim", First: first, Last: last, Token: true},
		{ID: "without access", First: first, Last: last},
	}
	all := h.listed()
	if len(all) != 3 {
		t.Fatalf("%d clients", len(all))
	}
	moduletest.Same(t, string(all[0].Append(nil)), `<client xmlns='urn:xmpp:cam:0' connected='true' id='phone' type='session'>
		<first-seen>2026-04-06T14:26:08.000Z</first-seen><last-seen>2026-06-08T09:30:00.000Z</last-seen>
		<auth><password/><fast/></auth><permission status='unrestricted'/>
		<user-agent><software>Conversations</software><device>Romeo's &lt;phone&gt;</device></user-agent></client>`)
	moduletest.Same(t, string(all[1].Append(nil)), `<client xmlns='urn:xmpp:cam:0' connected='false' id='laptop' type='session'>
		<first-seen>2026-04-06T14:26:08.000Z</first-seen><last-seen>2026-05-07T15:00:00.000Z</last-seen>
		<auth><fast/></auth><permission status='unrestricted'/><user-agent><software>Gajim</software></user-agent></client>`)
	if old := all[2]; old.Attr("connected") != "true" || len(old.Attr("id")) != 16 ||
		old.ChildLocal("auth").ChildLocal("password") == nil || old.ChildLocal("user-agent") != nil {
		t.Errorf("a client that does not say which it is: %s", old.Append(nil))
	}
}

func TestADeviceWithoutAccessIsListedWhileItIsHere(t *testing.T) {
	h := newHouse(t)
	h.shelf.list = []known.Device{{ID: "phone", First: first, Last: last}}
	h.romeo = moduletest.Login(t, h.Router, "romeo/old")
	if all := h.listed(); len(all) != 1 {
		t.Errorf("%d clients while it is away", len(all))
	}
	h.login("phone", "phone")
	all := h.listed()
	if len(all) != 2 || all[0].Attr("id") != "phone" || len(all[0].ChildLocal("auth").Children()) != 0 {
		t.Errorf("%d clients while it is here", len(all))
	}
}

func TestAccessIsTakenFromADevice(t *testing.T) {
	h := newHouse(t)
	h.romeo = moduletest.Login(t, h.Router, "romeo/desk")
	h.shelf.list = []known.Device{
		{ID: "phone", Token: true, First: first, Last: last},
		{ID: "laptop", Token: true, Password: true, First: first, Last: last},
	}
	h.romeo.Send(revoke("phone"))
	h.romeo.Want("<iq type='result' id='1' from='romeo@example.org' to='romeo@example.org/desk'/>")
	h.refused(revoke("phone"), xmpp.CondItemNotFound)
	// XEP-0494 §3.2: it knows the password.
	if e := h.refused(revoke("laptop"), xmpp.CondServiceUnavailable); e.App == nil || e.App.Name != (xmpp.Name{Space: "urn:xmpp:cam:0", Local: "password-reset-required"}) {
		t.Errorf("got %v", e.App)
	}
	if len(h.shelf.list) != 0 {
		t.Errorf("left: %v", h.shelf.list)
	}
}

func (h *house) refused(xml string, want xmpp.Condition) *xmpp.Error {
	h.t.Helper()
	e := h.romeo.Send(xml)
	if e.Err == nil || e.Err.Condition != want {
		h.t.Fatalf("%s: %v, want %s", xml, e.Err, want)
	}
	h.romeo.Received()
	return e.Err
}

func TestASessionOfNoDeviceIsEnded(t *testing.T) {
	h := newHouse(t)
	h.romeo = moduletest.Login(t, h.Router, "romeo/desk")
	other := h.login("old", "")
	id := ""
	for _, s := range h.Sessions(jid.MustParse("romeo@example.org")) {
		if s.Addr().Resource() == "old" {
			id = sessionID(s)
		}
	}
	if err := h.refused(revoke(id), xmpp.CondServiceUnavailable); err.App == nil || err.App.Name.Local != "password-reset-required" {
		t.Errorf("got %v", err.App)
	}
	if *other != "not-authorized" {
		t.Errorf("the session ended with %q", *other)
	}
}

func TestRequestsThatMakeNoSenseAreRefusedAndThoseOfOthers(t *testing.T) {
	h := newHouse(t)
	h.romeo = moduletest.Login(t, h.Router, "romeo/desk")
	for xml, want := range map[string]xmpp.Condition{
		strings.Replace(list, "'get'", "'set'", 1):        xmpp.CondBadRequest,
		strings.Replace(revoke("x"), "'set'", "'get'", 1): xmpp.CondBadRequest,
		revoke(""): xmpp.CondBadRequest,
		strings.Replace(list, "id", "to='juliet@example.org' id", 1):        xmpp.CondServiceUnavailable,
		strings.Replace(list, "id", "to='nobody@example.org' id", 1):        xmpp.CondServiceUnavailable,
		strings.Replace(revoke("x"), "id", "to='juliet@example.org' id", 1): xmpp.CondServiceUnavailable,
		strings.Replace(list, "id", "to='example.org' id", 1):               xmpp.CondServiceUnavailable,
	} {
		h.refused(xml, want)
	}
	h.shelf.broken = errors.New("no disk")
	h.refused(list, xmpp.CondResourceConstraint)
	h.refused(revoke("x"), xmpp.CondResourceConstraint)
}
