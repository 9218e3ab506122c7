package httpmessage

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// document is what the tests check of an OpenAPI document.
type document struct {
	OpenAPI    string                          `json:"openapi"`
	Paths      map[string]map[string]operation `json:"paths"`
	Components struct {
		Schemas map[string]schema `json:"schemas"`
	} `json:"components"`
}

type operation struct {
	Responses map[string]struct {
		Headers map[string]struct {
			Required bool `json:"required"`
		} `json:"headers"`
		Content map[string]struct {
			Schema schema `json:"schema"`
		} `json:"content"`
	} `json:"responses"`
}

type schema struct {
	Ref        string            `json:"$ref"`
	Type       string            `json:"type"`
	Const      string            `json:"const"`
	Enum       []string          `json:"enum"`
	Pattern    string            `json:"pattern"`
	Required   []string          `json:"required"`
	Additional json.RawMessage   `json:"additionalProperties"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
}

var description = sync.OnceValue(func() document {
	var d document
	if err := json.Unmarshal(openAPI, &d); err != nil {
		panic(err)
	}
	return d
})

// operationOf finds what the document says of a request.
func operationOf(r *http.Request) (path string, o operation, known bool) {
	d := description()
	for template, operations := range d.Paths {
		pattern := "^" + regexp.MustCompile(`\\\{[a-z]+\\\}`).ReplaceAllString(regexp.QuoteMeta(template), "[^/]+") + "$"
		if !regexp.MustCompile(pattern).MatchString(r.URL.Path) {
			continue
		}
		o, known = operations[strings.ToLower(r.Method)]
		return template, o, known
	}
	return "", operation{}, false
}

// described checks an answer against the OpenAPI document.
func (h *house) described(r *http.Request, w *httptest.ResponseRecorder) {
	t := h.t
	t.Helper()
	path, o, known := operationOf(r)
	switch {
	case path == "":
		if w.Code != http.StatusNotFound {
			t.Errorf("%s %s is not described, and was answered with %d", r.Method, r.URL.Path, w.Code)
		}
		return
	case !known:
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") == "" {
			t.Errorf("%s %s is not described, and was answered with %d", r.Method, r.URL.Path, w.Code)
		}
		return
	}
	h.seen[path+" "+r.Method+" "+strconv.Itoa(w.Code)] = true
	response, ok := o.Responses[strconv.Itoa(w.Code)]
	if !ok {
		t.Errorf("%s %s: status %d is not described", r.Method, path, w.Code)
		return
	}
	for name, h := range response.Headers {
		if h.Required && len(w.Header()[name]) == 0 {
			t.Errorf("%s %s: %d without %s", r.Method, path, w.Code, name)
		}
	}
	kind := w.Header().Get("Content-Type")
	content, ok := response.Content[kind]
	if !ok {
		t.Errorf("%s %s: %d as %s is not described", r.Method, path, w.Code, kind)
		return
	}
	var value any = w.Body.String()
	if media, _, _ := mime.ParseMediaType(kind); strings.HasSuffix(media, "json") {
		if err := json.Unmarshal(w.Body.Bytes(), &value); err != nil {
			t.Errorf("%s %s: %d: %v in %s", r.Method, path, w.Code, err, w.Body)
			return
		}
	}
	if err := content.Schema.check(value); err != nil {
		t.Errorf("%s %s: %d: %v: %s", r.Method, path, w.Code, err, w.Body)
	}
}

func (s schema) check(value any) error {
	if s.Ref != "" {
		name := s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
		target, ok := description().Components.Schemas[name]
		if !ok {
			return fmt.Errorf("%s leads nowhere", s.Ref)
		}
		return target.check(value)
	}
	str, isString := value.(string)
	switch {
	case s.Const != "" && str != s.Const, s.Enum != nil && !slices.Contains(s.Enum, str):
		return fmt.Errorf("%q is not %q%q", value, s.Const, s.Enum)
	case s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(str):
		return fmt.Errorf("%q does not match %s", str, s.Pattern)
	}
	switch s.Type {
	case "string":
		if !isString {
			return fmt.Errorf("%v is no string", value)
		}
	case "boolean":
		if _, ok := value.(bool); !ok {
			return fmt.Errorf("%v is neither true nor false", value)
		}
	case "integer":
		if f, ok := value.(float64); !ok || f != float64(int(f)) {
			return fmt.Errorf("%v is no integer", value)
		}
	case "array":
		list, ok := value.([]any)
		if !ok {
			return fmt.Errorf("%v is no array", value)
		}
		for _, one := range list {
			if err := s.Items.check(one); err != nil {
				return err
			}
		}
	case "object":
		object, ok := value.(map[string]any)
		if !ok {
			return fmt.Errorf("%v is no object", value)
		}
		for _, name := range s.Required {
			if _, ok := object[name]; !ok {
				return fmt.Errorf("%s is missing", name)
			}
		}
		for name, one := range object {
			p, ok := s.Properties[name]
			if !ok && string(s.Additional) == "false" {
				return fmt.Errorf("%s is not described", name)
			}
			if err := p.check(one); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

func TestDescriptionIsServed(t *testing.T) {
	h := newHouse(t)
	w := h.do(call{method: "GET", path: "/api/openapi.json", user: "-"})
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" || w.Body.String() != string(openAPI) {
		t.Fatalf("answer %d %q", w.Code, w.Header())
	}
	if description().OpenAPI != "3.1.0" {
		t.Errorf("version %q", description().OpenAPI)
	}
}

// deadline is the body of a client that is too slow.
type deadline struct{}

func (deadline) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

// scene leads to one status on any of the paths to post to.
type scene struct {
	status int
	play   func(h *house, c call)
}

// xmlType is what the gateway wants to know.
const xmlType = "Content-Type: application/xml"

var scenes = []scene{
	{200, func(h *house, c call) { h.do(c) }},
	{400, func(h *house, c call) { c.body = "<message"; h.do(c) }},
	{401, func(h *house, c call) { c.user = "-"; h.do(c) }},
	{403, func(h *house, c call) {
		c.body = `<message to="x@example.net"><body>yo</body></message>`
		h.do(c)
	}},
	{404, func(h *house, c call) {
		c.path = strings.Replace(c.path, host, "elsewhere.example", 1)
		h.do(c)
	}},
	{408, func(h *house, c call) {
		r := c.request()
		r.Body, r.ContentLength = io.NopCloser(deadline{}), 100
		h.serve1(r)
	}},
	{409, func(h *house, c call) {
		c.headers = append(c.headers, "Idempotency-Key: k")
		h.engine.Hold()
		first := make(chan int)
		go func() {
			w := httptest.NewRecorder()
			h.Handler().ServeHTTP(w, c.request())
			first <- w.Code
		}()
		h.await(func() bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			return len(h.flying) == 1
		})
		h.do(c)
		h.engine.Release(nil)
		if code := <-first; code != 200 {
			h.t.Errorf("the first request was answered with %d", code)
		}
	}},
	{413, func(h *house, c call) { c.body = strings.Repeat("x", DefaultMaxBody+1); h.do(c) }},
	{415, func(h *house, c call) { c.headers = []string{"Content-Type: text/plain"}; h.do(c) }},
	{422, func(h *house, c call) {
		c.headers = append(c.headers, "Idempotency-Key: k")
		h.do(c)
		c.body = strings.Replace(c.body, "yo", "hi", 1)
		h.do(c)
	}},
	{429, func(h *house, c call) {
		c.password = "wrong"
		for range 6 {
			h.do(c)
		}
	}},
	{500, func(h *house, c call) {
		h.admit = func(jid.JID, jid.JID) *xmpp.Error { panic("for a test") }
		h.do(c)
	}},
	{503, func(h *house, c call) { h.engine.Fail(storage.ErrUnavailable); h.do(c) }},
}

func TestEveryDescribedAnswerIsGiven(t *testing.T) {
	met := map[string]bool{}
	gateway := "/api/1.0/xmppdomains/" + host + "/gateway/messages"
	for _, base := range []call{
		{path: "/message"},
		{path: gateway, user: "gate", headers: []string{xmlType}},
		{path: gateway + "/ticket", user: "robot", headers: []string{xmlType}},
	} {
		base.body = `<message to="bob@im.example.org"><body>yo</body></message>`
		for _, s := range scenes {
			if base.path == "/message" && (s.status == 404 || s.status == 415) {
				continue
			}
			for _, accept := range []string{"*/*", "application/json"} {
				synctest.Test(t, func(t *testing.T) { // where no time passes between failed logins
					h := newHouse(t)
					h.seen = map[string]bool{}
					c := base
					c.headers = append(slices.Clone(c.headers), "Accept: "+accept)
					s.play(h, c)
					if path, _, _ := operationOf(c.request()); !h.seen[path+" POST "+strconv.Itoa(s.status)] {
						t.Errorf("%s: no %d but %v", c.path, s.status, h.seen)
					}
					for one := range h.seen {
						met[one] = true
					}
				})
			}
		}
	}
	for _, path := range []string{"/api/1.0/posts", "/api/1.0/posts/m-0000000000000001"} {
		for _, s := range askedFor {
			synctest.Test(t, func(t *testing.T) {
				h, d := tracked(t)
				h.seen = met
				s.play(h, d, call{method: "GET", path: path})
			})
		}
	}
	h := newHouse(t)
	h.do(call{method: "GET", path: "/api/openapi.json", user: "-"})
	for one := range h.seen {
		met[one] = true
	}
	for path, operations := range description().Paths {
		for method, o := range operations {
			for status := range o.Responses {
				if one := path + " " + strings.ToUpper(method) + " " + status; !met[one] {
					t.Errorf("%s is described and nothing was answered so", one)
				}
			}
		}
	}
}
