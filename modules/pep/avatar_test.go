package pep

import (
	"encoding/base64"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// album holds vCards: their photos, and the rest.
type album map[string]photo

type photo struct {
	typ  string
	data []byte
	card *xmpp.Element
}

func (album) On() bool { return true }

func (a album) Photo(user jid.JID) (string, []byte, error) {
	p := a[user.String()]
	return p.typ, p.data, nil
}

func (a album) SetPhoto(user jid.JID, typ string, data []byte) (*storage.Pending, error) {
	a[user.String()] = photo{typ, data, a[user.String()].card}
	return nil, nil
}

func (a album) Change(user jid.JID, f func(card *xmpp.Element) bool) (*storage.Pending, error) {
	p := a[user.String()]
	if p.card == nil {
		p.card = &xmpp.Element{Name: tempCard}
	}
	f(p.card)
	a[user.String()] = p
	return nil, nil
}

var (
	face  = []byte("\x89PNG face")
	other = []byte("\xff\xd8\xff other face")
)

func avatarXML(data []byte, options ...string) (dataXML, metaXML string) {
	o := optionsXML("publish-options", "publish-options", options...)
	hash := hashOf(data)
	return pubsubXML("<publish node='urn:xmpp:avatar:data'><item id='" + hash + "'><data xmlns='urn:xmpp:avatar:data'>" +
			base64.StdEncoding.EncodeToString(data) + "</data></item></publish>" + o),
		pubsubXML("<publish node='urn:xmpp:avatar:metadata'><item id='" + hash + "'><metadata xmlns='urn:xmpp:avatar:metadata'>" +
			"<info bytes='9' id='away' type='image/gif' url='https://example.org/a'/><info bytes='9' id='" + hash + "' type='image/png'/></metadata></item></publish>" + o)
}

func (w *world) album() album {
	a := album{}
	w.pep.o.Photos = a
	return a
}

func (w *world) publishAvatar(c *moduletest.Client, data []byte, options ...string) {
	w.t.Helper()
	d, m := avatarXML(data, options...)
	for _, x := range []string{d, m} {
		if got := w.do(c, "set", "", x); !strings.HasPrefix(got, "<") {
			w.t.Fatalf("the avatar is refused: %s", got)
		}
	}
}

// hashIn is what the last presence of a session says of the avatar: the hash, "none" for none, "" for nothing.
func hashIn(t *testing.T, s *xmpp.Stanza) string {
	t.Helper()
	x := s.Child(update)
	if x == nil {
		return ""
	}
	p := x.ChildLocal("photo")
	if p == nil {
		return "unsure"
	}
	if p.Text() == "" {
		return "none"
	}
	return p.Text()
}

func TestOpenAvatarGetsIntoTheVCard(t *testing.T) {
	w := newWorld(t)
	a := w.album()
	desk := w.login("juliet/desk")
	w.publishAvatar(desk, face, "access_model", "open")
	if got := a[juliet]; got.typ != "image/png" || string(got.data) != string(face) {
		t.Fatalf("the vCard has %v", got)
	}
	if got := hashIn(t, desk.Presence()); got != hashOf(face) {
		t.Errorf("presence says %s", got)
	}
	w.want(desk, "set", "", pubsubXML("<publish node='urn:xmpp:avatar:metadata'><item id='x'><metadata xmlns='urn:xmpp:avatar:metadata'/></item></publish>"),
		published("urn:xmpp:avatar:metadata", "x"))
	if got := a[juliet]; len(got.data) > 0 {
		t.Errorf("an avatar that was turned off is still there: %v", got)
	}
	if got := hashIn(t, desk.Presence()); got != "none" {
		t.Errorf("presence says %s", got)
	}
}

func TestAvatarForContactsStaysOutOfTheVCard(t *testing.T) {
	w := newWorld(t)
	a := w.album()
	desk := w.login("juliet/desk")
	w.publishAvatar(desk, face)
	if len(a) > 0 {
		t.Errorf("everybody may see %v", a)
	}
}

func TestAvatarThatIsNotWhatItSaysStaysOutOfTheVCard(t *testing.T) {
	w := newWorld(t)
	a := w.album()
	desk := w.login("juliet/desk")
	d, m := avatarXML(face, "access_model", "open")
	d = strings.Replace(d, base64.StdEncoding.EncodeToString(face), base64.StdEncoding.EncodeToString(other), 1)
	w.do(desk, "set", "", d)
	w.do(desk, "set", "", m)
	if len(a) > 0 {
		t.Errorf("the vCard has %v", a)
	}
}

func TestPhotoOfAVCardBecomesAnAvatar(t *testing.T) {
	w := newWorld(t)
	a := w.album()
	desk, orchard := w.login("juliet/desk"), w.login("romeo/orchard", nodeAvatarMeta)
	set := func(data []byte) {
		before := a[juliet].data
		a[juliet] = photo{typ: "image/jpeg", data: data}
		w.pep.PhotoChanged(nil, PhotoChange{User: jid.MustParse(juliet), Type: "image/jpeg", Data: data, Before: before}, nil)
	}
	set(other)
	hash := hashOf(other)
	got := orchard.Deliveries()
	if len(got) != 1 || !strings.Contains(string(got[0].Stanza.Payload), "<info bytes='14' id='"+hash+"' type='image/jpeg'/>") {
		t.Fatalf("the contact got %d stanzas", len(got))
	}
	w.want(orchard, "get", juliet, pubsubXML("<items node='urn:xmpp:avatar:data'><item id='"+hash+"'/></items>"),
		pubsubXML("<items node='urn:xmpp:avatar:data'><item id='"+hash+"'><data xmlns='urn:xmpp:avatar:data'>"+base64.StdEncoding.EncodeToString(other)+"</data></item></items>"))
	if got := w.deed(mercutio, "get", pubsubXML("<items node='urn:xmpp:avatar:metadata'/>")); got != theNode {
		t.Errorf("a stranger gets %s", got)
	}
	set(other)
	w.got(orchard) // nothing new
	if got := hashIn(t, desk.Presence()); got != hash {
		t.Errorf("presence says %s", got)
	}
	set(nil)
	w.got(orchard, "romeo@example.org/orchard|items urn:xmpp:avatar:metadata none:")
	if got := hashIn(t, desk.Presence()); got != "none" {
		t.Errorf("presence says %s", got)
	}
}

func TestVCardWithoutPhotoLeavesAnotherAvatarAlone(t *testing.T) {
	w := newWorld(t)
	a := w.album()
	desk := w.login("juliet/desk")
	w.publishAvatar(desk, face) // for contacts
	a[juliet] = photo{}
	w.pep.PhotoChanged(nil, PhotoChange{User: jid.MustParse(juliet), Before: other}, nil)
	if id, _ := avatarInfo(w.last(nodeAvatarMeta)); id != hashOf(face) {
		t.Errorf("the avatar is %q", id)
	}
}

// last is the payload of the item published last at a node of juliet's.
func (w *world) last(node string) []byte {
	w.t.Helper()
	it, _, err := w.pep.engine.Item(jid.MustParse(juliet), node, "")
	if err != nil {
		w.t.Fatal(err)
	}
	if it == nil {
		return nil
	}
	return it.Payload
}

func TestPresenceSaysWhatTheVCardHas(t *testing.T) {
	for _, row := range []struct{ what, said, want string }{
		{"nothing", "", hashOf(face)},
		{"an empty element", "<x xmlns='vcard-temp:x:update'/>", hashOf(face)},
		{"that there is none", "<x xmlns='vcard-temp:x:update'><photo/></x>", "none"},
		{"another hash", "<x xmlns='vcard-temp:x:update'><photo>abc</photo></x>", hashOf(face)},
		{"the hash", "<x xmlns='vcard-temp:x:update'><photo>" + hashOf(face) + "</photo></x>", hashOf(face)},
	} {
		w := newWorld(t)
		w.album()[juliet] = photo{typ: "image/png", data: face}
		desk, nurse := moduletest.Login(t, w.Router, "juliet/desk"), moduletest.Login(t, w.Router, "nurse/home")
		desk.Send("<presence><show>away</show>" + row.said + "</presence>")
		if got := hashIn(t, desk.Presence()); got != row.want {
			t.Errorf("a client that says %s broadcasts %s", row.what, got)
		}
		desk.Send("<presence to='nurse@example.org/home'>" + row.said + "</presence>") // directed, as to a room
		got := nurse.Deliveries()
		if len(got) != 1 || hashIn(t, got[0].Stanza) != row.want {
			t.Errorf("a client that says %s tells a room something else", row.what)
		}
		desk.Send("<presence to='nurse@example.org/home' type='unavailable'/>")
		if got := nurse.Deliveries(); len(got) != 1 || hashIn(t, got[0].Stanza) != "" {
			t.Error("unavailable presence has a hash")
		}
	}
}

func TestPresenceStaysAsItIsWithoutAPicture(t *testing.T) {
	w := newWorld(t)
	w.album()
	desk := moduletest.Login(t, w.Router, "juliet/desk")
	desk.Send("<presence><x xmlns='vcard-temp:x:update'/></presence>")
	if got := hashIn(t, desk.Presence()); got != "unsure" {
		t.Errorf("presence says %s", got)
	}
}

func TestSessionThatEndsWhileItsAvatarChangesLeavesNoGhost(t *testing.T) {
	w := newWorld(t)
	w.album()
	desk := w.login("juliet/desk")
	var last xmpp.Type
	w.Use(w.pep.Module(), router.Module{Name: "end", Leaving: router.Stage{Presence: func(e *router.Envelope) {
		if last = e.Stanza.Type; last == xmpp.TypeAvailable {
			desk.LogoutTaken() // before the broadcast
		}
	}}}, presences(w.Router))
	w.pep.PhotoChanged(nil, PhotoChange{User: jid.MustParse(juliet), Data: face}, nil)
	if last != xmpp.TypeUnavailable || desk.Presence() != nil || w.pep.here.of(desk.Session) != nil {
		t.Error("the session is still shown")
	}
}
