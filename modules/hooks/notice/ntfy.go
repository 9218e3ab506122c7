package notice

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"jackdaw/modules/internal/styling"
)

// ntfy reads what programs publish to an ntfy server: a text with headers or a query, or JSON that names the topic.
var ntfy = Face{Name: "ntfy", Read: readNtfy, Answer: answerNtfy, Claims: func(r *Request, body Object) bool {
	return body.String("topic") != ""
}}

// Codes of the errors of ntfy that we have a use for; the first three digits are the status.
const (
	ntfyInvalid      = "40000"
	ntfyDelay        = "40004"
	ntfyPriority     = "40007"
	ntfyTopic        = "40009"
	ntfyNotUTF8      = "40011"
	ntfyAttach       = "40013"
	ntfyActions      = "40018"
	ntfyJSON         = "40024"
	ntfyTemplate     = "40043"
	ntfyUnauthorized = "40101"
	ntfyForbidden    = "40301"
	ntfyNotFound     = "40401"
	ntfyTooLarge     = "41301"
	ntfyNotNow       = "50301"
)

const (
	// maxNtfy bounds the text of a message; a body above it is a file.
	maxNtfy = 4096
	// maxActions bounds the buttons of a message.
	maxActions = 3
	// ntfyKept is how long an ntfy server says that it keeps a message, in seconds.
	ntfyKept = 12 * 60 * 60
	// emptyNtfy is the text of a message without one.
	emptyNtfy = "triggered"
)

// ntfyMessage is what is published, and what the answer shows of it.
type ntfyMessage struct {
	ID         string          `json:"id"`
	Time       int64           `json:"time"`
	Expires    int64           `json:"expires"`
	Event      string          `json:"event"`
	Topic      string          `json:"topic"`
	Title      string          `json:"title,omitempty"`
	Message    string          `json:"message"`
	Priority   int             `json:"priority,omitempty"`
	Tags       []string        `json:"tags,omitempty"`
	Click      string          `json:"click,omitempty"`
	Actions    []ntfyAction    `json:"actions,omitempty"`
	Attachment *ntfyAttachment `json:"attachment,omitempty"`
	Type       string          `json:"content_type,omitempty"`

	data []byte // of the attachment
}

type ntfyAction struct {
	Action string `json:"action"`
	Label  string `json:"label"`
	URL    string `json:"url,omitempty"`
}

type ntfyAttachment struct {
	Name string `json:"name"`
	Type string `json:"type,omitempty"`
	Size int    `json:"size,omitempty"`
	URL  string `json:"url,omitempty"`
}

// ntfyLevels are the levels of priorities; 0 is none, which is 3. Monitors send 4 for what is over, too, so it is no
// error.
var ntfyLevels = [...]Level{Info, Debug, Debug, Info, Warning, Critical}

func readNtfy(r *Request) (Reading, error) {
	m, err := parseNtfy(r)
	if err != nil {
		return Reading{}, err
	}
	n := Notice{Title: m.Title, Text: m.Message, Level: ntfyLevels[m.Priority], Link: m.Click}
	if m.Type == typeMarkdown {
		n.Text = styling.FromMarkdown(n.Text)
	}
	var signs, words []string
	for _, tag := range m.Tags {
		if sign := emoji(tag); sign != "" && tag == "warning" && n.Level >= Warning {
			continue // the mark of the level says so
		} else if sign != "" {
			signs = append(signs, sign)
		} else {
			words = append(words, tag)
		}
	}
	if before := strings.Join(signs, " "); before != "" && n.Title != "" {
		n.Title = before + " " + n.Title
	} else if before != "" {
		n.Text = before + " " + n.Text
	}
	if len(words) > 0 {
		n.Text = strings.TrimRight(n.Text, "\n") + "\nTags: " + strings.Join(words, ", ")
	}
	for _, a := range m.Actions {
		if a.Action == "view" {
			n.Links = append(n.Links, Link{Label: a.Label, URL: a.URL})
		}
	}
	if a := m.Attachment; a != nil {
		n.Attachments = []Attachment{{Name: a.Name, Type: a.Type, URL: a.URL, Data: m.data}}
	}
	return Reading{Notices: []Notice{n}}, nil
}

// ntfyFault is an error of ntfy: the code begins with the status.
func ntfyFault(code, format string, args ...any) error {
	return &Mistake{Status: http.StatusBadRequest, Word: code, Text: fmt.Sprintf(format, args...)}
}

