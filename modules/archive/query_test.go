package archive

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"jackdaw/modules/internal/mam"
	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// fill has romeo send n messages to juliet, "0", "1" and so on.
func (h *house) fill(n int) {
	for i := range n {
		h.romeo.Send(`<message to='juliet@example.org' type='chat'><body>` + strconv.Itoa(i) + `</body></message>`)
	}
	h.juliet.Received()
	h.juliet.Take()
}

func filtered(fields string) string {
	return `<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'>` +
		`<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>` + fields + `</x></query>`
}

func field(name string, values ...string) string {
	return `<field var='` + name + `'><value>` + strings.Join(values, `</value><value>`) + `</value></field>`
}

func paged(inner string) string {
	return `<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'>` + inner + `</set></query>`
}

func TestPagesComeInOrderAndFlipped(t *testing.T) {
	h := newHouse(t)
	h.fill(7)
	h.limits.Page = 5
	ids := h.ids("juliet")
	for _, test := range []struct{ query, want, complete string }{
		{`<query xmlns='urn:xmpp:mam:2'/>`, "01234", ""},
		{paged(`<max>3</max>`), "012", ""},
		{paged(`<max>100</max>`), "01234", ""},
		{paged(`<after>` + ids[4] + `</after>`), "56", "true"},
		{paged(`<before/><max>3</max>`), "456", ""},
		{paged(`<before>` + ids[2] + `</before>`), "01", "true"},
		{strings.Replace(paged(`<before/><max>3</max>`), "</query>", "<flip-page/></query>", 1), "654", ""},
		{strings.Replace(paged(`<max>2</max>`), "</query>", "<flip-page/></query>", 1), "10", ""},
		{filtered(field("ids", ids[5], ids[1])), "15", "true"},
		{filtered(field("after-id", ids[1]) + field("before-id", ids[4])), "23", "true"},
		{paged(`<max>0</max>`), "", ""},
		{filtered(field("end", "2000-01-01T00:00:00Z")), "", "true"},
		{filtered(field("start", "2100-01-01T00:00:00Z")), "", "true"},
	} {
		a := ask(h.juliet, test.query)
		if a.err != nil {
			t.Errorf("%s: %v", test.query, a.err)
			continue
		}
		if got := strings.Join(a.bodies(), ""); got != test.want || a.fin.Attr("complete") != test.complete {
			t.Errorf("%s: %s, complete %q; want %s, %q", test.query, got, a.fin.Attr("complete"), test.want, test.complete)
		}
	}
	if a := ask(h.juliet, paged(`<max>0</max>`)); !strings.Contains(string(a.fin.Append(nil)), "<count>7</count>") {
		t.Errorf("the number is %s", a.fin.Append(nil))
	}
}

func TestWithNarrowsDownToOneSide(t *testing.T) {
	h := newHouse(t, keeper(nil))
	other := moduletest.Login(t, h.r, "juliet/other")
	for _, m := range []struct {
		from *moduletest.Client
		to   string
		body string
	}{
		{h.romeo, "juliet@example.org", "a"}, {h.romeo, "juliet@example.org/b", "b"}, {h.romeo, "nurse@example.org", "c"},
		{h.juliet, "romeo@example.org/a", "d"}, {other, "romeo@example.org", "e"}, {h.romeo, "romeo@example.org", "f"},
		{h.romeo, "romeo@example.org/a", "g"}, {h.juliet, "nurse@example.org/x", "h"},
	} {
		m.from.Send(`<message to='` + m.to + `' type='chat'><body>` + m.body + `</body></message>`)
	}
	for _, test := range []struct{ user, with, want string }{
		{"romeo", "juliet@example.org", "abde"}, {"romeo", "Juliet@Example.org", "abde"}, {"romeo", "juliet@example.org/b", "bd"},
		{"romeo", "juliet@example.org/other", "e"}, {"romeo", "juliet@example.org/x", ""}, {"romeo", "nurse@example.org", "c"},
		{"romeo", "romeo@example.org", "fg"}, {"romeo", "romeo@example.org/a", "abcdfg"}, {"romeo", "example.org", ""},
		{"nurse", "juliet@example.org", "h"},
	} {
		c := moduletest.Login(t, h.r, test.user+"/query")
		if got := strings.Join(ask(c, filtered(field("with", test.with))).bodies(), ""); got != test.want {
			t.Errorf("%s with %s: %s, want %s", test.user, test.with, got, test.want)
		}
		c.LogoutTaken()
	}
}

