package c2s

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jackdaw/router/gate"
	"jackdaw/web/bosh"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
	"jackdaw/xmpp/stream"
)

// boshHandler serves BOSH.
func (h *house) boshHandler() *bosh.Handler {
	return bosh.New(bosh.Options{
		Take:  h.door.Take,
		Admit: func(c net.Conn, a netip.Addr) (*gate.Pass, string) { return h.streams.Gate.Admit(c, a, h.limits()) },
		Source: func(r *http.Request) (netip.Addr, bool) {
			a, err := netip.ParseAddrPort(r.RemoteAddr)
			if err != nil {
				h.t.Error(err)
			}
			return a.Addr(), true
		},
		Limits: func() bosh.Limits {
			l := h.limits()
			before := wire.Limits(h.settings().MaxStanzaPreauth, l)
			before.Elements = l.PreauthElements
			after := wire.Limits(h.settings().MaxStanza, l)
			return bosh.Limits{Before: before, After: after, BodyTime: l.HTTPBodyTime}
		},
	})
}

// overBOSH serves it over HTTP.
func (h *house) overBOSH() *httptest.Server {
	h.t.Helper()
	s := httptest.NewServer(h.boshHandler())
	h.t.Cleanup(s.Close)
	return s
}

// A boshClient is the other end of BOSH, as a connection: what is written to it becomes the content of requests, a
// stream header the first of them or one for a restart. What it reads are the contents of responses, with the header
// and the end of a stream where BOSH has other ways to say it.
type boshClient struct {
	net.Conn // what is not implemented
	url      string
	http     *http.Client
	ctx      context.Context
	stop     func()

	mu      sync.Mutex // guards the rest
	changed *sync.Cond
	rid     int
	sid     string
	next    int // rid of the response that is read next
	flight  int
	got     map[int][]byte
	in      []byte
	header  bool // the next features come in a new stream
	ended   bool
	rests   bool // it asks for nothing by itself
}

func (h *house) boshClient(s *httptest.Server) *client {
	h.t.Helper()
	b := &boshClient{url: s.URL, http: &http.Client{Transport: new(http.Transport)}, rid: 4711, next: 4712,
		got: map[int][]byte{}}
	b.ctx, b.stop = context.WithCancel(context.Background())
	b.changed = sync.NewCond(&b.mu)
	return &client{t: h.t, conn: b, c: b}
}

// Write sends whole elements, or a header alone.
func (b *boshClient) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.flight > 1 && !b.ended {
		b.changed.Wait()
	}
	content, attrs := string(p), ""
	if i := strings.Index(content, "<stream:stream"); i >= 0 {
		attrs = " xmpp:restart='true' to='" + host + "'"
		if b.sid == "" {
			attrs = " wait='50' hold='1' ver='1.11' xmpp:version='1.0' to='" + host + "'"
		}
		b.header, content = true, ""
	}
	if strings.HasSuffix(content, "</stream:stream>") {
		attrs, content = " type='terminate'", strings.TrimSuffix(content, "</stream:stream>")
	}
	b.post(attrs, content)
	return len(p), nil
}

// post sends a request. The caller holds mu.
func (b *boshClient) post(attrs, content string) {
	b.rid++
	rid := b.rid
	if b.sid != "" {
		attrs += " sid='" + b.sid + "'"
	}
	body := fmt.Sprintf("<body rid='%d'%s xmlns='%s' xmlns:stream='%s' xmlns:xmpp='%s'>%s</body>", rid, attrs,
		xmpp.NSHTTPBind, xmpp.NSStream, xmpp.NSBOSH, content)
	b.flight++
	go func() {
		r, _ := http.NewRequestWithContext(b.ctx, http.MethodPost, b.url, strings.NewReader(body))
		var got []byte
		if a, err := b.http.Do(r); err == nil {
			got, _ = io.ReadAll(a.Body)
			a.Body.Close()
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.flight--
		b.got[rid] = got
		for got, ok := b.got[b.next]; ok; got, ok = b.got[b.next] {
			delete(b.got, b.next)
			b.next++
			b.take(got)
		}
		if b.flight == 0 && b.sid != "" && !b.ended && !b.rests {
			b.post("", "")
		}
		b.changed.Broadcast()
	}()
}

// take reads a response. The caller holds mu.
func (b *boshClient) take(response []byte) {
	u := stream.NewUnwrapper(xmpp.Name{Space: xmpp.NSHTTPBind, Local: "body"}, stream.Limits{Bytes: 1 << 20})
	attrs, n, err := u.Open(response)
	var content []byte
	if err == nil {
		content, _, err = u.Content(nil, response[n:], stream.Limits{Bytes: 1 << 20}, 1<<20)
	}
	if err != nil {
		b.ended = true
		return
	}
	at := func(name string) string {
		i := slices.IndexFunc(attrs, func(a xmpp.Attr) bool { return a.Name.Local == name })
		if i < 0 {
			return ""
		}
		return attrs[i].Value
	}
	if sid := at("sid"); sid != "" {
		b.sid = sid
	}
	if b.header && (len(content) > 0 || at("type") != "") {
		b.header = false
		b.in = append(b.in, header...)
	}
	b.in = append(b.in, content...)
	if at("type") == "terminate" {
		if c := at("condition"); c != "" && c != "remote-stream-error" {
			b.in = stream.AppendError(b.in, stream.Condition(c), "")
		}
		b.in = append(b.in, stream.Close...)
		b.ended = true
	}
}

func (b *boshClient) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.in) == 0 {
		if b.ended {
			return 0, io.EOF
		}
		b.changed.Wait()
	}
	n := copy(p, b.in)
	b.in = b.in[n:]
	return n, nil
}

