package hooks

import (
	"strings"
	"testing"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// gives imports what is in an export, and returns what became of it.
func gives(t *testing.T, s *shed, user jid.JID, export string, dry bool) (came, had int, lost []string) {
	t.Helper()
	el, err := xmpp.ParseElement([]byte(export))
	if err != nil {
		t.Fatal(err)
	}
	section := s.Module().Portable[0].Import[0]
	if el.Name != section.Name || section.Depth != 1 {
		t.Fatalf("the export is %v", el.Name)
	}
	for _, one := range el.Children() {
		last := uint64(0)
		in := router.NewIncoming(user, one, []*xmpp.Element{el}, dry, &last)
		if err := section.Import(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		for _, p := range in.Writes {
			if err := p.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		came, had, lost = came+in.Came, had+in.Had, append(lost, in.Lost...)
	}
	return came, had, lost
}

func TestHooksMoveWithTheirOwners(t *testing.T) {
	from, to := open(t), open(t)
	from.add("ops", func(h *Hook) { h.Template, h.HMAC, h.Kind = "{{.text}} <&>", "key", "text" })
	from.add("news", nil)
	from.add("hers", func(h *Hook) { h.Owner = juliet })
	var export strings.Builder
	if err := from.exported(t.Context(), romeo, func(b []byte) error { export.Write(b); return nil }); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		dry       bool
		came, had int
	}{{true, 2, 0}, {false, 2, 0}, {false, 0, 2}} {
		came, had, lost := gives(t, to, romeo, export.String(), want.dry)
		if came != want.came || had != want.had || lost != nil {
			t.Errorf("%+v: %d came, %d were there, lost %q", want, came, had, lost)
		}
	}
	was, _ := from.Get(t.Context(), "ops")
	if is, err := to.Get(t.Context(), "ops"); err != nil || is.Template != was.Template || is.HMAC != "key" || is.ID != was.ID {
		t.Errorf("it is %+v, %v; was %+v", is, err, was)
	}
	for name, xml := range map[string]string{
		"another's":      export.String(),
		"no JSON":        "<hooks xmlns='" + router.NSPortable + "'><hook>{</hook></hooks>",
		"something else": "<hooks xmlns='" + router.NSPortable + "'><line>{}</line></hooks>",
		"a bad row":      "<hooks xmlns='" + router.NSPortable + `'><hook>{"id":"x","name":"a b","to":["juliet@example.org"]}</hook></hooks>`,
	} {
		if came, had, lost := gives(t, to, juliet, xml, false); came+had != 0 || len(lost) == 0 {
			t.Errorf("%s: %d came, lost %q", name, came, lost)
		}
	}
	var nothing strings.Builder
	err := from.exported(t.Context(), jid.MustParse("tybalt@example.org"), func(b []byte) error { nothing.Write(b); return nil })
	if err != nil || nothing.Len() > 0 {
		t.Errorf("of nobody: %q, %v", nothing.String(), err)
	}
}
