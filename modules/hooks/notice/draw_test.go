package notice

import (
	"strings"
	"testing"
	"unicode/utf8"

	"jackdaw/xmpp"
)

func TestWhatNoticesLookLike(t *testing.T) {
	disk := Notice{Title: "DiskFull", State: Firing, Level: Critical, Count: 2, Unit: "alerts",
		Text: "db1: /var 97 % used\r\ndb2: /var 91 % used \n", Link: "https://prom.example/graph?a=b"}
	resolved := disk
	resolved.State, resolved.Count = Resolved, 0
	for _, one := range []struct {
		name  string
		n     Notice
		style Style
		want  string
	}{
		{"an alert", disk, Style{}, "🔥 FIRING · critical · DiskFull  (2)\ndb1: /var 97 % used\ndb2: /var 91 % used\n" +
			"https://prom.example/graph?a=b"},
		{"in words", disk, Style{Words: true}, "[FIRING] critical · DiskFull  (2)\ndb1: /var 97 % used\n" +
			"db2: /var 91 % used\nhttps://prom.example/graph?a=b"},
		{"resolved", resolved, Style{}, "✅ RESOLVED · DiskFull\ndb1: /var 97 % used\ndb2: /var 91 % used\n" +
			"https://prom.example/graph?a=b"},
		{"resolved in words", Notice{Title: "X", State: Resolved}, Style{Words: true}, "[RESOLVED] X"},
		{"firing without a level", Notice{Title: "X", State: Firing}, Style{}, "ℹ FIRING · X"},
		{"a warning that fires", Notice{Title: "X", State: Firing, Level: Warning}, Style{}, "⚠ FIRING · warning · X"},
		{"plain text", Notice{Text: "hello\nthere"}, Style{}, "hello\nthere"},
		{"an urgent text", Notice{Text: "5 GB left", Level: Error}, Style{}, "🔥 5 GB left"},
		{"an urgent text in words", Notice{Text: "5 GB left", Level: Error}, Style{Words: true}, "[ERROR] 5 GB left"},
		{"a text that says its state", Notice{Text: "[db1] [🔴 Down] timeout", Level: Error, State: Firing}, Style{},
			"[db1] [🔴 Down] timeout"},
		{"a title alone", Notice{Title: " two\nlines "}, Style{}, "two lines"},
		{"something to look at", Notice{Title: "X", Level: Notable}, Style{}, "ℹ X"},
		{"of a source", Notice{Title: "Build", Source: "a/b"}, Style{}, "a/b: Build"},
		{"of a source that is named", Notice{Title: "a/b: Build", Source: "a/b"}, Style{}, "a/b: Build"},
		{"of a name", Notice{Text: "Build", Nick: "ci", Source: "x"}, Style{Nick: true}, "ci: Build"},
		{"of a name that is there", Notice{Text: "Build of *ci*: red", Nick: "ci"}, Style{Nick: true}, "Build of *ci*: red"},
		{"of a name in an address", Notice{Text: "see https://ci.example/circle", Nick: "ci"}, Style{Nick: true},
			"ci: see https://ci.example/circle"},
		{"of a name that is shown elsewhere", Notice{Text: "Build", Nick: "ci"}, Style{}, "Build"},
		{"links", Notice{Text: "X", Link: "https://a.example", Links: []Link{{"", "https://a.example"},
			{"Graph", "https://b.example"}, {"", "https://c.example"}}}, Style{}, "X\nhttps://a.example\nGraph: https://b.example"},
		{"a link that is there", Notice{Text: "X\nhttps://a.example", Link: "https://a.example"}, Style{},
			"X\nhttps://a.example"},
		{"links that are none", Notice{Text: "X", Link: "javascript:alert(1)", Links: []Link{{"", "https://a b"},
			{"", "https://"}, {"", "x\ny:z"}}}, Style{}, "X"},
		{"a link alone", Notice{Link: "https://a.example"}, Style{}, "https://a.example"},
		{"what XML forbids", Notice{Title: "a\x00b", Text: "\x1b[1mc\xff"}, Style{}, "a\uFFFDb\n\uFFFD[1mc\uFFFD"},
		{"lines too many", Notice{Title: "X", Text: strings.Repeat("0123456789\n", 10)}, Style{Max: 60},
			"X\n0123456789\n0123456789\n… (8 more lines)"},
		{"alerts too many", Notice{Title: "X", Unit: "alerts", Count: 50, Text: strings.Repeat("0123456789\n", 10)},
			Style{Max: 60}, "X  (50)\n0123456789\n0123456789\n… (48 more alerts)"},
		{"one line too long", Notice{Text: strings.Repeat("ä", 100)}, Style{Max: 60}, strings.Repeat("ä", 59) + "…"},
		{"a long line behind a title", Notice{Title: "X", Text: strings.Repeat("ä", 100)}, Style{Max: 60},
			"X\n" + strings.Repeat("ä", 28) + "…"},
	} {
		if got := Draw(&one.n, one.style).Text; got != one.want {
			t.Errorf("%s:\n%q, want\n%q", one.name, got, one.want)
		}
	}
	if d := Draw(&disk, Style{Subject: true}); d.Subject != "🔥 FIRING · critical · DiskFull  (2)" {
		t.Errorf("the subject is %q", d.Subject)
	}
	if d := Draw(&disk, Style{}); d.Subject != "" {
		t.Errorf("the subject is %q without one", d.Subject)
	}
}

func TestLevelsHaveNames(t *testing.T) {
	for l := Debug; l <= Critical; l++ {
		if got, ok := ParseLevel(l.String()); !ok || got != l {
			t.Errorf("%v is read as %v, %v", l, got, ok)
		}
	}
	if l, ok := ParseLevel(" WARN "); !ok || l != Warning {
		t.Errorf("WARN is %v", l)
	}
	if _, ok := ParseLevel("purple"); ok {
		t.Error("purple is a level")
	}
}

func FuzzDraw(f *testing.F) {
	f.Add("title", "a\nb\nc", "nick", "https://a.example/x", "label", int8(3), uint8(1), 12, 80)
	f.Add("", "\x00\r\n\xff", "", "x:y", "", int8(-4), uint8(9), -1, 1)
	f.Fuzz(func(t *testing.T, title, body, nick, link, label string, level int8, state uint8, count, most int) {
		most %= 10000
		for _, words := range []bool{false, true} {
			n := Notice{Title: title, Text: body, Nick: nick, Link: link, Links: []Link{{label, link + "?"}}, Unit: label,
				Level: Level(level), State: State(state), Count: count}
			d := Draw(&n, Style{Max: most, Words: words, Subject: true, Nick: true})
			limit := most
			if limit <= 0 {
				limit = DefaultMax
			}
			// What says that something is left out needs some room itself.
			if limit = max(limit, 400); utf8.RuneCountInString(d.Text) > limit {
				t.Fatalf("%d characters, may be %d", utf8.RuneCountInString(d.Text), limit)
			}
			if !xmpp.ValidText(d.Text) || !xmpp.ValidText(d.Subject) || strings.Contains(d.Subject, "\n") {
				t.Fatalf("drawn as %q", d)
			}
			if !n.Empty() && strings.TrimSpace(clean(title+body)) != "" && d.Text == "" {
				t.Fatalf("nothing is drawn of %+v", n)
			}
		}
	})
}
