package server

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"jackdaw/config"
	"jackdaw/modules/upload"
	"jackdaw/router"
)

func TestFilesAreAnnouncedWhereClientsFindThem(t *testing.T) {
	for _, row := range []struct {
		what string
		c    config.Config
		want []upload.Place
	}{
		{"the default", *config.Default(), []upload.Place{{Domain: "upload.localhost", URL: "https://localhost:5284/upload"}}},
		{"a listener that all reach", config.Config{Hosts: []config.Host{{Domain: "a.example"}, {Domain: "bücher.example"}}, Listen: config.Listen{HTTPS: []string{"127.0.0.1:5284", ":5285"}}},
			[]upload.Place{{Domain: "upload.a.example", URL: "https://a.example:5285/upload"}, {Domain: "upload.bücher.example", URL: "https://xn--bcher-kva.example:5285/upload"}}},
		{"the port of HTTPS", config.Config{Hosts: []config.Host{{Domain: "a.example"}}, Listen: config.Listen{HTTPS: []string{"192.0.2.1:443"}}},
			[]upload.Place{{Domain: "upload.a.example", URL: "https://a.example/upload"}}},
		{"loopback", config.Config{Hosts: []config.Host{{Domain: "a.example"}}, Listen: config.Listen{HTTPS: []string{"127.0.0.1:5284"}}}, nil},
		{"another loopback", config.Config{Hosts: []config.Host{{Domain: "localhost"}}, Listen: config.Listen{HTTPS: []string{"127.0.0.2:5284"}}}, nil},
		{"one port for all", config.Config{Hosts: []config.Host{{Domain: "a.example"}}, Listen: config.Listen{TLS: []string{":443"}, HTTPS: []string{":5284"}}},
			[]upload.Place{{Domain: "upload.a.example", URL: "https://a.example/upload"}}},
		{"HTTP elsewhere", config.Config{Hosts: []config.Host{{Domain: "a.example"}}, HTTP: config.HTTP{URL: "https://im.a.example"},
			Listen: config.Listen{HTTP: []string{"127.0.0.1:5280"}}}, []upload.Place{{Domain: "upload.a.example", URL: "https://im.a.example/upload"}}},
		{"some port", config.Config{Hosts: []config.Host{{Domain: "localhost"}}, Listen: config.Listen{HTTPS: []string{"127.0.0.1:0"}}}, nil},
		{"no TLS", config.Config{Hosts: []config.Host{{Domain: "a.example"}}, Listen: config.Listen{HTTP: []string{":5280"}}}, nil},
		{"behind a proxy", config.Config{Hosts: []config.Host{{Domain: "a.example"}}, Listen: config.Listen{HTTP: []string{"unix:/run/x"}},
			Modules: config.Modules{Upload: config.Upload{URL: "https://files.example/u"}}}, []upload.Place{{Domain: "upload.a.example", URL: "https://files.example/u"}}},
		{"a proxy to nothing", config.Config{Hosts: []config.Host{{Domain: "a.example"}}, Modules: config.Modules{Upload: config.Upload{URL: "https://files.example/u"}}}, nil},
		{"a component", config.Config{Hosts: []config.Host{{Domain: "a.example"}}, Listen: config.Listen{HTTPS: []string{":5284"}},
			Component: config.Component{Secrets: map[string]string{"upload.a.example": "x"}}}, nil},
	} {
		if got := filePlaces(&row.c, &row.c.Listen); !slices.Equal(got, row.want) {
			t.Errorf("%s: %v, want %v", row.what, got, row.want)
		}
	}
}

func TestPathsOfFilesAndOfPostsAreToldApart(t *testing.T) {
	h := assembled(t)
	for _, row := range []struct {
		off           []string
		files, others int
	}{
		{nil, http.StatusNoContent, http.StatusMethodNotAllowed},
		{[]string{"upload"}, http.StatusNotFound, http.StatusMethodNotAllowed},
		{[]string{"httpmessage"}, http.StatusNoContent, http.StatusNotFound},
		{[]string{"httpmessage", "upload"}, http.StatusNotFound, http.StatusNotFound},
	} {
		next := *h.cfg.Load()
		next.Modules.Off = map[string]bool{}
		for _, name := range row.off {
			next.Modules.Off[name] = true
		}
		h.cfg.Store(&next)
		h.router.Use(h.modules()...)
		for path, want := range map[string]int{"/upload/a/b": row.files, "/message": row.others} {
			w := httptest.NewRecorder()
			h.webHandler().ServeHTTP(w, httptest.NewRequest(http.MethodOptions, path, nil))
			if w.Code != want {
				t.Errorf("without %v, %s: %d, want %d", row.off, path, w.Code, want)
			}
		}
		isUpload := func(m router.Module) bool { return m.Name == "upload" }
		if on := slices.ContainsFunc(h.router.Modules(), isUpload); on == slices.Contains(row.off, "upload") {
			t.Errorf("without %v: the module is on: %v", row.off, on)
		}
	}
}
