package lookup

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"
)

const (
	attemptTimeout  = 10 * time.Second
	attemptDelay    = 250 * time.Millisecond // "Connection Attempt Delay" (RFC 8305 §5)
	resolutionDelay = 50 * time.Millisecond  // how long IPv6 may come after IPv4 (RFC 8305 §3)
)

// race is one use of a target: two lookups and several connections side by side.
type race struct {
	finder *Finder
	target Target

	answers chan answer
	results chan result

	six, four  []netip.Addr // not yet tried
	lastWasSix bool
	started    int // connections
	flying     int // connections
	unanswered int // lookups
	refused    int
	lookupErr  error // of a lookup that the DNS did not answer, else of any
	dialErr    error // the last
}

type answer struct {
	six bool
	hostAddrs
}

type result struct {
	conn net.Conn
	err  error
}

// DialTarget connects to the first address of a target that accepts: IPv6 first and
// both families in turn, a new attempt beside the running ones every 250 ms or at
// once after a failure (RFC 8305). The losers are closed. It takes no more than
// three times 10 s, for lookups and attempts together. The error is an *Error.
func (f *Finder) DialTarget(ctx context.Context, t Target) (*Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the lookups and the losers
	// Without buffers: what nobody takes any more, its goroutine closes itself.
	r := &race{finder: f, target: t, answers: make(chan answer), results: make(chan result)}
	if ip, ok := literal(t.Host); ok {
		r.add(answer{ip.Is6(), literalAddrs(ip)})
	} else {
		r.unanswered = 2
		go r.ask(ctx, "ip6")
		go r.ask(ctx, "ip4")
	}
	conn, err := r.run(ctx)
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: conn, DirectTLS: t.DirectTLS, Target: t.String()}, nil
}

func literalAddrs(ip netip.Addr) hostAddrs {
	if !isUsable(ip) {
		return hostAddrs{err: &net.DNSError{Err: "no usable address", Name: ip.String(), IsNotFound: true}}
	}
	return hostAddrs{addrs: []netip.Addr{ip}}
}

func (r *race) run(ctx context.Context) (net.Conn, error) {
	var gate <-chan time.Time // while it is not nil, the next attempt waits for it
	for {
		if gate == nil {
			if ip, ok := r.next(); ok {
				r.started++
				r.flying++
				go r.connect(ctx, ip)
				gate = time.After(attemptDelay)
			}
		}
		if r.unanswered == 0 && r.flying == 0 && !r.more() {
			return nil, r.failure()
		}
		select {
		case <-gate:
			gate = nil
		case a := <-r.answers:
			r.unanswered--
			r.add(a)
			if r.started == 0 {
				gate = nil
				if !a.six && r.unanswered > 0 {
					gate = time.After(resolutionDelay)
				}
			}
		case res := <-r.results:
			r.flying--
			if res.err == nil {
				return res.conn, nil
			}
			r.dialErr = res.err
			if errors.Is(res.err, syscall.ECONNREFUSED) {
				r.refused++
			}
			gate = nil
		case <-ctx.Done():
			reason := Unreachable
			if r.started == 0 {
				reason = LookupFailed
			}
			return nil, &Error{reason, r.target.Domain, ctx.Err()}
		}
	}
}

func (r *race) ask(ctx context.Context, network string) {
	h, err := r.finder.hosts.get(ctx, host{r.target.Host, network})
	if err != nil {
		return // ctx is done, and nobody listens
	}
	select {
	case r.answers <- answer{network == "ip6", h}:
	case <-ctx.Done():
	}
}

func (r *race) connect(ctx context.Context, ip netip.Addr) {
	limited, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	c, err := r.finder.dial(limited, "tcp", net.JoinHostPort(ip.String(), strconv.Itoa(int(r.target.Port))))
	select {
	case r.results <- result{c, err}:
	case <-ctx.Done():
		if err == nil {
			_ = c.Close() // a loser; nothing was written to it
		}
	}
}

func (r *race) add(a answer) {
	switch {
	case a.err != nil && (r.lookupErr == nil || notFound(r.lookupErr)):
		r.lookupErr = a.err
	case a.six:
		r.six = append(r.six, a.addrs...)
	default:
		r.four = append(r.four, a.addrs...)
	}
}

func (r *race) more() bool {
	return len(r.six)+len(r.four) > 0
}

// next takes the families in turn, IPv6 first (RFC 8305 §4).
func (r *race) next() (ip netip.Addr, ok bool) {
	if !r.more() {
		return ip, false
	}
	r.lastWasSix = len(r.six) > 0 && !(r.lastWasSix && len(r.four) > 0)
	if r.lastWasSix {
		ip, r.six = r.six[0], r.six[1:]
	} else {
		ip, r.four = r.four[0], r.four[1:]
	}
	return ip, true
}

// failure says why no attempt succeeded.
func (r *race) failure() error {
	e := &Error{Domain: r.target.Domain}
	switch {
	case r.started > 0 && r.refused == r.started:
		e.Reason, e.Err = Refused, r.dialErr
	case r.started > 0:
		e.Reason, e.Err = Unreachable, r.dialErr
	case !notFound(r.lookupErr):
		e.Reason, e.Err = LookupFailed, r.lookupErr
	case r.target.fallback:
		e.Reason, e.Err = NameNotFound, r.lookupErr
	default:
		e.Reason, e.Err = NoAddress, r.lookupErr
	}
	return e
}
