package scenes

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"jackdaw/router/accounts/ldap/ldaptest"
	"jackdaw/testsuite/harness"
	"jackdaw/xmpp"
)

// byDirectory configures a server whose accounts are those of a directory, but for one. Passwords are asked for each
// time.
func byDirectory(d *ldaptest.Directory) string {
	return fmt.Sprintf(`accounts:
  backend: ldap
  local: [alerts@%s]
  cache: 0
  ldap:
    urls: [%q]
    ca_file: %q
    bind_dn: %q
    bind_password_file: %q
    base: %q
    filter: "(memberOf=%s)"
registration: open
`, harness.Domain, d.URL, d.CAFile, ldaptest.Admin, d.PasswordFile, ldaptest.Base, ldaptest.Group)
}

func TestADirectoryKnowsThePasswords(t *testing.T) {
	t.Parallel()
	needs(t, "/usr/bin/curl", "curl")
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			d := ldaptest.Start(t)
			s := harness.Start(t, harness.Options{Place: place, Config: byDirectory(d)})
			perform(t, nil, "elsewhere", stageOf(s), func(l line) answer {
				switch {
				case l.Ask != "directory":
					return help(t, s, l)
				case l.Args[0] == "add":
					d.Add(l.Args[1], l.Args[2], len(l.Args) == 3)
				case l.Args[0] == "stop":
					d.Stop()
				case l.Args[0] == "start":
					d.Run()
				}
				return answer{}
			})
			if place.Engine == harness.Embedded && place.Way == harness.TCP {
				removed(t, s, d)
			}
		})
	}
}

// removed has somebody leave the group who is logged in, and has a token.
func removed(t *testing.T, s *harness.Server, d *ldaptest.Directory) {
	d.Add("mercutio", harness.Password, true)
	if out, err := sendxmpp(t, "mercutio", harness.Password, "mercutio@"+harness.Domain, "x", "-j", s.C2STLS, "-t"); err != nil {
		t.Fatalf("go-sendxmpp: %v\n%s", err, out)
	}
	c := &device{t: t, user: "mercutio", agent: "d4565fa7-4d72-4749-b3d3-740edbf87770"}
	if answer := byPlain(c, s, harness.Password); answer.Name.Local != "success" {
		t.Fatalf("login: %s", answer.Append(nil))
	}
	words := strings.Fields(s.Command("", "token", "add", "mercutio@"+harness.Domain))
	token := words[len(words)-1]
	post := func() int {
		r, err := http.NewRequest(http.MethodPost, "http://"+s.HTTP+"/message",
			strings.NewReader("<message to='mercutio@"+harness.Domain+"'><body>x</body></message>"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if code := post(); code != http.StatusOK {
		t.Fatalf("a post with a token: %d", code)
	}
	d.Chats("mercutio", false)
	left := time.Now()
	if code := post(); code != http.StatusUnauthorized {
		t.Errorf("a post with a token of who has left: %d", code)
	}
	if out, err := sendxmpp(t, "mercutio", harness.Password, "mercutio@"+harness.Domain, "x", "-j", s.C2STLS, "-t"); err == nil {
		t.Errorf("who has left logs in:\n%s", out)
	}
	if el, err := c.Until(func(el string) bool { return strings.Contains(el, "not-authorized") }); err != nil {
		t.Errorf("who has left stays: %v, %s", err, el)
	}
	if d := time.Since(left); d > time.Minute {
		t.Errorf("who has left stayed for %s", d)
	}
}

// TestAProgramKnowsThePasswords has a server ask a program by HTTP, and another program log in.
func TestAProgramKnowsThePasswords(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	program := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			User, Password string
			Users          []string
		}
		switch err := json.NewDecoder(r.Body).Decode(&q); {
		case err != nil:
			w.WriteHeader(http.StatusBadRequest)
		case down.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case q.Users != nil:
			_ = json.NewEncoder(w).Encode(q)
		case q.User != "cron@"+harness.Domain || q.Password != "from elsewhere":
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer program.Close()
	for _, place := range harness.Places {
		if place.Engine == harness.Embedded && place.Way == harness.TCP || place.Nodes > 1 {
			t.Run(place.String(), func(t *testing.T) {
				down.Store(false) // one after the other: they ask the same program
				s := harness.Start(t, harness.Options{Place: place, Config: "accounts: {backend: http, http: {url: " + program.URL + "}}\n"})
				send := func(password string) error {
					out, err := sendxmpp(t, "cron", password, "cron@"+harness.Domain, "x", "-j", s.C2S)
					return errors.Join(err, errors.New(out))
				}
				if err := send("wrong"); !strings.Contains(err.Error(), "exit status") {
					t.Errorf("with a wrong password: %v", err)
				}
				if err := send("from elsewhere"); strings.Contains(err.Error(), "exit status") {
					t.Errorf("go-sendxmpp: %v", err)
				}
				down.Store(true)
				c := &device{t: t, user: "cron", agent: "d4565fa7-4d72-4749-b3d3-740edbf87770"}
				away := xmpp.Name{Space: xmpp.NSSASL, Local: "temporary-auth-failure"}
				if answer := byPlain(c, s, "wrong"); answer.Child(away) == nil {
					t.Errorf("while the program is away: %s", answer.Append(nil))
				}
			})
		}
	}
}

// byPlain logs in by showing the password.
func byPlain(d *device, s *harness.Server, password string) *xmpp.Element {
	return d.enter(s, "PLAIN", base64.StdEncoding.EncodeToString([]byte("\x00"+d.user+"\x00"+password)), "")
}
