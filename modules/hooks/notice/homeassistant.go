package notice

// homeassistant reads what the notify platform rest of Home Assistant sends: a query, a form, or JSON, with names that
// its configuration chooses.
var homeassistant = Face{Name: "homeassistant", Read: readHomeAssistant, Claims: func(r *Request, _ Object) bool {
	o, err := fields(r)
	return err == nil && o.String(foreign(r, "message")) != ""
}}

func readHomeAssistant(r *Request) (Reading, error) {
	o, err := fields(r)
	if err != nil {
		return Reading{}, err
	}
	n := Notice{Title: o.String(foreign(r, "title")), Text: o.String(foreign(r, "message")),
		To: o.String(foreign(r, "target"))}
	if n.Empty() {
		return Reading{}, bad("the parameter %q has no text", foreign(r, "message"))
	}
	return Reading{Notices: []Notice{n}}, nil
}
