package stream

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// refusals are inputs behind the header, each with the condition it gets.
var refusals = []struct {
	in   string
	want Condition
}{
	// RFC 6120 §11.1
	{"<!-- c -->", RestrictedXML},
	{"<message><!-- c --></message>", RestrictedXML},
	{"<!DOCTYPE a>", RestrictedXML},
	{"<message><!DOCTYPE a></message>", RestrictedXML},
	{"<message><!ENTITY a 'b'></message>", RestrictedXML},
	{"<message><![cdata[x]]></message>", RestrictedXML},
	{"<?pi x?>", RestrictedXML},
	{"<message><?pi?></message>", RestrictedXML},
	{"<?xml version='1.0'?>", RestrictedXML},
	{"<message><?xml version='1.0'?></message>", RestrictedXML},
	{"<message>&nbsp;</message>", RestrictedXML},
	{"<message>&LT;</message>", RestrictedXML},
	{"<message a='&foo;'/>", RestrictedXML},
	{"<message>&averyveryverylongname;</message>", RestrictedXML},
	// references
	{"<message>&</message>", NotWellFormed},
	{"<message>& ;</message>", NotWellFormed},
	{"<message>&;</message>", NotWellFormed},
	{"<message>&lt</message>", NotWellFormed},
	{"<message a='&'/>", NotWellFormed},
	{"<message>&#;</message>", NotWellFormed},
	{"<message>&#x;</message>", NotWellFormed},
	{"<message>&#X41;</message>", NotWellFormed},
	{"<message>&#4a;</message>", NotWellFormed},
	{"<message>&#0;</message>", NotWellFormed},
	{"<message>&#8;</message>", NotWellFormed},
	{"<message a='&#x1F;'/>", NotWellFormed},
	{"<message>&#xD800;</message>", NotWellFormed},
	{"<message>&#xDFFF;</message>", NotWellFormed},
	{"<message>&#xFFFE;</message>", NotWellFormed},
	{"<message>&#xFFFF;</message>", NotWellFormed},
	{"<message>&#x110000;</message>", NotWellFormed},
	{"<message>&#99999999999;</message>", NotWellFormed},
	{"<message>&#x00000000000000000041;</message>", NotWellFormed},
	// prefixes
	{"<a:message/>", NotWellFormed},
	{"<message><a:b/></message>", NotWellFormed},
	{"<message a:b='c'/>", NotWellFormed},
	{"<message><a b:c='d'/></message>", NotWellFormed},
	{"<message><a xmlns:b='x'/><b:c/></message>", NotWellFormed},
	{"<message><xmlns:a/></message>", NotWellFormed},
	{"<message><a xmlns:xml='urn:x'/></message>", NotWellFormed},
	{"<message><a xmlns:b='http://www.w3.org/XML/1998/namespace'/></message>", NotWellFormed},
	{"<message><a xmlns='http://www.w3.org/XML/1998/namespace'/></message>", NotWellFormed},
	{"<message><a xmlns:xmlns='urn:x'/></message>", NotWellFormed},
	{"<message><a xmlns:xmlns='http://www.w3.org/2000/xmlns/'/></message>", NotWellFormed},
	{"<message><a xmlns:b='http://www.w3.org/2000/xmlns/'/></message>", NotWellFormed},
	{"<message><a xmlns='http://www.w3.org/2000/xmlns/'/></message>", NotWellFormed},
	{"<message><a xmlns:b=''/></message>", NotWellFormed},
	{"<message xmlns:stream=''/>", NotWellFormed},
	// doubles
	{"<message a='1' a='2'/>", NotWellFormed},
	{"<message to='a@b' to='a@b'/>", NotWellFormed},
	{"<message><a b='1' c='2' b='3'/></message>", NotWellFormed},
	{"<message><a xmlns='x' xmlns='x'/></message>", NotWellFormed},
	{"<message><a xmlns:b='x' xmlns:b='y'/></message>", NotWellFormed},
	{"<message><a xmlns:b='x' xmlns:c='x' b:d='1' c:d='2'/></message>", NotWellFormed},
	{"<message><a xmlns:b='x' xmlns:c='&#x78;' b:d='1' c:d='2'/></message>", NotWellFormed},
	{"<message xmlns:b='x'><a xmlns:c='x' b:d='1' c:d='2'/></message>", NotWellFormed},
	// encoding
	{"<message>\xFF</message>", UnsupportedEncoding},
	{"<message>\x80</message>", UnsupportedEncoding},
	{"<message>\xC0\x80</message>", UnsupportedEncoding},
	{"<message>\xC1\xBF</message>", UnsupportedEncoding},
	{"<message>\xC3(</message>", UnsupportedEncoding},
	{"<message>\xE0\x80\x80</message>", UnsupportedEncoding},
	{"<message>\xE0\x9F\xBF</message>", UnsupportedEncoding},
	{"<message>\xE2\x82(</message>", UnsupportedEncoding},
	{"<message>\xED\xA0\x80</message>", UnsupportedEncoding},
	{"<message>\xED\xBF\xBF</message>", UnsupportedEncoding},
	{"<message>\xF0\x80\x80\x80</message>", UnsupportedEncoding},
	{"<message>\xF0\x8F\xBF\xBF</message>", UnsupportedEncoding},
	{"<message>\xF4\x90\x80\x80</message>", UnsupportedEncoding},
	{"<message>\xF5\x80\x80\x80</message>", UnsupportedEncoding},
	{"<message a='\xFF'/>", UnsupportedEncoding},
	{"<message a='\xED\xA0\x80'/>", UnsupportedEncoding},
	{"<message><![CDATA[\xFF]]></message>", UnsupportedEncoding},
	{"<mess\xFFage/>", UnsupportedEncoding},
	{"<\xC0\x80/>", UnsupportedEncoding},
	// characters
	{"<message>\x00</message>", NotWellFormed},
	{"<message>12345678\x08</message>", NotWellFormed},
	{"<message>\x1B</message>", NotWellFormed},
	{"<message>\xEF\xBF\xBE</message>", NotWellFormed},
	{"<message>\xEF\xBF\xBF</message>", NotWellFormed},
	{"<message a='\x00'/>", NotWellFormed},
	{"<message a='\x0B'/>", NotWellFormed},
	{"<message a='\xEF\xBF\xBF'/>", NotWellFormed},
	{"<message><![CDATA[\x00]]></message>", NotWellFormed},
	{"<message><![CDATA[\xEF\xBF\xBE]]></message>", NotWellFormed},
	{"<message>]]></message>", NotWellFormed},
	{"<message>a]]]></message>", NotWellFormed},
	{"<message><a/>]]></message>", NotWellFormed},
	// names
	{"<1a/>", NotWellFormed},
	{"<-a/>", NotWellFormed},
	{"<.a/>", NotWellFormed},
	{"< a/>", NotWellFormed},
	{"<:a/>", NotWellFormed},
	{"<stream:/>", NotWellFormed},
	{"<stream:1/>", NotWellFormed},
	{"<stream:a:b/>", NotWellFormed},
	{"<a\u00D7/>", NotWellFormed},
	{"<\u0300a/>", NotWellFormed},
	{"<\u00B7a/>", NotWellFormed},
	{"<a\u2028/>", NotWellFormed},
	{"<a\u037E/>", NotWellFormed},
	{"<a\U000F0000/>", NotWellFormed},
	{"<a 1='2'/>", NotWellFormed},
	{"<a :b='2'/>", NotWellFormed},
	{"<a b:='2'/>", NotWellFormed},
	{"<a b:c:d='2'/>", NotWellFormed},
	{"<a\x00/>", NotWellFormed},
	{"<>", NotWellFormed},
	{"</>", NotWellFormed},
	// tags
	{"<message></messages>", NotWellFormed},
	{"<message></mess>", NotWellFormed},
	{"<message></ message>", NotWellFormed},
	{"<message><a></message></a>", NotWellFormed},
	{"<message></message a='b'>", NotWellFormed},
	{"<message xmlns:a='x' xmlns:b='x'><a:c></b:c></message>", NotWellFormed},
	{"</message>", NotWellFormed},
	{"</stream>", NotWellFormed},
	{"</stream:stream x>", NotWellFormed},
	{"<message/ >", NotWellFormed},
	{"<message / >", NotWellFormed},
	{"<message a/>", NotWellFormed},
	{"<message a=b/>", NotWellFormed},
	{"<message a=/>", NotWellFormed},
	{"<message a b='c'/>", NotWellFormed},
	{"<message a='1'b='2'/>", NotWellFormed},
	{"<message a='<'/>", NotWellFormed},
	{"<message a='1'<b/>", NotWellFormed},
	{"<message <b/></message>", NotWellFormed},
	{"<message><<b/></message>", NotWellFormed},
	{"<![CDATA[x]]>", NotWellFormed},
	// what a stream may not hold
	{"x", BadFormat},
	{"<presence/>x", BadFormat},
	{"&lt;", BadFormat},
	{"<stream:stream>", BadFormat},
	{"<s:stream xmlns:s='http://etherx.jabber.org/streams'/>", BadFormat},
	{"</stream:stream>x", NotWellFormed},
	{"</stream:stream><a/>", NotWellFormed},
	{"\xEF\xBB\xBF<message/>", BadFormat},
}

