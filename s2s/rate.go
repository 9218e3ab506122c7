package s2s

import (
	"time"

	"jackdaw/router/gate"
)

// pay puts what has been read since the last time on the budget of a domain, one that the stream has proved or that we
// have called. All streams of a domain share it, whatever addresses they come from.
func (l *link) pay(domain string) {
	if l.payer != domain {
		l.purse.Close()
		l.purse, l.payer = nil, domain
		if !gate.Exempt(gate.RemoteIP(&l.Transport)) {
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
	d := l.purse.Wait()
	if d == 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.ctx.Done():
	}
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
