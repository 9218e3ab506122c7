package outbox

import (
	"context"
	"sync"
	"time"

	"jackdaw/storage"
	"jackdaw/xmpp"
)

// Stop ends the outbox. It refuses what comes, gives streams that are up a moment to take what waits, and closes them.
// What is left then goes to disk or is there already, if it is a message or a subscription; requests bounce and the
// rest is dropped. It returns when that is done, or with the context's error if that ends first; what is on disk is
// safe in either case. Storage, the router and the streams must outlive it.
func (o *Outbox) Stop(ctx context.Context) error {
	o.mu.Lock()
	again := o.stopping
	o.stopping = true
	if o.sweeping != nil {
		o.sweeping.Stop()
	}
	o.mu.Unlock()
	if again {
		return nil
	}
	l := o.limits()
	all := o.all()
	for _, d := range all {
		d.mu.Lock()
		d.closed = true
		d.relieve(l, true)
		d.mu.Unlock()
	}
	o.drain(ctx, all, drainTime)
	close(o.quit)
	o.cancel()
	var err error
	for _, d := range all {
		if e := o.finish(ctx, d, ending); e != nil && err == nil {
			err = e
		}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		o.running.Wait()
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		if err == nil {
			err = ctx.Err()
		}
	}
	return err
}

// drain waits for streams that are up until they have taken all, and closes them; no longer than that.
func (o *Outbox) drain(ctx context.Context, all []*domain, most time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for pending := true; pending; {
		pending = false
		for _, d := range all {
			d.mu.Lock()
			for _, p := range d.pairs {
				pending = pending || p.stream != nil && p.queue.len() > 0 && !p.lost()
			}
			d.mu.Unlock()
		}
		if !pending {
			break
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			pending = false
		}
	}
	var closing sync.WaitGroup
	for _, d := range all {
		d.mu.Lock()
		for _, p := range d.pairs {
			if s := p.stream; s != nil {
				p.shut = true
				closing.Add(1)
				o.running.Add(1)
				go func() {
					defer o.running.Done()
					defer closing.Done()
					s.Close()
				}()
			}
		}
		d.mu.Unlock()
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		closing.Wait()
	}()
	select {
	case <-closed:
	case <-ctx.Done():
	}
}

// An end is why a pair is sent nothing more from here.
type end struct{ text, until string } // for senders; for the log

var (
	ending = end{"the server is shutting down", "the next start"}
	moving = end{"the queue for this server moves to another node", "another node"}
)

// finish sees to what is left of a domain.
func (o *Outbox) finish(ctx context.Context, d *domain, why end) error {
	d.mu.Lock()
	pairs := append([]*pair(nil), d.pairs...)
	left := make([][]item, len(pairs))
	for i, p := range pairs {
		if s := p.stream; s != nil && !p.shut { // it came up in the last moment
			o.running.Add(1)
			go func() {
				defer o.running.Done()
				s.Close()
			}()
		}
		left[i] = p.empty()
		p.finished = true
		p.gen++
		p.stream = nil
		p.wakeUp()
	}
	d.mu.Unlock()
	var err error
	for i, p := range pairs {
		if e := o.keep(ctx, p, left[i], why); e != nil && err == nil {
			err = e
		}
	}
	return err
}

// keep writes what is in memory only to disk, and gives back what does not belong there.
func (o *Outbox) keep(ctx context.Context, p *pair, items []item, why end) error {
	var back []item
	var moved []uint64 // records whose stanza is now behind those that were not on disk
	var pendings []*storage.Pending
	var record []byte
	var kept int
	var failure error
	for i := range items {
		it := &items[i]
		switch {
		case !it.class.keepable():
			back = append(back, *it)
			continue
		case it.id != 0 && len(pendings) == 0:
			kept++
			continue
		}
		record = append(appendRecordHead(record[:0], it.class, it.since), it.xml()...)
		_, _, pending, err := o.disk.Append(ctx, p.owner, storage.Record{Data: record}, storage.AppendOptions{})
		if err != nil {
			if failure = err; it.id == 0 {
				back = append(back, *it)
			}
			continue
		}
		if kept++; it.id != 0 {
			moved = append(moved, it.id)
		}
		if n := len(pendings); n == 0 || pendings[n-1] != pending {
			pendings = append(pendings, pending)
		}
	}
	for _, pending := range pendings {
		if err := pending.Wait(ctx); err != nil {
			failure, moved = err, nil
		}
	}
	if len(moved) > 0 { // each is there twice
		pending, err := o.disk.Remove(ctx, p.owner, moved...)
		if err == nil {
			err = pending.Wait(ctx)
		}
		if err != nil {
			failure = err
		}
	}
	if len(items) > 0 {
		o.log.Info("stanzas for a peer wait for "+why.until, "peer", p.Remote, "from", p.Local, "kept", kept,
			"given back", len(back))
	}
	if len(back) > 0 {
		o.giveBack(p, back, func(it *item) (*xmpp.Error, Reason) {
			return xmpp.RemoteServerTimeout(why.text), Stopped
		})
	}
	return failure
}
