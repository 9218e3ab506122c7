package notice

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// faces are all there are. The first that claims a request is its face, so those that are known by a header of their
// own come first, then those whose JSON is told by more members, and plain text is the last: the forges, GitLab,
// Alertmanager, Grafana, Uptime Kuma, Discord, the Slack family, ntfy, Apprise, Gotify, Home Assistant, text.
var faces = []Face{
	forgejo, gitea, github, gitlab,
	alertmanager, grafana,
	uptimekuma, healthchecks, zabbix, own,
	discord, mattermost, rocketchat, slack,
	ntfy, apprise, gotify, homeassistant,
	text,
}

// Names are those of all faces, in their order. They are reserved words in the paths of hooks.
func Names() []string {
	names := make([]string, len(faces))
	for i := range faces {
		names[i] = faces[i].Name
	}
	return names
}

// Find returns the face of that name, nil if there is none.
func Find(name string) *Face {
	if i := slices.IndexFunc(faces, func(f Face) bool { return f.Name == name }); i >= 0 {
		return &faces[i]
	}
	return nil
}

// Guess returns the face that claims the request. Its error is a *Mistake, which names what was looked for.
func Guess(r *Request) (*Face, error) {
	body, err := r.Object()
	for i := range faces {
		if f := &faces[i]; f.Claims != nil && f.Claims(r, body) {
			return f, nil
		}
	}
	if err != nil && len(r.Body) > 0 && (r.Media == typeJSON || r.Media == typeForm || r.Media == typeMultipart) {
		return nil, err
	}
	return nil, &Mistake{Status: http.StatusBadRequest, Text: "no kind of hook knows this request: neither its headers, " +
		"nor the members of its JSON; looked for " + strings.Join(Names(), ", ") +
		". Name the kind behind the path of the hook, or send the text as text/plain"}
}

// AnswerJSON is what programs are told that want nothing else: {"status":"ok","id":…}, or what went wrong.
func AnswerJSON(o *Outcome) Response {
	answer := struct {
		Status string `json:"status"`
		ID     string `json:"id,omitempty"`
		Reason string `json:"reason,omitempty"`
		Code   string `json:"code,omitempty"`
	}{Status: "ok", ID: o.ID}
	switch {
	case o.Status != http.StatusOK:
		answer.Status, answer.Reason, answer.Code = "error", o.Text, o.Word
	case o.Ignored != "":
		answer.Status, answer.Reason = "ignored", o.Ignored
	}
	r := marshalled(o.Status, answer)
	r.Body = append(r.Body, '\n')
	return r
}

// marshalled is a response in JSON.
func marshalled(status int, v any) Response {
	b, err := json.Marshal(v)
	if err != nil { // of structs of strings and numbers there is none
		b = []byte("{}")
	}
	return Response{Status: status, Media: typeJSON, Body: b}
}
