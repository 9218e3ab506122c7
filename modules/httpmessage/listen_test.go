package httpmessage

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/web"
)

// quick are limits for tests in a bubble.
var quick = web.Limits{HeaderBytes: 16 << 10, HeaderTime: 100 * time.Millisecond, BodyTime: 200 * time.Millisecond,
	Idle: 5 * time.Second, Streams: 100}

// listen serves a house and returns where.
func (h *house) listen(l web.Limits) string {
	h.t.Helper()
	h.Configure(Settings{BodyTime: l.BodyTime})
	s := web.NewServer(h.Handler(), l, moduletest.Discard())
	s.FastPath(PathMessage)
	return h.serving(s, func(n net.Listener) error { return s.Serve(n) }, "tcp", "127.0.0.1:0")
}

func (h *house) serving(s *web.Server, serve func(net.Listener) error, network, address string) string {
	h.t.Helper()
	n, err := net.Listen(network, address)
	must(h.t, err)
	h.servingOn(s, serve, n)
	return n.Addr().String()
}

func (h *house) servingOn(s *web.Server, serve func(net.Listener) error, n net.Listener) {
	done := make(chan error, 1)
	go func() { done <- serve(n) }()
	h.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		must(h.t, s.Shutdown(ctx))
		must(h.t, <-done)
	})
}

// raw writes the bytes as they are and returns all that comes back.
func raw(t *testing.T, address, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	must(t, err)
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	return talk(t, c, request)
}

func talk(t *testing.T, c net.Conn, request string) string {
	t.Helper()
	defer c.Close()
	_, _ = io.WriteString(c, request) // what comes back tells
	b, err := io.ReadAll(c)
	if err != nil {
		t.Logf("after %.60q: %v", b, err)
	}
	return string(b)
}

func basic(user string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)) + "\r\n"
}

// reached serves a house within quick limits, for a test in a bubble.
func (h *house) reached() *moduletest.Phone {
	h.t.Helper()
	h.Configure(Settings{BodyTime: quick.BodyTime})
	s, p := web.NewServer(h.Handler(), quick, moduletest.Discard()), moduletest.NewPhone()
	h.servingOn(s, s.Serve, p)
	return p
}

// curl is what the program of that name writes for the example of the contract.
func curl(extra, body string) string {
	return "POST /message HTTP/1.1\r\nHost: im.example.org:5280\r\n" + basic("andy@im.example.org") +
		"User-Agent: curl/8.5.0\r\nAccept: */*\r\n" + extra + fmt.Sprintf("Content-Length: %d\r\nContent-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n\r\n", len(body)) + body
}

