package notice

import (
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"jackdaw/modules/internal/styling"
)

// discord is a webhook of Discord (its developers/resources/webhook): JSON, or a multipart form with files and the
// field payload_json. The suffixes /slack and /github of its URL mean the formats of these.
var discord = Face{
	Name:   "discord",
	Read:   readDiscord,
	Answer: answerDiscord,
	Looks:  true, // COMPAT(Uptime Kuma): it asks what the webhook is called before it posts
	Also:   []string{"slack", "github"},
	Claims: func(_ *Request, body Object) bool {
		_, embeds := body["embeds"].([]any)
		_, content := body["content"].(string)
		return embeds || content
	},
}

// Of the numbers of Discord: embeds of a message, and codes of errors.
const (
	maxEmbeds = 10

	discordUnknownWebhook = 10015
	discordTooLarge       = 40005
	discordEmpty          = 50006
	discordBadToken       = 50027
)

func readDiscord(r *Request) (Reading, error) {
	if r.Method == http.MethodGet {
		return Reading{Ignored: "it was only looked at"}, nil
	}
	o, files, err := discordBody(r)
	if err != nil {
		return Reading{}, err
	}
	m := newRich(discordMarkup)
	text := m.styled(o.String("content"))
	embeds := objects(o, "embeds")
	embeds = embeds[:min(len(embeds), maxEmbeds)]
	m.alone = len(embeds) == 1
	// COMPAT(Grafana): a text of many lines has its title in the embed.
	if m.alone && strings.Contains(text, "\n") {
		m.heading(m.styled(embeds[0].String("title")), embeds[0].String("url"))
		embeds[0] = maps.Clone(embeds[0]) // others read it, too
		delete(embeds[0], "title")
		delete(embeds[0], "url")
	}
	m.add(text)
	m.said = text
	for _, e := range embeds {
		m.embed(e)
	}
	m.components(o, 0)
	m.poll(o.Object("poll"))
	n, ok := m.notice()
	for _, f := range files {
		n.Attachments, ok = append(n.Attachments, f), true
	}
	if !ok {
		return Reading{}, &Mistake{Status: http.StatusBadRequest, Word: strconv.Itoa(discordEmpty),
			Text: "the message is empty: it has neither content nor embeds that can be shown"}
	}
	n.Nick = oneLine(o.String("username"))
	for _, thread := range [...]string{r.Query.Get("thread_id"), o.String("thread_name")} {
		if n.Key == "" && thread != "" {
			n.Key = "thread " + thread
		}
	}
	return Reading{Notices: []Notice{n}}, nil
}

// discordBody is the message and its files. Without payload_json the fields of a form are its members.
func discordBody(r *Request) (Object, []Attachment, error) {
	form, files, err := r.Form()
	if err != nil {
		return nil, nil, err
	}
	if len(form) == 0 && len(files) > 0 {
		return nil, files, nil
	}
	if (r.Media == typeMultipart || r.Media == typeForm) && !form.Has("payload_json") && form.Has("content") {
		return Object{"content": form.Get("content"), "username": form.Get("username")}, files, nil
	}
	o, err := r.Object()
	return o, files, err
}

// embed is a part with a title, a text, fields and a colour.
func (r *rich) embed(e Object) {
	if n, ok := e.Int("color"); ok && n > 0 && n <= 0xFFFFFF {
		r.n.Level = max(r.n.Level, rgbLevel(uint32(n)))
	}
	r.add(r.styled(e.Object("author").String("name")))
	r.heading(r.styled(e.String("title")), e.String("url"))
	r.add(r.styled(e.String("description")))
	for _, f := range objects(e, "fields") {
		r.field(r.styled(f.String("name")), r.styled(f.String("value")))
	}
	r.picture(e.Object("image").String("url"))
}

// Types of components that show something (developers/components/reference).
const (
	componentButton = "2"
	componentText   = "10"
	componentMedia  = "12"
)

// components are the parts of a message that is laid out by them, which may stand within each other.
func (r *rich) components(o Object, depth int) {
	if depth > 5 { // more than Discord has
		return
	}
	for _, c := range objects(o, "components") {
		switch c.String("type") {
		case componentText:
			r.add(r.styled(c.String("content")))
		case componentButton:
			r.link(oneLine(head(c.String("label"), maxMarkup)), c.String("url"))
		case componentMedia:
			for _, item := range objects(c, "items") {
				r.picture(item.Object("media").String("url"))
			}
		}
		r.components(c, depth+1)
		if beside := c.Object("accessory"); beside.String("type") == componentButton {
			r.link(oneLine(head(beside.String("label"), maxMarkup)), beside.String("url"))
		}
	}
}

