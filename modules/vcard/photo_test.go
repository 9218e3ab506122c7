package vcard

import (
	"bytes"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

var juliet = jid.MustParse("juliet@example.org")

func TestPhotoIsPutInAndTakenOutOfTheVCard(t *testing.T) {
	h := newHouse(t)
	v := New(h.Router, h.store.Map("vcard"), nil, moduletest.Discard())
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
	if _, err := v.SetPhoto(juliet, "image/png", bytes.Repeat([]byte{1}, MaxSize)); err != ErrTooLarge {
		t.Errorf("a photo without end: %v", err)
	}
}

func TestWhoKeepsAvatarsLearnsOfPhotos(t *testing.T) {
	h := newHouse(t)
	var got []Change
	later := storage.NewPending()
	v := New(h.Router, h.store.Map("vcard"), func(_ *router.Batch, c Change, _ *storage.Pending) *storage.Pending {
		got = append(got, c)
		return later
	}, moduletest.Discard())
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
	if string(got[1].Before) != "hi" || len(got[1].Data)+len(got[2].Data)+len(got[3].Data) > 0 {
		t.Errorf("told %+v", got)
	}
}
