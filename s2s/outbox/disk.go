package outbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"jackdaw/storage"
	"jackdaw/xmpp"
)

// recordVersion is the first byte of a record: then the class, since when the stanza has waited in microseconds since
// 1970 as a uvarint, and the XML.
const recordVersion = 1

var errRecord = errors.New("record of a stanza that cannot be read")

func appendRecordHead(dst []byte, c class, since int64) []byte {
	return binary.AppendUvarint(append(dst, recordVersion, byte(c)), uint64(since))
}

// readRecord reads a record. The XML is borrowed from it.
func readRecord(b []byte) (c class, since int64, xml []byte, err error) {
	if len(b) < 2 || b[0] != recordVersion {
		return 0, 0, nil, errRecord
	}
	t, n := binary.Uvarint(b[2:])
	if n <= 0 || len(b) == 2+n || int64(t) < 0 {
		return 0, 0, nil, errRecord
	}
	return class(b[1]), int64(t), b[2+n:], nil
}

// ownerOf is the owner of a pair's records. No domain has the sign in it.
func ownerOf(p Pair) string { return p.Local + ">" + p.Remote }

func pairOf(owner string) (p Pair, ok bool) {
	p.Local, p.Remote, ok = strings.Cut(owner, ">")
	return p, ok && p.Local != "" && p.Remote != ""
}

// Restore queues what an earlier server left on disk, with the time it has waited, and begins to send it. It comes
// before the first Push, so that the order is kept, when Owns and Bounce can be asked. What came from a domain that is
// no longer ours is removed, as nobody can be told; what goes to one that has become ours bounces.
func (o *Outbox) Restore(ctx context.Context) error {
	return o.Gained(ctx, func(string) bool { return true })
}

