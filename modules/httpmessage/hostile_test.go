package httpmessage

import (
	"context"
	"strings"
	"testing"
	"unicode/utf8"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// attacks are refused, each with that status, and nothing is sent to anybody.
var attacks = []struct {
	name   string
	c      call
	status int
}{
	{"entities that multiply", call{body: `<!DOCTYPE m [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]><message to="bob@im.example.org"><body>&c;</body></message>`}, 400},
	{"external entity", call{body: `<!DOCTYPE m [<!ENTITY a SYSTEM "file:///etc/passwd">]><message to="bob@im.example.org"><body>&a;</body></message>`}, 400},
	{"entity that is not declared", call{body: `<message to="bob@im.example.org"><body>&a;</body></message>`}, 400},
	{"processing instruction", call{body: `<?php x?>` + toBob}, 400},
	{"processing instruction inside", call{body: `<message to="bob@im.example.org"><?php x?></message>`}, 400},
	{"comment", call{body: `<!-- x -->` + toBob}, 400},
	{"comment behind", call{body: toBob + `<!-- x -->`}, 400},
	{"end of the stream", call{body: toBob + `</stream:stream>`}, 400},
	{"stanza behind", call{body: toBob + `<iq type="set"/>`}, 400},
	{"stream header", call{body: `<stream:stream xmlns:stream="http://etherx.jabber.org/streams" xmlns="jabber:client">` + toBob}, 400},
	{"other encoding", call{body: `<?xml version="1.0" encoding="UTF-7"?>` + toBob}, 400},
	{"UTF-16", call{body: "\xff\xfe<\x00m\x00"}, 400},
	{"overlong UTF-8", call{body: "<message to=\"bob@im.example.org\"><body>\xc0\xbc</body></message>"}, 400},
	{"surrogate in UTF-8", call{body: "<message to=\"bob@im.example.org\"><body>\xed\xa0\x80</body></message>"}, 400},
	{"NUL", call{body: "<message to=\"bob@im.example.org\"><body>\x00</body></message>"}, 400},
	{"NUL by reference", call{body: "<message to=\"bob@im.example.org\"><body>&#0;</body></message>"}, 400},
	{"too deep", call{body: `<message to="bob@im.example.org">` + strings.Repeat("<a>", 5000) + strings.Repeat("</a>", 5000) + `</message>`}, 400},
	{"too many elements", call{body: `<message to="bob@im.example.org">` + strings.Repeat("<a/>", 5000) + `</message>`}, 400},
	{"too many elements in a multicast", call{body: strings.Replace(list("bob@"+host), "<body>", strings.Repeat("<a/>", 5000)+"<body>", 1)}, 400},
	{"too many attributes", call{body: `<message to="bob@im.example.org"><a` + manyAttributes(500) + `/></message>`}, 400},
	{"attribute twice", call{body: `<message to="bob@im.example.org" to="skel@im.example.org"/>`}, 400},
	{"attribute twice by namespace", call{body: `<message to="bob@im.example.org" xmlns:a="urn:x" xmlns:b="urn:x" a:c="1" b:c="2"/>`}, 400},
	{"prefix of somebody else", call{body: `<message to="bob@im.example.org"><stream:error/></message>`}, 400},
	{"sender in another case", call{user: "bob@" + host, body: `<message to="bob@im.example.org" from="ANDY@IM.EXAMPLE.ORG"/>`}, 403},
	{"sender with a resource", call{user: "bob@" + host, body: `<message to="bob@im.example.org" from="andy@im.example.org/x"/>`}, 403},
	{"sender that is the server", call{user: "bob@" + host, body: `<message to="bob@im.example.org" from="im.example.org"/>`}, 403},
	{"sender by lookalike", call{user: "bob@" + host, body: "<message to=\"bob@im.example.org\" from=\"b\u043eb@im.example.org\"/>"}, 403},
	{"sender as attribute of JSON, escaped", call{headers: []string{jsonType}, body: `{"to":"bob@im.example.org","message_attributes":{"\u0066rom":"x@y"}}`}, 400},
	{"extra element that is the list", call{user: "bob@" + host, headers: []string{jsonType}, body: `{"to":"multicast","extra_elements":"<addresses><address jid='bob@im.example.org'/></addresses>"}`}, 403},
	{"extra elements that end the body", call{headers: []string{jsonType}, body: `{"to":"bob@im.example.org","body":"x","extra_elements":"</message></stream:stream>"}`}, 400},
	{"extra elements in CDATA that is open", call{headers: []string{jsonType}, body: `{"to":"bob@im.example.org","extra_elements":"<![CDATA["}`}, 400},
	{"deep JSON", call{headers: []string{jsonType}, body: `{"to":` + strings.Repeat("[", 100000)}, 400},
	{"deep JSON in an unknown field", call{headers: []string{jsonType}, body: `{"x":` + strings.Repeat("[", 100000)}, 400},
	{"huge array of nothing", call{headers: []string{jsonType}, body: `{"to":[` + strings.Repeat(`"",`, 60000) + `""]}`}, 400},
	{"huge number", call{headers: []string{jsonType}, body: `{"to":1e999999}`}, 400},
	{"list in a list", call{body: `<message to="multicast"><addresses><address jid="multicast"/><address jid="bob@im.example.org"/></addresses></message>`}, 403},
	{"service of another host", call{body: strings.Replace(list("bob@"+host), `"multicast"`, `"multicast.example.net"`, 1)}, 403},
	{"user name with NUL", call{user: "andy\x00@" + host, body: toBob}, 401},
	{"user name that is not UTF-8", call{user: "andy\xff@" + host, body: toBob}, 401},
	{"user name of a megabyte", call{user: strings.Repeat("a", 1<<20), body: toBob}, 401},
	{"password of a megabyte", call{password: strings.Repeat("a", 1<<20), body: toBob}, 401},
	{"key with a line end", call{headers: []string{"Idempotency-Key: a\nb"}, body: toBob}, 400},
	{"long key", call{headers: []string{"Idempotency-Key: " + strings.Repeat("k", 256)}, body: toBob}, 400},
	{"two keys", call{headers: []string{"Idempotency-Key: a", "Idempotency-Key: b"}, body: toBob}, 400},
	{"path out of the API", call{path: "/api/1.0/xmppdomains/../../message", body: toBob}, 404},
	{"other account in the path", call{path: gatewayPath + "/bob%2F..", user: "robot", body: toBob, headers: []string{xmlType}}, 404},
	{"line end in a name", call{path: gatewayPath + "/a%0ab", user: "robot", body: toBob, headers: []string{xmlType}}, 400},
	{"prefix that stands for much", call{body: `<message to="bob@im.example.org" xmlns:a="` + strings.Repeat("u", 50000) + `"><body>x</body>` + strings.Repeat("<a:x/>", 4000) + `</message>`}, 400},
	{"prefix that stands for much, deeper", call{body: `<message to="bob@im.example.org"><p xmlns:a="` + strings.Repeat("u", 50000) + `">` + strings.Repeat("<a:x/>", 4000) + `</p></message>`}, 400},
	{"prefix that stands for much, in JSON", call{headers: []string{jsonType}, body: `{"to":"bob@im.example.org","extra_elements":"<p xmlns:a='` + strings.Repeat("u", 50000) + `'>` + strings.Repeat("<a:x/>", 4000) + `</p>"}`}, 400},
	{"text that grows by its escapes", call{headers: []string{jsonType}, body: `{"to":"bob@im.example.org","body":"` + strings.Repeat("<", 200000) + `"}`}, 400},
	{"compressed body", call{headers: []string{"Content-Encoding: gzip"}, body: "\x1f\x8b\x08\x00\x00"}, 400},
}

func manyAttributes(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(" a" + strings.Repeat("b", i) + "='1'")
	}
	return b.String()
}

