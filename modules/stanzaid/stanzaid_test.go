package stanzaid

import (
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp/jid"
)

func TestOnlyIDsInOurNameAreStripped(t *testing.T) {
	r := moduletest.New("romeo", "juliet")
	r.Use(New(r))
	romeo, juliet := moduletest.Login(t, r, "romeo/a"), moduletest.Login(t, r, "juliet/b")
	juliet.Available(0)
	for _, test := range []struct{ name, in, out string }{
		{"nothing to strip", `<body>x</body>`, `<body>x</body>`},
		{"the recipient's", `<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.org' id='1'/><body>x</body>`, `<body>x</body>`},
		{"the recipient's, written in another way", `<stanza-id xmlns='urn:xmpp:sid:0' by='Juliet@EXAMPLE.org' id='1'/>`, ``},
		{"our host's", `<body>x</body><stanza-id xmlns='urn:xmpp:sid:0' by='example.org' id='1'/>`, `<body>x</body>`},
		{"a room's", `<stanza-id xmlns='urn:xmpp:sid:0' by='room@rooms.example.net' id='1'/>`, `<stanza-id xmlns='urn:xmpp:sid:0' by='room@rooms.example.net' id='1'/>`},
		{"several", `<stanza-id xmlns='urn:xmpp:sid:0' by='room@c' id='1'/><stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.org' id='1'/><stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.org' id='2'/>`,
			`<stanza-id xmlns='urn:xmpp:sid:0' by='room@c' id='1'/>`},
		{"the origin's", `<origin-id xmlns='urn:xmpp:sid:0' id='1'/>`, `<origin-id xmlns='urn:xmpp:sid:0' id='1'/>`},
		{"one by nobody", `<stanza-id xmlns='urn:xmpp:sid:0' by='@' id='1'/>`, `<stanza-id xmlns='urn:xmpp:sid:0' by='@' id='1'/>`},
		{"not one of these", `<stanza-id xmlns='other' by='juliet@example.org' id='1'/>`, `<stanza-id xmlns='other' by='juliet@example.org' id='1'/>`},
		{"deeper down", `<f xmlns='f'><stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.org' id='1'/></f>`, `<f xmlns='f'><stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.org' id='1'/></f>`},
	} {
		t.Run(test.name, func(t *testing.T) {
			romeo.Send(`<message to='juliet@example.org' id='7'>` + test.in + `</message>`)
			juliet.Want(`<message from='romeo@example.org/a' to='juliet@example.org' id='7'>` + test.out + `</message>`)
		})
	}
}

func TestNoteToOneselfIsStrippedToo(t *testing.T) {
	r := moduletest.New("juliet")
	r.Use(New(r))
	juliet := moduletest.Login(t, r, "juliet/b")
	juliet.Available(0)
	juliet.Send(`<message><stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.org' id='1'/><body>x</body></message>`)
	juliet.Want(`<message from='juliet@example.org/b' to='juliet@example.org'><body>x</body></message>`)
}

func TestForgedSenderIsStrippedToo(t *testing.T) {
	r := moduletest.New("juliet")
	r.Use(New(r))
	juliet := moduletest.Login(t, r, "juliet/b")
	juliet.Available(0)
	s := moduletest.Parse(t, `<message from='juliet@example.org' to='juliet@example.org'><stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.org' id='1'/></message>`)
	r.Route(&router.Envelope{Stanza: s, Account: jid.MustParse("romeo@example.org")})
	juliet.Want(`<message from='juliet@example.org' to='juliet@example.org'/>`)
}
