package private

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

func limit() int { return 1 << 20 }

type house struct {
	*router.Router
	t      *testing.T
	store  *moduletest.Store
	hamlet *moduletest.Client
}

func newHouse(t *testing.T) *house {
	h := &house{Router: moduletest.New("hamlet", "macbeth"), t: t, store: moduletest.NewStore()}
	h.Use(New(h.Router, h.store.Map("private"), limit, moduletest.Discard()).Module())
	h.hamlet = moduletest.Login(t, h.Router, "hamlet/denmark")
	return h
}

func request(typ, to, content string) string {
	if to != "" {
		to = ` to='` + to + `'`
	}
	return `<iq type='` + typ + `' id='1'` + to + `><query xmlns='jabber:iq:private'>` + content + `</query></iq>`
}

func (h *house) set(content string) {
	h.t.Helper()
	h.hamlet.Send(request("set", "", content))
	h.hamlet.Want(`<iq type='result' id='1' from='hamlet@example.org' to='hamlet@example.org/denmark'/>`)
}

func (h *house) get(content, want string) {
	h.t.Helper()
	h.hamlet.Send(request("get", "", content))
	h.hamlet.Want(`<iq type='result' id='1' from='hamlet@example.org' to='hamlet@example.org/denmark'>` +
		`<query xmlns='jabber:iq:private'>` + want + `</query></iq>`)
}

func (h *house) refused(xml string, want xmpp.Condition, typ xmpp.ErrorType) {
	h.t.Helper()
	if e := h.hamlet.Send(xml); e.Err == nil || e.Err.Condition != want || e.Err.Type != typ {
		h.t.Errorf("%.200s: %v, %v, want %s of type %s", xml, e.Outcome, e.Err, want, typ)
	}
	h.hamlet.Received()
}

func TestWhatWasStoredComesBack(t *testing.T) {
	h := newHouse(t)
	h.get(`<exodus xmlns='exodus:prefs'/>`, `<exodus xmlns='exodus:prefs'/>`)
	const prefs = `<exodus xmlns='exodus:prefs' a='&lt;'><defaultnick>Hamlet</defaultnick><x xmlns='jabber:client'>&amp;</x></exodus>`
	h.set(prefs)
	h.get(`<exodus xmlns='exodus:prefs'/>`, prefs)
	h.set(`<exodus xmlns='exodus:prefs'><defaultnick>H</defaultnick></exodus>`)
	h.get(`<exodus xmlns='exodus:prefs'/>`, `<exodus xmlns='exodus:prefs'><defaultnick>H</defaultnick></exodus>`)
}

func TestSeveralElementsAreStoredInOneStep(t *testing.T) {
	h := newHouse(t)
	h.set(`<a xmlns='urn:x'>1</a><b xmlns='urn:x'>2</b><a xmlns='urn:x'>3</a><a xmlns='urn:y'>4</a>`)
	h.get(`<a xmlns='urn:x'/>`, `<a xmlns='urn:x'>1</a><a xmlns='urn:x'>3</a>`)
	h.get(`<b xmlns='urn:x'/><c xmlns='urn:x'/>`, `<b xmlns='urn:x'>2</b><c xmlns='urn:x'/>`)
	h.get(`<a xmlns='urn:y'/>`, `<a xmlns='urn:y'>4</a>`)
}

func TestAnEmptyElementForgets(t *testing.T) {
	h := newHouse(t)
	h.set(`<a xmlns='urn:x'>1</a>`)
	h.set(`<a xmlns='urn:x'/>`)
	h.get(`<a xmlns='urn:x'/>`, `<a xmlns='urn:x'/>`)
	if all, _, err := h.store.Map("private").List(context.Background(), "hamlet@example.org"); err != nil || len(all) != 0 {
		t.Errorf("kept: %v, %v", all, err)
	}
}

