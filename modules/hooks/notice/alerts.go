package notice

import (
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What Alertmanager and Grafana call what happens to a group of alerts.
const (
	eventFiring   = "firing"
	eventResolved = "resolved"
)

// repeatsFor is how long the same state of the same alerts counts as one notification: two Alertmanagers of a cluster
// send it both where they do not hear of each other in time.
const repeatsFor = 4 * time.Minute

// maxLine bounds the line of one alert, in characters.
const maxLine = 1000

// alerts are the members that a notification of Alertmanager and one of Grafana have in common.
type alerts struct {
	body             Object
	firing, resolved []Object
	truncated        int64 // alerts that the sender left out
	title            string
}

// readAlerts reads the list of alerts, whose elements may be anything.
func readAlerts(body Object) (alerts, error) {
	a := alerts{body: body}
	list, ok := body["alerts"].([]any)
	if !ok {
		return a, &Mistake{Status: http.StatusBadRequest, Text: "the JSON has no list alerts"}
	}
	for _, v := range list {
		one, ok := v.(Object)
		if !ok {
			return a, &Mistake{Status: http.StatusBadRequest, Text: "an alert in alerts is not an object"}
		}
		state := one.String("status")
		if state == "" {
			state = body.String("status")
		}
		if state == eventResolved {
			a.resolved = append(a.resolved, one)
		} else {
			a.firing = append(a.firing, one)
		}
	}
	if n, ok := body.Int("truncatedAlerts"); ok && n > 0 {
		a.truncated = min(n, 1_000_000)
	}
	a.title = a.name()
	return a, nil
}

// all are those that fire, then those that are resolved.
func (a *alerts) all() []Object { return slices.Concat(a.firing, a.resolved) }

// event is eventFiring as long as one alert fires.
func (a *alerts) event() string {
	if len(a.firing) > 0 {
		return eventFiring
	}
	return eventResolved
}

// notice is the notification without links; more is what stands behind the summary of an alert.
func (a *alerts) notice(more func(Object) string) Notice {
	n := Notice{State: Resolved, Level: a.level(), Title: a.title, Key: a.body.String("groupKey"), Unit: "alerts",
		Count: len(a.resolved)}
	if len(a.firing) > 0 {
		n.State, n.Count = Firing, len(a.firing)
	}
	n.Count += int(a.truncated)
	lines := make([]string, 0, len(a.firing)+len(a.resolved)+1)
	for _, one := range a.firing {
		lines = append(lines, a.line(one, more))
	}
	for _, one := range a.resolved {
		line := a.line(one, more)
		if len(a.firing) > 0 { // the first line says something else
			line = "resolved: " + line
		}
		lines = append(lines, line)
	}
	if a.truncated > 0 {
		lines = append(lines, "… ("+strconv.FormatInt(a.truncated, 10)+" more alerts)")
	}
	n.Text = strings.Join(lines, "\n")
	n.Dedupe, n.DedupeFor = a.dedupe(), repeatsFor
	return n
}

// name is what the alerts were grouped by, else their names.
func (a *alerts) name() string {
	if group := values(a.body.Object("groupLabels"), ""); len(group) > 0 {
		return strings.Join(group, " ")
	}
	var names []string
	for _, one := range a.all() {
		if name := oneLine(one.Object("labels").String("alertname")); name != "" && !slices.Contains(names, name) {
			if len(names) == 3 {
				names = append(names, "…")
				break
			}
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		return strings.Join(names, ", ")
	}
	return "alert"
}

// level is the highest of the alerts that fire, or of all if none does. An alert that does not say is an error.
func (a *alerts) level() Level {
	list := a.firing
	if len(list) == 0 {
		list = a.resolved
	}
	level := Debug
	for _, one := range list {
		level = max(level, severity(one.Object("labels")))
	}
	return level
}

// severity reads the label that most rules have for it. Names of priorities, such as P1, are those of on-call duties.
func severity(labels Object) Level {
	for _, label := range [...]string{"severity", "level", "priority"} {
		name := strings.ToLower(strings.TrimSpace(labels.String(label)))
		switch name {
		case "":
			continue
		case "p0", "p1":
			return Critical
		case "p2":
			return Error
		case "p3":
			return Warning
		case "p4", "p5":
			return Info
		}
		if level, ok := ParseLevel(name); ok {
			return level
		}
	}
	return Error
}

// line is one alert: where it is and what it says.
func (a *alerts) line(one Object, more func(Object) string) string {
	labels := one.Object("labels")
	where := first(labels, "instance", "host", "job")
	what := first(one.Object("annotations"), "summary", "message", "description")
	if where == "" {
		where = strings.Join(values(a.own(labels), "="), " ")
	}
	if name := oneLine(labels.String("alertname")); where == "" && (what == "" || !strings.Contains(a.title, name)) {
		where = name
	}
	line := strings.Trim(where+": "+what, ": ")
	if more != nil {
		line = strings.Trim(line+" "+more(one), " ")
	}
	if line == "" {
		line = "alert"
	}
	return shorten(line, maxLine)
}

// own are the labels that neither the title nor the other alerts have.
func (a *alerts) own(labels Object) Object {
	own, group, common := Object{}, a.body.Object("groupLabels"), a.body.Object("commonLabels")
	for name, v := range labels {
		if !group.Has(name) && (!common.Has(name) || len(a.firing)+len(a.resolved) == 1) {
			own[name] = v
		}
	}
	return own
}

// first is the first of these members that has a text, on one line.
func first(o Object, names ...string) string {
	for _, name := range names {
		if v := oneLine(o.String(name)); v != "" {
			return v
		}
	}
	return ""
}

// values are the labels of an alert, its name first, else in the order of their names. With a sign they are
// name, sign, value, without what the title says anyway.
func values(labels Object, sign string) (list []string) {
	if name := oneLine(labels.String("alertname")); name != "" && sign == "" {
		list = append(list, name)
	}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		v := oneLine(labels.String(name))
		switch {
		case v == "" || name == "alertname":
		case sign == "":
			list = append(list, v)
		case name != "severity":
			list = append(list, oneLine(name)+sign+v)
		}
	}
	return list
}

// dedupe is what tells one state of the alerts from the next; "" where the sender repeats on purpose, or where it says
// nothing that would tell one notification from another.
func (a *alerts) dedupe() string {
	group := a.body.String("groupKey")
	if group == "" || a.body.String("notification_reason") == "repeat interval elapsed" {
		return ""
	}
	h := sha256.New()
	add := func(s string) {
		h.Write([]byte(strconv.Itoa(len(s))))
		h.Write([]byte{':'})
		h.Write([]byte(s))
	}
	add(a.body.String("receiver"))
	add(group)
	for _, list := range [][]Object{a.firing, a.resolved} {
		ids := make([]string, len(list))
		for i, one := range list {
			if ids[i] = one.String("fingerprint"); ids[i] == "" {
				ids[i] = strings.Join(values(one.Object("labels"), "="), " ")
			}
			ids[i] += " " + one.String("startsAt")
		}
		slices.Sort(ids)
		add(strings.Join(ids, "\n"))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// oneLine is a text without ends of lines.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
