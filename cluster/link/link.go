// Package link connects the nodes of a cluster: each with each, by streams of several kinds.
//
// A node dials every other one, and opens streams on the connection that it has dialed. So there are two connections
// between two nodes, one for each direction, and nothing has to be settled when both dial at once. What belongs
// together, such as envelopes and their answers, goes both ways on one stream.
//
// A connection is TLS 1.3 with certificates of both ends that are derived from the cluster key, which nothing but a
// node has (see Key). Inside, yamux carries the streams, each with its own flow control: one that nobody reads stops no
// other. See docs/decisions/0060-links-between-nodes.md.
package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Kind says what a stream carries. The numbers are part of the protocol.
type Kind byte

// The kinds.
const (
	Envelopes  Kind = iota + 1 // stanzas and their answers: package relay
	Clients                    // the bytes of a client's stream
	HTTP                       // requests that concern an account
	Components                 // the bytes of a component's stream
	Control                    // what administrators ask for
)

// Bounds of what others can cause.
const (
	backlog    = 256     // streams that have been opened and not yet accepted
	maxStreams = 1 << 17 // of another node, on its connection to us
	maxShaking = 64      // connections of whom nothing is known yet
	maxID      = 255     // bytes of the id of a node
)

// times are how long things may take. Tests have shorter ones.
type times struct {
	ping     time.Duration // between two pings
	patience time.Duration // without a word, after which a connection has ended
	shake    time.Duration // until a connection has proved what it is, and a stream of which kind it is
	first    time.Duration // between two attempts to dial, at first
	last     time.Duration // the same after many failures
}

var usual = times{ping: 2 * time.Second, patience: 10 * time.Second, shake: 5 * time.Second,
	first: 100 * time.Millisecond, last: 5 * time.Second}

// Options of New.
type Options struct {
	Key    Key
	ID     string       // of this node
	Listen net.Listener // for the other nodes; Close closes it
	// Members returns the address, host:port, at which a node can be dialed, and whether it is a member.
	Members func(id string) (address string, ok bool)
	Log     *slog.Logger
}

// Stats count since the start.
type Stats struct {
	BytesIn, BytesOut atomic.Int64 // inside TLS
	Dialed, Accepted  atomic.Int64 // connections to nodes, and of nodes
	Failed            atomic.Int64 // attempts to dial
	Refused           atomic.Int64 // connections of strangers, of other clusters, and what was too many
	Streams           atomic.Int64 // that other nodes have opened
}

// Links are those of one node. They are safe for concurrent use.
type Links struct {
	Stats Stats

	id       string
	tls      *tls.Config
	listen   net.Listener
	members  func(id string) (string, bool)
	log      *slog.Logger
	times    times
	spoken   hello
	handlers [256]func(from string, c net.Conn)
	shaking  chan struct{}
	refusal  rare

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex // guards the rest
	out    map[string]*peer
	in     map[string]*session
	closed bool
}

// New returns links that are not served yet: Handle and Serve come next.
func New(o Options) (*Links, error) {
	if o.ID == "" || len(o.ID) > maxID {
		return nil, fmt.Errorf("the id of a node must have 1 to %d bytes", maxID)
	}
	config, err := o.Key.tlsConfig(o.ID)
	if err != nil {
		return nil, err
	}
	l := &Links{id: o.ID, tls: config, listen: o.Listen, members: o.Members, log: o.Log, times: usual, spoken: spoken,
		shaking: make(chan struct{}, maxShaking), out: map[string]*peer{}, in: map[string]*session{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l, nil
}

// Handle has f called, on a goroutine of its own, with each stream of that kind that another node opens. f closes it,
// or has somebody do so. It is called before Serve.
func (l *Links) Handle(k Kind, f func(from string, c net.Conn)) { l.handlers[k] = f }

// Serve takes what other nodes dial, until Close. It returns at once.
func (l *Links) Serve() { l.running.Go(l.listenFor) }

// ErrClosed is what Open returns after Close.
var ErrClosed = errors.New("the links of this node are closed")

// ErrNoMember is what Open returns for a node that is not in the cluster.
var ErrNoMember = errors.New("not a node of the cluster")

// Open opens a stream to another node. Where there is no connection it waits for one attempt to make it. A stream has
// its own flow control; its end, by either side, is seen by the other; it is no net.Conn that can be closed for one
// direction only. A Write waits for at most 10 s for a connection that takes nothing, and then ends the connection.
func (l *Links) Open(ctx context.Context, node string, k Kind) (net.Conn, error) {
	p, err := l.peer(node)
	if err != nil {
		return nil, err
	}
	s, err := p.wait(ctx)
	if err != nil {
		return nil, err
	}
	if k.own() && s.version >= withOwn {
		return p.openAlone(ctx, s, k)
	}
	return s.open(k)
}

// Silence says how long nothing has come from a node on the connection that this one has dialed, which proves that both
// directions work. It counts from the first time that somebody has asked for it, if nothing has come yet. From
// then on the connection is kept up. It is 0 for what is not a node of the cluster.
func (l *Links) Silence(node string) time.Duration {
	p, err := l.peer(node)
	if err != nil {
		return 0
	}
	return p.silence()
}

// A Status is how the connection to a node does.
type Status struct {
	Node      string
	Address   string        // where it was dialed last
	Up        bool          // there is a connection,
	Since     time.Time     // since then
	RoundTrip time.Duration // of the last ping
	Silence   time.Duration
	BytesIn   int64 // on this connection
	BytesOut  int64
	Err       error // of the last attempt; nil: it has succeeded
}

// Status describes the connections that this node has dialed or wants to, by the names of the nodes.
func (l *Links) Status() []Status {
	l.mu.Lock()
	all := make([]*peer, 0, len(l.out))
	for _, p := range l.out {
		all = append(all, p)
	}
	l.mu.Unlock()
	list := make([]Status, len(all))
	for i, p := range all {
		list[i] = p.status()
	}
	slices.SortFunc(list, func(a, b Status) int { return strings.Compare(a.Node, b.Node) })
	return list
}

// Close ends all connections, and returns when the handlers have.
func (l *Links) Close() {
	l.mu.Lock()
	l.closed = true
	l.cancel()
	open := make([]*session, 0, len(l.in)+len(l.out))
	for _, s := range l.in {
		open = append(open, s)
	}
	for _, p := range l.out {
		if s := p.up(); s != nil {
			open = append(open, s)
		}
	}
	l.mu.Unlock()
	if l.listen != nil {
		_ = l.listen.Close() // it may be closed already
	}
	for _, s := range open {
		s.close(ErrClosed)
	}
	l.running.Wait()
}

// rare lets something be said once a minute.
type rare struct{ next atomic.Int64 }

func (r *rare) now() bool {
	t := now()
	next := r.next.Load()
	return t >= next && r.next.CompareAndSwap(next, t+int64(time.Minute))
}