func (b *boshClient) SetReadDeadline(time.Time) error { return nil }

func (b *boshClient) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	b.stop()
	for b.flight > 0 {
		b.changed.Wait()
	}
	b.http.CloseIdleConnections()
	return nil
}

func TestClientsOfBOSHAndTCPTalk(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	s := h.overBOSH()
	romeo := h.boshClient(s)
	defer romeo.close()
	if f := romeo.header(); strings.Contains(f, "starttls") || !strings.Contains(f, "SCRAM-SHA-1") {
		t.Fatalf("features %s", f)
	}
	romeo.login("romeo").bind("web")
	juliet := h.enter("juliet", "balcony")
	defer juliet.close()
	for i := range 20 {
		romeo.send(fmt.Sprintf("<message xmlns='jabber:client' to='juliet@example.org' id='a%d'><body>hi</body></message>", i))
		juliet.expect(fmt.Sprintf("id='a%d'", i), "from='romeo@example.org/web'")
		juliet.send(fmt.Sprintf("<message to='romeo@example.org' id='b%d'><body>ho</body></message>", i))
		romeo.expect(fmt.Sprintf("id='b%d'", i))
	}
	romeo.send("</stream:stream>")
	romeo.expect("</end>")
	eventually(t, "the session ends", func() bool { return h.Stats.Sessions.Load() == 1 })
}

func TestManyStanzasOverBOSHKeepTheirOrder(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	s := h.overBOSH()
	romeo := h.boshClient(s)
	defer romeo.close()
	romeo.header()
	romeo.login("romeo").bind("web")
	juliet := h.enter("juliet", "balcony")
	defer juliet.close()
	const n = 2000
	body := strings.Repeat("x", 1000)
	go func() {
		var b bytes.Buffer
		for i := range n {
			fmt.Fprintf(&b, "<message to='romeo@example.org' id='m%d'><body>%s</body></message>", i, body)
		}
		_, _ = juliet.c.Write(b.Bytes()) // what comes tells
	}()
	for i := range n {
		romeo.expect(fmt.Sprintf("id='m%d'", i))
	}
}

func TestSessionGoesOnFromTCPToBOSHAndBack(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	s := h.overBOSH()
	juliet := h.enter("juliet", "balcony")
	id := juliet.manage()
	romeo := h.enter("romeo", "orchard")
	defer romeo.close()
	juliet.close()
	eventually(t, "the session waits", func() bool { return h.Stats.Detached.Load() == 1 })
	romeo.send("<message to='juliet@example.org' id='1'><body>x</body></message>").ping()
	web := h.boshClient(s)
	defer web.close()
	web.header()
	web.login("juliet")
	web.send("<resume xmlns='"+xmpp.NSSM+"' previd='"+id+"' h='0'/>").expect("<resumed", "previd='"+id+"'")
	web.expect("id='1'")
	// The client goes away, and its requests with it: inactivity would end the session, or whoever resumes it.
	web.close()
	again := h.resume("juliet", id, 1)
	defer again.close()
	again.expect("<resumed", "previd='"+id+"'")
	romeo.send("<message to='juliet@example.org' id='2'><body>x</body></message>")
	again.expect("id='2'")
}

func TestMessageForAClientThatIsNotThereNowIsCopied(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	s := h.overBOSH()
	c := h.boshClient(s)
	defer c.close()
	c.header()
	c.login("romeo").bind("web")
	session := h.router.Session(jid.MustParse(c.jid))
	eventually(t, "a request is held", session.Prompt)
	b := c.c.(*boshClient)
	b.mu.Lock()
	b.rests = true
	b.mu.Unlock()
	h.message(c.jid, "1", 0)
	c.expect("id='1'")
	if session.Prompt() {
		t.Error("a message would be acknowledged only when the client asks for it")
	}
}

