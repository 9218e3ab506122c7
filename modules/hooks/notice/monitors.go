package notice

import "strings"

// uptimekuma reads the webhook of Uptime Kuma: JSON, a form with it in the field data, or a query.
var uptimekuma = Face{Name: "uptimekuma", Read: readKuma, Claims: func(r *Request, body Object) bool {
	if body == nil {
		return r.Query.Get("msg") != ""
	}
	return body.String("msg") != "" && (body.Has("heartbeat") || body.Has("monitor"))
}}

// Statuses of Uptime Kuma.
const (
	kumaDown    = "0"
	kumaUp      = "1"
	kumaPending = "2" // it will be tried again
)

func readKuma(r *Request) (Reading, error) {
	o, err := fields(r)
	if err != nil {
		return Reading{}, err
	}
	part := func(name string) Object {
		if x := o.Object(name); x != nil {
			return x
		}
		x, _ := ParseObject([]byte(o.String(name))) // of a query
		return x
	}
	beat, monitor := part("heartbeat"), part("monitor")
	n := Notice{Text: strings.TrimSpace(o.String("msg")), Link: monitor.String("url")}
	if said := one(beat.String("msg")); n.Text == "" && said != "" {
		n.Text = "[" + one(monitor.String("pathName"), monitor.String("name"), "Uptime Kuma") + "] " + said
	}
	if n.Text == "" {
		return Reading{}, bad("the member %q has no text", "msg")
	}
	if id := monitor.String("id"); id != "" {
		n.Key = "monitor " + id
	}
	switch beat.String("status") {
	case kumaDown:
		n.State, n.Level = Firing, Error
	case kumaUp:
		n.State = Resolved
	case kumaPending:
		n.Level = Warning
	}
	return Reading{Notices: []Notice{n}}, nil
}

// healthchecks reads a body of Healthchecks that is all of a check, its $JSON. Other bodies that it is told to send are
// of the face text.
var healthchecks = Face{Name: "healthchecks", Read: readHealthchecks, Claims: func(_ *Request, body Object) bool {
	return body.Has("n_pings") && body.String("status") != ""
}}

func readHealthchecks(r *Request) (Reading, error) {
	o, err := r.Object()
	if err != nil {
		return Reading{}, err
	}
	name, status := one(o.String("name"), o.String("slug"), "a check"), oneLine(o.String("status"))
	if status == "" {
		return Reading{}, bad("the member %q does not say how the check is", "status")
	}
	n := Notice{Title: name + " is " + status}
	if key := one(o.String("uuid"), o.String("unique_key"), o.String("slug"), o.String("name")); key != "" {
		n.Key = "check " + key
	}
	switch status {
	case "down":
		n.State, n.Level = Firing, Error
	case "up":
		n.State = Resolved
	}
	for _, line := range [...]struct{ label, text string }{
		{"", o.String("desc")}, {"Last ping: ", o.String("last_ping")}, {"Tags: ", o.String("tags")},
	} {
		if text := strings.TrimSpace(line.text); text != "" {
			n.Text += line.label + text + "\n"
		}
	}
	return Reading{Notices: []Notice{n}}, nil
}