func TestAnswersAreTheContractsToTheByte(t *testing.T) {
	h := newHouse(t)
	bob, skel, andy := h.online("bob@"+host+"/x"), h.online("skel@"+host+"/x"), h.online("andy@"+host+"/x")
	address := h.listen(web.DefaultLimits)
	date := regexp.MustCompile(`\r\nDate: [^\r]+`)
	ok := "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 3\r\nConnection: close\r\n\r\nOK\n"
	gateway := strings.NewReplacer("/message", gatewayPath, basic("andy@im.example.org"), basic("gate"))
	for _, row := range []struct{ name, request, want string }{
		{"one message", curl("", `<message to="bob@im.example.org"><body>yo</body></message>`), ok},
		{"multicast", curl("", "<message to=\"multicast\">\n  <addresses><address jid=\"andy@im.example.org\"/><address jid=\"skel@im.example.org\"/></addresses>\n  <body>yo</body>\n</message>\n"), ok},
		{"remote", curl("", "<message to=\"multicast\">\n  <addresses><address jid=\"andy@im.example.org\"/><address jid=\"skel@example.net\"/></addresses>\n  <body>yo</body>\n</message>\n"),
			"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: 80\r\nConnection: close\r\n\r\nForbidden: the message may not go to skel@example.net (remote-server-not-found).\n"},
		{"no credentials", strings.Replace(curl("", "x"), basic("andy@im.example.org"), "", 1),
			"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nWWW-Authenticate: Basic realm=\"im.example.org\", charset=\"UTF-8\"\r\nX-Content-Type-Options: nosniff\r\nContent-Length: 65\r\n\r\n" + unauthorizedLine},
		{"GET", strings.Replace(curl("", ""), "POST", "GET", 1),
			"HTTP/1.1 405 Method Not Allowed\r\nAllow: POST\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: 30\r\nConnection: close\r\n\r\nMethod not allowed. Use POST.\n"},
		{"problem", strings.Replace(curl("", "<iq/>"), "*/*", "application/json", 1),
			"HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nContent-Length: 137\r\nConnection: close\r\n\r\n" +
				`{"type":"about:blank","title":"Bad Request","status":400,"detail":"Bad request: the payload must be an XMPP message element."}` + "\n"},
		{"gateway", strings.Replace(gateway.Replace(curl("", `{"to": "bob@im.example.org", "message_attributes": {"id": "1234"}, "body": "Hello", "extra_elements": "<subject>Hi</subject>"}`)), "application/x-www-form-urlencoded", "application/json", 1),
			"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 149\r\nConnection: close\r\n\r\n" +
				`{"status":"success","message":"The message was accepted.","id":"m-ID","accepted":1,"recipients":[{"jid":"bob@im.example.org","outcome":"delivered"}]}` + "\n"},
	} {
		got := date.ReplaceAllString(raw(t, address, row.request), "")
		got = regexp.MustCompile(`m-[0-9a-f]{16}`).ReplaceAllString(got, "m-ID")
		want := row.want
		if got = length.ReplaceAllString(got, "Content-Length: N"); got != length.ReplaceAllString(want, "Content-Length: N") {
			t.Errorf("%s: got\n%s\nwant\n%s", row.name, got, want)
		}
	}
	if got := bob.received(); len(got) != 2 {
		t.Errorf("bob got %q", got)
	} else {
		moduletest.Same(t, got[1], `<message from="gate@im.example.org" to="bob@im.example.org" id="1234" xmlns="jabber:client" type="chat"><body>Hello</body><subject>Hi</subject></message>`)
	}
	if len(skel.received()) != 1 || len(andy.received()) != 1 {
		t.Errorf("skel got %q, andy %q", skel.received(), andy.received())
	}
}

var length = regexp.MustCompile(`Content-Length: \d+`)

// RFC 9112 §6.1: else what follows could be the request of somebody else, for a proxy that counts in the other way.
func TestConnectionEndsAfterARequestWithTwoLengths(t *testing.T) {
	h := newHouse(t)
	address := h.listen(web.DefaultLimits)
	head := strings.Replace(strings.TrimSuffix(curl("Transfer-Encoding: chunked\r\n", toBob), toBob), "Connection: close\r\n", "", 1)
	got := raw(t, address, head+fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(toBob), toBob)+"GET /second HTTP/1.1\r\nHost: im.example.org\r\n\r\n")
	if strings.Count(got, "HTTP/1.1 ") != 1 || !strings.Contains(got, "Connection: close\r\n") {
		t.Errorf("%q", got)
	}
}

func TestSlowAndLargeRequestsAreAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		phone := h.reached()
		for _, row := range []struct{ name, request, status, line string }{
			{"slow header", "POST /message HTTP/1.1\r\nHost: x\r\n", "408", "Request timeout: the header did not arrive in time.\n"},
			{"slow body", curl("", "x")[:len(curl("", "x"))-1], "408", "Request timeout: the body did not arrive in 200ms.\n"},
			{"large header", "POST /message HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 17<<10) + "\r\n\r\n", "431", ""},
			{"large body", curl("Expect: 100-continue\r\n", strings.Repeat("x", DefaultMaxBody+1)), "413", "Request entity too large: the limit is 262144 bytes.\n"},
			{"large body without a length", strings.Replace(curl("", ""), "Content-Length: 0", "Transfer-Encoding: chunked", 1) +
				fmt.Sprintf("%x\r\n%s\r\n1\r\n", DefaultMaxBody, strings.Repeat("x", DefaultMaxBody)) + "x\r\n0\r\n\r\n", "413", "Request entity too large: the limit is 262144 bytes.\n"},
			{"bad chunk", strings.Replace(curl("", ""), "Content-Length: 0", "Transfer-Encoding: chunked", 1) + "zz\r\n", "400", "Bad request: the body cannot be read to its end.\n"},
			{"two lengths", strings.Replace(curl("", "x"), "Content-Length: 1", "Content-Length: 1\r\nContent-Length: 2", 1), "400", ""},
		} {
			got := talk(t, phone.Dial(), row.request)
			if !strings.HasPrefix(got, "HTTP/1.1 "+row.status+" ") || !strings.HasSuffix(got, row.line) {
				t.Errorf("%s: got %.300q", row.name, got)
			}
		}
		h.nothingStored()
	})
}