// parseNtfy reads a message. Headers come before the query, and the body before both.
func parseNtfy(r *Request) (*ntfyMessage, error) {
	read := func(names ...string) string { return ntfyParam(r, names) }
	body, text := r.Body, true
	if o, ok, err := ntfyObject(r); err != nil {
		return nil, err
	} else if ok {
		// The members stand for headers, and the message for the body. Headers that are there, too, count less.
		read = func(names ...string) string {
			name := strings.TrimPrefix(names[0], "X-")
			if s := jsonParam(o, strings.ToLower(name)); s != "" {
				return s
			}
			return ntfyParam(r, names)
		}
		body = []byte(o.String("message"))
	} else if r.Method == http.MethodGet || r.Method == http.MethodHead {
		switch r.Rest {
		case "publish", "send", "trigger":
		case "":
			if read("X-Message", "Message", "M") == "" {
				return nil, ntfyFault(ntfyInvalid, "a GET publishes at …/publish, …/send or …/trigger, or with a message")
			}
		default:
			return nil, ntfyFault(ntfyNotFound, "nothing can be read here: a hook takes messages only")
		}
	}

	m := &ntfyMessage{Event: "message"}
	m.Title = read("X-Title", "Title", "T")
	m.Click = read("X-Click", "Click")
	m.Message = strings.ReplaceAll(read("X-Message", "Message", "M"), `\n`, "\n")
	var err error
	if m.Priority, err = ntfyPrio(read("X-Priority", "Priority", "Prio", "P")); err != nil {
		return nil, err
	}
	for tag := range strings.SplitSeq(read("X-Tags", "Tags", "Tag", "Ta"), ",") {
		if tag = strings.TrimSpace(tag); tag != "" {
			m.Tags = append(m.Tags, tag)
		}
	}
	if m.Actions, err = ntfyActionsOf(read("X-Actions", "Actions", "Action")); err != nil {
		return nil, err
	}
	if read("X-Delay", "Delay", "X-At", "At", "X-In", "In") != "" {
		return nil, ntfyFault(ntfyDelay, "a message cannot be delayed here: send it when it is due")
	}
	if truth(read("X-Template", "Template", "Tpl")) {
		return nil, ntfyFault(ntfyTemplate, "templates are part of the hook here, not of a message")
	}
	if truth(read("X-Markdown", "Markdown", "Md")) || r.Media == typeMarkdown {
		m.Type = typeMarkdown
	}
	if err := m.attach(read("X-Attach", "Attach", "A"), read("X-Filename", "Filename", "File", "F")); err != nil {
		return nil, err
	}

	switch a := m.Attachment; {
	case a != nil && a.URL != "":
		text = true
	case a != nil, len(body) > maxNtfy, !utf8.Valid(body):
		text = false
	}
	switch {
	case !text:
		m.file(body)
	case !utf8.Valid(body):
		return nil, ntfyFault(ntfyNotUTF8, "the message is not UTF-8")
	case len(body) > 0:
		if len(body) > maxNtfy {
			body = []byte(strings.ToValidUTF8(string(body[:maxNtfy]), ""))
		}
		m.Message = strings.TrimSpace(string(body))
	}
	if m.Message == "" {
		m.Message = emptyNtfy
		if m.Attachment != nil {
			m.Message = "You received a file: " + m.Attachment.Name
		}
	}
	return m, nil
}

// ntfyObject is the JSON of a message that is published at the root: it names its topic. The JSON that is sent to a
// topic is a text.
func ntfyObject(r *Request) (Object, bool, error) {
	o, err := r.Object()
	switch {
	case r.Rest != "" || r.Media == typeMultipart || r.Media == typeForm && o.String("topic") == "":
		return nil, false, nil // curl calls everything a form, JSON and texts
	case err != nil && r.Media == typeJSON && len(r.Body) > 0:
		m, _ := err.(*Mistake)
		return nil, false, &Mistake{Status: m.Status, Word: ntfyJSON, Text: m.Text}
	case err != nil:
		return nil, false, nil
	case o.Has("topic"):
		if o.String("topic") == "" {
			return nil, false, ntfyFault(ntfyTopic, "the topic must be a name")
		}
	case r.Media != typeJSON || o.String("message") == "" && o.String("title") == "":
		return nil, false, nil
	}
	for _, name := range []string{"title", "message", "click", "attach", "filename", "icon", "delay", "priority"} {
		if v := o[name]; v != nil && Text(v) == "" && v != "" {
			return nil, false, ntfyFault(ntfyJSON, "the member %q must be a string or a number", name)
		}
	}
	for _, name := range []string{"tags", "actions"} {
		if v := o[name]; v != nil && o.List(name) == nil && Text(v) == "" && v != "" {
			return nil, false, ntfyFault(ntfyJSON, "the member %q must be a list", name)
		}
	}
	return o, true, nil
}

// jsonParam is a member as the text of a header: lists of tags with commas, actions as JSON.
func jsonParam(o Object, name string) string {
	list := o.List(name)
	switch {
	case list == nil:
		return strings.TrimSpace(o.String(name))
	case name == "tags":
		texts := make([]string, len(list))
		for i, v := range list {
			texts[i] = strings.ReplaceAll(Text(v), ",", " ")
		}
		return strings.Join(texts, ",")
	case name == "actions" && len(list) > 0:
		b, err := json.Marshal(list)
		if err != nil { // of what was read as JSON there is none
			return ""
		}
		return string(b)
	}
	return ""
}

