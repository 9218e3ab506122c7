package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"jackdaw/config"
	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

// framed is a frame of a client (RFC 6455 §5.2), masked.
func framed(first byte, payload string) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n <= 125:
		b = append(b, maskBit|byte(n))
	case n <= 0xFFFF:
		b = binary.BigEndian.AppendUint16(append(b, maskBit|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, maskBit|127), uint64(n))
	}
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b = append(b, key[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i&3])
	}
	return b
}

const (
	text = finBit | opText
	open = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.org' version='1.0' xml:lang='de'/>"
)

// socketPair is a stream over WebSocket, whose handshake is over, and its other end.
func socketPair(t testing.TB) (*Stream, *pacer, net.Conn) {
	t.Helper()
	s, o, far := pair(t)
	near := s.Transport
	*s = Stream{}
	s.Begin(Entry{Transport: near, Framing: new(WebSocket)}, o)
	s.Strict(xmpp.NSClient, 10000, &config.Default().Limits)
	s.Most = 0
	return s, o, far
}

func TestMessagesComeOutHoweverTheyAreCut(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	long := "<message xmlns='jabber:client' id='long'><body>" + strings.Repeat("x", 9000) + "</body></message>"
	for range 50 {
		s, _, far := socketPair(t)
		var all []byte
		for _, doc := range []string{open, "<message xmlns='jabber:client' id='a'/>", "", " \n", long, "<r xmlns='urn:xmpp:sm:3'/>",
			"<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"} {
			op := byte(opText)
			for {
				n := min(len(doc), random.IntN(10)*random.IntN(100))
				for random.IntN(3) == 0 {
					all = append(all, framed(finBit|opPing, strings.Repeat("p", random.IntN(126)))...)
				}
				if last := n == len(doc); last {
					all = append(all, framed(finBit|op, doc)...)
					break
				}
				all = append(all, framed(op, doc[:n])...)
				doc, op = doc[n:], opContinuation
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for rest := all; len(rest) > 0; {
				n := min(len(rest), 1+random.IntN(2000))
				if _, err := far.Write(rest[:n]); err != nil {
					t.Error(err)
				}
				rest = rest[n:]
			}
		})
		s.want(t, stream.ItemHeader)
		if h := s.Scanner.Header(); h.To.String() != "example.org" || h.Version != "1.0" || h.Lang != "de" ||
			h.Content != xmpp.NSClient || h.BadTo || h.BadFrom {
			t.Errorf("header %+v", h)
		}
		for _, id := range []string{"a", "long"} {
			if s.want(t, stream.ItemStanza); s.Scanner.Stanza().ID != id {
				t.Errorf("got the stanza %q, want %q", s.Scanner.Stanza().ID, id)
			}
		}
		s.want(t, stream.ItemElement)
		s.want(t, stream.ItemEnd)
		wg.Wait()
		if s.Total != len(all) || !s.Empty() {
			t.Errorf("%d bytes read of %d, empty %v", s.Total, len(all), s.Empty())
		}
		s.Release()
		far.Close()
	}
}

