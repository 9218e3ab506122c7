package server

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"

	"jackdaw/router/gate"
	"jackdaw/web"
	"jackdaw/web/bosh"
	"jackdaw/wire"
)

// pathBOSH is where streams over BOSH are (XEP-0156 tells clients).
const pathBOSH = "/http-bind"

// newBOSH makes the handler of streams over BOSH.
func (h *house) newBOSH() *bosh.Handler {
	return bosh.New(bosh.Options{
		Take: h.clients.Take,
		Admit: func(c net.Conn, from netip.Addr) (*gate.Pass, string) {
			return h.gate.Admit(c, from, &h.cfg.Load().Limits)
		},
		Allow: h.origins().Allow,
		Source: func(r *http.Request) (netip.Addr, bool) {
			c := web.ClientOf(r, h.cfg.Load().HTTP.TrustedProxies)
			return c.Addr, c.Protected(r)
		},
		Known: web.Authenticated,
		Limits: func() bosh.Limits {
			cfg := h.cfg.Load()
			before := wire.Limits(cfg.C2S.MaxStanzaPreauth, &cfg.Limits)
			before.Elements = cfg.Limits.PreauthElements
			after := wire.Limits(cfg.C2S.MaxStanza, &cfg.Limits)
			return bosh.Limits{Before: before, After: after, BodyTime: cfg.Limits.HTTPBodyTime}
		},
	})
}

// A turnstile counts requests, so that a stop can wait for those that are under way. It is not for those that streams
// hold, which end with their streams.
type turnstile struct {
	mu     sync.Mutex // guards the rest
	inside int
	empty  chan struct{} // closed once it is; nil while requests may come in
}

// guard lets requests through to a handler until drain is called.
func (t *turnstile) guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.mu.Lock()
		shut := t.empty != nil
		if !shut {
			t.inside++
		}
		t.mu.Unlock()
		if shut {
			w.Header().Set("Connection", "close")
			http.Error(w, "Service unavailable: the server is stopping.", http.StatusServiceUnavailable)
			return
		}
		defer t.leave()
		h.ServeHTTP(w, r)
	})
}

func (t *turnstile) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.inside--; t.inside == 0 && t.empty != nil {
		close(t.empty)
	}
}

// drain lets nobody in any more and waits for those that are inside.
func (t *turnstile) drain(ctx context.Context) error {
	t.mu.Lock()
	if t.empty == nil {
		t.empty = make(chan struct{})
		if t.inside == 0 {
			close(t.empty)
		}
	}
	empty := t.empty
	t.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
