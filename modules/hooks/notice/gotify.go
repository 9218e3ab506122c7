package notice

import (
	"net/http"
	"strings"
	"time"

	"jackdaw/modules/internal/styling"
)

// gotify reads what applications send to a Gotify server: JSON, a form, or a query.
var gotify = Face{Name: "gotify", Read: readGotify, Answer: answerGotify, Claims: func(r *Request, body Object) bool {
	return r.Media != typeForm && r.Media != typeMultipart && body.String("message") != ""
}}

// gotifyMessage is what is sent, and what the answer shows of it.
type gotifyMessage struct {
	ID       int64  `json:"id"`
	App      int64  `json:"appid"`
	Message  string `json:"message"`
	Title    string `json:"title"`
	Priority int64  `json:"priority"`
	Extras   Object `json:"extras,omitempty"`
	Date     string `json:"date"`
}

// parseGotify reads a message.
func parseGotify(r *Request) (*gotifyMessage, error) {
	o, err := fields(r)
	if err != nil {
		return nil, err
	}
	m := &gotifyMessage{Message: o.String("message"), Title: o.String("title"), Extras: o.Object("extras")}
	if strings.TrimSpace(m.Message) == "" {
		return nil, bad("Field 'message' is required")
	}
	var ok bool
	if m.Priority, ok = o.Int("priority"); !ok && o["priority"] != nil && o["priority"] != "" {
		return nil, bad("Field 'priority' is not valid")
	}
	if o["extras"] != nil && m.Extras == nil {
		return nil, bad("Field 'extras' is not valid")
	}
	return m, nil
}

// fields are what a request says by JSON, by a form, or by its query, which both of these come before.
func fields(r *Request) (Object, error) {
	o := Object{}
	for name, v := range r.Query {
		o[name] = v[0]
	}
	form, _, err := r.Form()
	if err != nil {
		return nil, err
	}
	for name, v := range form {
		o[name] = v[0]
	}
	body, err := r.Object()
	if err != nil && r.Media != typeForm && r.Media != typeMultipart && len(r.Body) > 0 {
		return nil, err
	}
	for name, v := range body {
		o[name] = v
	}
	return o, nil
}

func readGotify(r *Request) (Reading, error) {
	m, err := parseGotify(r)
	if err != nil {
		return Reading{}, err
	}
	n := Notice{Title: m.Title, Text: m.Message}
	if m.Extras.Object("client::display").String("contentType") == typeMarkdown {
		n.Text = styling.FromMarkdown(n.Text)
	}
	n.Link = m.Extras.Object("client::notification").Object("click").String("url")
	// 4 to 7 is what clients show as normal, and what Apprise sends if it is told nothing.
	switch {
	case m.Priority >= 8:
		n.Level = Critical
	case m.Priority >= 4:
		n.Level = Notable
	}
	return Reading{Notices: []Notice{n}}, nil
}

// answerGotify is the message as Gotify shows it, or its error.
func answerGotify(o *Outcome) Response {
	if o.Status != http.StatusOK {
		return marshalled(o.Status, struct {
			Error       string `json:"error"`
			Code        int    `json:"errorCode"`
			Description string `json:"errorDescription"`
		}{http.StatusText(o.Status), o.Status, o.Text})
	}
	m := &gotifyMessage{}
	if o.Request != nil {
		if read, err := parseGotify(o.Request); err == nil {
			m = read
		}
	}
	m.ID, m.App, m.Date = o.Serial, 1, time.Unix(o.Received, 0).UTC().Format(time.RFC3339)
	if strings.TrimSpace(m.Title) == "" {
		m.Title = o.Hook
	}
	return marshalled(o.Status, m)
}
