package muc

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"jackdaw/modules/internal/forms"
	"jackdaw/modules/internal/rsm"
	"jackdaw/modules/muc/room"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// The names of the search for public rooms (XEP-0433).
const (
	nsSearchBase = "urn:xmpp:channel-search:0"
	nsSearch     = nsSearchBase + ":search"
	nsSearchForm = nsSearchBase + ":search-params"
	nsSearchBad  = nsSearchBase + ":error"
	orderUsers   = "{" + nsSearchBase + ":order}nusers"
	orderAddress = "{" + nsSearchBase + ":order}address"
	anonymous    = "muc_semianonymous"
	notAnonymous = "{" + nsSearchBase + ":anonymity}none"
	serviceType  = "xep-0045"
)

var searchName = xmpp.Name{Space: nsSearch, Local: "search"}

// What a search may cost.
const (
	foundAtOnce   = 100 // rooms of one answer
	maxQuery      = 256 // bytes of what is searched for
	maxTerms      = 8
	searchRate    = 1 // a second, of a user
	searchesSaved = 10
)

// A search is what somebody looks for.
type search struct {
	terms                            []string // lower case; all of them occur in a room; none: any room
	inName, inDescription, inAddress bool
	byUsers                          bool
	none                             bool // no room of ours is of the types that are wanted
}

// searchForm is what there is to fill in, with what counts if a field is left out (§4.2.1).
func searchForm() *forms.Form {
	yes := []string{"true"}
	return &forms.Form{Kind: forms.Ask, Type: nsSearchForm, Fields: []forms.Field{
		{Var: "q", Type: "text-single", Label: "Search for"},
		{Var: "all", Type: "boolean", Label: "All rooms, whatever is searched for"},
		{Var: "sinname", Type: "boolean", Label: "Search in names", Values: yes},
		{Var: "sindescription", Type: "boolean", Label: "Search in descriptions", Values: yes},
		{Var: "sinaddress", Type: "boolean", Label: "Search in addresses", Values: yes},
		{Var: "types", Type: "list-multi", Label: "Kinds of rooms", Values: []string{serviceType},
			Options: []forms.Option{{Label: "Multi-User Chat", Value: serviceType}}},
		{Var: "key", Type: "list-single", Label: "Sort by", Values: []string{orderUsers}, Options: []forms.Option{
			{Label: "Number of occupants", Value: orderUsers}, {Label: "Address", Value: orderAddress}}},
	}}
}

func noConditions() *xmpp.Error { // §4.2.2.7: of type cancel, whatever its example says
	return xmpp.BadRequest("say what to search for").WithType(xmpp.ErrorCancel).
		WithApp(nsSearchBad, "no-search-conditions")
}

func conflicting(text string, vars ...string) *xmpp.Error {
	bad := xmpp.BadRequest(text).WithApp(nsSearchBad, "conflicting-fields") // §4.2.2.6
	for _, v := range vars {
		bad.App.Content = append(bad.App.Content, xmpp.Node{Elem: &xmpp.Element{
			Name: xmpp.Name{Space: nsSearchBad, Local: "var"}, Content: []xmpp.Node{{Text: v}}}})
	}
	return bad
}

