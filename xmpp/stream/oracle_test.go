package stream

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"jackdaw/xmpp"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// The documents of this file are made at random, some of them then damaged, and read by us, by encoding/xml and by
// libxml2. encoding/xml does not enforce namespaces and lets much pass, so it serves for trees; libxml2 for verdicts.

var (
	prefixes   = []string{"", "", "", "a", "b", "é", "xml"}
	localNames = []string{"x", "body", "a-1", "é.ü", "Жы", "_", "message"}
	spaces     = []string{"jabber:client", "jabber:server", "urn:x", "urn:y", "", "urn:%C3%A9&amp;", "http://example.org/?a=&#98;"}
	texts      = []string{"", " ", "a", "é€😀", "&lt;", "&#x1F600;", "]]", ">", "\n", "\r\n", "<![CDATA[<&>]]]]>", "<![CDATA[]]>", "'\"", "1234567890123"}
	values     = []string{"", "v", "é", "&quot;&apos;", "&#9;&#10;", "a  b", ">", "urn:x"}
	damage     = []string{"", "<", ">", "/", "'", "\"", "=", "&", ";", ":", " ", "]", "!", "?", "-", "[", "x", "\x00", "\x1F", "\xFF", "\xC3", "é", "&#0;",
		"\uFFFE", "\xED\xA0\x80", "xmlns", "xmlns:a=''", "a:", "<a>", "</a>", "]]>", "<![CDATA[", "<!--", "1"}
)

// element makes a well-formed element in which the prefixes of bound are declared.
func element(t *rapid.T, depth int, bound map[string]bool) string {
	inner := map[string]bool{"": true, "xml": true}
	for p := range bound {
		inner[p] = true
	}
	var attrs []string
	seen := map[string]bool{}
	for range rapid.IntRange(0, 2).Draw(t, "declarations") {
		p, uri := rapid.SampledFrom(prefixes).Draw(t, "prefix"), rapid.SampledFrom(spaces).Draw(t, "space")
		switch {
		case p == "xml" || p != "" && uri == "" || seen["xmlns:"+p]:
			continue
		case p == "":
			attrs = append(attrs, fmt.Sprintf("xmlns='%s'", uri))
		default:
			attrs = append(attrs, fmt.Sprintf("xmlns:%s=%q", p, uri))
		}
		seen["xmlns:"+p], inner[p] = true, true
	}
	pick := func(what string) string {
		if p := rapid.SampledFrom(prefixes).Draw(t, what); p != "" && inner[p] {
			return p + ":"
		}
		return ""
	}
	for range rapid.IntRange(0, 2).Draw(t, "attributes") {
		local := rapid.SampledFrom(localNames).Draw(t, "attribute")
		if seen[local] { // one of each local name: two prefixes may mean one namespace
			continue
		}
		seen[local] = true
		v := rapid.SampledFrom(values).Draw(t, "value")
		attrs = append(attrs, pick("attribute prefix")+local+" = '"+v+"'")
	}
	name := pick("element prefix")
	if name == "xml:" {
		name = ""
	}
	name += rapid.SampledFrom(localNames).Draw(t, "name")
	open := "<" + strings.Join(append([]string{name}, attrs...), "\n ")
	if depth == 0 || rapid.Bool().Draw(t, "empty") {
		return open + "/>"
	}
	return open + ">" + content(t, depth-1, inner) + "</" + name + " >"
}

func content(t *rapid.T, depth int, bound map[string]bool) string {
	var b strings.Builder
	for range rapid.IntRange(0, 3).Draw(t, "children") {
		if rapid.Bool().Draw(t, "text") {
			s := rapid.SampledFrom(texts).Draw(t, "characters")
			if strings.HasPrefix(s, ">") && strings.HasSuffix(b.String(), "]") {
				s = " " + s
			}
			b.WriteString(s)
		} else {
			b.WriteString(element(t, depth, bound))
		}
	}
	return b.String()
}

var document = rapid.Custom(func(t *rapid.T) string {
	root, attrs := "message", "xmlns='jabber:client' xmlns:a='urn:x'"
	if rapid.IntRange(0, 3).Draw(t, "prefixed root") == 0 {
		root, attrs = "c:message", "xmlns:c='jabber:client' xmlns='urn:d' xmlns:a='urn:x' a:k='1' id='2'"
	}
	return "<" + root + " " + attrs + ">" + content(t, 3, map[string]bool{"a": true}) + "</" + root + ">"
})

