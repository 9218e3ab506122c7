package s2s

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/router"
	"jackdaw/router/budget"
	"jackdaw/router/gate"
	"jackdaw/s2s/outbox"
	"jackdaw/xmpp"
	"jackdaw/xmpp/sasl"
	"jackdaw/xmpp/stream"
)

const (
	// farewellTime is how long our last words may take, lingerTime how long the peer has to close its side then.
	farewellTime = time.Second
	lingerTime   = 2 * time.Second

	// maxPairs is how many pairs one stream may carry in a direction.
	maxPairs = 100
	// maxControl is how much may wait that is not a stanza; who reads less than that is gone.
	maxControl = 64 << 10
	// maxRecord is the most that one TLS record carries (RFC 8446 §5.1).
	maxRecord = 16 << 10
)

// A proof says how a domain was authenticated.
type proof uint8

// The proofs.
const (
	byExternal    proof = iota + 1 // SASL EXTERNAL (XEP-0178)
	byCertificate                  // the certificate, where the peer asked for dialback (XEP-0220 §1.2)
	byDialback                     // the domain's own server confirmed the key
)

// String is the word used in listings and logs.
func (p proof) String() string {
	return [...]string{"", "external", "certificate", "dialback"}[p]
}

// A link is one stream to or from a peer.
type link struct {
	srv      *Server
	pass     *gate.Pass // nil for outgoing ones
	conn     net.Conn
	tls      *tls.Conn // nil without TLS
	rw       net.Conn  // conn or tls
	outgoing bool
	direct   bool // TLS from the first byte
	bare     bool // opened without showing our certificate
	shown    bool // our certificate was shown to who we called
	since    time.Time

	// The reader's; while an outgoing link is negotiated, that of who opens it.
	scan      stream.Scanner
	input     input
	batch     router.Batch
	env       router.Envelope
	offered   offered        // outgoing: by the peer
	login     sasl.Server    // incoming: the attempt that goes on, if any
	external  bool           // incoming: EXTERNAL is offered
	certainty error          // what is wrong with the peer's certificate for the domain of the header; nil: nothing
	last      outbox.Pair    // of the last stanza, which was fit
	purse     *budget.Budget // of the domain of the last stanza
	payer     string         // that domain; "" as long as purse is nobody's
	failures  int            // of SASL

	known atomic.Bool // authenticated
	dying atomic.Bool // no more than last words is written
	done  chan struct{}
	ctx   context.Context // ends when the stream is over
	over  context.CancelFunc

	heard, spoke          atomic.Int64 // when bytes came and went last, Unix seconds
	stanzasIn, stanzasOut atomic.Int64
	bytesOut              atomic.Int64 // before TLS

	wmu  sync.Mutex // held while the socket is written to; before mu
	wbuf []byte     // of who holds wmu
	torn bool       // likewise: nothing more can be said, since half a stanza or of a handshake may be out

	mu       sync.Mutex // guards the rest; before Server.mu
	began    bool       // our header for the present stream is out
	version  string     // of TLS
	cipher   string     // likewise
	flaw     string     // certainty, for anybody to read
	id       string     // of the stream: the response header's
	local    string     // of the headers
	remote   string     // likewise; "" as long as an incoming peer has not said
	bidi     bool       // XEP-0288
	errors   bool       // the peer knows dialback errors (XEP-0220 §2.4.2)
	limit    int        // bytes of a stanza, as the peer has announced (XEP-0478); 0: not at all
	ended    bool
	cause    error  // why
	broken   bool   // it ended without a word, and may be resumed
	flushing bool   // a goroutine is about to write control
	control  []byte // waits to be written between stanzas
	proved   map[outbox.Pair]proof
	granted  map[outbox.Pair]proof // what we may send
	carriers map[*carrier]struct{}
	claims   map[outbox.Pair]bool          // of the peer, that are being verified
	results  map[outbox.Pair]chan answer   // that we wait for
	verifies map[verification]chan verdict // likewise
	in       *inflow                       // stream management, what comes; nil: off
	out      outflow
}

func newLink(s *Server, c net.Conn, outgoing bool) *link {
	l := &link{srv: s, conn: c, rw: c, outgoing: outgoing, since: time.Now(), done: make(chan struct{}),
		proved: map[outbox.Pair]proof{}, granted: map[outbox.Pair]proof{}, carriers: map[*carrier]struct{}{},
		claims: map[outbox.Pair]bool{}, results: map[outbox.Pair]chan answer{}, verifies: map[verification]chan verdict{}}
	l.ctx, l.over = context.WithCancel(context.Background())
	if tc, ok := c.(*net.TCPConn); ok {
		// A host that is gone is found out though nothing is to be said to it.
		_ = tc.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 30 * time.Second, Count: 4})
	}
	return l
}

