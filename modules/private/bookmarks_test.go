package private

import (
	"errors"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// shelf keeps bookmarks elsewhere.
type shelf struct {
	parts.Switch
	all    []*xmpp.Element
	used   bool
	broken error
	later  *storage.Pending
}

func (s *shelf) Conferences(jid.JID) ([]*xmpp.Element, bool, error) { return s.all, s.used, s.broken }

func (s *shelf) SetConferences(_ *router.Batch, _ jid.JID, all []*xmpp.Element, _ *storage.Pending) (
	*storage.Pending, error) {
	s.all, s.used = all, true
	return s.later, s.broken
}

func element(t *testing.T, xml string) *xmpp.Element {
	t.Helper()
	el, err := xmpp.ParseElement([]byte(xml))
	if err != nil {
		t.Fatal(err)
	}
	return el
}

func TestBookmarksOfRoomsAreThoseThatAreKeptElsewhere(t *testing.T) {
	h := newHouse(t)
	s := &shelf{}
	p := New(h.Router, h.store.Map("private"), limit, moduletest.Discard())
	p.BookmarksAreIn(s)
	h.Use(p.Module())
	const empty, url = `<storage xmlns='storage:bookmarks'/>`, `<url url='https://example.org/'/>`
	h.get(empty, empty)
	h.set(`<storage xmlns='storage:bookmarks'>` + url + `<conference jid='a@rooms'/></storage>`)
	if len(s.all) != 1 || s.all[0].Attr("jid") != "a@rooms" {
		t.Fatalf("elsewhere are %d", len(s.all))
	}
	s.all = []*xmpp.Element{element(t, `<conference xmlns='storage:bookmarks' jid='b@rooms'/>`)}
	h.get(empty, `<storage xmlns='storage:bookmarks'>`+url+`<conference jid='b@rooms'/></storage>`)
	own, err := p.Conferences(jid.MustParse("hamlet@example.org"))
	if err != nil || len(own) != 1 || own[0].Attr("jid") != "a@rooms" {
		t.Errorf("what was written here is %v, %v", own, err)
	}
	h.set(`<other xmlns='urn:other'>x</other>`)
	if len(s.all) != 1 || s.all[0].Attr("jid") != "b@rooms" {
		t.Error("another piece has changed the bookmarks")
	}
	h.set(empty)
	if len(s.all) != 0 {
		t.Error("the bookmarks are still there")
	}
	h.get(empty, empty)
}

func TestBookmarksThatCannotBeReadAreAReasonToWait(t *testing.T) {
	h := newHouse(t)
	p := New(h.Router, h.store.Map("private"), limit, moduletest.Discard())
	p.BookmarksAreIn(&shelf{broken: errors.New("away")})
	h.Use(p.Module())
	for _, kind := range []string{"get", "set"} {
		h.hamlet.Send(request(kind, "", `<storage xmlns='storage:bookmarks'><conference jid='a@rooms'/></storage>`))
		got := h.hamlet.Deliveries()
		if len(got) != 1 || got[0].Stanza.Err() == nil || got[0].Stanza.Err().Condition != xmpp.CondResourceConstraint {
			t.Errorf("%s: %d answers", kind, len(got))
		}
	}
}

// A module may be turned off at any moment.
func TestBookmarksElsewhereMayBeTurnedOffMeanwhile(t *testing.T) {
	h := newHouse(t)
	for _, kind := range []string{"get", "set"} {
		asked := 0
		p := New(h.Router, h.store.Map("private"), limit, moduletest.Discard())
		p.BookmarksAreIn(&shelf{Switch: func() bool { asked++; return asked == 1 }})
		h.Use(p.Module())
		h.hamlet.Send(request(kind, "", `<storage xmlns='storage:bookmarks'><conference jid='a@rooms'/></storage>`))
		if got := h.hamlet.Deliveries(); len(got) != 1 || got[0].Stanza.Type != xmpp.TypeResult {
			t.Errorf("%s: %d answers", kind, len(got))
		}
	}
}
