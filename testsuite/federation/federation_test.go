// Package federation proves what the server promises about other servers, with a fake peer that
// knows exactly which bytes came and misbehaves where a proof asks for it: who may send as whom and where
// (docs/http.md §6), what a hostile peer cannot do, that what was acknowledged arrives or comes back, and that a
// peer that never answers is nobody else's trouble.
package federation

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"jackdaw/testsuite/fakepeer"
	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

// home is the domain of our server, in all tests, and service that of a component there.
const (
	home    = "home.example"
	service = "bot.home.example"
)

// A town is our server with the authority that all servers of a test trust. Peers are brought up before it, so that it
// knows where they are.
type town struct {
	*harness.Server
	t         *testing.T
	authority *peers.Authority
	resolve   []string
	peers     []*fakepeer.Peer
}

func newTown(t *testing.T) *town {
	t.Helper()
	return &town{t: t, authority: peers.NewAuthority(t)}
}

// peer starts a fake peer with certificates, sound or flawed.
func (w *town) peer(o fakepeer.Options, flaw peers.Flaw) *fakepeer.Peer {
	w.t.Helper()
	p := fakepeer.Start(w.t, o.Certified(w.t, w.authority, flaw))
	w.peers = append(w.peers, p)
	for _, d := range o.Domains {
		w.at(d, p.Addr)
	}
	return p
}

// at says where a domain is to be found.
func (w *town) at(domain, addr string) {
	w.resolve = append(w.resolve, fmt.Sprintf("%q: %q", domain, addr))
}

// open starts our server.
func (w *town) open(o harness.Options) {
	w.t.Helper()
	cert := w.authority.Issue(home, peers.None)
	o.Domain, o.Federate, o.Cert, o.Key = home, true, cert.Cert, cert.Key
	o.Env = append(o.Env, w.authority.Env()...)
	o.S2S = "resolve: {" + strings.Join(w.resolve, ", ") + "}\n" + o.S2S
	w.Server = harness.Start(w.t, o)
	for _, p := range w.peers {
		p.Locate(home, w.S2S)
		p.Locate(service, w.S2S)
	}
}

// client logs a user in with presence, and returns when that has been taken.
func (w *town) client(user, resource string) *harness.Client {
	w.t.Helper()
	c, err := harness.ConnectTo(w.C2STLS, home, user, resource)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Conn.Close() })
	if _, err := c.Ask("enter", "<presence/><iq type='get' id='enter'><query xmlns='jabber:iq:roster'/></iq>"); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// silent is the address of a listener that accepts and says nothing, until the end of the test.
func (w *town) silent() string {
	w.t.Helper()
	addr := harness.FreeAddr()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		w.t.Fatal(err)
	}
	var held sync.Mutex
	var conns []net.Conn
	w.t.Cleanup(func() {
		l.Close()
		held.Lock()
		defer held.Unlock()
		for _, c := range conns {
			c.Close()
		}
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			held.Lock()
			conns = append(conns, c)
			held.Unlock()
		}
	}()
	return addr
}

// A request is a post over HTTP.
type request struct {
	path    string // /message if empty
	user    string // with the password of the harness
	secret  string // another password
	kind    string // Content-Type
	body    string
	headers []string // names and values
}

// An answer to it, with the report where there is one.
type answer struct {
	Status     int    `json:"-"`
	Text       string `json:"-"`
	Recipients []struct{ JID, Outcome, Reason string }
}

// outcome is what the report says of a recipient, with the reason where it was refused.
func (a answer) outcome(addr string) string {
	for _, r := range a.Recipients {
		if r.JID == addr {
			return strings.TrimSpace(r.Outcome + " " + r.Reason)
		}
	}
	return "not named"
}

// post sends a request and reads the report.
func (w *town) post(q request) answer {
	w.t.Helper()
	a, err := post(w.HTTP, q)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func post(addr string, q request) (answer, error) {
	if q.path == "" {
		q.path = "/message"
	}
	if q.secret == "" {
		q.secret = harness.Password
	}
	r, err := http.NewRequest("POST", "http://"+addr+q.path, strings.NewReader(q.body))
	if err != nil {
		return answer{}, err
	}
	r.SetBasicAuth(q.user, q.secret)
	r.Header.Set("Accept", "application/json")
	if q.kind != "" {
		r.Header.Set("Content-Type", q.kind)
	}
	for i := 0; i+1 < len(q.headers); i += 2 {
		r.Header.Set(q.headers[i], q.headers[i+1])
	}
	resp, err := poster.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{Status: resp.StatusCode, Text: string(text)}
	if strings.HasPrefix(a.Text, "{") {
		err = json.Unmarshal(text, &a)
	}
	return a, err
}

var poster = &http.Client{Timeout: harness.Timeout, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

// given are the ids that archives of ours give to what arrives.
var given = regexp.MustCompile(`<stanza-id xmlns='urn:xmpp:sid:0' by='[a-z0-9]+@home\.example' id='[^']+'/>`)

// withoutIDs is a stanza as it was before our server gave it an id.
func withoutIDs(el string) string { return given.ReplaceAllString(el, "") }

// until reads what a client gets up to the message with that id, which is not among what it returns.
func until(c *harness.Client, id string) (got []string, err error) {
	for {
		el, err := c.Next()
		if err != nil {
			return got, fmt.Errorf("waiting for %s: %w", id, err)
		}
		if harness.Attr(el, "id") == id {
			return got, nil
		}
		got = append(got, el)
	}
}

func hasID(id string) func(fakepeer.Stanza) bool {
	return func(s fakepeer.Stanza) bool { return s.Attr("id") == id }
}

// raw are the bytes of stanzas.
func raw(list []fakepeer.Stanza) (bytes []string) {
	for _, s := range list {
		bytes = append(bytes, s.Raw)
	}
	return bytes
}

// wayBack asks for a stream in both directions, so that answers come on it.
var wayBack = fakepeer.Way{Bidi: true}
