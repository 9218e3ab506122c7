// Package rsm reads and writes the pages of Result Set Management (XEP-0059), for every
// protocol that answers in pages. What the ids mean is the business of that protocol.
package rsm

import (
	"strconv"
	"strings"

	"jackdaw/xmpp"
)

// Name is that of the element in requests and answers.
var Name = xmpp.Name{Space: xmpp.NSRSM, Local: "set"}

// A Request is what a <set/> asks for.
type Request struct {
	// Max is how many items are wanted at most: 0 asks for their number only (§2.7), a negative one leaves it to us.
	Max int
	// After and Before are ids; empty where none is given.
	After, Before string
	// Backward asks for the end of what is left by After and Before (§2.3, §2.5).
	Backward bool
	// Index is the place of the first item that is wanted (§2.6), negative where none is given.
	Index int
}

// All is the request of a client that has sent no <set/>.
func All() Request { return Request{Max: -1, Index: -1} }

// Parse reads a <set/>, which may be nil.
func Parse(set *xmpp.Element) (Request, *xmpp.Error) {
	r := All()
	if set == nil {
		return r, nil
	}
	for _, c := range set.Children() {
		if c.Name.Space != xmpp.NSRSM {
			continue
		}
		ok := true
		switch c.Name.Local {
		case "max":
			r.Max, ok = number(c.Text())
		case "index":
			r.Index, ok = number(c.Text())
		case "after":
			r.After = c.Text()
		case "before":
			r.Before, r.Backward = c.Text(), true
		}
		if !ok {
			return r, xmpp.BadRequest(c.Name.Local + " is not a number")
		}
	}
	return r, nil
}

// number reads a count; one that is too large to be read is as large as can be.
func number(s string) (int, bool) {
	s = strings.TrimSpace(s)
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		n = 1<<31 - 1
	}
	return int(n), true
}

// An Answer describes a page. The zero value is that of an empty one about which nothing is known but with Count 0.
type Answer struct {
	First, Last string // ids; empty for an empty page
	Index       int    // of First within all; negative: unknown
	Count       int    // of all; negative: unknown
}

// Write adds the <set/> (§2.2).
func (a Answer) Write(w *xmpp.Writer) {
	w.Start(xmpp.NSRSM, "set")
	if a.First != "" {
		w.Start("", "first")
		if a.Index >= 0 {
			w.AttrInt("index", int64(a.Index))
		}
		w.Text(a.First).End().Leaf("", "last", a.Last)
	}
	if a.Count >= 0 {
		w.Leaf("", "count", strconv.Itoa(a.Count))
	}
	w.End()
}
