package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"time"

	"jackdaw/cluster"
	"jackdaw/cluster/link"
	"jackdaw/modules/upload"
	"jackdaw/router/tokens"
	"jackdaw/web"
)

// streams is a listener of what is given to it.
type streams struct {
	all  chan net.Conn
	done chan struct{}
	once sync.Once
}

func newStreams() *streams { return &streams{all: make(chan net.Conn), done: make(chan struct{})} }

func (s *streams) add(c net.Conn) {
	select {
	case s.all <- c:
	case <-s.done:
		_ = c.Close() // the server ends
	}
}

// Accept implements net.Listener.
func (s *streams) Accept() (net.Conn, error) {
	select {
	case c := <-s.all:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (s *streams) Close() error {
	s.once.Do(func() { close(s.done) })
	return nil
}

// Addr implements net.Listener.
func (s *streams) Addr() net.Addr { return &net.UnixAddr{Name: "nodes", Net: "unix"} }

// What one node says to another of a request that it passes on. A client's own headers of these names go.
const (
	headerFrom   = "Jackdaw-From"   // the address of the client, as Request.RemoteAddr has it
	headerSecure = "Jackdaw-Secure" // whether it came over TLS
	headerPeer   = "Jackdaw-Peer"   // the user of that node who has connected to a unix socket: uid and gid
	headerWay    = "Jackdaw-Way"    // how many nodes have passed it on
)

// maxWay is how often a request is passed on: who does so may not know yet that the account has moved.
const maxWay = 4

// carried is in the context of requests that another node has passed on.
type carried struct{}

// A way is where a request goes, and how many nodes have passed it on then.
type way struct {
	node string
	long int
}

// ends says that the request is answered here in any case.
func (w way) ends() bool { return w.long >= maxWay }

// asOwn has the answer of another node look as if it were made here: net/http says when it was made and how long a
// short one is, and the connection ends after one that says so. Clients may depend on the order of what they get.
func asOwn(r *http.Response) error {
	r.Header.Del("Date")
	if r.ContentLength > 0 && r.ContentLength < 2048 {
		r.Header.Del("Content-Length")
	}
	if r.Close {
		r.Header.Set("Connection", "close")
	}
	return nil
}

// named writes the names of headers as they are where the answer is made.
type named struct{ http.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w named) WriteHeader(status int) {
	h := w.Header()
	if v, ok := h["Www-Authenticate"]; ok {
		delete(h, "Www-Authenticate")
		h["WWW-Authenticate"] = v
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w named) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// taking serves requests that other nodes pass on as if they had come to this one.
func taking(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		long, err := strconv.Atoi(r.Header.Get(headerWay))
		if err != nil { // that of a node of an earlier version goes no further
			long = maxWay
		}
		r = r.WithContext(context.WithValue(r.Context(), carried{}, way{long: long}))
		r.RemoteAddr = r.Header.Get(headerFrom)
		if r.Header.Get(headerSecure) != "" {
			r.TLS = &tls.ConnectionState{HandshakeComplete: true}
		}
		var peer web.Peer
		if n, err := fmt.Sscan(r.Header.Get(headerPeer), &peer.UID, &peer.GID); err == nil && n == 2 {
			r = web.WithPeer(r, peer)
		}
		for _, name := range []string{headerFrom, headerSecure, headerPeer, headerWay} {
			r.Header.Del(name)
		}
		next.ServeHTTP(w, r)
	})
}

// accountOf is the account that a request is said to be of, by its credentials, "" for none. Nothing is checked.
func (h *house) accountOf(r *http.Request) string {
	if strings.HasPrefix(r.URL.Path, upload.Path) {
		return upload.Claimed(r)
	}
	if bot := h.features.Bots.Claimed(r.Context(), r.URL.Path, false); bot != "" {
		return bot
	}
	_, password, _ := r.BasicAuth()
	scheme, bearer, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	shown := []string{password, r.Header.Get("X-Gotify-Key"), r.URL.Query().Get("token")}
	if strings.EqualFold(scheme, "Bearer") {
		shown = append(shown, strings.TrimSpace(bearer))
	}
	looks := 2 // into storage, for whoever has shown nothing that is good: a request has one token, or one too many
	for _, secret := range append(shown, strings.Split(r.URL.Path, "/")...) {
		if _, ok := tokens.KindOf(secret); !ok {
			continue
		}
		if looks--; looks < 0 {
			break
		}
		if t, err := h.tokens.Get(r.Context(), tokens.IDOf(secret)); err == nil {
			return t.Owner.String()
		}
	}
	if bot := h.features.Bots.Claimed(r.Context(), r.URL.Path, true); bot != "" {
		return bot
	}
	return h.posts.Claimed(r)
}

// passing hands requests that concern an account to its home, where that is another node; next serves the others. owner
// is the account that a request is said to be of, "" for none: who it is really of is found out at its home.
func (n *nodes) passing(owner func(*http.Request) string, next http.Handler) http.Handler {
	proxies := &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute, DisableCompression: true,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			node, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return n.links.Open(ctx, node, link.HTTP)
		}}
	proxy := &httputil.ReverseProxy{Transport: proxies, ModifyResponse: asOwn,
		Rewrite: func(p *httputil.ProxyRequest) {
			to := p.In.Context().Value(carried{}).(way)
			p.Out.URL.Scheme, p.Out.URL.Host = "http", to.node+":0"
			p.Out.Header.Set(headerWay, strconv.Itoa(to.long))
			p.Out.Host = p.In.Host
			p.Out.Header.Set(headerFrom, p.In.RemoteAddr)
			p.Out.Header["X-Forwarded-For"] = p.In.Header["X-Forwarded-For"]
			p.Out.Header["X-Forwarded-Proto"] = p.In.Header["X-Forwarded-Proto"]
			p.Out.Header["Forwarded"] = p.In.Header["Forwarded"]
			p.Out.Header.Del(headerSecure)
			p.Out.Header.Del(headerPeer)
			if p.In.TLS != nil {
				p.Out.Header.Set(headerSecure, "1")
			}
			if peer, ok := web.PeerOf(p.In); ok {
				p.Out.Header.Set(headerPeer, fmt.Sprint(peer.UID, peer.GID))
			}
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			n.o.Log.Warn("a request was not passed on to the home of its account", "error", err)
			w.Header().Set("Retry-After", "5")
			http.Error(w, "The home of this account cannot be reached now; try again later.", http.StatusServiceUnavailable)
		}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := owner(r)
		came, _ := r.Context().Value(carried{}).(way)
		if who == "" || came.ends() || n.settledHere(r.Context(), who, came.long > 0) {
			next.ServeHTTP(w, r)
			return
		}
		home, ok := n.Home(cluster.SlotOf(who))
		if !ok || home.Node == n.ID() {
			w.Header().Set("Retry-After", "5")
			http.Error(w, "This account is at home nowhere for now; try again later.", http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(named{w}, r.WithContext(context.WithValue(r.Context(), carried{}, way{home.Node, came.long + 1})))
	})
}
