package styling

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"jackdaw/xmpp"
)

func TestMarkdownBecomesMessageStyling(t *testing.T) {
	for _, c := range []struct{ name, markdown, want string }{
		{"empty", "", ""},
		{"plain", "Hello, world!", "Hello, world!"},
		{"lines stay", "one\r\ntwo\rthree  \nfour\\\nfive", "one\ntwo\nthree\nfour\nfive"},
		{"one empty line", "a\n\n\n\nb\n\n", "a\n\nb"},
		{"strong", "a **b c** __d__", "a *b c* *d*"},
		{"emphasis", "*a* _b c_", "_a_ _b c_"},
		{"both", "***a*** **b *c* d**", "_*a*_ *b _c_ d*"},
		{"strikethrough", "~~gone~~ ~ ~/x ~/y", "~gone~ ~ ~/x ~/y"},
		{"code", "run `a **b** _c_` now", "run `a **b** _c_` now"},
		{"code with accents", "``a`b`` `` `x` ``", "a`b `x`"},
		{"accents alone", "a ` b", "a ` b"},
		{"inside a word", "un**believ**able snake_case_name 2*3*4 a__b__c", "unbelievable snake_case_name 234 a__b__c"},
		{"stars alone", "2 * 3 * 4 ** x", "2 * 3 * 4 ** x"},
		{"without partner", "**a *b", "**a *b"},
		{"in punctuation", "(**a**), \"*b*\".", "(*a*), \"_b_\"."},
		{"over two lines", "**a\nb**", "**a\nb**"},
		{"escaped", `\*a\* \[b\] \\ \x`, `*a* [b] \ \x`},
		{"entities", "&lt;b&gt; &amp;amp; &copy; &nosuch; &#1; a & b", "<b> &amp; © &nosuch; \uFFFD a & b"},
		{"link", "see [the page](https://a.example/x) now", "see the page: https://a.example/x now"},
		{"link with title", `[a](<https://a.example> "t") [b](https://b.example 't')`, "a: https://a.example b: https://b.example"},
		{"address with parentheses", "[a](https://a.example/x_(y))", "a: https://a.example/x_(y)"},
		{"link that is its label", "([https://a.example](https://a.example))", "(https://a.example)"},
		{"link to mail", "[me@a.example](mailto:me@a.example)", "me@a.example"},
		{"link here", "[a](#part) [b](docs/b.md)", "a b"},
		{"link styled", "**[a](https://a.example)** x", "*a*: https://a.example x"},
		{"label styled", "[**a** `b`](https://a.example)", "*a* `b`: https://a.example"},
		{"styled over a link", "**a [b](https://b.example) c** d", "*a b*: https://b.example c d"},
		{"image", "![a cat](https://a.example/cat.png)", "a cat: https://a.example/cat.png"},
		{"badge", "[![build](https://a.example/b.svg)](https://a.example/ci)", "build: https://a.example/ci"},
		{"badge without text", "[![](https://a.example/b.svg)](https://a.example/ci)", "https://a.example/ci"},
		{"definitions", "[a][x] [X] [y][] [z]\n\n[x]: https://x.example 'X'\n[Y]: <https://y.example>",
			"a: https://x.example X: https://x.example y: https://y.example [z]"},
		{"no definition", "```\n[x]: https://x.example\n```\n[x] [b]: not one", "```\n[x]: https://x.example\n```\n[x] [b]: not one"},
		{"autolinks", "<https://a.example/_b_> <me@a.example> <mailto:me@b.example>", "https://a.example/_b_ me@a.example me@b.example"},
		{"bare addresses", "https://a.example/_b_/*c* **https://d.example/_e_f**", "https://a.example/_b_/*c* *https://d.example/_e_f*"},
		{"brackets alone", "[a] (b) [c](d e) ]", "[a] (b) [c](d e) ]"},
		{"headings", "# A\n## B *c* **d** ##\n####### E\n#f", "*A*\n*B _c_ d*\n####### E\n#f"},
		{"headings with a line", "A\n===\nB\n---\n\n---\nC\n=", "*A*\n*B*\n\n———\nC\n="},
		{"heading with a link", "## [1.2.0](https://a.example/1.2.0)", "*1.2.0*: https://a.example/1.2.0"},
		{"lists", "* a\n* b\n  + c\n    more **c**\n1. d\n2) e\n- [x] f\n-g", "- a\n- b\n  - c\n    more *c*\n1. d\n2) e\n- [x] f\n-g"},
		{"list, and a paragraph", "- a\n\n  b\n\nc", "- a\n\n  b\n\nc"},
		{"quotes", "> a **b**\n>\n>> c\n\nd", "> a *b*\n>\n> > c\n\nd"},
		{"fence", "```go\nif *a {\n\n\n\t_b_\n}\n```\n**x**", "```go\nif *a {\n\n\n\t_b_\n}\n```\n*x*"},
		{"fence of tildes", "~~~\n```\n~~~", "```\n ```\n```"},
		{"fence of four", "````\n```\n````", "```\n ```\n```"},
		{"fence without end", "```\na", "```\na\n```"},
		{"fence in a list", "- a\n  ```sh\n  ls\n    x\n  ```\n- b", "- a\n```sh\nls\n  x\n```\n- b"},
		{"fence in a quote", "> ```\n> a\nb", "> ```\n> a\n> ```\nb"},
		{"indented code", "a\n\n    *b*\n\n\n      c\n\nd", "a\n\n```\n*b*\n\n\n  c\n```\n\nd"},
		{"not indented code", "a\n    *b*", "a\n_b_"},
		{"table", "| a | **b** |\n|---|:-:|\n| 1 \\| 2 | `x` | 3 |\n| 4 |\nc", "*a* | *b*\n1 | 2 | `x`\n4\nc"},
		{"no table", "a | b\nc | d", "a | b\nc | d"},
		{"HTML", "<details>\n<summary>A</summary>\n\nb<br>c <b>d</b> e < f > g <a href=\"x\">h</a>\n</details>",
			"A\n\nb\nc d e < f > g h"},
		{"no HTML", "ssh <host> Vec<String> < > <>", "ssh <host> Vec<String> < > <>"},
		{"comments", "a <!-- b --> c\n<!--\nd\n-->\ne <!-- f", "a  c\ne <!-- f"},
		{"rules", "a\n\n***\n- - -\n___", "a\n\n———\n———\n———"},
		{"astral", "𝄞**é** **\U0001F525 b**", "𝄞*é* *\U0001F525 b*"},
		{"strong title", "### **Title** ###", "*Title*"},
		{"relative, and no link", "[1](note) and [x] (y)", "1 and [x] (y)"},
		{"strong without partner within", "**open _a_", "**open _a_"},
		{"what XML has no place for", "a\x00b\x1b\xffc", "a\uFFFDb\uFFFD\uFFFDc"},
	} {
		if got := FromMarkdown(c.markdown); got != c.want {
			t.Errorf("%s:\n%s\ngot\n%q, want\n%q", c.name, c.markdown, got, c.want)
		}
	}
}

