// Package addresses reads the list of a multicast (XEP-0033): what the post over HTTP and the service
// for clients both know of it. A list without the namespace of XEP-0033 says no more than
// whom to send to; what the namespace adds is the service's own business.
package addresses

import (
	"errors"
	"strconv"
	"strings"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Name is that of the service, below each host and, for clients and posts, alone.
const Name = "multicast"

// ErrTwice says that a stanza has more than one list.
var ErrTwice = errors.New("there is more than one <addresses/>")

// IsList finds the list among the children of a stanza, in its namespace or in none.
func IsList(c xmpp.Child) bool {
	return c.Name.Local == "addresses" && (c.Name.Space == xmpp.NSClient || c.Name.Space == xmpp.NSAddress)
}

// Take returns the list of a stanza, nil if it has none, and the payload without it. Errors: ErrTwice,
// or that of a payload which never went through the scanner. The list owns its memory; the payload is borrowed
// where there was no list.
func Take(s *xmpp.Stanza) (list *xmpp.Element, rest []byte, err error) {
	var raw []byte
	n := 0
	rest = s.WithoutFunc(func(c xmpp.Child, b []byte) bool {
		if !IsList(c) {
			return false
		}
		n++
		raw = b
		return true
	})
	switch n {
	case 0:
		return nil, rest, nil
	case 1:
		list, err = xmpp.ParseElement(raw)
		return list, rest, err
	default:
		return nil, rest, ErrTwice
	}
}

// All returns every address of a list, as written, all of them meant as bcc.
func All(list *xmpp.Element, bad *Offenders) []string {
	children := list.Children()
	all := make([]string, 0, len(children))
	for i, a := range children {
		at := "address " + strconv.Itoa(i+1)
		switch kind := a.Attr("type"); {
		case a.Name.Local != "address" || a.Name.Space != xmpp.NSAddress && a.Name.Space != xmpp.NSClient:
			bad.Add("element " + strconv.Itoa(i+1) + " of <addresses/> is not an <address/>")
		case a.Attr("jid") == "":
			bad.Add(at + " has no jid")
		case kind != "" && kind != "to" && kind != "cc" && kind != "bcc", a.HasAttr("delivered"):
			// XEP-0033 §4: these name others than those who are to get it.
			bad.Add(at + ", " + Quoted(a.Attr("jid")) + ", is not one to deliver to")
		default:
			all = append(all, a.Attr("jid"))
		}
	}
	return all
}

// Normalise reads addresses and leaves out what comes again. It stops at the first that is more than most.
func Normalise(list []string, most int, bad *Offenders) (all []jid.JID, tooMany bool) {
	seen := make(map[jid.JID]struct{}, len(list))
	for i, one := range list {
		j, err := jid.Parse(one)
		if err != nil {
			bad.Add("address " + strconv.Itoa(i+1) + ", " + Quoted(one) + ", is not valid: " + err.Error())
			continue
		}
		if _, again := seen[j]; again {
			continue
		}
		seen[j] = struct{}{}
		if len(seen) > most {
			bad.Add(TooMany(one, most))
			return all, true
		}
		all = append(all, j)
	}
	return all, false
}

// TooMany says that an address is the first beyond most.
func TooMany(address string, most int) string {
	return Quoted(address) + " and what follows are more than the " + strconv.Itoa(most) + " recipients that are allowed"
}

// Offenders collects what is wrong with addresses, for one line of text.
type Offenders struct {
	Most int // how many are named; 0: all
	text []byte
	n    int
}

// Add notes one.
func (o *Offenders) Add(what string) {
	if o.n++; o.Most > 0 && o.n > o.Most {
		return
	}
	if o.n > 1 {
		o.text = append(o.text, "; "...)
	}
	o.text = append(o.text, what...)
}

// None says that nothing is wrong.
func (o *Offenders) None() bool { return o.n == 0 }

// String is the line, without a full stop.
func (o *Offenders) String() string {
	if o.Most > 0 && o.n > o.Most {
		return string(o.text) + "; and " + strconv.Itoa(o.n-o.Most) + " more"
	}
	return string(o.text)
}

// Quoted is what a client wrote, fit for a line of text.
func Quoted(s string) string {
	const most = 80
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strconv.Quote(s)
}
