package server

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"jackdaw/config"
	"jackdaw/server/certificates"
)

func TestNamesThatGetACertificate(t *testing.T) {
	for _, row := range []struct {
		what   string
		change func(*config.Config)
		want   []string
	}{
		{"a host with its services", nil,
			[]string{"a.example", "rooms.a.example", "upload.a.example", "pubsub.a.example", "multicast.a.example"}},
		{"modules that are off", func(c *config.Config) {
			c.Modules.Off = map[string]bool{"muc": true, "upload": true, "pubsub": true, "multicast": true}
		}, []string{"a.example"}},
		{"a domain of components", func(c *config.Config) {
			c.Component.Secrets = map[string]string{"rooms.a.example": "x", "upload.a.example": "x", "pubsub.a.example": "x",
				"multicast.a.example": "x"}
		}, []string{"a.example"}},
		{"rooms elsewhere", func(c *config.Config) { c.Modules.MUC.Domain = "chat.example.org" },
			[]string{"a.example", "chat.example.org", "upload.a.example", "pubsub.a.example", "multicast.a.example"}},
		{"a URL", func(c *config.Config) { c.HTTP.URL = "https://im.a.example:444/x" },
			[]string{"a.example", "rooms.a.example", "upload.a.example", "pubsub.a.example", "multicast.a.example", "im.a.example"}},
		{"the URL of a host", func(c *config.Config) { c.HTTP.URL = "https://a.example" },
			[]string{"a.example", "rooms.a.example", "upload.a.example", "pubsub.a.example", "multicast.a.example"}},
		{"exceptions", func(c *config.Config) { c.ACME.Except = []string{"upload.a.example", "multicast.a.example"} },
			[]string{"a.example", "rooms.a.example", "pubsub.a.example"}},
		{"a host with a file", func(c *config.Config) {
			c.Hosts = append(c.Hosts, config.Host{Domain: "b.example", Cert: "x", Key: "x"})
			c.HTTP.URL = "https://im.b.example"
		}, []string{"a.example", "rooms.a.example", "upload.a.example", "pubsub.a.example", "multicast.a.example"}},
		{"in letters of the world", func(c *config.Config) { c.Hosts[0].Domain = "bücher.example" },
			[]string{"xn--bcher-kva.example", "rooms.xn--bcher-kva.example", "upload.xn--bcher-kva.example",
				"pubsub.xn--bcher-kva.example", "multicast.xn--bcher-kva.example"}},
		{"nobody's", func(c *config.Config) {
			c.Hosts = []config.Host{{Domain: "localhost"}, {Domain: "192.0.2.7"}, {Domain: "[2001:db8::7]"}, {Domain: "box.local"}}
		}, nil},
	} {
		cfg := certConfig(t, "a.example")
		if row.change != nil {
			row.change(cfg)
		}
		if diff := cmp.Diff(row.want, issuedNames(cfg)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", row.what, diff)
		}
	}
}

func TestTheChallengeThatIsReachedComesFirst(t *testing.T) {
	const first, second = certificates.TLSALPN01, certificates.HTTP01
	for _, row := range []struct {
		l    config.Listen
		want []string
	}{
		{config.Listen{TLS: []string{":443"}, HTTP: []string{"127.0.0.1:5280"}}, []string{first, second}},
		{config.Listen{HTTPS: []string{":443"}, ACME: []string{":80"}}, []string{first, second}},
		{config.Listen{HTTPS: []string{":5284"}, ACME: []string{":80"}}, []string{second, first}},
		{config.Listen{C2STLS: []string{":443"}}, []string{first}},
		{config.Listen{C2S: []string{":5222"}, HTTP: []string{"127.0.0.1:5280"}}, []string{second}},
		{config.Listen{C2S: []string{":5222"}}, nil},
	} {
		if got := challenges(&row.l); !slices.Equal(got, row.want) {
			t.Errorf("%+v: %q", row.l, got)
		}
	}
}

// came is what came by itself.
type came map[string]*tls.Certificate

func (c came) Certificate(name string) *tls.Certificate { return c[name] }

func TestWhatCameByItselfIsShownBeforeASelfSignedOne(t *testing.T) {
	cfg := certConfig(t, "a.example", "b.example")
	s := mustStore(t, cfg)
	others := mustStore(t, certConfig(t, "a.example", "rooms.a.example"))
	issued := came{}
	s.issued = issued
	old := s.Certificate("a.example")
	if s.inUse()[0].issued || s.Certificate("rooms.a.example") != old {
		t.Error("nothing has come yet")
	}
	issued["a.example"] = others.Certificate("a.example")
	for _, name := range []string{"a.example", "rooms.a.example", "unknown.example", ""} {
		if s.Certificate(name) != issued["a.example"] {
			t.Errorf("%q: not what came for the host", name)
		}
	}
	issued["rooms.a.example"] = others.Certificate("rooms.a.example")
	if s.Certificate("rooms.a.example") != issued["rooms.a.example"] || s.Certificate("a.example") != issued["a.example"] ||
		s.Certificate("b.example") == old {
		t.Error("a name is not shown its own")
	}
	if use := s.inUse(); !use[0].issued || use[0].leaf != issued["a.example"].Leaf || use[1].issued {
		t.Errorf("in use: %+v", use)
	}
	// A file that the configuration names goes before it.
	cfg.Hosts[0].Cert, cfg.Hosts[0].Key = cfg.Data+"/certs/a.example.pem", cfg.Data+"/certs/a.example.pem"
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if c := s.Certificate("a.example"); !c.Leaf.Equal(old.Leaf) {
		t.Error("the file does not count")
	}
}

func TestPlainHTTPLeadsToHTTPSAlone(t *testing.T) {
	h := &house{issued: certificates.New(certificates.Options{Dir: t.TempDir()})}
	cfg := certConfig(t, "a.example", "b.example")
	cfg.Listen.HTTPS = []string{":5284"}
	h.cfg.Store(cfg)
	ask := func(host, path string) (int, string) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", path, nil)
		r.Host = host
		h.proveOrLead(w, r)
		return w.Code, w.Header().Get("Location")
	}
	for _, row := range []struct {
		host, path string
		code       int
		to         string
	}{
		{"a.example", "/", http.StatusPermanentRedirect, "https://a.example:5284/"},
		{"B.example:80", "/x%2fy?z=1", http.StatusPermanentRedirect, "https://b.example:5284/x%2fy?z=1"},
		{"a.example", "//evil.example/", http.StatusPermanentRedirect, "https://a.example:5284//evil.example/"},
		{"evil.example", "/", http.StatusNotFound, ""},
		{"", "/", http.StatusNotFound, ""},
		{"a.example", certificates.PathChallenge + "token", http.StatusNotFound, ""},
	} {
		if code, to := ask(row.host, row.path); code != row.code || to != row.to {
			t.Errorf("%s%s: %d %s", row.host, row.path, code, to)
		}
	}
}
