package c2s

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

// serverOnly in the environment has this test binary be the server of BenchmarkLogins, so that the CPU time of its
// process is that of the server alone.
const serverOnly = "JACKDAW_BENCH_LOGINS"

// A remote is that process.
type remote struct {
	b    *testing.B
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	addr string // direct TLS
	from string // STARTTLS
	web  string // WebSocket with TLS
}

// startRemote starts it with a certificate of this kind: "ecdsa" or "rsa".
func startRemote(b *testing.B, kind string) *remote {
	b.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestMain$", "-test.bench=^BenchmarkLoginServer$", "-test.benchtime=1x")
	cmd.Env = append(os.Environ(), serverOnly+"="+kind)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	r := &remote{b: b, cmd: cmd, in: in, out: bufio.NewReader(out)}
	r.addr, r.from, r.web = r.line(), r.line(), r.line()
	return r
}

// line is the next that the server says to us.
func (r *remote) line() string {
	r.b.Helper()
	for {
		s, err := r.out.ReadString('\n')
		if err != nil {
			r.b.Fatal(err)
		}
		if said, ours := strings.CutPrefix(s, "=> "); ours {
			return strings.TrimSpace(said)
		}
	}
}

// cpu is how many microseconds of CPU time the server has used.
func (r *remote) cpu() int64 {
	r.b.Helper()
	return r.ask("cpu")
}

// memory is how many bytes of heap and stacks the server uses, after a collection.
func (r *remote) memory() int64 {
	r.b.Helper()
	return r.ask("memory")
}

func (r *remote) ask(what string) int64 {
	r.b.Helper()
	if _, err := io.WriteString(r.in, what+"\n"); err != nil {
		r.b.Fatal(err)
	}
	n, err := strconv.ParseInt(r.line(), 10, 64)
	if err != nil {
		r.b.Fatal(err)
	}
	return n
}

func (r *remote) stop() {
	_ = r.in.Close()
	if err := r.cmd.Wait(); err != nil {
		r.b.Error(err)
	}
}

// BenchmarkLoginServer is the other process; by itself it measures nothing.
func BenchmarkLoginServer(b *testing.B) {
	kind := os.Getenv(serverOnly)
	if kind == "" {
		return
	}
	h := open(b, func(o *Options) {
		o.Tokens = &memoryTokens{of: map[string]*tokenSlots{}}
		if kind == "rsa" {
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				b.Fatal(err)
			}
			o.TLS = &tls.Config{Certificates: []tls.Certificate{certificateOf(key)}}
		}
		if home, ok := strings.CutPrefix(kind, "edge "); ok {
			o.Elsewhere = distantHome(home)
		}
	})
	h.mute = true
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = h.Serve(l, DirectTLS) }()
	starting, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = h.Serve(starting, STARTTLS) }()
	fmt.Println("=>", l.Addr())
	fmt.Println("=>", starting.Addr())
	fmt.Println("=>", h.sockets(true))
	for i := range idleUsers {
		if err := h.accounts.Create(b.Context(), jid.MustParse(idleUser(i)+"@"+host), password); err != nil {
			b.Fatal(err)
		}
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if in.Text() == "memory" {
			var m runtime.MemStats
			runtime.GC()
			runtime.GC() // what the first has put aside (sync.Pool)
			runtime.ReadMemStats(&m)
			fmt.Println("=>", m.HeapAlloc+m.StackInuse)
			continue
		}
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		fmt.Println("=>", (u.Utime.Sec+u.Stime.Sec)*1e6+u.Utime.Usec+u.Stime.Usec)
	}
	h.close()
}

// BenchmarkLogins is from the connection to a session with stream management and carbons, one client after the other.
// What counts is logins/cpu-s: how many of them one second of the server's CPU time is worth.
func BenchmarkLogins(b *testing.B) {
	for _, kind := range []string{"ecdsa", "rsa"} {
		b.Run(kind, func(b *testing.B) { benchLogins(b, kind) })
	}
}

