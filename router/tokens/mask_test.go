package tokens

import (
	"strings"
	"testing"
)

func TestTokensAreMaskedWhereverTheyStand(t *testing.T) {
	a, h := Generate(KindAccount), Generate(KindHook)
	for in, want := range map[string]string{
		"":                               "",
		"nothing here":                   "nothing here",
		a:                                "jdt…",
		"/hooks/" + h:                    "/hooks/jdh…",
		"/hooks/" + h + "/slack":         "/hooks/jdh…/slack",
		"/hooks/jdh/" + h[3:]:            "/hooks/jdh…",
		"x?token=" + a + "&a=" + h:       "x?token=jdt…&a=jdh…",
		strings.ToUpper(a):               "JDT…",
		a[:30]:                           "jdt…",
		a + "x":                          "jdt…",
		a + "@im.example.org":            "jdt…@im.example.org",
		"id=" + IDOf(a):                  "id=" + IDOf(a),
		"jdtaaaaaaaaaaaaa":               "jdtaaaaaaaaaaaaa", // an id that begins so
		"xjdt" + strings.Repeat("a", 30): "xjdt" + strings.Repeat("a", 30),
		"jd":                             "jd",
		"jdt":                            "jdt",
		"jdt/":                           "jdt/",
	} {
		if got := Mask(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { Mask("http post status=200 path=/message jdt") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzMask(f *testing.F) {
	f.Add("/hooks/", "/slack")
	f.Add("jdt", "jdh/")
	secret := Generate(KindAccount)
	f.Fuzz(func(t *testing.T, before, after string) {
		if strings.HasSuffix(before, "jdt/") || strings.HasSuffix(before, "jdh/") || before != "" && isLetter(before[len(before)-1]) {
			return // that is no token of its own
		}
		if got := Mask(before + secret + after); strings.Contains(got, secret[3:]) {
			t.Errorf("%q", got)
		}
	})
}
