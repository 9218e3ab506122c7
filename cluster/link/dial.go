package link

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// A peer is another node, seen from the end that dials it.
type peer struct {
	l    *Links
	node string
	wake chan struct{} // somebody wants the connection now

	mu       sync.Mutex // guards the rest
	session  *session   // nil: there is none
	address  string
	heard    int64         // when something came last, of sessions before; else when the peer was first wanted
	attempts int           // that have begun
	err      error         // of the last attempt
	turn     chan struct{} // closed when an attempt has ended
	gone     bool          // it is not kept up any more: whoever finds it must look again
}

// peer finds the node, or begins to keep up a connection to it.
func (l *Links) peer(node string) (*peer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	if p := l.out[node]; p != nil {
		return p, nil
	}
	if _, ok := l.members(node); !ok {
		return nil, fmt.Errorf("reach node %s: %w", node, ErrNoMember)
	}
	p := &peer{l: l, node: node, wake: make(chan struct{}, 1), heard: now(), turn: make(chan struct{})}
	l.out[node] = p
	l.running.Go(p.keep)
	return p, nil
}

// wait returns the session, after one attempt if there is none.
func (p *peer) wait(ctx context.Context) (*session, error) {
	p.mu.Lock()
	for first := p.attempts + 1; ; {
		switch {
		case p.session != nil && !p.session.IsClosed():
			defer p.mu.Unlock()
			return p.session, nil
		case p.gone || p.err != nil && p.attempts >= first:
			defer p.mu.Unlock()
			return nil, fmt.Errorf("reach node %s: %w", p.node, p.err)
		}
		turn := p.turn
		p.mu.Unlock()
		select {
		case p.wake <- struct{}{}:
		default:
		}
		select {
		case <-turn:
		case <-ctx.Done():
			return nil, fmt.Errorf("reach node %s: %w", p.node, context.Cause(ctx))
		}
		p.mu.Lock()
	}
}

// up is the session, nil if there is none.
func (p *peer) up() *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.session
}

// over says how an attempt has ended.
func (p *peer) over(s *session, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.session, p.err = s, err
	close(p.turn)
	p.turn = make(chan struct{})
}

func (p *peer) silence() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session != nil {
		return p.session.silence()
	}
	return time.Duration(now() - p.heard)
}

func (p *peer) status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := Status{Node: p.node, Address: p.address, Err: p.err, Silence: time.Duration(now() - p.heard)}
	if s := p.session; s != nil {
		st.Up, st.Since, st.RoundTrip, st.Silence = true, s.since, time.Duration(s.rtt.Load()), s.silence()
		st.BytesIn, st.BytesOut = s.conn.in.Load(), s.conn.out.Load()
	}
	return st
}

// keep keeps the connection up for as long as the node is a member.
func (p *peer) keep() {
	l, failures, said := p.l, 0, time.Time{}
	for {
		address, ok := l.members(p.node)
		if !ok || l.ctx.Err() != nil {
			p.leave()
			return
		}
		began := time.Now()
		p.mu.Lock()
		p.address = address
		p.attempts++
		p.mu.Unlock()
		s, err := l.dial(address, p.node)
		p.over(s, err)
		if err == nil {
			failures, said = 0, time.Time{}
			l.Stats.Dialed.Add(1)
			l.log.Info("link up", "node", p.node, "address", address)
			l.watch(s, true)
			cause := s.end()
			p.mu.Lock()
			p.session, p.heard = nil, s.conn.heard.Load()
			p.mu.Unlock()
			if l.ctx.Err() == nil {
				l.log.Warn("link lost", "node", p.node, "address", address, "error", cause)
			}
		} else if failures++; l.ctx.Err() == nil {
			l.Stats.Failed.Add(1)
			if now := time.Now(); now.Sub(said) > time.Minute {
				said = now
				l.log.Warn("another node cannot be reached", "node", p.node, "address", address, "error", err,
					"advice", adviceOf(err))
			}
		}
		p.pause(began, failures)
	}
}

// pause waits until the next attempt: longer after each that has failed, and not for long if somebody asks for it.
func (p *peer) pause(began time.Time, failures int) {
	t := p.l.times
	timer := time.NewTimer(time.Until(began.Add(t.first)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.l.ctx.Done():
		return
	}
	if failures == 0 { // there was a connection
		return
	}
	delay := min(t.last, t.first<<min(failures-1, 20))
	delay -= time.Duration(rand.Int64N(int64(delay)/4 + 1)) // nodes that went together do not come back together
	timer.Reset(time.Until(began.Add(delay)))
	select {
	case <-timer.C:
	case <-p.wake:
	case <-p.l.ctx.Done():
	}
}

// leave forgets the peer, and tells those who wait for it.
func (p *peer) leave() {
	l, err := p.l, ErrNoMember
	l.mu.Lock()
	if l.closed {
		err = ErrClosed
	}
	delete(l.out, p.node)
	l.mu.Unlock()
	p.mu.Lock()
	p.gone = true
	p.mu.Unlock()
	p.over(nil, err)
}

func (l *Links) dial(address, node string) (*session, error) {
	ctx, cancel := context.WithTimeout(l.ctx, l.times.shake)
	defer cancel()
	var d net.Dialer
	below, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	var s *session
	g, err := l.shake(ctx, below, node, 0)
	if err == nil {
		s, err = l.multiplex(g, true)
	}
	if err != nil {
		_ = below.Close() // it says nothing of use
		return nil, err
	}
	return s, nil
}

// adviceOf says what an administrator can do about an attempt that has failed.
func adviceOf(err error) string {
	var unknown x509.UnknownAuthorityError
	var other x509.HostnameError
	var version *versionError
	var remote *net.OpError
	switch {
	case errors.As(err, &unknown):
		return "the two nodes have different cluster keys: copy the key file of one to the other, and restart that"
	case errors.As(err, &other):
		return "another node answers at this address: give each node an address of its own (cluster.address)"
	case errors.As(err, &version):
		return "their versions are too far apart: upgrade all nodes version by version"
	case errors.As(err, &remote) && remote.Op == "remote error":
		return "the other node has refused this one: compare their cluster keys, and see its log"
	}
	return "see that the other node runs, and that its address (cluster.address) can be reached from here"
}
