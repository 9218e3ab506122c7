package operation

import (
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

// TestAnAccountFromAPageWaitsThroughACrashAndThenBelongs registers in a browser, kills the server, and approves: only
// then does the account have what accounts of its host have.
func TestAnAccountFromAPageWaitsThroughACrashAndThenBelongs(t *testing.T) {
	for _, place := range []harness.Place{{}, {Engine: harness.Redis}} {
		t.Run(place.String(), func(t *testing.T) { approve(t, place) })
	}
}

func approve(t *testing.T, place harness.Place) {
	s := harness.Start(t, harness.Options{Place: place, Users: []string{"alice"}, Config: "registration: approve\n"})
	text, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	const host = "- domain: localhost\n"
	more := "    groups: [{name: Company, members: [\"*\"]}]\n    rooms: [all@rooms.localhost]\n"
	if err := os.WriteFile(s.Config, []byte(strings.Replace(string(text), host, host+more, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Command("", "reload")
	register := func(name string) int {
		t.Helper()
		resp, err := http.PostForm("http://"+s.HTTP+"/register", url.Values{"name": {name}, "password": {harness.Password},
			"again": {harness.Password}})
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if got := register("bob"); got != http.StatusOK {
		t.Fatalf("the form: %d", got)
	}
	if got := register("bob"); got != http.StatusUnprocessableEntity {
		t.Errorf("the same name: %d", got)
	}
	s.Kill()
	s.Launch()
	if list := s.Command("", "user", "list"); !strings.Contains(list, "bob@localhost\tpending") {
		t.Errorf("after a crash: %s", list)
	}
	if c, err := harness.Connect(s.C2STLS, "bob", "r"); err == nil {
		c.Close()
		t.Error("bob is let in")
	} else if !strings.Contains(err.Error(), "account-disabled") {
		t.Errorf("bob is told %v", err)
	}
	alice := roster(t, s, "alice")
	defer alice.Close()
	if out, err := s.TryCommand("", "user", "enable", "bob@localhost"); err == nil || !strings.Contains(out, "approve") {
		t.Errorf("enabled: %s", out)
	}
	s.Command("", "user", "approve", "bob@localhost")
	if _, err := alice.Until(func(el string) bool {
		return strings.Contains(el, "jabber:iq:roster") && strings.Contains(el, "bob@localhost")
	}); err != nil {
		t.Fatalf("alice does not get bob as a contact: %v", err)
	}
	bob := roster(t, s, "bob")
	defer bob.Close()
	got, err := bob.Ask("b", "<iq type='get' id='b'><pubsub xmlns='http://jabber.org/protocol/pubsub'>"+
		"<items node='urn:xmpp:bookmarks:1'/></pubsub></iq>")
	if err != nil || !strings.Contains(got, "all@rooms.localhost") {
		t.Errorf("the bookmarks: %s, %v", got, err)
	}
	if out, err := s.TryCommand("", "user", "refuse", "bob@localhost", "carol@localhost"); err == nil ||
		!strings.Contains(out, "does not wait") || !strings.Contains(out, "carol@localhost") {
		t.Errorf("refused: %s", out)
	}
}

// roster logs a user in who asks for the contacts and becomes available.
func roster(t *testing.T, s *harness.Server, name string) *harness.Client {
	t.Helper()
	c, err := harness.Connect(s.C2STLS, name, "r")
	if err == nil {
		_, err = c.Ask("r", "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
	}
	if err == nil {
		err = c.Send("<presence/>")
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}