func TestKeepAliveOutlivesTheTimesOfOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		c := h.reached().Dial()
		defer c.Close()
		r := bufio.NewReader(c)
		for range 3 {
			_, err := io.WriteString(c, strings.Replace(curl("", toBob), "Connection: close\r\n", "", 1))
			must(t, err)
			w, err := http.ReadResponse(r, nil)
			must(t, err)
			if b, _ := io.ReadAll(w.Body); w.StatusCode != 200 || string(b) != "OK\n" {
				t.Fatalf("answer %d %q", w.StatusCode, b)
			}
			time.Sleep(quick.HeaderTime + quick.BodyTime + time.Millisecond)
		}
		// A second request that stops halfway is told so as well.
		_, err := io.WriteString(c, "POST /message HTTP/1.1\r\nHost: x")
		must(t, err)
		if b, _ := io.ReadAll(r); !bytes.HasPrefix(b, []byte("HTTP/1.1 408 ")) {
			t.Errorf("got %q", b)
		}
	})
}

func TestPostOverUnixSocket(t *testing.T) {
	h := newHouse(t)
	s := web.NewServer(h.Handler(), web.DefaultLimits, moduletest.Discard())
	path := h.serving(s, s.Serve, "unix", filepath.Join(t.TempDir(), "s"))
	dial := func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }
	client := &http.Client{Transport: &http.Transport{DialContext: dial}}
	defer client.CloseIdleConnections()
	r := call{body: toBob}.request()
	r.RequestURI = ""
	w, err := client.Do(r)
	must(t, err)
	if got := body(t, w.Body); w.StatusCode != 200 || got != "OK\n" {
		t.Errorf("answer %d %q", w.StatusCode, got)
	}
	if log := h.log.String(); !strings.Contains(log, "client=unix ") {
		t.Errorf("log: %s", log)
	}
}

// certificate is one for the host of the tests.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestPostOverTLSWithBothVersionsOfHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.Configure(Settings{BodyTime: quick.BodyTime})
		s := web.NewServer(h.Handler(), quick, slog.New(slog.DiscardHandler))
		config := &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
		phone := moduletest.NewPhone()
		h.servingOn(s, func(l net.Listener) error { return s.ServeTLS(l, config) }, phone)
		for _, two := range []bool{false, true} {
			client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: two,
				TLSClientConfig: &tls.Config{ServerName: host, InsecureSkipVerify: true},
				DialContext:     func(context.Context, string, string) (net.Conn, error) { return phone.Dial(), nil }}}
			send := func(r *http.Request) (int, string) {
				r.RequestURI, r.URL.Scheme, r.URL.Host = "", "https", host
				w, err := client.Do(r)
				must(t, err)
				if want := map[bool]int{false: 1, true: 2}[two]; w.ProtoMajor != want {
					t.Errorf("HTTP/%d, not %d", w.ProtoMajor, want)
				}
				return w.StatusCode, body(t, w.Body)
			}
			if code, got := send(call{body: toBob}.request()); code != 200 || got != "OK\n" {
				t.Errorf("answer %d %q", code, got)
			}
			slow := call{}.request()
			slow.Body, slow.ContentLength = io.NopCloser(blocked{t.Context().Done()}), 100
			if code, got := send(slow); code != 408 {
				t.Errorf("slow body: answer %d %q", code, got)
			}
			client.CloseIdleConnections()
		}
		c := tls.Client(phone.Dial(), &tls.Config{ServerName: host, InsecureSkipVerify: true})
		defer c.Close()
		_, err := io.WriteString(c, "POST /message HTTP/1.1\r\nHost")
		must(t, err)
		if b, _ := io.ReadAll(c); !bytes.HasPrefix(b, []byte("HTTP/1.1 408 ")) {
			t.Errorf("slow header: got %q", b)
		}
	})
}

// blocked is a body that does not come.
type blocked struct{ until <-chan struct{} }

func (b blocked) Read([]byte) (int, error) {
	<-b.until
	return 0, io.EOF
}
