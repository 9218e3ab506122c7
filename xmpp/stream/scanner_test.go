package stream

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const header = `<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'` +
	` to='example.com' version='1.0'>`

// record writes down all that a scanner says about an item.
func record(s *Scanner, item ItemKind) string {
	switch item {
	case ItemHeader:
		return fmt.Sprintf("header %+v", *s.Header())
	case ItemStanza:
		st := s.Stanza()
		return fmt.Sprintf("stanza %s badto=%v badfrom=%v children=%v", st.Append(nil), s.BadTo(), s.BadFrom(), st.Children)
	case ItemElement:
		name, raw := s.Element()
		return fmt.Sprintf("element %v %s", name, raw)
	case ItemEnd:
		return "end"
	}
	return "none"
}

// feed scans text, given in pieces of the sizes that size returns, and returns the items and the error at their end.
func feed(s *Scanner, text string, size func() int) []string {
	var out []string
	var buf []byte
	for rest := text; ; {
		n := min(max(size(), 1), len(rest))
		buf = append([]byte(nil), append(buf, rest[:n]...)...) // the buffer moves each time
		rest = rest[n:]
		for {
			item, n, err := s.Scan(buf)
			if err != nil {
				var se *SyntaxError
				if !errors.As(err, &se) {
					return append(out, "strange error: "+err.Error())
				}
				return append(out, fmt.Sprintf("%s: %s @%d", se.Condition, se.What, se.Offset))
			}
			if item != ItemNone {
				out = append(out, record(s, item))
			}
			buf = buf[n:]
			if item == ItemNone {
				break
			}
			if len(buf) == 0 && len(out)%2 == 0 {
				s.Release()
			}
		}
		if len(rest) == 0 {
			return out
		}
	}
}

func whole() int  { return 1 << 30 }
func single() int { return 1 }

// items scans text whole, byte by byte and in random pieces, and checks that it makes no difference.
func items(t testing.TB, l Limits, text string) []string {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, uint64(len(text))))
	var want []string
	for i, size := range []func() int{whole, single, func() int { return rnd.IntN(7) },
		func() int { return rnd.IntN(60) }} {
		var s Scanner
		s.SetLimits(l)
		got := feed(&s, text, size)
		if i == 0 {
			want = got
		} else if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("in pieces %d: %q\ngot  %q\nwant %q", i, text, got, want)
		}
	}
	return want
}

func TestHeaderIsRead(t *testing.T) {
	header := strings.Replace(header, "'>", "' xml:lang='en'>", 1)
	for _, text := range []string{header, "\xEF\xBB\xBF" + header, strings.TrimPrefix(header, "<?xml version='1.0'?>"),
		strings.Replace(header, "?>", ` encoding = "utf-8" standalone='yes' ?>`+"\r\n ", 1),
		" \n" + strings.TrimPrefix(header, "<?xml version='1.0'?>"),
	} {
		var s Scanner
		item, n, err := s.Scan([]byte(text + "<a"))
		if item != ItemHeader || n != len(text) || err != nil {
			t.Fatalf("%q: %v, %d, %v", text, item, n, err)
		}
		want := Header{Content: "jabber:client", Prefix: "stream", To: jid.MustParse("example.com"), Version: "1.0", Lang: "en"}
		if *s.Header() != want {
			t.Errorf("%q: %+v", text, *s.Header())
		}
	}
}