// newID returns 128 random bits in 22 characters.
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never returns an error
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// A farewell is how we end a stream: by a stream error, or politely where the condition is empty.
type farewell struct {
	condition stream.Condition
	text      string
	extra     string // an application-specific condition, as XML
}

func (f *farewell) Error() string {
	if f.condition == "" {
		return "closed"
	}
	return string(f.condition) + ": " + f.text
}

func fault(c stream.Condition, text string) *farewell { return &farewell{condition: c, text: text} }

func (f *farewell) append(dst []byte) []byte {
	if f.condition != "" {
		dst = stream.AppendError(dst, f.condition, f.text)
		if f.extra != "" { // RFC 6120 §4.9.4: the last child
			const end = "</stream:error>"
			dst = append(append(dst[:len(dst)-len(end)], f.extra...), end...)
		}
	}
	return append(dst, stream.Close...)
}

// A remoteError is the stream error that a peer sent.
type remoteError struct {
	condition string
	text      string
}

func (e *remoteError) Error() string { return "the peer's stream error " + e.condition + ": " + e.text }

// blames says whether it was what we sent that made the peer end the stream, and not what it thinks of us or its own state.
func (e *remoteError) blames() bool {
	switch stream.Condition(e.condition) {
	case stream.PolicyViolation, stream.BadFormat, stream.BadNamespacePrefix, stream.ImproperAddressing, stream.InvalidNamespace,
		stream.InvalidXML, stream.NotWellFormed, stream.RestrictedXML, stream.UnsupportedStanzaType,
		"xml-not-well-formed": // RFC 3920 §4.7.3
		return true
	}
	return false
}

// errClosed says that the peer has closed the stream as it should (RFC 6120 §4.4).
var errClosed = errors.New("the peer closed the stream")

// readRemoteError reads <stream:error/>.
func readRemoteError(raw []byte) error {
	e := &remoteError{condition: string(stream.UndefinedCondition)}
	el, err := xmpp.ParseElement(raw)
	if err != nil {
		return e
	}
	for _, c := range el.Children() {
		switch {
		case c.Name.Space != xmpp.NSStreamErrors:
		case c.Name.Local == "text":
			e.text = clip(c.Text())
		default:
			e.condition = clip(c.Name.Local)
		}
	}
	return e
}

// clip bounds what peers say before it gets into logs and texts.
func clip(s string) string {
	if len(s) > 100 {
		s = s[:100]
	}
	if !xmpp.ValidText(s) {
		return "(not readable)"
	}
	return s
}

// next returns the next item of the stream. The error is a *farewell for what the peer did wrong, else it says that
// the connection is gone.
func (l *link) next() (stream.ItemKind, error) {
	in := &l.input
	for {
		if l.known.Load() && in.most > 0 { // it has been authenticated since
			l.relax()
		}
		if in.pos < in.end {
			item, n, err := l.scan.Scan(in.buf[in.pos:in.end])
			in.pos += n
			in.unpaid += n
			if err != nil {
				if bad, ok := errors.AsType[*stream.SyntaxError](err); ok {
					return 0, fault(bad.Condition, bad.What)
				}
				return 0, fault(stream.InternalServerError, "")
			}
			if item != stream.ItemNone {
				return item, nil
			}
		}
		if err := l.more(); err != nil {
			return 0, err
		}
	}
}

