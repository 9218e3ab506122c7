package attacks

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

// A binding is a session over BOSH (XEP-0124), request by request.
type binding struct {
	http *http.Client
	url  string
	from string // is said by a proxy, unless empty
	sid  string
	rid  int // of the last request
}

// begins is what the first request says.
const begins = " to='localhost' wait='1' hold='1' ver='1.6' xmpp:version='1.0'"

// bindingFrom makes requests from one of the machine's addresses.
func bindingFrom(ip, addr string) *binding {
	dial := &net.Dialer{Timeout: harness.Timeout}
	if ip != "" {
		dial.LocalAddr = &net.TCPAddr{IP: net.ParseIP(ip)}
	}
	return &binding{url: "http://" + addr + "/http-bind", rid: 1000,
		http: &http.Client{Timeout: harness.Timeout, Transport: &http.Transport{DialContext: dial.DialContext}}}
}

// body is a request with these attributes, beyond 'rid' and 'sid'.
func (b *binding) body(attrs, content string) string {
	if b.sid != "" {
		attrs += " sid='" + b.sid + "'"
	}
	return fmt.Sprintf("<body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh' rid='%d'%s>%s</body>", b.rid, attrs, content)
}

// post sends the next request and returns the answer; headers are lines.
func (b *binding) post(attrs, content string, headers ...string) (string, error) {
	b.rid++
	return b.send(b.body(attrs, content), headers...)
}

