package archive

import (
	"testing"

	"jackdaw/modules/internal/moduletest"
)

func TestWhatBelongsIntoAnArchive(t *testing.T) {
	const (
		body    = `<body>x</body>`
		state   = `<active xmlns='http://jabber.org/protocol/chatstates'/>`
		noStore = `<no-store xmlns='urn:xmpp:hints'/>`
		passing = `<no-permanent-store xmlns='urn:xmpp:hints'/>`
		store   = `<store xmlns='urn:xmpp:hints'/>`
		retract = `<retract xmlns='urn:xmpp:message-retract:1' id='1'/>`
	)
	for _, test := range []struct {
		kind, in string
		want     bool
	}{
		{"chat", body, true},
		{"normal", body, true},
		{"normal", `<subject>x</subject>`, true},
		{"chat", body + state, true},
		{"chat", `<encrypted xmlns='eu.siacs.conversations.axolotl'/>` + store, true},
		{"chat", `<encrypted xmlns='eu.siacs.conversations.axolotl'/>`, true},
		{"normal", `<x xmlns='http://jabber.org/protocol/muc#user'><invite from='a@b'/></x>`, true},
		{"chat", `<received xmlns='urn:xmpp:receipts' id='1'/>`, true},
		{"chat", `<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>`, true},
		{"chat", ``, false},
		{"chat", state, false},
		{"chat", state + `<thread>t</thread>`, false},
		{"chat", state + `<request xmlns='urn:xmpp:receipts'/><origin-id xmlns='urn:xmpp:sid:0' id='1'/>`, false},
		{"chat", `<markable xmlns='urn:xmpp:chat-markers:0'/>`, false},
		{"normal", `<event xmlns='http://jabber.org/protocol/pubsub#event'/>`, false},
		{"chat", body + noStore, false},
		{"chat", body + passing, false},
		{"chat", body + noStore + store, true},
		{"chat", body + passing + store, false},
		{"chat", state + store, true},
		{"chat", retract + noStore, true},
		{"chat", retract + passing, true},
		{"headline", body, false},
		{"headline", body + store, true},
		{"groupchat", body, false},
		{"groupchat", body + store, false},
		{"error", body + store, false},
	} {
		s := moduletest.Parse(t, `<message type='`+test.kind+`'>`+test.in+`</message>`)
		for range 2 {
			if got := worthKeeping(s); got != test.want {
				t.Errorf("%s: %s: %v", test.kind, test.in, got)
			}
			s.Children = nil // the index is made then
		}
	}
}