var damaged = rapid.Custom(func(t *rapid.T) string {
	doc := document.Draw(t, "document")
	for range rapid.IntRange(1, 2).Draw(t, "times") {
		at := rapid.IntRange(0, len(doc)).Draw(t, "at")
		to := min(len(doc), at+rapid.IntRange(0, 2).Draw(t, "less"))
		doc = doc[:at] + rapid.SampledFrom(damage).Draw(t, "more") + doc[to:]
	}
	return doc
})

// tree reads XML with encoding/xml into our shape. Declarations go, text is joined.
func tree(text []byte) (*xmpp.Element, error) {
	d := xml.NewDecoder(bytes.NewReader(text))
	root := &xmpp.Element{}
	stack := []*xmpp.Element{root}
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return root, nil
		}
		if err != nil {
			return nil, err
		}
		top := stack[len(stack)-1]
		switch tok := tok.(type) {
		case xml.StartElement:
			e := &xmpp.Element{Name: xmpp.Name{Space: tok.Name.Space, Local: tok.Name.Local}}
			for _, a := range tok.Attr {
				if a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns" {
					continue
				}
				e.Attrs = append(e.Attrs, xmpp.Attr{Name: xmpp.Name{Space: a.Name.Space, Local: a.Name.Local},
					Value: a.Value})
			}
			top.Content = append(top.Content, xmpp.Node{Elem: e})
			stack = append(stack, e)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		case xml.CharData:
			if len(tok) == 0 {
				continue
			}
			if n := len(top.Content); n > 0 && top.Content[n-1].Elem == nil {
				top.Content[n-1].Text += string(tok)
			} else {
				top.Content = append(top.Content, xmpp.Node{Text: string(tok)})
			}
		}
	}
}

// inClient wraps content so that its default namespace is that of a payload.
func inClient(b []byte) []byte {
	return append(append([]byte("<w xmlns='jabber:client'>"), b...), "</w>"...)
}

// qualify puts elements without a namespace into the content namespace.
func qualify(e *xmpp.Element) {
	if e.Name.Space == "" {
		e.Name.Space = xmpp.NSClient
	}
	for _, c := range e.Children() {
		qualify(c)
	}
}

// withoutAliens leaves out what is content on other streams only.
func withoutAliens(nodes []xmpp.Node) (out []xmpp.Node) {
	for _, n := range nodes {
		switch last := len(out) - 1; {
		case n.Elem != nil && (n.Elem.Name.Space == xmpp.NSServer || n.Elem.Name.Space == xmpp.NSComponentAccept):
		case n.Elem == nil && last >= 0 && out[last].Elem == nil:
			out[last].Text += n.Text
		default:
			out = append(out, n)
		}
	}
	return out
}

// checkTrees compares what encoding/xml reads in a document with what it reads in what we make of it.
func checkTrees(t *testing.T, doc string, st *xmpp.Stanza, pristine bool) {
	t.Helper()
	theirs, err := tree([]byte(doc))
	if err != nil {
		if strings.Contains(err.Error(), "invalid XML name") && strings.IndexFunc(doc, func(r rune) bool { return r >= 0x80 }) >= 0 {
			return // it knows the names of an older edition of XML 1.0
		}
		t.Errorf("we accept, encoding/xml does not: %q: %v", doc, err)
		return
	}
	payload, err := tree(inClient(st.Payload))
	if err != nil {
		t.Errorf("payload %q of %q: %v", st.Payload, doc, err)
		return
	}
	var root *xmpp.Element
	for _, c := range theirs.Content {
		if c.Elem != nil {
			root = c.Elem
		}
	}
	root.Content = withoutAliens(root.Content)
	if root.Name.Space == "" { // a document without namespaces stands for one in jabber:client
		qualify(root)
		qualify(payload)
	}
	if diff := cmp.Diff(root.Content, payload.Content[0].Elem.Content); diff != "" {
		t.Errorf("payload %q of %q: %s", st.Payload, doc, diff)
	}
	for _, c := range st.Children {
		raw := st.Payload[c.Start:c.End]
		e, err := xmpp.ParseElement(raw)
		if err != nil {
			t.Errorf("element %q: %v", raw, err)
			continue
		}
		// What we write they read to the tree that we have.
		written := e.Append(nil)
		read, err := tree(inClient(written))
		if err != nil {
			t.Errorf("%q, written from %q: %v", written, raw, err)
			continue
		}
		if diff := cmp.Diff(e, read.Content[0].Elem.Content[0].Elem); diff != "" {
			t.Errorf("%q, written from %q: %s", written, raw, diff)
		}
		// And what they read in the source is the same, but that they leave white space in attributes, to where damage
		// can bring it.
		read, err = tree(inClient(raw))
		if err != nil {
			t.Errorf("%q: %v", raw, err)
			continue
		}
		if diff := cmp.Diff(e, read.Content[0].Elem.Content[0].Elem); diff != "" && pristine {
			t.Errorf("%q: %s", raw, diff)
		}
		checkWritten(t, e)
	}
}

