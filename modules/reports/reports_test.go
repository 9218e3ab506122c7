package reports

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

type house struct {
	*testing.T
	r       *router.Router
	juliet  *moduletest.Client
	m       *Reports
	far     *far
	origin  bool
	parties []jid.JID
	archive map[uint64]xmpp.Stanza
	log     bytes.Buffer
	told    []string
	blocked int
}

func newHouse(t *testing.T) *house {
	h := &house{T: t, r: moduletest.New("romeo", "juliet"), origin: true, archive: map[uint64]xmpp.Stanza{}}
	h.far = &far{r: h.r}
	h.r.SetRemote(h.far)
	h.m = New(Options{Router: h.r, Tell: func(host, _, line string) { h.told = append(h.told, host+": "+line) },
		Log: slog.New(slog.NewTextHandler(&h.log, nil)), Received: h.received, Origin: func() bool { return h.origin },
		ThirdParties: func() []jid.JID { return h.parties }, Address: func(i int) string { return fmt.Sprint(prefix, "secret", i) }})
	h.r.Use(h.m.Module(),
		router.Module{Name: "blocking", IQ: []router.IQ{{Payload: block, Scope: router.Account, Handle: func(e *router.Envelope) {
			h.blocked++
			h.r.Answer(e, nil)
		}}}})
	h.juliet = moduletest.Login(t, h.r, "juliet/balcony")
	return h
}

// block sends a request of juliet's with these items, which must reach its module.
func (h *house) block(items string) {
	h.Helper()
	before := h.blocked
	if e := h.juliet.Send(`<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'>` + items + `</block></iq>`); e.Outcome != router.Delivered || h.blocked != before+1 {
		h.Errorf("%s: %v, %v", items, e.Outcome, e.Err)
	}
}

func (h *house) want(what string, want ...string) {
	h.Helper()
	if !slices.Equal(h.told, want) {
		h.Errorf("%s: told\n%s\nwant\n%s", what, strings.Join(h.told, "\n"), strings.Join(want, "\n"))
	}
	h.told = nil
}

const spam = `<report xmlns='urn:xmpp:reporting:1' reason='urn:xmpp:reporting:spam'/>`

func item1(jid, inside string) string { return `<item jid='` + jid + `'>` + inside + `</item>` }

func TestAReportIsLoggedAndTold(t *testing.T) {
	h := newHouse(t)
	h.block(item1("romeo@example.net", spam))
	h.want("the shortest", "example.org: juliet@example.org has blocked romeo@example.net and reports spam.")
	if want := "level=INFO msg=report by=juliet@example.org about=romeo@example.net reason=urn:xmpp:reporting:spam stanzas=[]"; !strings.Contains(h.log.String(), want) {
		t.Errorf("the log says %s", h.log.String())
	}
	h.block(item1("romeo@example.net", `<report xmlns='urn:xmpp:reporting:1' reason='urn:xmpp:reporting:abuse'>`+
		`<stanza-id xmlns='urn:xmpp:sid:0' by='romeo@example.net' id='28482-98726-73623'/><stanza-id xmlns='urn:xmpp:sid:0' by='romeo@example.net' id='2'/>`+
		`<stanza-id xmlns='urn:xmpp:sid:0' by='@' id='3'/><stanza-id xmlns='urn:xmpp:sid:0' by='romeo@example.net'/>`+
		"<text xml:lang='en'>\n  Never came trouble\n  to my house like this.\n</text><text xml:lang='de'>Nie</text><report-origin/><third-party/></report>"))
	h.want("with all", `example.org: juliet@example.org has blocked romeo@example.net and reports abuse. Stanza ids: "28482-98726-73623" by romeo@example.net, `+
		`"2" by romeo@example.net. The user says: "Never came trouble to my house like this."`)
	if strings.Contains(h.log.String(), "trouble") || !strings.Contains(h.log.String(), "28482-98726-73623") {
		t.Errorf("the log says %s", h.log.String())
	}
}

func TestEachItemHasAReportOfItsOwn(t *testing.T) {
	h := newHouse(t)
	h.block(item1("a@example.net", spam) + item1("b@example.net", "") + item1("c.example", `<report xmlns='urn:xmpp:reporting:1' reason='urn:other'/>`))
	h.want("three items", "example.org: juliet@example.org has blocked a@example.net and reports spam.",
		`example.org: juliet@example.org has blocked c.example and reports "urn:other".`)
}

func TestWhatIsNoReportChangesNothing(t *testing.T) {
	h := newHouse(t)
	for _, items := range []string{
		item1("a@example.net", ""),
		item1("a@example.net", `<report xmlns='urn:xmpp:reporting:1'/>`),
		item1("a@example.net", `<report xmlns='urn:xmpp:reporting:1' reason=''/>`),
		item1("a@example.net", `<report xmlns='urn:xmpp:reporting:1' reason='`+strings.Repeat("a", maxReason+1)+`'/>`),
		item1("a@example.net", `<report xmlns='urn:xmpp:reporting:0'><spam/></report>`),
		item1("a@example.net", spam) + item1("@", spam), // which its module refuses
		item1("a@example.net", "") + spam,
	} {
		h.block(items)
		h.want(items)
	}
	romeo := moduletest.Login(t, h.r, "romeo/orchard")
	romeo.Send(`<iq type='set' id='b' to='juliet@example.org'><block xmlns='urn:xmpp:blocking'>` + item1("a@example.net", spam) + `</block></iq>`)
	romeo.Send(`<iq type='get' id='b'><block xmlns='urn:xmpp:blocking'>` + item1("a@example.net", spam) + `</block></iq>`)
	h.r.Emit(&xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeSet, ID: "1", From: romeo.Addr(), To: romeo.Bare(),
		Payload: []byte(`<block xmlns='urn:xmpp:blocking'>` + item1("a@example.net", spam) + `</block>`)}, nil)
	h.want("not a user's own request")
}

func TestWhoReportsTooMuchIsHeardOfOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		for i := range 3 * maxReports {
			h.block(item1(fmt.Sprint("a", i, "@example.net"), spam))
		}
		if len(h.told) != maxReports+1 || !strings.Contains(h.told[maxReports], "very many") {
			t.Errorf("told %d times: %q", len(h.told), h.told)
		}
		if n := strings.Count(h.log.String(), "\n"); n != maxReports+1 {
			t.Errorf("%d lines of log", n)
		}
		h.told = nil
		time.Sleep(window)
		h.block(item1("b@example.net", spam))
		if len(h.told) != 1 {
			t.Errorf("told %d times in the next hour", len(h.told))
		}
	})
}

func TestWhatIsKeptOfAReportIsBounded(t *testing.T) {
	h := newHouse(t)
	h.block(item1("a@example.net", `<report xmlns='urn:xmpp:reporting:1' reason='urn:xmpp:reporting:spam'>`+
		strings.Repeat(`<stanza-id xmlns='urn:xmpp:sid:0' by='a@example.net' id='1'/>`, 2*maxIDs)+
		`<stanza-id xmlns='urn:xmpp:sid:0' by='a@example.net' id='`+strings.Repeat("2", maxID+1)+`'/><text>`+strings.Repeat("ä", maxText)+`</text></report>`))
	if len(h.told) != 1 || strings.Count(h.told[0], `"1" by`) != maxIDs || strings.Contains(h.told[0], "22") ||
		strings.Count(h.told[0], "ä") != maxText/2 {
		t.Errorf("told %q", h.told)
	}
}
