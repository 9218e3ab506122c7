package jid

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

var long = strings.Repeat("a", MaxPart)

// longDomain is 1023 bytes of labels that are short enough.
var longDomain = strings.Repeat(strings.Repeat("a", 63)+".", 15) + strings.Repeat("b", 63)

func TestValidAddressesAreNormalised(t *testing.T) {
	for _, c := range []struct{ in, local, domain, resource string }{
		// RFC 7622 §3.5, table 1
		{"juliet@example.com", "juliet", "example.com", ""},
		{"juliet@example.com/foo", "juliet", "example.com", "foo"},
		{"juliet@example.com/foo bar", "juliet", "example.com", "foo bar"},
		{"juliet@example.com/foo@bar", "juliet", "example.com", "foo@bar"},
		{`foo\20bar@example.com`, `foo\20bar`, "example.com", ""},
		{"fussball@example.com", "fussball", "example.com", ""},
		{"fu\u00dfball@example.com", "fu\u00dfball", "example.com", ""},
		{"\u03c0@example.com", "\u03c0", "example.com", ""},
		{"\u03a3@example.com/foo", "\u03c3", "example.com", "foo"},
		{"\u03c3@example.com/foo", "\u03c3", "example.com", "foo"},
		{"\u03c2@example.com/foo", "\u03c2", "example.com", "foo"},
		{"king@example.com/\u265a", "king", "example.com", "\u265a"},
		{"example.com", "", "example.com", ""},
		{"example.com/foobar", "", "example.com", "foobar"},
		{"a.example.com/b@example.net", "", "a.example.com", "b@example.net"},
		// Case and final dot
		{"Juliet@Example.COM/Foo", "juliet", "example.com", "Foo"},
		{"JULIET@localhost.", "juliet", "localhost", ""},
		{"Example.com./x/y", "", "example.com", "x/y"},
		// Width, composition, other spaces
		{"\uff2a\uff35liet@example.com", "juliet", "example.com", ""},
		{"e\u0301@example.com", "\u00e9", "example.com", ""},
		{"a@b/x\u00a0y\u3000z", "a", "b", "x y z"},
		{"a@b/e\u0301", "a", "b", "\u00e9"},
		{"\u05d0\u05d1@example.com", "\u05d0\u05d1", "example.com", ""},
		{"\u0130@b", "i\u0307", "b", ""},
		{"\u212a@b", "k", "b", ""},
		// IDNA: one spelling for A-label, U-label and their variants
		{"a@xn--mnchen-3ya.example", "a", "m\u00fcnchen.example", ""},
		{"a@XN--Mnchen-3YA.example", "a", "m\u00fcnchen.example", ""},
		{"a@M\u00dcNCHEN.example", "a", "m\u00fcnchen.example", ""},
		{"a@mu\u0308nchen\u3002example\uff0e", "a", "m\u00fcnchen.example", ""},
		{"a@stra\u00dfe.example", "a", "stra\u00dfe.example", ""},
		{"a@\uff45xample.com", "a", "example.com", ""},
		// IP literals
		{"a@192.0.2.7/r", "a", "192.0.2.7", "r"},
		{"[2001:DB8:0:0::1]", "", "[2001:db8::1]", ""},
		{"a@[::1]/r", "a", "[::1]", "r"},
		{"a@[::ffff:192.0.2.1]", "a", "[::ffff:192.0.2.1]", ""},
		// Limits
		{long + "@" + longDomain + "/" + long, long, longDomain, long},
		{"a@x-1.y-z.0", "a", "x-1.y-z.0", ""},
	} {
		j, err := Parse(c.in)
		if err != nil {
			t.Errorf("Parse(%.60q): %v", c.in, err)
			continue
		}
		if j.Local() != c.local || j.Domain() != c.domain || j.Resource() != c.resource {
			t.Errorf("Parse(%.60q) = %.60q %.60q %.60q", c.in, j.Local(), j.Domain(), j.Resource())
		}
		checkWhole(t, j)
		b, err := ParseBytes([]byte(c.in))
		if err != nil || b != j {
			t.Errorf("ParseBytes(%.60q) = %v, %v; Parse says %v", c.in, b, err, j)
		}
		n, err := New(j.Local(), j.Domain(), j.Resource())
		if err != nil || n != j {
			t.Errorf("New of the parts of %.60q = %v, %v", c.in, n, err)
		}
	}
}

