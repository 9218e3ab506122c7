package wire

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"jackdaw/config"
	"jackdaw/router/gate"
	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pacer notes what its stream tells it.
type pacer struct {
	waits chan struct{} // one token for each time that the reader is about to wait
	bytes atomic.Int64
	bad   atomic.Pointer[error] // what BeforeRead returns
}

func (o *pacer) BeforeRead() error {
	select {
	case o.waits <- struct{}{}:
	default:
	}
	if bad := o.bad.Load(); bad != nil {
		return *bad
	}
	return nil
}

func (o *pacer) AfterRead(n int) { o.bytes.Add(int64(n)) }

// awaits drains the tokens there are and waits for the next.
func (o *pacer) awaits(t *testing.T) {
	t.Helper()
	select {
	case <-o.waits:
	case <-time.After(10 * time.Second):
		t.Fatal("the reader does not wait")
	}
}

// pair returns a stream of jabber:client over TCP, and its other end.
func pair(t testing.TB) (*Stream, *pacer, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = far.Close() // it may be closed already
		_ = near.Close()
	})
	s, o := &Stream{}, &pacer{waits: make(chan struct{}, 1)}
	s.Init(near, Bytes{}, o)
	s.Scanner.Expect(xmpp.NSClient)
	return s, o, far
}

const header = "<stream:stream xmlns='jabber:client' xmlns:stream='" + xmpp.NSStream + "' to='example.org' version='1.0'>"

func say(t testing.TB, c io.Writer, xml string) {
	t.Helper()
	if _, err := io.WriteString(c, xml); err != nil {
		t.Fatal(err)
	}
}

func (s *Stream) want(t testing.TB, kind stream.ItemKind) {
	t.Helper()
	if got, err := s.Next(); got != kind || err != nil {
		t.Fatalf("got item %v and %v, want %v", got, err, kind)
	}
}

func TestItemsComeOutHoweverTheyAreCut(t *testing.T) {
	s, o, far := pair(t)
	long := "<message id='long'><body>" + strings.Repeat("x", 5*BufSize) + "</body></message>"
	all := header + "<message id='a'/> \n" + long + "<presence/><iq type='get' id='q'><ping xmlns='urn:xmpp:ping'/></iq></stream:stream>"
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for rest := all; rest != ""; {
			n := min(len(rest), 1+len(rest)%7000)
			if _, err := io.WriteString(far, rest[:n]); err != nil {
				t.Error(err)
			}
			rest = rest[n:]
		}
	})
	s.want(t, stream.ItemHeader)
	for _, id := range []string{"a", "long", "", "q"} {
		if s.want(t, stream.ItemStanza); s.Scanner.Stanza().ID != id {
			t.Errorf("got the stanza %q, want %q", s.Scanner.Stanza().ID, id)
		}
	}
	s.want(t, stream.ItemEnd)
	if n := o.bytes.Load(); n != int64(len(all)) || s.Total != len(all) || s.Consumed() != len(all) || !s.Empty() {
		t.Errorf("%d bytes told, %d read, %d consumed of %d", n, s.Total, s.Consumed(), len(all))
	}
	s.Release()
}

func TestAStreamThatWaitsHoldsNoMoreThanWhatIsHalfRead(t *testing.T) {
	s, o, far := pair(t)
	s.Shallow = true
	say(t, far, header+"<message><bo")
	if err := s.Transport.Await(); err != nil {
		t.Fatal(err)
	}
	s.want(t, stream.ItemHeader)
	if _, err := s.Next(); err != ErrAgain {
		t.Fatalf("in the middle of a stanza: %v", err)
	}
	if s.pooled != nil || s.large != nil || s.Transport.in != nil || len(s.store) > 512 || string(s.Unread()) != "<message><bo" {
		t.Errorf("%d bytes are held for %q", len(s.store), s.Unread())
	}
	say(t, far, "dy/></message>")
	if err := s.Transport.Await(); err != nil {
		t.Fatal(err)
	}
	s.want(t, stream.ItemStanza)
	if _, err := s.Next(); err != ErrAgain {
		t.Fatalf("behind it: %v", err)
	}
	if s.store != nil || s.pooled != nil || s.Transport.in != nil {
		t.Error("a buffer is held for nothing")
	}
	o.awaits(t)
}

