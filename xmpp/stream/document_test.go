package stream

import (
	"errors"
	"strings"
	"testing"

	"jackdaw/xmpp"
)

func TestStanzaIsReadFromADocument(t *testing.T) {
	want := "<message type='chat' to='a@b'><body>yo</body><addresses/></message>"
	for _, in := range []string{
		"<message to='a@b' type='chat'><body>yo</body><addresses/></message>",
		"\xEF\xBB\xBF<?xml version='1.0' encoding='UTF-8'?>\n<message to='a@b' type='chat'><body>yo</body><addresses/></message>\r\n ",
		"\n <message xmlns='jabber:client' to='a@b' type='chat'><body>yo</body><addresses/></message>",
		"<message to='a@b' type='chat'><body xmlns='jabber:client'>yo</body><addresses xmlns=''/></message>",
		"<c:message xmlns:c='jabber:client' xmlns='jabber:client' to='a@b' type='chat'><body>yo</body><addresses/></c:message>",
	} {
		st, err := ParseStanza([]byte(in), Limits{})
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if got := string(st.Append(nil)); got != want {
			t.Errorf("%q: %s", in, got)
		}
		if !st.Has(xmpp.Name{Space: xmpp.NSClient, Local: "body"}) || !st.Has(xmpp.Name{Space: xmpp.NSClient, Local: "addresses"}) {
			t.Errorf("%q: children %v", in, st.Children)
		}
	}
	st, err := ParseStanza([]byte("<c:message xmlns:c='jabber:client'><body/></c:message>"), Limits{})
	if err != nil || string(st.Payload) != "<body xmlns=''/>" {
		t.Errorf("no namespace inside one: %v, %v", st, err)
	}
}

func TestDocumentsThatAreNoStanzaAreRefused(t *testing.T) {
	for in, want := range map[string]Condition{
		"": NotWellFormed, " ": NotWellFormed, "<message>": NotWellFormed, "<message/><message/>": NotWellFormed,
		"<message/>x": NotWellFormed, "<message/><!-- -->": RestrictedXML, "<message/><?x?>": RestrictedXML,
		"x<message/>": NotWellFormed, "<!DOCTYPE message><message/>": RestrictedXML, "<?x?><message/>": RestrictedXML,
		" <?xml version='1.0'?><message/>": RestrictedXML, "<message to='@'/>": ImproperAddressing,
		"<message from='@'/>": ImproperAddressing, "\xFF\xFE<\x00": UnsupportedEncoding, "\xEF": NotWellFormed,
		"<message>" + strings.Repeat("x", DefaultLimits.Bytes): PolicyViolation, "</message>": NotWellFormed,
		"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>": BadFormat,
		"<message>&xxe;</message>": RestrictedXML, "<message/></message>": NotWellFormed, "<message": NotWellFormed,
	} {
		_, err := ParseStanza([]byte(in), Limits{})
		var e *SyntaxError
		if !errors.As(err, &e) || e.Condition != want {
			t.Errorf("%.60q: %v, want %s", in, err, want)
		}
	}
	for _, in := range []string{"<body/>", "<message xmlns='other'/>", "<message xmlns='jabber:server'/>", "<Message/>"} {
		if _, err := ParseStanza([]byte(in), Limits{}); !errors.Is(err, ErrNotStanza) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestResultOfADocumentOutlivesTheScanner(t *testing.T) {
	in := []byte("<message xmlns:x='urn:x' x:a='1'><x:b><![CDATA[<]]></x:b></message>")
	st, err := ParseStanza(in, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want := "<message x:a='1' xmlns:x='urn:x'><x:b xmlns:x='urn:x'>&lt;</x:b></message>"
	for range 10 {
		if _, err := ParseStanza([]byte("<message xmlns:y='urn:y' y:a='2'><y:c><![CDATA[>]]></y:c></message>"), Limits{}); err != nil {
			t.Fatal(err)
		}
		if got := string(st.Append(nil)); got != want || st.Children[0].Name.Local != "b" {
			t.Fatalf("%s, want %s", got, want)
		}
	}
}

func TestContentStaysInItsPlace(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "a": "a", " <a/> b <c xmlns='d'>&lt;</c>": " <a/> b <c xmlns='d'>&lt;</c>",
		"<![CDATA[<]]>": "&lt;", "<a xmlns='jabber:client'/>": "<a/>", "<x:a xmlns:x='y'/>": "<x:a xmlns:x='y'/>",
		"<a><message/></a>": "<a><message/></a>",
	} {
		got, err := ParseContent([]byte(in), Limits{})
		if err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for in, want := range map[string]Condition{
		"</message>": NotWellFormed, "<a/></message><message>": NotWellFormed, "<a>": NotWellFormed, "<a": NotWellFormed,
		"<stream:a/>": NotWellFormed, "a]]>": NotWellFormed, "]]>": NotWellFormed, "&lt": NotWellFormed, "&a;": RestrictedXML,
		"<!DOCTYPE a>": RestrictedXML, "<?xml version='1.0'?><a/>": RestrictedXML, "<!ENTITY a 'b'>": RestrictedXML,
		"\xFF": UnsupportedEncoding, "\xC3": NotWellFormed, "\x00": NotWellFormed, "<![CDATA[": NotWellFormed,
		strings.Repeat("x", DefaultLimits.Bytes+1): PolicyViolation, strings.Repeat("<a>", 101): PolicyViolation,
	} {
		got, err := ParseContent([]byte(in), Limits{})
		var e *SyntaxError
		if !errors.As(err, &e) || e.Condition != want {
			t.Errorf("%.60q: %q, %v, want %s", in, got, err, want)
		}
	}
}

func TestFramesAreReadOneByOne(t *testing.T) {
	var s Scanner
	for _, c := range []struct{ in, want string }{
		{"<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a'/>",
			"element {urn:ietf:params:xml:ns:xmpp-framing open} <open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a'/>"},
		{"<message xmlns='jabber:client'><body/></message>",
			"stanza <message><body/></message> badto=false badfrom=false children=[{{jabber:client body} 0 7}]"},
		{"<message><body/></message>", "element { message} <message xmlns=''><body/></message>"},
		{"<c:iq xmlns:c='jabber:client'><a/></c:iq>",
			"stanza <iq/> badto=false badfrom=false children=[{{ a} 0 13}]"},
	} {
		item, err := s.Frame([]byte(c.in))
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		got := record(&s, item)
		got = strings.Replace(got, "<iq><a xmlns=''/></iq>", "<iq/>", 1)
		if got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.in, got, c.want)
		}
		s.Release()
	}
	if _, err := s.Frame([]byte("<a/><b/>")); err == nil {
		t.Error("two elements in a frame")
	}
	if _, err := s.Frame([]byte("<a/>")); err == nil {
		t.Error("an error is not final")
	}
}
