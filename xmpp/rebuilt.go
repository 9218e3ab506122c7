package xmpp

import (
	"fmt"
	"strconv"

	"jackdaw/xmpp/jid"
)

// StanzaOf makes a stanza of an element that came from elsewhere than a stream: a file, or another stanza. It owns its
// memory. What is between its children is left out. The error says which address is none.
func StanzaOf(e *Element) (s Stanza, err error) {
	s.Kind = KindOf(e.Name.Local)
	for i, a := range e.Attrs {
		switch {
		case a.Name == Name{NSXML, "lang"}:
			s.Lang = a.Value
		case a.Name.Space == NSXML:
		case a.Name.Space != "":
			s.Attrs = append(strconv.AppendInt(append(s.Attrs, " xmlns:ns"...), int64(i), 10), '=', '\'')
			s.Attrs = append(AppendAttr(s.Attrs, a.Name.Space), "' ns"...)
			s.Attrs = append(append(strconv.AppendInt(s.Attrs, int64(i), 10), ':'), a.Name.Local...)
			s.Attrs = append(AppendAttr(append(s.Attrs, '=', '\''), a.Value), '\'')
		case a.Name.Local == "id":
			s.ID = a.Value
		case a.Name.Local == "type":
		case a.Name.Local == "from" || a.Name.Local == "to":
			if a.Value == "" {
				continue
			}
			j, err := jid.Parse(a.Value)
			if err != nil {
				return s, fmt.Errorf("address of a %s: %w", e.Name.Local, err)
			}
			if a.Name.Local == "from" {
				s.From = j
			} else {
				s.To = j
			}
		default:
			s.Attrs = append(append(append(s.Attrs, ' '), a.Name.Local...), '=', '\'')
			s.Attrs = append(AppendAttr(s.Attrs, a.Value), '\'')
		}
	}
	s.Type = TypeOf(s.Kind, e.Attr("type"))
	for _, n := range e.Content {
		if n.Elem != nil {
			s.Payload = n.Elem.Append(s.Payload)
		}
	}
	return s, nil
}
