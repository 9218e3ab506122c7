// Package bytestreams passes files from one client to another that do not reach each other: each host has a proxy for
// SOCKS5 bytestreams at proxy.<host> (XEP-0065 §6), to which both connect, and one of our users has their connections
// joined. Whoever asks must be a user of this server; the other may be anybody.
//
// Until a stream is activated, a connection is a stranger's: it counts in the gate as all do, holds no buffer, and ends
// after the time that a login may take. Nothing that comes before is passed on (§10.1).
//
// Left out: UDP (§8); bytestreams to several at a time; users of other servers as those who ask.
package bytestreams

import (
	"crypto/sha1"
	"encoding/hex"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/config"
	"jackdaw/router"
	"jackdaw/router/budget"
	"jackdaw/router/gate"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Name is that of the module.
const Name = "bytestreams"

const nsBytestreams = "http://jabber.org/protocol/bytestreams"

const (
	// perAccount is how many streams an account may have at a time.
	perAccount = 10
	// idle is how long neither side may say anything.
	idle = 5 * time.Minute
	// piece is how much is passed on at once.
	piece = 16 << 10
)

// A Place is a domain of the service, and where clients find it.
type Place struct {
	Domain, Host string
	Port         int
}

// Options of New; all are needed.
type Options struct {
	Router *router.Router
	Places func() []Place // asked by router.Use and with each request
	// May says whether an account may have streams.
	May      func(user jid.JID) (bool, error)
	Settings func() *config.Bytestreams
	Limits   func() *config.Limits
	Gate     *gate.Keeper
	Log      *slog.Logger
}

// Stats count since the start, but for those that say they are current.
type Stats struct {
	Active  atomic.Int64 // current: streams
	Streams atomic.Int64 // activated
	Bytes   atomic.Int64 // passed on, both ways
	Refused atomic.Int64 // connections, by the limits of their address
}

// A Service is the proxy. It is safe for concurrent use.
type Service struct {
	Stats Stats

	o       Options
	service *router.Service
	rates   *budget.Book
	working sync.WaitGroup

	mu        sync.Mutex                     // guards the rest
	listeners []net.Listener                 // to be closed
	guests    map[*guest]struct{}            // all that are connected
	waiting   map[string][]*guest            // two at most, by the address that they have asked for
	users     map[jid.JID]map[*pair]struct{} // streams, by whose they are
	closed    bool
}

// A guest is a connection.
type guest struct {
	net.Conn
	pass *gate.Pass
	dst  string // that it has asked for; "": nothing yet
}

// A pair is an activated stream.
type pair struct{ one, other *guest }

// New returns the proxy, which listens nowhere yet.
func New(o Options) *Service {
	s := &Service{o: o, guests: map[*guest]struct{}{}, waiting: map[string][]*guest{},
		users: map[jid.JID]map[*pair]struct{}{}}
	s.rates = budget.New(func() budget.Rate {
		n := o.Settings().Rate
		return budget.Rate{PerSecond: n, Burst: n}
	})
	s.service = &router.Service{Handle: s.handle, Domains: func() (all []string) {
		for _, p := range o.Places() {
			all = append(all, p.Domain)
		}
		return all
	}}
	return s
}

// Module returns the module.
func (s *Service) Module() router.Module {
	return router.Module{Name: Name, Service: s.service,
		Specs: []router.Spec{{Name: "XEP-0065", Version: "1.8.2", Note: "the proxy, over TCP, for users of this server"}}}
}

// EndOf ends the streams of an account.
func (s *Service) EndOf(user jid.JID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.users[user.Bare()] {
		_ = p.one.Close() // whoever reads from it ends the rest
	}
}

// Close ends all, and returns when that is so.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	for _, l := range s.listeners {
		_ = l.Close() // Serve returns either way
	}
	for g := range s.guests {
		_ = g.Close() // whoever serves it finds out
	}
	s.mu.Unlock()
	s.working.Wait()
}

