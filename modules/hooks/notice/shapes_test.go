package notice

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"jackdaw/xmpp"
)

// A sample is a request that a face takes.
type sample struct {
	name string
	// media is the type of the body, JSON if it is empty, none if it is a hyphen.
	media  string
	header map[string]string
	query  string
	body   string
	// want is the drawing, or the beginning of why there is none.
	want string
}

func (s *sample) request(body []byte) *Request {
	r := &Request{Method: http.MethodPost, Header: http.Header{}, Media: s.media, Params: map[string]string{}, Body: body}
	switch r.Media {
	case "":
		r.Media = typeJSON
	case "-":
		r.Media = ""
	}
	if r.Media == typeMultipart {
		r.Params["boundary"] = "frontier"
	}
	for name, v := range s.header {
		r.Header.Set(name, v)
	}
	r.Query = query(s.query)
	return r
}

// drawings reads each sample and compares the drawing of all its notices, with a line between them, and of what is
// ignored or refused the reason. Those that are shown must be claimed by the face, too.
func drawings(t *testing.T, face *Face, samples []sample) {
	t.Helper()
	for _, s := range samples {
		t.Run(s.name, func(t *testing.T) {
			r := s.request([]byte(s.body))
			reading, err := face.Read(r)
			got := reading.Ignored
			if err != nil {
				got = err.Error()
			}
			for i := range reading.Notices {
				if i > 0 {
					got += "\n---\n"
				}
				got += Draw(&reading.Notices[i], Style{}).Text
			}
			if err == nil && got != s.want || err != nil && !strings.HasPrefix(got, s.want) || s.want == "" {
				t.Errorf("drawn as\n%s\nwant\n%s", got, s.want)
			}
			if err == nil && face.Claims != nil {
				if guessed, err := Guess(r); err != nil || guessed.Name != face.Name {
					t.Errorf("guessed as %v, %v", guessed, err)
				}
			}
		})
	}
}

// withstands reads what is wrong with a sample in each place, and what has nothing to do with it: a notice that can be
// drawn, a reason why there is none, or a Mistake, and nothing that is sent beside one.
func withstands(t *testing.T, face *Face, s sample) {
	t.Helper()
	bodies := [][]byte{nil, []byte("null"), []byte("[]"), []byte(`"x"`), []byte("{}"), []byte("x=1&y"), []byte("\xff\xfe{}"),
		[]byte(strings.Repeat(`{"text":[`, 5000)), []byte(s.body[:len(s.body)/2]),
		[]byte(`{"unknown":"` + strings.Repeat("x", 1<<20) + `"}`),
		[]byte(strings.ReplaceAll(s.body, "a", "\xc3\x28\x00")), []byte(strings.ReplaceAll(s.body, " ", strings.Repeat("*_`<~[", 500)))}
	for _, body := range bodies {
		withstandsOne(t, face, s.request(body))
	}
	changed := 0
	for body := range spoiled(t, s.body) {
		withstandsOne(t, face, s.request(body))
		changed++
	}
	if changed < 20 {
		t.Errorf("%s: only %d ways to spoil it", s.name, changed)
	}
}

func withstandsOne(t *testing.T, face *Face, r *Request) Reading {
	t.Helper()
	shown := r.Body[:min(len(r.Body), 500)]
	reading, err := face.Read(r)
	var m *Mistake
	switch {
	case err != nil && (!errors.As(err, &m) || m.Status < 400 || m.Status > 415 || m.Text == "" ||
		strings.Contains(m.Text, "\n")):
		t.Fatalf("%s: the error is %#v of %q", face.Name, err, shown)
	case err != nil && len(reading.Notices) > 0:
		t.Fatalf("%s: a notice of a mistake: %q", face.Name, shown)
	case err == nil && (len(reading.Notices) == 0) != (reading.Ignored != ""):
		t.Fatalf("%s: neither shown nor ignored, or both: %q", face.Name, shown)
	}
	for i := range reading.Notices {
		n := &reading.Notices[i]
		if d := Draw(n, Style{Subject: true}); d.Text == "" && len(n.Attachments) == 0 || !xmpp.ValidText(d.Text) {
			t.Fatalf("%s: %q is drawn as %q", face.Name, shown, d.Text)
		}
	}
	o := Outcome{Status: http.StatusOK, Request: r, Reading: &reading, Ignored: reading.Ignored, Hook: "ops", Serial: 1}
	if m != nil {
		o.Status, o.Word, o.Text, o.Reading = m.Status, m.Word, m.Text, nil
	}
	answers(t, face, &o)
	return reading
}