func TestForbiddenXMLIsRefused(t *testing.T) {
	for _, c := range refusals {
		got := items(t, Limits{}, header+c.in)
		last := got[len(got)-1]
		if !strings.HasPrefix(last, string(c.want)+": ") {
			t.Errorf("%q: %q, want %s", c.in, got, c.want)
		}
	}
}

func TestBadStartOfAStreamIsRefused(t *testing.T) {
	root := strings.TrimPrefix(header, "<?xml version='1.0'?>")
	for _, c := range []struct {
		in   string
		want Condition
	}{
		{"GET / HTTP/1.1\r\n", NotWellFormed},
		{"\x16\x03\x01\x00", NotWellFormed},
		{"\xFE\xFF\x00<", UnsupportedEncoding},
		{"\xFF\xFE<\x00", UnsupportedEncoding},
		{"\x00<\x00?", UnsupportedEncoding},
		{"<\x00?\x00", NotWellFormed},
		{"\xEF\xBB" + root, UnsupportedEncoding},
		{"\xEF\xBB\xBF\xEF\xBB\xBF" + root, NotWellFormed},
		{"\xEF\xBB\xBFx" + root, NotWellFormed},
		{" " + header, RestrictedXML},
		{"<?xml version='1.0'?>" + header, RestrictedXML},
		{"<?xml?>" + root, RestrictedXML},
		{"<?xml ?>" + root, NotWellFormed},
		{"<?xml version='1.0'>" + root, NotWellFormed},
		{"<?xml version=1.0?>" + root, NotWellFormed},
		{"<?xml version?>" + root, NotWellFormed},
		{"<?xml version='1.0?>" + root, NotWellFormed},
		{"<?xml version='1.0'encoding='UTF-8'?>" + root, NotWellFormed},
		{"<?xml encoding='UTF-8'?>" + root, NotWellFormed},
		{"<?xml version='1.1'?>" + root, NotWellFormed},
		{"<?xml version='2.0'?>" + root, NotWellFormed},
		{"<?xml version='1.0' encoding='UTF-16'?>" + root, UnsupportedEncoding},
		{"<?xml version='1.0' encoding='ISO-8859-1'?>" + root, UnsupportedEncoding},
		{"<?xml version='1.0' standalone='maybe'?>" + root, NotWellFormed},
		{"<?xml version='1.0' standalone='no' encoding='UTF-8'?>" + root, NotWellFormed},
		{"<?xml version='1.0' x='y'?>" + root, NotWellFormed},
		{"<?xml version='1.0'" + strings.Repeat(" ", 300) + "?>" + root, NotWellFormed},
		{"<?xml-stylesheet href='x'?>" + root, RestrictedXML},
		{"<!DOCTYPE stream>" + root, RestrictedXML},
		{"<!-- -->" + root, RestrictedXML},
		{"<![CDATA[]]>", NotWellFormed},
		{"<stream:stream>", NotWellFormed},
		{"<message/>", InvalidNamespace},
		{"<stream xmlns='jabber:client'>", InvalidNamespace},
		{"<stream:stream xmlns='jabber:client' xmlns:stream='urn:other'>", InvalidNamespace},
		{"<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>", InvalidNamespace},
		{"<stream:other xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>", BadFormat},
		{strings.TrimSuffix(root, ">") + "/>", BadFormat},
		{"</stream:stream>", NotWellFormed},
		{"<stream:stream to='a' to='b' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>", NotWellFormed},
	} {
		got := items(t, Limits{}, c.in)
		if len(got) != 1 || !strings.HasPrefix(got[0], string(c.want)+": ") {
			t.Errorf("%q: %q, want %s", c.in, got, c.want)
		}
	}
}