// handle takes what is addressed to the domains of the proxy. What it leaves undecided the router refuses.
func (s *Service) handle(e *router.Envelope) {
	q := e.Stanza
	switch {
	case q.Type == xmpp.TypeError, q.IsAnswer(), q.Kind == xmpp.Presence:
		e.Settle(router.Dropped)
		return
	case q.Kind != xmpp.IQ || !q.To.IsDomain():
		return
	}
	name, _ := q.First()
	switch {
	case name == xmpp.Name{Space: nsBytestreams, Local: "query"}:
		s.query(e)
	case q.Type != xmpp.TypeGet:
	case name == xmpp.Name{Space: xmpp.NSPing, Local: "ping"}:
		s.o.Router.Answer(e, nil)
	case name.Local == "query" && (name.Space == xmpp.NSDiscoInfo || name.Space == xmpp.NSDiscoItems):
		if el := q.Child(name); el == nil || el.Attr("node") != "" {
			e.Refuse(xmpp.ItemNotFound("there is no such node"))
			return
		}
		w := xmpp.NewWriter(nil).Start(name.Space, "query")
		if name.Space == xmpp.NSDiscoInfo { // §4
			w.Start("", "identity").Attr("category", "proxy").Attr("type", "bytestreams").
				Attr("name", "SOCKS5 Bytestreams").End()
			for _, f := range []string{nsBytestreams, xmpp.NSDiscoInfo, xmpp.NSDiscoItems, xmpp.NSPing} {
				w.Start("", "feature").Attr("var", f).End()
			}
		}
		s.o.Router.Answer(e, w.End().Bytes())
	}
}

// query tells a user where the proxy is (§4), or joins the two connections of his stream (§6.3.5).
func (s *Service) query(e *router.Envelope) {
	if e.Session == nil {
		e.Refuse(xmpp.Forbidden("the proxy is for users of this server"))
		return
	}
	switch may, err := s.o.May(e.Session.Bare()); {
	case err != nil:
		s.o.Log.Warn("whether an account may use the proxy cannot be found out", "account", e.Session.Bare(), "error", err)
		e.Refuse(router.Unavailable())
		return
	case !may:
		e.Refuse(xmpp.Forbidden("the account may not use the proxy"))
		return
	}
	q := e.Stanza.Child(xmpp.Name{Space: nsBytestreams, Local: "query"})
	if q == nil {
		e.Refuse(xmpp.BadRequest("expected a query"))
		return
	}
	if e.Stanza.Type == xmpp.TypeSet {
		s.activate(e, q)
		return
	}
	for _, p := range s.o.Places() {
		if p.Domain == e.Stanza.To.Domain() {
			w := xmpp.NewWriter(nil).Start(nsBytestreams, "query")
			w.Start("", "streamhost").Attr("jid", p.Domain).Attr("host", p.Host).Attr("port", strconv.Itoa(p.Port)).End()
			s.o.Router.Answer(e, w.End().Bytes())
			return
		}
	}
	e.Refuse(xmpp.NotAllowed("there is no proxy")) // §4
}

// activate joins two connections. The address that they have asked for is made of the address of who asks now, so that
// nobody activates a stream of another.
func (s *Service) activate(e *router.Envelope, q *xmpp.Element) {
	a := q.Child(xmpp.Name{Space: nsBytestreams, Local: "activate"})
	sid := q.Attr("sid")
	if a == nil || sid == "" {
		e.Refuse(xmpp.BadRequest("expected sid, and activate"))
		return
	}
	target, err := jid.Parse(a.Text())
	if err != nil {
		e.Refuse(xmpp.JIDMalformed("that is no address"))
		return
	}
	dst := Address(sid, e.Stanza.From, target)
	user := e.Session.Bare()
	s.mu.Lock()
	two := s.waiting[dst]
	var bad *xmpp.Error
	switch {
	case len(two) == 0:
		bad = xmpp.ItemNotFound("nobody is connected for such a stream")
	case len(two) == 1:
		bad = xmpp.NotAllowed("only one side is connected")
	case len(s.users[user]) >= perAccount:
		bad = xmpp.ResourceConstraint("the account has too many streams, try again later")
	case s.closed:
		bad = xmpp.NotAllowed("the proxy is closing")
	}
	if bad != nil {
		s.mu.Unlock()
		e.Refuse(bad)
		return
	}
	delete(s.waiting, dst)
	p := &pair{two[0], two[1]}
	if s.users[user] == nil {
		s.users[user] = map[*pair]struct{}{}
	}
	s.users[user][p] = struct{}{}
	s.working.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.working.Done()
		s.join(user, p)
	}()
	s.o.Router.Answer(e, nil)
}

// Address is what both sides of a stream ask for (§5.3.2): SHA-1 is asked for, and nothing relies on its strength.
func Address(sid string, requester, target jid.JID) string {
	h := sha1.Sum([]byte(sid + requester.String() + target.String()))
	return hex.EncodeToString(h[:])
}