func TestInvalidAddressesAreRefused(t *testing.T) {
	for _, c := range []struct {
		in  string
		err error
	}{
		// RFC 7622 §3.5, table 2
		{`"juliet"@example.com`, ErrLocal},
		{"foo bar@example.com", ErrLocal},
		{"juliet@example.com/ foo", ErrResource},
		{"@example.com/", ErrEmpty},
		{"henry\u2163@example.com", ErrLocal},
		{"\u265a@example.com", ErrLocal},
		{"juliet@", ErrEmpty},
		{"/foobar", ErrEmpty},
		// Empty parts
		{"", ErrEmpty}, {"@", ErrEmpty}, {"/", ErrEmpty}, {"@/", ErrEmpty}, {"a@/r", ErrEmpty},
		{"a@b/", ErrEmpty}, {"@b", ErrEmpty}, {"b/", ErrEmpty},
		// Localpart
		{"a&b@c", ErrLocal}, {"a'b@c", ErrLocal}, {"a:b@c", ErrLocal}, {"a<b@c", ErrLocal}, {"a>b@c", ErrLocal},
		{"a\x00@c", ErrLocal}, {"a\x7f@c", ErrLocal}, {"a\n@c", ErrLocal},
		{"a\uff20b@c", ErrLocal}, {"a\uff0fb@c", ErrLocal}, {"\uff02@c", ErrLocal},
		{"a\u05d0@c", ErrLocal}, {"a\u200db@c", ErrLocal}, {"a\u00a0b@c", ErrLocal}, {"\ufb01x@c", ErrLocal},
		{strings.Repeat("a", 1024) + "@b", ErrTooLong},
		{strings.Repeat("\u00e9", 512) + "@b", ErrTooLong},
		// Domainpart
		{"a@b@c", ErrDomain}, {"a@b c", ErrDomain}, {"a@b_c", ErrDomain}, {"a@-b", ErrDomain}, {"a@b-", ErrDomain},
		{"a@b..c", ErrDomain}, {"a@.b", ErrDomain}, {"a@b..", ErrDomain}, {"a@.", ErrDomain}, {"a@b:5222", ErrDomain},
		{"!@0.xn--/!", ErrDomain}, {"a@b.XN--", ErrDomain}, {"a@xn--.b", ErrDomain}, {"a@b.xn--.", ErrDomain}, {"a@b.\uff38n--", ErrDomain},
		{"a@ab--c", ErrDomain}, {"a@xn--", ErrDomain}, {"a@xn--a", ErrDomain}, {"a@xn--a-", ErrDomain},
		{"a@xn--\u00fc", ErrDomain}, {"a@\u265a.example", ErrDomain}, {"a@xn--45h.example", ErrDomain},
		{"a@\u2488com", ErrDomain}, {"a@b\uff0fc", ErrDomain}, {"a@b\uff20c", ErrDomain}, {"a@\u2100", ErrDomain},
		{"a@\u3002", ErrDomain}, {"a@\u00ad", ErrDomain}, {"a@b.\u200d", ErrDomain}, {"a@\u00fc_b", ErrDomain},
		{"a@" + strings.Repeat("b", 64), ErrDomain}, {"a@" + strings.Repeat("\u00fc", 60), ErrDomain},
		{"a@[::1", ErrDomain}, {"a@[]", ErrDomain}, {"a@[", ErrDomain}, {"a@[192.0.2.1]", ErrDomain},
		{"a@[fe80::1%eth0]", ErrDomain}, {"a@::1", ErrDomain}, {"a@[::1]x", ErrDomain},
		{"a@" + longDomain + ".b", ErrTooLong},
		// Resourcepart
		{"a@b/\x00", ErrResource}, {"a@b/x\ty", ErrResource}, {"a@b/\u00a0x", ErrResource}, {"a@b/\u3000x", ErrResource},
		{"a@b/x\ufffe", ErrResource}, {"a@b/\u0085", ErrResource}, {"a@b/\u200b", ErrResource},
		{"a@b/" + strings.Repeat("r", 1024), ErrTooLong}, {"a@b/" + strings.Repeat("\u00e9", 512), ErrTooLong},
		// Encoding and length
		{"a\xff@b", ErrEncoding}, {"a@b\xc0\xaf", ErrEncoding}, {"a@b/\xed\xa0\x80", ErrEncoding}, {"\xf4\x90\x80\x80@b", ErrEncoding},
		{strings.Repeat("a", MaxLen+1), ErrTooLong}, {strings.Repeat("\xff", 1<<20), ErrTooLong},
	} {
		for _, parse := range []func() (JID, error){
			func() (JID, error) { return Parse(c.in) },
			func() (JID, error) { return ParseBytes([]byte(c.in)) },
		} {
			if j, err := parse(); !errors.Is(err, c.err) || j != (JID{}) {
				t.Errorf("%.60q: %q, %v; want %v", c.in, j, err, c.err)
			}
		}
	}
}

