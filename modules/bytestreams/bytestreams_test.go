package bytestreams

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"jackdaw/config"
	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/router/gate"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A wharf is a proxy that listens.
type wharf struct {
	*Service
	t      *testing.T
	r      *router.Router
	l      net.Listener
	dial   func() (net.Conn, error)
	set    config.Bytestreams
	limits config.Limits
	may    bool
	broken error
	romeo  *moduletest.Client
}

func newWharf(t *testing.T, change func(*wharf)) *wharf {
	t.Helper()
	d := config.Default()
	w := &wharf{t: t, r: moduletest.New("romeo", "juliet"), set: d.Modules.Bytestreams, limits: d.Limits, may: true}
	w.dial = func() (net.Conn, error) { return net.Dial("tcp", w.l.Addr().String()) }
	if change != nil {
		change(w)
	}
	w.Service = New(Options{Router: w.r, Gate: new(gate.Keeper), Log: moduletest.Discard(),
		Places:   func() []Place { return []Place{{"proxy.example.org", "192.0.2.1", 7777}} },
		May:      func(jid.JID) (bool, error) { return w.may, w.broken },
		Settings: func() *config.Bytestreams { return &w.set }, Limits: func() *config.Limits { return &w.limits }})
	w.r.Use(w.Module())
	if w.l == nil {
		var err error
		if w.l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- w.Serve(w.l) }()
	t.Cleanup(func() {
		w.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	w.romeo = moduletest.Login(t, w.r, "romeo/orchard")
	return w
}

// connect asks for an address; the answer says whether it was given.
func (w *wharf) connect(dst string) (c net.Conn, ok bool) {
	w.t.Helper()
	c, err := w.dial()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	c.Write([]byte{5, 2, 2, 0})
	b := make([]byte, 10)
	if _, err := io.ReadFull(c, b[:2]); err != nil || !bytes.Equal(b[:2], []byte{5, 0}) {
		w.t.Fatalf("%x, %v", b[:2], err)
	}
	c.Write(append(append([]byte{5, 1, 0, 3, 40}, dst...), 0, 0))
	if _, err := io.ReadFull(c, b[:2]); err != nil {
		w.t.Fatal(err)
	}
	if b[1] != 0 {
		return c, false
	}
	rest := make([]byte, 3+40+2)
	if _, err := io.ReadFull(c, rest); err != nil || string(rest[3:43]) != dst {
		w.t.Fatalf("%q, %v", rest, err)
	}
	return c, true
}

const target = "juliet@example.com/balcony"

// address is that of a stream of Romeo.
func (w *wharf) address(sid string) string {
	return Address(sid, w.romeo.Addr(), jid.MustParse(target))
}

func activate(sid string) string {
	return `<iq type='set' id='a' to='proxy.example.org'><query xmlns='http://jabber.org/protocol/bytestreams' sid='` + sid +
		`'><activate>` + target + `</activate></query></iq>`
}

// stream is an activated one.
func (w *wharf) stream(sid string) (one, other net.Conn) {
	w.t.Helper()
	one, _ = w.connect(w.address(sid))
	other, _ = w.connect(w.address(sid))
	w.romeo.Send(activate(sid))
	w.romeo.Want(`<iq type='result' id='a' from='proxy.example.org' to='romeo@example.org/orchard'/>`)
	return one, other
}

func TestAFileGoesThrough(t *testing.T) {
	w := newWharf(t, nil)
	w.romeo.Send(`<iq type='get' id='1' to='proxy.example.org'><query xmlns='http://jabber.org/protocol/bytestreams'/></iq>`)
	w.romeo.Want(`<iq type='result' id='1' from='proxy.example.org' to='romeo@example.org/orchard'>` +
		`<query xmlns='http://jabber.org/protocol/bytestreams'>` +
		`<streamhost jid='proxy.example.org' host='192.0.2.1' port='7777'/></query></iq>`)
	one, other := w.stream("s1")
	file := bytes.Repeat([]byte("Wherefore? "), 50000)
	go func() {
		one.Write(file)
		one.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(other)
	if err != nil || !bytes.Equal(got, file) {
		t.Errorf("%d bytes of %d came, %v", len(got), len(file), err)
	}
	io.WriteString(other, "thanks")
	other.Close()
	if b, err := io.ReadAll(one); err != nil || string(b) != "thanks" {
		t.Errorf("the other way came %q, %v", b, err)
	}
}

func TestTheProxySaysWhatItIs(t *testing.T) {
	w := newWharf(t, nil)
	w.romeo.Send(`<iq type='get' id='1' to='proxy.example.org'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`)
	if got := strings.Join(w.romeo.Received(), ""); !strings.Contains(got, "category='proxy'") ||
		!strings.Contains(got, "type='bytestreams'") || !strings.Contains(got, nsBytestreams) {
		t.Errorf("it says %s", got)
	}
}

func TestStreamsOfOthersAreNotActivated(t *testing.T) {
	w := newWharf(t, nil)
	refused := func(what, xml string, want xmpp.Condition) {
		t.Helper()
		if e := w.romeo.Send(xml); e.Err == nil || e.Err.Condition != want {
			t.Errorf("%s: %v, want %s", what, e.Err, want)
		}
	}
	refused("nobody is there", activate("s1"), "item-not-found")
	w.connect(w.address("s1"))
	refused("one is there", activate("s1"), "not-allowed")
	w.connect(w.address("s1"))
	if _, ok := w.connect(w.address("s1")); ok {
		t.Error("a third is let in")
	}
	juliet := moduletest.Login(t, w.r, "juliet/balcony")
	if e := juliet.Send(activate("s1")); e.Err == nil || e.Err.Condition != "item-not-found" {
		t.Errorf("she activates his stream: %v", e.Err)
	}
	refused("no sid", activate(""), "bad-request")
	w.may = false
	refused("one who may not", activate("s1"), "forbidden")
	w.may, w.broken = true, errors.New("storage is away")
	refused("one who may, perhaps", activate("s1"), "resource-constraint")
	w.broken = nil
	e := &router.Envelope{Batch: new(router.Batch), Stanza: moduletest.Parse(t, `<iq type='get' id='1' from='a@example.com/x' `+
		`to='proxy.example.org'><query xmlns='http://jabber.org/protocol/bytestreams'/></iq>`)}
	if w.r.Route(e); e.Err == nil || e.Err.Condition != "forbidden" {
		t.Errorf("a stranger: %v", e.Err)
	}
	w.romeo.Received()
	for i := range perAccount {
		w.stream("t" + string(rune('a'+i)))
	}
	refused("more than an account has", activate("s1"), "resource-constraint")
	w.EndOf(w.romeo.Bare())
}

func TestStreamsAreBounded(t *testing.T) {
	w := newWharf(t, func(w *wharf) { w.set.MaxBytes = 1000 })
	one, other := w.stream("s1")
	go one.Write(make([]byte, 5000))
	if b, _ := io.ReadAll(other); len(b) != 1000 {
		t.Errorf("%d bytes came", len(b))
	}

	// The rate is what is had at once, and then so much a second.
	w = newWharf(t, func(w *wharf) { w.set.Rate = 1 << 20 })
	one, other = w.stream("s2")
	go func() {
		one.Write(make([]byte, 3<<19))
		one.Close()
	}()
	begun := time.Now()
	if b, err := io.ReadAll(other); len(b) != 3<<19 || time.Since(begun) < 300*time.Millisecond {
		t.Errorf("%d bytes came after %s, %v", len(b), time.Since(begun), err)
	}
}

func TestWhoIsNotJoinedHasLittleTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWharf(t, func(w *wharf) {
			phone := moduletest.NewPhone()
			w.l, w.dial = phone, func() (net.Conn, error) { return phone.Dial(), nil }
			w.limits.AuthTime = 10 * time.Second
		})
		begun := time.Now()
		silent, _ := w.dial()
		defer silent.Close()
		<-time.After(time.Second)
		waiting, _ := w.connect(w.address("s1"))
		for i, c := range []net.Conn{silent, waiting} {
			n, err := c.Read(make([]byte, 1))
			if took, want := time.Since(begun), time.Duration(10+i)*time.Second; n != 0 || err != io.EOF || took != want {
				t.Errorf("%d bytes, %v, after %s", n, err, took)
			}
		}
		if e := w.romeo.Send(activate("s1")); e.Err == nil || e.Err.Condition != "item-not-found" {
			t.Errorf("it waits still: %v", e.Err)
		}
	})
}

func FuzzRequestsOfStrangers(f *testing.F) {
	f.Add(append(append([]byte{5, 1, 0, 5, 1, 0, 3, 40}, strings.Repeat("a", 40)...), 0, 0))
	f.Add([]byte{5, 0})
	f.Add([]byte{4, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var out bytes.Buffer
		dst, err := request(struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(b), &out})
		if err == nil && (len(dst) != 40 || strings.Trim(dst, "0123456789abcdef") != "") || out.Len() > 2 {
			t.Errorf("%q, answered by %x", dst, out.Bytes())
		}
	})
}
