package web

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

// proxyAt is the address from which nginx, or a test in its place, connects to the server; it alone is trusted.
const proxyAt = "127.0.0.77"

// trusting has the server believe it.
const trusting = "proxy_protocol: {listeners: [c2s, c2s_tls, tls, http, https], from: [\"" + proxyAt + "\"]}\n"

// An nginx is one of Debian's, before a server.
type nginx struct {
	web      string // HTTPS, passed on to listen.http
	shared   string // TCP, passed on to listen.tls with the PROXY protocol
	directly string // likewise to listen.c2s_tls
	starttls string // likewise to listen.c2s
}

const nginxConfig = `
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
pid @DIR@/nginx.pid;
error_log stderr notice;
events {}
http {
    access_log off;
    client_body_temp_path @DIR@/body; proxy_temp_path @DIR@/proxy; fastcgi_temp_path @DIR@/fastcgi;
    uwsgi_temp_path @DIR@/uwsgi; scgi_temp_path @DIR@/scgi;
    proxy_bind @PROXY@;
    server {
        listen @WEB@ ssl;
        ssl_certificate @CERT@;
        ssl_certificate_key @KEY@;
        location = /xmpp-websocket {
            proxy_pass http://@HTTP@;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_read_timeout 1h;
        }
        location = /http-bind {
            proxy_pass http://@HTTP@;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_buffering off;
            proxy_read_timeout 5m;
        }
        location /.well-known/host-meta {
            proxy_pass http://@HTTP@;
            proxy_set_header Host $host;
        }
    }
}
stream {
    proxy_protocol on;
    proxy_bind @PROXY@;
    server { listen @SHARED@; proxy_pass @TLS@; }
    server { listen @DIRECTLY@; proxy_pass @C2STLS@; }
    server { listen @STARTTLS@; proxy_pass @C2S@; }
}
`

// startNginx runs one before a server and returns when it accepts.
func startNginx(t *testing.T, s *harness.Server, port string) *nginx {
	t.Helper()
	bin, err := exec.LookPath("nginx")
	if err == nil {
		_, err = os.Stat("/usr/lib/nginx/modules/ngx_stream_module.so")
	}
	if err != nil {
		t.Fatalf("nginx is missing: %v: apt-get install nginx-light libnginx-mod-stream", err)
	}
	n := &nginx{harness.FreeAddr(), harness.FreeAddr(), harness.FreeAddr(), harness.FreeAddr()}
	dir, own := t.TempDir(), peers.NewAuthority(t).Issue(s.Domain, "")
	text := strings.NewReplacer("@DIR@", dir, "@PROXY@", proxyAt, "@WEB@", n.web, "@CERT@", own.Cert, "@KEY@", own.Key,
		"@SHARED@", n.shared, "@DIRECTLY@", n.directly, "@STARTTLS@", n.starttls, "@HTTP@", s.HTTP, "@TLS@", port, "@C2STLS@", s.C2STLS,
		"@C2S@", s.C2S).Replace(nginxConfig)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log := &harness.Output{}
	cmd := exec.Command(bin, "-c", file, "-p", dir, "-e", "stderr")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its log says why
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		<-ended
		if t.Failed() {
			t.Logf("log of nginx:\n%s", log)
		}
	})
	if err := log.Await("start worker process ", 0, harness.Timeout, ended); err != nil {
		t.Fatalf("nginx is not ready: %v\n%s", err, log)
	}
	return n
}

// listed wants `jackdaw sessions` to name an address.
func listed(t *testing.T, s *harness.Server, jid, from string) {
	t.Helper()
	for line := range strings.SplitSeq(s.Command("", "sessions"), "\n") {
		if strings.HasPrefix(line, jid+"\t") {
			if !strings.Contains(line, "\t"+from+"\t") {
				t.Errorf("%s comes from elsewhere than %s: %s", jid, from, line)
			}
			return
		}
	}
	t.Errorf("no session of %s", jid)
}

func TestNginxForwardsStreamsWithTheirClients(t *testing.T) {
	s, port := onePort(t, harness.Options{Users: []string{"romeo", "juliet"}, Config: trusting})
	n := startNginx(t, s, port)
	for at, from := range map[string]string{n.shared: "127.0.0.91", n.directly: "127.0.0.92"} {
		c, err := harness.ConnectFrom(from, at, "romeo", "r"+from)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		listed(t, s, c.JID, from)
		chat(t, s, c)
	}
	c, err := harness.Open(n.starttls, true)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Conn.Close()
	if el, err := c.Next(); err != nil || !strings.Contains(el, "starttls") {
		t.Errorf("%s, %v", el, err)
	}
	if status, proto, _ := get(t, over(t, n.shared, "h2"), "https://localhost/message"); status != http.StatusMethodNotAllowed || proto != "HTTP/2.0" {
		t.Errorf("%d %s", status, proto)
	}
}

