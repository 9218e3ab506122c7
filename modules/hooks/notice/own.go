package notice

import "strings"

// own reads a notice as it is, in JSON, of programs that are made for it: jackdaw send --hook is one.
var own = Face{Name: "notice", Read: readOwn, Claims: func(_ *Request, body Object) bool {
	for name := range body {
		if !ownMembers[name] {
			return false
		}
	}
	return (body.Has("level") || body.Has("state")) && one(body.String("title"), body.String("text")) != ""
}}

// ownMembers are what such a notice may say.
var ownMembers = map[string]bool{"title": true, "text": true, "level": true, "state": true, "link": true, "key": true,
	"source": true}

// states are what monitors call what a notification is about.
var states = map[string]State{
	"firing": Firing, "problem": Firing,
	"resolved": Resolved, "recovery": Resolved,
	"": Stateless, "custom": Stateless, "update": Stateless, "acknowledgement": Stateless,
	"flappingstart": Stateless, "flappingstop": Stateless, "flappingend": Stateless, "flappingdisabled": Stateless,
	"downtimestart": Stateless, "downtimeend": Stateless, "downtimecancelled": Stateless, "downtimeremoved": Stateless,
}

func readOwn(r *Request) (Reading, error) {
	o, err := r.Object()
	if err != nil {
		return Reading{}, err
	}
	for name, v := range o {
		switch {
		case !ownMembers[name]:
			return Reading{}, bad("the member %q is not known: there are title, text, level, state, link, key and source",
				shorten(oneLine(name), maxComment))
		case v != nil && v != "" && Text(v) == "":
			return Reading{}, bad("the member %q must be a string", name)
		}
	}
	n := Notice{Title: o.String("title"), Text: o.String("text"), Link: o.String("link"), Key: o.String("key"),
		Source: o.String("source")}
	var ok bool
	if level := o.String("level"); level != "" {
		if n.Level, ok = ParseLevel(level); !ok {
			return Reading{}, bad("the level must be debug, info, notice, warning, error or critical")
		}
	}
	if n.State, ok = states[strings.ToLower(strings.TrimSpace(o.String("state")))]; !ok {
		return Reading{}, bad("the state must be firing or resolved")
	}
	if n.Empty() {
		return Reading{}, bad("neither a title nor a text is there")
	}
	return Reading{Notices: []Notice{n}}, nil
}