func TestLimitsAreAppliedWhileReading(t *testing.T) {
	l := Limits{Bytes: 1000, Depth: 5, Elements: 10, Attributes: 5, Declarations: 3}
	const start = len("<message></message>")
	nested := func(n int) string {
		return strings.Repeat("<a>", n) + strings.Repeat("</a>", n)
	}
	for _, c := range []struct {
		what       string
		good, more string // more is over the limit; only its beginning has to be there
	}{
		{"bytes", "<message>" + strings.Repeat("x", 1000-start) + "</message>", "<message>" + strings.Repeat("x", 1001-len("<message>"))},
		{"bytes of a value", "<message a='1'/>", "<message a='" + strings.Repeat("x", 1000)},
		{"bytes of a name", "<message/>", "<" + strings.Repeat("x", 1000)},
		{"bytes of an end tag", "<message></message>", "<message></message" + strings.Repeat(" ", 1000)},
		{"depth", "<message>" + nested(4) + "</message>", "<message><a><a><a><a><a>"},
		{"elements", "<message>" + strings.Repeat("<a/>", 9) + "</message>", "<message>" + strings.Repeat("<a/>", 10)},
		{"attributes", "<message a='1' b='2' c='3' d='4' e='5'/>", "<message a='1' b='2' c='3' d='4' e='5' f"},
		{"declarations", "<message xmlns:a='1'><a xmlns:b='2' xmlns:c='3'/><a xmlns:b='2' xmlns:c='3'/></message>",
			"<message xmlns:a='1'><a xmlns:b='2'><a xmlns:c='3'><a xmlns:d='4'>"},
	} {
		if got := items(t, l, header+c.good); len(got) != 2 || !strings.HasPrefix(got[1], "stanza") {
			t.Errorf("%s at the limit: %q", c.what, got)
		}
		got := items(t, l, header+c.more)
		if len(got) != 2 || !strings.HasPrefix(got[1], "policy-violation: ") {
			t.Errorf("%s over the limit: %q", c.what, got)
		}
	}
	// Per item, not per stream.
	if got := items(t, l, header+strings.Repeat("<message><a/></message>", 100)); len(got) != 101 {
		t.Errorf("the limits add up over items: %q", got[len(got)-1])
	}
}

