package bytestreams

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"jackdaw/router/gate"
	"jackdaw/xmpp/jid"
)

var (
	errForeign = errors.New("what came is no request for a bytestream")
	errTaken   = errors.New("two are connected for that stream already")
)

// Serve takes connections until Close.
func (s *Service) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return l.Close()
	}
	s.listeners = append(s.listeners, l)
	s.mu.Unlock()
	return gate.Accept(l, "bytestreams", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.closed
	}, nil, s.o.Log, s.accept)
}

// accept begins to serve a connection.
func (s *Service) accept(c net.Conn) {
	pass, why := s.o.Gate.Admit(c, gate.RemoteIP(c), s.o.Limits())
	if why != "" {
		s.Stats.Refused.Add(1)
		_ = c.Close() // nothing can be said to it
		return
	}
	g := &guest{Conn: c, pass: pass}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		pass.Leave()
		_ = c.Close() // likewise
		return
	}
	s.guests[g] = struct{}{}
	s.working.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.working.Done()
		if s.greet(g) != nil {
			s.leave(g)
		}
	}()
}

// greet reads what a connection is for, and has it wait. Its time runs on until it is joined to another.
func (s *Service) greet(g *guest) error {
	end := time.Now().Add(s.o.Limits().AuthTime)
	if err := g.SetDeadline(end); err != nil {
		return err
	}
	dst, err := request(g)
	if err != nil {
		return err
	}
	s.mu.Lock()
	g.dst = dst
	if len(s.waiting[dst]) >= 2 {
		s.mu.Unlock()
		_, _ = g.Write([]byte{5, 2, 0, 1, 0, 0, 0, 0, 0, 0}) // RFC 1928 §6: not allowed
		return errTaken
	}
	s.waiting[dst] = append(s.waiting[dst], g)
	s.mu.Unlock()
	// §5.3.2: BND is what was asked for.
	answer := append([]byte{5, 0, 0, 3, byte(len(dst))}, dst...)
	if _, err := g.Write(append(answer, 0, 0)); err != nil {
		return err
	}
	// The deadline of the connection ends nobody who does not read. A stream that began meanwhile has taken it away.
	time.AfterFunc(time.Until(end), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if slices.Contains(s.waiting[dst], g) {
			s.remove(g)
		}
	})
	return nil
}

// request speaks SOCKS5 (RFC 1928) as far as the address that is asked for: 40 digits in hexadecimal.
func request(c io.ReadWriter) (dst string, err error) {
	b := make([]byte, 262)
	if _, err := io.ReadFull(c, b[:2]); err != nil {
		return "", err
	}
	if b[0] != 5 || b[1] == 0 {
		return "", errForeign
	}
	methods := b[:b[1]]
	if _, err := io.ReadFull(c, methods); err != nil {
		return "", err
	}
	if !bytes.Contains(methods, []byte{0}) { // without a login
		_, _ = c.Write([]byte{5, 0xff}) // a courtesy
		return "", errForeign
	}
	if _, err := c.Write([]byte{5, 0}); err != nil {
		return "", err
	}
	// Version, CONNECT, reserved, a name of 40 bytes, the name, the port.
	head := []byte{5, 1, 0, 3, 40}
	if _, err := io.ReadFull(c, b[:len(head)]); err != nil {
		return "", err
	}
	if !bytes.Equal(b[:len(head)], head) {
		return "", errForeign
	}
	if _, err := io.ReadFull(c, b[:42]); err != nil {
		return "", err
	}
	name := b[:40]
	if _, err := hex.Decode(make([]byte, 20), name); err != nil {
		return "", errForeign
	}
	return string(bytes.ToLower(name)), nil
}

// leave ends a connection.
func (s *Service) leave(g *guest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(g)
}

// remove ends a connection. The caller holds mu, so that nobody who sees it end finds it waiting.
func (s *Service) remove(g *guest) {
	_ = g.Close() // it may be closed already
	g.pass.Leave()
	delete(s.guests, g)
	left := slices.DeleteFunc(s.waiting[g.dst], func(o *guest) bool { return o == g })
	if s.waiting[g.dst] = left; len(left) == 0 {
		delete(s.waiting, g.dst)
	}
}

// join passes on what either side says until one has ended.
func (s *Service) join(user jid.JID, p *pair) {
	s.Stats.Streams.Add(1)
	s.Stats.Active.Add(1)
	defer s.Stats.Active.Add(-1)
	var both sync.WaitGroup
	for _, way := range [][2]*guest{{p.one, p.other}, {p.other, p.one}} {
		way[0].pass.Known()
		both.Go(func() {
			s.pass(user, way[0], way[1])
			if c, ok := way[1].Conn.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
				return // the other way may have something left to say
			}
			_ = way[1].Close() // likewise
		})
	}
	both.Wait()
	s.leave(p.one)
	s.leave(p.other)
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.users[user], p); len(s.users[user]) == 0 {
		delete(s.users, user)
	}
}

// pass copies one way, as fast as the account may.
func (s *Service) pass(user jid.JID, from, to *guest) {
	rate := s.rates.Open(user.String())
	defer rate.Close()
	b := make([]byte, piece)
	for left := s.o.Settings().MaxBytes; left > 0; {
		if from.SetReadDeadline(time.Now().Add(idle)) != nil {
			return
		}
		n, err := from.Read(b[:min(int64(piece), left)])
		if n > 0 {
			if to.SetWriteDeadline(time.Now().Add(s.o.Limits().WriteStall)) != nil {
				return
			}
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
			left -= int64(n)
			s.Stats.Bytes.Add(int64(n))
			rate.Spend(n)
			if wait := rate.Wait(); wait > 0 {
				time.Sleep(wait)
			}
		}
		if err != nil {
			return
		}
	}
	_ = from.Close() // beyond the bound
}