func TestTooMuchBeforeAuthenticationEndsTheStream(t *testing.T) {
	s, _, far := pair(t)
	limits := config.Limits{PreauthBytes: 200, PreauthElements: 32, Depth: 10, Elements: 100, Attributes: 20,
		Namespaces: 20}
	s.Strict(xmpp.NSClient, 1000, &limits)
	say(t, far, header+strings.Repeat("<presence/>", 20))
	s.want(t, stream.ItemHeader)
	for range 20 {
		s.want(t, stream.ItemStanza)
	}
	_, err := s.Next()
	if f, ok := errors.AsType[*Farewell](err); !ok || f.Condition != stream.PolicyViolation {
		t.Fatalf("ended with %v", err)
	}
	s.Relax(1000, &limits)
	say(t, far, "<presence/>")
	s.want(t, stream.ItemStanza)
}

func TestWhatCannotBeReadIsTheFarewell(t *testing.T) {
	s, _, far := pair(t)
	say(t, far, header+"<message></presence>")
	s.want(t, stream.ItemHeader)
	_, err := s.Next()
	if f, ok := errors.AsType[*Farewell](err); !ok || f.Condition != stream.NotWellFormed {
		t.Errorf("ended with %v", err)
	}
}

func TestThePacerIsAskedBeforeEachWait(t *testing.T) {
	s, o, far := pair(t)
	gone := errors.New("to be left")
	done := make(chan error)
	go func() {
		_, err := s.Next()
		if err == nil {
			_, err = s.Next()
		}
		done <- err
	}()
	o.awaits(t)
	o.bad.Store(&gone)
	say(t, far, header)
	if err := <-done; err != gone {
		t.Errorf("the reader ended with %v", err)
	}
}

// A client whose TLS record comes in two halves gets what it sent before handled and passed on meanwhile.
func TestThePacerIsAskedBeforeAWaitInTheMiddleOfARecord(t *testing.T) {
	s, o, far := pair(t)
	half := &halving{Conn: far}
	secure := tls.Client(half, &tls.Config{InsecureSkipVerify: true})
	shaken := make(chan error, 1)
	go func() { shaken <- secure.Handshake() }()
	if err := s.Handshake(context.Background(), tls.Server(s.Transport,
		&tls.Config{Certificates: []tls.Certificate{certificate(t)}})); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	half.collect = true
	say(t, secure, header)
	say(t, secure, "<message><body>"+strings.Repeat("x", 5000)+"</body></message>") // more than crypto/tls reads ahead
	cut := len(half.held) - 5
	items := make(chan stream.ItemKind)
	go func() {
		defer close(items)
		for {
			item, err := s.Next()
			if err != nil {
				return
			}
			items <- item
		}
	}()
	o.awaits(t)
	if _, err := far.Write(half.held[:cut]); err != nil {
		t.Fatal(err)
	}
	if item := <-items; item != stream.ItemHeader {
		t.Fatalf("got %v", item)
	}
	o.awaits(t)
	if _, err := far.Write(half.held[cut:]); err != nil {
		t.Fatal(err)
	}
	if item := <-items; item != stream.ItemStanza {
		t.Fatalf("got %v", item)
	}
	_ = far.Close()
	<-items
}

// halving holds back what is written once it collects.
type halving struct {
	net.Conn
	collect bool
	held    []byte
}

func (h *halving) Write(p []byte) (int, error) {
	if !h.collect {
		return h.Conn.Write(p)
	}
	h.held = append(h.held, p...)
	return len(p), nil
}

