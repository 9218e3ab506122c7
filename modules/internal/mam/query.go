// Package mam is the engine of message archives (XEP-0313): it reads queries, finds pages in a storage.Log, forms
// results and gives them to clients as fast as they take them. The modules say whose archive
// it is, who may ask and what was put in: users' archives and those of rooms use the same engine.
//
// The id of a record is its archive id, and tells the time in microseconds. Results and filters speak of
// milliseconds: what a result says of its time decides whether 'start' and 'end' cover it.
//
// A page costs the same in a long archive as in a short one, with two exceptions: 'with' and a full address reads the
// conversation until the page is full, and 'ids' reads each of them. Left out: pages by index (XEP-0059 §2.6), and the
// number of items where a filter is given.
package mam

import (
	"time"

	"jackdaw/modules/internal/forms"
	"jackdaw/modules/internal/rsm"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// FeatureSearch says that messages are found by what they say (XEP-0431 §2.1); fulltext is the field for that (§3.1).
const (
	FeatureSearch = "urn:xmpp:fulltext:0"
	fulltext      = "{urn:xmpp:fulltext:0}fulltext"
)

// The features of an archive (XEP-0313 §7).
const (
	Feature          = xmpp.NSMAM
	FeatureExtended  = "urn:xmpp:mam:2#extended"
	FeatureGroupchat = "urn:xmpp:mam:2#groupchat-field"
)

// Names of the requests.
var (
	QueryName    = xmpp.Name{Space: xmpp.NSMAM, Local: "query"}
	MetadataName = xmpp.Name{Space: xmpp.NSMAM, Local: "metadata"}
	PrefsName    = xmpp.Name{Space: xmpp.NSMAM, Local: "prefs"}
)

// maxIDs is how many messages a client may ask for by id.
const maxIDs = 1000

// A Query is what a client asks for, not yet compared with an archive.
type Query struct {
	ID   string  // queryid; may be empty
	With jid.JID // zero: everybody
	Text string  // what messages say (XEP-0431); empty: anything
	Flip bool    // the newest first within the page (§4.3.4)

	times             limits // that 'start' and 'end' make
	afterID, beforeID string
	ids               []string
	hasIDs            bool
	page              rsm.Request
}

// Parse reads a <query/> of a request of type set.
func Parse(q *xmpp.Element) (*Query, *xmpp.Error) { return read(q, false) }

// ParseSearch is Parse where messages are found by what they say, too.
func ParseSearch(q *xmpp.Element) (*Query, *xmpp.Error) { return read(q, true) }

func read(q *xmpp.Element, search bool) (*Query, *xmpp.Error) {
	out := &Query{ID: q.Attr("queryid")}
	if q.HasAttr("node") { // §6.1.3: of pubsub archives
		return nil, xmpp.ItemNotFound("there is no such node")
	}
	var bad *xmpp.Error
	if out.page, bad = rsm.Parse(q.Child(rsm.Name)); bad != nil {
		return nil, bad
	}
	if out.page.Index >= 0 { // XEP-0059 §2.6
		return nil, xmpp.FeatureNotImplemented("pages are not found by index")
	}
	out.Flip = q.ChildLocal("flip-page") != nil
	x := q.Child(forms.Name)
	if x == nil {
		return out, nil
	}
	form, bad := forms.ParseOptions(x)
	switch {
	case bad != nil:
		return nil, bad
	case form.Kind != forms.Submit:
		return nil, xmpp.BadRequest("a filter is a form of type submit")
	case form.Type != xmpp.NSMAM: // §4.1
		return nil, xmpp.BadRequest("the FORM_TYPE is not that of archives")
	}
	for i := range form.Fields {
		if f := &form.Fields[i]; search && f.Var == fulltext {
			out.Text = f.Value()
			continue
		}
		if bad := out.field(&form.Fields[i]); bad != nil {
			return nil, bad
		}
	}
	return out, nil
}

func (q *Query) field(f *forms.Field) *xmpp.Error {
	switch f.Var {
	case "with":
		var err error
		if q.With, err = jid.Parse(f.Value()); err != nil {
			return xmpp.JIDMalformed("'with' is not an address")
		}
	case "start", "end": // §4.1.2
		at, err := xmpp.ParseTime(f.Value())
		if err != nil {
			return xmpp.BadRequest("'" + f.Var + "' is not a time")
		}
		if f.Var == "start" {
			// The next full millisecond: a result's time is cut off there.
			first := storage.IDAt(at.Add(time.Millisecond - 1).Truncate(time.Millisecond))
			q.times.narrow(max(first, 1)-1, 0)
		} else {
			q.times.narrow(0, max(storage.IDAt(at.Truncate(time.Millisecond).Add(time.Millisecond)), 1))
		}
	case "before-id":
		q.beforeID = f.Value()
	case "after-id":
		q.afterID = f.Value()
	case "ids":
		if q.ids, q.hasIDs = f.Values, true; len(q.ids) > maxIDs {
			return xmpp.PolicyViolation("these are too many messages to be asked for at once")
		}
	case "include-groupchat": // §4.1.4
		if _, ok := f.Bool(); !ok {
			return xmpp.BadRequest("'include-groupchat' is not a boolean")
		}
	default: // §4.1.5, last rule
		return xmpp.FeatureNotImplemented("there is no field " + f.Var)
	}
	return nil
}

// HasIDs says that the messages are named one by one.
func (q *Query) HasIDs() bool { return q.hasIDs }

// filtered says that not all records are asked for, leaving pages aside.
func (q *Query) filtered() bool {
	return !q.With.IsZero() || q.Text != "" || q.times != (limits{}) || q.afterID != "" || q.beforeID != "" || q.hasIDs
}

// Form is the answer to a request of type get: the fields that a query may have (§4.1.5), with search those of
// ParseSearch.
func Form(search bool) []byte {
	f := forms.Form{Kind: forms.Ask, Type: xmpp.NSMAM, Fields: []forms.Field{
		{Var: "with", Type: "jid-single"},
		{Var: "start", Type: "text-single"},
		{Var: "end", Type: "text-single"},
		{Var: "before-id", Type: "text-single"},
		{Var: "after-id", Type: "text-single"},
		{Var: "ids", Type: "list-multi", Open: true},
		{Var: "include-groupchat", Type: "boolean"},
	}}
	if search {
		f.Fields = append(f.Fields, forms.Field{Var: fulltext, Type: "text-single"})
	}
	w := xmpp.NewWriter(nil).Start(xmpp.NSMAM, "query")
	f.Write(w)
	return w.End().Bytes()
}