func TestOnlyTheOwnerMayAsk(t *testing.T) {
	h := newHouse(t)
	h.fill(1)
	for _, payload := range []string{`<query xmlns='urn:xmpp:mam:2'/>`, `<metadata xmlns='urn:xmpp:mam:2'/>`, `<prefs xmlns='urn:xmpp:mam:2'/>`} {
		for _, to := range []string{"juliet", "nobody"} { // nobody learns who is there
			for _, kind := range []string{"get", "set"} {
				a := askWith(h.romeo, `<iq type='`+kind+`' id='1' to='`+to+`@example.org'>`+payload+`</iq>`)
				if a.err == nil || a.err.Condition != xmpp.CondForbidden || a.err.Type != xmpp.ErrorAuth {
					t.Errorf("%s of %s to %s: %v", kind, payload, to, a.err)
				}
			}
		}
		e := &router.Envelope{Quiet: true, Account: jid.MustParse("juliet@example.org"),
			Stanza: moduletest.Parse(t, `<iq type='get' id='1' from='juliet@example.org' to='juliet@example.org'>`+payload+`</iq>`)}
		if h.r.Route(e); e.Err == nil || e.Err.Condition != xmpp.CondForbidden {
			t.Errorf("%s without a session: %v", payload, e.Err)
		}
	}
}

func TestErrorsOfQueriesReachTheClient(t *testing.T) {
	h := newHouse(t)
	h.fill(1)
	for _, test := range []struct {
		iq   string
		want xmpp.Condition
	}{
		{filtered(field("with", "@")), xmpp.CondJIDMalformed},
		{filtered(field("{urn:x}y", "z")), xmpp.CondFeatureNotImplemented},
		{filtered(field("ids", "1")), xmpp.CondItemNotFound},
		{paged(`<after>1</after>`), xmpp.CondItemNotFound},
		{paged(`<index>0</index>`), xmpp.CondFeatureNotImplemented},
		{`<query xmlns='urn:xmpp:mam:2' node='urn:x'/>`, xmpp.CondFeatureNotImplemented},
		{`<metadata xmlns='urn:xmpp:mam:2'/>`, xmpp.CondBadRequest}, // of type set
	} {
		if a := ask(h.juliet, test.iq); a.err == nil || a.err.Condition != test.want {
			t.Errorf("%s: %v, want %s", test.iq, a.err, test.want)
		}
	}
	h.store.Fail(storage.ErrUnavailable)
	for _, iq := range []string{
		`<iq type='set' id='1'><query xmlns='urn:xmpp:mam:2'/></iq>`,
		`<iq type='get' id='1'><metadata xmlns='urn:xmpp:mam:2'/></iq>`,
		`<iq type='set' id='1'><prefs xmlns='urn:xmpp:mam:2' default='always'/></iq>`,
	} {
		if a := askWith(h.juliet, iq); a.err == nil || a.err.Condition != xmpp.CondResourceConstraint ||
			a.err.Type != xmpp.ErrorWait {
			t.Errorf("without storage, %s: %v", iq, a.err)
		}
	}
}

func TestFormAndMetadataAreAnswered(t *testing.T) {
	h := newHouse(t)
	get := func(payload string) string {
		return string(askWith(h.juliet, `<iq type='get' id='1' to='juliet@example.org'>`+payload+`</iq>`).fin.Append(nil))
	}
	if got := get(`<query xmlns='urn:xmpp:mam:2'/>`); !strings.Contains(got, "include-groupchat") {
		t.Errorf("form: %s", got)
	}
	if got := get(`<metadata xmlns='urn:xmpp:mam:2'/>`); got != `<metadata xmlns='urn:xmpp:mam:2'/>` {
		t.Errorf("of an empty archive: %s", got)
	}
	h.fill(2)
	if got, ids := get(`<metadata xmlns='urn:xmpp:mam:2'/>`), h.ids("juliet"); !strings.Contains(got, `<start id='`+ids[0]+`'`) || !strings.Contains(got, `<end id='`+ids[1]+`'`) {
		t.Errorf("of two: %s", got)
	}
}

