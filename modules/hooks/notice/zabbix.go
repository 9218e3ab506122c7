package notice

import "strings"

// zabbix reads what the media type of contrib/zabbix posts.
var zabbix = Face{Name: "zabbix", Read: readZabbix, Claims: func(_ *Request, body Object) bool {
	return body.Has("event_id") && body.Has("severity") && one(body.String("subject"), body.String("message")) != ""
}}

func readZabbix(r *Request) (Reading, error) {
	o, err := r.Object()
	if err != nil {
		return Reading{}, err
	}
	n := Notice{Title: o.String("subject"), Text: o.String("message"), Link: o.String("url")}
	if severity := o.String("severity"); severity != "" {
		var ok bool
		if n.Level, ok = ParseLevel(severity); !ok && !strings.HasPrefix(severity, "{") { // a macro without a value
			return Reading{}, bad("the severity must be one of Zabbix, from Not classified to Disaster")
		}
	}
	if id := o.String("event_id"); id != "" {
		n.Key = "event " + id
	}
	switch update := o.String("update"); {
	case update == "1": // an acknowledgement, or a comment
	case o.String("value") == "1":
		n.State = Firing
	case o.String("value") == "0":
		n.State, n.Level = Resolved, Info
	}
	if n.Empty() {
		return Reading{}, bad("neither a subject nor a message is there")
	}
	return Reading{Notices: []Notice{n}}, nil
}
