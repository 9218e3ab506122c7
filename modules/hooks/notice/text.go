package notice

import (
	"bytes"
	"net/http"
	"net/url"
)

// text takes the body as it is: what curl and scripts send. A form may name its parts instead: text, message or body,
// and title or subject; files in it are attached.
var text = Face{
	Name: "text",
	Read: readText,
	Claims: func(r *Request, body Object) bool {
		switch r.Media {
		case "text/plain":
			return true
		case "":
			return len(r.Body) > 0
		case typeForm, typeMultipart: // JSON that is broken, or that nobody knows, is no text
			form, _, err := r.Form()
			return err == nil && body == nil && !holdsJSON(r, form)
		}
		return false
	},
}

// holdsJSON says whether a form has, or is, what should be JSON.
func holdsJSON(r *Request, form url.Values) bool {
	for _, name := range jsonFields {
		if form.Has(name) {
			return true
		}
	}
	return r.Media == typeForm && bytes.HasPrefix(bytes.TrimLeft(r.Body, " \t\r\n\uFEFF"), []byte("{"))
}

func readText(r *Request) (Reading, error) {
	var n Notice
	if r.Media == typeForm || r.Media == typeMultipart {
		form, files, err := r.Form()
		if err != nil {
			return Reading{}, err
		}
		n.Title, n.Text = member(form, "title", "subject"), member(form, "text", "message", "body")
		n.Attachments = files
	}
	// COMPAT(curl --data-binary): it calls every body a form that it is not told the type of.
	if r.Media != typeMultipart && n.Text == "" {
		n.Title, n.Text = "", string(r.Body)
	}
	if n.Empty() {
		return Reading{}, &Mistake{Status: http.StatusBadRequest, Text: "there is no text in the body"}
	}
	return Reading{Notices: []Notice{n}}, nil
}

// member is the first of these fields that has a text.
func member(form url.Values, names ...string) string {
	for _, name := range names {
		if v := form.Get(name); v != "" {
			return v
		}
	}
	return ""
}