func TestWebSocketsThatBreakTheProtocolEnd(t *testing.T) {
	huge := framed(text, "")
	huge = append(append([]byte{huge[0], maskBit | 127}, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), huge[2:]...)
	unmasked := []byte{text, 2, 'h', 'i'}
	for name, c := range map[string]struct {
		in   []byte
		want stream.Condition
		code int
	}{
		"not masked":                  {unmasked, stream.BadFormat, 1002},
		"a reserved bit":              {framed(text|0x40, "<a/>"), stream.BadFormat, 1002},
		"binary":                      {framed(finBit|2, "<a/>"), stream.BadFormat, 1003},
		"an unknown opcode":           {framed(finBit|3, "<a/>"), stream.BadFormat, 1003},
		"an unknown control frame":    {framed(finBit|0xB, ""), stream.BadFormat, 1003},
		"a ping in parts":             {framed(opPing, ""), stream.BadFormat, 1002},
		"a long ping":                 {framed(finBit|opPing, strings.Repeat("x", 126)), stream.BadFormat, 1002},
		"half a status code":          {framed(finBit|opClose, "x"), stream.BadFormat, 1002},
		"a status code that is none":  {framed(finBit|opClose, "\x03\xe7"), stream.BadFormat, 1002},
		"one that says no frame came": {framed(finBit|opClose, "\x03\xee"), stream.BadFormat, 1002},
		"one of nobody's":             {framed(finBit|opClose, "\x07\xd0"), stream.BadFormat, 1002},
		"white space between frames":  {append([]byte(" \r\n"), framed(text, open)...), stream.BadFormat, 1002},
		"a continuation of nothing":   {framed(finBit|opContinuation, "<a/>"), stream.BadFormat, 1002},
		"a message in another":        {append(framed(opText, "<a>"), framed(text, "<b/>")...), stream.BadFormat, 1002},
		"a message that is too large": {framed(opText, strings.Repeat(" ", 10001)), stream.PolicyViolation, 1009},
		"one that says it is":         {huge, stream.PolicyViolation, 1009},
		"one of many frames": {append(framed(opText, strings.Repeat(" ", 6000)), framed(opContinuation, strings.Repeat(" ", 6000))...),
			stream.PolicyViolation, 1009},
		"two elements":  {framed(text, "<a xmlns='b'/><a xmlns='b'/>"), stream.NotWellFormed, 1000},
		"no XML":        {framed(text, "hello"), stream.NotWellFormed, 1000},
		"bytes of Rome": {framed(text, "<a>\xe4</a>"), stream.NotWellFormed, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, far := socketPair(t)
			if _, err := far.Write(c.in); err != nil {
				t.Fatal(err)
			}
			_, err := s.Next()
			f, ok := errors.AsType[*Farewell](err)
			if !ok || f.Condition != c.want && c.want != stream.NotWellFormed {
				t.Fatalf("got %v, want %s", err, c.want)
			}
			if err := s.LastWords(s.Framing.AppendEnd(nil, f)); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(far)
			if err != nil && len(got) == 0 {
				t.Fatal(err)
			}
			said := read(t, got)
			if len(said) != 3 || !strings.HasPrefix(said[0], "<stream:error xmlns:stream='"+xmpp.NSStream+"'><"+string(f.Condition)+" ") ||
				said[1] != "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>" || said[2] != fmt.Sprintf("closed %d", c.code) {
				t.Errorf("said %q", said)
			}
		})
	}
}

// read reads what a server sends as its messages, and the closing frame as "closed CODE".
func read(t interface{ Fatalf(string, ...any) }, b []byte) (messages []string) {
	doc, underway := "", false
	for len(b) > 0 {
		if len(b) < 2 {
			t.Fatalf("half a header: %x", b)
		}
		n, size := int(b[1]), 2
		switch n {
		case 126:
			n, size = int(binary.BigEndian.Uint16(b[2:])), 4
		case 127:
			n, size = int(binary.BigEndian.Uint64(b[2:])), 10
		}
		payload := string(b[size : size+n])
		switch first := b[0]; first &^ finBit {
		case opClose:
			messages = append(messages, fmt.Sprintf("closed %d", binary.BigEndian.Uint16([]byte(payload))))
		case opPong:
			messages = append(messages, "pong "+payload)
		case opText, opContinuation:
			if underway != (first&^finBit == opContinuation) {
				t.Fatalf("frames of two messages are mixed")
			}
			doc += payload
			if underway = first&finBit == 0; !underway {
				messages, doc = append(messages, doc), ""
			}
		default:
			t.Fatalf("opcode %x", first)
		}
		b = b[size+n:]
	}
	return messages
}