func benchLogins(b *testing.B, kind string) {
	r := startRemote(b, kind)
	defer r.stop()
	bound, resumed := &returning{}, &returning{resumes: true}
	for _, way := range []struct {
		name    string
		mode    Mode
		resumed bool // the TLS session
		login   func(c *client)
	}{
		{"classic", STARTTLS, false, classicLogin},
		{"classic/direct", DirectTLS, false, classicLogin},
		{"classic/resumed", DirectTLS, true, classicLogin},
		{"sasl2", DirectTLS, false, modernLogin},
		{"sasl2/resumed", DirectTLS, true, modernLogin},
		{"fast", DirectTLS, false, bound.login},
		{"fast/resumed", DirectTLS, true, bound.login},
		{"fast/resumed/session", DirectTLS, true, resumed.login}, // which is resumed as well
	} {
		b.Run(way.name, func(b *testing.B) {
			cache := &ticketCache{}
			one := func() {
				var c *client
				switch {
				case way.resumed:
					c = r.dial(r.addr).handshakeWith(cache)
				case way.mode == STARTTLS:
					c = r.dial(r.from)
					c.header()
					c.startTLS()
				default:
					c = r.dial(r.addr).handshake()
				}
				way.login(c)
				c.close()
			}
			one() // for the ticket and the token
			before := r.cpu()
			for b.Loop() {
				one()
			}
			used := r.cpu() - before
			b.ReportMetric(float64(b.N)*1e6/float64(used), "logins/cpu-s")
		})
	}
}

// BenchmarkTokenBesidePassword is classic logins, and logins by token on a resumed TLS session, in turns at one server.
// Opened is what such a login is made of before anything is proved: the resumed TLS session, our header, our features.
// The figures are medians over the turns: microseconds of the server's CPU for one, and how many logins by token one
// classic login is worth.
func BenchmarkTokenBesidePassword(b *testing.B) {
	for _, kind := range []string{"ecdsa", "rsa"} {
		b.Run(kind, func(b *testing.B) {
			r := startRemote(b, kind)
			defer r.stop()
			const atOnce = 25 // of a turn
			cache, token := &ticketCache{}, &returning{}
			ways := []struct {
				name string
				one  func() *client
			}{
				{"classic", func() *client {
					c := r.dial(r.addr).handshake()
					classicLogin(c)
					return c
				}},
				{"token", func() *client {
					c := r.dial(r.addr).handshakeWith(cache)
					token.login(c)
					return c
				}},
				{"opened", func() *client {
					c := r.dial(r.addr).handshakeWith(cache)
					c.header()
					return c
				}},
			}
			for _, way := range ways { // for the ticket and the token
				way.one().close()
			}
			used, worth := map[string][]float64{}, []float64(nil)
			for b.Loop() {
				turn := map[string]float64{}
				for _, way := range ways {
					before := r.cpu()
					for range atOnce {
						way.one().close()
					}
					turn[way.name] = float64(r.cpu()-before) / atOnce
					used[way.name] = append(used[way.name], turn[way.name])
				}
				worth = append(worth, turn["classic"]/turn["token"])
			}
			for name, all := range used {
				b.ReportMetric(median(all), name+"-cpu-µs")
			}
			b.ReportMetric(median(worth), "classic/token")
		})
	}
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// dial connects to one of its listeners.
func (r *remote) dial(addr string) *client {
	r.b.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		r.b.Fatal(err)
	}
	return &client{t: r.b, conn: conn, c: conn}
}

// classicLogin asks for one thing after the other; the request of this test stands for that of carbons.
func classicLogin(c *client) {
	c.header()
	c.auth(sasl.ScramSHA256Plus, c.bindingCredentials())
	c.header()
	c.bind("bench").manage()
	c.ping()
}

func modernLogin(c *client) {
	c.headerFrom("romeo")
	el := c.auth2(sasl.ScramSHA256Plus, c.bindingCredentials(), bindManaged+agentOf(deviceA))
	if el.Name.Local != "success" {
		c.t.Fatalf("got %s", el.Append(nil))
	}
}

