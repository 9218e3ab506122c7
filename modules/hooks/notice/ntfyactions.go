package notice

import (
	"slices"
	"strings"
)

// ntfyActionsOf are the buttons of a message: a JSON list, or the short form
//
//	view, Open portal, https://home.example, clear=true; http, Turn down, https://api.example, body='{"temperature": 65}'
//
// whose values may stand in quotes of either kind, with the same quote behind a backslash.
func ntfyActionsOf(s string) ([]ntfyAction, error) {
	if s = strings.TrimSpace(s); s == "" {
		return nil, nil
	}
	var actions []ntfyAction
	var err error
	if strings.HasPrefix(s, "[") {
		actions, err = ntfyActionsJSON(s)
	} else {
		actions, err = ntfyActionsShort(s)
	}
	if err != nil {
		return nil, err
	}
	if len(actions) > maxActions {
		return nil, ntfyFault(ntfyActions, "a message has at most %d actions", maxActions)
	}
	for i := range actions {
		a := &actions[i]
		a.Action = strings.ToLower(a.Action)
		switch {
		case !slices.Contains([]string{"view", "http", "broadcast", "copy"}, a.Action):
			return nil, ntfyFault(ntfyActions, "the action %d must be view, http, broadcast or copy", i+1)
		case a.Label == "":
			return nil, ntfyFault(ntfyActions, "the action %d needs a label", i+1)
		case a.URL == "" && (a.Action == "view" || a.Action == "http"):
			return nil, ntfyFault(ntfyActions, "the action %d needs a url", i+1)
		}
	}
	return actions, nil
}

func ntfyActionsJSON(s string) ([]ntfyAction, error) {
	v, err := ParseJSON([]byte(s))
	list, ok := v.([]any)
	if err != nil || !ok {
		return nil, ntfyFault(ntfyActions, "the actions are not a list of JSON")
	}
	var actions []ntfyAction
	for i, x := range list {
		o, ok := x.(Object)
		if !ok {
			return nil, ntfyFault(ntfyActions, "the action %d must be an object", i+1)
		}
		actions = append(actions, ntfyAction{Action: o.String("action"), Label: o.String("label"), URL: o.String("url")})
	}
	return actions, nil
}

func ntfyActionsShort(s string) ([]ntfyAction, error) {
	var actions []ntfyAction
	for rest := s; strings.TrimSpace(rest) != ""; {
		var a ntfyAction
		for section, end := 0, false; !end; section++ {
			var key, value string
			var err error
			if key, value, end, rest, err = ntfySection(rest); err != nil {
				return nil, err
			}
			if key == "" {
				key = [...]string{"action", "label", "url", ""}[min(section, 3)]
				if key == "url" && a.Action != "view" && a.Action != "http" {
					key = ""
				}
			}
			switch key {
			case "action":
				a.Action = value
			case "label":
				a.Label = value
			case "url":
				a.URL = value
			case "clear", "method", "body", "intent", "value": // of buttons that no message here can have
			default:
				if !strings.HasPrefix(key, "headers.") && !strings.HasPrefix(key, "extras.") && key+value != "" {
					return nil, ntfyFault(ntfyActions, "%s of an action is not known", shorten(one(key, value), maxComment))
				}
			}
		}
		actions = append(actions, a)
	}
	return actions, nil
}

// ntfySection reads one value of an action, with the key before it, if there is one. end says that the action ends.
func ntfySection(s string) (key, value string, end bool, rest string, err error) {
	s = strings.TrimLeft(s, " \t\r\n")
	if at := strings.IndexFunc(s, func(c rune) bool { return !keyed(c) }); at > 0 {
		if v, ok := strings.CutPrefix(strings.TrimLeft(s[at:], " \t\r\n"), "="); ok {
			key, s = strings.ToLower(s[:at]), strings.TrimLeft(v, " \t\r\n")
		}
	}
	if s == "" || s[0] != '"' && s[0] != '\'' {
		at := strings.IndexAny(s, ",;")
		if at < 0 {
			return key, strings.TrimSpace(s), true, "", nil
		}
		return key, strings.TrimSpace(s[:at]), s[at] == ';', s[at+1:], nil
	}
	quote := s[0]
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s) && s[i+1] == quote:
			b.WriteByte(quote)
			i++
		case c != quote:
			b.WriteByte(c)
		default:
			s = strings.TrimLeft(s[i+1:], " \t\r\n")
			if s == "" {
				return key, b.String(), true, "", nil
			}
			if s[0] != ',' && s[0] != ';' {
				return "", "", false, "", ntfyFault(ntfyActions, "something follows a quotation mark of an action")
			}
			return key, b.String(), s[0] == ';', s[1:], nil
		}
	}
	return "", "", false, "", ntfyFault(ntfyActions, "a quotation mark of an action is not closed")
}

// keyed says whether a character may stand in the name of a value.
func keyed(c rune) bool {
	return c == '-' || c == '.' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