// What leaves may be cut anywhere, as a queue is. Each element is a message, and a stanza says whose it is.
func TestEachElementLeavesAsAMessage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := new(WebSocket)
		var all []byte
		var want []string
		for range rapid.IntRange(1, 8).Draw(t, "elements") {
			name := rapid.SampledFrom([]string{"message", "presence", "iq", "r", "messages", "m", "presences", "stream:features"}).Draw(t, "name")
			attrs := rapid.SampledFrom([]string{"", " id='1'", ` a="/>'<" b='">'`, " xml:lang='en'"}).Draw(t, "attributes")
			inner := rapid.SampledFrom([]string{"", "<body>a &gt; b</body>", "<a><iq/><b c='>'/></a>", "<message x='/'><r/></message>",
				"text / more", "<x " + strings.Repeat("y", 300) + "=''/>", strings.Repeat("long ", 20000)}).Draw(t, "content")
			qualified := ""
			if name == "message" || name == "presence" || name == "iq" {
				qualified = " xmlns='jabber:client'"
			}
			tail := "/>"
			if inner != "" || rapid.Bool().Draw(t, "open") {
				tail = ">" + inner + "</" + name + ">"
			}
			all = append(all, "<"+name+attrs+tail...)
			want = append(want, "<"+name+qualified+attrs+tail)
		}
		var out []byte
		for rest := all; len(rest) > 0; {
			n := min(len(rest), rapid.IntRange(1, 40).Draw(t, "piece"))
			if rapid.Bool().Draw(t, "large") {
				n = min(len(rest), 30000)
			}
			if rapid.Bool().Draw(t, "ping") {
				w.owe(opPong, []byte("x"))
			}
			out, _ = w.wrap(out, rest[:n])
			rest = rest[n:]
		}
		var got []string
		for _, m := range read(t, out) {
			if m != "pong x" {
				got = append(got, m)
			}
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("got  %.300q\nwant %.300q", got, want)
		}
	})
}

func TestPingsAreAnsweredAndTheLastCounts(t *testing.T) {
	s, _, far := socketPair(t)
	in := append(append(framed(finBit|opPing, "one"), framed(finBit|opPing, "two")...), framed(text, open)...)
	if _, err := far.Write(in); err != nil {
		t.Fatal(err)
	}
	s.want(t, stream.ItemHeader)
	if !s.Owes() {
		t.Fatal("nothing is owed")
	}
	if _, err := s.Write(nil); err != nil || s.Owes() {
		t.Errorf("%v, still owed %v", err, s.Owes())
	}
	pong := make([]byte, 5)
	if _, err := io.ReadFull(far, pong); err != nil || !bytes.Equal(pong, append([]byte{finBit | opPong, 3}, "two"...)) {
		t.Errorf("got %x, %v", pong, err)
	}
}

// The other side says that it closes, or does so without a word: the session may be resumed.
func TestAClosedWebSocketIsABrokenConnection(t *testing.T) {
	s, _, far := socketPair(t)
	if _, err := far.Write(append(framed(text, open), framed(finBit|opClose, "\x03\xe9bye")...)); err != nil {
		t.Fatal(err)
	}
	s.want(t, stream.ItemHeader)
	if item, err := s.Next(); err != io.EOF {
		t.Fatalf("got %v, %v", item, err)
	}
	if _, err := s.Write(nil); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 4)
	if _, err := io.ReadFull(far, answer); err != nil || !bytes.Equal(answer, []byte{finBit | opClose, 2, 3, 0xe9}) {
		t.Errorf("answered %x, %v", answer, err)
	}
}

// A browser that has closed gives the page nothing more. What is sent then must not count as having arrived, but for
// the rest of a message that is underway.
func TestNothingIsSentToAClosedWebSocket(t *testing.T) {
	for name, queues := range map[string]bool{"before the login": false, "in a session": true} {
		t.Run(name, func(t *testing.T) {
			s, _, far := socketPair(t)
			send := func(p string) error {
				_, err := s.Write([]byte(p))
				return err
			}
			if queues {
				s.Transport.Queue()
				send = func(p string) error { return s.Send([]byte(p)) }
			}
			if err := send("<message id='1'><body>"); err != nil {
				t.Fatal(err)
			}
			if _, err := far.Write(framed(finBit|opClose, "")); err != nil {
				t.Fatal(err)
			}
			if item, err := s.Next(); err != io.EOF {
				t.Fatalf("got %v, %v", item, err)
			}
			if err := send("</body></message><message id='2'/>"); !errors.Is(err, net.ErrClosed) {
				t.Errorf("sent: %v", err)
			}
			if taken, _ := s.Progress(); queues && taken != int64(len("<message id='1'><body>")) {
				t.Errorf("%d bytes are said to have been taken", taken)
			}
			s.Transport.Close()
			b, err := io.ReadAll(far)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.HasSuffix(b, []byte{finBit | opClose, 0}) || !bytes.Contains(b, []byte("</body></message>")) ||
				bytes.Contains(b, []byte("id='2'")) {
				t.Errorf("got %q", b)
			}
		})
	}
}