// lint returns what xmllint has against each document, empty where it has nothing.
func lint(t *testing.T, docs []string) []string {
	t.Helper()
	path, err := exec.LookPath("xmllint")
	if err != nil {
		t.Fatal("xmllint is missing: apt-get install libxml2-utils")
	}
	dir := t.TempDir()
	args := []string{"--noout", "--nonet"}
	for i, d := range docs {
		name := fmt.Sprintf("%d.xml", i)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(d), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, name)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stderr = &out
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	found := make([]string, len(docs))
	for line := range strings.Lines(out.String()) {
		var i int
		if n, _ := fmt.Sscanf(line, "%d.xml:", &i); n != 1 || i >= len(docs) {
			continue
		}
		if strings.Contains(line, " error : ") && !strings.Contains(line, "is not a valid URI") && found[i] == "" {
			found[i] = strings.TrimSpace(line)
		}
	}
	return found
}

func TestOthersReadWhatWeAccept(t *testing.T) {
	var docs []string
	for i := range 1500 {
		docs = append(docs, document.Example(i), damaged.Example(i))
	}
	for _, c := range scans {
		docs = append(docs, strings.ReplaceAll(c.in, "stream:b='&lt;' ", ""))
	}
	for _, c := range refusals {
		docs = append(docs, c.in, c.in+"</message>")
	}
	verdicts := lint(t, docs)
	accepted, refused := 0, 0
	for i, doc := range docs {
		st, err := ParseStanza([]byte(doc), Limits{})
		pristine := i < 3000 && i%2 == 0
		var e *SyntaxError
		switch {
		case err == nil:
			accepted++
			if verdicts[i] != "" {
				t.Errorf("we accept, libxml2 does not: %q: %s", doc, verdicts[i])
			}
			checkTrees(t, doc, st, pristine)
		case errors.Is(err, ErrNotStanza):
			if verdicts[i] != "" {
				t.Errorf("we read it all, libxml2 does not: %q: %s", doc, verdicts[i])
			}
		case errors.As(err, &e) && (e.Condition == NotWellFormed || e.Condition == UnsupportedEncoding):
			refused++
			if verdicts[i] == "" && !strings.Contains(doc, "&#x000000000") {
				t.Errorf("we refuse, libxml2 does not: %q: %v", doc, err)
			}
		}
		if pristine && err != nil {
			t.Errorf("well-formed and refused: %q: %v", doc, err)
		}
	}
	if accepted < 1500 || refused < 500 {
		t.Errorf("too one-sided to say much: %d accepted, %d refused", accepted, refused)
	}
}

func TestRandomStanzasSurviveScanAndWrite(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		doc := document.Draw(rt, "document")
		st, err := ParseStanza([]byte(doc), Limits{})
		if err != nil {
			rt.Fatalf("%q: %v", doc, err)
		}
		checkPayload(t, st.Payload, st.Children)
		checkRescan(t, st)
		got := items(t, Limits{}, header+doc)
		s := started(t)
		if _, _, err := s.Scan([]byte(doc)); err != nil {
			rt.Fatalf("%q: %v", doc, err)
		}
		if len(got) != 2 || got[1] != record(s, ItemStanza) || !bytes.Equal(s.Stanza().Payload, st.Payload) {
			rt.Fatalf("%q: stream %q, document %q", doc, got, st.Payload)
		}
	})
}
