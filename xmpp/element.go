package xmpp

import (
	"slices"
	"strconv"
)

// Element is a parsed element. Namespace declarations are not among its attributes: names are expanded.
type Element struct {
	Name    Name
	Attrs   []Attr
	Content []Node
}

// Attr is an attribute with its value decoded and normalised. Space is empty for a name without a prefix.
type Attr struct {
	Name  Name
	Value string
}

// Node is a child element, or text where Elem is nil.
type Node struct {
	Elem *Element
	Text string
}

// Attr returns the value of the attribute without a namespace, empty where there is none.
func (e *Element) Attr(local string) string { return e.AttrNS("", local) }

// AttrNS returns the value of an attribute in a namespace, such as NSXML "lang".
func (e *Element) AttrNS(space, local string) string {
	for i := range e.Attrs {
		if a := &e.Attrs[i]; a.Name.Local == local && a.Name.Space == space {
			return a.Value
		}
	}
	return ""
}

// HasAttr tells an empty attribute from an absent one.
func (e *Element) HasAttr(local string) bool {
	return slices.ContainsFunc(e.Attrs, func(a Attr) bool { return a.Name == Name{"", local} })
}

// Child returns the first child of this name, or nil.
func (e *Element) Child(n Name) *Element {
	for i := range e.Content {
		if c := e.Content[i].Elem; c != nil && c.Name == n {
			return c
		}
	}
	return nil
}

// ChildLocal returns the first child of this local name in the namespace of e, or nil.
func (e *Element) ChildLocal(local string) *Element { return e.Child(Name{e.Name.Space, local}) }

// Children returns the child elements in order.
func (e *Element) Children() []*Element {
	var out []*Element
	for i := range e.Content {
		if c := e.Content[i].Elem; c != nil {
			out = append(out, c)
		}
	}
	return out
}

// Text returns the character data directly inside e, joined.
func (e *Element) Text() string {
	if len(e.Content) == 1 {
		return e.Content[0].Text
	}
	var b []byte
	for i := range e.Content {
		b = append(b, e.Content[i].Text...)
	}
	return string(b)
}

// Append appends the element as XML, self-contained as a child of a payload: xmlns is left out where it is NSClient.
//
// A namespace is written again wherever an element does not share it with its parent. What that makes of a tree that
// was read is bounded where it was read: the scanner of package stream counts it against the limit for the stanza.
func (e *Element) Append(dst []byte) []byte { return e.appendIn(dst, NSClient) }

// appendIn appends the element where in is the default namespace.
func (e *Element) appendIn(dst []byte, in string) []byte {
	dst = append(dst, '<')
	dst = e.appendName(dst)
	if e.Name.Space != in && e.Name.Space != NSXML {
		in = e.Name.Space
		dst = append(dst, " xmlns='"...)
		dst = append(AppendAttr(dst, in), '\'')
	}
	for i := range e.Attrs {
		a := &e.Attrs[i]
		dst = append(dst, ' ')
		switch a.Name.Space {
		case "":
		case NSXML:
			dst = append(dst, "xml:"...)
		default: // a prefix for each namespace: attributes in one are rare
			first := slices.IndexFunc(e.Attrs, func(o Attr) bool { return o.Name.Space == a.Name.Space })
			if first == i {
				dst = append(dst, "xmlns:ns"...)
				dst = strconv.AppendInt(dst, int64(i), 10)
				dst = append(dst, "='"...)
				dst = append(AppendAttr(dst, a.Name.Space), "' "...)
			}
			dst = append(dst, "ns"...)
			dst = strconv.AppendInt(dst, int64(first), 10)
			dst = append(dst, ':')
		}
		dst = append(dst, a.Name.Local...)
		dst = append(dst, '=', '\'')
		dst = append(AppendAttr(dst, a.Value), '\'')
	}
	if len(e.Content) == 0 {
		return append(dst, '/', '>')
	}
	dst = append(dst, '>')
	for i := range e.Content {
		if c := e.Content[i].Elem; c != nil {
			dst = c.appendIn(dst, in)
		} else {
			dst = AppendText(dst, e.Content[i].Text)
		}
	}
	dst = append(dst, '<', '/')
	dst = e.appendName(dst)
	return append(dst, '>')
}

// appendName appends the name as tags have it.
func (e *Element) appendName(dst []byte) []byte {
	if e.Name.Space == NSXML { // it cannot be the default namespace (Namespaces in XML 1.0 §3)
		dst = append(dst, "xml:"...)
	}
	return append(dst, e.Name.Local...)
}