func TestLimitsCanBeRaisedAfterAuthentication(t *testing.T) {
	var s Scanner
	s.SetLimits(Limits{Bytes: 200})
	if got := feed(&s, header+"<presence/>", whole); len(got) != 2 {
		t.Fatalf("%q", got)
	}
	s.SetLimits(Limits{})
	big := "<message>" + strings.Repeat("x", DefaultLimits.Bytes-19) + "</message>"
	if item, n, err := s.Scan([]byte(big)); item != ItemStanza || n != DefaultLimits.Bytes || err != nil {
		t.Errorf("%v, %d, %v", item, n, err)
	}
}

func TestErrorsSayWhere(t *testing.T) {
	for _, c := range []struct {
		in                   string
		offset, line, column int
	}{
		{"<message>\n\näö\x00", 15, 3, 3}, {"<message", 8, 1, 9}, {" \n <message><a></b></message>", 17, 2, 16},
		{"", 0, 1, 1}, {"<message/>\nx", 11, 2, 1},
	} {
		_, err := ParseStanza([]byte(c.in), Limits{})
		var e *SyntaxError
		if !errors.As(err, &e) || e.Offset != c.offset || e.Line != c.line || e.Column != c.column {
			t.Errorf("%q: %+v", c.in, err)
		} else if !strings.Contains(e.Error(), fmt.Sprintf("line %d, column %d", c.line, c.column)) {
			t.Errorf("%q: %v", c.in, e)
		}
	}
	var s Scanner
	text := header + " <presence/> \n<message>\n &;"
	got := feed(&s, text, whole)
	if want := fmt.Sprintf("@%d", len(text)-2); !strings.HasSuffix(got[len(got)-1], want) || s.err.Line != 3 ||
		s.err.Column != 2 {
		t.Errorf("%q (line %d, column %d), want %s", got, s.err.Line, s.err.Column, want)
	}
	if _, _, err := s.Scan([]byte("<presence/>")); err != error(s.err) {
		t.Errorf("after an error: %v", err)
	}
}

