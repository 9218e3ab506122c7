package externalservices

import (
	"errors"
	"strings"
	"testing"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A place has services that can be changed.
type place struct {
	*Module
	r      *router.Router
	list   []Service
	may    bool
	broken error
}

func newPlace() *place {
	p := &place{r: moduletest.New("romeo", "juliet"), may: true}
	p.Module = New(Options{Router: p.r, Services: func(string) []Service { return p.list }, Log: moduletest.Discard(),
		May: func(jid.JID) (bool, error) { return p.may, p.broken }})
	p.r.Use(p.Module.Module())
	p.list = []Service{{Type: "stun", Host: "192.0.2.1", Port: 3478, Transport: "udp"}, relay("192.0.2.1", 3478, "udp"),
		relay("192.0.2.1", 3478, "tcp")}
	return p
}

// relay is a service with credentials, made of the name of who asks.
func relay(host string, port int, transport string) Service {
	return Service{Type: "turn", Host: host, Port: port, Transport: transport,
		Sign: func(user jid.JID) (Credentials, error) {
			if user.Local() == "juliet" {
				return Credentials{}, errors.New("her name is too long")
			}
			return Credentials{"u-" + user.Local(), "p&", time.Unix(1e9, 0)}, nil
		}}
}

const (
	signed = ` restricted='true' username='u-romeo' password='p&amp;' expires='2001-09-09T01:46:40.000Z'`
	udp    = `<service type='turn' host='192.0.2.1' port='3478' transport='udp'`
	tcp    = `<service type='turn' host='192.0.2.1' port='3478' transport='tcp'`
)

func ask(content string) string {
	return `<iq type='get' id='1' to='example.org'>` + content + `</iq>`
}

func answer(content string) string {
	return `<iq type='result' id='1' from='example.org' to='romeo@example.org/orchard'>` + content + `</iq>`
}

func TestUsersAreToldOfServices(t *testing.T) {
	p := newPlace()
	romeo := moduletest.Login(t, p.r, "romeo/orchard")
	romeo.Send(ask(`<services xmlns='urn:xmpp:extdisco:2'/>`))
	romeo.Want(answer(`<services xmlns='urn:xmpp:extdisco:2'>` +
		`<service type='stun' host='192.0.2.1' port='3478' transport='udp'/>` + udp + signed + `/>` + tcp + signed + `/></services>`))
	romeo.Send(ask(`<services xmlns='urn:xmpp:extdisco:2' type='turn'/>`))
	romeo.Want(answer(`<services xmlns='urn:xmpp:extdisco:2' type='turn'>` + udp + signed + `/>` + tcp + signed + `/></services>`))
	romeo.Send(ask(`<services xmlns='urn:xmpp:extdisco:2' type='ftp'/>`))
	romeo.Want(answer(`<services xmlns='urn:xmpp:extdisco:2' type='ftp'/>`))
	if len(p.asked[romeo.Session]) != 2 {
		t.Errorf("remembered: %v", p.asked[romeo.Session])
	}
	// Who can have no credentials is told of the service, and may know some.
	juliet := moduletest.Login(t, p.r, "juliet/balcony")
	juliet.Send(ask(`<services xmlns='urn:xmpp:extdisco:2' type='turn'/>`))
	if got := strings.Join(juliet.Received(), ""); strings.Contains(got, "username") || !strings.Contains(got, "restricted") {
		t.Errorf("she is told %s", got)
	}
}

func TestUsersAskForCredentials(t *testing.T) {
	p := newPlace()
	romeo := moduletest.Login(t, p.r, "romeo/orchard")
	p.list = append(p.list, relay("192.0.2.1", 5349, "tcp"))
	romeo.Send(ask(`<credentials xmlns='urn:xmpp:extdisco:2'><service host='192.0.2.1' type='turn' port='5349'/></credentials>`))
	short := strings.TrimPrefix(signed, " restricted='true'")
	romeo.Want(answer(`<credentials xmlns='urn:xmpp:extdisco:2'>` +
		`<service type='turn' host='192.0.2.1' port='5349' transport='tcp'` + short + `/></credentials>`))
	romeo.Send(ask(`<credentials xmlns='urn:xmpp:extdisco:2'><service host='192.0.2.1' type='turn'/></credentials>`))
	if n := strings.Count(strings.Join(romeo.Received(), ""), "username="); n != 3 {
		t.Errorf("%d services with credentials, want those on both ports", n)
	}
}

func TestWhoMayNotKnowIsRefused(t *testing.T) {
	p := newPlace()
	romeo, juliet := moduletest.Login(t, p.r, "romeo/orchard"), moduletest.Login(t, p.r, "juliet/balcony")
	const services = `<services xmlns='urn:xmpp:extdisco:2'/>`
	refused := func(what string, c *moduletest.Client, xml string, want xmpp.Condition) {
		t.Helper()
		if e := c.Send(xml); e.Err == nil || e.Err.Condition != want {
			t.Errorf("%s: %v, want %s", what, e.Err, want)
		}
	}
	for what, content := range map[string]string{
		"no service": ``, "no host": `<service type='turn'/>`, "no type": `<service host='192.0.2.1'/>`,
	} {
		refused(what, romeo, ask(`<credentials xmlns='urn:xmpp:extdisco:2'>`+content+`</credentials>`), "bad-request")
	}
	for what, service := range map[string]string{
		"another host": `host='192.0.2.2' type='turn'`, "another port": `host='192.0.2.1' type='turn' port='1'`,
		"none needed": `host='192.0.2.1' type='stun'`,
	} {
		refused(what, romeo, ask(`<credentials xmlns='urn:xmpp:extdisco:2'><service `+service+`/></credentials>`),
			"item-not-found")
	}
	refused("none to be had", juliet, ask(`<credentials xmlns='urn:xmpp:extdisco:2'>`+
		`<service host='192.0.2.1' type='turn'/></credentials>`), "item-not-found")
	refused("a change", romeo, `<iq type='set' id='1' to='example.org'>`+services+`</iq>`, "bad-request")
	p.may = false
	refused("disabled", romeo, ask(services), "forbidden")
	p.broken = errors.New("storage is away")
	refused("unknown", romeo, ask(services), "resource-constraint")

	p.may, p.broken = true, nil
	e := &router.Envelope{Batch: new(router.Batch), Stanza: moduletest.Parse(t, `<iq type='get' id='1' `+
		`from='stranger@example.com/x' to='example.org'>`+services+`</iq>`)}
	if p.r.Route(e); e.Err == nil || e.Err.Condition != "forbidden" {
		t.Errorf("a stranger: %v", e.Err)
	}
}

func TestWhoHasAskedIsToldOfChanges(t *testing.T) {
	p := newPlace()
	romeo, juliet := moduletest.Login(t, p.r, "romeo/orchard"), moduletest.Login(t, p.r, "juliet/balcony")
	for _, kind := range []string{"stun", "turn"} {
		romeo.Send(ask(`<services xmlns='urn:xmpp:extdisco:2' type='` + kind + `'/>`))
	}
	romeo.Received()
	p.Changed()
	if got := romeo.Received(); len(got) != 0 {
		t.Errorf("nothing has changed, and he is told %s", got)
	}
	p.list = []Service{p.list[0], relay("192.0.2.9", 3478, "udp"), p.list[2]}
	p.Changed()
	romeo.Want(`<iq type='set' id='services-1' from='example.org' to='romeo@example.org/orchard'>` +
		`<services xmlns='urn:xmpp:extdisco:2' type='turn'>` +
		`<service action='delete' type='turn' host='192.0.2.1' port='3478' transport='udp'/>` +
		`<service action='add' type='turn' host='192.0.2.9' port='3478' transport='udp'` + signed + `/></services></iq>`)
	romeo.Send(`<iq type='result' id='services-1' to='example.org'/>`)
	if got := juliet.Received(); len(got) != 0 {
		t.Errorf("she has not asked, and is told %s", got)
	}
	romeo.Send(ask(`<services xmlns='urn:xmpp:extdisco:2'/>`))
	romeo.Received()
	p.list = nil
	p.Changed()
	if got := romeo.Received(); len(got) != 1 || strings.Count(got[0], "action='delete'") != 3 {
		t.Errorf("all are gone, and he is told %s", got)
	}
	romeo.Logout()
	if p.Changed(); len(p.asked) != 0 {
		t.Errorf("%d are remembered", len(p.asked))
	}
}
