package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/xmpp/stream"
)

// A Passage moves the bytes of a client between its connection, which is here, and its home, which is another node. It
// knows nothing of what they mean. While nothing comes it holds no buffer; of what the client does not take it holds a
// window at most.
type Passage struct {
	trunk
	s *Stream
	o Passing

	left  atomic.Int32 // goroutines
	rest  atomic.Bool  // the reader is to make itself small
	ended atomic.Bool  // all has been said to the client

	mu       sync.Mutex // guards the rest, and writing the stream
	changed  sync.Cond
	ahead    int   // bytes of the client that the home has not taken
	came     int64 // bytes for the client
	taken    int64 // of them, those that the kernel has
	told     int64 // of them, those that the home knows of
	prompt   bool  // it waits for that
	draining bool  // another goroutine brings out what the kernel did not take
	over     bool
}

// Passing is what a Passage needs to know.
type Passing struct {
	Stall   func() time.Duration // how long a client may take nothing of what waits for it
	Stalled func()               // it took longer
	Known   func()               // the home has let the client in
	Over    func()               // the connection is closed; nothing is called after it
}

// errRestAnew is why a goroutine ends for another to take its place.
var errRestAnew = errors.New("the reader has rested")

// errCut is why a client is cut off without a word.
var errCut = errors.New("the home is through with the client")

// NewPassage begins to move bytes between a stream and a link on which the home has taken it over (Handover.Offer). The
// stream belongs to the passage from here on, and what it has read has been sent.
func NewPassage(s *Stream, link net.Conn, o Passing) *Passage {
	p := &Passage{trunk: trunk{link: link}, s: s, o: o}
	p.changed.L = &p.mu
	s.Scanner.Release()
	s.Scanner = stream.Scanner{}
	s.store, s.pos, s.end = nil, 0, 0
	s.unpool()
	s.socket = nil // frames pass as they are
	s.Transport.Queue()
	p.left.Store(2)
	go p.up(false)
	go p.down()
	return p
}

// Leave tells the home that this node stops. The home then ends the stream, and keeps the session if it can.
func (p *Passage) Leave() { _ = p.say(kindLeave, 0) } // whoever reads finds out

// Cut ends it all at once, without a word to the home.
func (p *Passage) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	_, _ = p.link.Close(), p.s.Transport.Close() // they may be closed already
	p.changed.Broadcast()
}

// done ends a goroutine; the last one is the end.
func (p *Passage) done() {
	if p.left.Add(-1) == 0 {
		p.o.Over()
	}
}

// up moves what the client sends. It closes everything at the end.
func (p *Passage) up(waits bool) {
	err := p.bring(waits)
	if err == errRestAnew { // with a stack that has not grown: it waits before it reads, which is deep
		go p.up(true)
		return
	}
	switch {
	case p.ended.Load():
		p.s.Release()
		p.s.Linger()
	case errors.Is(err, io.EOF), errors.Is(err, ErrLeaves):
		kind := kindEnd
		if err == ErrLeaves { // there is another node before this one
			kind = kindLeave
		}
		if p.say(kind, 0) == nil {
			p.mu.Lock()
			for !p.over && !p.ended.Load() {
				p.changed.Wait()
			}
			p.mu.Unlock()
		}
	}
	p.end()
	p.s.Release()
	p.done()
}

// end closes the client's connection and then the link. Between the two it tells the home what the client's kernel has
// taken in the end, since nothing of that is to be sent again. Nothing is taken any more by then.
func (p *Passage) end() {
	p.mu.Lock()
	if p.over { // whoever was first sees to it
		p.mu.Unlock()
		return
	}
	p.over = true
	_ = p.s.Transport.Close() // it may be closed already
	p.changed.Broadcast()
	for p.draining {
		p.changed.Wait()
	}
	p.mu.Unlock()
	p.last()
	_ = p.link.Close() // likewise
}

// last tells the home what the client's kernel has taken, all of it.
func (p *Passage) last() {
	p.mu.Lock()
	p.taken, _ = p.s.Progress()
	n := int(p.taken - p.told)
	p.told = p.taken
	p.mu.Unlock()
	_ = p.tell(n) // the home may have gone
}

// bring returns why nothing comes from the client any more.
func (p *Passage) bring(waits bool) error {
	for {
		var err error = ErrAgain
		if !waits {
			err = p.read()
		}
		waits = false
		if err == ErrAgain {
			err = p.s.Transport.Await()
		}
		switch {
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded), !p.rest.Swap(false), p.s.Transport.SetReadDeadline(time.Time{}) != nil:
			return err
		case p.ended.Load(): // whoever interrupts says why first
			return err
		default:
			p.s.Rest()
			p.shrink()
			return errRestAnew
		}
	}
}

// read moves what can be read now.
func (p *Passage) read() error {
	b := buffers.Get().(*[BufSize]byte)
	defer buffers.Put(b)
	n, err := p.s.read(b[headSize:])
	if n > 0 {
		err = p.carry(b[:headSize+n])
	}
	return err
}