// socket logs in over WebSocket and returns the answer to a ping.
func socket(t *testing.T, at string, from string, alpn ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Timeout)
	defer cancel()
	tr := &http.Transport{DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		d := tls.Dialer{NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}},
			Config: &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: alpn}}
		return d.DialContext(ctx, "tcp", at)
	}}
	c, _, err := websocket.Dial(ctx, "wss://localhost/xmpp-websocket", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: tr}, Subprotocols: []string{"xmpp"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	say := func(xml string) {
		t.Helper()
		if err := c.Write(ctx, websocket.MessageText, []byte(xml)); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(want string) string {
		t.Helper()
		for {
			_, b, err := c.Read(ctx)
			if err != nil {
				t.Fatalf("%v instead of %s", err, want)
			}
			if strings.Contains(string(b), want) {
				return string(b)
			}
		}
	}
	const open = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='localhost' version='1.0'/>"
	say(open)
	hear("PLAIN")
	say("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" +
		base64.StdEncoding.EncodeToString([]byte("\x00romeo\x00"+harness.Password)) + "</auth>")
	hear("<success")
	say(open)
	hear("urn:ietf:params:xml:ns:xmpp-bind")
	say("<iq type='set' id='b' xmlns='jabber:client'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>w</resource></bind></iq>")
	hear("<jid>")
	say("<iq type='get' id='p' to='localhost' xmlns='jabber:client'><ping xmlns='urn:xmpp:ping'/></iq>")
	return hear("result")
}

// bind logs in over BOSH and returns the address that was bound.
func bind(t *testing.T, c *http.Client) string {
	t.Helper()
	rid, sid := 1000, ""
	ask := func(attributes, content, want string) string {
		t.Helper()
		for range 20 { // an answer may come with a later request
			rid++
			body := fmt.Sprintf("<body xmlns='http://jabber.org/protocol/httpbind' rid='%d'%s%s>%s</body>", rid, sid, attributes, content)
			resp, err := c.Post("https://localhost/http-bind", "text/xml; charset=utf-8", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close() // it was read
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("%d %s, %v", resp.StatusCode, b, err)
			}
			if sid == "" {
				sid = " sid='" + harness.Attr(string(b), "sid") + "'"
			}
			if strings.Contains(string(b), want) {
				return string(b)
			}
			attributes, content = "", ""
		}
		t.Fatalf("no %s", want)
		return ""
	}
	ask(" to='localhost' wait='5' hold='1' ver='1.6' xml:lang='en' xmpp:version='1.0' xmlns:xmpp='urn:xmpp:xbosh'", "", "PLAIN")
	ask("", "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>"+
		base64.StdEncoding.EncodeToString([]byte("\x00romeo\x00"+harness.Password))+"</auth>", "<success")
	ask(" to='localhost' xmpp:restart='true' xmlns:xmpp='urn:xmpp:xbosh'", "", "urn:ietf:params:xml:ns:xmpp-bind")
	answer := ask("", "<iq type='set' id='b' xmlns='jabber:client'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>", "<jid>")
	ask(" type='terminate'", "", "terminate")
	_, answer, _ = strings.Cut(answer, "<jid>")
	user, _, _ := strings.Cut(answer, "</jid>")
	return user
}

func TestWebSocketOnTheSharedPort(t *testing.T) {
	s, port := onePort(t, harness.Options{Users: []string{"romeo"}})
	for _, alpn := range [][]string{{"http/1.1"}, nil} {
		if answer := socket(t, port, "127.0.0.1", alpn...); !strings.Contains(answer, "id='p'") {
			t.Errorf("%v: %s", alpn, answer)
		}
	}
	if at := strings.Count(s.Log(), "client logged in"); at != 2 {
		t.Errorf("%d logins", at)
	}
}

func TestNginxBeforeWebSocketBOSHAndHostMeta(t *testing.T) {
	s, port := onePort(t, harness.Options{Users: []string{"romeo"},
		HTTP: "url: https://chat.example\ntrusted_proxies: [" + proxyAt + "]"})
	n := startNginx(t, s, port)
	if answer := socket(t, n.web, "127.0.0.93"); !strings.Contains(answer, "id='p'") {
		t.Errorf("%s", answer)
	}
	if !strings.Contains(s.Log(), "from=127.0.0.93") {
		t.Error("the log does not say from where")
	}
	c := over(t, n.web)
	if user := bind(t, c); !strings.HasPrefix(user, "romeo@localhost/") {
		t.Errorf("over BOSH: %s", user)
	}
	status, _, text := get(t, c, "https://localhost/.well-known/host-meta")
	if status != http.StatusOK || !strings.Contains(text, "href='wss://chat.example/xmpp-websocket'") ||
		!strings.Contains(text, "href='https://chat.example/http-bind'") {
		t.Errorf("%d %s", status, text)
	}
	if status, _, _ := get(t, c, "https://127.0.0.1/.well-known/host-meta.json"); status != http.StatusNotFound {
		t.Errorf("of a host that is none of ours: %d", status)
	}
}

// header is that of version 2 for a client at an address.
func header(from netip.AddrPort) string {
	b := []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c")
	a := from.Addr().As4()
	b = append(append(b, a[:]...), 198, 51, 100, 1)
	return string(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, from.Port()), 443))
}

