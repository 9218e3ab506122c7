package xmpp

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestElementIsParsedAndWritten(t *testing.T) {
	in := "<a:x xmlns:a='urn:a' xmlns='urn:d' a:k='1' k=\"&lt;\t&#9;\r\n\" xml:lang='en'>t&amp;\r\n<y xmlns=''/><a:z>é</a:z ><w/></a:x>"
	e, err := ParseElement([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	if e.Name != (Name{"urn:a", "x"}) || e.AttrNS("urn:a", "k") != "1" || e.Attr("k") != "< \t " || e.AttrNS(NSXML, "lang") != "en" ||
		e.HasAttr("lang") || !e.HasAttr("k") || e.Text() != "t&\n" || len(e.Children()) != 3 {
		t.Errorf("%+v", e)
	}
	if e.Child(Name{"", "y"}) == nil || e.ChildLocal("z").Text() != "é" || e.Child(Name{"urn:d", "w"}) == nil || e.ChildLocal("w") != nil {
		t.Errorf("children: %+v", e.Content)
	}
	want := "<x xmlns='urn:a' xmlns:ns0='urn:a' ns0:k='1' k='&lt; &#9; ' xml:lang='en'>t&amp;\n<y xmlns=''/><z>é</z><w xmlns='urn:d'/></x>"
	if got := string(e.Append(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestElementDefaultsToTheContentNamespace(t *testing.T) {
	for _, in := range []string{"<body>x</body>", "<body xmlns='jabber:client'>x</body>"} {
		e, err := ParseElement([]byte(in))
		if err != nil || e.Name != body || string(e.Append(nil)) != "<body>x</body>" {
			t.Errorf("%s: %+v, %v", in, e, err)
		}
	}
}

func TestNamespaceOfAttributesIsDeclaredOncePerElement(t *testing.T) {
	e, err := ParseElement([]byte("<x xmlns:a='urn:a' a:k='1' xmlns:b='urn:b' b:l='2' a:m='3' n='4'/>"))
	want := "<x xmlns:ns0='urn:a' ns0:k='1' xmlns:ns1='urn:b' ns1:l='2' ns0:m='3' n='4'/>"
	if err != nil || string(e.Append(nil)) != want {
		t.Errorf("%s, %v, want %s", e.Append(nil), err, want)
	}
}

// Namespaces in XML 1.0 §3: the namespace of the prefix xml must not be declared as the default. A client that was
// given that would end its stream.
func TestElementOfTheNamespaceOfXMLKeepsItsPrefix(t *testing.T) {
	in := "<x xmlns='urn:x'><xml:y xml:lang='en'><z/></xml:y></x>"
	e, err := ParseElement([]byte(in))
	if err != nil || string(e.Append(nil)) != in || e.Children()[0].Name.Space != NSXML {
		t.Errorf("%s, %v", e.Append(nil), err)
	}
}

func TestLengthOfAnAttributeIsKnownBeforeItIsWritten(t *testing.T) {
	for _, s := range []string{"", "urn:x", "a'b\"c<d>e&f\tg\nh\ri", "é😀"} {
		if got := AttrLen(s); got != len(AppendAttr(nil, s)) {
			t.Errorf("%q: %d", s, got)
		}
	}
}

func TestWhatIsNoElementIsRefused(t *testing.T) {
	for _, in := range []string{
		"", "x", "<", "<a", "<a>", "<a/", "<a/>x", "<a/><b/>", "<a></b>", "<a></a", "<a></a x>", "<a b/>", "<a b=/>", "<a b='/>",
		"<a b=c/>", "<p:a/>", "<a p:b=''/>", "<a>&x;</a>", "<a>&</a>", "<a b='&#0;'/>", "< a/>", "</a>", "<a><b></a></b>", "<p:/>",
		"<a =''/>", "<a p:=''/>",
	} {
		if e, err := ParseElement([]byte(in)); !errors.Is(err, ErrNotXML) {
			t.Errorf("%q: %+v, %v", in, e, err)
		}
	}
	if _, err := ParseElement([]byte(strings.Repeat("<a>", 100_000))); !errors.Is(err, ErrTooDeep) {
		t.Errorf("deep: %v", err)
	}
	var many strings.Builder
	for range 100 {
		many.WriteString("<a xmlns:b='c' xmlns:d='e' xmlns:f='g'>")
	}
	if _, err := ParseElement([]byte(many.String())); !errors.Is(err, ErrNotXML) {
		t.Errorf("many declarations: %v", err)
	}
	for _, in := range []string{"<a", "<a>", "<a><b", "<a></a", "<a", "<a b='", "<"} {
		if ix := Index([]byte(in)); ix != nil {
			t.Errorf("index of %q: %v", in, ix)
		}
	}
}

func TestReferencesStandForCharacters(t *testing.T) {
	for in, want := range map[string]rune{
		"&lt;x": '<', "&gt;": '>', "&amp;": '&', "&quot;": '"', "&apos;": '\'', "&#65;": 'A', "&#x41;": 'A', "&#x10FfFf;": 0x10FFFF, "&#9;": '\t',
	} {
		if r, n := Reference([]byte(in)); r != want || n != strings.IndexByte(in, ';')+1 {
			t.Errorf("%s: %q, %d", in, r, n)
		}
		for i := 1; i < strings.IndexByte(in, ';'); i++ {
			if _, n := Reference([]byte(in[:i])); n != 0 {
				t.Errorf("%s: %d", in[:i], n)
			}
		}
	}
	for in, want := range map[string]int{"&x;": -1, "&;": -2, "& ": -2, "&#;": -2, "&#x;": -2, "&#xD800;": -2, "&#0;": -2, "&abcdefghijklmnopqrst": -1,
		"&#x110000;": -2, "&#000000000000065;": -2, "&#x4G;": -2, "&#X41;": -2, "&#xFFFF;": -2} {
		if _, n := Reference([]byte(in)); n != want {
			t.Errorf("%s: %d, want %d", in, n, want)
		}
	}
}

func FuzzParseElement(f *testing.F) {
	for _, in := range []string{
		"<a/>", "<a b='c' d=\"e\">f<g/>h</a>", "<p:a xmlns:p='q' p:r='s' xml:lang='t'/>", "<a xmlns=''>&lt;&#65;&#x42;\r\n</a>", "<a><b><c>", "<a",
		"<é ü='&quot;'>😀</é>", "<0 :0:=''/>", "<a:b:c/>", "<a :b=''/>",
	} {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		Index(in)
		e, err := ParseElement(in)
		if err != nil {
			if !errors.Is(err, ErrNotXML) && !errors.Is(err, ErrTooDeep) {
				t.Fatal(err)
			}
			return
		}
		for _, a := range e.Attrs {
			// The scanner lets no name begin with a colon, or have two.
			if got, want := AttrOf(in, a.Name.Local), e.Attr(a.Name.Local); got != want && !bytes.Contains(in, []byte(":")) {
				t.Fatalf("%s of %q is %q, not %q", a.Name.Local, in, got, want)
			}
		}
		text := e.Append(nil)
		again, err := ParseElement(text)
		if errors.Is(err, ErrTooDeep) || bytes.Count(text, []byte("xmlns:")) > 200 {
			return
		}
		if err != nil {
			t.Fatalf("%q written as %q: %v", in, text, err)
		}
		if second := again.Append(nil); !bytes.Equal(text, second) {
			t.Fatalf("written %q, read and written %q", text, second)
		}
	})
}
