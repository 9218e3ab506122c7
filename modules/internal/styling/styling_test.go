package styling

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestMarkdownBecomesMessageStyling(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"plain", "plain"},
		{"", ""},
		{"**bold** and *it* and __bold__ and _it_ and ~~gone~~", "*bold* and _it_ and *bold* and _it_ and ~gone~"},
		{"***both***", "*_both_*"},
		{"**bold *it* bold**", "*bold _it_ bold*"},
		{"snake_case_name and 2 * 3 * 4", "snake_case_name and 2 * 3 * 4"},
		{"**open", "**open"},
		{"a ** b ** c", "a ** b ** c"},
		{"[#7](https://ci.example/7) failed", "#7: https://ci.example/7 failed"},
		{"[https://a.example](https://a.example)", "https://a.example"},
		{"[**a**](https://a.example \"title\")", "*a*: https://a.example"},
		{"![graph](https://a.example/x.png)", "graph: https://a.example/x.png"},
		{"![](https://a.example/x.png)", "https://a.example/x.png"},
		{"[x](https://a.example/b_(c)) d", "x: https://a.example/b_(c) d"},
		{"[1](note) and [x] (y)", "[1](note) and [x] (y)"},
		{"<https://a.example/_x_>", "https://a.example/_x_"},
		{"`**code**` stays", "`**code**` stays"},
		{"``a ` b``", "`a ` b`"},
		{"# Title", "*Title*"},
		{"### **Title** ###", "*Title*"},
		{"#tag", "#tag"},
		{"* one\n  * two", "- one\n  - two"},
		{"- one", "- one"},
		{"> **said**\n>> twice", "> *said*\n>> twice"},
		{"```go\n**x**\n```\n**y**", "```go\n**x**\n```\n*y*"},
		{"~~~\n**x**\n~~~\n**y**", "```\n**x**\n```\n*y*"},
		{`\*no\* 3 \< 4`, "*no* 3 < 4"},
		{"a &amp; b &lt;c&gt; &nothing; &", "a & b <c> &nothing; &"},
		{"line  \nbreak\\\nend", "line\nbreak\nend"},
		{"**\xff**", "*\xff*"},
		{"𝄞**é**", "𝄞*é*"},
	} {
		if got := FromMarkdown(c.in); got != c.want {
			t.Errorf("%q becomes %q, want %q", c.in, got, c.want)
		}
	}
}

// What strangers send is read in time that grows with its length.
func TestTheTimeOfMarkdownGrowsWithItsLength(t *testing.T) {
	for _, piece := range []string{"*_\n", "[a](b:\n",
		"*", "_", "**a ", "_a ", "[", "![", "[a](", "`", "``a", "<a", "&", "> ", "\\", "*a_b~~c", "[a]("} {
		line := strings.Repeat(piece, maxLine/len(piece))
		text := strings.Repeat(line+"\n", 20)
		begin := time.Now()
		FromMarkdown(text)
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("%d bytes of %q take %v", len(text), piece, took)
		}
	}
}

func FuzzFromMarkdown(f *testing.F) {
	f.Add("**a** _b_ [c](https://d.example) `e` <https://f.example> &amp;\n> g\n```\nh")
	f.Add("***a*b**\\")
	f.Fuzz(func(t *testing.T, text string) {
		got := FromMarkdown(text)
		if utf8.ValidString(text) && !utf8.ValidString(got) {
			t.Fatalf("%q becomes %q", text, got)
		}
		if len(got) > 4*len(text)+16 {
			t.Fatalf("%d bytes become %d", len(text), len(got))
		}
	})
}
