package portable

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// shown is a term in a form of our own, in which texts have quotes.
func shown(t term) string {
	var parts []string
	for _, p := range t.list {
		parts = append(parts, shown(p))
	}
	switch t.kind {
	case tuple:
		return "{" + strings.Join(parts, " ") + "}"
	case list:
		return "[" + strings.Join(parts, " ") + "]"
	case bytesText:
		return fmt.Sprintf("%q", t.text)
	case opaque:
		return "?"
	}
	return t.String()
}

func TestTermsOfErlangAreRead(t *testing.T) {
	for text, want := range map[string]string{
		"{a, b_C@1,'x y','it\\'s'}.":                       "{a b_C@1 x y it's}",
		"[1,-2,\n 3|4].":                                   "[1 -2 3 4]",
		"% a comment. \n{[],{},<<>>, \"\"}.":               `{[] {} "" ""}`,
		"<<\"a\\\"b\"\n   \"c\">>.":                        `"a\"bc"`,
		"<<1,22,255>>.":                                    `"\x01\x16\xff"`,
		"<<\"ab\",195,169>>.":                              `"abé"`,
		"<<\"\xc3\xa9\">>.":                                `"é"`,
		"<<\"\xe9\"/utf8>>.":                               `"é"`,
		"<<\"\xc3\xa9\\x{1F339}\"/utf8>>.":                 `"é🌹"`,
		"<<3:2>>.":                                         `"\x03"`,
		"\"one \"\n  \"two\\n\\t\\e\\101\\x41\\x{e9}\".":   `"one two\n\t\x1bAA\xe9"`,
		"{<0.12.0>,#Ref<0.1.2.3>,#Fun<x.1.2>,#Port<0.1>}.": "{? ? ? ?}",
		"{#{a => [1], <<\"b\">> => #{}},x}.":               "{? x}",
		"{1.5,-1.0e-10,2.5e+3,1e}.":                        "",
		"{1.5,-1.0e-10,2.5e+3,7}.":                         "{? ? ? 7}",
		"99999999999999999999.":                            "?",
	} {
		got, err := newErlangReader(strings.NewReader(text)).read()
		if (want == "") != (err != nil) || err == nil && shown(got) != want {
			t.Errorf("%s: got %s, %v, want %s", text, shown(got), err, want)
		}
	}
	r, n := newErlangReader(strings.NewReader("a.\n b.\n\n")), 0
	for _, err := r.read(); !errors.Is(err, io.EOF); _, err = r.read() {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	if n != 2 {
		t.Errorf("%d terms", n)
	}
}

func TestWhatErlangDoesNotWriteIsRefused(t *testing.T) {
	for _, text := range []string{"{", "{a", "{a,", "{a b}.", "a", "a,", "Var.", "<<\"a\".", "<<256>>.", "<<\"a", "\"\\x{200000}\".",
		"\"\\xzz\".", "[a|b", "#{a}.", "#Ref<" + strings.Repeat("x", 2000), "1x2.", "\x00", "<?xml", strings.Repeat("a", 2000),
		strings.Repeat("{", maxTermDepth+2), "[" + strings.Repeat("1,", maxTerms+1)} {
		_, err := newErlangReader(strings.NewReader(text)).read()
		if _, ok := errors.AsType[*syntaxError](err); !ok {
			t.Errorf("%.40q: %v", text, err)
		}
	}
	for _, text := range []string{"\"xxxx", "<<1,2,3,4", "{<<\"xxxx", "'xxxx", "xxxx", "{<<\"xx\"\n\"xx"} {
		r := newErlangReader(strings.NewReader(text))
		r.bytes = maxTermBytes - 3
		if _, err := r.term(0); err == nil || !strings.Contains(err.Error(), "a term of more than") {
			t.Errorf("%s: %v", text, err)
		}
	}
	r := newErlangReader(strings.NewReader("a.\nb.\n{c;"))
	for range 2 {
		if _, err := r.read(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.read(); err == nil || !strings.HasPrefix(err.Error(), "line 3: ") {
		t.Errorf("got %v", err)
	}
}
