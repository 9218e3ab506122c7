package ping_test

import (
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/modules/ping"
)

func TestPingIsAnsweredByTheHostAndTheOwnAccountOnly(t *testing.T) {
	const (
		get         = `<ping xmlns='urn:xmpp:ping'/>`
		unavailable = `<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>`
	)
	r := moduletest.New("romeo", "juliet")
	r.Use(ping.New(r))
	romeo := moduletest.Login(t, r, "romeo/orchard")
	for _, c := range []struct{ name, request, answer string }{
		{"host", `<iq type='get' id='1' to='example.org'>` + get + `</iq>`,
			`<iq type='result' id='1' from='example.org' to='romeo@example.org/orchard'/>`},
		{"own account without an address", `<iq type='get' id='1'>` + get + `</iq>`,
			`<iq type='result' id='1' from='romeo@example.org' to='romeo@example.org/orchard'/>`},
		{"own account", `<iq type='get' id='1' to='romeo@example.org'>` + get + `</iq>`,
			`<iq type='result' id='1' from='romeo@example.org' to='romeo@example.org/orchard'/>`},
		{"another's account", `<iq type='get' id='1' to='juliet@example.org'>` + get + `</iq>`,
			`<iq type='error' id='1' from='juliet@example.org' to='romeo@example.org/orchard'>` + unavailable + `</iq>`},
		{"nobody's account", `<iq type='get' id='1' to='nurse@example.org'>` + get + `</iq>`,
			`<iq type='error' id='1' from='nurse@example.org' to='romeo@example.org/orchard'>` + unavailable + `</iq>`},
		{"set", `<iq type='set' id='1' to='example.org'>` + get + `</iq>`,
			`<iq type='error' id='1' from='example.org' to='romeo@example.org/orchard'>` + unavailable + `</iq>`},
	} {
		t.Run(c.name, func(t *testing.T) {
			romeo.Send(c.request)
			romeo.Want(c.answer)
		})
	}
}
