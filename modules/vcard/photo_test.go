package vcard

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

var juliet = jid.MustParse("juliet@example.org")

func TestPhotoIsPutInAndTakenOutOfTheVCard(t *testing.T) {
	h := newHouse(t)
	v := New(h.Router, h.store.Map("vcard"), limit, moduletest.Discard())
	put := func(typ, data, want string) {
		t.Helper()
		if _, err := v.SetPhoto(juliet, typ, []byte(data)); err != nil {
			t.Fatal(err)
		}
		h.romeo.Send(`<iq type='get' id='1' to='juliet@example.org'>` + ask + `</iq>`)
		h.romeo.Want(`<iq type='result' id='1' from='juliet@example.org' to='romeo@example.org/orchard'>` + want + `</iq>`)
		if gotType, got, err := v.Photo(juliet); err != nil || string(got) != data || data != "" && gotType != typ {
			t.Errorf("photo %q of type %q, %v", got, gotType, err)
		}
	}
	if p, err := v.SetPhoto(juliet, "", nil); p != nil || err != nil {
		t.Errorf("no photo of no vCard is %v, %v", p, err)
	}
	put("image/png", "hi", `<vCard xmlns='vcard-temp'><PHOTO><TYPE>image/png</TYPE><BINVAL>aGk=</BINVAL></PHOTO></vCard>`)
	h.juliet.Send(`<iq type='set' id='1'><vCard xmlns='vcard-temp'><FN>J</FN><PHOTO><TYPE>image/gif</TYPE><BINVAL>aG
		8=</BINVAL></PHOTO><DESC>x</DESC></vCard></iq>`)
	if typ, data, err := v.Photo(juliet); typ != "image/gif" || string(data) != "ho" || err != nil {
		t.Errorf("photo %q of type %s, %v", data, typ, err)
	}
	put("image/jpeg", "hi", `<vCard xmlns='vcard-temp'><FN>J</FN><DESC>x</DESC><PHOTO><TYPE>image/jpeg</TYPE><BINVAL>aGk=</BINVAL></PHOTO></vCard>`)
	put("", "", `<vCard xmlns='vcard-temp'><FN>J</FN><DESC>x</DESC></vCard>`)
	if _, err := v.SetPhoto(juliet, "image/png", bytes.Repeat([]byte{1}, maxSize)); err != ErrTooLarge {
		t.Errorf("a photo without end: %v", err)
	}
}

func TestWhoKeepsAvatarsLearnsOfPhotos(t *testing.T) {
	h := newHouse(t)
	var got []Change
	later := storage.NewPending()
	v := New(h.Router, h.store.Map("vcard"), limit, moduletest.Discard())
	v.OnChange(func(_ *router.Batch, c Change, _ *storage.Pending) *storage.Pending {
		got = append(got, c)
		return later
	})
	h.Use(v.Module())
	for _, photo := range []string{
		"<PHOTO><TYPE>image/png</TYPE><BINVAL>aGk=</BINVAL></PHOTO>", "", "<PHOTO><BINVAL>!</BINVAL></PHOTO>", "<PHOTO><EXTVAL>https://example.org/</EXTVAL></PHOTO>",
	} {
		h.juliet.Send(`<iq type='set' id='1'><vCard xmlns='vcard-temp'><FN>J</FN>` + photo + `</vCard></iq>`)
	}
	if len(h.juliet.Received()) > 0 {
		t.Error("the owner is answered before the avatar is durable")
	}
	later.Finish(nil)
	if answers := h.juliet.Received(); len(answers) != 4 || !strings.Contains(answers[0], "result") {
		t.Errorf("%d answers", len(answers))
	}
	if len(got) != 4 || got[0].User != juliet || got[0].Type != "image/png" || string(got[0].Data) != "hi" || got[0].Before != nil {
		t.Fatalf("told %+v", got)
	}
	if got[0].Was != nil || got[0].Card.ChildLocal("FN").Text() != "J" || got[1].Was.ChildLocal("PHOTO") == nil ||
		got[1].Card.ChildLocal("PHOTO") != nil {
		t.Errorf("the cards are %+v", got[:2])
	}
	if string(got[1].Before) != "hi" || len(got[1].Data)+len(got[2].Data)+len(got[3].Data) > 0 {
		t.Errorf("told %+v", got)
	}
}

// racing is a store in which the owner writes between reading and writing.
type racing struct {
	storage.Map
	races int
}

func (r *racing) Update(ctx context.Context, owner string, version uint64, c ...storage.Change) (
	uint64, *storage.Pending, error) {
	if r.races > 0 {
		r.races--
		if _, _, err := r.Map.Update(ctx, owner, storage.AnyVersion, storage.Change{Key: key, Value: []byte("\x01<vCard xmlns='vcard-temp'><ROLE>x</ROLE></vCard>")}); err != nil {
			return 0, nil, err
		}
	}
	return r.Map.Update(ctx, owner, version, c...)
}

func TestChangeOfACardLosesNothingOfAFasterOne(t *testing.T) {
	h := newHouse(t)
	v := New(h.Router, &racing{h.store.Map("vcard"), 1}, limit, moduletest.Discard())
	calls := 0
	name := func(card *xmpp.Element) bool {
		calls++
		card.Content = append(card.Content, xmpp.Node{Elem: &xmpp.Element{Name: xmpp.Name{Space: xmpp.NSVCard, Local: "FN"},
			Content: []xmpp.Node{{Text: "J"}}}})
		return true
	}
	if _, err := v.Change(juliet, name); err != nil || calls != 2 {
		t.Errorf("%d calls, %v", calls, err)
	}
	if _, err := v.Change(juliet, func(*xmpp.Element) bool { return false }); err != nil {
		t.Error(err)
	}
	h.romeo.Send(`<iq type='get' id='1' to='juliet@example.org'>` + ask + `</iq>`)
	h.romeo.Want(`<iq type='result' id='1' from='juliet@example.org' to='romeo@example.org/orchard'><vCard xmlns='vcard-temp'><ROLE>x</ROLE><FN>J</FN></vCard></iq>`)
}
