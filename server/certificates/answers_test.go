package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

func TestWrongAnswersCostAnAttemptAndNothingElse(t *testing.T) {
	at := func(where string, do func(http.ResponseWriter)) func(*authority) {
		return func(ca *authority) {
			ca.first = func(path string, w http.ResponseWriter, _ []byte) bool {
				if !strings.HasPrefix(path, where) {
					return false
				}
				do(w)
				return true
			}
		}
	}
	says := func(kind, text string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write([]byte(text))
		}
	}
	const asJSON, asPEM = "application/json", "application/pem-certificate-chain"
	for what, row := range map[string]struct {
		change func(*authority)
		want   string
	}{
		"a directory that is no JSON": {at("/dir", says(asJSON, "{")), "JSON"},
		"a directory of something else": {at("/dir", says(asJSON, `{"hello": "world"}`)),
			"required directory fields are missing"},
		"a directory that never ends": {at("/dir", says(asJSON, strings.Repeat(" ", maxAnswer+1))), "larger than"},
		"a directory that leads astray": {at("/dir", func(w http.ResponseWriter) {
			w.Header().Set("Location", "http://elsewhere.example/")
			w.WriteHeader(302)
		}), "not https"},
		"a directory that leads in circles": {at("/dir", func(w http.ResponseWriter) {
			w.Header().Set("Location", "/dir")
			w.WriteHeader(302)
		}), "too many redirections"},
		"a page instead of an order": {at("/order", says("text/html", "<html>")), "text/html"},
		"an order that is no JSON":   {at("/order", says(asJSON, `{"status": 7`)), "JSON"},
		"an order of many proofs": {at("/order", func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", asJSON)
			_ = json.NewEncoder(w).Encode(map[string]any{"authorizations": make([]string, 11)})
		}), "more proofs"},
		"an order without challenges": {at("/authz", says(asJSON, `{"status": "pending"}`)), "offers neither"},
		"a token that is a path": {at("/authz", says(asJSON,
			`{"status": "pending", "challenges": [{"type": "http-01", "token": "../../x"}]}`)), "offers neither"},
		"a refused account": {at("/account", func(w http.ResponseWriter) {
			problem(w, 403, "unauthorized", "not you\nor you")
		}), "not you or you"},
		"an account without an address": {at("/account", says(asJSON, "{}")), "does not say where"},
		"nonces that are never good": {at("/order", func(w http.ResponseWriter) {
			problem(w, 400, "badNonce", "stale")
		}), "badNonce"},
		"an order that becomes invalid": {at("/finalize", says(asJSON,
			`{"status": "invalid", "error": {"type": "urn:ietf:params:acme:error:caa", "detail": "forbidden"}}`)), "forbidden (caa)"},
		"an order that is nothing": {at("/finalize", says(asJSON, `{"status": "maybe"}`)), "maybe"},
		"an order pending for ever": {func(ca *authority) {
			ca.first = func(path string, w http.ResponseWriter, _ []byte) bool {
				slow := strings.HasPrefix(path, "/finalize") || strings.HasPrefix(path, "/orders")
				if slow {
					w.Header().Set("Location", ca.url+strings.Replace(path, "finalize", "orders", 1))
					says(asJSON, `{"status": "processing"}`)(w)
				}
				return slow
			}
		}, "took too long"},
		"a proof pending for ever":   {func(ca *authority) { ca.stuck = true }, "took too long"},
		"no certificate":             {at("/cert", says(asPEM, "")), "no certificate"},
		"a certificate that is none": {at("/cert", says(asPEM, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")), "read the certificate"},
		"a key instead": {at("/cert", says(asPEM, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")),
			"PRIVATE KEY instead"},
		"a certificate that leads to itself": {func(ca *authority) {
			ca.first = func(path string, w http.ResponseWriter, _ []byte) bool {
				if strings.HasPrefix(path, "/cert") {
					w.Header().Set("Link", "<"+ca.url+path+`>; rel="up"`)
				}
				return false
			}
		}, "gave up after"},
		"a certificate for other names": {signs(func(c *x509.Certificate) any {
			c.DNSNames = []string{"evil.example"}
			return nil
		}), "other names (evil.example)"},
		"a certificate for another key": {signs(func(*x509.Certificate) any {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Error(err)
			}
			return key.Public()
		}), "another key"},
		"a certificate that has expired": {signs(func(c *x509.Certificate) any {
			c.NotBefore, c.NotAfter = time.Now().Add(-2*day), time.Now().Add(-day)
			return nil
		}), "has expired"},
	} {
		t.Run(what, func(t *testing.T) {
			in(t, func(t *testing.T, ca *authority, dir string) {
				row.change(ca)
				c := start(t, ca, dir, nil, "a.example")
				wait(9 * time.Minute) // the third attempt comes after 9 min 54 s at the earliest
				s := c.status(t, "a.example")
				if c.Certificate("a.example") != nil || !strings.Contains(s.Problem, row.want) || s.Do == "" {
					t.Errorf("%+v\n%s", s, c.log.String())
				}
				if s.Failures > 2 || len(s.Problem) > 600 || strings.Contains(s.Problem, "\n") ||
					ca.see(&ca.requests) > 2*maxRequests+20 {
					t.Errorf("%d failures, %d requests: %q", s.Failures, ca.see(&ca.requests), s.Problem)
				}
				ca.mu.Lock()
				ca.first, ca.signs, ca.stuck = nil, nil, false
				ca.mu.Unlock()
				wait(time.Hour)
				if c.Certificate("a.example") == nil {
					t.Error("it did not recover: " + c.log.String())
				}
			})
		})
	}
}

func signs(f func(*x509.Certificate) any) func(*authority) {
	return func(ca *authority) { ca.signs = f }
}

func TestAPanicIsAFailure(t *testing.T) {
	var log said
	s := New(Options{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&log, nil))})
	v := s.newVisit(&Settings{}, patient)
	v.client = nil
	if _, _, err := v.obtain(t.Context(), "a.example", &held{}); err == nil {
		t.Error("no error")
	}
	if !strings.Contains(log.String(), "made the server panic") {
		t.Error(log.String())
	}
}

