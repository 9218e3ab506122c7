package reports

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// far is all other servers. It answers disco#info as it is told, and notes the messages that come.
type far struct {
	r      *router.Router
	info   string // in the answer; "": there is none
	from   string // that answers; "": who was asked
	broken bool

	mu    sync.Mutex // guards the rest
	asked []*xmpp.Stanza
	got   []*xmpp.Stanza
}

// questions are those that came until now.
func (f *far) questions() []*xmpp.Stanza {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// messages are those that came until now.
func (f *far) messages() []*xmpp.Stanza {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.got
}

func (*far) Admits(string) *xmpp.Error { return nil }

func (f *far) Send(e *router.Envelope) {
	s := e.Stanza.Clone()
	if f.broken {
		e.Refuse(xmpp.RemoteServerNotFound(""))
		return
	}
	e.Settle(router.Queued)
	f.mu.Lock()
	if s.Kind == xmpp.Message {
		f.got = append(f.got, &s)
		f.mu.Unlock()
		return
	}
	f.asked = append(f.asked, &s)
	f.mu.Unlock()
	if f.info == "" {
		return
	}
	reply := s.Result([]byte("<query xmlns='http://jabber.org/protocol/disco#info'>" + f.info + "</query>"))
	if f.from != "" {
		reply.From = jid.MustParse(f.from)
	}
	f.r.Route(&router.Envelope{Quiet: true, Peer: "example.net", Stanza: &reply})
}

func contacts(field, value string) string {
	return "<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/network/serverinfo</value></field>" +
		"<field var='" + field + "'><value>mailto:x@example.net</value><value>" + value + "</value></field></x>"
}

const agreed = `<report xmlns='urn:xmpp:reporting:1' reason='urn:xmpp:reporting:spam'>%s</report>`

func TestAReportIsForwardedWhereTheUserAgrees(t *testing.T) {
	abuse := contacts("abuse-addresses", "xmpp:abuse@example.net")
	for _, test := range []struct{ name, inside, info, to string }{
		{"no word", "", abuse, ""},
		{"to the origin", "<report-origin/>", abuse, "abuse@example.net"},
		{"to where reports go", "<report-origin/>", contacts("report-addresses", "xmpp:reports@example.net?message") + abuse, "reports@example.net"},
		{"to the domain", "<report-origin/>", contacts("admin-addresses", "xmpp:a@example.net"), "example.net"},
		{"to third parties", "<third-party/>", "", "third.example"},
		{"to both", "<report-origin/><third-party/>", abuse, "third.example abuse@example.net"},
		{"of another namespace", "<report-origin xmlns='urn:x'/>", "", ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t)
			h.far.info = test.info
			h.parties = []jid.JID{jid.MustParse("third.example")}
			h.block(item1("romeo@example.net", fmt.Sprintf(agreed, "<text xml:lang='en'>Never came trouble</text>"+test.inside)))
			synctest.Wait()
			var to []string
			for _, m := range h.far.messages() {
				to = append(to, m.To.String())
				x := string(m.Payload)
				for _, want := range []string{"<jid xmlns='urn:xmpp:jid:0'>romeo@example.net</jid>", "reason='urn:xmpp:reporting:spam'",
					"<text xml:lang='en'>Never came trouble</text>", "<body>A user of example.org reports romeo@example.net: spam.</body>"} {
					if !strings.Contains(x, want) {
						t.Errorf("%s: %s is not in %s", test.name, want, x)
					}
				}
				if m.From.String() != "example.org" || strings.Contains(x, "juliet") {
					t.Errorf("%s: %s: %s", test.name, m.From, x)
				}
			}
			if got := strings.Join(to, " "); got != test.to {
				t.Errorf("%s: forwarded to %q, want %q", test.name, got, test.to)
			}
			for _, q := range h.far.questions() {
				if strings.Contains(q.From.String(), "juliet") {
					t.Errorf("%s: who has reported asks: %s", test.name, q.From)
				}
			}
			h.m.Close()
		})
	}
}

