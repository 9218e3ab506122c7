package pep

import (
	"regexp"
	"slices"
	"strings"

	"jackdaw/xmpp"
)

// Two kinds of vCards say the same of a person in different words: vcard-temp (XEP-0054) and vCard4 (RFC 6351,
// XEP-0292). Here is what can be said in both (XEP-0292 §10). The rest of either stays where it is.

const nsCard = "urn:ietf:params:xml:ns:vcard-4.0"

var fourCard = xmpp.Name{Space: nsCard, Local: "vcard"}

// A property of vCards.
type property struct {
	temp, four string // its names
	alias      string // another name in vcard-temp
	many       bool   // in vcard-temp; otherwise that has the preferred one
	// up makes the vCard4 property of the other, down the reverse; nil for what says nothing or cannot be said.
	up, down func(el *xmpp.Element) *xmpp.Element
}

var properties = []property{
	plain("FN", "fn", "text"),
	composite("N", "n", false, "FAMILY", "surname", "GIVEN", "given", "MIDDLE", "additional", "PREFIX", "prefix",
		"SUFFIX", "suffix"),
	plain("NICKNAME", "nickname", "text"),
	{temp: "BDAY", four: "bday", up: birthday,
		down: func(el *xmpp.Element) *xmpp.Element { return node(xmpp.NSVCard, "BDAY", value(el)) }},
	composite("ADR", "adr", true, "POBOX", "pobox", "EXTADD", "ext", "STREET", "street", "LOCALITY", "locality",
		"REGION", "region", "PCODE", "code", "CTRY", "country"),
	{temp: "TEL", four: "tel", many: true, up: phone, down: func(el *xmpp.Element) *xmpp.Element {
		return typed(el, node(xmpp.NSVCard, "NUMBER", strings.TrimPrefix(value(el), "tel:")), "TEL")
	}},
	{temp: "EMAIL", four: "email", many: true,
		up: func(el *xmpp.Element) *xmpp.Element {
			return parameters(el, node(nsCard, "text", content(el, "USERID")), "email")
		},
		down: func(el *xmpp.Element) *xmpp.Element {
			return typed(el, node(xmpp.NSVCard, "USERID", value(el)), "EMAIL")
		}},
	{temp: "JABBERID", four: "impp",
		up: func(el *xmpp.Element) *xmpp.Element {
			if text := trimmed(el); text != "" {
				return wrap(nsCard, "impp", node(nsCard, "uri", "xmpp:"+text))
			}
			return nil
		},
		down: func(el *xmpp.Element) *xmpp.Element {
			address, ok := strings.CutPrefix(value(el), "xmpp:")
			if !ok {
				return nil
			}
			address, _, _ = strings.Cut(address, "?")
			return node(xmpp.NSVCard, "JABBERID", address)
		}},
	plain("TITLE", "title", "text"),
	plain("ROLE", "role", "text"),
	{temp: "ORG", four: "org", up: organisation, down: func(el *xmpp.Element) *xmpp.Element {
		var units []*xmpp.Element
		for i, text := range values(el) {
			units = append(units, node(xmpp.NSVCard, []string{"ORGNAME", "ORGUNIT"}[min(i, 1)], text))
		}
		return wrap(xmpp.NSVCard, "ORG", units...)
	}},
	plain("URL", "url", "uri"),
	func() property {
		p := plain("DESC", "note", "text") // §10.1.1; what clients show of the two
		p.alias = "NOTE"
		return p
	}(),
}

// plain is a property with one text.
func plain(temp, four, kind string) property {
	return property{temp: temp, four: four,
		up:   func(el *xmpp.Element) *xmpp.Element { return wrap(nsCard, four, node(nsCard, kind, trimmed(el))) },
		down: func(el *xmpp.Element) *xmpp.Element { return node(xmpp.NSVCard, temp, value(el)) }}
}

// composite is a property of several, named by turns in vcard-temp and in vCard4.
func composite(temp, four string, many bool, names ...string) property {
	return property{temp: temp, four: four, many: many,
		up: func(el *xmpp.Element) *xmpp.Element {
			var out []*xmpp.Element
			for i := 0; i < len(names); i += 2 {
				text := content(el, names[i])
				if names[i] == "EXTADD" && text == "" {
					text = content(el, "EXTADR") // as clients write that do not follow the DTD
				}
				out = append(out, node(nsCard, names[i+1], text))
			}
			if !many {
				return wrap(nsCard, four, out...)
			}
			return parameters(el, wrap(nsCard, four, out...), four)
		},
		down: func(el *xmpp.Element) *xmpp.Element {
			var out []*xmpp.Element
			for i := 0; i < len(names); i += 2 {
				var texts []string
				for _, c := range el.Children() {
					if c.Name.Local == names[i+1] && trimmed(c) != "" {
						texts = append(texts, trimmed(c))
					}
				}
				out = append(out, node(xmpp.NSVCard, names[i], strings.Join(texts, " ")))
			}
			if !many {
				return wrap(xmpp.NSVCard, temp, out...)
			}
			return typed(el, wrap(xmpp.NSVCard, temp, out...), temp)
		}}
}