// A returning client has a token, and perhaps a session to resume. It sends all at once, as XEP-0509 allows.
type returning struct {
	token   string
	resumes bool
	id      string // of the session
}

func (r *returning) login(c *client) {
	const m = sasl.HTSHA256Exporter
	if r.token == "" {
		c.headerFrom("romeo")
		r.token = tokenOf(c.auth2(sasl.ScramSHA256Plus, c.bindingCredentials(), requestToken(m)+agentOf(deviceA)))
		return
	}
	resume := ""
	if r.resumes && r.id != "" {
		resume = "<resume xmlns='urn:xmpp:sm:3' previd='" + r.id + "' h='0'/>"
	}
	c.send(headerOf("romeo") + fastXML(m, sasl.TokenMessage("romeo", r.token, c.channel(m)),
		resume+bindManaged+fast+agentOf(deviceA)))
	c.expect("<header>")
	c.expect("features")
	got := c.expect("<success")
	if _, after, ok := strings.Cut(got, "resume='true' id='"); ok {
		r.id, _, _ = strings.Cut(after, "'")
	} else if !strings.Contains(got, "<resumed") {
		c.t.Fatal(got)
	}
}

// bindingCredentials are romeo's on this connection.
func (c *client) bindingCredentials() sasl.Credentials {
	cs := c.tls.ConnectionState()
	cred := sasl.Credentials{User: "romeo", Password: password}
	cred.Binding, _ = sasl.Exporter(&cs)
	return cred
}

// idleUsers have idleSessions each in BenchmarkIdle.
const (
	idleUsers    = 20
	idleSessions = 20
)

func idleUser(i int) string { return fmt.Sprint("idle", i) }

// distantHome is where all accounts are at home, by its address.
type distantHome string

func (distantHome) Here(string, bool) bool { return false }

func (d distantHome) Open(context.Context, string) (net.Conn, error) {
	return net.Dial("tcp", string(d))
}

// adopting serves what another process hands over, and says where.
func (h *house) adopting() (addr string, stop func()) {
	h.t.Helper()
	for i := range idleUsers {
		if err := h.accounts.Create(context.Background(), jid.MustParse(idleUser(i)+"@"+host), password); err != nil {
			h.t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			h.Adopt(c)
		}
	}()
	return l.Addr().String(), func() { _ = l.Close() }
}

// BenchmarkIdleElsewhere is what a session costs the node that its client is connected to, where it is at home at
// another.
func BenchmarkIdleElsewhere(b *testing.B) {
	h := open(b, nil)
	h.mute = true
	home, stop := h.adopting()
	defer h.close()
	defer stop()
	idle(b, startRemote(b, "edge "+home), enterTLS)
}

// BenchmarkIdle is what a session costs the server that has said nothing for a while, over TLS and over WebSocket with
// TLS: bytes/session. The time says nothing.
func BenchmarkIdle(b *testing.B) {
	for name, enter := range map[string]func(r *remote, user, resource string) *client{
		"tls": enterTLS,
		"websocket": func(r *remote, user, resource string) *client {
			return (&house{t: b}).enterBy(r.web, true, user, resource)
		},
	} {
		b.Run(name, func(b *testing.B) {
			idle(b, startRemote(b, "ecdsa"), enter)
		})
	}
}

// enterTLS goes up to a session.
func enterTLS(r *remote, user, resource string) *client {
	c := r.dial(r.addr).handshake()
	c.header()
	return c.login(user).bind(resource)
}

func idle(b *testing.B, r *remote, enter func(r *remote, user, resource string) *client) {
	defer r.stop()
	warm := enter(r, "romeo", "warm")
	defer warm.close()
	before := r.memory()
	for i := range idleUsers {
		for k := range idleSessions {
			defer enter(r, idleUser(i), fmt.Sprint("r", k)).close()
		}
	}
	<-time.After(restAfter + 3*time.Second) // for readers to rest
	b.ReportMetric(float64(r.memory()-before)/(idleUsers*idleSessions), "bytes/session")
}
