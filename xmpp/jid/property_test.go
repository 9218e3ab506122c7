package jid

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// pieces draws text that is likelier than chance to reach the deep rules:
// separators, letters with case, width and composition variants, right-to-left
// script, joiners, dots and prefixes that mean something.
func pieces() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		parts := rapid.SliceOfN(rapid.OneOf(
			rapid.SampledFrom([]string{"@", "/", ".", "a", "Z", "-", "xn--", "xn--mnchen-3ya", "[", "::1", "]", " ",
				"\uff20", "\uff0f", "\uff21", "\u3002", "e\u0301", "\u212b", "\u0130", "\u03a3", "\u03c2", "\u00df",
				"\u1e9e", "\u05d0", "\u0661", "\u200d", "\u094d", "\u0345", "\u1fb3", "\u3000", "\u265a", "\uffa1", "\u1100\u1161"}),
			rapid.StringN(1, 3, -1),
			rapid.StringMatching(`[a-z0-9]{1,5}`),
		), 1, 12).Draw(t, "parts")
		return strings.Join(parts, "")
	})
}

func TestNormalisingTwiceChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := pieces().Draw(t, "address")
		j, err := Parse(in)
		if err != nil {
			return
		}
		checkWhole(t, j)
		if b, err := ParseBytes([]byte(in)); err != nil || b != j {
			t.Errorf("ParseBytes: %q, %v", b, err)
		}
	})
}

func TestEveryCodePointIsStableInEveryPart(t *testing.T) {
	accepted := 0
	for r := rune(1); r <= utf8.MaxRune; r++ {
		for _, in := range []string{string(r) + "@b", "a" + string(r) + "@b", "a" + string(r) + ".c", "b/x" + string(r)} {
			if j, err := Parse(in); err == nil {
				checkWhole(t, j)
				accepted++
			}
		}
		if t.Failed() {
			t.Fatalf("at %U", r)
		}
	}
	if accepted < 300000 {
		t.Errorf("only %d addresses accepted", accepted)
	}
}

func TestCaseOfASCIIDoesNotMatterBeforeTheResource(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bare := rapid.StringMatching(`([A-Za-z0-9!#$%_.+-]{1,20}@)?[A-Za-z0-9]{1,9}(\.[A-Za-z][A-Za-z0-9]{0,9}){0,3}`).Draw(t, "bare")
		j, err := Parse(bare)
		if err != nil {
			t.Fatalf("%q: %v", bare, err)
		}
		if u, err := Parse(strings.ToUpper(bare)); err != nil || u != j || j.String() != strings.ToLower(bare) {
			t.Errorf("%q: %q and %q, %v", bare, j, u, err)
		}
	})
}

// The quick look at ASCII is a shortcut and must give what the rules give.
func TestASCIIShortcutAgreesWithTheRules(t *testing.T) {
	agree := func(t rapid.TB, in string) {
		slash := strings.IndexByte(in, '/')
		at := strings.IndexByte(in, '@')
		if at <= 0 || slash <= at+1 || slash == len(in)-1 {
			return
		}
		quick, quickErr := Parse(in)
		slow, slowErr := parseSlow(in, at, slash)
		if quick != slow || (quickErr == nil) != (slowErr == nil) {
			t.Errorf("%q: %q, %v but by the rules %q, %v", in, quick, quickErr, slow, slowErr)
		}
	}
	for _, in := range []string{"!@0.xn--/!", "!@xn--.0/!", "!@xn--/!", "!@0.xn--./!", "!@0./!", "!@0../!"} {
		agree(t, in)
	}
	rapid.Check(t, func(t *rapid.T) {
		agree(t, rapid.StringMatching(`[ -~]{1,12}@([a-zA-Z0-9.-]|xn--){1,12}/[ -~]{1,12}`).Draw(t, "address"))
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"juliet@example.com/balcony", "a@b@c/d@e", "\u03a3@xn--mnchen-3ya.example./\u3000x", "a@[2001:DB8::1]",
		"\uff21\uff20b@c", "a\xff@b", "xn--a-", "\u05d0@b", "@", "/", "", "a@b/\u265a", "A@\u3002b\uff0e", "[::1%x]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		j, err := Parse(in)
		b, errBytes := ParseBytes([]byte(in))
		if b != j || err != errBytes {
			t.Errorf("Parse says %q, %v; ParseBytes %q, %v", j, err, b, errBytes)
		}
		if err != nil {
			if j != (JID{}) {
				t.Errorf("an address with an error: %q", j)
			}
			return
		}
		checkWhole(t, j)
	})
}
