package relay

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/cluster"
	"jackdaw/cluster/link"
)

const (
	openTime  = 5 * time.Second // for a stream
	openAgain = 20 * time.Millisecond
	writeTime = 10 * time.Second // for a batch
	bigBuffer = 1 << 20          // of a writer, that is not kept
)

// A peer is a node that envelopes go to. It may be this one.
type peer struct {
	r    *Relay
	node string
	up   atomic.Pointer[stream]
	want chan struct{}
	told tellings
}

// peer finds the node, or begins to know it; nil after Close.
func (r *Relay) peer(node string) *peer {
	if p := (*r.peers.Load())[node]; p != nil {
		return p
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	all := *r.peers.Load()
	if p := all[node]; p != nil {
		return p
	}
	if r.closed {
		return nil
	}
	p := &peer{r: r, node: node, want: make(chan struct{}, 1)}
	all = maps.Clone(all)
	all[node] = p
	r.peers.Store(&all)
	r.running.Go(p.run)
	return p
}

// stream is the one that there is, or nil, and then soon one if it can be had.
func (p *peer) stream() *stream {
	s := p.up.Load()
	if s == nil {
		select {
		case p.want <- struct{}{}:
		default:
		}
	}
	return s
}

// run opens the stream whenever it is wanted.
func (p *peer) run() {
	r := p.r
	for {
		select {
		case <-p.want:
		case <-r.ctx.Done():
			return
		}
		s, err := p.open()
		if errors.Is(err, link.ErrNoMember) {
			r.mu.Lock()
			all := maps.Clone(*r.peers.Load())
			delete(all, p.node)
			r.peers.Store(&all)
			r.mu.Unlock()
			r.hold(p.told.take()...)
			return
		}
		if err != nil {
			select { // the links say why, and know when to try again
			case <-time.After(openAgain):
			case <-r.ctx.Done():
			}
			continue
		}
		up := r.now()
		p.up.Store(s)
		s.Flush() // of what was told before
		r.wakeUp()
		stop := context.AfterFunc(r.ctx, s.end)
		r.running.Go(s.write)
		err = s.read()
		stop()
		s.end()
		p.up.Store(nil)
		if r.ctx.Err() == nil {
			r.o.Log.Debug("stream of envelopes lost", "node", p.node, "error", err)
		}
		for i := range r.queues {
			q := &r.queues[i]
			q.mu.Lock()
			if q.stream == s {
				q.stall(0, 0)
			}
			q.mu.Unlock()
		}
		r.wakeUp()
		if r.now()-up < openAgain { // nor is it tried without a pause
			select {
			case <-time.After(openAgain):
			case <-r.ctx.Done():
			}
		}
	}
}

// open opens the stream and says who is at this end.
func (p *peer) open() (*stream, error) {
	r := p.r
	ctx, cancel := context.WithTimeout(r.ctx, openTime)
	defer cancel()
	var c net.Conn
	if p.node == r.o.Node.ID() { // what waits for a slot that has come home
		near, far := net.Pipe()
		r.running.Go(func() { r.Serve(p.node, far) })
		c = near
	} else {
		var err error
		if c, err = r.o.Links.Open(ctx, p.node, link.Envelopes); err != nil {
			return nil, err
		}
	}
	_ = c.SetWriteDeadline(time.Now().Add(writeTime)) // an error shows at the next write
	if _, err := c.Write(binary.BigEndian.AppendUint64(nil, r.instance)); err != nil {
		_ = c.Close()
		return nil, err
	}
	return &stream{p: p, c: c, wake: make(chan struct{}, 1), over: make(chan struct{})}, nil
}

// A stream carries envelopes to a node, and their answers back.
type stream struct {
	p    *peer
	c    net.Conn
	wake chan struct{}
	over chan struct{}

	mu    sync.Mutex // guards the rest
	items []item
	dead  bool
}

// An item is an envelope that is about to leave.
type item struct {
	x                  *entry
	slot               int
	round, fence, base uint64
}

// push queues an envelope; Flush must follow. It says whether the stream lives.
func (s *stream) push(it item) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return false
	}
	s.items = append(s.items, it)
	return true
}

// Flush implements router.Flusher: what is queued leaves.
func (s *stream) Flush() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// end closes the stream.
func (s *stream) end() {
	s.mu.Lock()
	dead := s.dead
	s.dead, s.items = true, nil
	s.mu.Unlock()
	if !dead {
		close(s.over)
		_ = s.c.Close() // it says nothing of use
	}
}