func TestHeaderIsReadAsWritten(t *testing.T) {
	h := Header{Content: "jabber:server", To: jid.MustParse("a.example"), From: jid.MustParse("b.example"), ID: "<'&1",
		Version: "1.0", Lang: "de", Dialback: true}
	text := AppendHeader(nil, h)
	text = AppendFeatures(text, []byte("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"))
	text = AppendFeatures(text, nil)
	text = AppendError(text, NotWellFormed, "a<b")
	got := items(t, Limits{}, string(text)+Close)
	h.Prefix = "stream"
	want := []string{
		fmt.Sprintf("header %+v", h),
		"element {http://etherx.jabber.org/streams features} <stream:features xmlns:stream='http://etherx.jabber.org/streams'>" +
			"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>",
		"element {http://etherx.jabber.org/streams features} <stream:features xmlns:stream='http://etherx.jabber.org/streams'/>",
		"element {http://etherx.jabber.org/streams error} <stream:error xmlns:stream='http://etherx.jabber.org/streams'>" +
			"<not-well-formed xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>" +
			"<text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>a&lt;b</text></stream:error>",
		"end",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := AppendFrameError(nil, Reset, ""); !strings.Contains(string(got), "xmlns:stream=") {
		t.Errorf("frame error: %s", got)
	}
}

// scans has in each line the input behind the header, and what comes out of it.
var scans = []struct{ in, out string }{
	{"<message to='a@b' from='c@d/e' id='1' type='chat' xml:lang='de'><body>hi</body></message>",
		"stanza <message type='chat' id='1' from='c@d/e' to='a@b' xml:lang='de'><body>hi</body></message> badto=false badfrom=false children=[{{jabber:client body} 0 15}]"},
	{"<presence/>", "stanza <presence/> badto=false badfrom=false children=[]"},
	{"<iq\ttype = \"get\"\r\n id\n=\n'a&amp;&#x41;\tb'  ><ping xmlns='urn:xmpp:ping'/></iq  >",
		"stanza <iq type='get' id='a&amp;A b'><ping xmlns='urn:xmpp:ping'/></iq> badto=false badfrom=false children=[{{urn:xmpp:ping ping} 0 29}]"},
	{"<message to='@'  from='a@@b'></message>", "stanza <message/> badto=true badfrom=true children=[]"},
	{"<message to=''/>", "stanza <message/> badto=true badfrom=false children=[]"},
	{"<r xmlns='urn:xmpp:sm:3'/>", "element {urn:xmpp:sm:3 r} <r xmlns='urn:xmpp:sm:3'/>"},
	{"<foo><![CDATA[<&]]></foo>", "element {jabber:client foo} <foo>&lt;&amp;</foo>"},
	{"<message xmlns='jabber:client'/>", "stanza <message/> badto=false badfrom=false children=[]"},
	{"<message xmlns='other'/>", "element {other message} <message xmlns='other'/>"},
	{"<message xmlns='jabber:server'/>", "element {jabber:server message} <message xmlns='jabber:server'/>"},
	{"<c:message xmlns:c='jabber:client' xmlns='o'><a><b/></a><c:d/></c:message>",
		"stanza <message><a xmlns='o'><b/></a><c:d xmlns:c='jabber:client'/></message> badto=false badfrom=false children=[{{o a} 0 21} {{jabber:client d} 21 51}]"},
	// attributes of the head
	{"<message a=\"'\" x:b='1' xmlns:x='urn:x' x:c='2'/>",
		"stanza <message a=\"'\" x:b='1' xmlns:x='urn:x' x:c='2'/> badto=false badfrom=false children=[]"},
	{"<message stream:b='&lt;' xml:space='default'/>",
		"stanza <message stream:b='&lt;' xmlns:stream='http://etherx.jabber.org/streams' xml:space='default'/> badto=false badfrom=false children=[]"},
	// payloads that lean on the outside
	{"<message xmlns:x='urn:x'>a<x:y><x:z/></x:y>b<c><d x:e='1'/></c><x:f xmlns:x='urn:y'/></message>",
		"stanza <message>a<x:y xmlns:x='urn:x'><x:z/></x:y>b<c xmlns:x='urn:x'><d x:e='1'/></c><x:f xmlns:x='urn:y'/></message>" +
			" badto=false badfrom=false children=[{{urn:x y} 1 34} {{jabber:client c} 35 70} {{urn:y f} 70 92}]"},
	{"<message><body xmlns='jabber:client'>x</body><b xmlns='' a='1'/></message>",
		"stanza <message><body>x</body><b xmlns='' a='1'/></message> badto=false badfrom=false children=[{{jabber:client body} 0 14} {{ b} 14 33}]"},
	{"<message><body>a<![CDATA[<b>&]]]]><![CDATA[>]]]]><![CDATA[>]]></body><x/></message>",
		"stanza <message><body>a&lt;b&gt;&amp;]]&gt;]]&gt;</body><x/></message> badto=false badfrom=false children=" +
			"[{{jabber:client body} 0 40} {{jabber:client x} 40 44}]"},
	{"<message><f xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body/></message></f></message>",
		"stanza <message><f xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body/></message></f></message>" +
			" badto=false badfrom=false children=[{{urn:xmpp:forward:0 f} 0 82}]"},
	{"<message><a xml:lang='x' xmlns:xml='http://www.w3.org/XML/1998/namespace'/></message>",
		"stanza <message><a xml:lang='x' xmlns:xml='http://www.w3.org/XML/1998/namespace'/></message> badto=false badfrom=false children=[{{jabber:client a} 0 66}]"},
	{"<message><b><![CDATA[]]]]>></b><b>]]<![CDATA[]]>></b><b>]<![CDATA[]]>]></b>></message>",
		"stanza <message><b>]]&gt;</b><b>]]&gt;</b><b>]]&gt;</b>></message>"},
	{"<message type='odd'/>", "stanza <message/> badto=false badfrom=false children=[]"},
	{"<message><ä·é:𐀀 xmlns:ä·é='x'>\u0085\u2028ü€😀\uFFFD &#9;&#x10FFFF;&lt;&gt;&amp;&quot;&apos;\r\n]] ]></ä·é:𐀀></message>", "stanza "},
}

// componentScans is the same on the stream of a component, whose content namespace is not told to anybody.
var componentScans = []struct{ in, out string }{
	{"<message to='a@b'><body>1</body><b xmlns='jabber:component:accept' c='1'/><d xmlns='jabber:client'/></message>",
		"stanza <message to='a@b'><body>1</body><b c='1'/><d/></message> badto=false badfrom=false children=" +
			"[{{jabber:client body} 0 14} {{jabber:client b} 14 24} {{jabber:client d} 24 28}]"},
	{"<message><f xmlns='urn:f'><message xmlns='jabber:component:accept'><body/></message><x xmlns='urn:x'/></f></message>",
		"stanza <message><f xmlns='urn:f'><message xmlns='jabber:client'><body/></message><x xmlns='urn:x'/></f></message> " +
			"badto=false badfrom=false children=[{{urn:f f} 0 87}]"},
	{"<c:message xmlns:c='jabber:component:accept' xmlns='o' c:k='1'><c:b/><d c:e='2'/></c:message>",
		"stanza <message c:k='1' xmlns:c='jabber:client'><c:b xmlns:c='jabber:client'/><d xmlns='o' xmlns:c='jabber:client' c:e='2'/></message> "},
	{"<message><c:b xmlns:c='jabber:component:accept'><c:d xmlns:e='jabber:component:accept' e:f='1'/></c:b></message>",
		"stanza <message><c:b xmlns:c='jabber:client'><c:d xmlns:e='jabber:client' e:f='1'/></c:b></message> badto=false badfrom=false " +
			"children=[{{jabber:client b} 0 73}]"},
	{"<handshake>0f</handshake>", "element {jabber:client handshake} <handshake>0f</handshake>"},
	{"<message xmlns='jabber:client'/>", "element {jabber:client message} <message xmlns='jabber:client'/>"},
}

func TestContentNamespaceOfComponentsStaysOnTheirStream(t *testing.T) {
	start := strings.Replace(header, "jabber:client", xmpp.NSComponentAccept, 1)
	for _, c := range componentScans {
		got := items(t, Limits{}, start+c.in+c.in+"</stream:stream>")
		if len(got) != 4 || got[1] != got[2] || got[3] != "end" || !strings.HasPrefix(got[1], c.out) {
			t.Errorf("%s\ngot  %q\nwant %s", c.in, got, c.out)
		}
	}
	// Two attributes that would become one.
	got := items(t, Limits{}, start+"<message><a xmlns:c='jabber:component:accept' xmlns:d='jabber:client' c:e='1' d:e='2'/></message>")
	if len(got) != 2 || !strings.HasPrefix(got[1], "not-well-formed") {
		t.Errorf("%q", got)
	}
}

func TestItemsAreReadWhereverTheBytesAreCut(t *testing.T) {
	for _, c := range scans {
		in := c.in
		got := items(t, Limits{}, header+in+" \n"+in+"</stream:stream>")
		if len(got) != 4 || got[1] != got[2] || got[3] != "end" {
			t.Errorf("%s\nitems %q", in, got)
			continue
		}
		if !strings.HasPrefix(got[1], c.out) {
			t.Errorf("%s\ngot  %s\nwant %s", in, got[1], c.out)
		}
	}
}

func TestWhiteSpaceBetweenItemsIsConsumedAtOnce(t *testing.T) {
	var s Scanner
	buf := []byte(header + " \r\n\t ")
	_, n, _ := s.Scan(buf)
	item, m, err := s.Scan(buf[n:])
	if item != ItemNone || m != 5 || err != nil {
		t.Fatalf("%v, %d, %v", item, m, err)
	}
	item, m, err = s.Scan([]byte("  <presence"))
	if item != ItemNone || m != 2 || err != nil {
		t.Fatalf("%v, %d, %v", item, m, err)
	}
	s.Release() // half an item: nothing happens
	item, m, err = s.Scan([]byte("<presence/>"))
	if item != ItemStanza || m != 11 || err != nil || s.Stanza().Kind != xmpp.Presence {
		t.Fatalf("%v, %d, %v", item, m, err)
	}
}

func TestResetBeginsANewStream(t *testing.T) {
	var s Scanner
	for range 3 {
		if got := feed(&s, header+"<presence/><mess", whole); len(got) != 2 || got[1][:6] != "stanza" {
			t.Fatalf("%q", got)
		}
		s.Reset()
		if s.Header().Content != "" {
			t.Fatal("the header outlived its stream")
		}
	}
	if got := feed(&s, header+header, whole); len(got) != 2 || !strings.HasPrefix(got[1], "restricted-xml") {
		t.Errorf("restart without Reset: %q", got)
	}
}

func TestStanzasTakeTheLanguageOfTheirStream(t *testing.T) {
	head := strings.Replace(header, "'>", "' xml:lang='it'>", 1)
	for in, want := range map[string]string{
		"<message/>": "<message xml:lang='it'/>", "<message xml:lang='fr'/>": "<message xml:lang='fr'/>", "<presence/>": "<presence xml:lang='it'/>",
		"<message xml:lang=''/>": "<message/>", "<iq type='get' id='1'><x xmlns='urn:x'/></iq>": "<iq type='get' id='1' xml:lang='it'><x xmlns='urn:x'/></iq>",
	} {
		if got := items(t, Limits{}, head+in); len(got) != 2 || !strings.HasPrefix(got[1], "stanza "+want+" ") {
			t.Errorf("%s: %q", in, got)
		}
	}
	long := strings.Replace(header, "'>", "' xml:lang='"+strings.Repeat("x", 65)+"'>", 1)
	if got := items(t, Limits{}, long+"<message/>"); len(got) != 2 || !strings.HasPrefix(got[1], "stanza <message/> ") {
		t.Errorf("a language that is none: %q", got)
	}
}

func TestAHeaderThatIsForgottenLeavesItsLanguage(t *testing.T) {
	var s Scanner
	if item, _, err := s.Scan([]byte(strings.Replace(header, "'>", "' xml:lang='it'>", 1))); item != ItemHeader || err != nil {
		t.Fatalf("%v, %v", item, err)
	}
	for range 2 {
		s.Forget()
		if item, _, err := s.Scan([]byte("<message/>")); item != ItemStanza || err != nil || s.Stanza().Lang != "it" {
			t.Errorf("%v, %v, %q", item, err, s.Stanza().Lang)
		}
	}
	s.Reset()
	if h := *s.Header(); h != (Header{}) {
		t.Errorf("a new stream begins with %+v", h)
	}
}

func TestStreamWithoutAPrefixLeavesTheNamespaceToItsStanzas(t *testing.T) {
	const head = "<stream xmlns='http://etherx.jabber.org/streams' to='example.com' version='1.0'>"
	got := items(t, Limits{}, head+"<message xmlns='jabber:client' id='1'><body>x</body><x xmlns='urn:x'/></message>"+
		"<c:message xmlns:c='jabber:client'><c:body/><y/></c:message><message/><auth xmlns='urn:a'/></stream>")
	want := []string{"stanza <message id='1'><body>x</body><x xmlns='urn:x'/></message> ",
		"stanza <message><c:body xmlns:c='jabber:client'/><y xmlns='http://etherx.jabber.org/streams'/></message> ",
		"element {http://etherx.jabber.org/streams message} ", "element {urn:a auth} <auth xmlns='urn:a'/>", "end"}
	if len(got) != 1+len(want) {
		t.Fatalf("%q", got)
	}
	for i, w := range want {
		if !strings.HasPrefix(got[i+1], w) {
			t.Errorf("got  %s\nwant %s", got[i+1], w)
		}
	}
	var s Scanner
	s.Expect(xmpp.NSServer)
	if got := feed(&s, head+"<message xmlns='jabber:server'/><message xmlns='jabber:client'/>", whole); len(got) != 3 ||
		!strings.HasPrefix(got[1], "stanza <message/>") || !strings.HasPrefix(got[2], "element {jabber:client message}") {
		t.Errorf("%q", got)
	}
}

// What is content on other streams only would be content again when it leaves on such a stream, past whoever looked at
// it here.
func TestContentOfOtherStreamsIsLeftOut(t *testing.T) {
	for _, c := range []struct{ content, in, want string }{
		{xmpp.NSClient, "<message><body xmlns='jabber:server'>x</body><a/></message>", "<message><a/></message>"},
		{xmpp.NSClient, "<message><body xmlns='jabber:component:accept'>x</body></message>", "<message/>"},
		{xmpp.NSClient, "<message xmlns:s='jabber:server'><s:subject/><s:body>x<s:y/></s:body><s:a xmlns:s='urn:a'/></message>",
			"<message><s:a xmlns:s='urn:a'/></message>"},
		{xmpp.NSClient, "<message xmlns:t='urn:t'>]]<b xmlns='jabber:server'><t:x/><![CDATA[<]]></b>><t:c/></message>",
			"<message>]]&gt;<t:c xmlns:t='urn:t'/></message>"},
		{xmpp.NSClient, "<message><f xmlns='urn:f'><message xmlns='jabber:server'/></f></message>",
			"<message><f xmlns='urn:f'><message xmlns='jabber:server'/></f></message>"},
		{xmpp.NSServer, "<message><body xmlns='jabber:server'>x</body><a xmlns='jabber:component:accept'/></message>", "<message><body>x</body></message>"},
		{xmpp.NSServer, "<message><body xmlns='jabber:client'>x</body></message>", "<message><body>x</body></message>"},
		{xmpp.NSServer, "<message><f xmlns='urn:f'><message xmlns='jabber:server'/></f></message>",
			"<message><f xmlns='urn:f'><message xmlns='jabber:client'/></f></message>"},
		{xmpp.NSComponentAccept, "<message><body xmlns='jabber:server'>x</body><b xmlns='jabber:component:accept'/></message>", "<message><b/></message>"},
	} {
		got := items(t, Limits{}, strings.Replace(header, xmpp.NSClient, c.content, 1)+c.in)
		if len(got) != 2 || !strings.HasPrefix(got[1], "stanza "+c.want+" ") {
			t.Errorf("%s: %s: %q", c.content, c.in, got)
		}
	}
	st, err := ParseStanza([]byte("<message><body xmlns='jabber:server'>x</body><a/></message>"), Limits{})
	if err != nil || string(st.Payload) != "<a/>" || len(st.Children) != 1 || st.Children[0].End != 4 {
		t.Errorf("%+v, %v", st, err)
	}
	if b, err := ParseContent([]byte("<body xmlns='jabber:server'>x</body><a/>"), Limits{}); err != nil || string(b) != "<a/>" {
		t.Errorf("%s, %v", b, err)
	}
}