var (
	date     = regexp.MustCompile(`^(\d{4}(-?\d\d(-?\d\d)?)?|--\d\d(-?\d\d)?|---\d\d)$`)
	dateTime = regexp.MustCompile(`^[\d-]*T[\d:.]+(Z|[+-]\d\d(:?\d\d)?)?$`)
	number   = regexp.MustCompile(`^\+?[0-9().-]+$`)
)

// birthday: RFC 6351 tells dates from texts.
func birthday(el *xmpp.Element) *xmpp.Element {
	text, kind := trimmed(el), "text"
	switch {
	case date.MatchString(text):
		kind = "date"
	case dateTime.MatchString(text):
		kind = "date-time"
	}
	return wrap(nsCard, "bday", node(nsCard, kind, text))
}

func phone(el *xmpp.Element) *xmpp.Element {
	text := content(el, "NUMBER")
	v := node(nsCard, "text", text)
	if number.MatchString(text) {
		v = node(nsCard, "uri", "tel:"+text)
	}
	return parameters(el, v, "tel")
}

func organisation(el *xmpp.Element) *xmpp.Element {
	var texts []*xmpp.Element
	for _, name := range []string{"ORGNAME", "ORGUNIT"} {
		for _, c := range el.Children() {
			if c.Name.Local == name {
				texts = append(texts, node(nsCard, "text", trimmed(c)))
			}
		}
	}
	return wrap(nsCard, "org", texts...)
}

// cardTypes are those that both know, as vCard4 writes them.
var cardTypes = []string{"home", "work", "voice", "fax", "pager", "cell", "video"}

// parameters makes a property of a value, with the types of the other property (XEP-0292 §10.3). A value of that name
// is it itself.
func parameters(of, v *xmpp.Element, name string) *xmpp.Element {
	if v == nil {
		return nil
	}
	var types []*xmpp.Element
	for _, t := range cardTypes {
		if of.ChildLocal(strings.ToUpper(t)) != nil {
			types = append(types, node(nsCard, "text", t))
		}
	}
	var preferred *xmpp.Element
	if of.ChildLocal("PREF") != nil {
		preferred = wrap(nsCard, "pref", node(nsCard, "integer", "1"))
	}
	p := wrap(nsCard, "parameters", wrap(nsCard, "type", types...), preferred)
	return extended(v, name, p)
}

// typed makes a property of vcard-temp of a value, with the types of the other property.
func typed(of, v *xmpp.Element, name string) *xmpp.Element {
	if v == nil {
		return nil
	}
	var types []*xmpp.Element
	flag := func(name string) {
		types = append(types, &xmpp.Element{Name: xmpp.Name{Space: xmpp.NSVCard, Local: name}})
	}
	if p := of.ChildLocal("parameters"); p != nil {
		if t := p.ChildLocal("type"); t != nil {
			for _, known := range cardTypes {
				if slices.ContainsFunc(t.Children(), func(c *xmpp.Element) bool { return strings.EqualFold(trimmed(c), known) }) {
					flag(strings.ToUpper(known))
				}
			}
		}
	}
	if isPreferred(of) {
		flag("PREF")
	}
	return extended(v, name, types...)
}

// extended puts elements before a value, in a property of this name; the value may be that property already.
func extended(v *xmpp.Element, name string, before ...*xmpp.Element) *xmpp.Element {
	if v.Name.Local != name {
		return wrap(v.Name.Space, name, append(before, v)...)
	}
	return wrap(v.Name.Space, name, append(before, v.Children()...)...)
}

func isPreferred(four *xmpp.Element) bool {
	p := four.ChildLocal("parameters")
	if p == nil {
		return false
	}
	pref := p.ChildLocal("pref")
	return pref != nil && strings.Join(strings.Fields(text(pref)), "") == "1"
}

// text is that of an element with all in it.
func text(el *xmpp.Element) string {
	var out strings.Builder
	for _, n := range el.Content {
		if out.WriteString(n.Text); n.Elem != nil {
			out.WriteString(text(n.Elem))
		}
	}
	return out.String()
}