// After the login a stream begins anew, and white space may stand before it in other framings (go-sendxmpp).
func TestFramesAreNoWhiteSpace(t *testing.T) {
	s, _, far := socketPair(t)
	long := framed(text, open+strings.Repeat(" ", 0x0a0a-len(open)))
	if _, err := far.Write(long); err != nil {
		t.Fatal(err)
	}
	for s.end < len(long) {
		if err := s.More(); err != nil {
			t.Fatal(err)
		}
	}
	for _, first := range []byte{' ', '\t', '\n', '\r'} {
		was := s.store[s.pos]
		s.store[s.pos] = first
		if !s.SkipSpace() || len(s.Unread()) != len(long) {
			t.Errorf("%d bytes are left", len(s.Unread()))
		}
		s.store[s.pos] = was
	}
	s.want(t, stream.ItemHeader)
}

// What is half read stays in place while the reader waits, however it was cut, and nothing else.
func TestAWebSocketThatWaitsHoldsNoMoreThanWhatIsHalfRead(t *testing.T) {
	s, _, far := socketPair(t)
	s.Shallow = true
	in := append(framed(text, open), framed(opText, "<message xmlns='jabber:client'>")...)
	in = append(in, framed(opContinuation, "<body>hello</body></message>")[:20]...)
	if _, err := far.Write(in); err != nil {
		t.Fatal(err)
	}
	if err := s.Transport.Await(); err != nil {
		t.Fatal(err)
	}
	s.want(t, stream.ItemHeader)
	if _, err := s.Next(); err != ErrAgain {
		t.Fatal(err)
	}
	if s.pooled != nil || len(s.store) > 512 {
		t.Errorf("%d bytes are held", len(s.store))
	}
	if _, err := far.Write(framed(finBit|opContinuation, "<body>hello</body></message>")[20:]); err != nil {
		t.Fatal(err)
	}
	if err := s.Transport.Await(); err != nil {
		t.Fatal(err)
	}
	// The frame above was not the last.
	if _, err := s.Next(); err != ErrAgain {
		t.Fatal(err)
	}
	if _, err := far.Write(framed(finBit|opContinuation, "")); err != nil {
		t.Fatal(err)
	}
	if err := s.Transport.Await(); err != nil {
		t.Fatal(err)
	}
	if s.want(t, stream.ItemStanza); string(s.Scanner.Stanza().Payload) != "<body>hello</body>" {
		t.Errorf("got %s", s.Scanner.Stanza().Payload)
	}
	s.Release()
}

// FuzzWebSocket compares what a stream makes of bytes, cut in two ways, with each other.
func FuzzWebSocket(f *testing.F) {
	f.Add(framed(text, open), uint16(3))
	f.Add(append(framed(opText, "<message xmlns='jabber:client'>"), framed(finBit|opContinuation, "</message>")...), uint16(7))
	f.Add(append(framed(finBit|opPing, "x"), framed(finBit|opClose, "")...), uint16(1))
	f.Add([]byte{text, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4}, uint16(5))
	f.Fuzz(func(t *testing.T, in []byte, cut uint16) {
		whole, cuts := items(in, len(in)+1), items(in, 1+int(cut)%64)
		if whole != cuts {
			t.Errorf("at once %s\nin parts %s", whole, cuts)
		}
	})
}

// items says what comes out of bytes that come in pieces of n.
func items(in []byte, n int) string {
	s, w := &Stream{}, new(WebSocket)
	s.Framing, s.socket = w, w
	s.Strict(xmpp.NSClient, 10000, &config.Default().Limits)
	var out strings.Builder
	for {
		if s.pos < s.end {
			switch item, err := s.scan(); {
			case err != nil:
				fmt.Fprintf(&out, "%v", Broken(err).Condition)
				return out.String()
			case item != stream.ItemNone:
				fmt.Fprintf(&out, "%d,", item)
				if item == stream.ItemStanza {
					out.Write(s.Scanner.Stanza().Append(nil))
				}
				continue
			}
		}
		if len(in) == 0 || w.closed() {
			return out.String()
		}
		p := in[:min(n, len(in))]
		in = in[len(p):]
		s.store = append(s.store[:s.end:s.end], p...)
		s.end += len(p)
	}
}
