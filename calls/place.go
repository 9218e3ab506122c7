package calls

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pion/stun/v4"

	"jackdaw/config"
	"jackdaw/router/gate"
)

const (
	// lookAgain is how often the address is looked for: that of a household may be another after a night.
	lookAgain = 5 * time.Minute
	// askTime is how long a STUN server may take, and tries how often it is asked meanwhile (RFC 8489 §6.2.1).
	askTime = 3 * time.Second
	tries   = 3
)

// An Asker asks a STUN server from which address this machine comes.
type Asker func(ctx context.Context, network, server string) (netip.Addr, error)

// Interfaces are the addresses of this machine: all of them, and those of them that last.
type Interfaces struct{ All, Lasting []netip.Addr }

// Find says where this machine is, as the configuration says, else its interfaces, else a STUN server. Nil: none is
// asked.
func Find(ctx context.Context, c *config.Calls, own Interfaces, ask Asker) *Place {
	p := &Place{Own: own.All}
	told := own.Lasting
	if len(c.Addresses) > 0 {
		told = nil
		for _, text := range c.Addresses {
			a, _ := netip.ParseAddr(text) // it has been checked
			told = append(told, a)
		}
	}
	for _, a := range told {
		at := &p.V4
		if a.Is6() {
			at = &p.V6
		}
		// Of several the first one at which somebody listens.
		if Public(a) && (!at.IsValid() || len(p.Ports(c.Listen, *at)) == 0 && len(p.Ports(c.Listen, a)) > 0) {
			*at = a
		}
	}
	switch {
	case p.V4.IsValid() || p.V6.IsValid():
		return p
	case len(c.Addresses) > 0:
		p.Why = strings.Join(c.Addresses, " and ") + " of calls.addresses is not public: no client elsewhere reaches it"
		return p
	case c.Stun == "":
		p.Why = "no interface of this machine has a public address: say in calls.addresses which one leads here, or name " +
			"a STUN server in calls.stun"
		return p
	case ask == nil:
		p.Why = "the STUN server of calls.stun has not answered yet"
		return p
	}
	var failed error
	for network, at := range map[string]*netip.Addr{"udp4": &p.V4, "udp6": &p.V6} {
		a, err := ask(ctx, network, c.Stun)
		switch {
		case err != nil:
			failed = errors.Join(failed, err)
		case !Public(a):
			failed = errors.Join(failed, fmt.Errorf("it sees this machine at %s, which is not public", a))
		default:
			*at = a
		}
	}
	if !p.V4.IsValid() && !p.V6.IsValid() {
		p.Why = "the STUN server " + c.Stun + " of calls.stun does not say where this machine is: " +
			strings.ReplaceAll(failed.Error(), "\n", "; ")
	}
	return p
}

// Ports are those at which one of these listeners takes what clients elsewhere send to an address of this machine.
func (p *Place) Ports(listen []string, at netip.Addr) (ports []int) {
	for _, addr := range listen {
		host, text, err := net.SplitHostPort(addr)
		port, bad := strconv.Atoi(text)
		if err == nil && bad == nil && port != 0 && p.takes(host, at) && !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports
}

// takes says whether a listener on a host, as the configuration writes it, takes what is sent to an address.
func (p *Place) takes(host string, at netip.Addr) bool {
	on, err := netip.ParseAddr(host)
	on = on.Unmap()
	switch {
	case err != nil: // none is all, and of another name it is not known
		return host != "localhost"
	case on.IsUnspecified(), on == at: // of either family: package net listens to both
		return true
	}
	// A router may translate to it what is not this machine's own.
	return !Public(on) && !on.IsLoopback() && on.Is4() == at.Is4() && !slices.Contains(p.Own, at)
}

// OfSystem are the interfaces of this machine.
func OfSystem() (i Interfaces, err error) {
	list, err := net.InterfaceAddrs()
	for _, one := range list {
		if n, ok := one.(*net.IPNet); ok {
			if a, ok := netip.AddrFromSlice(n.IP); ok {
				i.All = append(i.All, a.Unmap())
			}
		}
	}
	i.Lasting = gate.Addresses()
	return i, err
}

// Here is Find for this machine.
func Here(ctx context.Context, c *config.Calls) *Place {
	own, err := OfSystem()
	if err != nil { // what the configuration says is known all the same
		own = Interfaces{}
	}
	return Find(ctx, c, own, AskSTUN)
}

// AskSTUN asks a STUN server over UDP from which address the question comes (RFC 8489 §2).
func AskSTUN(ctx context.Context, network, server string) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, network, server)
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	return Bind(ctx, c)
}

// Bind asks the STUN server at the other end of a connection from which address this comes. Over UDP it asks again
// where no answer comes, until ctx ends.
func Bind(ctx context.Context, c net.Conn) (netip.Addr, error) {
	end, ok := ctx.Deadline()
	if !ok {
		end = time.Now().Add(askTime)
	}
	q, err := stun.Build(stun.TransactionID, stun.BindingRequest)
	if err != nil {
		return netip.Addr{}, err
	}
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })() // that it ended shows in the error
	b := make([]byte, 1500)
	wait := max(time.Until(end)/tries, 0)
	for i := range tries {
		if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
			return netip.Addr{}, err
		}
		if _, err := c.Write(q.Raw); err != nil {
			return netip.Addr{}, err
		}
		for {
			n, err := c.Read(b)
			if err != nil {
				if t, ok := errors.AsType[net.Error](err); ok && t.Timeout() && i < tries-1 && ctx.Err() == nil {
					break
				}
				return netip.Addr{}, err
			}
			m := &stun.Message{Raw: b[:n]}
			var at stun.XORMappedAddress
			if m.Decode() != nil || m.TransactionID != q.TransactionID {
				continue // somebody else's
			}
			if err := at.GetFrom(m); err != nil {
				return netip.Addr{}, fmt.Errorf("the answer says no address: %w", err)
			}
			a, _ := netip.AddrFromSlice(at.IP)
			return a.Unmap(), nil
		}
	}
	return netip.Addr{}, errors.New("no answer")
}

// find looks for the address, and tells if it is another.
func (s *Server) find(ctx context.Context, ask Asker) {
	own, err := s.o.Interfaces()
	if err != nil {
		s.o.Log.Warn("the addresses of this machine cannot be read", "error", err)
	}
	p, old := Find(ctx, s.o.Settings(), own, ask), s.place.Load()
	if ctx.Err() != nil {
		return
	}
	if old != nil && p.Why != "" && old.Why == "" && s.o.Settings().Stun != "" && slices.Equal(old.Own, p.Own) {
		return // a server that does not answer for once says nothing about the address
	}
	s.place.Store(p)
	if old != nil && old.V4 == p.V4 && old.V6 == p.V6 && old.Why == p.Why {
		return
	}
	if p.Why != "" {
		if ask != nil || s.o.Settings().Stun == "" {
			s.o.Log.Warn("clients are not told of the relay for calls", "reason", p.Why)
		}
	} else {
		s.o.Log.Info("the relay for calls has found where it is", "addresses", p.Addresses())
	}
	if old != nil {
		s.o.Changed()
	}
}

// Place is where the relay is.
func (s *Server) Place() *Place { return s.place.Load() }

// Look has the address looked for anew, since the configuration may say another.
func (s *Server) Look(ctx context.Context) { s.find(ctx, AskSTUN) }