// write writes what is queued, for as long as the stream lives.
func (s *stream) write() {
	b := batch{stats: &s.p.r.Stats}
	var spare []item
	beat := time.NewTicker(link.Beat)
	defer beat.Stop()
	for {
		select {
		case <-s.wake:
		case <-beat.C:
			if b.beat(s.c) != nil {
				s.end()
				return
			}
			continue
		case <-s.over:
			return
		}
		runtime.Gosched() // who has something at hand routes it first, so that it leaves in the same write
		for {
			s.mu.Lock()
			items := s.items
			s.items = spare[:0]
			s.mu.Unlock()
			told := s.p.told.take()
			if len(items) == 0 && len(told) == 0 {
				spare = items
				break
			}
			err := b.write(s.c, items, told)
			clear(items)
			if spare = items[:0]; err != nil {
				s.p.r.hold(told...) // who is told twice knows it
				s.end()
				return
			}
		}
	}
}

// A batch puts together what leaves in one write.
type batch struct {
	b      []byte
	shared map[*byte]int // payloads that are in it, or in one before, by their place in list
	list   [][]byte      // so that no other payload comes to lie where one of them does
	stats  *Stats
}

func (b *batch) write(c net.Conn, items []item, told []telling) error {
	b.b = append(b.b[:0], 0, 0, 0, 0)
	for i := range told {
		b.b = told[i].append(b.b)
	}
	for i := range items {
		b.add(&items[i])
		if len(b.b) > goodBatch {
			if err := b.flush(c); err != nil {
				return err
			}
		}
	}
	b.stats.Sent.Add(int64(len(items)))
	return b.flush(c)
}

// beat says nothing, so that the other end hears something.
func (b *batch) beat(c net.Conn) error {
	_ = c.SetWriteDeadline(time.Now().Add(writeTime)) // an error shows at the write
	_, err := c.Write([]byte{0, 0, 0, 0})
	return err
}

func (b *batch) add(it *item) {
	x, again := it.x, -1
	kind := byte(itemOwn)
	if x.shared {
		kind = itemShared
		if i, ok := b.shared[&x.body[0]]; ok {
			kind, again = itemAgain, i
		} else {
			b.share(x.body)
		}
	}
	b.b = append(b.b, kind)
	b.b = binary.AppendUvarint(b.b, uint64(it.slot))
	b.b = binary.AppendUvarint(b.b, x.seq)
	b.b = binary.AppendUvarint(b.b, x.seq-it.base)
	b.b = binary.AppendUvarint(b.b, it.round)
	b.b = binary.AppendUvarint(b.b, it.fence)
	b.b = appendBytes(b.b, x.head)
	switch kind {
	case itemOwn:
		b.b = append(b.b, x.body...)
	case itemShared:
		b.b = append(appendBytes(b.b, x.body), 0)
	case itemAgain:
		b.b = binary.AppendUvarint(b.b, uint64(again))
	}
}

// share notes that a payload is in the batch.
func (b *batch) share(payload []byte) {
	if b.shared == nil {
		b.shared = map[*byte]int{}
	}
	b.shared[&payload[0]] = len(b.list)
	b.list = append(b.list, payload)
}

func (b *batch) flush(c net.Conn) error {
	if len(b.b) <= batchHead {
		return nil
	}
	binary.BigEndian.PutUint32(b.b, uint32(len(b.b)-batchHead))
	_ = c.SetWriteDeadline(time.Now().Add(writeTime)) // an error shows at the write
	_, err := c.Write(b.b)
	b.stats.Batches.Add(1)
	b.stats.BytesOut.Add(int64(len(b.b)))
	if cap(b.b) > bigBuffer {
		b.b = nil
	}
	b.b = append(b.b[:0], 0, 0, 0, 0)
	if n := len(b.list) - keptShared; n > 0 {
		b.list = slices.Delete(b.list, 0, n)
		clear(b.shared)
		for i, payload := range b.list {
			b.shared[&payload[0]] = i
		}
	}
	return err
}

// read takes the answers, until the stream ends.
func (s *stream) read() (err error) {
	defer s.p.r.recovered(&err)
	in := bufio.NewReaderSize(s.c, 16<<10)
	var b []byte
	for {
		if b, err = readBatch(in, b); err != nil {
			return err
		}
		if err := readAnswers(b, cluster.Slots, func(a *answer) { s.p.r.answered(s, a) }); err != nil {
			return err
		}
		s.Flush() // there may be room in windows
		if cap(b) > bigBuffer {
			b = nil
		}
	}
}

// readBatch reads the next batch, into b if there is room.
func readBatch(in *bufio.Reader, b []byte) ([]byte, error) {
	var head [batchHead]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	if n > maxBatch {
		return nil, fmt.Errorf("%w: it has %d bytes", errCode, n)
	}
	if cap(b) < n {
		b = make([]byte, n)
	}
	b = b[:n]
	_, err := io.ReadFull(in, b)
	return b, err
}
