package archive

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const prefsSet = `<prefs xmlns='urn:xmpp:mam:2' default='%s'><always>%s</always><never>%s</never></prefs>`

func listed(jids ...string) (s string) {
	for _, j := range jids {
		s += "<jid>" + j + "</jid>"
	}
	return s
}

func TestPreferencesAreKeptAndTold(t *testing.T) {
	h := newHouse(t)
	get := func() string {
		return string(askWith(h.juliet, `<iq type='get' id='1'><prefs xmlns='urn:xmpp:mam:2'/></iq>`).fin.Append(nil))
	}
	if got := get(); got != `<prefs xmlns='urn:xmpp:mam:2' default='always'><always/><never/></prefs>` {
		t.Errorf("at first: %s", got)
	}
	a := ask(h.juliet, fmt.Sprintf(prefsSet, "roster", listed("Romeo@example.org", "b@c/d"), listed(" montague@x ")))
	want := fmt.Sprintf(prefsSet, "roster", listed("b@c/d", "romeo@example.org"), listed("montague@x"))
	moduletest.Same(t, string(a.fin.Append(nil)), want)
	moduletest.Same(t, get(), want)
	h.a.prefs = newPrefsCache(h.store.Map("archive-prefs")) // as after a restart
	moduletest.Same(t, get(), want)
}

func TestPreferencesThatMakeNoSenseAreRefused(t *testing.T) {
	h := newHouse(t)
	many := make([]string, maxListed+1)
	for i := range many {
		many[i] = fmt.Sprintf("u%d@x", i)
	}
	for _, test := range []struct {
		in   string
		want xmpp.Condition
	}{
		{`<prefs xmlns='urn:xmpp:mam:2'/>`, xmpp.CondBadRequest},
		{`<prefs xmlns='urn:xmpp:mam:2' default='sometimes'/>`, xmpp.CondBadRequest},
		{fmt.Sprintf(prefsSet, "always", listed("@"), ""), xmpp.CondJIDMalformed},
		{fmt.Sprintf(prefsSet, "always", "", listed(many...)), xmpp.CondResourceConstraint},
	} {
		if a := ask(h.juliet, test.in); a.err == nil || a.err.Condition != test.want {
			t.Errorf("%.80s: %v, want %s", test.in, a.err, test.want)
		}
	}
	if a := ask(h.juliet, `<prefs xmlns='urn:xmpp:mam:2' default='never'/>`); a.err != nil {
		t.Error(a.err)
	}
}

func TestPreferencesDecideWhatIsArchived(t *testing.T) {
	for _, test := range []struct {
		name, rest, always, never string
		roster                    bool
		want                      string // of a message from romeo/a, to romeo/a, to romeo, and to oneself
	}{
		{"always", "always", "", "", false, "abcd"},
		{"never", "never", "", "", true, ""},
		{"roster, not in it", "roster", "", "", false, "d"},
		{"roster, in it", "roster", "", "", true, "abcd"},
		{"always him", "never", "romeo@example.org", "", false, "abc"},
		{"always this resource", "never", "romeo@example.org/a", "", false, "ab"},
		{"always another resource", "never", "romeo@example.org/z", "", false, ""},
		{"never him", "always", "", "romeo@example.org", false, "d"},
		{"never this resource", "always", "", "romeo@example.org/a", false, "cd"},
		{"never him, but this resource", "always", "romeo@example.org/a", "romeo@example.org", false, "abd"},
		{"both", "always", "romeo@example.org", "romeo@example.org", false, "d"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(t)
			h.contacts["juliet romeo"] = test.roster
			list := func(j string) string {
				if j == "" {
					return ""
				}
				return listed(j)
			}
			ask(h.juliet, fmt.Sprintf(prefsSet, test.rest, list(test.always), list(test.never)))
			h.romeo.Send(`<message to='juliet@example.org' type='chat'><body>a</body></message>`)
			stamped := strings.Contains(h.juliet.Received()[0], "stanza-id")
			for _, m := range [][2]string{{"romeo@example.org/a", "b"}, {"romeo@example.org", "c"}, {"juliet@example.org", "d"}} {
				h.juliet.Send(`<message to='` + m[0] + `' type='chat'><body>` + m[1] + `</body></message>`)
			}
			if got := strings.Join(ask(h.juliet, `<query xmlns='urn:xmpp:mam:2'/>`).bodies(), ""); got != test.want {
				t.Errorf("archived: %s, want %s", got, test.want)
			}
			if stamped != strings.Contains(test.want, "a") {
				t.Errorf("the message has an id: %v", stamped)
			}
			h.archived("romeo", "a", "b", "c")
		})
	}
}

func TestPreferencesThatCannotBeReadAreAnError(t *testing.T) {
	good := (&prefs{rest: roster, listed: map[string]policy{"a@b": always, "c@d/e": never}}).append(nil)
	p, err := readPrefs(good)
	if err != nil || p.rest != roster || p.of(jid.MustParse("a@b/x")) != always || p.of(jid.MustParse("c@d/e")) != never ||
		p.of(jid.MustParse("c@d")) != roster {
		t.Errorf("%+v, %v", p, err)
	}
	for _, b := range [][]byte{nil, good[:1], good[:4], {9, 'a'}, {1, 'x'}, {1, 'a', 'r', 'j', 0}, {1, 'a', 0}} {
		if _, err := readPrefs(b); err == nil {
			t.Errorf("%q was read", b)
		}
	}
	h := newHouse(t)
	if _, _, err := h.store.Map("archive-prefs").Update(t.Context(), "juliet@example.org", storage.AnyVersion,
		storage.Change{Key: prefsKey, Value: []byte{9}}); err != nil {
		t.Fatal(err)
	}
	if e := h.romeo.SendDurable(hello); e.Outcome != router.Refused {
		t.Error(e.Outcome)
	}
}
