package hostmeta

import (
	"encoding/json"
	"encoding/xml"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var web = []Link{
	{Rel: WebSocket, URL: "wss://example.org:5284/a&b", Name: "example.org", Priority: 20},
	{Rel: BOSH, URL: "https://example.org:5284/http-bind", Name: "example.org", Priority: 30},
}

var hosts = map[string]Host{
	"example.org": {Links: web, TTL: time.Hour},
	"two.example": {Links: append([]Link{{Rel: TLS, Port: 443, Name: "two.example", Priority: 10},
		{Rel: ServerTLS, Port: 5270, Name: "two.example", Priority: 10}}, web...),
		Addresses: []string{"192.0.2.7", "2001:db8::7"}, TTL: 2 * time.Hour, Pins: []string{"pin="}},
	"bare.example": {Links: []Link{}},
}

func ask(method, host, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, nil)
	r.Host = host
	Handler(func(name string) (Host, bool) {
		h, ok := hosts[name]
		return h, ok
	}).ServeHTTP(w, r)
	return w
}

func TestWhoIsToldWhat(t *testing.T) {
	for _, row := range []struct {
		method, host, path string
		code               int
	}{
		{"GET", "example.org", Path, 200},
		{"GET", "EXAMPLE.org.:443", Path + ".json", 200},
		{"HEAD", "two.example:8443", Path, 200},
		{"OPTIONS", "two.example", Path, 204},
		{"POST", "two.example", Path, 405},
		{"GET", "bare.example", Path, 404},
		{"GET", "three.example", Path, 404},
		{"GET", "", Path + ".json", 404},
		{"GET", "example.org", Path + ".xml", 404},
		{"GET", "example.org", Path + "/", 404},
	} {
		w := ask(row.method, row.host, row.path)
		if w.Code != row.code || w.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%+v: %d, %v", row, w.Code, w.Header())
		}
	}
}

func TestTheXRDHasTheLinksOfTheWeb(t *testing.T) {
	for host := range maps.Keys(hosts) {
		if host == "bare.example" {
			continue
		}
		w := ask("GET", host, Path)
		var got struct {
			XMLName xml.Name `xml:"http://docs.oasis-open.org/ns/xri/xrd-1.0 XRD"`
			Links   []struct {
				Rel  string `xml:"rel,attr"`
				Href string `xml:"href,attr"`
			} `xml:"http://docs.oasis-open.org/ns/xri/xrd-1.0 Link"`
		}
		if err := xml.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if kind := w.Header().Get("Content-Type"); kind != "application/xrd+xml" || len(got.Links) != 2 ||
			got.Links[0].Rel != WebSocket || got.Links[0].Href != "wss://example.org:5284/a&b" || got.Links[1].Rel != BOSH {
			t.Errorf("%s: %s, %+v", host, kind, got)
		}
	}
}

func TestTheJRDIsAsTheSpecificationsHaveIt(t *testing.T) {
	const short = `{"links": [
		{"rel": "urn:xmpp:alt-connections:websocket", "href": "wss://example.org:5284/a&b"},
		{"rel": "urn:xmpp:alt-connections:xbosh", "href": "https://example.org:5284/http-bind"}]}`
	const more = `"ips": ["192.0.2.7", "2001:db8::7"], "weight": 0, `
	const long = `{"xmpp": {"ttl": 7200, "public-key-pins-sha-256": ["pin="]}, "links": [
		{"rel": "urn:xmpp:alt-connections:tls", "port": 443, ` + more + `"priority": 10, "sni": "two.example"},
		{"rel": "urn:xmpp:alt-connections:s2s-tls", "port": 5270, ` + more + `"priority": 10, "sni": "two.example"},
		{"rel": "urn:xmpp:alt-connections:websocket", "href": "wss://example.org:5284/a&b", ` + more + `"priority": 20, "sni": "example.org"},
		{"rel": "urn:xmpp:alt-connections:xbosh", "href": "https://example.org:5284/http-bind", ` + more + `"priority": 30, "sni": "example.org"}]}`
	for host, want := range map[string]string{"example.org": short, "two.example": long} {
		w := ask("GET", host, Path+".json")
		if kind := w.Header().Get("Content-Type"); kind != "application/json" {
			t.Errorf("%s is %s", host, kind)
		}
		if age := w.Header().Get("Cache-Control"); !strings.HasPrefix(age, "max-age=") || len(age) != len("max-age=3600") {
			t.Errorf("%s: %s", host, age)
		}
		var got, expected any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(want), &expected); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(expected, got); diff != "" {
			t.Errorf("%s differs (-want +got):\n%s", host, diff)
		}
	}
}

func TestAnEmptyAnswerIsNone(t *testing.T) {
	if w := ask(http.MethodGet, "bare.example", Path+".json"); w.Code != http.StatusNotFound {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}
