package web

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

// An administrator makes a link in the console; whoever opens it makes an account there, is online with Converse.js,
// and has the administrator, who is online with slixmpp, as contact.
func TestAnInvitationMakesAContact(t *testing.T) {
	t.Parallel()
	s := openSite(t, "admin")
	text, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "\nhttp:\n", fmt.Sprintf("\nregistration: invite\nhttp:\n  url: https://%s\n", s.HTTPS), 1)
	if err := os.WriteFile(s.Config, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Command("", "reload")
	inviter := s.contact(t, "admin")

	b := openBrowser(t)
	at := "https://" + s.HTTPS
	b.open(at + "/admin/login")
	b.types("#name", "admin")
	b.types("#password", harness.Password+enter)
	b.finds(".bar", "admin@localhost")
	b.visits("console invitations", at+"/admin/invitations")
	b.looksLike(looks[2])
	b.open(at + "/admin/invitations")
	b.types("#contact", "admin@localhost"+enter)
	b.finds(".copy", "/invite/")
	link := b.runs(`arguments[0](document.querySelector('.copy').textContent)`)
	b.shot("console invitation made")
	b.clicks(".bar button", "Log out")
	b.finds("h1", "Administration")

	b.visits("invitation", link)
	b.looksLike(looks[0])
	b.open(link)
	if got := b.runs(`arguments[0](document.querySelector('#uri').textContent)`); !strings.HasPrefix(got, "xmpp:admin@localhost?roster;preauth=") {
		t.Errorf("the address for an app is %s", got)
	}
	b.types("#name", "juliet")
	b.types("#password", harness.Password)
	b.types("#again", "something else"+enter)
	b.finds(".notice.bad", "")
	b.types("#password", harness.Password)
	b.types("#again", harness.Password+enter)
	b.finds("#address", juliet)
	b.shotWhole("invitation accepted")
	b.open(link)
	b.sees("h1", "")
	if said := b.console(); !strings.Contains(said, fmt.Sprint(http.StatusGone)) {
		t.Errorf("the link is good for more than one: %s", said)
	}

	b.looksLike(looks[2])
	b.open(s.pages + "/converse.html?" + url.Values{"rooms": {"rooms." + harness.Domain}, "websocket": {s.websocket()}}.Encode())
	b.types("#converse-login input[name=jid]", juliet)
	b.types("#converse-login input[name=password]", harness.Password)
	b.clicks("#converse-login button[type=submit]", "")
	b.sees(".contact-name--online", "admin")
	inviter.hears("presence", func(h heard) bool { return strings.HasPrefix(h.From, juliet+"/") && h.Show == "available" })
	b.shot("the inviter is a contact")
}
