// Package httpmessage lets any program that can make an HTTP request send an XMPP message: POST /message for one stanza
// or a multicast, and the gateway under /api/1.0/xmppdomains/ with XML or JSON.
//
// Both go through one pipeline: authenticate, authorise, parse, address, decide per path, route, report. Credentials
// are HTTP Basic (RFC 7617), errors plain text or problem details (RFC 9457), preferences those of RFC 7240; addresses
// of a multicast come as in XEP-0033, and all of them are treated as bcc. An answer of 200 is a promise: each copy that
// the report calls accepted is in a durable place or in the hands of a live session.
//
// Left out: the multicast service for XMPP clients, and what becomes of replies to forged senders, which are modules of
// their own; where a stanza may go is decided by the router alone.
package httpmessage

import (
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/julienschmidt/httprouter"

	"jackdaw/modules/internal/posting"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/router/budget"
	"jackdaw/router/tokens"
	"jackdaw/storage"
	"jackdaw/web"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/stream"
)

// Defaults of Settings.
const (
	DefaultMaxBody       = 256 << 10
	DefaultMaxRecipients = 10000
)

// patience bounds how long an answer waits for storage.
const patience = 15 * time.Second

// Options are what a Service needs. All but Log must be set.
type Options struct {
	Router   *router.Router
	Accounts *accounts.Service
	// Engine keeps the first answers to requests with an Idempotency-Key.
	Engine storage.Engine
	// Hosts are the domains we serve, the first being the one that an unspecific request means. It may be called at any
	// time.
	Hosts func() []string
	// Settings can be replaced later: see Configure.
	Settings Settings
	// Lanes is how many recipients of a post are sent to at a time, so that what a distant storage takes for one is not
	// waited for before the next; 0 is 1, which costs least where storage answers at once.
	Lanes int
	// Budgets are those of accounts, by bare address, for all ways in; nil: there are none.
	Budgets *budget.Book
	// Tokens are those of accounts, which are taken in place of passwords; nil: none are.
	Tokens *tokens.Service
	// Rooms says whether a domain is that of a service of rooms of this server; nil: none is.
	Rooms func(domain string) bool
	// Foresight is for dry runs; nil: nobody has blocked anybody, and who is online is told to administrators alone.
	Foresight Foresight
	// Upload keeps files that come with a message; nil: none can.
	Upload Upload
	Log    *slog.Logger
}

// Settings may change while the service runs. The zero value means the defaults.
type Settings struct {
	MaxBody       int           // bytes of a request's body
	MaxRecipients int           // of one request
	BodyTime      time.Duration // for a body to arrive
	// OwnAddress sends the remote copies of a forged foreign sender from the authenticated account, with the forged
	// address as XEP-0033 ofrom, instead of refusing them.
	OwnAddress bool
	// TrustedProxies are those whose X-Forwarded-For counts.
	TrustedProxies []netip.Prefix
	// SocketUsers and SocketGroups are the accounts of users and groups of this machine, by number: who comes over a unix
	// socket and shows no credentials is that account. The user counts more.
	SocketUsers, SocketGroups map[uint32]jid.JID
	// Resolve has the domains of peers that are found without DNS.
	Resolve map[string]string
	// Stanza bounds the message; its Bytes are those of MaxBody.
	Stanza stream.Limits
}

// Service answers the requests. It is safe for concurrent use.
type Service struct {
	o        Options
	admit    func(from, to jid.JID) *xmpp.Error
	settings atomic.Pointer[Settings]
	routes   *httprouter.Router
	answers  storage.Log
	trackers atomic.Pointer[posting.Tracker] // nil: nobody keeps what becomes of posts
	posts    sync.Pool                       // of *post

	mu     sync.Mutex // guards flying
	flying map[string]bool
	swept  atomic.Int64 // unix seconds when expired answers were last removed

	// Stats may be read at any time.
	Stats Stats
}

// Stats count since the start.
type Stats struct {
	Answers    [len(Statuses)]atomic.Int64 // requests, by the index of Statuses
	Recipients [6]atomic.Int64             // of requests that came as far as routing, by router.Outcome
	Replayed   atomic.Int64                // requests answered from memory (Idempotency-Key)
	Panics     atomic.Int64
}

// Statuses are all that the service answers with.
var Statuses = [...]int{200, 400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 503}

func (s *Stats) answered(status int) {
	for i, one := range Statuses {
		if one == status {
			s.Answers[i].Add(1)
			return
		}
	}
}

// New returns a service; Handler gives what to serve.
func New(o Options) *Service {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{o: o, admit: o.Router.Admit, answers: o.Engine.Log(answerSpace), flying: map[string]bool{}}
	s.posts.New = func() any { return &post{delivery: delivery{s: s}, body: make([]byte, 0, 4<<10)} }
	s.Configure(o.Settings)
	s.route()
	return s
}

