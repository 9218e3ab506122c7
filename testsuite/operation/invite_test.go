package operation

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"jackdaw/testsuite/harness"
)

// TestAnInvitationByCommandLeadsThroughThePageToOneAccount has ten send the form of a page at once, on each engine.
func TestAnInvitationByCommandLeadsThroughThePageToOneAccount(t *testing.T) {
	for _, place := range []harness.Place{{}, {Engine: harness.Redis}} {
		t.Run(place.String(), func(t *testing.T) { invite(t, place) })
	}
}

func invite(t *testing.T, place harness.Place) {
	s := harness.Start(t, harness.Options{Place: place, Users: []string{"alice"}, Config: "registration: invite\n"})
	// make returns the token of an invitation.
	make := func(args ...string) string {
		t.Helper()
		link := strings.TrimSpace(s.Command("", append([]string{"invite"}, args...)...))
		_, token, ok := strings.Cut(link, "/invite/")
		if !ok {
			if _, token, ok = strings.Cut(link, "preauth="); !ok {
				t.Fatalf("no link: %q", link)
			}
			token, _, _ = strings.Cut(token, ";")
		}
		return token
	}
	status := func(token string, form url.Values) int {
		t.Helper()
		at := "http://" + s.HTTP + "/invite/" + token
		var resp *http.Response
		var err error
		if form == nil {
			resp, err = http.Get(at)
		} else {
			resp, err = http.PostForm(at, form)
		}
		if err != nil {
			t.Error(err)
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	form := func(name, password string) url.Values {
		return url.Values{"name": {name}, "password": {password}, "again": {password}}
	}
	alice, err := harness.Connect(s.C2STLS, "alice", "r")
	if err == nil {
		_, err = alice.Ask("r", "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer alice.Close()

	token := make("--contact", "alice@localhost")
	if got := status(token, nil); got != http.StatusOK { // twice: a preview uses nothing up
		t.Errorf("the page: %d", got)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	answers := map[int]int{}
	for i := range 10 {
		wg.Go(func() {
			got := status(token, form("guest"+string(rune('a'+i)), harness.Password))
			mu.Lock()
			defer mu.Unlock()
			answers[got]++
		})
	}
	wg.Wait()
	if answers[http.StatusOK] != 1 || answers[http.StatusGone] != 9 {
		t.Errorf("ten for one: %v", answers)
	}
	users := s.Command("", "user", "list")
	if n := strings.Count(users, "guest"); n != 1 {
		t.Errorf("%d accounts were made", n)
	}
	_, name, _ := strings.Cut(users, "guest")
	guest := "guest" + name[:1]
	roster, err := alice.Ask("q", "<iq type='get' id='q'><query xmlns='jabber:iq:roster'/></iq>")
	if err != nil || !strings.Contains(roster, guest+"@localhost") || !strings.Contains(roster, "both") {
		t.Errorf("alice has %s, %v", roster, err)
	}
	invited, err := harness.Connect(s.C2STLS, guest, "r")
	if err != nil {
		t.Fatal(err)
	}
	defer invited.Close()
	roster, err = invited.Ask("q", "<iq type='get' id='q'><query xmlns='jabber:iq:roster'/></iq>")
	if err != nil || !strings.Contains(roster, "alice@localhost") || !strings.Contains(roster, "both") {
		t.Errorf("the guest has %s, %v", roster, err)
	}

	revoked := make()
	s.Command("", "invite", "revoke", strings.Fields(s.Command("", "invite", "list"))[0])
	for what, got := range map[string]int{"used": status(token, nil), "revoked": status(revoked, nil), "unknown": status("AAAA", nil)} {
		if got != http.StatusGone {
			t.Errorf("%s: %d", what, got)
		}
	}
	for _, secret := range []string{token, revoked} {
		if strings.Contains(s.Log(), secret) {
			t.Error("a token is in the log")
		}
	}
}