// rfc9218 is a header Priority that browsers and proxies send (RFC 9218 §5), which is not of ntfy.
var rfc9218 = regexp.MustCompile(`^u=\d(,\s*(i|\d))?$`)

// ntfyParam is the first header, else the first parameter of the query, with a name of the list. Headers may have
// encoded words (RFC 2047).
func ntfyParam(r *Request, names []string) string {
	for _, name := range names {
		v := strings.TrimSpace(r.Header.Get(name))
		if v == "" || name == "Priority" && rfc9218.MatchString(v) {
			continue
		}
		var d mime.WordDecoder
		if decoded, err := d.DecodeHeader(v); err == nil {
			v = decoded
		}
		if v = strings.TrimSpace(strings.ToValidUTF8(v, "\uFFFD")); v != "" {
			return v
		}
	}
	for _, name := range names {
		if v := strings.TrimSpace(r.Query.Get(strings.ToLower(name))); v != "" {
			return v
		}
	}
	return ""
}

// truth is a boolean of ntfy.
func truth(s string) bool {
	switch strings.ToLower(s) {
	case "1", "yes", "true":
		return true
	}
	return false
}

func ntfyPrio(s string) (int, error) {
	switch strings.ToLower(s) {
	case "":
		return 0, nil
	case "1", "min":
		return 1, nil
	case "2", "low":
		return 2, nil
	case "3", "default":
		return 3, nil
	case "4", "high":
		return 4, nil
	case "5", "max", "urgent":
		return 5, nil
	case "0": // of JSON, where it is none
		return 0, nil
	}
	return 0, ntfyFault(ntfyPriority, "the priority must be 1 to 5, or min, low, default, high, max")
}

// attach notes where a file is, or that the body is one.
func (m *ntfyMessage) attach(address, name string) error {
	if address == "" && name == "" {
		return nil
	}
	m.Attachment = &ntfyAttachment{Name: name, URL: address}
	if address == "" {
		return nil
	}
	if !linkable(address) {
		return ntfyFault(ntfyAttach, "what is attached must be the URL of a file")
	}
	if name == "" {
		address, _, _ = strings.Cut(address, "?")
		if m.Attachment.Name = path.Base(address); m.Attachment.Name == "." || m.Attachment.Name == "/" {
			m.Attachment.Name = "attachment"
		}
	}
	return nil
}

// endings are those of the names of files that have none.
var endings = map[string]string{"text/plain": ".txt", "text/html": ".html", "image/jpeg": ".jpg", "image/png": ".png",
	"image/gif": ".gif", "image/webp": ".webp", "application/pdf": ".pdf", "application/zip": ".zip",
	"application/x-gzip": ".gz", "audio/mpeg": ".mp3", "video/mp4": ".mp4"}

// file makes the body the attachment.
func (m *ntfyMessage) file(body []byte) {
	if m.Attachment == nil {
		m.Attachment = &ntfyAttachment{}
	}
	a := m.Attachment
	a.Type, a.Size = http.DetectContentType(body), len(body)
	if a.Name == "" {
		media, _, _ := strings.Cut(a.Type, ";")
		a.Name = "attachment" + endings[media]
	}
	m.data = body
}

// answerNtfy is the message as it was published, or the error of ntfy.
func answerNtfy(o *Outcome) Response {
	if o.Status != http.StatusOK {
		return marshalled(o.Status, struct {
			Code  int    `json:"code"`
			HTTP  int    `json:"http"`
			Error string `json:"error"`
		}{ntfyCode(o), o.Status, o.Text})
	}
	m := &ntfyMessage{Event: "message"}
	if o.Request != nil {
		if read, err := parseNtfy(o.Request); err == nil {
			m = read
		}
	}
	m.ID, m.Topic, m.Time, m.Expires = o.ID, o.Hook, o.Received, o.Received+ntfyKept
	return marshalled(o.Status, m)
}

// ntfyCode is the code of an error: its own, else that of its status.
func ntfyCode(o *Outcome) int {
	word := o.Word
	if n, err := strconv.Atoi(word); err == nil && n/100 == o.Status {
		return n
	}
	switch o.Status {
	case http.StatusBadRequest:
		word = ntfyInvalid
	case http.StatusUnauthorized:
		word = ntfyUnauthorized
	case http.StatusForbidden:
		word = ntfyForbidden
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		word = ntfyNotFound
	case http.StatusRequestEntityTooLarge:
		word = ntfyTooLarge
	default:
		word = ntfyNotNow
	}
	n, _ := strconv.Atoi(word)
	return n
}