// Gained is Restore for the pairs that have come home to this node: what their last home has left. It comes before the
// first Push for them. If it fails it has queued nothing, and may be called again.
func (o *Outbox) Gained(ctx context.Context, is func(owner string) bool) error {
	var owners []string
	err := o.disk.Owners(ctx, func(owner string) bool {
		if is(owner) {
			owners = append(owners, owner)
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("list what waits for peers: %w", err)
	}
	var all []left
	for _, owner := range owners {
		p, ok := pairOf(owner)
		switch {
		case !ok:
			o.log.Warn("queue of no pair of domains is left alone", "owner", owner)
		case !o.owns(p.Local):
			err = o.discard(ctx, p, owner)
		default:
			var records []storage.Record
			if records, err = o.read(ctx, owner); len(records) > 0 {
				all = append(all, left{p, records})
			}
		}
		if err != nil {
			return fmt.Errorf("read what waits for %s: %w", p.Remote, err)
		}
	}
	for _, x := range all {
		if refusal := o.restore(x.Pair, x.records); refusal != nil {
			return refusal // the server is being stopped
		}
	}
	return nil
}

// left is what a pair has on disk.
type left struct {
	Pair
	records []storage.Record
}

// read returns all that a pair has on disk. It was bounded when it was written.
func (o *Outbox) read(ctx context.Context, owner string) (all []storage.Record, err error) {
	var last uint64
	for {
		page, more, err := o.disk.Page(ctx, owner, storage.Query{After: last, Limit: 500})
		if err != nil || len(page) == 0 {
			return all, err
		}
		all = append(all, page...)
		if last = page[len(page)-1].ID; !more {
			return all, nil
		}
	}
}

// discard removes what a domain that is no longer ours wanted to send.
func (o *Outbox) discard(ctx context.Context, p Pair, owner string) error {
	n, _, err := o.disk.Size(ctx, owner)
	if err != nil {
		return err
	}
	pending, err := o.disk.DeleteOwner(ctx, owner)
	if err == nil {
		err = pending.Wait(ctx)
	}
	if err != nil {
		return err
	}
	o.Stats.Dropped.Add(int64(n))
	o.log.Warn("stanzas of a domain that is not ours any more are dropped", "from", p.Local, "peer", p.Remote, "count", n)
	return nil
}

// restore queues what one pair left.
func (o *Outbox) restore(name Pair, records []storage.Record) *xmpp.Error {
	l := o.limits()
	unreadable := 0
	// nil limits: what has been promised is not refused for want of room
	p, _, refusal := o.enter(name.Local, name.Remote, nil)
	if refusal != nil {
		return refusal
	}
	for _, r := range records {
		class, since, xml, err := readRecord(r.Data)
		if err != nil {
			unreadable++
			continue
		}
		p.domain.waiting.add(amount{1, 1, len(xml)})
		o.memory.Add(int64(len(xml)))
		p.enqueue(item{id: r.ID, since: since, class: class}, xml) // on nobody's share, as it has been promised
		p.used = time.Now()
		o.Stats.Restored.Add(1)
	}
	if unreadable > 0 { // of a newer version, perhaps, which comes back
		o.log.Error("stanzas for a peer cannot be read and are left alone", "peer", name.Remote, "from", name.Local,
			"count", unreadable)
	}
	d := p.domain
	waiting := p.live.stanzas
	if o.owns(name.Remote) {
		out := p.empty()
		d.mu.Unlock()
		o.giveBack(p, out, func(*item) (*xmpp.Error, Reason) {
			return xmpp.RemoteServerNotFound("the domain is not that of another server any more"), Unreachable
		})
		return nil
	}
	if waiting > 0 {
		p.rouse(p.queue.get(0), l)
	}
	d.mu.Unlock()
	o.log.Info("stanzas for a peer restored", "peer", name.Remote, "from", name.Local, "count", waiting)
	return nil
}

// A remover removes records that are done with, those of a pair in one call.
type remover struct {
	mu      sync.Mutex // guards the rest; taken with a domain's held
	pairs   []*pair    // that have some
	running bool
}

const (
	removeAfter = 5 * time.Millisecond // to gather more
	retryAfter  = time.Second          // when storage could not
)

// add has the records of a pair removed soon. The caller holds the domain's lock.
func (r *remover) add(o *Outbox, p *pair) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pairs = append(r.pairs, p)
	if !r.running {
		r.running = true
		o.running.Add(1)
		go o.remove()
	}
}

// remove is the remover's goroutine. It ends when there is nothing left to remove, or when nothing will be.
func (o *Outbox) remove() {
	defer o.running.Done()
	r := &o.remover
	timer := time.NewTimer(removeAfter)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-o.quit:
		}
		r.mu.Lock()
		pairs := r.pairs
		r.pairs = nil
		if len(pairs) == 0 {
			r.running = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		wait := removeAfter
		for _, p := range pairs {
			if err := o.removeDone(p); err != nil {
				if hopeless(err) || o.ended() {
					o.log.Warn("stanzas that a peer has taken will be sent again", "peer", p.Remote, "error", err)
					continue
				}
				if wait == removeAfter {
					o.log.Warn("removal of what peers have taken is put off", "peer", p.Remote, "error", err)
				}
				wait = retryAfter
			}
		}
		timer.Reset(wait)
	}
}

// hopeless says of an error of storage that trying again helps nobody here.
func hopeless(err error) bool {
	return errors.Is(err, storage.ErrClosed) || errors.Is(err, storage.ErrElsewhere)
}

// removeDone removes what is done of one pair. If that fails it stays to be done, and the remover knows.
func (o *Outbox) removeDone(p *pair) error {
	d := p.domain
	d.mu.Lock()
	ids := p.done
	p.done, p.dirty = nil, false
	p.pins++
	d.mu.Unlock()
	_, err := o.disk.Remove(context.Background(), p.owner, ids...)
	d.mu.Lock()
	defer d.mu.Unlock()
	p.pins--
	switch {
	case err == nil && p.done == nil:
		p.done = ids[:0]
	case err != nil && !hopeless(err) && !o.ended():
		p.done = append(p.done, ids...)
		if p.dirty { // somebody has added to it meanwhile, and told the remover
			break
		}
		p.dirty = true
		o.remover.mu.Lock()
		o.remover.pairs = append(o.remover.pairs, p)
		o.remover.mu.Unlock()
	}
	return err
}
