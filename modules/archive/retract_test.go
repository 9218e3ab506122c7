package archive

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp"
)

const retraction = `<message to='juliet@example.org' type='chat' id='r1'><retract xmlns='urn:xmpp:message-retract:1' id='m1'/>` +
	`<body>retracted</body></message>`

// message is what a result holds.
func message(result *xmpp.Element) *xmpp.Element {
	return result.Child(xmpp.Name{Space: xmpp.NSForward, Local: "forwarded"}).Child(xmpp.Name{Space: xmpp.NSClient, Local: "message"})
}

func TestRetractedMessageIsATombstoneInBothArchives(t *testing.T) {
	for _, origin := range []string{"", `<origin-id xmlns='urn:xmpp:sid:0' id='m1'/>`, `<origin-id xmlns='urn:xmpp:sid:0' id='other'/>`} {
		h := newHouse(t)
		h.romeo.Send(`<message to='juliet@example.org' type='chat' id='m1' xml:lang='en'><body>oops</body>` + origin + `</message>`)
		h.romeo.Send(`<message to='juliet@example.org' type='chat' id='m2'><body>more</body></message>`)
		before := map[string][]string{"romeo": h.ids("romeo"), "juliet": h.ids("juliet")}
		h.romeo.Send(strings.Replace(retraction, "juliet@example.org", "juliet@example.org/b", 1))
		for _, c := range []*moduletest.Client{h.romeo, h.juliet} {
			a := ask(c, `<query xmlns='urn:xmpp:mam:2'/>`)
			if got := strings.Join(a.bodies(), "|"); got != "-|more|retracted" {
				t.Fatalf("%s: %s", c.Addr(), got)
			}
			if got := h.ids(c.Bare().Local()); fmt.Sprint(got[:2]) != fmt.Sprint(before[c.Bare().Local()]) ||
				a.results[0].Attr("id") != got[0] {
				t.Errorf("%s: the ids were %v and are %v", c.Addr(), before[c.Bare().Local()], got)
			}
			m := message(a.results[0])
			stamp := m.Child(retractedName).Attr("stamp")
			if _, err := xmpp.ParseTime(stamp); err != nil {
				t.Error(err)
			}
			moduletest.Same(t, string(m.Append(nil)), `<message from='romeo@example.org/a' to='juliet@example.org' type='chat' id='m1'>`+
				`<retracted xmlns='urn:xmpp:message-retract:1' id='r1' stamp='`+stamp+`'/></message>`)
		}
		// Nothing to be found any more, and nothing is done.
		h.romeo.Send(strings.Replace(retraction, "r1", "r2", 1))
		a := ask(h.juliet, `<query xmlns='urn:xmpp:mam:2'/>`)
		if got := message(a.results[0]).Child(retractedName).Attr("id"); got != "r1" {
			t.Errorf("the tombstone names %s", got)
		}
	}
}

func TestOnlyTheAuthorRetracts(t *testing.T) {
	for _, test := range []struct{ name, in string }{
		{"nobody's message", strings.Replace(retraction, "id='m1'", "id='m3'", 1)},
		{"no id", strings.Replace(retraction, " id='m1'", "", 1)},
		{"no id of its own", strings.Replace(retraction, " id='r1'", "", 1)},
		{"the retraction itself", strings.Replace(strings.Replace(retraction, "id='m1'", "id='m3'", 1), "id='r1'", "id='m3'", 1)},
	} {
		h := newHouse(t)
		h.romeo.Send(`<message to='juliet@example.org' type='chat' id='m1'><body>x</body></message>`)
		h.romeo.Send(test.in)
		h.archived("juliet", "x", "retracted")
		h.archived("romeo", "x", "retracted")
	}
	h := newHouse(t, keeper(nil))
	h.romeo.Send(`<message to='juliet@example.org' type='chat' id='m1'><body>romeo's</body></message>`)
	h.juliet.Send(strings.Replace(retraction, "juliet@", "romeo@", 1))
	nurse := moduletest.Login(t, h.r, "nurse/n")
	nurse.Send(retraction)
	h.archived("juliet", "romeo's", "retracted", "retracted")
	h.archived("romeo", "romeo's", "retracted")
	// In another conversation it is another message.
	h.romeo.Send(strings.Replace(retraction, "juliet@", "nurse@", 1))
	h.archived("juliet", "romeo's", "retracted", "retracted")
}

func TestOwnNoteIsRetracted(t *testing.T) {
	h := newHouse(t)
	h.romeo.Send(`<message to='romeo@example.org' type='chat' id='m1'><body>x</body><origin-id xmlns='urn:xmpp:sid:0' id='m1'/></message>`)
	h.romeo.Send(strings.Replace(retraction, "juliet@", "romeo@", 1))
	h.archived("romeo", "-", "retracted")
}

func TestOldMessageIsRetractedWithinBounds(t *testing.T) {
	h := newHouse(t)
	h.romeo.Send(`<message to='juliet@example.org' type='chat' id='m1'><body>x</body></message>`)
	for i := range lookBack - 2 {
		h.romeo.Send(fmt.Sprintf(`<message to='juliet@example.org' type='chat'><body>%d</body></message>`, i))
	}
	h.romeo.Send(retraction)
	first := func() string { return ask(h.juliet, `<query xmlns='urn:xmpp:mam:2'/>`).bodies()[0] }
	if got := first(); got != "-" {
		t.Errorf("within: %s", got)
	}
	h = newHouse(t)
	h.romeo.Send(`<message to='juliet@example.org' type='chat' id='m1'><body>x</body></message>`)
	for i := range lookBack {
		h.romeo.Send(fmt.Sprintf(`<message to='juliet@example.org' type='chat'><body>%d</body></message>`, i))
	}
	h.romeo.Send(retraction)
	if got := first(); got != "x" {
		t.Errorf("beyond: %s", got)
	}
}

func TestRetractionIsArchivedWhateverItSays(t *testing.T) {
	h := newHouse(t)
	h.romeo.Send(`<message to='juliet@example.org' type='chat' id='m1'><body>x</body></message>`)
	if e := h.romeo.Send(`<message to='juliet@example.org' type='chat' id='r1'><retract xmlns='urn:xmpp:message-retract:1' id='m1'/>` +
		`<no-store xmlns='urn:xmpp:hints'/></message>`); e.Outcome != router.Delivered {
		t.Error(e.Outcome)
	}
	h.archived("juliet", "-", "-")
}