func TestReportedMessagesGoAlongWithoutWhoReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.parties = []jid.JID{jid.MustParse("third.example")}
		add := func(id uint64, from, payload string) {
			h.archive[id] = *moduletest.Parse(t, `<message from='`+from+`' to='juliet@example.org/balcony' type='chat' id='m'>`+payload+
				`<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.org' id='1'/></message>`)
		}
		add(1, "romeo@example.net/x", "<body>buy</body><addresses xmlns='http://jabber.org/protocol/address'>"+
			"<address type='to' jid='juliet@example.org'/></addresses>")
		add(2, "nurse@example.net/x", "<body>private</body>")
		add(3, "romeo@example.net/x", "<body>"+strings.Repeat("x", maxMessage)+"</body>")
		add(4, "romeo@example.net/x", "<active xmlns='http://jabber.org/protocol/chatstates'/>")
		ids := "<stanza-id xmlns='urn:xmpp:sid:0' by='romeo@example.net' id='1'/>"
		for _, id := range []string{"2", "3", "4", "5", "no number", "1"} {
			ids += "<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.org' id='" + id + "'/>"
		}
		h.block(item1("romeo@example.net", fmt.Sprintf(agreed, ids+"<third-party/>")))
		if len(h.far.messages()) != 1 {
			t.Fatalf("%d messages", len(h.far.messages()))
		}
		x := string(h.far.messages()[0].Payload)
		moduletest.Same(t, x[max(strings.Index(x, "<forwarded"), 0):], "<forwarded xmlns='urn:xmpp:forward:0'>"+
			"<delay xmlns='urn:xmpp:delay' stamp='1970-01-01T00:00:00.000Z'/>"+
			"<message xmlns='jabber:client' from='romeo@example.net/x' type='chat' id='m'><body>buy</body></message></forwarded>")
		if strings.Contains(x, "juliet") {
			t.Errorf("who has reported is named: %s", x)
		}
		h.m.Close()
	})
}

func TestOnlyTheDomainSaysWhereItsReportsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.far.info, h.far.from = contacts("abuse-addresses", "xmpp:victim@third.example"), "third.example"
		h.block(item1("romeo@example.net", fmt.Sprintf(agreed, "<report-origin/>")))
		synctest.Wait()
		if len(h.far.messages()) != 0 {
			t.Errorf("forwarded to %s", h.far.messages()[0].To)
		}
		<-time.After(patience + time.Second)
		synctest.Wait()
		if len(h.far.messages()) != 1 || h.far.messages()[0].To.String() != "example.net" {
			t.Errorf("%d are forwarded", len(h.far.messages()))
		}
		h.m.Close()
	})
}

func TestForwardingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		for i := range maxAsking + 5 { // nobody answers
			h.m.forward(h.juliet.Bare(), jid.MustParse(fmt.Sprintf("a@d%d.example.net", i)), reported(t, "<report-origin/>"))
			synctest.Wait()
		}
		if n := len(h.far.questions()); n != maxAsking {
			t.Errorf("%d domains are asked", n)
		}
		h.m.Close()
		h.m.forward(h.juliet.Bare(), jid.MustParse("a@example.net"), reported(t, "<report-origin/>"))
		if len(h.far.messages()) != 0 {
			t.Errorf("%d are forwarded after the end", len(h.far.messages()))
		}
		h = newHouse(t)
		h.parties = []jid.JID{jid.MustParse("third.example")}
		for range maxForwarded + 5 {
			h.m.forward(h.juliet.Bare(), jid.MustParse("a@example.net"), reported(t, "<third-party/>"))
		}
		if n := len(h.far.messages()); n != maxForwarded || h.m.Stats.ThirdParties.Load() != maxForwarded {
			t.Errorf("%d are forwarded", n)
		}
		h.m.Close()
	})
}

func TestReportsThatNobodyElseIsToHaveStayHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.block(item1("romeo@example.org", fmt.Sprintf(agreed, "<report-origin/>")))
		h.origin = false
		h.block(item1("romeo@example.net", fmt.Sprintf(agreed, "<report-origin/>")))
		h.origin, h.far.broken = true, true
		h.block(item1("romeo@example.net", fmt.Sprintf(agreed, "<report-origin/>")))
		synctest.Wait()
		if len(h.far.messages())+len(h.far.questions()) != 0 || h.m.Stats.Origins.Load() != 0 {
			t.Errorf("%d are forwarded, %d asked", len(h.far.messages()), len(h.far.questions()))
		}
		h.m.Close()
	})
}

func reported(t *testing.T, inside string) *xmpp.Element {
	t.Helper()
	el, err := xmpp.ParseElement(fmt.Appendf(nil, agreed, inside))
	if err != nil {
		t.Fatal(err)
	}
	return el
}

// received reads the archive of juliet.
func (h *house) received(_ context.Context, owner string, id uint64) (xmpp.Stanza, error) {
	s, ok := h.archive[id]
	if !ok || owner != "juliet@example.org" {
		return s, storage.ErrNotFound
	}
	return s, nil
}

func FuzzAddress(f *testing.F) {
	f.Add(contacts("abuse-addresses", "xmpp:abuse@example.net"))
	f.Fuzz(func(t *testing.T, inside string) {
		el, err := xmpp.ParseElement([]byte("<query xmlns='http://jabber.org/protocol/disco#info'>" + inside + "</query>"))
		if err != nil {
			return
		}
		if to := addressOf(el); !to.IsZero() && len(to.String()) > 4*maxAddress {
			t.Errorf("%s", to)
		}
	})
}
