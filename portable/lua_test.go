package portable

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
)

func TestValuesOfLuaAreRead(t *testing.T) {
	v, ok, err := newLuaReader(strings.NewReader("-- a comment\nreturn {\n\t[\"a b\"] = \"x\\\"\\10\\\\\\\ny\\1902\";\n\tc = { 1, -2.5e+3; true, nil, 'q' };" +
		"\n\t[false] = { [\"version\"] = 3 };\n\td = (0/0);\n};\n")).returned()
	if err != nil || !ok {
		t.Fatal(err)
	}
	if got := v.get("a b").text; got != "x\"\n\\\ny\xbe2" {
		t.Errorf("text: %q", got)
	}
	var list []string
	for _, x := range v.get("c").list() {
		list = append(list, x.String())
	}
	if got := strings.Join(list, "|"); got != "1|-2500|true||q" {
		t.Errorf("list: %s", got)
	}
	if v.pairs[2].key.kind != truth || v.pairs[2].value.get("version").num != 3 {
		t.Errorf("false: %+v", v.pairs[2])
	}
	n := 0
	err = newLuaReader(strings.NewReader("item({ name = \"a\" });\nitem({});\n")).items(func(value) error { n++; return nil })
	if err != nil || n != 2 {
		t.Errorf("%d items, %v", n, err)
	}
	if _, ok, err := newLuaReader(strings.NewReader("\n")).returned(); ok || err != nil {
		t.Errorf("an empty file: %v, %v", ok, err)
	}
}

func TestWhatProsodyDoesNotWriteIsRefused(t *testing.T) {
	for _, s := range []string{"return os.exit()", "return {", "return { [1 = 2 }", "x", "return function() end", "return \"a",
		"return " + strings.Repeat("{", maxLuaDepth+2), "return { a }", "return \"\\999\"", "return {" + strings.Repeat("1,", maxLuaValues+1) + "}"} {
		if _, _, err := newLuaReader(strings.NewReader(s)).returned(); err == nil {
			t.Errorf("%.40q was read", s)
		} else if _, ok := errors.AsType[*syntaxError](err); !ok {
			t.Errorf("%.40q: %v", s, err)
		}
	}
	err := newLuaReader(strings.NewReader("item({});\nitem({};\n")).items(func(value) error { return nil })
	if err == nil || !strings.HasPrefix(err.Error(), "line 2: ") {
		t.Errorf("got %v", err)
	}
}

func FuzzWhatProsodyKeepsBecomesXML(f *testing.F) {
	f.Add("return { password = \"x\" };", "return { [\"j@b\"] = { subscription = \"both\"; groups = { [\"g\"] = true } }; [false] = { pending = { [\"n@b\"] = true } } };",
		"item({ name = \"message\"; attr = { to = \"a@b\"; stamp = \"2024-01-01T00:00:00Z\" }; { name = \"body\"; attr = {}; \"hi\" }; key = \"1\"; when = 1700000000; with = \"j@b\" });")
	f.Add("return {};", "return {};", "item({ name = \"message\"; attr = { to = \"a@b\"; to = \"c@d\"; [\"xml:lang\"] = \"en\"; "+
		"[\"http://www.w3.org/XML/1998/namespace|lang\"] = \"de\" }; { name = \"body\"; attr = {}; \"hi\" }; when = 1700000000; with = \"j@b\" });")
	f.Fuzz(func(t *testing.T, account, roster, archive string) {
		dir := fstest.MapFS{"b/accounts/a.dat": {Data: []byte(account)}, "b/roster/a.dat": {Data: []byte(roster)},
			"b/archive/a.list": {Data: []byte(archive)}, "b/offline/a.list": {Data: []byte(archive)}, "b/vcard/a.dat": {Data: []byte(roster)},
			"b/private/a.dat": {Data: []byte(roster)}, "b/pep/a.dat": {Data: []byte(roster)}, "b/pep_x/a.list": {Data: []byte(archive)},
			"r%2eb/persistent.dat": {Data: []byte("return { [\"x@r.b\"] = true };")}, "r%2eb/config/x.dat": {Data: []byte(roster)},
			"r%2eb/muc_log/x.list": {Data: []byte(archive)}}
		var b strings.Builder
		if err := Prosody(dir, &b, nil); err != nil {
			return
		}
		if _, err := rewritten(b.String()); err != nil {
			t.Fatalf("%v in %s", err, b.String())
		}
	})
}