func TestPartsCannotSmuggleSeparators(t *testing.T) {
	for _, c := range []struct {
		local, domain, resource string
		err                     error
	}{
		{"a@b", "c", "", ErrLocal}, {"a/b", "c", "", ErrLocal},
		{"a", "b@c", "", ErrDomain}, {"a", "b/c", "", ErrDomain}, {"", "b/c", "d", ErrDomain},
		{"", "a@b", "", ErrDomain}, {"", "", "", ErrEmpty}, {"a", "", "r", ErrEmpty}, {"", "", "r", ErrEmpty},
		{"", long + "x", "", ErrTooLong}, {long + "x", "b", "", ErrTooLong}, {"", "b", long + "x", ErrTooLong},
	} {
		if j, err := New(c.local, c.domain, c.resource); !errors.Is(err, c.err) {
			t.Errorf("New(%.20q, %.20q, %.20q) = %q, %v; want %v", c.local, c.domain, c.resource, j, err, c.err)
		}
	}
}

func TestPartsOfAnAddressAreAddressesThemselves(t *testing.T) {
	full := MustParse("juliet@example.com/balcony")
	if full.Bare() != MustParse("juliet@example.com") || full.DomainJID() != MustParse("example.com") {
		t.Errorf("bare %v, domain %v", full.Bare(), full.DomainJID())
	}
	moved, err := full.WithResource("cha\u0301mber")
	if err != nil || moved != MustParse("juliet@example.com/ch\u00e1mber") {
		t.Errorf("WithResource: %v, %v", moved, err)
	}
	if bare, err := full.WithResource(""); err != nil || bare != full.Bare() {
		t.Errorf("WithResource of nothing: %v, %v", bare, err)
	}
	for r, want := range map[string]error{" x": ErrResource, "\x01": ErrResource, "\xff": ErrEncoding,
		long + "r": ErrTooLong, strings.Repeat("x", 1<<16): ErrTooLong} {
		if j, err := full.WithResource(r); !errors.Is(err, want) || !j.IsZero() {
			t.Errorf("WithResource(%.20q): %v, %v", r, j, err)
		}
	}
	if _, err := (JID{}).WithResource("x"); !errors.Is(err, ErrEmpty) {
		t.Errorf("resource on no address: %v", err)
	}
}

func TestKindsOfAddressesAreTold(t *testing.T) {
	for _, c := range []struct {
		j                        JID
		zero, bare, full, domain bool
	}{
		{JID{}, true, false, false, false},
		{MustParse("b"), false, true, false, true},
		{MustParse("a@b"), false, true, false, false},
		{MustParse("b/r"), false, false, true, false},
		{MustParse("a@b/r"), false, false, true, false},
	} {
		if c.j.IsZero() != c.zero || c.j.IsBare() != c.bare || c.j.IsFull() != c.full || c.j.IsDomain() != c.domain {
			t.Errorf("%q: zero %v bare %v full %v domain %v", c.j, c.j.IsZero(), c.j.IsBare(), c.j.IsFull(), c.j.IsDomain())
		}
	}
	z := JID{}
	if z.Local()+z.Domain()+z.Resource()+z.String() != "" || z.Bare() != z || z.DomainJID() != z {
		t.Error("the zero address has parts")
	}
}

