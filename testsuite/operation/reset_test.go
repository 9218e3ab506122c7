package operation

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"jackdaw/testsuite/harness"
)

// TestALinkSetsANewPasswordOnce makes links by command and opens them without a script, on each engine.
func TestALinkSetsANewPasswordOnce(t *testing.T) {
	for _, place := range []harness.Place{{}, {Engine: harness.Redis}} {
		t.Run(place.String(), func(t *testing.T) { reset(t, place) })
	}
}

func reset(t *testing.T, place harness.Place) {
	// The policy for new accounts is no matter: there is one.
	s := harness.Start(t, harness.Options{Place: place, Users: []string{"alice", "bob"}, Config: "registration: invite\n",
		HTTP: "url: https://chat.example"})
	link := func() (path string) {
		t.Helper()
		text := strings.TrimSpace(s.Command("", "invite", "--reset", "alice@localhost"))
		_, path, ok := strings.Cut(text, "https://chat.example")
		if !ok || !strings.HasPrefix(path, "/invite/") {
			t.Fatalf("the link: %q", text)
		}
		return path
	}
	ask := func(path string, form url.Values) (int, string) {
		t.Helper()
		var resp *http.Response
		var err error
		if form == nil {
			resp, err = http.Get("http://" + s.HTTP + path)
		} else {
			resp, err = http.PostForm("http://"+s.HTTP+path, form)
		}
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		return resp.StatusCode, string(body)
	}
	words := func(password string) url.Values {
		return url.Values{"name": {"alice"}, "password": {password}, "again": {password}}
	}
	login := func(user, password string) error {
		c, err := harness.LoginWith(s.C2STLS, user, password)
		if err == nil {
			c.Close()
		}
		return err
	}

	path, other := link(), link()
	for range 2 { // a preview uses nothing up
		code, page := ask(path, nil)
		if code != http.StatusOK || !strings.Contains(page, `value="alice" readonly`) || strings.Contains(page, "<script") {
			t.Errorf("the page: %d %s", code, page)
		}
	}
	if code, _ := ask(path, url.Values{"name": {"alice"}, "password": {"x"}, "again": {"y"}}); code != http.StatusUnprocessableEntity {
		t.Errorf("two passwords that differ: %d", code)
	}
	// Whatever name a form says, the password is that of the account in the link.
	sessions := map[string]*harness.Client{}
	for _, name := range []string{"alice", "bob"} {
		sessions[name] = roster(t, s, name)
		defer sessions[name].Close()
	}
	form := words("new-horse")
	form.Set("name", "bob")
	if code, page := ask(path, form); code != http.StatusOK || !strings.Contains(page, "alice@localhost") {
		t.Fatalf("the form: %d %s", code, page)
	}
	if _, err := sessions["alice"].Until(func(el string) bool { return strings.Contains(el, "not-authorized") }); err != nil {
		t.Errorf("a session with the old password goes on: %v", err)
	}
	if _, err := sessions["bob"].Ask("p", "<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>"); err != nil {
		t.Errorf("the session of another has ended: %v", err)
	}
	for _, c := range []struct {
		user, password string
		good           bool
	}{{"alice", "new-horse", true}, {"alice", harness.Password, false}, {"bob", harness.Password, true},
		{"bob", "new-horse", false}} {
		if err := login(c.user, c.password); (err == nil) != c.good {
			t.Errorf("%s by %s: %v", c.user, c.password, err)
		}
	}
	// It is used up, also for who has it open; and it stays so.
	for range 2 {
		if code, _ := ask(path, nil); code != http.StatusGone {
			t.Errorf("the page afterwards: %d", code)
		}
		if code, _ := ask(path, words("third-horse")); code != http.StatusGone {
			t.Errorf("the form once more: %d", code)
		}
		s.Kill()
		s.Launch()
	}
	// Of many who send the form of one link at once, one sets the password.
	var wg sync.WaitGroup
	var mu sync.Mutex
	set := map[int]int{}
	for i := range 8 {
		wg.Go(func() {
			code, _ := ask(other, words("horse"+string(rune('0'+i))))
			mu.Lock()
			defer mu.Unlock()
			set[code]++
		})
	}
	wg.Wait()
	if set[http.StatusOK] != 1 || set[http.StatusGone] != 7 {
		t.Errorf("answers: %v", set)
	}
	good := 0
	for i := range 8 {
		if login("alice", "horse"+string(rune('0'+i))) == nil {
			good++
		}
	}
	if good != 1 || login("alice", "new-horse") == nil {
		t.Errorf("%d passwords are good", good)
	}
	// A link dies with its account, though the name is taken again.
	last := link()
	s.Command("", "user", "del", "alice@localhost")
	s.AddUser("alice")
	if code, _ := ask(last, words("fourth-horse")); code != http.StatusGone || login("alice", "fourth-horse") == nil {
		t.Errorf("for an account that was removed: %d", code)
	}
}
