package stream

import (
	"strings"
	"testing"

	"jackdaw/xmpp"
)

func unwrap(in string, l Limits, most int) (attrs []xmpp.Attr, content string, count int, err error) {
	u := NewUnwrapper(xmpp.Name{Space: xmpp.NSHTTPBind, Local: "body"}, Limits{Bytes: 300})
	attrs, n, err := u.Open([]byte(in))
	if err != nil {
		return nil, "", 0, err
	}
	b, count, err := u.Content(nil, []byte(in)[n:], l, most)
	return attrs, string(b), count, err
}

func TestWrappedElementsStandAlone(t *testing.T) {
	const ns = " xmlns='" + xmpp.NSHTTPBind + "'"
	for _, c := range []struct {
		in, out string
		count   int
	}{
		{"<body" + ns + "/>", "", 0},
		{"\xEF\xBB\xBF<?xml version='1.0'?> <body" + ns + "></body>\n", "", 0},
		{"<body" + ns + "> <a xmlns='b'/>\n<message xmlns='jabber:client'>x</message></body>",
			"<a xmlns='b'/><message xmlns='jabber:client'>x</message>", 2},
		{"<body" + ns + "><message><body>x</body></message></body>", "<message><body>x</body></message>", 1},
		{"<body" + ns + " xmlns:p='q'><p:a p:b='c'/></body>", "<p:a p:b='c' xmlns:p='q'/>", 1},
		{"<body" + ns + " xmlns:p='q'><message><p:a/></message></body>", "<message xmlns:p='q'><p:a/></message>", 1},
		{"<h:body xmlns:h='" + xmpp.NSHTTPBind + "' xmlns='jabber:client'><iq/></h:body>", "<iq/>", 1},
		{"<h:body xmlns:h='" + xmpp.NSHTTPBind + "' xmlns='q'><iq/></h:body>", "<iq xmlns='q'/>", 1},
		{"<h:body xmlns:h='" + xmpp.NSHTTPBind + "'><h:a/></h:body>", "<h:a xmlns:h='" + xmpp.NSHTTPBind + "'/>", 1},
		{"<body" + ns + "><a xmlns='b'><![CDATA[<]]></a></body>", "<a xmlns='b'>&lt;</a>", 1},
	} {
		if _, out, n, err := unwrap(c.in, Limits{}, 10); err != nil || !sameDeclarations(out, c.out) || n != c.count {
			t.Errorf("%s\ngot  %d, %s, %v\nwant %d, %s", c.in, n, out, err, c.count, c.out)
		}
	}
}

// sameDeclarations compares where a declaration may stand behind the name or at the end of the tag.
func sameDeclarations(a, b string) bool {
	if a == b {
		return true
	}
	const d = " xmlns:p='q'"
	return strings.Contains(a, d) && strings.Replace(a, d, "", 1) == strings.Replace(b, d, "", 1)
}

func TestWrapperHasItsAttributes(t *testing.T) {
	attrs, _, _, err := unwrap("<body rid='1' xmlns='"+xmpp.NSHTTPBind+"' xml:lang='it' x:v='&lt;' xmlns:x='"+xmpp.NSBOSH+"'/>", Limits{}, 0)
	want := []xmpp.Attr{{Name: xmpp.Name{Local: "rid"}, Value: "1"}, {Name: xmpp.Name{Space: xmpp.NSXML, Local: "lang"}, Value: "it"},
		{Name: xmpp.Name{Space: xmpp.NSBOSH, Local: "v"}, Value: "<"}}
	if err != nil || len(attrs) != len(want) {
		t.Fatal(attrs, err)
	}
	for i := range want {
		if attrs[i] != want[i] {
			t.Errorf("%+v, want %+v", attrs[i], want[i])
		}
	}
}

func TestWrapperIsStrict(t *testing.T) {
	const ns = " xmlns='" + xmpp.NSHTTPBind + "'"
	for in, want := range map[string]Condition{
		"<body/>": InvalidNamespace, "<bdy" + ns + "/>": InvalidNamespace, "<stream:stream xmlns:stream='" + xmpp.NSStream + "'/>": InvalidNamespace,
		"<body" + ns + ">a</body>": BadFormat, "<body" + ns + "><a>": NotWellFormed, "<body" + ns + "></bodi>": NotWellFormed,
		"<body" + ns + "/><a/>": NotWellFormed, "<body" + ns + "/><!-- a -->": RestrictedXML, "<body" + ns + "><!-- a --></body>": RestrictedXML,
		"<!DOCTYPE a><body" + ns + "/>": RestrictedXML, "<body" + ns + "><a>&b;</a></body>": RestrictedXML,
		"<body" + ns + " a='" + strings.Repeat("x", 300) + "'/>":                       PolicyViolation,
		"<body" + ns + "><a>" + strings.Repeat("x", 100) + "</a></body>":               PolicyViolation,
		"<body" + ns + "><a/><a/><a/><a/></body>":                                      PolicyViolation,
		"<body" + ns + "><stream:stream xmlns:stream='" + xmpp.NSStream + "'/></body>": BadFormat,
		"<body" + ns + "><p:a/></body>":                                                NotWellFormed,
	} {
		_, _, _, err := unwrap(in, Limits{Bytes: 100}, 3)
		if bad, ok := err.(*SyntaxError); !ok || bad.Condition != want {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
	u := NewUnwrapper(xmpp.Name{Space: xmpp.NSHTTPBind, Local: "body"}, Limits{})
	if attrs, n, err := u.Open([]byte("<body" + ns)); attrs != nil || n != 0 || err != nil {
		t.Error(attrs, n, err)
	}
	u.Close()
}