// A client that is between two requests when its session ends hears why in answer to the next. Whoever stops the server
// waits for that before it closes the listeners.
func TestTheEndIsHeardBetweenTwoRequests(t *testing.T) {
	h := open(t, nil)
	handler := h.boshHandler()
	s := httptest.NewServer(handler)
	defer s.Close()
	c := h.boshClient(s)
	defer c.close()
	c.header()
	c.login("romeo").bind("web")
	session := h.router.Session(jid.MustParse(c.jid))
	eventually(t, "a request is held", session.Prompt)
	b := c.c.(*boshClient)
	b.mu.Lock()
	b.rests = true
	b.mu.Unlock()
	h.message(c.jid, "1", 0)
	c.expect("id='1'")
	h.close()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	handler.Settle(gone) // it does not wait for longer than it may
	settled := make(chan struct{})
	go func() {
		defer close(settled)
		handler.Settle(t.Context())
	}()
	select {
	case <-settled:
		t.Error("nothing was waited for")
	default:
	}
	b.mu.Lock()
	b.post("", "")
	b.mu.Unlock()
	c.expectError("system-shutdown")
	<-settled
}

func TestWrongPasswordOverBOSH(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	s := h.overBOSH()
	c := h.boshClient(s)
	defer c.close()
	c.header()
	for range h.limits().FailedLogins {
		if got := c.auth(sasl.Plain, sasl.Credentials{User: "romeo", Password: "wrong"}); !strings.Contains(got, "not-authorized") {
			t.Fatal(got)
		}
	}
	c.expectError("policy-violation")
}

func TestUnknownHostOverBOSH(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	s := h.overBOSH()
	for to, want := range map[string]string{"to='elsewhere.example'": "host-unknown", "": "improper-addressing"} {
		r, err := http.Post(s.URL, "text/xml", strings.NewReader("<body rid='1' ver='1.6' "+to+" xmlns='"+xmpp.NSHTTPBind+"'/>"))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if !strings.Contains(string(b), "type='terminate' condition='"+want+"'") {
			t.Errorf("%s: %s", to, b)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestShutdownEndsSessionsOverBOSH(t *testing.T) {
	h := open(t, nil)
	s := h.overBOSH()
	c := h.boshClient(s)
	defer c.close()
	c.header()
	c.login("romeo").bind("web")
	stranger := h.boshClient(s)
	defer stranger.close()
	stranger.header()
	begun := time.Now()
	h.Quiesce(t.Context())
	h.close()
	for _, one := range []*client{c, stranger} {
		one.expectError("system-shutdown")
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	late := h.boshClient(s)
	defer late.close()
	late.send(header)
	late.expect("<header>")
	late.expectError("system-shutdown")
}

// begun makes sessions that never log in, each from an address of its own.
func begun(t *testing.T, h http.Handler, from *atomic.Uint32, n int) (sids int) {
	t.Helper()
	var wg sync.WaitGroup
	var got atomic.Int32
	for range 16 {
		wg.Go(func() {
			for range n / 16 {
				w := httptest.NewRecorder()
				r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("<body rid='1' ver='1.6' to='"+host+
					"' xmlns='"+xmpp.NSHTTPBind+"'/>"))
				a := from.Add(1)
				r.RemoteAddr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{11, byte(a >> 16), byte(a >> 8), byte(a)}), 1).String()
				if h.ServeHTTP(w, r); strings.Contains(w.Body.String(), " sid='") {
					got.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return int(got.Load())
}

func TestTenThousandHalfOpenSessionsCostLittle(t *testing.T) {
	const n = 10000
	keeper := new(gate.Keeper)
	h := open(t, func(o *Options) {
		o.Gate = keeper
		o.Limits.AuthTime = time.Hour // none of them ends meanwhile
	})
	handler := h.boshHandler()
	used := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	var from atomic.Uint32
	before := used()
	if got := begun(t, handler, &from, n); got != n {
		t.Fatalf("%d sessions of %d", got, n)
	}
	each := (used() - before) / n
	t.Logf("%d bytes each", each)
	if each > 24<<10 {
		t.Errorf("a session that has not logged in costs %d bytes", each)
	}
	// Where there is room for fewer, the oldest go for the new ones.
	const room = 1000
	keeper.Bound(room, slog.New(slog.DiscardHandler))
	if got := begun(t, handler, &from, 1600); got != 1600 {
		t.Errorf("%d new ones of 1600", got)
	}
	one := netip.MustParseAddr("203.0.113.9")
	refused := 0
	for range 100 { // unauthenticated_per_address and connect_burst are 50
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("<body rid='1' ver='1.6' to='"+host+"' xmlns='"+xmpp.NSHTTPBind+"'/>"))
		r.RemoteAddr = netip.AddrPortFrom(one, 1).String()
		if handler.ServeHTTP(w, r); strings.Contains(w.Body.String(), "policy-violation") {
			refused++
		}
	}
	if refused < 45 { // connect_rate lets some through again
		t.Errorf("of 100 sessions of one address %d were refused", refused)
	}
	h.close()
	eventually(t, "no session is left", func() bool { return h.Stats.Connections.Load() == 0 })
}