func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"example.org"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestSendNeverWaitsAndProgressSaysWhatTheKernelHas(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s, _, far := pair(t)
		var c io.Reader = far
		if secure {
			client := tls.Client(far, &tls.Config{InsecureSkipVerify: true})
			shaken := make(chan error, 1)
			go func() { shaken <- client.Handshake() }()
			if err := s.Handshake(context.Background(), tls.Server(s.Transport,
				&tls.Config{Certificates: []tls.Certificate{certificate(t)}})); err != nil {
				t.Fatal(err)
			}
			if err := <-shaken; err != nil {
				t.Fatal(err)
			}
			c = client
		}
		s.Transport.Queue()
		const all = 16 << 20 // more than the kernel takes
		if err := s.Send(make([]byte, all)); err != nil {
			t.Fatal(err)
		}
		taken, left := s.Progress()
		if !left || taken >= all {
			t.Fatalf("TLS %v: the kernel has taken %d bytes at once", secure, taken)
		}
		read := make(chan int64)
		go func() {
			n, err := io.CopyN(io.Discard, c, all)
			if err != nil {
				t.Error(err)
			}
			read <- n
		}()
		for left {
			if err := s.Transport.Drain(10 * time.Second); err != nil {
				t.Fatal(err)
			}
			before := taken
			if taken, left = s.Progress(); taken < before {
				t.Fatalf("TLS %v: %d bytes taken after %d", secure, taken, before)
			}
		}
		if n := <-read; taken != all || n != all {
			t.Errorf("TLS %v: %d bytes taken, %d read", secure, taken, n)
		}
	}
}

// timed is a connection that knows how long its writes may take.
type timed struct {
	*net.TCPConn
	until time.Time
}

func (c *timed) SetWriteDeadline(t time.Time) error {
	c.until = t
	return c.TCPConn.SetWriteDeadline(t)
}

func TestADrainedStreamIsWrittenToHoweverMuchLater(t *testing.T) {
	s, o, far := pair(t)
	c := &timed{TCPConn: s.Transport.conn.(*net.TCPConn)}
	s.Init(c, Bytes{}, o)
	s.Transport.Queue()
	const all = 16 << 20 // more than the kernel takes
	if err := s.Send(make([]byte, all)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		if _, err := io.CopyN(io.Discard, far, all); err != nil {
			t.Error(err)
		}
	})
	drains := 0
	for _, left := s.Progress(); left; _, left = s.Progress() {
		if err := s.Transport.Drain(10 * time.Second); err != nil {
			t.Fatal(err)
		}
		drains++
	}
	if drains == 0 || !c.until.IsZero() {
		t.Errorf("after %d drains a write fails from %v on", drains, c.until)
	}
}

func TestLastWordsArriveThoughInputIsUnread(t *testing.T) {
	s, _, far := pair(t)
	say(t, far, strings.Repeat("x", 100_000))
	h := stream.Header{Content: xmpp.NSClient, ID: "1", Version: "1.0"}
	go func() {
		s.Part(&Farewell{Condition: stream.Conflict, Text: "words", Extra: "<e xmlns='u'/>"}, s.Framing.AppendHeader(nil, h))
		s.Release()
	}()
	got, err := io.ReadAll(far)
	want := string(stream.AppendHeader(nil, h)) + "<stream:error><conflict xmlns='" + xmpp.NSStreamErrors + "'/><text xmlns='" +
		xmpp.NSStreamErrors + "' xml:lang='en'>words</text><e xmlns='u'/></stream:error></stream:stream>"
	if err != nil || string(got) != want {
		t.Errorf("got %q and %v, want %q", got, err, want)
	}
}

func TestNothingIsSaidInClearInTheMidstOfAHandshake(t *testing.T) {
	s, _, far := pair(t)
	s.Transport.Interrupt()
	err := s.Handshake(context.Background(), tls.Server(s.Transport,
		&tls.Config{Certificates: []tls.Certificate{certificate(t)}}))
	if err == nil {
		t.Fatal("a handshake without the other side")
	}
	s.Part(Fault(stream.SystemShutdown, ""), s.Framing.AppendHeader(nil, stream.Header{Content: xmpp.NSClient}))
	s.Release()
	_ = s.Transport.Close() // it may be closed already
	if got, err := io.ReadAll(far); len(got) > 0 || err != nil {
		t.Errorf("it said %q, %v", got, err)
	}
}

