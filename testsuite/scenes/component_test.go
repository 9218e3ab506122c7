package scenes

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"jackdaw/testsuite/harness"
)

func TestComponentsAndUsersTalk(t *testing.T) {
	t.Parallel()
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			addr, secret := harness.FreeAddr(), filepath.Join(t.TempDir(), "secret")
			write := func(text string) {
				if err := os.WriteFile(secret, []byte(text+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write("first")
			s := harness.Start(t, harness.Options{Place: place, Listen: fmt.Sprintf("component: [%q]", addr),
				Config: fmt.Sprintf("component:\n  secrets: {bot.localhost: s3cret, irc.localhost: %q, gateway.localhost: s3cret, answers.localhost: s3cret}\n"+
					"  delegations: {answers.localhost: {namespaces: {'urn:xmpp:mam:2': [node], 'urn:x:weather': [], "+
					"'urn:xmpp:delegation:2:bare:disco#info:*': []}}}\n"+
					"  privileges: {gateway.localhost: {roster: both, message: true, presence: true, "+
					"iq: {'http://jabber.org/protocol/pubsub': both}}}", "file:"+secret)})
			perform(t, nil, "component", stageOf(s), func(l line) answer {
				switch l.Ask {
				case "listener":
					return answer{Out: addr}
				case "secret": // of irc.localhost from now on
					write(l.Stdin)
					return answer{}
				}
				return help(t, s, l)
			})
		})
	}
}