// asProxy connects as the proxy does, for a client.
func asProxy(t *testing.T, at, client string) net.Conn {
	t.Helper()
	c, err := harness.Dial(proxyAt, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // it may be closed already
	if err := c.SetDeadline(time.Now().Add(harness.Timeout)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, header(netip.MustParseAddrPort(client))); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEveryListenerKnowsTheClient(t *testing.T) {
	s, port := onePort(t, harness.Options{Users: []string{"romeo", "juliet"},
		Config: trusting + "limits: {unauthenticated_per_address: 2}\n"})
	const body = "<message to='juliet@localhost'><body>hello</body></message>"
	over := func(c net.Conn, alpn ...string) net.Conn {
		return tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: alpn})
	}
	for i, dial := range []func(client string) net.Conn{
		func(client string) net.Conn { return asProxy(t, s.HTTP, client) },
		func(client string) net.Conn { return over(asProxy(t, s.HTTPS, client)) },
		func(client string) net.Conn { return over(asProxy(t, port, client), "http/1.1") },
		func(client string) net.Conn { return over(asProxy(t, port, client)) },
	} {
		client := fmt.Sprintf("203.0.113.%d", 10+i)
		c := dial(client + ":4444")
		if _, err := fmt.Fprintf(c, "POST /message HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic %s\r\n"+
			"Content-Length: %d\r\nConnection: close\r\n\r\n%s",
			base64.StdEncoding.EncodeToString([]byte("romeo@localhost:"+harness.Password)), len(body), body); err != nil {
			t.Fatal(err)
		}
		if answer, err := io.ReadAll(c); !strings.HasPrefix(string(answer), "HTTP/1.1 200") {
			t.Errorf("%s: %s, %v", client, answer, err)
		}
		if err := s.Output().Await(client, 0, harness.Timeout, nil); err != nil {
			t.Errorf("the log does not name the client: %v", err)
		}
	}
	// Limits are those of the client: two may wait, the third is refused, another client is not.
	const opening = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='localhost' version='1.0'>"
	for i, client := range []string{"203.0.113.50:1", "203.0.113.50:2", "203.0.113.50:3", "203.0.113.51:1"} {
		c := asProxy(t, s.C2S, client)
		if _, err := io.WriteString(c, opening); err != nil {
			t.Fatal(err)
		}
		want := "</stream:features>"
		if i == 2 {
			want = "policy-violation"
		}
		var heard strings.Builder
		for b := make([]byte, 4096); !strings.Contains(heard.String(), want); {
			n, err := c.Read(b)
			heard.Write(b[:n])
			if err != nil {
				t.Fatalf("%s: %s, %v", client, heard.String(), err)
			}
		}
	}
	if err := s.Output().Await("from=203.0.113.50", 0, harness.Timeout, nil); err != nil {
		t.Errorf("the log does not say who was refused: %v", err)
	}
	c, err := tls.Dial("tcp", port, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatalf("who comes without a proxy needs no header: %v", err)
	}
	_ = c.Close()
}

func TestAProxyWithoutTheHeaderIsSaid(t *testing.T) {
	s, _ := onePort(t, harness.Options{Config: trusting})
	c, err := harness.Dial(proxyAt, s.C2STLS)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "<?xml version='1.0'?>"); err != nil {
		t.Fatal(err)
	}
	if err := s.Output().Await("have the proxy send it", 0, harness.Timeout, nil); err != nil {
		t.Error(err)
	}
	if b, err := io.ReadAll(c); len(b) > 0 {
		t.Errorf("%q, %v", b, err)
	}
	if out := s.Command("", "check"); !strings.Contains(out, "good") {
		t.Errorf("check: %s", out)
	}
}