// hostile are documents that take other parsers the square of their length, or more.
func hostile(n int) map[string]string {
	rep := func(s string) string { return strings.Repeat(s, n/len(s)+1) }
	var ticks, deep strings.Builder
	for i := 1; ticks.Len() < n; i++ {
		ticks.WriteString("e" + strings.Repeat("`", i))
	}
	for i := 0; deep.Len() < n; i++ {
		deep.WriteString(strings.Repeat("  ", i) + "- a\n")
	}
	all := map[string]string{"ticks": ticks.String(), "deep": deep.String(),
		"lists and lines": strings.Repeat("- ", n/4) + "a\n" + strings.Repeat("\n", n/2),
		"pairs":           rep("[") + rep("]"),
		"wide table":      strings.Repeat("|a", n/8) + "\n" + strings.Repeat("|-", n/8) + "\n" + strings.Repeat("|\n", n/4),
		"definitions":     "[a]: x:" + strings.Repeat("b", maxAddress-10) + "\n" + rep("[a]"),
		"parentheses":     "[a](" + rep("("), "an end": rep("[a](b") + ")", "titles": rep("[a](b 'c") + ")",
	}
	for _, s := range []string{">", "> ", "- ", "[", "![", "[a](b", "[a](", "[a](<b", "*a ", "a*", "*a _b ", "**a *b ",
		"*a **b* ", "a**bc* ", "*", "_", "~~", "~~a ~b", "[a]: b\n", "[a]: b\n[a]\n", "<", "<a ", "<!--", "<!-- -->", "<a@", "h",
		"http://", "http://a ", "www.", "a@", "|a", "|a|\n|-|\n", "```\n", "~~~", "    a\n", "a\n=\n", "# ", "\\", "&", "&#", "[*a](b)*",
		"`a", "``a`", "> - ", "\n", " ", "\t", "[[a]](b)", "![a](b)"} {
		all[s] = rep(s)
	}
	return all
}

func TestNoDocumentTakesLong(t *testing.T) {
	const n = 256 << 10
	for name, document := range hostile(n) {
		begin := time.Now()
		got := FromMarkdown(document)
		if d := time.Since(begin); d > 5*time.Second { // half a second is the worst without the race detector
			t.Errorf("%q: %v", name, d)
		}
		if len(got) > 8*len(document)+64 {
			t.Errorf("%q: %d bytes of %d", name, len(got), len(document))
		}
	}
}

func FuzzFromMarkdown(f *testing.F) {
	for _, document := range hostile(100) {
		f.Add(document)
	}
	f.Add("# a\n> **b** [c](https://d.example)\n```\ne\n```\n| f |\n|---|\n| g |")
	f.Fuzz(func(t *testing.T, document string) {
		got := FromMarkdown(document)
		if !utf8.ValidString(got) || !xmpp.ValidText(got) {
			t.Errorf("%q is not for XML", got)
		}
		if len(got) > 8*len(document)+64 {
			t.Errorf("%d bytes of %d", len(got), len(document))
		}
	})
}
