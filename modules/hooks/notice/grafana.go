package notice

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// grafana is the webhook of Grafana's alerting (receivers/webhook/v1, templates.ExtendedData): what Alertmanager sends,
// with more about each alert. A contact point with a payload of its own may send anything, which is no face.
var grafana = Face{
	Name: "grafana",
	Read: readGrafana,
	Claims: func(_ *Request, body Object) bool {
		if _, ok := body["alerts"].([]any); ok {
			return body.Has("orgId") || body.Has("state")
		}
		return legacyGrafana(body)
	},
	Events: []string{eventFiring, eventResolved},
}

// legacyGrafana says whether it is a notification of the alerting that Grafana had before version 9.
func legacyGrafana(body Object) bool {
	return body.Has("title") && body.Has("state") && (body.Has("ruleName") || body.Has("ruleUrl"))
}

func readGrafana(r *Request) (Reading, error) {
	body, err := r.Object()
	if err != nil {
		return Reading{}, err
	}
	if !body.Has("alerts") && legacyGrafana(body) {
		return readLegacyGrafana(body)
	}
	a, err := readAlerts(body)
	if err != nil {
		return Reading{}, err
	}
	all := a.all()
	if len(all) == 0 {
		return Reading{Ignored: "there are no alerts"}, nil
	}
	n := a.notice(measured)
	// What the contact point says in its own words is shown as it is; what Grafana says by itself is drawn as all alerts.
	if title := oneLine(body.String("title")); title != "" && !strings.HasPrefix(title, "[FIRING") &&
		!strings.HasPrefix(title, "[RESOLVED") {
		n.Title = title
	}
	if text := strings.TrimSpace(body.String("message")); text != "" && !strings.HasPrefix(text, "**Firing**") &&
		!strings.HasPrefix(text, "**Resolved**") {
		n.Text, n.Unit = text, ""
	}
	n.Link = common(all, "panelURL", "dashboardURL", "generatorURL")
	if !linkable(n.Link) {
		n.Link = body.String("externalURL")
	}
	if silence := common(a.firing, "silenceURL"); silence != "" {
		n.Links = []Link{{Label: "silence", URL: silence}}
	}
	n.Attachments = images(all)
	return Reading{Notices: []Notice{n}, Event: a.event()}, nil
}

// measured are the values that an alert was decided by.
func measured(one Object) string {
	list := one.Object("values")
	var shown []string
	for _, name := range slices.Sorted(maps.Keys(list)) {
		v, ok := list[name].(json.Number)
		if !ok {
			continue
		}
		text := v.String()
		if f, err := v.Float64(); err == nil { // 0.40000000000000002 is how a computer says it
			text = strconv.FormatFloat(f, 'g', 6, 64)
		}
		shown = append(shown, oneLine(name)+"="+text)
	}
	if len(shown) == 0 {
		return ""
	}
	return "(" + strings.Join(shown, ", ") + ")"
}

// common is the first of these members on whose text all alerts agree.
func common(list []Object, names ...string) string {
	for _, name := range names {
		if len(list) == 0 {
			return ""
		}
		v := list[0].String(name)
		if linkable(v) && !slices.ContainsFunc(list, func(o Object) bool { return o.String(name) != v }) {
			return v
		}
	}
	return ""
}

// maxImages bounds the pictures of a notice.
const maxImages = 5

// images are pictures of panels.
func images(list []Object) (found []Attachment) {
	for _, one := range list {
		address := one.String("imageURL")
		if len(found) < maxImages && linkable(address) &&
			!slices.ContainsFunc(found, func(a Attachment) bool { return a.URL == address }) {
			found = append(found, Attachment{URL: address})
		}
	}
	return found
}

func readLegacyGrafana(body Object) (Reading, error) {
	n := Notice{Title: body.String("title"), Text: body.String("message"), Link: body.String("ruleUrl"), Level: Warning,
		Key: body.String("ruleId")}
	reading := Reading{}
	switch body.String("state") {
	case "alerting":
		n.State, n.Level, reading.Event = Firing, Error, eventFiring
	case "ok":
		n.State, reading.Event = Resolved, eventResolved
	}
	n.Title = strings.TrimPrefix(strings.TrimPrefix(n.Title, "[Alerting] "), "[OK] ")
	if n.Empty() {
		return Reading{}, &Mistake{Status: http.StatusBadRequest, Text: "the JSON has neither title nor message"}
	}
	if picture := body.String("imageUrl"); linkable(picture) {
		n.Attachments = []Attachment{{URL: picture}}
	}
	reading.Notices = []Notice{n}
	return reading, nil
}
