package notice

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
)

// Types of bodies.
const (
	typeJSON      = "application/json"
	typeForm      = "application/x-www-form-urlencoded"
	typeMultipart = "multipart/form-data"
	typeMarkdown  = "text/markdown"
)

// maxFields bounds the fields of a form.
const maxFields = 1000

// jsonFields are the fields of forms that hold JSON, by those who send them: the forges and the Slack family, Discord,
// Uptime Kuma.
var jsonFields = [...]string{"payload", "payload_json", "data"}

// parsed is what was read of a body, once for all who ask.
type parsed struct {
	objectDone bool
	object     Object
	objectErr  error

	formDone bool
	form     url.Values
	files    []Attachment
	formErr  error
}

// Object is the outermost object of the body: of JSON, or of the field of a form that holds it. Bodies of other types
// count as JSON if they are an object. Its error is a *Mistake.
func (r *Request) Object() (Object, error) {
	p := &r.parsed
	if !p.objectDone {
		p.objectDone = true
		p.object, p.objectErr = r.readObject()
	}
	return p.object, p.objectErr
}

func (r *Request) readObject() (Object, error) {
	// COMPAT(old senders for Mattermost): a body of no type that begins so is a form.
	if body, ok := bytes.CutPrefix(r.Body, []byte("payload=")); ok && r.Media == "" {
		v, err := url.QueryUnescape(string(body))
		if err != nil {
			v = string(body)
		}
		return ParseObject([]byte(v))
	}
	if r.Media != typeForm && r.Media != typeMultipart {
		return ParseObject(r.Body)
	}
	form, _, err := r.Form()
	if err != nil {
		return nil, err
	}
	for _, name := range jsonFields {
		if v := form.Get(name); v != "" {
			return ParseObject([]byte(v))
		}
	}
	// COMPAT(curl -d): JSON is sent as a form by whoever forgets to name its type.
	if r.Media == typeForm && bytes.HasPrefix(bytes.TrimLeft(r.Body, " \t\r\n\uFEFF"), []byte("{")) {
		return ParseObject(r.Body)
	}
	return nil, &Mistake{Status: http.StatusBadRequest, Text: "the form has no field with JSON"}
}

// Form is the body as a form, with the files in it; both are empty for bodies of other types. Its error is a *Mistake.
func (r *Request) Form() (url.Values, []Attachment, error) {
	p := &r.parsed
	if !p.formDone {
		p.formDone = true
		p.form, p.files, p.formErr = r.readForm()
	}
	return p.form, p.files, p.formErr
}

func (r *Request) readForm() (url.Values, []Attachment, error) {
	bad := func(what string) (url.Values, []Attachment, error) {
		return nil, nil, &Mistake{Status: http.StatusBadRequest, Text: "the form cannot be read: " + what}
	}
	form := url.Values{}
	switch r.Media {
	case typeForm:
		if bytes.Count(r.Body, []byte("&")) >= maxFields {
			return bad("it has too many fields")
		}
		// What is wrong with one field is no reason to lose the others: bare JSON may hold semicolons and percent signs.
		form, _ = url.ParseQuery(string(r.Body))
		return form, nil, nil
	case typeMultipart:
	default:
		return form, nil, nil
	}
	boundary := r.Params["boundary"]
	if boundary == "" {
		return bad("it has no boundary")
	}
	var files []Attachment
	parts := multipart.NewReader(bytes.NewReader(r.Body), boundary)
	for n := 0; ; n++ {
		part, err := parts.NextPart()
		switch {
		case errors.Is(err, io.EOF):
			return form, files, nil
		case err != nil:
			return bad("a part of it is broken")
		case n >= maxFields:
			return bad("it has too many fields")
		}
		data, err := io.ReadAll(part) // of a body that is bounded
		if err != nil {
			return bad("a part of it is broken")
		}
		if name := part.FileName(); name != "" {
			files = append(files, Attachment{Name: name, Type: part.Header.Get("Content-Type"), Data: data})
		} else if name := part.FormName(); name != "" {
			form.Add(name, string(data))
		}
	}
}
