package server

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"jackdaw/config"
	"jackdaw/modules/hostmeta"
)

func TestWhatIsOpenIsTold(t *testing.T) {
	known := config.Modules{HostMeta: config.HostMeta{Addresses: []string{"192.0.2.7"}}}
	for _, row := range []struct {
		what string
		host string
		c    config.Config
		want []hostmeta.Link
	}{
		{"nothing", "a.example", config.Config{Modules: known}, nil},
		{"loopback", "a.example", config.Config{Modules: known, Listen: config.Listen{C2STLS: []string{"127.0.0.1:5223"}}}, nil},
		{"some port", "a.example", config.Config{Modules: known, Listen: config.Listen{C2STLS: []string{":0"}}}, nil},
		{"no address is known", "a.example", config.Config{Listen: config.Listen{C2STLS: []string{":5223"}}}, nil},
		{"direct TLS", "bücher.example", config.Config{Modules: known,
			Listen: config.Listen{C2STLS: []string{":5223"}, S2STLS: []string{"192.0.2.7:5270"}}}, []hostmeta.Link{
			{Rel: hostmeta.TLS, Port: 5223, Name: "xn--bcher-kva.example", Priority: 10},
			{Rel: hostmeta.ServerTLS, Port: 5270, Name: "xn--bcher-kva.example", Priority: 10}}},
		{"one port", "a.example", config.Config{Modules: known, Listen: config.Listen{TLS: []string{":443"}}}, []hostmeta.Link{
			{Rel: hostmeta.TLS, Port: 443, Name: "a.example", Priority: 20}}},
		{"one port for peers too", "a.example", config.Config{Modules: known,
			Listen: config.Listen{TLS: []string{":443"}, S2S: []string{":5269"}}}, []hostmeta.Link{
			{Rel: hostmeta.TLS, Port: 443, Name: "a.example", Priority: 20},
			{Rel: hostmeta.ServerTLS, Port: 443, Name: "a.example", Priority: 20}}},
		{"WebSocket", "a.example", config.Config{Web: config.Web{WebSocket: true}, Listen: config.Listen{TLS: []string{":443"}}},
			[]hostmeta.Link{{Rel: hostmeta.WebSocket, URL: "wss://a.example/xmpp-websocket", Name: "a.example", Priority: 30}}},
		{"WebSocket behind a proxy", "a.example", config.Config{Web: config.Web{WebSocket: true},
			HTTP: config.HTTP{URL: "https://im.example:8443/x"}, Listen: config.Listen{HTTP: []string{"127.0.0.1:5280"}}},
			[]hostmeta.Link{{Rel: hostmeta.WebSocket, URL: "wss://im.example:8443/x/xmpp-websocket", Name: "im.example", Priority: 30}}},
		{"BOSH", "a.example", config.Config{Web: config.Web{BOSH: true}, Listen: config.Listen{HTTPS: []string{":5284"}}},
			[]hostmeta.Link{{Rel: hostmeta.BOSH, URL: "https://a.example:5284/http-bind", Name: "a.example", Priority: 40}}},
		{"WebSocket in the clear", "a.example", config.Config{Web: config.Web{WebSocket: true},
			HTTP: config.HTTP{URL: "http://127.0.0.1:5280"}, Listen: config.Listen{HTTP: []string{"127.0.0.1:5280"}}}, nil},
	} {
		name, err := asciiName(row.host)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(row.want, links(&row.c, &row.c.Listen, row.host, name)); diff != "" {
			t.Errorf("%s differs (-want +got):\n%s", row.what, diff)
		}
	}
}

func TestEachHostIsToldByItsName(t *testing.T) {
	h := assembled(t)
	next := *h.cfg.Load()
	next.Hosts = []config.Host{{Domain: "a.example"}, {Domain: "bücher.example"}}
	next.Listen.C2STLS, next.Web = []string{":5223"}, config.Web{}
	next.Modules.HostMeta.Addresses = []string{"192.0.2.7"}
	h.cfg.Store(&next)
	ask := func(name string) int {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, hostmeta.Path+".json", nil)
		r.Host = name
		h.webHandler().ServeHTTP(w, r)
		return w.Code
	}
	for name, want := range map[string]int{"a.example": 200, "xn--bcher-kva.example:443": 200, "b.example": 404} {
		if got := ask(name); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
	off := next
	off.Modules.Off = map[string]bool{"hostmeta": true, "httpmessage": true}
	h.cfg.Store(&off)
	if got := ask("a.example"); got != http.StatusNotFound {
		t.Errorf("while it is off: %d", got)
	}
}