func TestRequestsThatMakeNoSenseAreRefused(t *testing.T) {
	h := newHouse(t)
	h.refused(request("get", "", ""), xmpp.CondBadRequest, xmpp.ErrorModify)
	h.refused(request("get", "", "text"), xmpp.CondBadRequest, xmpp.ErrorModify)
	h.refused(request("set", "", ""), xmpp.CondNotAcceptable, xmpp.ErrorModify)
	h.refused(request("get", "", "<a xmlns='urn:x'/><a xmlns='urn:y'/>"), xmpp.CondBadRequest, xmpp.ErrorModify)
	for _, bare := range []string{"<a/>", "<a xmlns='jabber:client'/>", "<a xmlns=''/>", "<b xmlns='urn:x'/><a/>"} {
		h.refused(request("set", "", bare), xmpp.CondNotAcceptable, xmpp.ErrorModify)
		h.refused(request("get", "", bare), xmpp.CondNotAcceptable, xmpp.ErrorModify)
	}
}

func TestNobodyTouchesTheDataOfAnother(t *testing.T) {
	h := newHouse(t)
	for _, typ := range []string{"get", "set"} {
		h.refused(request(typ, "macbeth@example.org", "<a xmlns='urn:x'>1</a>"), xmpp.CondForbidden, xmpp.ErrorAuth)
		h.refused(request(typ, "banquo@example.org", "<a xmlns='urn:x'>1</a>"), xmpp.CondForbidden, xmpp.ErrorAuth) // no account
		h.refused(request(typ, "example.org", "<a xmlns='urn:x'>1</a>"), xmpp.CondServiceUnavailable, xmpp.ErrorCancel)
	}
}

func TestAnElementIsBounded(t *testing.T) {
	h := newHouse(t)
	const frame = len(`<a xmlns='urn:x'></a>`)
	h.set(`<a xmlns='urn:x'>` + strings.Repeat("x", MaxSize-frame) + `</a>`)
	h.refused(request("set", "", `<a xmlns='urn:x'>`+strings.Repeat("x", MaxSize-frame+1)+`</a>`), xmpp.CondResourceConstraint, xmpp.ErrorModify)
}

func TestTheNumberOfElementsIsBounded(t *testing.T) {
	h := newHouse(t)
	var all strings.Builder
	for i := range MaxPieces {
		fmt.Fprintf(&all, "<a xmlns='urn:%d'>x</a>", i)
	}
	h.refused(request("set", "", all.String()+"<a xmlns='urn:more'>x</a>"), xmpp.CondResourceConstraint, xmpp.ErrorWait)
	h.get("<a xmlns='urn:0'/>", "<a xmlns='urn:0'/>") // all or nothing
	h.set(all.String())
	h.refused(request("set", "", "<a xmlns='urn:more'>x</a>"), xmpp.CondResourceConstraint, xmpp.ErrorWait)
	h.set("<a xmlns='urn:1'>changed</a>")
	h.set("<a xmlns='urn:more'>x</a><a xmlns='urn:0'/>")
	h.get("<a xmlns='urn:more'/>", "<a xmlns='urn:more'>x</a>")
}

func TestTheBytesOfAllElementsAreBounded(t *testing.T) {
	h := newHouse(t)
	piece := func(i, size int) string {
		return fmt.Sprintf("<a xmlns='urn:%d'>%s</a>", i, strings.Repeat("x", size))
	}
	for i := range 4 {
		h.set(piece(i, 250<<10))
	}
	h.refused(request("set", "", piece(4, 30<<10)), xmpp.CondResourceConstraint, xmpp.ErrorWait)
	h.set(piece(3, 200<<10))
	h.set(piece(4, 30<<10))
	h.refused(request("set", "", piece(3, 250<<10)), xmpp.CondResourceConstraint, xmpp.ErrorWait)
	h.set("<a xmlns='urn:0'/>" + piece(3, 250<<10))
}

func TestWhoHasMoreThanThereIsRoomForMayWriteWhatIsNoMore(t *testing.T) {
	h := newHouse(t)
	for i := range MaxPieces + 1 {
		c := storage.Change{Key: fmt.Sprint("a urn:", i), Value: append([]byte{recordVersion}, make([]byte, 20<<10)...)}
		if _, _, err := h.store.Map("private").Update(t.Context(), "hamlet@example.org", storage.AnyVersion, c); err != nil {
			t.Fatal(err)
		}
	}
	h.set("<a xmlns='urn:1'>x</a>")
	h.refused(request("set", "", "<b xmlns='urn:1'>x</b>"), xmpp.CondResourceConstraint, xmpp.ErrorWait)
}

