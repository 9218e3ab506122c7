package notice

import (
	"net/http"
	"regexp"
	"strings"

	"jackdaw/modules/internal/styling"
)

// mattermost is an incoming webhook of Mattermost: that of Slack, with Markdown, and a priority.
var mattermost = Face{
	Name:   "mattermost",
	Read:   readMattermost,
	Answer: answerMattermost,
	Claims: func(r *Request, body Object) bool {
		return (body.Object("props") != nil || body.Object("priority") != nil) && slack.Claims(r, body)
	},
}

// rocketchat is an incoming webhook of Rocket.Chat, likewise.
var rocketchat = Face{
	Name:   "rocketchat",
	Read:   readRocketChat,
	Answer: answerRocketChat,
	Claims: func(r *Request, body Object) bool {
		for _, name := range [...]string{"alias", "avatar", "emoji", "roomId", "separateResponse"} {
			if body.Has(name) {
				return slack.Claims(r, body)
			}
		}
		return false
	},
}

// markdown is Markdown with the links of Slack, which both programs turn into theirs, and with emoji.
func markdown(s string) string {
	if strings.Contains(s, "<") || strings.Count(s, ":") > 1 {
		s = slackLinks(s)
	}
	return styling.FromMarkdown(s)
}

// slackLinks resolves what stands between < and > outside of code, and emoji; escapes are left to Markdown.
func slackLinks(s string) string { return outsideCode(s, linksAndEmoji) }

// outsideCode changes what is not code: neither between ``` nor, on one line, between `.
func outsideCode(s string, change func(string) string) string {
	var b strings.Builder
	for s != "" {
		at := strings.IndexByte(s, '`')
		if at < 0 {
			at = len(s)
		}
		b.WriteString(change(s[:at]))
		if s = s[at:]; s == "" {
			break
		}
		mark, end := "`", strings.IndexAny(s[1:], "`\n")
		if strings.HasPrefix(s, "```") {
			mark, end = "```", strings.Index(s[3:], "```")
		} else if end >= 0 && s[1+end] == '\n' { // what is not closed on its line is a sign
			end = -1
		}
		used := len(mark)
		if end >= 0 {
			used += end + len(mark)
		}
		b.WriteString(s[:used])
		s = s[used:]
	}
	return b.String()
}

func linksAndEmoji(s string) string {
	var b strings.Builder
	for s != "" {
		at := strings.IndexAny(s, "<:")
		if at < 0 {
			break
		}
		b.WriteString(s[:at])
		s = s[at:]
		written, used := s[:1], 1
		if s[0] == '<' {
			if text, n := markup(s); n > 0 {
				written, used = text, n
			}
		} else if sign, n := emojiAt(s); n > 0 {
			written, used = sign, n
		}
		b.WriteString(written)
		s = s[used:]
	}
	return b.String() + s
}

// rocketMarkup is the markup of Rocket.Chat: that of Slack, which may be doubled, and the links of Markdown.
func rocketMarkup(s string) string {
	return outsideCode(s, func(s string) string {
		s = doubled.Replace(linksAndEmoji(s))
		return markdownLink.ReplaceAllStringFunc(s, func(link string) string {
			parts := markdownLink.FindStringSubmatch(link)
			return linked(parts[1], parts[2])
		})
	})
}

var (
	doubled      = strings.NewReplacer("**", "*", "__", "_", "~~", "~")
	markdownLink = regexp.MustCompile(`!?\[([^\]\n]*)\]\(([a-zA-Z]+:[^)\s]+)\)`)
)

func readMattermost(r *Request) (Reading, error) {
	reading, err := readSlackWith(r, markdown)
	if err != nil {
		return reading, err
	}
	o, _ := r.Object()
	n := &reading.Notices[0]
	switch o.Object("priority").String("priority") {
	case "urgent":
		n.Level = Critical
	case "important":
		n.Level = max(n.Level, Warning)
	}
	return reading, nil
}

func readRocketChat(r *Request) (Reading, error) {
	reading, err := readSlackWith(r, rocketMarkup)
	if err != nil {
		return reading, err
	}
	o, _ := r.Object()
	n := &reading.Notices[0]
	if alias := oneLine(o.String("alias")); alias != "" {
		n.Nick = alias
	}
	if room := o.String("roomId"); n.To == "" {
		n.To = room
	}
	return reading, nil
}

// answerMattermost answers as Mattermost does: "ok", or an error in JSON.
func answerMattermost(o *Outcome) Response {
	if o.Status == http.StatusOK {
		return Response{Status: o.Status, Media: "text/plain", Body: []byte("ok")}
	}
	return marshalled(o.Status, struct {
		ID      string `json:"id"`
		Message string `json:"message"`
		Detail  string `json:"detailed_error"`
		Status  int    `json:"status_code"`
	}{"api.webhook.incoming.error", o.Text, "", o.Status})
}

// answerRocketChat answers as Rocket.Chat does: whether it was a success.
func answerRocketChat(o *Outcome) Response {
	return marshalled(o.Status, struct {
		Success bool   `json:"success"`
		Error   string `json:"error,omitempty"`
	}{o.Status == http.StatusOK, o.Text})
}