func (b *binding) send(body string, headers ...string) (string, error) {
	req, err := http.NewRequest("POST", b.url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	if b.from != "" {
		headers = append(headers, "X-Forwarded-For: "+b.from, "X-Forwarded-Proto: https")
	}
	req.Header.Set("Content-Type", "text/xml; charset=utf-8")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := b.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return resp.Status + " " + string(got), err
}

// begin is the first request.
func (b *binding) begin() (string, error) {
	got, err := b.post(begins, "")
	b.sid = harness.Attr(got, "sid")
	return got, err
}

// enter logs in.
func (b *binding) enter(user, resource string) error {
	if got, err := b.begin(); err != nil || b.sid == "" {
		return fmt.Errorf("no session: %s, %w", got, err)
	}
	for _, step := range [][3]string{{"", plain(user), "<success"}, {" to='localhost' xmpp:restart='true'", "", "<bind"}, {"", bindAs(resource), "<jid>"}} {
		got, err := b.post(step[0], step[1])
		for err == nil && !strings.Contains(got, step[2]) && strings.HasPrefix(got, "200") && !strings.Contains(got, "terminate") {
			got, err = b.post("", "") // what is not ready has an answer of its own
		}
		if err != nil || !strings.Contains(got, step[2]) {
			return fmt.Errorf("no %s: %s, %w", step[2], got, err)
		}
	}
	return nil
}

// bindingOf sends a request on a session of a user, or of one who has not logged in, and returns what comes until there
// is something in it.
func bindingOf(user string, attrs, content string) func(*testing.T, *harness.Server) string {
	return func(t *testing.T, s *harness.Server) string {
		b := bindingFrom("", s.HTTP)
		defer b.http.CloseIdleConnections()
		var err error
		if user != "" {
			err = b.enter(user, "lair")
		} else {
			_, err = b.begin()
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := b.post(attrs, content)
		for err == nil && !strings.Contains(got, "terminate") && strings.Contains(got, "200 OK") && strings.HasSuffix(got, "'/>") {
			var more string
			more, err = b.post("", "")
			got += more
		}
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
}

// preflight is the answer to a page of some origin: the status, the origin that is allowed, and the text.
func preflight(method, origin string) func(*testing.T, *harness.Server) string {
	return func(t *testing.T, s *harness.Server) string {
		b := bindingFrom("", s.HTTP)
		defer b.http.CloseIdleConnections()
		req, err := http.NewRequest(method, b.url, strings.NewReader(b.body(begins, "")))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", origin)
		resp, err := b.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%s %q %s", resp.Status, resp.Header.Get("Access-Control-Allow-Origin"), got)
	}
}

// boundAttacks are those of BOSH (XEP-0124 §19, XEP-0206 §9).
var boundAttacks = []attack{
	{"BOSH: a page of elsewhere", preflight("POST", "https://evil.example"), []string{"403", `""`}},
	{"BOSH: the question of a page of elsewhere", preflight("OPTIONS", "https://evil.example"), []string{"403", `""`}},
	{"BOSH: the question of a page of the host", preflight("OPTIONS", "https://localhost"), []string{"204", `"https://localhost"`}},
	{"BOSH: a guessed sid", func(t *testing.T, s *harness.Server) string {
		b := bindingFrom("", s.HTTP)
		defer b.http.CloseIdleConnections()
		b.sid = "0000000000000001"
		got, err := b.post("", intruder)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}, []string{"item-not-found"}},
	{"BOSH: the sid of another with every rid but the next", func(t *testing.T, s *harness.Server) string {
		w := bindingFrom(innocentIP, s.HTTP)
		defer w.http.CloseIdleConnections()
		if err := w.enter("witness", "web"); err != nil {
			t.Fatal(err)
		}
		m := bindingFrom(attackerIP, s.HTTP)
		defer m.http.CloseIdleConnections()
		m.sid = w.sid
		for _, m.rid = range []int{0, 1, w.rid - 100, w.rid + 10, w.rid + 1000, 1 << 52} {
			got, err := m.post(" type='terminate'", intruder)
			if err != nil || !strings.Contains(got, "item-not-found") && !strings.Contains(got, "404") {
				t.Errorf("rid %d: %s, %v", m.rid, got, err)
			}
		}
		got, err := w.post("", "<iq xmlns='jabber:client' type='get' id='mine' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.post(" type='terminate'", ""); err != nil {
			t.Fatal(err)
		}
		return got
	}, []string{"200 OK", "id='mine'"}},
	{"BOSH: two rids in one request", bindingOf("mallory", " rid='99999999'", intruder), []string{"terminate"}},
	{"BOSH: a message before the login", bindingOf("", "", intruder), []string{"not-authorized", "terminate"}},
	{"BOSH: an entity bomb", bindingOf("mallory", "", "<!DOCTYPE x [<!ENTITY a '"+mark+"'>]>"+intruder), []string{"terminate"}},
	{"BOSH: a comment", bindingOf("mallory", "", "<!-- -->"+intruder), []string{"terminate"}},
	{"BOSH: the end of the body and another", bindingOf("mallory", "", "</body><body xmlns='http://jabber.org/protocol/httpbind'>"+intruder), []string{"terminate"}},
	{"BOSH: half a stanza", bindingOf("mallory", "", intruder[:len(intruder)-10]), []string{"terminate"}},
	{"BOSH: a stanza over the limit", bindingOf("mallory", "", strings.Replace(intruder, mark, mark+strings.Repeat("x", 600_000), 1)), []string{"policy-violation"}},
	{"BOSH: a stanza over the limit before the login", bindingOf("", "", strings.Replace(intruder, mark, mark+strings.Repeat("x", 30_000), 1)), []string{"policy-violation"}},
	{"BOSH: from of another user", bindingOf("mallory", "", strings.Replace(intruder, " type", " from='victim@localhost/den' type", 1)), []string{"invalid-from"}},
}

// bodies have sessions over BOSH take what all share.
var bodies = []ordeal{
	{name: "10,000 sessions over BOSH of one address that do not log in", memory: 64, run: func(t *testing.T, b *battle) {
		in := b.bindings(10_000, func(int) (string, string) { return attackerIP, "" })
		if in == 0 || in > strangersPerAddress {
			t.Errorf("%d are in, at most %d is right", in, strangersPerAddress)
		}
	}},
	{name: "10,000 half open sessions over BOSH of as many addresses", memory: 256, options: harness.Options{HTTP: "trusted_proxies: [" + strangerIP + "]"}, run: func(t *testing.T, b *battle) {
		in := b.bindings(10_000, func(i int) (string, string) { return strangerIP, fmt.Sprintf("100.64.%d.%d", i>>8, i&255) })
		if in < 9000 {
			t.Errorf("%d are in", in)
		}
		w := bindingFrom(innocentIP, b.HTTP)
		defer w.http.CloseIdleConnections()
		if err := w.enter("friend", "web"); err != nil { // while they are there
			t.Error(err)
		}
	}},
	{name: "responses over BOSH that nobody reads", memory: 128, options: harness.Options{Config: quick}, run: func(t *testing.T, b *battle) {
		b.befriend("mallory", "victim")
		m := bindingFrom(attackerIP, b.HTTP)
		defer m.http.CloseIdleConnections()
		if err := m.enter("victim", "web"); err != nil {
			t.Fatal(err)
		}
		f := b.enter(innocentIP, "mallory", "desk")
		defer f.Close()
		for i := range 60 {
			if err := f.Send(fmt.Sprintf("<message id='b%d' type='chat' to='victim@localhost/web'><body>%s</body></message>", i, strings.Repeat("x", 240*kb))); err != nil {
				t.Fatal(err)
			}
			if i%3 > 0 {
				continue
			}
			c, err := harness.Dial(attackerIP, b.HTTP)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			m.rid++
			body := m.body("", "")
			if _, err := fmt.Fprintf(c, "POST /http-bind HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil {
				t.Fatal(err)
			}
		}
		b.settled(f) // that nobody reads keeps nobody
	}},
	{name: "bodies over BOSH in pieces of one byte", memory: 48, options: harness.Options{Config: "limits: {http_body_time: 3s}"}, run: func(t *testing.T, b *battle) {
		var all sync.WaitGroup
		for range 40 {
			c, err := harness.Dial(attackerIP, b.HTTP)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			all.Go(func() {
				if _, err := io.WriteString(c, "POST /http-bind HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n<body "); err != nil {
					t.Error(err)
					return
				}
				answer := make(chan string, 1)
				go func() {
					status, _ := bufio.NewReader(c).ReadString('\n') // what it is says it all
					answer <- status
				}()
				tick := time.NewTicker(100 * time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case got := <-answer:
						if !strings.Contains(got, "408") {
							t.Errorf("the answer is %q", got)
						}
						return
					case <-tick.C:
						if _, err := io.WriteString(c, " "); err != nil && !errors.Is(err, net.ErrClosed) {
							continue // the answer is there
						}
					}
				}
			})
		}
		all.Wait()
	}},
}

// bindings begins so many sessions that do nothing more, and says how many were let in at the same time. The function
// says where each comes from: the address, which is the same for all, and the one that is said of it.
func (b *battle) bindings(n int, from func(i int) (ip, forwarded string)) (in int) {
	b.t.Helper()
	next := make(chan int)
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			ip, _ := from(0)
			c := bindingFrom(ip, b.HTTP)
			defer c.http.CloseIdleConnections()
			for i := range next {
				one := *c
				_, one.from = from(i)
				if _, err := one.begin(); err == nil && one.sid != "" {
					mu.Lock()
					in++
					mu.Unlock()
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
	return in
}