// readSearch reads a form that was filled in. Fields that are not known are passed over (§5).
func readSearch(x *xmpp.Element) (s search, bad *xmpp.Error) {
	form, bad := forms.Parse(x)
	if bad != nil {
		return s, bad
	}
	if form.Kind != forms.Submit || form.Type != nsSearchForm {
		return s, xmpp.BadRequest("this is not the form of a search")
	}
	// COMPAT(XEP-0433 0.1.0): its example says sinaddr where its table says sinaddress.
	if f := form.Field("sinaddr"); f != nil && form.Field("sinaddress") == nil {
		f.Var = "sinaddress"
	}
	all := false
	for _, flag := range []struct {
		name string
		to   *bool
		is   bool
	}{{"all", &all, false}, {"sinname", &s.inName, true}, {"sindescription", &s.inDescription, true},
		{"sinaddress", &s.inAddress, true}} {
		*flag.to = flag.is
		if f := form.Field(flag.name); f != nil && len(f.Values) > 0 {
			var ok bool
			if *flag.to, ok = f.Bool(); !ok {
				return s, xmpp.BadRequest(flag.name + " is neither true nor false")
			}
		}
	}
	s.byUsers = true
	if f := form.Field("key"); f != nil && len(f.Values) > 0 {
		switch f.Value() {
		case orderUsers:
		case orderAddress:
			s.byUsers = false
		default: // §4.2.2.2
			return s, xmpp.FeatureNotImplemented("rooms are not sorted by this").WithType(xmpp.ErrorModify).
				WithApp(nsSearchBad, "invalid-sort-key")
		}
	}
	if f := form.Field("types"); f != nil && len(f.Values) > 0 {
		s.none = !slices.Contains(f.Values, serviceType) // §6.2: nothing that was not asked for
	}
	q := form.Field("q")
	switch {
	case q == nil && !all:
		return s, noConditions()
	case all && q != nil && q.Value() != "":
		return s, conflicting("\"All rooms\" and \"Search for\" exclude each other", "all", "q")
	case all:
		return s, nil
	case !s.inName && !s.inDescription && !s.inAddress:
		return s, conflicting("\"Search for\" needs a place to search in", "q", "sinname", "sindescription", "sinaddress")
	}
	s.terms = terms(q.Value())
	if len(q.Value()) > maxQuery || len(s.terms) == 0 || len(s.terms) > maxTerms { // §4.2.2.3
		return s, xmpp.BadRequest("search for up to "+strconv.Itoa(maxTerms)+" words, which have letters or digits").
			WithApp(nsSearchBad, "invalid-search-terms")
	}
	return s, nil
}

// terms are the words of a query, without those that have neither letter nor digit.
func terms(q string) []string {
	all := slices.DeleteFunc(strings.Fields(strings.ToLower(q)), func(word string) bool {
		return !strings.ContainsFunc(word, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) })
	})
	slices.Sort(all)
	return slices.Compact(all)
}

// finds says whether all of the terms occur in a room.
func (s *search) finds(addr string, l *listing) bool {
	var in []string
	for _, place := range []struct {
		on   bool
		text string
	}{{s.inName, l.Name}, {s.inDescription, l.Description}, {s.inAddress, addr}} {
		if place.on && len(s.terms) > 0 {
			in = append(in, strings.ToLower(place.text))
		}
	}
	for _, term := range s.terms {
		if !slices.ContainsFunc(in, func(text string) bool { return strings.Contains(text, term) }) {
			return false
		}
	}
	return true
}

// A found room is one that is listed.
type found struct {
	addr  string
	users int
	listing
}

// id is what RSM knows it by: with it a page can be found again without anything being kept here (§2).
func (f *found) id() string { return strconv.Itoa(f.users) + " " + f.addr }

// compare is the order of the answer.
func (s *search) compare(a, b found) int {
	if s.byUsers && a.users != b.users {
		return cmp.Compare(b.users, a.users)
	}
	return cmp.Compare(a.addr, b.addr)
}