func trimmed(el *xmpp.Element) string { return strings.TrimSpace(el.Text()) }

// content is the text of a child.
func content(el *xmpp.Element, local string) string {
	if c := el.ChildLocal(local); c != nil {
		return trimmed(c)
	}
	return ""
}

// values are those of a vCard4 property.
func values(el *xmpp.Element) (out []string) {
	for _, c := range el.Children() {
		if c.Name.Local != "parameters" && trimmed(c) != "" {
			out = append(out, trimmed(c))
		}
	}
	return out
}

func value(el *xmpp.Element) string { return strings.Join(values(el), ",") }

// node is an element with a text, nil for none.
func node(space, local, text string) *xmpp.Element {
	if text == "" {
		return nil
	}
	return &xmpp.Element{Name: xmpp.Name{Space: space, Local: local}, Content: []xmpp.Node{{Text: text}}}
}

// wrap is an element with others, nil where all are.
func wrap(space, local string, inner ...*xmpp.Element) *xmpp.Element {
	out := &xmpp.Element{Name: xmpp.Name{Space: space, Local: local}}
	for _, el := range inner {
		if el != nil {
			out.Content = append(out.Content, xmpp.Node{Elem: el})
		}
	}
	if len(out.Content) == 0 {
		return nil
	}
	return out
}

// said is a property of a vCard with what it says in both kinds.
type said struct {
	el  *xmpp.Element
	key string // equal for what says the same
}

// inTemp are the properties of a vcard-temp, inFour those of a vCard4 that the other has too. The card may be nil.
func (p *property) inTemp(card *xmpp.Element) (out []said) {
	if card == nil {
		return nil
	}
	for _, el := range card.Children() {
		if p.isTemp(el) {
			if four := p.up(el); four != nil {
				out = append(out, said{el, p.key(four)})
			}
		}
	}
	return out
}

func (p *property) isTemp(el *xmpp.Element) bool {
	return el.Name.Space == xmpp.NSVCard && (el.Name.Local == p.temp || el.Name.Local == p.alias)
}

func (p *property) inFour(card *xmpp.Element) (out []said) {
	if card == nil {
		return nil
	}
	best := 0
	for _, el := range card.Children() {
		if el.Name != (xmpp.Name{Space: nsCard, Local: p.four}) {
			continue
		}
		if key := p.key(el); key != "" {
			if isPreferred(el) && best == 0 {
				best = len(out)
			}
			out = append(out, said{el, key})
		}
	}
	if !p.many && len(out) > 1 {
		return out[best : best+1]
	}
	return out
}

// key is what a vCard4 property says, empty for nothing.
func (p *property) key(four *xmpp.Element) string {
	if el := p.down(four); el != nil {
		return string(el.Append(nil))
	}
	return ""
}

func keys(all []said) (out []string) {
	for _, s := range all {
		out = append(out, s.key)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// toFour does to a vCard4 what its owner has done to the vcard-temp; false: that changes nothing.
func toFour(card, was, now *xmpp.Element) (changed bool) {
	for i := range properties {
		p := &properties[i]
		wanted := p.inTemp(now)
		if slices.Equal(keys(p.inTemp(was)), keys(wanted)) {
			continue
		}
		c := replace(card, p.inFour(card), wanted, p.up)
		changed = changed || c
	}
	return changed
}

// toTemp is the reverse.
func toTemp(card, was, now *xmpp.Element) (changed bool) {
	for i := range properties {
		p := &properties[i]
		wanted := p.inFour(now)
		if slices.Equal(keys(p.inFour(was)), keys(wanted)) {
			continue
		}
		c := replace(card, p.inTemp(card), wanted, p.down)
		changed = changed || c
	}
	return changed
}

// replace has a card say what is wanted in place of what it said. What says the same already stays as it is.
func replace(card *xmpp.Element, has, wanted []said, convert func(*xmpp.Element) *xmpp.Element) (changed bool) {
	want := keys(wanted)
	var there []string
	for _, s := range has {
		if slices.Contains(want, s.key) {
			there = append(there, s.key)
			continue
		}
		changed = true
		card.Content = slices.DeleteFunc(card.Content, func(n xmpp.Node) bool { return n.Elem == s.el })
	}
	for _, s := range wanted {
		if !slices.Contains(there, s.key) {
			there, changed = append(there, s.key), true
			card.Content = append(card.Content, xmpp.Node{Elem: convert(s.el)})
		}
	}
	return changed
}