// answers looks at what the program is told, and returns it.
func answers(t *testing.T, face *Face, o *Outcome) Response {
	t.Helper()
	answer := AnswerJSON
	if face.Answer != nil {
		answer = face.Answer
	}
	r := answer(o)
	ok := o.Status == http.StatusOK
	if ok != (r.Status == http.StatusOK || r.Status == http.StatusNoContent) || r.Status == http.StatusTooManyRequests ||
		(r.Media == "") != (len(r.Body) == 0) || r.Media == typeJSON && !json.Valid(r.Body) {
		t.Fatalf("%s: %d is answered with %d %q %q", face.Name, o.Status, r.Status, r.Media, r.Body)
	}
	for name, v := range r.Header {
		if strings.ContainsAny(name+v, "\r\n") {
			t.Fatalf("%s: a header of %q", face.Name, v)
		}
	}
	return r
}

// spoiled are copies of a JSON document, each of which has another value in one place, or none.
func spoiled(t *testing.T, document string) func(yield func([]byte) bool) {
	t.Helper()
	var root any
	d := json.NewDecoder(strings.NewReader(document))
	d.UseNumber()
	if err := d.Decode(&root); err != nil {
		t.Fatalf("the sample is no JSON: %v", err)
	}
	others := []any{nil, true, 0, -1.5, json.Number("1e400"), json.Number("99999999999999999999"), "", " ", "x", "\n\x00*<&", []any{},
		[]any{nil, 1, "x", []any{}, map[string]any{}}, map[string]any{}, map[string]any{"text": 1, "type": "x", "": nil}}
	return func(yield func([]byte) bool) {
		try := func() bool {
			b, err := json.Marshal(root)
			if err != nil {
				t.Fatal(err)
			}
			return yield(b)
		}
		var walk func(v any) bool
		walk = func(v any) bool {
			switch v := v.(type) {
			case map[string]any:
				for name, was := range v {
					for _, other := range others {
						if v[name] = other; !try() {
							return false
						}
					}
					if delete(v, name); !try() {
						return false
					}
					if v[name] = was; !walk(was) {
						return false
					}
				}
			case []any:
				for i, was := range v {
					for _, other := range others {
						if v[i] = other; !try() {
							return false
						}
					}
					if v[i] = was; !walk(was) {
						return false
					}
				}
			}
			return true
		}
		walk(root)
	}
}

// fuzzFace is a fuzz target of a face: what it reads can be drawn, and is answered.
func fuzzFace(f *testing.F, face *Face, samples []sample) {
	f.Helper()
	for _, s := range samples {
		f.Add(s.media, s.query, []byte(s.body))
	}
	f.Fuzz(func(t *testing.T, media, values string, body []byte) {
		s := sample{media: media, query: values}
		withstandsOne(t, face, s.request(body))
	})
}

func TestSpoilingASampleChangesEachPlace(t *testing.T) {
	seen := map[string]bool{}
	for b := range spoiled(t, `{"a":[1,{"b":"c"}]}`) {
		seen[string(b)] = true
	}
	for _, want := range []string{`{}`, `{"a":null}`, `{"a":[null,{"b":"c"}]}`, `{"a":[1,true]}`, `{"a":[1,{}]}`, `{"a":[1,{"b":0}]}`} {
		if !seen[want] {
			t.Errorf("%s is missing among %d", want, len(seen))
		}
	}
	if len(seen) < 50 {
		t.Error(fmt.Sprint(len(seen), " documents"))
	}
}
