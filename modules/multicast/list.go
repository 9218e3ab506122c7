package multicast

import (
	"slices"
	"strconv"

	"jackdaw/modules/internal/addresses"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A list is to whom a stanza goes, and what they see of each other.
type list struct {
	to    []recipient
	rest  []byte          // the payload without the list
	shown []*xmpp.Element // the addresses that all see
	size  int             // of the payload with the list
	full  bool            // in the namespace of XEP-0033
}

// A recipient of a copy. Its bcc, if not nil, is an address that it alone sees.
type recipient struct {
	to  jid.JID
	bcc *xmpp.Element
}

// read reads the list of a stanza.
func read(s *xmpp.Stanza, most int) (*list, *xmpp.Error) {
	el, rest, err := addresses.Take(s)
	switch {
	case err != nil:
		return nil, xmpp.BadRequest(err.Error())
	case el == nil:
		return nil, xmpp.BadRequest("multicast requires addresses; see XEP-0033")
	}
	l := &list{rest: rest, size: len(s.Payload), full: el.Name.Space == xmpp.NSAddress}
	var bad *xmpp.Error
	if l.full {
		bad = l.readFull(el, most)
	} else {
		bad = l.readHidden(el, most)
	}
	if bad == nil && len(l.to) == 0 {
		bad = xmpp.BadRequest("there is nobody to deliver to")
	}
	return l, bad
}

// readHidden reads a list without a namespace: all are bcc.
func (l *list) readHidden(el *xmpp.Element, most int) *xmpp.Error {
	bad := addresses.Offenders{Most: named}
	all := addresses.All(el, &bad)
	if !bad.None() {
		return xmpp.BadRequest(bad.String())
	}
	to, tooMany := addresses.Normalise(all, most, &bad)
	switch {
	case tooMany:
		return xmpp.NotAcceptable(bad.String())
	case !bad.None():
		return xmpp.JIDMalformed(bad.String())
	}
	l.to = make([]recipient, 0, len(to))
	for _, j := range to {
		l.to = append(l.to, recipient{to: j})
	}
	return nil
}

// readFull reads a list as XEP-0033 §4 has it.
func (l *list) readFull(el *xmpp.Element, most int) *xmpp.Error {
	wrong, malformed := addresses.Offenders{Most: named}, addresses.Offenders{Most: named}
	seen := map[jid.JID]int{} // where it is in l.to
	for i, a := range el.Children() {
		if a.Name != (xmpp.Name{Space: xmpp.NSAddress, Local: "address"}) {
			continue // §4.7: what is not understood is ignored
		}
		at := "address " + strconv.Itoa(i+1)
		if why := misshapen(a); why != "" {
			wrong.Add(at + " " + why)
			continue
		}
		kind, delivered := a.Attr("type"), a.HasAttr("delivered")
		if kind == "ofrom" || kind == "bcc" && delivered {
			continue // not for a client to say (§4.6.7); not for anybody to see (§4.6.3)
		}
		var to jid.JID
		if a.HasAttr("jid") {
			var err error
			if to, err = jid.Parse(a.Attr("jid")); err != nil {
				malformed.Add(at + ", " + addresses.Quoted(a.Attr("jid")) + ", is not valid: " + err.Error())
				continue
			}
		}
		goes := !delivered && (kind == "to" || kind == "cc" || kind == "bcc")
		if goes && to.IsZero() { // §4.2, §8
			malformed.Add(at + ", " + addresses.Quoted(a.Attr("uri")) + ", is not one that this service delivers to")
			continue
		}
		if kind != "bcc" {
			if goes { // §4.5
				a.Attrs = append(a.Attrs, xmpp.Attr{Name: xmpp.Name{Local: "delivered"}, Value: "true"})
			}
			l.shown = append(l.shown, a)
		}
		if !goes {
			continue
		}
		k, again := seen[to]
		switch {
		case !again && len(l.to) == most:
			return xmpp.NotAcceptable(addresses.TooMany(to.String(), most))
		case !again:
			seen[to] = len(l.to)
			l.to = append(l.to, recipient{to: to})
			if kind == "bcc" {
				l.to[len(l.to)-1].bcc = a
			}
		case kind != "bcc": // shown to all, and so to itself
			l.to[k].bcc = nil
		}
	}
	switch {
	case !wrong.None():
		return xmpp.BadRequest(wrong.String())
	case !malformed.None():
		return xmpp.JIDMalformed(malformed.String())
	}
	return nil
}

// misshapen says what is wrong with an address, beyond what it names.
func misshapen(a *xmpp.Element) string {
	hasURI := a.HasAttr("uri")
	switch kind := a.Attr("type"); {
	case !slices.Contains([]string{"to", "cc", "bcc", "replyto", "replyroom", "noreply", "ofrom"}, kind):
		return "is of no type that exists"
	case a.HasAttr("jid") && hasURI: // §4
		return "has both jid and uri"
	case hasURI && a.HasAttr("node"): // §4.2
		return "has both uri and node"
	case kind != "noreply" && !a.HasAttr("jid") && !hasURI: // §4
		return "has no jid"
	case a.HasAttr("delivered") && a.Attr("delivered") != "true": // §4.5
		return "has a 'delivered' that is not true"
	}
	return ""
}

// each calls f with the payload of every copy and its index, both borrowed until f returns.
func (l *list) each(f func(to jid.JID, payload []byte, children []xmpp.Child)) {
	index := xmpp.Index(l.rest)
	if !l.full {
		for _, r := range l.to {
			f(r.to, l.rest, index)
		}
		return
	}
	// What all see is written once; the addresses come last, so that one more of them moves nothing.
	start := len(l.rest)
	w := xmpp.NewWriter(append(make([]byte, 0, l.size+32*len(l.shown)+4096), l.rest...))
	w.Start(xmpp.NSAddress, "addresses").Text("") // Text ends the start tag
	for _, a := range l.shown {
		w.Element(a)
	}
	index = append(index, xmpp.Child{Name: xmpp.Name{Space: xmpp.NSAddress, Local: "addresses"}, Start: start})
	for _, r := range l.to {
		end := *w // goes on where all that is common ends, over what the last copy had there
		if r.bcc != nil {
			end.Element(r.bcc)
		}
		payload := end.End().Bytes()
		index[len(index)-1].End = len(payload)
		f(r.to, payload, index)
	}
}