func TestNamesAreToldFromOtherText(t *testing.T) {
	for _, name := range []string{"a", "_", "xml:lang", "a-1.b", "é", "Ж:ü", "\U00010000", "a\u0300"} {
		if !ValidName(name) {
			t.Errorf("%q is a name", name)
		}
	}
	for _, text := range []string{"", ":", "a:", ":a", "a:b:c", "1", "-a", "a b", "a=", "a'", "a>", "\u0300", "a\xFF", "\xFF", "a\u00D7", "a:1", "\uFFFE"} {
		if ValidName(text) {
			t.Errorf("%q is no name", text)
		}
	}
}

// Every rune, against the productions as XML 1.0 §2.3 writes them.
func TestNameTablesFollowTheProductions(t *testing.T) {
	start := [][2]rune{{'A', 'Z'}, {'_', '_'}, {'a', 'z'}, {0xC0, 0xD6}, {0xD8, 0xF6}, {0xF8, 0x2FF}, {0x370, 0x37D},
		{0x37F, 0x1FFF}, {0x200C, 0x200D}, {0x2070, 0x218F}, {0x2C00, 0x2FEF}, {0x3001, 0xD7FF}, {0xF900, 0xFDCF},
		{0xFDF0, 0xFFFD}, {0x10000, 0xEFFFF}}
	more := [][2]rune{{'-', '-'}, {'.', '.'}, {'0', '9'}, {0xB7, 0xB7}, {0x300, 0x36F}, {0x203F, 0x2040}}
	in := func(r rune, table [][2]rune) bool {
		for _, x := range table {
			if r >= x[0] && r <= x[1] {
				return true
			}
		}
		return false
	}
	for r := rune(0); r <= 0x10FFFF; r++ {
		if r == ':' || r >= 0xD800 && r <= 0xDFFF {
			continue
		}
		if got := ValidName(string(r)); got != in(r, start) {
			t.Fatalf("%U begins a name: %v", r, got)
		}
		if got := ValidName("a" + string(r)); got != (in(r, start) || in(r, more)) {
			t.Fatalf("%U goes on a name: %v", r, got)
		}
	}
}

// cpu is the processor's time that the process has taken, which other work on the machine does not touch.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}

// Bytes that arrive one at a time must not be looked at again: squared, these would take minutes.
func TestSlowArrivalCostsNoMore(t *testing.T) {
	const n = 200_000
	for _, c := range []struct{ before, unit, after string }{
		{"<message><body>", "x", "</body></message>"},
		{"<message a='", "x", "'/>"},
		{"<", "x", "/>"},
		{"<message><" + strings.Repeat("x", n) + "></", "x", "></message>"},
		{"<message ", " ", "/>"},
		{"<message><![CDATA[", "x", "]]></message>"},
		{"<message", "", strings.Repeat(" ", n) + "></message" + strings.Repeat(" ", n) + ">"},
	} {
		s := started(t)
		s.SetLimits(Limits{Bytes: 1 << 20})
		text := []byte(c.before + strings.Repeat(c.unit, n) + c.after)
		begun := cpu(t)
		for end := 1; ; end++ {
			item, m, err := s.Scan(text[:end])
			if err != nil || item != ItemNone && (end < len(text) || m != end) {
				t.Fatalf("%.20q: %v, %d, %v", c.before, item, m, err)
			}
			if item != ItemNone {
				break
			}
		}
		if d := cpu(t) - begun; d > 5*time.Second {
			t.Errorf("%.20q: %v", c.before, d)
		}
	}
}