func TestAStaleNonceIsNoFailure(t *testing.T) {
	in(t, func(t *testing.T, ca *authority, dir string) {
		stale := 3
		ca.first = func(path string, w http.ResponseWriter, _ []byte) bool {
			if path != "/order" || stale == 0 {
				return false
			}
			stale--
			problem(w, 400, "badNonce", "stale")
			return true
		}
		c := start(t, ca, dir, nil, "a.example")
		wait(time.Minute)
		if c.Certificate("a.example") == nil || c.Stats.Failed.Load() != 0 {
			t.Error(c.log.String())
		}
	})
}

func TestAnExternalAccountIsBound(t *testing.T) {
	in(t, func(t *testing.T, ca *authority, dir string) {
		ca.bound = true
		c := start(t, ca, dir, nil, "a.example", "b.example")
		wait(time.Minute)
		for _, name := range []string{"a.example", "b.example"} { // it is nobody's fault alone, and told once to the authority
			if s := c.status(t, name); !strings.Contains(s.Do, "acme.external_account") || s.Failures > 0 {
				t.Errorf("%s: %+v", name, s)
			}
		}
		before := ca.see(&ca.requests)
		wait(30 * time.Second)
		if ca.see(&ca.requests) > before+3 {
			t.Errorf("%d requests meanwhile", ca.see(&ca.requests)-before)
		}
		set := *c.settings.Load()
		set.KeyID, set.MACKey = "kid-1", []byte("0123456789abcdef0123456789abcdef")
		var bound acme.Account
		ca.mu.Lock()
		ca.first = func(path string, _ http.ResponseWriter, payload []byte) bool {
			if path == "/account" {
				if err := json.Unmarshal(payload, &bound); err != nil {
					t.Error(err)
				}
			}
			return false
		}
		ca.mu.Unlock()
		wait(time.Hour)
		if err := c.Configure(set); err != nil {
			t.Fatal(err)
		}
		wait(time.Minute)
		if c.Certificate("a.example") == nil || len(bound.ExternalAccountBinding) == 0 ||
			fmt.Sprint(bound.Contact) != "[mailto:me@a.example]" || !bound.TermsOfServiceAgreed {
			t.Errorf("%+v\n%s", bound, c.log.String())
		}
	})
}

func TestAnAccountThatWasForgottenIsMadeAnew(t *testing.T) {
	in(t, func(t *testing.T, ca *authority, dir string) {
		c := start(t, ca, dir, nil, "a.example")
		wait(time.Minute)
		forgotten := true
		ca.mu.Lock()
		ca.first = func(path string, w http.ResponseWriter, _ []byte) bool {
			if path == "/account" {
				forgotten = false
			}
			if path == "/order" && forgotten {
				problem(w, 400, "accountDoesNotExist", "who are you?")
				return true
			}
			return false
		}
		ca.mu.Unlock()
		wait(61 * day)
		if len(ca.ordered("a.example")) != 2 || ca.see(&ca.accounts) != 2 || c.Stats.Failed.Load() != 0 {
			t.Errorf("%d accounts: %s", ca.see(&ca.accounts), c.log.String())
		}
	})
}

func TestAStopIsNoFailure(t *testing.T) {
	in(t, func(t *testing.T, ca *authority, dir string) {
		ca.stuck = true
		c := start(t, ca, dir, nil, "a.example")
		wait(time.Minute)
		c.stop()
		if s := c.status(t, "a.example"); s.Failures != 0 || c.Stats.Failed.Load() != 0 {
			t.Errorf("%+v", s)
		}
		ca.stuck = false
		c = start(t, ca, dir, nil, "a.example")
		wait(2 * time.Minute)
		if c.Certificate("a.example") == nil {
			t.Error(c.log.String())
		}
	})
}