// XEP-0386 §4.2
func TestSessionIsToldTheEndsOfTheArchiveWithItsBinding(t *testing.T) {
	h := newHouse(t)
	session := h.r.Sessions(jid.MustParse("juliet@example.org"))[0]
	if got := string(h.r.BindInline(session, nil)); got != `<metadata xmlns='urn:xmpp:mam:2'/>` {
		t.Errorf("of an empty archive: %s", got)
	}
	h.fill(2)
	got, ids := string(h.r.BindInline(session, nil)), h.ids("juliet")
	if !strings.Contains(got, `<start id='`+ids[0]+`'`) || !strings.Contains(got, `<end id='`+ids[1]+`'`) {
		t.Errorf("of two: %s", got)
	}
}

func TestASlowClientIsNotFlooded(t *testing.T) {
	h := newHouse(t)
	h.juliet.LogoutTaken()
	body := strings.Repeat("x", 30<<10)
	slow := moduletest.Login(t, h.r, "romeo/slow")
	for range 30 {
		h.romeo.Send(`<message to='romeo@example.org/gone' type='chat'><body>` + body + `</body></message>`)
	}
	slow.Send(`<iq type='set' id='q1'><query xmlns='urn:xmpp:mam:2'/></iq>`)
	slow.Wait(mam.InFlight / len(body))
	for got := 0; ; {
		slow.Received() // before the next ones can come, for which Wait waits
		deliveries := slow.Take()
		size := 0
		for _, d := range deliveries {
			size += len(d.Stanza.Payload)
			got++
		}
		if size > mam.InFlight+mam.Portion+2*len(body) {
			t.Fatalf("%d bytes at once", size)
		}
		if got == 31 {
			return
		}
		if got == 0 {
			t.Fatal("nothing came")
		}
		slow.Wait(1)
	}
}

func TestQueriesOfASessionAreAnsweredInTurn(t *testing.T) {
	h := newHouse(t)
	h.fill(3)
	const n = 5
	for i := range n {
		h.juliet.Send(fmt.Sprintf(`<iq type='set' id='%d'><query xmlns='urn:xmpp:mam:2' queryid='%d'/></iq>`, i, i))
	}
	h.juliet.Wait(4 * n)
	for i, d := range h.juliet.Deliveries() {
		id := d.Stanza.ID
		if r := d.Stanza.Child(xmpp.Name{Space: xmpp.NSMAM, Local: "result"}); r != nil {
			id = r.Attr("queryid")
		}
		if id != strconv.Itoa(i/4) {
			t.Errorf("%d is of query %s", i, id)
		}
	}
}

func TestTooManyQueriesAtOnceAreRefused(t *testing.T) {
	h := newHouse(t)
	for range 10 { // fills what may be in flight
		h.romeo.Send(`<message to='juliet@example.org' type='chat'><body>` + strings.Repeat("x", 30<<10) + `</body></message>`)
	}
	refused := 0
	for range mam.Waiting + 10 {
		if e := h.juliet.Send(`<iq type='set' id='1'><query xmlns='urn:xmpp:mam:2'/></iq>`); e.Outcome == router.Refused {
			if e.Err.Condition != xmpp.CondResourceConstraint {
				t.Fatal(e.Err)
			}
			refused++
		}
	}
	if refused < 8 || refused > 10 {
		t.Errorf("%d were refused", refused)
	}
	h.juliet.Logout()
	deadline := time.Now().Add(time.Minute)
	for left := 1; left > 0; {
		left = h.a.desk.Clients()
		if time.Now().After(deadline) {
			t.Fatal("a session that has ended is still being answered")
		}
	}
}

func TestAMessageThatCannotBeReadIsSkipped(t *testing.T) {
	h := newHouse(t)
	h.fill(1)
	if _, _, _, err := h.log.Append(t.Context(), "juliet@example.org", storage.Record{Data: []byte{99}}, storage.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	h.fill(1)
	h.archived("juliet", "0", "0")
}

func TestWhatIsAnnounced(t *testing.T) {
	m := newHouse(t).a.Module()
	for _, f := range []string{"urn:xmpp:mam:2", "urn:xmpp:mam:2#extended", "urn:xmpp:mam:2#groupchat-field", "urn:xmpp:message-retract:1", "urn:xmpp:message-retract:1#tombstone"} {
		if !slices.Contains(m.AccountFeatures, f) {
			t.Errorf("%s is not announced", f)
		}
	}
}