func TestAttacksAreRefusedAndNothingIsSent(t *testing.T) {
	h := newHouse(t)
	for _, row := range attacks {
		r := row.c.request()
		r.RemoteAddr = "" // the throttle has tests of its own
		w := h.serve1(r)
		if w.Code != row.status {
			t.Errorf("%s: answer %d %.200s", row.name, w.Code, w.Body)
		}
		if got := w.Body.String(); strings.Count(got, "\n") != 1 || len(got) > 16<<10 || !utf8.ValidString(got) {
			t.Errorf("%s: not one short line: %.300q", row.name, got)
		}
	}
	h.nothingStored()
	if n := h.Stats.Panics.Load(); n != 0 {
		t.Errorf("%d panics", n)
	}
	if w := h.do(call{body: toBob}); w.Code != 200 {
		t.Errorf("afterwards: answer %d %s", w.Code, w.Body)
	}
}

func TestRequestCannotWriteIntoTheAnswersHeaders(t *testing.T) {
	h := newHouse(t)
	r := call{user: "-"}.request()
	r.Host = "x\", charset=\"a\r\nSet-Cookie: a=b"
	w := h.serve1(r)
	if got := challenged(w); w.Code != 401 || got != `Basic realm="im.example.org", charset="UTF-8"` {
		t.Errorf("answer %d %q", w.Code, got)
	}
}