func TestTheAuthoritySuggestsWhenToRenew(t *testing.T) {
	in(t, func(t *testing.T, ca *authority, dir string) {
		begun := time.Now()
		ca.ari, ca.after = &window{Explanation: "https://ca.example/why"}, 20*day
		ca.retry = "21600"
		c := start(t, ca, dir, nil, "a.example")
		wait(10 * day)
		chosen := c.record("a.example").Window.Chosen
		if ca.see(&ca.asked) < 35 || ca.see(&ca.asked) > 45 || !strings.Contains(c.log.String(), "read=https://ca.example/why") {
			t.Errorf("asked %d times\n%s", ca.see(&ca.asked), c.log.String())
		}
		wait(9 * day)
		if !c.record("a.example").Window.Chosen.Equal(chosen) {
			t.Error("the moment wandered")
		}
		wait(4 * day)
		at := ca.ordered("a.example")
		if len(at) != 2 || at[1].Before(begun.Add(20*day)) || at[1].After(begun.Add(22*day+time.Minute)) {
			t.Fatalf("ordered at %s", at)
		}
		if got := ca.replaced(); got[0] != "" || !strings.HasPrefix(got[1], "AQID.") {
			t.Errorf("replaces %q", got)
		}
		// It changes its mind: the certificate must go. And says so of each that follows, which is not believed for ever.
		ca.mu.Lock()
		ca.ari, ca.after = &window{Start: time.Now().Add(-2 * day), End: time.Now().Add(-day)}, 0
		ca.mu.Unlock()
		wait(2 * day)
		if n := len(ca.ordered("a.example")) - 2; n < 1 || n > 9 {
			t.Errorf("%d orders within two days", n)
		}
		// What it says is not followed beyond the end.
		ca.mu.Lock()
		ca.ari = &window{Start: time.Now().Add(500 * day), End: time.Now().Add(501 * day)}
		ca.mu.Unlock()
		wait(day)
		for range 100 {
			wait(day)
			if left := time.Until(c.Certificate("a.example").Leaf.NotAfter); left < 8*day {
				t.Fatalf("only %s are left", left)
			}
		}
	})
}

func TestAnAuthorityThatDoesNotKnowWhatIsReplacedIsAskedWithout(t *testing.T) {
	in(t, func(t *testing.T, ca *authority, dir string) {
		ca.ari, ca.after = &window{}, 10*day
		ca.first = func(path string, w http.ResponseWriter, payload []byte) bool {
			if path == "/order" && strings.Contains(string(payload), "replaces") {
				problem(w, 409, "alreadyReplaced", "it was")
				return true
			}
			return false
		}
		c := start(t, ca, dir, nil, "a.example")
		wait(13 * day)
		if c.Stats.Obtained.Load() != 2 || c.Stats.Failed.Load() != 0 {
			t.Error(c.log.String())
		}
	})
}

func TestWithoutAnAnswerTwoThirdsCount(t *testing.T) {
	for what, answer := range map[string]string{"malformed": `{"suggestedWindow": {"start": "2000`,
		"backwards": `{"suggestedWindow": {"start": "2000-03-01T00:00:00Z", "end": "2000-01-01T00:00:00Z"}}`,
		"empty":     `{}`} {
		t.Run(what, func(t *testing.T) {
			in(t, func(t *testing.T, ca *authority, dir string) {
				ca.ari = &window{}
				ca.first = func(path string, w http.ResponseWriter, _ []byte) bool {
					if !strings.HasPrefix(path, "/ari") {
						return false
					}
					w.Header().Set("Content-Type", "application/json")
					_, _ = w.Write([]byte(answer))
					return true
				}
				start(t, ca, dir, nil, "a.example")
				wait(70 * day)
				at := ca.ordered("a.example")
				if len(at) != 2 || at[1].Sub(at[0]) < 60*day || at[1].Sub(at[0]) > 60*day+time.Hour {
					t.Errorf("ordered at %s", at)
				}
			})
		})
	}
}

func FuzzChecked(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	good, err := challengePair("a.example", "x", time.Now())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if pair, err := checked(text, key, "a.example", time.Now()); err == nil {
			t.Errorf("a certificate for our key was taken from %q: %q", text, pair)
		}
	})
}

func FuzzRetryAt(f *testing.F) {
	for _, s := range []string{"", "0", "120", "-1", "99999999999", "Fri, 31 Dec 1999 23:59:59 GMT", "soon"} {
		f.Add(s)
	}
	now := time.Now()
	f.Fuzz(func(t *testing.T, s string) {
		if at := retryAt(s, now); !at.IsZero() && (at.Before(now) || at.After(now.Add(longestRetry))) {
			t.Errorf("%q: %s", s, at)
		}
	})
}
