package s2s

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/router"
	"jackdaw/router/budget"
	"jackdaw/router/gate"
	"jackdaw/s2s/outbox"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/sasl"
	"jackdaw/xmpp/stream"
)

const (
	// maxPairs is how many pairs one stream may carry in a direction.
	maxPairs = 100
	// maxControl is how much may wait that is not a stanza; who reads less than that is gone.
	maxControl = 64 << 10
	// maxPiece is how much is written before it is seen whether the peer takes anything: one record of TLS (RFC 8446 §5.1).
	maxPiece = 16 << 10
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
	wire.Stream
	srv      *Server
	pass     *gate.Pass // nil for outgoing ones
	outgoing bool
	direct   bool // TLS from the first byte
	bare     bool // opened without showing our certificate
	shown    bool // our certificate was shown to who we called
	since    time.Time

	// The reader's; while an outgoing link is negotiated, that of who opens it.
	batch     router.Batch
	env       router.Envelope
	offered   offered        // outgoing: by the peer
	login     sasl.Server    // incoming: the attempt that goes on, if any
	external  bool           // incoming: EXTERNAL is offered
	certainty error          // what is wrong with the peer's certificate for the domain of the header; nil: nothing
	last      outbox.Pair    // of the last stanza, which was fit
	purse     *budget.Budget // of the domain of the last stanza
	payer     string         // that domain; "" as long as purse is nobody's
	paid      int            // bytes consumed that have been put on a budget
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
	l := &link{srv: s, outgoing: outgoing, since: time.Now(), done: make(chan struct{}),
		proved: map[outbox.Pair]proof{}, granted: map[outbox.Pair]proof{}, carriers: map[*carrier]struct{}{},
		claims: map[outbox.Pair]bool{}, results: map[outbox.Pair]chan answer{}, verifies: map[verification]chan verdict{}}
	l.Init(c, wire.Bytes{}, l)
	l.ctx, l.over = context.WithCancel(context.Background())
	return l
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

// next is Next within the limits that hold by now. The error is a *wire.Farewell for what the peer did wrong, else it says
// that the connection is gone.
func (l *link) next() (stream.ItemKind, error) {
	l.relax()
	item, err := l.Next()
	if errors.Is(err, os.ErrDeadlineExceeded) && !l.known.Load() && !l.dying.Load() {
		err = wire.Fault(stream.ConnectionTimeout, "not authenticated in time")
	}
	return item, err
}

// BeforeRead implements wire.Owner.
func (l *link) BeforeRead() error {
	l.batch.Flush()
	l.throttle()
	l.pause()
	l.relax()
	return nil
}

// AfterRead implements wire.Owner.
func (l *link) AfterRead(int) {
	l.heard.Store(time.Now().Unix())
	l.relax() // it may have been authenticated since we began to wait
}

// strict sets the limits of a peer that has not been authenticated; outgoing ones were chosen by us.
func (l *link) strict() {
	p := l.srv.policy()
	bytes, limits := p.preauth, p.limits
	if l.outgoing { // features list what there is
		bytes, limits.PreauthElements = max(bytes, 16<<10), max(limits.PreauthElements, 256)
	}
	l.Strict(xmpp.NSServer, bytes, &limits)
}

// relax sets those of one that has, once it has.
func (l *link) relax() {
	if l.Most > 0 && l.known.Load() {
		n := &l.srv.policy().limits
		l.Relax(n.ServerStanzaBytes, n)
	}
}

// send writes b. The caller holds wmu, or is alone.
func (l *link) send(b []byte) error {
	stall := l.srv.policy().limits.WriteStall
	for len(b) > 0 {
		n := min(len(b), maxPiece)
		err := l.Transport.WriteUntil(time.Now().Add(stall))
		if err == nil && l.dying.Load() { // who wants to have the last word waits
			err = l.Transport.WriteUntil(time.Now().Add(wire.FarewellTime))
		}
		if err == nil {
			_, err = l.Write(b[:n])
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
	l.srv.streams.Workers.Add(1) // the reader is one: it is not done while the link is not ended
	go func() {
		defer l.srv.streams.Workers.Done()
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
		t := time.NewTimer(wire.FarewellTime)
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
	_ = l.Transport.Close() // gone either way
}

// part ends the stream with last words, a stream error or nothing but the close. The reader sees the connection end
// soon afterwards.
func (l *link) part(f *wire.Farewell) { l.partFor(f, f) }

func (l *link) partFor(cause error, f *wire.Farewell) {
	if !l.stop(cause, false) {
		return
	}
	l.dying.Store(true)
	_ = l.Transport.SetDeadline(time.Now().Add(wire.FarewellTime)) // who is writing, or shaking hands, stops
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
	if !l.torn {
		_ = l.LastWords(l.Framing.AppendEnd(b, f)) // a courtesy
	}
	_ = l.Transport.SetReadDeadline(time.Now().Add(wire.LingerTime)) // the reader finds out if that does not work
}

// run reads an established stream to its end.
func (l *link) run() {
	l.finish(l.work())
}

// finish is the last thing that the reader does.
func (l *link) finish(err error) {
	defer l.srv.leave(l)
	l.batch.Flush()
	f, ours := errors.AsType[*wire.Farewell](err)
	switch {
	case ours:
		l.log("link fails", "error", err)
		l.part(f)
	case errors.Is(err, errClosed), errors.As(err, new(*remoteError)):
		l.log("link closed", "error", err)
		l.partFor(err, &wire.Farewell{})
	default:
		l.end(err)
	}
	l.purse.Close()
	if ours {
		l.Linger()
	}
	l.Release()
	_ = l.Transport.Close() // it may be closed already
}

func (l *link) log(what string, args ...any) {
	l.mu.Lock()
	local, remote := l.local, l.remote
	l.mu.Unlock()
	l.srv.log.Debug(what, append([]any{"peer", remote, "local", local, "outgoing", l.outgoing, "address", l.Transport.RemoteAddr().String()}, args...)...)
}

// work handles what comes, to the end of the stream or until it must be opened anew (errAgain).
func (l *link) work() (err error) {
	defer l.srv.streams.Recover(&err)
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
		return l.stanza(l.Scanner.Stanza())
	case stream.ItemElement:
		name, raw := l.Scanner.Element()
		return l.element(name, raw)
	case stream.ItemEnd:
		return errClosed
	}
	return wire.Fault(stream.BadFormat, "")
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
	return wire.Fault(stream.UnsupportedStanzaType, "")
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
		_ = l.Transport.SetReadDeadline(time.Time{}) // the reader finds out if that does not work
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
	s.streams.Leave(l)
	if l.outgoing {
		s.streams.Gate.Release()
	}
	close(l.done)
}
