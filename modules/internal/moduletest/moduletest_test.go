package moduletest

import (
	"testing"

	"jackdaw/xmpp"
)

func TestStanzaIsReadAndWrittenToTheSameTree(t *testing.T) {
	for _, xml := range []string{
		`<message to='a@example.org' type='chat' id='1' xml:lang='en'><body>x</body><x xmlns='y'>a<b/></x></message>`,
		`<presence/>`,
		`<iq type='get' id='2'><ping xmlns='urn:xmpp:ping'/></iq>`,
	} {
		Same(t, string(Parse(t, xml).Append(nil)), xml)
	}
}

func TestMessageReachesTheClientThatItIsFor(t *testing.T) {
	r := New("romeo", "juliet")
	r.Use()
	romeo, juliet := Login(t, r, "romeo/a"), Login(t, r, "juliet/b")
	juliet.Available(0)
	romeo.Send(`<message to='juliet@example.org' type='chat'><body>hi</body></message>`)
	juliet.Want(`<message from='romeo@example.org/a' to='juliet@example.org' type='chat'><body>hi</body></message>`)
	if e := romeo.Send(`<message to='nurse@example.org' type='chat'><body>hi</body></message>`); e.Err == nil || e.Err.Condition != xmpp.CondServiceUnavailable {
		t.Errorf("a message to nobody fared as %v, %v", e.Outcome, e.Err)
	}
}