func TestMatchesBareIgnoresOnlyTheResource(t *testing.T) {
	j := MustParse("a@b/r")
	for s, want := range map[string]bool{"a@b": true, "a@b/other": true, "b": false, "a@c/r": false, "c@b/r": false} {
		if got := j.MatchesBare(MustParse(s)); got != want {
			t.Errorf("MatchesBare(%s) = %v", s, got)
		}
	}
	if j.MatchesBare(JID{}) {
		t.Error("matches no address")
	}
}

func TestOrderKeepsUsersAndDomainsTogether(t *testing.T) {
	want := []string{"", "b", "b/r", "a@b", "a@b/1", "a@b/2", "a-a@b", "b@b", "a@b-c", "a@b.c"}
	var js []JID
	for _, s := range want {
		var j JID
		if err := j.UnmarshalText([]byte(s)); err != nil {
			t.Fatal(err)
		}
		js = append(js, j)
	}
	slices.Reverse(js)
	slices.SortFunc(js, JID.Compare)
	for i, j := range js {
		if j.String() != want[i] {
			t.Errorf("place %d: %q, want %q", i, j, want[i])
		}
	}
}

func TestTextFormIsReadBack(t *testing.T) {
	in := map[string]JID{"x": MustParse("a@b/\u00e9"), "zero": {}}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]JID
	if err := json.Unmarshal(b, &out); err != nil || out["x"] != in["x"] || !out["zero"].IsZero() {
		t.Errorf("%s: %v, %v", b, out, err)
	}
	j := MustParse("a@b")
	if err := j.UnmarshalText([]byte("@")); !errors.Is(err, ErrEmpty) || j != MustParse("a@b") {
		t.Errorf("a bad text: %v, and left %v", err, j)
	}
}

func TestMustParsePanicsOnABadAddress(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	MustParse("@")
}

// checkWhole compares a JID with what its own text says.
func checkWhole(t interface {
	Helper()
	Errorf(string, ...any)
}, j JID) {
	t.Helper()
	if Again(j.String()) != j {
		t.Errorf("%.60q is another again: %.60q", j, Again(j.String()))
	}
	if again, err := Parse(j.String()); err != nil || again != j {
		t.Errorf("%.60q is read back as %.60q, %v", j, again, err)
	}
	s := j.Domain()
	if l := j.Local(); l != "" {
		s = l + "@" + s
	}
	if s != j.Bare().String() {
		t.Errorf("bare of %.60q: %.60q, want %.60q", j, j.Bare(), s)
	}
	if r := j.Resource(); r != "" {
		s += "/" + r
	}
	if s != j.String() || j.IsZero() || j.IsFull() == j.IsBare() {
		t.Errorf("parts of %.60q make %.60q", j, s)
	}
	if len(j.Local()) > MaxPart || len(j.Domain()) > MaxPart || len(j.Resource()) > MaxPart || j.Domain() == "" {
		t.Errorf("length of a part of %.60q", j)
	}
}

func TestResourceIsThatOfServersWithStringprep(t *testing.T) {
	for in, want := range map[string]string{
		"\u2764\ufe0f":                         "\u2764", // a heart with a variation selector
		"\U0001f468\u200d\U0001f469":           "\U0001f468\U0001f469",
		"a\u00adb\u200bc\u2060d\ufeffe":        "abcde",
		"\u0645\u06cc\u200c\u062e\u0648\u0627": "\u0645\u06cc\u062e\u0648\u0627",
	} {
		j, err := Parse("room@conference.example.org/" + in)
		if err != nil || j.Resource() != want {
			t.Errorf("%q: %q, %v", in, j.Resource(), err)
		}
	}
	for _, in := range []string{"\ufe0f", "\u200d\u200d", "a\u0007"} {
		if j, err := Parse("room@conference.example.org/" + in); err == nil {
			t.Errorf("%q: %q", in, j.Resource())
		}
	}
}
