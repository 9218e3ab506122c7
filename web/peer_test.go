package web

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"jackdaw/config"
	"jackdaw/router/gate"
)

func TestTheKernelSaysWhoConnectedToASocket(t *testing.T) {
	type seen struct {
		Peer
		ok bool
	}
	got := make(chan seen, 1)
	s := NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		p, ok := PeerOf(r)
		got <- seen{p, ok}
	}), DefaultLimits, slog.New(slog.DiscardHandler))
	defer s.Shutdown(t.Context())
	me := seen{Peer{uint32(os.Geteuid()), uint32(os.Getegid())}, true}
	limits := config.Default().Limits
	for _, c := range []struct {
		network, address string
		counted          bool
		want             seen
	}{
		{"unix", filepath.Join(t.TempDir(), "s"), false, me},
		{"unix", filepath.Join(t.TempDir(), "s"), true, me},
		{"tcp", "127.0.0.1:0", true, seen{}},
	} {
		l, err := net.Listen(c.network, c.address)
		if err != nil {
			t.Fatal(err)
		}
		at := l.Addr().String()
		if c.counted {
			l = &gate.Listener{Listener: l, Who: "http", Keeper: new(gate.Keeper),
				Limits: func() *config.Limits { return &limits }, Log: slog.New(slog.DiscardHandler)}
		}
		go s.Serve(l)
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true,
			DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial(c.network, at) }}}
		resp, err := client.Get("http://localhost/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if g := <-got; g != c.want {
			t.Errorf("%s, counted %v: %+v, want %+v", c.network, c.counted, g, c.want)
		}
	}
}

func TestAProxyIsKnownByWhatItAdds(t *testing.T) {
	for _, name := range []string{"", "Host", "Accept", "X-Request-Id"} {
		r := httptest.NewRequest("POST", "/message", nil)
		if r.Header.Set(name, "x"); Proxied(r) {
			t.Errorf("%s: a proxy", name)
		}
	}
	for _, name := range []string{"X-Forwarded-For", "x-forwarded-proto", "X-Forwarded-Anything", "Forwarded", "Via", "X-Real-IP", "CF-Connecting-IP"} {
		r := httptest.NewRequest("POST", "/message", nil)
		if r.Header.Set(name, ""); !Proxied(r) {
			t.Errorf("%s: no proxy", name)
		}
	}
	old := httptest.NewRequest("POST", "/message", nil)
	if old.ProtoMajor, old.ProtoMinor = 1, 0; !Proxied(old) {
		t.Error("HTTP/1.0: no proxy")
	}
}
