package notice

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestJSONAsSendersWriteIt(t *testing.T) {
	for _, one := range []struct {
		in   string
		want any // nil: it is refused
	}{
		{`{"a":[1,-2.5e3,true,false,"x"],"b":{}}`, Object{"a": []any{json.Number("1"), json.Number("-2.5e3"), true, false, "x"},
			"b": Object{}}},
		{"\uFEFF {\"a\" : 1 , \"a\":2}\n", Object{"a": json.Number("2")}},
		{`"\u00e4\n\/\ud83d\ude00\ud83d\u0041"`, "ä\n/😀\uFFFDA"},
		{"\"a\nb\tc\"", "a\nb\tc"},
		{"\"a\xffb\"", "a\uFFFDb"},
		{`[]`, []any{}},
		{``, nil}, {`{`, nil}, {`{"a"}`, nil}, {`{"a":}`, nil}, {`{"a":1,}`, nil}, {`[1`, nil}, {`[1 2]`, nil}, {`01`, nil},
		{`-`, nil}, {`"\x"`, nil}, {`"\u12"`, nil}, {`"a`, nil}, {`nul`, nil}, {`{} {}`, nil}, {`{1:2}`, nil}, {`"\`, nil},
		{strings.Repeat("[", 100), nil},
		{strings.Repeat(`{"a":`, 100_000), nil},
		{"[" + strings.Repeat("1,", maxValues) + "1]", nil},
	} {
		got, err := ParseJSON([]byte(one.in))
		var m *Mistake
		if one.want == nil && (!errors.As(err, &m) || m.Text == "") || one.want != nil && !reflect.DeepEqual(got, one.want) {
			t.Errorf("%.60q is %#v, %v", one.in, got, err)
		}
	}
	if _, err := ParseObject([]byte(`[1]`)); err == nil {
		t.Error("a list is an object")
	}
}

func TestMembersOfTheWrongTypeAreNone(t *testing.T) {
	o, err := ParseObject([]byte(`{"s":"x","n":7,"b":true,"o":{"p":1},"l":[1],"z":null}`))
	if err != nil {
		t.Fatal(err)
	}
	if o.String("s") != "x" || o.String("n") != "7" || o.String("b") != "true" || o.String("o") != "" || o.String("?") != "" {
		t.Errorf("texts of %v", o)
	}
	if o.Object("o").String("p") != "1" || o.Object("s").Object("t") != nil || len(o.List("l")) != 1 || o.List("s") != nil {
		t.Errorf("parts of %v", o)
	}
	if n, ok := o.Int("n"); !ok || n != 7 || !o.Has("z") || o.Has("y") {
		t.Errorf("numbers of %v", o)
	}
	if _, ok := o.Int("s"); ok {
		t.Error("x is a number")
	}
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1,2.5,"\u00e4\ud83d",{"b":null}],"c":true}`))
	f.Add([]byte("\"a\nb\xff\""))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		v, err := ParseJSON(b)
		if !bytes.Equal(b, before) {
			t.Fatal("the body was changed")
		}
		var strict any
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		if utf8.Valid(b) && json.Valid(b) && d.Decode(&strict) == nil {
			if err != nil {
				var m *Mistake
				if errors.As(err, &m) && (m.Status == http.StatusRequestEntityTooLarge || strings.Contains(m.Text, "deeper")) {
					return
				}
				t.Fatalf("refused: %v", err)
			}
			if want, _ := json.Marshal(strict); !equalJSON(t, v, want) {
				t.Fatalf("%#v, want %s", v, want)
			}
		}
	})
}

func equalJSON(t *testing.T, v any, want []byte) bool {
	got, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(got, want)
}