func TestAFarewellSaysHowTheStreamEnded(t *testing.T) {
	for want, f := range map[string]*Farewell{
		"closed":         {},
		"reset":          Fault(stream.Reset, ""),
		"reset: why":     Fault(stream.Reset, "why"),
		"unexpected EOF": {Cause: io.ErrUnexpectedEOF},
	} {
		if f.Error() != want || f.Polite() != (want == "closed") {
			t.Errorf("%+v says %q", f, f.Error())
		}
	}
}

func service() (s *Service[int], limits *config.Limits) {
	limits = &config.Limits{ConnectRate: 100, ConnectBurst: 100, ConnectionsPerAddress: 1, UnauthenticatedPerAddress: 1}
	s = &Service[int]{Who: "client", Framing: Bytes{}, Header: stream.Header{Content: xmpp.NSClient, Version: "1.0"},
		Limits:   func() *config.Limits { return limits },
		Accepted: new(atomic.Int64), Refused: new(atomic.Int64), Panics: new(atomic.Int64)}
	s.Open()
	return s, limits
}

func TestAServiceEndsWithItsListenersAndItsStreams(t *testing.T) {
	s, _ := service()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	entered, cut := make(chan struct{}), make(chan struct{})
	go func() {
		served <- s.Serve(l, func(c net.Conn) {
			s.Admit(c, false, func(netip.Addr, *gate.Pass) bool {
				if !s.Enter(1) {
					return false
				}
				close(entered)
				go func() {
					defer s.Workers.Done()
					<-cut
					_ = c.Close()
					s.Leave(1)
				}()
				return true
			})
		})
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	<-entered
	s.Close()
	if err := <-served; err != nil {
		t.Errorf("Serve ended with %v", err)
	}
	if s.Enter(2) || !s.Closed() {
		t.Error("a stream has entered a service that is closed")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Wait(ctx, func(int) { close(cut) }); err != context.Canceled || len(s.All()) != 0 {
		t.Errorf("Wait ended with %v and %v", err, s.All())
	}
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err != nil || s.Serve(l, nil) != nil {
		t.Error("a service that is closed serves")
	}
}

// distant is a connection from an address that has limits.
type distant struct{ net.Conn }

func (distant) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 1} }

func TestWhoeverIsTurnedAwayHearsWhyUnlessTLSComesFirst(t *testing.T) {
	s, _ := service()
	why := ""
	s.OnRefused = func(_ netip.Addr, w string) { why = w }
	begun := 0
	arrive := func(direct bool) string {
		near, far := net.Pipe()
		said := make(chan string)
		go func() {
			b, _ := io.ReadAll(far)
			said <- string(b)
		}()
		s.Admit(distant{near}, direct, func(netip.Addr, *gate.Pass) bool {
			begun++
			_ = near.Close()
			return true
		})
		return <-said
	}
	if got := arrive(false); got != "" || begun != 1 {
		t.Fatalf("the first one heard %q", got)
	}
	if got := arrive(false); !strings.Contains(got, "<policy-violation") || !strings.HasSuffix(got, "</stream:stream>") || why == "" {
		t.Errorf("the second one heard %q, because of %q", got, why)
	}
	if got := arrive(true); got != "" {
		t.Errorf("one with direct TLS heard %q", got)
	}
	if begun != 1 || s.Accepted.Load() != 3 || s.Refused.Load() != 2 {
		t.Errorf("%d served, %d accepted, %d refused", begun, s.Accepted.Load(), s.Refused.Load())
	}
}

func TestAPanicEndsOneStreamOnly(t *testing.T) {
	s, _ := service()
	var log strings.Builder
	s.Log = slog.New(slog.NewTextHandler(&log, nil))
	err := func() (err error) {
		defer s.Recover(&err)
		panic("a fault")
	}()
	if f, ok := errors.AsType[*Farewell](err); !ok || f.Condition != stream.InternalServerError || s.Panics.Load() != 1 {
		t.Errorf("ended with %v", err)
	}
	if !strings.Contains(log.String(), "a client made the server panic") || !strings.Contains(log.String(), "a fault") {
		t.Errorf("the log says %s", log.String())
	}
}
