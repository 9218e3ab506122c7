package notice

import "strings"

// alertmanager is the webhook of Prometheus Alertmanager, version 4 of its format (notify/webhook, template.Data). A
// notification is one notice, whatever it has of alerts.
var alertmanager = Face{
	Name: "alertmanager",
	Read: readAlertmanager,
	// Its other receivers, such as the one for Slack, have the same User-Agent.
	Claims: func(r *Request, body Object) bool {
		_, ok := body["alerts"].([]any)
		return ok && (body.String("version") == "4" || strings.HasPrefix(r.Header.Get("User-Agent"), "Alertmanager/"))
	},
	Events: []string{eventFiring, eventResolved},
}

func readAlertmanager(r *Request) (Reading, error) {
	body, err := r.Object()
	if err != nil {
		return Reading{}, err
	}
	a, err := readAlerts(body)
	if err != nil {
		return Reading{}, err
	}
	all := a.all()
	if len(all) == 0 {
		return Reading{Ignored: "there are no alerts"}, nil
	}
	n := a.notice(nil)
	if len(all) == 1 {
		n.Link = all[0].String("generatorURL")
	}
	if !linkable(n.Link) {
		n.Link = body.String("externalURL")
	}
	common := body.Object("commonAnnotations")
	if len(all) == 1 {
		common = all[0].Object("annotations")
	}
	if book := common.String("runbook_url"); book != "" {
		n.Links = []Link{{Label: "runbook", URL: book}}
	}
	return Reading{Notices: []Notice{n}, Event: a.event()}, nil
}