// search answers what rooms there are of which somebody may know (§4.2).
func (m *Rooms) search(e *router.Envelope, q *xmpp.Element) {
	x := q.Child(forms.Name)
	if x == nil {
		if len(q.Children()) > 0 {
			e.Refuse(noConditions())
			return
		}
		w := xmpp.NewWriter(nil).Start(nsSearch, "search")
		searchForm().Write(w)
		m.o.Router.Answer(e, w.End().Bytes())
		return
	}
	set := q.Child(rsm.Name)
	page, bad := rsm.Parse(set)
	if bad != nil {
		e.Refuse(bad)
		return
	}
	s, bad := readSearch(x)
	if bad != nil {
		e.Refuse(bad)
		return
	}
	if !m.exempt(e) && !m.guests.maySearch(e.Stanza.From.Bare().String(), time.Now()) { // §4.2.2.4
		bad := xmpp.ResourceConstraint("too many searches").WithType(xmpp.ErrorWait).WithApp(nsSearchBad, "rate-limit")
		bad.App.Attrs = []xmpp.Attr{{Name: xmpp.Name{Local: "retry-after"}, Value: strconv.Itoa(1 / searchRate)}}
		e.Refuse(bad)
		return
	}
	all, err := m.found(&s, e.Stanza.To.Domain())
	if err != nil {
		e.Refuse(m.fault(err))
		return
	}
	from, to, ok := s.page(all, page)
	if !ok {
		e.Refuse(xmpp.ItemNotFound("there is no such page")) // XEP-0059 §2.2
		return
	}
	w := xmpp.NewWriter(nil).Start(nsSearch, "result")
	for i := range all[from:to] {
		all[from+i].write(w)
	}
	answer := rsm.Answer{Index: from, Count: len(all)}
	if from < to {
		answer.First, answer.Last = all[from].id(), all[to-1].id()
	}
	answer.Write(w)
	m.o.Router.Answer(e, w.End().Bytes())
}

// found are the rooms that a search finds, in order.
func (m *Rooms) found(s *search, domain string) (all []found, err error) {
	if s.none {
		return nil, nil
	}
	list, users, err := m.catalogue(domain)
	if err != nil {
		return nil, err
	}
	list.mu.Lock()
	for local, l := range list.rooms {
		if addr := local + "@" + domain; l.Public && s.finds(addr, &l) { // of others nobody learns
			all = append(all, found{addr: addr, listing: l})
		}
	}
	list.mu.Unlock()
	for i := range all {
		addr, err := jid.Parse(all[i].addr)
		if err != nil {
			continue // it has been an address before
		}
		all[i].users = m.occupants(addr, users)
	}
	slices.SortFunc(all, s.compare)
	return all, nil
}

// page cuts a page out of all; ok is false if the room at its edge is none that can have been named.
func (s *search) page(all []found, p rsm.Request) (from, to int, ok bool) {
	to = len(all)
	edge := func(id string, past bool) (at int, ok bool) {
		users, addr, cut := strings.Cut(id, " ")
		n, err := strconv.Atoi(users)
		if !cut || err != nil {
			return 0, false
		}
		at, there := slices.BinarySearchFunc(all, found{addr: addr, users: n}, s.compare)
		if there && past {
			at++
		}
		return at, true
	}
	if p.After != "" {
		if from, ok = edge(p.After, true); !ok {
			return 0, 0, false
		}
	}
	if p.Before != "" {
		if to, ok = edge(p.Before, false); !ok {
			return 0, 0, false
		}
		to = max(from, to)
	}
	if p.Index >= 0 {
		from = min(p.Index, to)
	}
	most := foundAtOnce
	if p.Max >= 0 {
		most = min(most, p.Max)
	}
	if p.Backward {
		from = max(from, to-most)
	}
	return from, min(to, from+most), true
}

// write writes the item (§6.2). What the list does not know is left out.
func (f *found) write(w *xmpp.Writer) {
	w.Start("", "item").Attr("address", f.addr)
	for _, leaf := range [][2]string{{"name", f.Name}, {"description", f.Description}, {"language", f.Language}} {
		if leaf[1] != "" {
			w.Leaf("", leaf[0], leaf[1])
		}
	}
	w.Leaf("", "nusers", strconv.Itoa(f.users)).Leaf("", "service-type", serviceType)
	if f.Whole {
		if f.Open {
			w.Leaf("", "is-open", "true")
		}
		mode := anonymous
		if f.NonAnonymous {
			mode = notAnonymous
		}
		w.Leaf("", "anonymity-mode", mode)
	}
	w.End()
}

// listingOf is what the directory says of a room.
func listingOf(r *room.Room) listing {
	c := &r.Conf
	return listing{Name: c.Name, Public: c.Public, Creator: r.Creator, Whole: true, Description: c.Description,
		Language: c.Language, Open: !c.MembersOnly && c.Password == "", NonAnonymous: c.NonAnonymous}
}
