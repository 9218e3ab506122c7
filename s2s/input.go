package s2s

import (
	"errors"
	"os"
	"sync/atomic"
	"time"

	"jackdaw/router"
	"jackdaw/router/budget"
	"jackdaw/router/gate"
	"jackdaw/s2s/outbox"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

// input is what a link reads, beyond its stream: whose it is, who pays for it, and what became of it.
type input struct {
	// The reader's.
	batch router.Batch
	env   router.Envelope
	last  outbox.Pair    // of the last stanza, which was fit
	purse *budget.Budget // of the domain of the last stanza
	payer string         // that domain; "" as long as purse is nobody's
	paid  int            // bytes consumed that have been put on a budget

	heard     atomic.Int64 // when bytes came last, Unix seconds
	stanzasIn atomic.Int64

	in *inflow // stream management; nil: off. The link's mu guards it
}

// next is Next within the limits that hold by now. The error is a *wire.Farewell for what the peer did wrong, else it
// says that the connection is gone.
func (l *link) next() (stream.ItemKind, error) {
	l.relax()
	item, err := l.Next()
	if errors.Is(err, os.ErrDeadlineExceeded) && !l.known.Load() && !l.dying.Load() {
		err = wire.Fault(stream.ConnectionTimeout, "not authenticated in time")
	}
	return item, err
}

// BeforeRead implements wire.Pacer.
func (l *link) BeforeRead() error {
	l.batch.Flush()
	l.throttle()
	l.pause()
	l.relax()
	return nil
}

// AfterRead implements wire.Pacer.
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

// pay puts what has been read since the last time on the budget of a domain, one that the stream has proved or that we
// have called. All streams of a domain share it, whatever addresses they come from.
func (l *link) pay(domain string) {
	if l.payer != domain {
		l.purse.Close()
		l.purse, l.payer = nil, domain
		if !gate.Exempt(gate.RemoteIP(l.Transport)) {
			l.purse = l.srv.budgets.Open(domain)
		}
	}
	l.purse.Spend(l.Consumed() - l.paid)
	l.paid = l.Consumed()
}

// pause keeps a peer to its rate: reading waits, nothing is dropped. What is no stanza counts for the domain whose
// stream it is; before anything has been proved there is a bound on bytes instead.
func (l *link) pause() {
	if !l.known.Load() {
		return
	}
	if l.Consumed() > l.paid {
		payer := l.payer
		if payer == "" {
			payer = l.anyRemote()
		}
		l.pay(payer)
	}
	wire.Pause(l.purse.Wait(), l.ctx.Done())
}

// anyRemote is a domain at the other end.
func (l *link) anyRemote() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.proved {
		return p.Remote
	}
	return l.remote
}