// racing is a store in which another session writes between counting and writing.
type racing struct {
	storage.Map
	races int
}

func (r *racing) Update(ctx context.Context, owner string, version uint64, c ...storage.Change) (
	uint64, *storage.Pending, error) {
	if r.races > 0 {
		r.races--
		if _, _, err := r.Map.Update(ctx, owner, storage.AnyVersion, storage.Change{Key: "z urn:z", Value: []byte("\x01<z xmlns='urn:z'/>")}); err != nil {
			return 0, nil, err
		}
	}
	return r.Map.Update(ctx, owner, version, c...)
}

func TestARaceOfTwoSessionsIsRunAgain(t *testing.T) {
	h := &house{Router: moduletest.New("hamlet"), t: t, store: moduletest.NewStore()}
	h.Use(New(h.Router, &racing{h.store.Map("private"), 2}, limit, moduletest.Discard()).Module())
	h.hamlet = moduletest.Login(t, h.Router, "hamlet/denmark")
	h.set("<a xmlns='urn:x'>1</a>")
	h.get("<a xmlns='urn:x'/>", "<a xmlns='urn:x'>1</a>")
	h.get("<z xmlns='urn:z'/>", "<z xmlns='urn:z'/>")
}

func TestTheResultOfAWriteComesWhenItIsDurable(t *testing.T) {
	h := newHouse(t)
	h.store.Hold()
	h.hamlet.Send(request("set", "", "<a xmlns='urn:x'>1</a>"))
	h.hamlet.Want()
	h.store.Release(storage.ErrUnavailable)
	if got := h.hamlet.Deliveries(); len(got) != 1 || got[0].Stanza.Err() == nil {
		t.Errorf("after a failed write: %v, want an error", got)
	}
}

func TestStorageThatIsAwayMakesTheAskerWait(t *testing.T) {
	h := newHouse(t)
	h.store.Fail(storage.ErrUnavailable)
	h.refused(request("get", "", "<a xmlns='urn:x'/>"), xmpp.CondResourceConstraint, xmpp.ErrorWait)
	h.refused(request("set", "", "<a xmlns='urn:x'>1</a>"), xmpp.CondResourceConstraint, xmpp.ErrorWait)
}

func TestADeletedAccountKeepsNothing(t *testing.T) {
	h := newHouse(t)
	h.set("<a xmlns='urn:x'>1</a>")
	if err := h.Remove(h.hamlet.Bare()); err != nil {
		t.Fatal(err)
	}
	if all, _, err := h.store.Map("private").List(context.Background(), "hamlet@example.org"); err != nil || len(all) != 0 {
		t.Errorf("kept: %v, %v", all, err)
	}
}

func TestAPieceIsGivenOnceHoweverOftenItIsAskedFor(t *testing.T) {
	h := newHouse(t)
	h.set(`<a xmlns='urn:x'>1</a>`)
	h.get(strings.Repeat(`<a xmlns='urn:x'/><c xmlns='urn:x'/>`, 2000), `<a xmlns='urn:x'>1</a><c xmlns='urn:x'/>`)
}

func TestAnswerOfManyPiecesIsBounded(t *testing.T) {
	h := newHouse(t)
	text := strings.Repeat("x", 200<<10)
	names := ""
	for i := range 5 {
		h.set(fmt.Sprintf(`<a%d xmlns='urn:x'>%s</a%d>`, i, text, i))
		names += fmt.Sprintf(`<a%d xmlns='urn:x'/>`, i)
	}
	h.get(`<a1 xmlns='urn:x'/><a2 xmlns='urn:x'/>`, `<a1 xmlns='urn:x'>`+text+`</a1><a2 xmlns='urn:x'>`+text+`</a2>`)
	h.refused(request("get", "", names), xmpp.CondResourceConstraint, xmpp.ErrorModify)
}