// poll is a question and its answers.
func (r *rich) poll(p Object) {
	r.add(r.styled(p.Object("question").String("text")))
	for _, a := range objects(p, "answers") {
		if text := r.styled(a.Object("poll_media").String("text")); text != "" {
			r.add("- " + text)
		}
	}
}

// discordMarkup is Markdown with mentions, times and emoji of Discord.
func discordMarkup(s string) string {
	return styling.FromMarkdown(outsideCode(s, mentions))
}

// mentions resolves what Discord writes between < and >: <@1>, <@&1>, <#1>, <:name:1>, <t:1795867200:R>.
func mentions(s string) string {
	var b strings.Builder
	for s != "" {
		at := strings.IndexAny(s, "<:")
		if at < 0 {
			break
		}
		b.WriteString(s[:at])
		s = s[at:]
		written, used := s[:1], 1
		if s[0] == ':' {
			if sign, n := emojiAt(s); n > 0 {
				written, used = sign, n
			}
		} else if end := strings.IndexAny(s[1:min(len(s), 200)], "<>\n"); end > 0 && s[1+end] == '>' {
			if text := mention(s[1 : 1+end]); text != "" {
				written, used = text, end+2
			}
		}
		b.WriteString(written)
		s = s[used:]
	}
	return b.String() + s
}

func mention(s string) string {
	switch {
	case strings.HasPrefix(s, "@&") && len(s) > 2:
		return "@" + s[2:]
	case strings.HasPrefix(s, "@!") && len(s) > 2:
		return "@" + s[2:]
	case s[0] == '@' || s[0] == '#':
		return s
	}
	parts := strings.Split(s, ":")
	switch {
	case len(parts) == 3 && (parts[0] == "" || parts[0] == "a") && parts[1] != "":
		return emojiOr(parts[1])
	case len(parts) >= 2 && parts[0] == "t":
		if at, err := strconv.ParseInt(parts[1], 10, 64); err == nil && at > 0 && at < 1<<40 {
			return time.Unix(at, 0).UTC().Format("2006-01-02 15:04 UTC")
		}
	}
	return ""
}

// answerDiscord answers as Discord does: nothing, or the message where it is waited for.
func answerDiscord(o *Outcome) Response {
	switch {
	case o.Status != http.StatusOK:
		return marshalled(o.Status, struct {
			Message string `json:"message"`
			Code    int    `json:"code"`
		}{o.Text, discordCode(o)})
	case o.Request != nil && o.Request.Method == http.MethodGet:
		return marshalled(o.Status, struct {
			ID     string  `json:"id"`
			Type   int     `json:"type"`
			Name   string  `json:"name"`
			Avatar *string `json:"avatar"`
		}{snowflake(0, 1), 1, o.Hook, nil})
	case o.Request == nil || o.Request.Query.Get("wait") != "true" && o.Request.Query.Get("wait") != "1":
		return Response{Status: http.StatusNoContent}
	}
	content, name := "", ""
	if o.Reading != nil && len(o.Reading.Notices) > 0 {
		n := &o.Reading.Notices[0]
		content, name = Draw(n, Style{}).Text, n.Nick
	}
	if name == "" {
		name = o.Hook
	}
	id := snowflake(o.Received, o.Serial)
	type author struct {
		ID       string `json:"id"`
		Username string `json:"username"`
		Bot      bool   `json:"bot"`
	}
	return marshalled(o.Status, struct {
		ID          string `json:"id"`
		Type        int    `json:"type"`
		Content     string `json:"content"`
		ChannelID   string `json:"channel_id"`
		Author      author `json:"author"`
		Attachments []any  `json:"attachments"`
		Embeds      []any  `json:"embeds"`
		Timestamp   string `json:"timestamp"`
		WebhookID   string `json:"webhook_id"`
	}{id, 0, content, snowflake(0, 1), author{snowflake(0, 1), name, true}, []any{}, []any{},
		time.Unix(o.Received, 0).UTC().Format(time.RFC3339), snowflake(0, 1)})
}

// discordCode is the number of an error.
func discordCode(o *Outcome) int {
	if n, err := strconv.Atoi(o.Word); err == nil {
		return n
	}
	switch o.Status {
	case http.StatusUnauthorized:
		return discordBadToken
	case http.StatusNotFound:
		return discordUnknownWebhook
	case http.StatusRequestEntityTooLarge:
		return discordTooLarge
	}
	return 0 // a general error
}

// snowflake is an id as libraries for Discord want to read it: a number that grows with the time since 2015.
func snowflake(unix, serial int64) string {
	const epoch = 1420070400
	return strconv.FormatInt(max(unix-epoch, 0)*1000<<22|serial&(1<<22-1), 10)
}