func TestFormsThatHoldJSON(t *testing.T) {
	multi := "--x\r\nContent-Disposition: form-data; name=\"payload_json\"\r\n\r\n{\"content\":\"hi\"}\r\n" +
		"--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n\r\nfile\r\n--x--\r\n"
	for _, one := range []struct {
		name string
		r    Request
		want Object
	}{
		{"payload", Request{Media: typeForm, Body: []byte("x=1&payload=%7B%22a%22%3A1%7D")}, Object{"a": json.Number("1")}},
		{"bare", Request{Media: typeForm, Body: []byte(`{"a":"b;c%d"}`)}, Object{"a": "b;c%d"}},
		{"multipart", Request{Media: typeMultipart, Params: map[string]string{"boundary": "x"}, Body: []byte(multi)},
			Object{"content": "hi"}},
		{"json", Request{Media: typeJSON, Body: []byte(`{"a":"b"}`)}, Object{"a": "b"}},
		{"of no type", Request{Body: []byte(`{"a":"b"}`)}, Object{"a": "b"}},
		{"no field", Request{Media: typeForm, Body: []byte("x=1")}, nil},
		{"too many", Request{Media: typeForm, Body: []byte(strings.Repeat("payload={}&", maxFields))}, nil},
		{"no boundary", Request{Media: typeMultipart, Body: []byte(multi)}, nil},
		{"broken", Request{Media: typeMultipart, Params: map[string]string{"boundary": "x"}, Body: []byte(multi[:80])}, nil},
	} {
		got, err := one.r.Object()
		if !reflect.DeepEqual(got, one.want) || (err == nil) != (one.want != nil) {
			t.Errorf("%s: %v, %v", one.name, got, err)
		}
	}
	r := Request{Media: typeMultipart, Params: map[string]string{"boundary": "x"}, Body: []byte(multi)}
	if _, files, err := r.Form(); err != nil || len(files) != 1 || files[0].Name != "a.txt" || string(files[0].Data) != "file" {
		t.Errorf("files %v, %v", files, err)
	}
}

func TestPlainTextIsTheLastGuess(t *testing.T) {
	if f, err := Guess(&Request{Media: "text/plain", Body: []byte("x")}); err != nil || f.Name != "text" {
		t.Errorf("guessed %v, %v", f, err)
	}
	if names := Names(); names[len(names)-1] != "text" || Find("text") == nil || Find("nothing") != nil {
		t.Errorf("faces %v", names)
	}
	for _, r := range []Request{{Media: typeJSON, Body: []byte(`{"unknown":1}`)}, {}, {Media: typeJSON, Body: []byte("{")}} {
		var m *Mistake
		if _, err := Guess(&r); !errors.As(err, &m) || m.Status != http.StatusBadRequest {
			t.Errorf("%s: %v", r.Body, err)
		}
	}
	if _, err := readText(&Request{Body: []byte(" \n")}); err == nil {
		t.Error("nothing is a text")
	}
}

func TestAnswersInJSON(t *testing.T) {
	for want, o := range map[string]Outcome{
		`{"status":"ok","id":"x"}`:                      {Status: 200, ID: "x"},
		`{"status":"ignored","reason":"a ping"}`:        {Status: 200, Ignored: "a ping"},
		`{"status":"error","reason":"no","code":"bad"}`: {Status: 400, Text: "no", Word: "bad"},
	} {
		if r := AnswerJSON(&o); strings.TrimSpace(string(r.Body)) != want || r.Status != o.Status || r.Media != typeJSON {
			t.Errorf("answered %d %s %s, want %s", r.Status, r.Media, r.Body, want)
		}
	}
}

func FuzzGuess(f *testing.F) {
	f.Add("application/json", "x", []byte(`{"text":"x"}`))
	f.Add("multipart/form-data", "x", []byte("--x\r\nContent-Disposition: form-data; name=\"payload\"\r\n\r\n{}\r\n--x--"))
	f.Add("application/x-www-form-urlencoded", "", []byte("payload={}"))
	f.Fuzz(func(t *testing.T, media, boundary string, body []byte) {
		r := &Request{Method: "POST", Header: http.Header{}, Media: media, Params: map[string]string{"boundary": boundary},
			Body: body}
		face, err := Guess(r)
		var m *Mistake
		if err != nil && !errors.As(err, &m) {
			t.Fatalf("the error is %v", err)
		}
		if err != nil {
			return
		}
		reading, err := face.Read(r)
		if err != nil && !errors.As(err, &m) {
			t.Fatalf("%s: the error is %v", face.Name, err)
		}
		for i := range reading.Notices {
			if d := Draw(&reading.Notices[i], Style{}); !reading.Notices[i].Empty() && d.Text == "" &&
				len(reading.Notices[i].Attachments) == 0 {
				t.Fatalf("%s draws nothing", face.Name)
			}
		}
	})
}