// more reads once.
func (l *link) more() error {
	l.batch.Flush() // what was routed leaves before we wait
	l.throttle()
	l.pause()
	in := &l.input
	if in.most > 0 && in.total > in.most && !l.known.Load() {
		return fault(stream.PolicyViolation, "too much before authentication")
	}
	if !in.room() {
		l.scan.Release()
	}
	n, err := l.rw.Read(in.buf[in.end:])
	if n > 0 {
		in.took(n)
		l.heard.Store(time.Now().Unix())
		return nil
	}
	if err == nil { // a write of nothing at the other end of a pipe
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && !l.known.Load() && !l.dying.Load() {
		return fault(stream.ConnectionTimeout, "not authenticated in time")
	}
	return err
}

// strict sets the limits of a peer that has not been authenticated; outgoing ones were chosen by us.
func (l *link) strict() {
	p := l.srv.policy()
	limits := stream.Limits{Bytes: p.preauth, Depth: p.limits.Depth, Elements: p.limits.PreauthElements,
		Attributes: p.limits.Attributes, Declarations: p.limits.Namespaces}
	l.input.most = p.limits.PreauthBytes
	if l.outgoing { // features list what there is
		limits.Bytes, limits.Elements = max(limits.Bytes, 16<<10), max(limits.Elements, 256)
	}
	l.scan.Expect(xmpp.NSServer)
	l.scan.SetLimits(limits)
}

// relax sets those of one that has.
func (l *link) relax() {
	n := &l.srv.policy().limits
	l.input.most = 0
	l.scan.SetLimits(stream.Limits{Bytes: n.ServerStanzaBytes, Depth: n.Depth, Elements: n.Elements,
		Attributes: n.Attributes, Declarations: n.Namespaces})
}

// send writes b. The caller holds wmu, or is alone.
func (l *link) send(b []byte) error {
	stall := l.srv.policy().limits.WriteStall
	for len(b) > 0 {
		n := min(len(b), maxRecord)
		err := l.conn.SetWriteDeadline(time.Now().Add(stall))
		if err == nil && l.dying.Load() { // who wants to have the last word waits
			err = l.conn.SetWriteDeadline(time.Now().Add(farewellTime))
		}
		if err == nil {
			_, err = l.rw.Write(b[:n])
		}
		if err != nil {
			l.torn = true
			return err
		}
		l.bytesOut.Add(int64(n))
		b = b[n:]
	}
	l.spoke.Store(time.Now().Unix())
	return nil
}

// say has something that is not a stanza written, soon and in order. It never waits.
func (l *link) say(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sayLocked(b)
}

// sayLocked is say for who holds mu.
func (l *link) sayLocked(b []byte) {
	if l.ended {
		return
	}
	l.control = append(l.control, b...)
	if l.flushing {
		if len(l.control) > maxControl { // it sends questions and reads no answers
			go l.end(errors.New("the peer does not read"))
		}
		return
	}
	l.flushing = true
	l.srv.workers.Add(1) // the reader is one: it is not done while the link is not ended
	go func() {
		defer l.srv.workers.Done()
		l.flush()
	}()
}

// flush writes what say has been told.
func (l *link) flush() {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	for {
		l.mu.Lock()
		b := l.control
		if len(b) == 0 || l.ended { // then part writes it
			l.flushing = false
			l.mu.Unlock()
			return
		}
		l.control = nil
		l.mu.Unlock()
		if err := l.send(b); err != nil {
			l.broke(err)
		}
	}
}

// broke ends a link that could not be written to. Before, its reader, who must not be the caller, has a moment to come to
// what the peer said when it closed the stream.
func (l *link) broke(err error) {
	if !isTimeout(err) {
		t := time.NewTimer(farewellTime)
		select {
		case <-l.ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
	l.end(err)
}

// stop ends the stream for everybody who uses it; it says false where that was done before. If it is lost, without a
// word, what can be resumed is kept.
func (l *link) stop(cause error, lost bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.ended, l.cause, l.broken = true, cause, lost
	l.srv.retire(l)
	l.over()
	l.out.stop()
	return true
}

// end closes the connection without a word.
func (l *link) end(cause error) {
	if l.stop(cause, true) {
		l.srv.Stats.Lost.Add(1)
	}
	l.dying.Store(true)
	_ = l.conn.Close() // gone either way
}

// part ends the stream with last words, a stream error or nothing but the close. The reader sees the connection end
// soon afterwards.
func (l *link) part(f *farewell) { l.partFor(f, f) }

func (l *link) partFor(cause error, f *farewell) {
	if !l.stop(cause, false) {
		return
	}
	l.dying.Store(true)
	_ = l.conn.SetDeadline(time.Now().Add(farewellTime)) // who is writing, or shaking hands, stops
	l.wmu.Lock()
	defer l.wmu.Unlock()
	b := l.wbuf[:0]
	l.mu.Lock()
	if !l.began { // RFC 6120 §4.9.1.2: an error goes inside a stream
		b = l.appendHeader(b)
	}
	b = l.lastAck(append(b, l.control...))
	l.control = nil
	l.mu.Unlock()
	if !l.torn && l.conn.SetWriteDeadline(time.Now().Add(farewellTime)) == nil {
		_, _ = l.rw.Write(f.append(b)) // a courtesy
		if l.tls != nil {
			_ = l.tls.CloseWrite() // so is this
		}
		if cw, ok := l.conn.(interface{ CloseWrite() error }); ok {
			_ = cw.CloseWrite()
		}
	}
	_ = l.conn.SetReadDeadline(time.Now().Add(lingerTime)) // the reader finds out if that does not work
}

// run reads an established stream to its end.
func (l *link) run() {
	l.finish(l.work())
}

// finish is the last thing that the reader does.
func (l *link) finish(err error) {
	defer l.srv.leave(l)
	l.batch.Flush()
	f, ours := errors.AsType[*farewell](err)
	switch {
	case ours:
		l.log("link fails", "error", err)
		l.part(f)
	case errors.Is(err, errClosed), errors.As(err, new(*remoteError)):
		l.log("link closed", "error", err)
		l.partFor(err, &farewell{})
	default:
		l.end(err)
	}
	l.input.free()
	l.purse.Close()
	l.scan.Release()
	if ours {
		l.linger()
	}
	_ = l.conn.Close() // it may be closed already
}

// linger reads what else comes, for which there is no place any more, so that our last words arrive.
func (l *link) linger() {
	if l.conn.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	buf := make([]byte, 512)
	for limit := 1 << 16; limit > 0; {
		n, err := l.conn.Read(buf)
		if limit -= n; err != nil {
			return
		}
	}
}

func (l *link) log(what string, args ...any) {
	l.mu.Lock()
	local, remote := l.local, l.remote
	l.mu.Unlock()
	l.srv.log.Debug(what, append([]any{"peer", remote, "local", local, "outgoing", l.outgoing, "address", l.conn.RemoteAddr().String()}, args...)...)
}

// work handles what comes, to the end of the stream or until it must be opened anew (errAgain).
func (l *link) work() (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = l.srv.panicked(v)
		}
	}()
	for {
		item, err := l.next()
		if err != nil {
			return err
		}
		if err := l.handle(item); err != nil {
			return err
		}
	}
}

// handle handles one item that is not a header.
func (l *link) handle(item stream.ItemKind) error {
	switch item {
	case stream.ItemStanza:
		return l.stanza(l.scan.Stanza())
	case stream.ItemElement:
		name, raw := l.scan.Element()
		return l.element(name, raw)
	case stream.ItemEnd:
		return errClosed
	}
	return fault(stream.BadFormat, "")
}

// panicked notes a fault of ours. It is not to end the streams of everyone.
func (s *Server) panicked(v any) error {
	s.Stats.Panics.Add(1)
	s.log.Error("a peer made the server panic", "do", "report it as a fault of jackdaw, with this line",
		"panic", v, "stack", string(debug.Stack()))
	return fault(stream.InternalServerError, "")
}

// element handles what is at the top of the stream and not a stanza.
func (l *link) element(name xmpp.Name, raw []byte) error {
	switch {
	case name == xmpp.Name{Space: xmpp.NSStream, Local: "error"}:
		return readRemoteError(raw)
	case name.Space == xmpp.NSDialback:
		return l.dialback(name.Local, raw)
	case name.Space == xmpp.NSSM:
		return l.managed(name.Local, raw)
	case l.outgoing:
		if name.Space == xmpp.NSStream && name.Local == "features" { // nothing in it concerns us any more
			return nil
		}
	case name == xmpp.Name{Space: xmpp.NSTLS, Local: "starttls"}:
		return l.startTLS()
	case name.Space == xmpp.NSSASL:
		return l.authorize(name.Local, raw)
	case name == xmpp.Name{Space: xmpp.NSBidi, Local: "bidi"}:
		return l.becomeBidi(raw)
	}
	return fault(stream.UnsupportedStanzaType, "")
}

// prove takes note of what the peer may send from now on, on the stream of that id; ok is false where that is another by
// now, or there is no place for it.
func (l *link) prove(p outbox.Pair, how proof, id string) (ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.id != id {
		return false
	}
	if _, had := l.proved[p]; had {
		return true
	}
	if l.ended || len(l.proved) >= maxPairs {
		return false
	}
	l.proved[p] = how
	l.srv.Stats.proofs[how].Add(1)
	if !l.known.Swap(true) && !l.outgoing {
		l.pass.Known()
		_ = l.conn.SetReadDeadline(time.Time{}) // the reader finds out if that does not work
	}
	l.srv.log.Info("link up", "peer", p.Remote, "local", p.Local, "direction", l.direction(), "by", how.String(), "tls", l.version)
	return true
}

// turnBack lets us use a link that a peer has opened for what it has proved, if it carries both directions. The peer has
// been told, or is before anything else.
func (l *link) turnBack(p outbox.Pair) {
	l.mu.Lock()
	how, ok := l.proved[p]
	if ok = ok && l.bidi && !l.outgoing && !l.ended; ok {
		l.granted[p] = how
		l.srv.mu.Lock()
		l.srv.back[p] = l
		l.srv.mu.Unlock()
	}
	l.mu.Unlock()
	l.srv.queue.Seen(p.Remote)
}

// direction is "in", "out" or "both". The caller holds mu.
func (l *link) direction() string {
	switch {
	case l.bidi:
		return "both"
	case l.outgoing:
		return "out"
	}
	return "in"
}

// leave forgets a link whose reader has come to its end.
func (s *Server) leave(l *link) {
	s.settle(l)
	s.mu.Lock()
	delete(s.links, l)
	s.mu.Unlock()
	if l.outgoing {
		s.gate.Release()
	}
	close(l.done)
}
