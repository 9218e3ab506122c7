package supply

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAnImportHasItsAccountsContactsAndMessages(t *testing.T) {
	name := filepath.Join(t.TempDir(), "in.xml")
	if err := write(name, Store{Accounts: 10, Contacts: 4}, span{first: 8, n: 2, each: 3}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for part, n := range map[string]int{"<scram-credentials ": 4, "<result ": 6, "<user name='u9'>": 1, "<item ": 8,
		"<item jid='u0@localhost'": 2, "<item jid='u7@localhost'": 2, "<item jid='u5@localhost'": 0} {
		if strings.Count(text, part) != n {
			t.Errorf("%s is there %d times, want %d, in\n%.3000s", part, strings.Count(text, part), n, text)
		}
	}
}