// carry sends bytes of the client, which lie behind room for a head, as the home takes them.
func (p *Passage) carry(b []byte) error {
	for len(b) > headSize {
		p.mu.Lock()
		for p.ahead >= window && !p.over && !p.ended.Load() {
			p.changed.Wait()
		}
		n := min(len(b)-headSize, window-p.ahead)
		p.ahead += n
		over := p.over || p.ended.Load()
		p.mu.Unlock()
		if over {
			return net.ErrClosed
		}
		if err := p.send(kindData, b[:headSize+n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// down moves what the home sends.
func (p *Passage) down() {
	err := p.take()
	if err == errRestAnew { // with a stack that has not grown
		go p.down()
		return
	}
	defer p.done()
	if p.ended.Load() { // up closes
		return
	}
	p.end() // so that the client comes back
}

// take returns why nothing comes from the home any more.
func (p *Passage) take() error {
	var head [headSize]byte
	for {
		if _, err := io.ReadFull(p.link, head[:]); err != nil {
			return err
		}
		kind, n := head[0], int(head[1])<<16|int(head[2])<<8|int(head[3])
		var err error
		switch kind {
		case kindData, kindPrompt:
			err = p.data(kind, n)
		case kindTaken:
			err = p.confirmed(n)
		case kindKnown:
			if err = p.s.Transport.SetDeadline(time.Time{}); err == nil {
				p.o.Known()
			}
		case kindRest:
			p.rest.Store(true)
			p.s.Transport.Interrupt()
			return errRestAnew
		case kindAsk:
			err = p.say(kindSent, p.onWay())
		case kindEnd:
			p.finish()
		case kindCut:
			return errCut
		default:
			err = errTrunk
		}
		if err != nil {
			return err
		}
	}
}

func (p *Passage) confirmed(n int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ahead -= n; p.ahead < 0 {
		return errTrunk
	}
	p.changed.Broadcast()
	return nil
}

// data gives the client bytes of the home.
func (p *Passage) data(kind byte, n int) error {
	if n > maxData || p.ended.Load() {
		return errTrunk
	}
	b := buffers.Get().(*[BufSize]byte)
	defer buffers.Put(b)
	if _, err := io.ReadFull(p.link, b[:n]); err != nil {
		return err
	}
	p.mu.Lock()
	if p.over { // what is taken has been counted
		p.mu.Unlock()
		return net.ErrClosed
	}
	p.prompt = kind == kindPrompt
	if p.came += int64(n); p.came-p.told > window {
		p.mu.Unlock()
		return errTrunk
	}
	if err := p.s.Send(b[:n]); err != nil {
		p.mu.Unlock()
		return err
	}
	var left bool
	if p.taken, left = p.s.Progress(); left && !p.draining {
		p.draining = true
		p.left.Add(1)
		go p.drain()
	}
	tell := p.due()
	p.mu.Unlock()
	return p.tell(tell)
}

// onWay is how many bytes for the client it has not acknowledged, as far as this node knows.
func (p *Passage) onWay() int {
	unsent, _ := p.s.Transport.Kernel()
	produced, accepted := p.s.Transport.Written()
	return min(unsent+int(produced-accepted), 1<<24-1)
}

// due is how many bytes the home is to be told of now that the client's kernel has taken. The caller holds mu.
func (p *Passage) due() int {
	n := p.taken - p.told
	if n < window/4 && !(p.prompt && p.taken == p.came) {
		return 0
	}
	p.told = p.taken
	return int(n)
}

func (p *Passage) tell(n int) error {
	if n == 0 {
		return nil
	}
	return p.say(kindTaken, n)
}

// drain brings out what the kernel did not take.
func (p *Passage) drain() {
	defer p.done()
	for {
		err := p.s.Transport.Drain(p.o.Stall())
		p.mu.Lock()
		left := false
		p.taken, left = p.s.Progress()
		tell := p.due()
		p.draining = left && err == nil
		again := p.draining
		p.changed.Broadcast()
		p.mu.Unlock()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			p.o.Stalled()
		}
		if sent := p.tell(tell); err != nil || sent != nil {
			p.mu.Lock()
			p.draining = false
			p.changed.Broadcast()
			p.mu.Unlock()
			p.end()
			return
		}
		if !again {
			return
		}
	}
}

// finish ends the client's connection when it has all that was said.
func (p *Passage) finish() {
	p.mu.Lock()
	for p.draining && !p.over {
		p.changed.Wait()
	}
	if p.over || p.ended.Load() {
		p.mu.Unlock()
		return
	}
	if p.s.TLS != nil {
		_ = p.s.TLS.CloseWrite() // a courtesy: the stream's end has been said in XML
	}
	p.ended.Store(true)
	p.changed.Broadcast()
	p.mu.Unlock()
	p.last()
	p.rest.Store(false)
	p.s.Transport.Interrupt()
}
