package notice

import (
	"net/http"
	"strings"
)

// slack is an incoming webhook of Slack, whose format many others have taken over: JSON, or a form with the field
// payload. Where a message goes is the hook's to say.
var slack = Face{
	Name:   "slack",
	Read:   readSlack,
	Answer: answerSlack,
	Claims: func(_ *Request, body Object) bool {
		_, text := body["text"].(string)
		// Those of Apprise stand beside a message.
		return text || !body.Has("message") && (len(objects(body, "attachments")) > 0 || len(objects(body, "blocks")) > 0)
	},
}

func readSlack(r *Request) (Reading, error) { return readSlackWith(r, mrkdwn) }

// readSlackWith reads a message of the family, which differs in its markup.
func readSlackWith(r *Request, markup func(string) string) (Reading, error) {
	o, err := r.Object()
	if err != nil {
		if o = slackForm(r); o == nil {
			return Reading{}, err
		}
	}
	m := slackMessage(o, markup)
	n, ok := m.notice()
	if !ok {
		return Reading{}, &Mistake{Status: http.StatusBadRequest, Word: "no_text",
			Text: "the message has no text, no attachments and no blocks that can be shown"}
	}
	n.To, n.Nick = o.String("channel"), oneLine(o.String("username"))
	if thread := o.String("thread_ts"); thread != "" {
		n.Key = "thread " + thread
	}
	return Reading{Notices: []Notice{n}}, nil
}

// slackForm is a message whose members are fields of a form.
// COMPAT(Mattermost): it takes multipart forms of this kind.
func slackForm(r *Request) Object {
	form, _, err := r.Form()
	if err != nil || form.Get("text") == "" || form.Has("payload") {
		return nil
	}
	o := Object{}
	for _, name := range [...]string{"text", "channel", "username", "alias"} {
		if form.Has(name) {
			o[name] = form.Get(name)
		}
	}
	return o
}

func slackMessage(o Object, markup func(string) string) *rich {
	m := newRich(markup)
	text := m.styled(o.String("text"))
	m.add(text)
	m.said = text
	attachments := objects(o, "attachments")
	blocks := objects(o, "blocks")
	m.alone = len(attachments) == 1
	if text == "" { // else it is what stands in for them
		for _, b := range blocks {
			m.block(b)
		}
	}
	for _, a := range attachments {
		m.attachment(a)
	}
	return m
}

// objects are the elements of a list that are objects, as many as a message may have.
// COMPAT(scripts): one object stands for a list of one.
func objects(o Object, name string) (found []Object) {
	if one := o.Object(name); one != nil {
		return []Object{one}
	}
	for _, v := range o.List(name) {
		if one, ok := v.(Object); ok && len(found) < maxParts {
			found = append(found, one)
		}
	}
	return found
}

// attachment is a part with a title, fields and a colour; its fallback stands for one that has nothing else.
func (r *rich) attachment(a Object) {
	before, links := len(r.lines), len(r.n.Links)
	title := r.n.Title
	r.colour(a.String("color"))
	r.add(r.styled(a.String("pretext")))
	r.add(r.styled(a.String("author_name")))
	r.heading(r.styled(a.String("title")), a.String("title_link"))
	r.add(r.styled(a.String("text")))
	for _, f := range objects(a, "fields") {
		r.field(r.styled(f.String("title")), r.styled(f.String("value")))
	}
	for _, b := range objects(a, "blocks") {
		r.block(b)
	}
	for _, action := range objects(a, "actions") {
		r.button(action)
	}
	r.picture(a.String("image_url"))
	if len(r.lines) == before && len(r.n.Links) == links && r.n.Title == title {
		r.add(r.styled(a.String("fallback")))
	}
}

// button is what one can press; only those that lead somewhere are shown.
func (r *rich) button(b Object) {
	label := b.String("text")
	if text := b.Object("text"); text != nil {
		label = text.String("text")
	}
	if address := b.String("url"); address != "" {
		r.link(oneLine(plain(head(label, maxMarkup))), address)
	}
}

// answerSlack answers as Slack does: "ok", to the letter (Alertmanager and Grafana look for it), or one word for what
// is wrong. What it is in particular stands in a header, for who reads it.
func answerSlack(o *Outcome) Response {
	if o.Status == http.StatusOK {
		return Response{Status: o.Status, Media: typeText, Body: []byte("ok")}
	}
	return Response{Status: o.Status, Media: typeText, Header: reason(o.Text), Body: []byte(slackWord(o))}
}

const typeText = "text/plain; charset=utf-8"

// slackWord is what Slack calls an error, and Grafana explains to its users (receivers/slack/v1).
func slackWord(o *Outcome) string {
	switch {
	case o.Word != "":
		return o.Word
	case o.Status == http.StatusUnauthorized:
		return "invalid_token"
	case o.Status == http.StatusForbidden:
		return "action_prohibited"
	case o.Status == http.StatusNotFound:
		return "no_service"
	case o.Status >= http.StatusInternalServerError:
		return "service_unavailable"
	}
	return "invalid_payload"
}

// reason is a header with one line in ASCII; nil for none.
func reason(text string) map[string]string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, head(text, 500))
	if text == "" {
		return nil
	}
	return map[string]string{"X-Jackdaw-Reason": text}
}
