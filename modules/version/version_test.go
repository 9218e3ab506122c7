package version_test

import (
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/modules/version"
)

func TestVersionTellsNoOperatingSystem(t *testing.T) {
	r := moduletest.New("romeo")
	r.Use(version.New(r, "1.2<3"))
	romeo := moduletest.Login(t, r, "romeo/orchard")
	romeo.Send(`<iq type='get' id='v' to='example.org'><query xmlns='jabber:iq:version'/></iq>`)
	romeo.Want(`<iq type='result' id='v' from='example.org' to='romeo@example.org/orchard'>` +
		`<query xmlns='jabber:iq:version'><name>jackdaw</name><version>1.2&lt;3</version></query></iq>`)
}

func TestVersionIsReadOnlyAndOfTheHost(t *testing.T) {
	r := moduletest.New("romeo")
	r.Use(version.New(r, "1"))
	romeo := moduletest.Login(t, r, "romeo/orchard")
	romeo.Send(`<iq type='set' id='v' to='example.org'><query xmlns='jabber:iq:version'/></iq>`)
	romeo.Send(`<iq type='get' id='w'><query xmlns='jabber:iq:version'/></iq>`)
	const unavailable = `<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>`
	romeo.Want(`<iq type='error' id='v' from='example.org' to='romeo@example.org/orchard'>`+unavailable+`</iq>`,
		`<iq type='error' id='w' from='romeo@example.org' to='romeo@example.org/orchard'>`+unavailable+`</iq>`)
}

func TestAVersionIsToldThoughTheBuildWasGivenNone(t *testing.T) {
	r := moduletest.New("romeo")
	r.Use(version.New(r, ""))
	romeo := moduletest.Login(t, r, "romeo/orchard")
	romeo.Send(`<iq type='get' id='v' to='example.org'><query xmlns='jabber:iq:version'/></iq>`)
	romeo.Want(`<iq type='result' id='v' from='example.org' to='romeo@example.org/orchard'>` +
		`<query xmlns='jabber:iq:version'><name>jackdaw</name><version>unknown</version></query></iq>`)
}
