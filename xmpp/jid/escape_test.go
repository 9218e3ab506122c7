package jid

import "testing"

func TestALocalPartIsReadAsPeopleWriteIt(t *testing.T) {
	// XEP-0106 §7, table 3, and what is no escape.
	for local, want := range map[string]string{
		`space\20cadet`:             `space cadet`,
		`call\20me\20\22ishmael\22`: `call me "ishmael"`,
		`at\26t\20guy`:              `at&t guy`,
		`d\27artagnan`:              `d'artagnan`,
		`\2f.fanboy`:                `/.fanboy`,
		`\3a\3afoo\3a\3a`:           `::foo::`,
		`\3cfoo\3e`:                 `<foo>`,
		`user\40host`:               `user@host`,
		`c\3a\5cnet`:                `c:\net`,
		`c\3a\5c5commas`:            `c:\5commas`,
		`\5c3and\2is\5c5cool`:       `\3and\2is\5cool`,
		`plain`:                     `plain`,
		`\2`:                        `\2`,
		`\28weather\29`:             `\28weather\29`,
		``:                          ``,
	} {
		j := MustParse("example.org")
		if local != "" {
			j = MustParse(local + "@example.org")
		}
		if got := j.Unescaped(); got != want {
			t.Errorf("%s is read as %q, want %q", local, got, want)
		}
	}
}