// fuzz checks that whatever comes in, no answer but those of the contract goes out, and what is sent is from an address
// that its sender may use.
func fuzz(f *testing.F, header string, seeds []string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	h := newHouse(f)
	var bad string
	h.router = router.New(router.Options{Hosts: []string{host}, Users: h.who, Log: h.o.Log})
	h.router.Use(router.Module{Name: "judge", Unclaimed: h.judge(&bad)})
	h.open()
	h.o.Upload = func(context.Context, jid.JID, string, string, []byte) (string, error) { return cat, nil }
	f.Fuzz(func(t *testing.T, b []byte) {
		h.t, bad = t, ""
		c := call{user: "bob@" + host, body: string(b)}
		if header != "" {
			c.headers = []string{header}
		}
		w := h.do(c)
		switch w.Code {
		case 200, 400, 403, 413:
		default:
			t.Errorf("answer %d %s", w.Code, w.Body)
		}
		if got := w.Body.String(); strings.Count(got, "\n") != 1 || !utf8.ValidString(got) {
			t.Errorf("not one line: %q", got)
		}
		if bad != "" {
			t.Error(bad)
		}
	})
}

// judge looks at what is sent to bob.
func (h *house) judge(bad *string) func(*router.Envelope) {
	return func(e *router.Envelope) {
		e.Settle(router.Stored)
		s := e.Stanza
		again, err := xmpp.ParseElement(s.Append(nil))
		switch {
		case err != nil:
			*bad = "what was sent is not XML: " + err.Error()
		case again.Name != (xmpp.Name{Space: xmpp.NSClient, Local: "message"}),
			again.Attr("from") != s.From.String(), again.Attr("to") != s.To.String():
			*bad = "the head became another"
		case s.From.Bare().String() != "bob@"+host:
			*bad = "sent as " + s.From.String()
		default:
			return
		}
		*bad += ": " + string(s.Append(nil))
	}
}

func FuzzPostXML(f *testing.F) {
	var seeds []string
	for _, row := range accepted {
		seeds = append(seeds, row.body)
	}
	for _, row := range refusals {
		seeds = append(seeds, row.c.body)
	}
	for _, row := range attacks {
		if len(row.c.body) < 1000 {
			seeds = append(seeds, row.c.body)
		}
	}
	fuzz(f, "", seeds)
}

func FuzzPostJSON(f *testing.F) {
	var seeds []string
	for _, row := range forms {
		seeds = append(seeds, row.body)
	}
	for _, row := range badForms {
		seeds = append(seeds, row.body)
	}
	for _, row := range conveniences {
		seeds = append(seeds, `{"to": "bob@im.example.org", `+row.fields+`}`)
	}
	for _, row := range badFields {
		seeds = append(seeds, `{"to": "bob@im.example.org", `+row.fields+`}`)
	}
	fuzz(f, jsonType, seeds)
}