// TrackBy has what becomes of posts kept, from now on.
func (s *Service) TrackBy(t posting.Tracker) { s.trackers.Store(&t) }

// tracker is nil if nobody keeps what becomes of posts.
func (s *Service) tracker() posting.Tracker {
	if t := s.trackers.Load(); t != nil {
		return *t
	}
	return nil
}

// Configure replaces the settings; requests under way keep those they began with.
func (s *Service) Configure(c Settings) {
	if c.MaxBody <= 0 {
		c.MaxBody = DefaultMaxBody
	}
	if c.MaxRecipients <= 0 {
		c.MaxRecipients = DefaultMaxRecipients
	}
	if c.BodyTime <= 0 {
		c.BodyTime = web.DefaultLimits.BodyTime
	}
	if c.Stanza.Elements <= 0 {
		c.Stanza.Elements = stream.DefaultLimits.Elements
	}
	c.Stanza.Bytes = c.MaxBody
	s.settings.Store(&c)
}

// PathMessage is where a stanza is posted, on every host.
const PathMessage = "/message"

// Paths of the gateway and of outcomes, as httprouter writes them.
const (
	pathUser    = "/api/1.0/xmppdomains/:fqdn/gateway/messages"
	pathAPI     = "/api/1.0/xmppdomains/:fqdn/gateway/messages/:username"
	pathGateway = "/api/1.0/"
	pathOpenAPI = "/api/openapi.json"
)

func (s *Service) route() {
	r := httprouter.New()
	// What the contract does not name is not found: no redirects.
	r.RedirectTrailingSlash, r.RedirectFixedPath, r.HandleOPTIONS = false, false, false
	r.POST(pathUser, func(w http.ResponseWriter, q *http.Request, ps httprouter.Params) {
		s.serve(w, q, gatewayUser, ps.ByName("fqdn"), "")
	})
	r.POST(pathAPI, func(w http.ResponseWriter, q *http.Request, ps httprouter.Params) {
		s.serve(w, q, gatewayAPI, ps.ByName("fqdn"), ps.ByName("username"))
	})
	r.GET(pathPosts, func(w http.ResponseWriter, q *http.Request, _ httprouter.Params) { s.asks(w, q, "") })
	r.GET(pathPost, func(w http.ResponseWriter, q *http.Request, ps httprouter.Params) { s.asks(w, q, ps.ByName("id")) })
	r.GET(pathOpenAPI, func(w http.ResponseWriter, _ *http.Request, _ httprouter.Params) {
		s.Stats.answered(http.StatusOK)
		w.Header()["Content-Type"] = typeJSON
		w.Write(openAPI) // a client that has gone needs no answer
	})
	r.MethodNotAllowed = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == pathOpenAPI || strings.HasPrefix(q.URL.Path, pathPosts) {
			s.refuse(w, q, shapeOf(q), methodNotAllowed(http.MethodGet))
			return
		}
		s.refuse(w, q, shapeGateway, methodNotAllowed(http.MethodPost))
	})
	r.NotFound = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		s.refuse(w, q, shapeOf(q), problem(http.StatusNotFound, "Not found."))
	})
	s.routes = r
}

// Handler serves both APIs and their description; every other path is not found.
func (s *Service) Handler() http.Handler { return http.HandlerFunc(s.handle) }

func (s *Service) handle(w http.ResponseWriter, r *http.Request) {
	defer s.recovered(w, r)
	if r.URL.Path != PathMessage {
		s.routes.ServeHTTP(w, r)
		return
	}
	if r.Method != http.MethodPost {
		s.refuse(w, r, shapeOf(r), methodNotAllowed(http.MethodPost))
		return
	}
	s.serve(w, r, direct, "", "")
}

// recovered answers for a panic of ours; net/http would only close the connection.
func (s *Service) recovered(w http.ResponseWriter, r *http.Request) {
	x := recover()
	if x == nil {
		return
	}
	s.Stats.Panics.Add(1)
	s.o.Log.Error("panic in a request over HTTP", "do", "report it as a fault of jackdaw, with this line",
		"path", r.URL.Path, "panic", x, "stack", string(debug.Stack()))
	w.Header().Set("Connection", "close")
	form := shapeOf(r)
	switch {
	case strings.HasPrefix(r.URL.Path, pathPosts):
		form = shapeJSON
	case strings.HasPrefix(r.URL.Path, pathGateway):
		form = shapeGateway
	}
	s.refuse(w, r, form, problem(http.StatusInternalServerError, "Internal server error."))
}

// refuse answers what never became a post.
func (s *Service) refuse(w http.ResponseWriter, r *http.Request, shape shape, p *refusal) {
	s.Stats.answered(p.status)
	p.write(w, shape, nil)
	s.o.Log.Info("http request", "status", p.status, "method", r.Method, "path", r.URL.Path, "client", s.client(r).name())
}
