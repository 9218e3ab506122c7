package httpmessage

import (
	"net/netip"
	"strings"
	"testing"
)

func TestClientAddressIsTheLastThatNoProxyOfOursHas(t *testing.T) {
	h := newHouse(t)
	h.Configure(Settings{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("fd00::/8")}})
	for _, row := range []struct {
		peer, forwarded, want string
		exempt                bool
	}{
		{"192.0.2.1:1", "", "192.0.2.1", false},
		{"192.0.2.1:1", "198.51.100.7", "192.0.2.1", false}, // anybody can say that
		{"127.0.0.2:1", "198.51.100.7", "127.0.0.2", true},
		{"127.0.0.1:1", "", "127.0.0.1", true},
		{"127.0.0.1:1", "198.51.100.7", "198.51.100.7", false},
		{"127.0.0.1:1", "127.0.0.2", "127.0.0.2", false}, // loopback by hearsay is not exempt
		{"127.0.0.1:1", "1.1.1.1, 198.51.100.7, 10.1.1.1", "198.51.100.7", false},
		{"127.0.0.1:1", "1.1.1.1, nonsense, 10.1.1.1", "10.1.1.1", false},
		{"127.0.0.1:1", "nonsense", "127.0.0.1", false},
		{"127.0.0.1:1", "198.51.100.7:1234", "198.51.100.7", false},
		{"127.0.0.1:1", "10.1.1.1, 10.1.1.2", "10.1.1.1", false},
		{"[fd00::1]:1", "2001:db8::1", "2001:db8::1", false},
		{"[fd00::1]:1", "[2001:db8::1]:80", "2001:db8::1", false},
		{"[::ffff:10.0.0.1]:1", "::ffff:198.51.100.7", "198.51.100.7", false},
		{"[fe80::1%eth0]:1", "", "fe80::1", false},
		{"@", "198.51.100.7", "unix", true},
		{"", "", "unix", true},
	} {
		r := call{}.request()
		r.RemoteAddr = row.peer
		if row.forwarded != "" {
			// As two headers, it is the same list (RFC 9110 §5.3).
			a, b, two := strings.Cut(row.forwarded, ",")
			r.Header.Add("X-Forwarded-For", a)
			if two {
				r.Header.Add("X-Forwarded-For", b)
			}
		}
		c := h.client(r)
		if c.name() != row.want || c.Exempt != row.exempt {
			t.Errorf("%s for %q is %s, exempt %t", row.peer, row.forwarded, c.name(), c.Exempt)
		}
	}
}

func TestAuditLineSaysWhoSentWhatToWhomAndNoMore(t *testing.T) {
	h := newHouse(t)
	h.online("bob@" + host + "/x")
	const secret = "the body of the message"
	body := strings.Replace(strings.Replace(list("bob@"+host, "skel@"+host, "nobody@"+host), "yo", secret, 1), "to=", `from="ticket-1@trac" to=`, 1)
	h.do(call{body: body})
	h.do(call{user: "skel@" + host, password: "not the password", body: body})
	h.do(call{body: "<message>" + secret})
	lines := strings.Split(strings.TrimSpace(h.log.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines: %s", len(lines), h.log)
	}
	for i, want := range [][]string{
		{"level=INFO", `msg="http post"`, "status=200", "account=andy@im.example.org", "sender=ticket-1@trac", "id=m-", "client=192.0.2.1",
			"delivered=bob@im.example.org", "stored=skel@im.example.org", "refused=nobody@im.example.org"},
		{"status=401", "account=skel@im.example.org", "client=192.0.2.1"},
		{"status=400", "account=andy@im.example.org"},
	} {
		for _, one := range want {
			if !strings.Contains(lines[i], one) {
				t.Errorf("no %s in %s", one, lines[i])
			}
		}
	}
	for _, never := range []string{secret, password, "not the password"} {
		if strings.Contains(h.log.String(), never) {
			t.Errorf("%q is in the log", never)
		}
	}
	if h.Stats.Answers[0].Load() != 1 || h.Stats.Recipients[1].Load() != 1 ||
		h.Stats.Recipients[2].Load() != 1 || h.Stats.Recipients[4].Load() != 1 {
		t.Errorf("counted %+v", &h.Stats)
	}
}

func TestAuditLineIsBounded(t *testing.T) {
	h, users, body := thousands(t, 100)
	h.do(call{headers: []string{jsonType}, body: body})
	if got := h.log.String(); !strings.Contains(got, users[19]+" and 80 more") || strings.Contains(got, users[20]+" ") {
		t.Errorf("log: %s", got)
	}
}

func TestAcceptDecidesTheFormOfTheAnswer(t *testing.T) {
	for accept, want := range map[string]shape{
		"":                                   shapeText,
		"*/*":                                shapeText,
		"application/*":                      shapeText,
		"text/html":                          shapeText,
		"application/json":                   shapeJSON,
		"Application/JSON; charset=utf-8":    shapeJSON,
		"application/problem+json":           shapeJSON,
		"application/json, text/plain, */*":  shapeJSON,
		"application/json;q=0":               shapeText,
		"application/json;q=x":               shapeText,
		"text/html, application/json;q=0.9":  shapeText,
		"text/html;q=0.8, application/json ": shapeJSON,
	} {
		r := call{}.request()
		if accept != "" {
			r.Header.Set("Accept", accept)
		}
		if got := shapeOf(r); got != want {
			t.Errorf("%q: %d, want %d", accept, got, want)
		}
	}
}

func TestPanicIsAnsweredCountedAndLogged(t *testing.T) {
	h := newHouse(t)
	scenes[11].play(h, call{body: toBob})
	if h.Stats.Panics.Load() != 1 || !strings.Contains(h.log.String(), "panic in a request over HTTP") {
		t.Errorf("%d panics, log: %s", h.Stats.Panics.Load(), h.log)
	}
}
