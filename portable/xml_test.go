package portable

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/fstest"

	"jackdaw/xmpp"
)

// rewritten is a file as it is after it was read and written.
func rewritten(file string) (string, error) {
	var b strings.Builder
	err := Flatten(fstest.MapFS{"f": {Data: []byte(file)}}, "f", &b, nil)
	return strings.TrimSpace(b.String()), err
}

func TestWhatIsReadIsWrittenWithTheSameMeaning(t *testing.T) {
	for file, want := range map[string]string{
		"\xEF\xBB\xBF<?xml version='1.0' encoding='utf-8'?><!-- a > b --> <a x=\"1\"/>\n": "<a x='1'/>",
		"<a><b>1&amp;2<![CDATA[<&>]]]></b></a>":                                           "<a><b>1&amp;2&lt;&amp;&gt;]</b></a>",
		"<p:a xmlns:p='u'><b/><p:c p:d='1' xml:lang='e'/></p:a>":                          "<a xmlns='u'><b xmlns=''/><c xmlns:ns0='u' ns0:d='1' xml:lang='e'/></a>",
		"<a xmlns='u'><b xmlns=''><c xmlns='u'/></b></a>":                                 "<a xmlns='u'><b xmlns=''><c xmlns='u'/></b></a>",
		"<a b='>' c=\"'\"><?x y?></a >":                                                   "<a b='>' c='&apos;'></a>",
	} {
		got, err := rewritten(file)
		if err != nil || !same(t, got, want) {
			t.Errorf("%s: got %s, %v, want %s", file, got, err, want)
		}
	}
}

func same(t *testing.T, a, b string) bool {
	t.Helper()
	x, err := xmpp.ParseElement([]byte(a))
	if err != nil {
		t.Errorf("%s: %v", a, err)
		return false
	}
	y, err := xmpp.ParseElement([]byte(b))
	if err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return bytes.Equal(x.Append(nil), y.Append(nil))
}

func TestWhatIsNoXMLIsRefusedWithItsLine(t *testing.T) {
	deep := strings.Repeat("<a>", maxDepth+1)
	for _, file := range []string{"", "x", "<a>", "<a></b>", "<a/><b/>", "<a/>x", "<a b='1' b='2'/>", "<a b=1/>", "<p:a/>",
		"<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", "<a>&b;</a>", "<a>\x00</a>", "<a b='<'/>", "<a:b:c xmlns:a='u'/>", "<1/>",
		"<?xml version='1.0' encoding='latin1'?><a/>", deep, "<a xmlns:p=''/>", "<a>\xff</a>", "<a b='1'c='2'/>", "<a", "<!--",
		"<a " + strings.Repeat("x", maxTag) + "/>"} {
		_, err := rewritten(file)
		if _, ok := errors.AsType[*syntaxError](err); !ok {
			t.Errorf("%.50q: %v", file, err)
		}
	}
	if _, err := rewritten("<a>\n\n<b></c>"); err == nil || err.Error() != "f: line 3: </c> ends what was not begun" {
		t.Errorf("got %v", err)
	}
}

func TestAnElementIsBoundedAsAWhole(t *testing.T) {
	for _, inside := range []string{"<b/>", "<!-- -->x"} {
		many := io.MultiReader(strings.NewReader("<a>"), strings.NewReader(strings.Repeat(inside, maxElements+1)))
		s := newScanner(many)
		first, err := s.next()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.element(first); err == nil || !strings.Contains(err.Error(), "more than") {
			t.Errorf("%s: %v", inside, err)
		}
	}
}

func TestFilesIncludeOthersAndNothingElse(t *testing.T) {
	const xi = " xmlns:xi='http://www.w3.org/2001/XInclude'"
	dir := fstest.MapFS{
		"d/main.xml":      {Data: []byte("<server-data xmlns='urn:xmpp:pie:0'" + xi + "><xi:include href='a.example.xml'/></server-data>")},
		"d/a.example.xml": {Data: []byte("<host xmlns='urn:xmpp:pie:0' jid='a.example'" + xi + "><xi:include href='a.example/b.xml'/></host>")},
		"d/a.example/b.xml": {Data: []byte("<user xmlns='urn:xmpp:pie:0' name='b'" + xi + "><xi:include href='v.xml'/>" +
			"<q xmlns='urn:q'><xi:include href='v.xml'/></q></user>")},
		"d/a.example/v.xml": {Data: []byte("<vCard xmlns='vcard-temp'/>")},
	}
	var b strings.Builder
	if err := Flatten(dir, "d/main.xml", &b, nil); err != nil {
		t.Fatal(err)
	}
	const want = "<server-data xmlns='urn:xmpp:pie:0'><host jid='a.example'><user name='b'><vCard xmlns='vcard-temp'/>" +
		"<q xmlns='urn:q'><include xmlns='http://www.w3.org/2001/XInclude' href='v.xml'/></q></user></host></server-data>"
	if got := strings.TrimSpace(b.String()); !same(t, got, want) {
		t.Errorf("got %s", got)
	}
	for _, href := range []string{"../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "", "none.xml",
		"a.xml' parse='text", "..%2f", `..\x`} {
		dir["d/main.xml"] = &fstest.MapFile{Data: []byte("<server-data xmlns='urn:xmpp:pie:0'" + xi + "><xi:include href='" + href +
			"'/></server-data>")}
		if err := Flatten(dir, "d/main.xml", io.Discard, nil); err == nil {
			t.Errorf("%s was included", href)
		}
	}
}

func FuzzWhatIsReadIsXML(f *testing.F) {
	for _, s := range []string{"<a/>", "<a xmlns:p='u' p:b='&#10;'><p:c>x</p:c><![CDATA[]]></a>", "<?xml version='1.0'?><a><!-- --></a>",
		"<server-data xmlns='urn:xmpp:pie:0'><host jid='a'><user name='b'/></host></server-data>", "<a b='>\n'>&lt;</a>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, file string) {
		once, err := rewritten(file)
		if err != nil {
			return
		}
		twice, err := rewritten(once)
		if err != nil || once != twice {
			t.Fatalf("%q, then %q, %v", once, twice, err)
		}
		// Another parser takes it, too.
		d := xml.NewDecoder(strings.NewReader(once))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%q: %v", once, err)
			}
		}
	})
}
