package scenes

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

func TestSpamIsReportedHeldAndBounded(t *testing.T) {
	onEach(t, "spam", harness.Options{Config: "modules: {strangers: {hosts: {localhost: hold}, recipients: 5}}"})
}

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{Place: place, Env: quick, Users: []string{"romeo", "juliet", "admin"},
				Config: "modules: {strangers: {policy: refuse, recipients: 4}}"})
			romeo, juliet := enter(t, s, "romeo", "desk"), enter(t, s, "juliet", "desk")
			for _, to := range []string{"juliet@localhost", juliet.JID, "nobody@localhost"} {
				romeo.say("<message to='" + to + "' type='chat' id='m'><body>hello</body></message>")
				got := romeo.only("a stranger's message to "+to, romeo.settled())
				if harness.Attr(got, "type") != "error" || !strings.Contains(got, "<policy-violation ") {
					t.Errorf("to %s: %s", to, got)
				}
			}
			juliet.nothing("of strangers", juliet.settled())
			romeo.say("<message to='juliet@localhost' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>")
			romeo.nothing("who says nothing is told nothing", romeo.settled())
			juliet.say("<message to='romeo@localhost' type='chat' id='a'><body>come</body></message>")
			juliet.nothing("romeo has written to her", juliet.settled())
			if got := romeo.only("her message", romeo.settled()); !strings.Contains(got, "<body>come</body>") {
				t.Error(got)
			}
			romeo.say("<message to='juliet@localhost' type='chat' id='b'><body>I come</body></message>")
			romeo.nothing("who was written to may answer", romeo.settled())
			if got := juliet.only("his answer", juliet.settled()); !strings.Contains(got, "<body>I come</body>") {
				t.Error(got)
			}

			// Juliet, as she was told, and nobody; these are two more.
			admin := enter(t, s, "admin", "desk")
			for i := range 3 {
				romeo.say(fmt.Sprintf("<message to='friar%d@localhost' type='chat' id='f%d'><body>help</body></message>", i, i))
			}
			got := romeo.settled()
			romeo.refusal("a fifth recipient", got[len(got)-1:], "friar2@localhost", "resource-constraint", "too many different addresses")
			el, err := admin.Until(func(el string) bool { return strings.HasPrefix(el, "<message") })
			if want := "romeo@localhost writes to more than 4 different addresses a minute."; err != nil || !strings.Contains(el, want) {
				t.Errorf("%v; the administrator gets %s, want %q", err, el, want)
			}
		})
	}
}
