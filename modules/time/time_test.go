package time

import (
	"testing"
	"testing/synctest"
	clock "time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/xmpp"
)

func TestTimeIsInUTCWithTheOffsetBeside(t *testing.T) {
	at := clock.Date(2006, 12, 19, 11, 58, 35, 0, clock.FixedZone("", -6*3600)) // XEP-0202, example 2
	moduletest.Same(t, string(answer(at)), `<time xmlns='urn:xmpp:time'><tzo>-06:00</tzo><utc>2006-12-19T17:58:35.000Z</utc></time>`)
}

func TestTheHostTellsItsTimeOnRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := moduletest.New("romeo")
		r.Use(New(r))
		romeo := moduletest.Login(t, r, "romeo/orchard")
		romeo.Send(`<iq type='get' id='t' to='example.org'><time xmlns='urn:xmpp:time'/></iq>`)
		romeo.Send(`<iq type='set' id='u' to='example.org'><time xmlns='urn:xmpp:time'/></iq>`)
		romeo.Want(`<iq type='result' id='t' from='example.org' to='romeo@example.org/orchard'><time xmlns='urn:xmpp:time'>`+
			`<tzo>`+xmpp.FormatZone(clock.Now())+`</tzo><utc>2000-01-01T00:00:00.000Z</utc></time></iq>`,
			`<iq type='error' id='u' from='example.org' to='romeo@example.org/orchard'><error type='cancel'>`+
				`<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`)
	})
}
