package muc

import (
	"sort"

	"jackdaw/modules/internal/rsm"
	"jackdaw/modules/muc/room"
	"jackdaw/router"
	"jackdaw/xmpp"
)

// ServiceName is how the service is called in lists.
const ServiceName = "Rooms"

var serviceFeatures = []string{xmpp.NSDiscoInfo, xmpp.NSDiscoItems, xmpp.NSMUC, "muc_rooms", room.NSStableID,
	xmpp.NSRSM, room.NSOccupant, xmpp.NSPing, xmpp.NSVCard, nsSearch}

// toService answers what is asked of the service itself (§6.2, §6.3).
func (m *Rooms) toService(e *router.Envelope) {
	s := e.Stanza
	switch {
	case s.Type == xmpp.TypeError, s.IsAnswer(), s.Kind == xmpp.Presence && s.Type != xmpp.TypeAvailable:
		e.Settle(router.Dropped)
		return
	case s.Kind == xmpp.Presence: // §17.1: a room has a name
		e.Refuse(xmpp.JIDMalformed("a room has a name"))
		return
	case s.Kind != xmpp.IQ || s.Type != xmpp.TypeGet || !s.To.IsDomain():
		return // refused by the router
	}
	name, _ := s.First()
	q := s.Child(name)
	switch {
	case q == nil:
	case name == room.PingName:
		m.o.Router.Answer(e, nil)
	case name == searchName:
		m.search(e, q)
	case name != infoQuery && name != itemsQuery:
	case q.Attr("node") != "":
		e.Refuse(xmpp.ItemNotFound("there is no such node"))
	case name == infoQuery:
		w := xmpp.NewWriter(nil).Start(xmpp.NSDiscoInfo, "query")
		w.Start("", "identity").Attr("category", "conference").Attr("type", "text").Attr("name", ServiceName).End()
		for _, f := range serviceFeatures {
			w.Start("", "feature").Attr("var", f).End()
		}
		m.o.Router.Answer(e, w.End().Bytes())
	default:
		m.listRooms(e, q)
	}
}

// roomsAtOnce is how many rooms one answer lists.
const roomsAtOnce = 500

// listRooms answers which public rooms there are, by address, in pages (§6.3, XEP-0059).
func (m *Rooms) listRooms(e *router.Envelope, q *xmpp.Element) {
	set := q.Child(rsm.Name)
	page, bad := rsm.Parse(set)
	if bad != nil {
		e.Refuse(bad)
		return
	}
	domain := e.Stanza.To.Domain()
	list, _, err := m.catalogue(domain)
	if err != nil {
		e.Refuse(m.fault(err))
		return
	}
	all, names := list.public()
	from, to := 0, len(all)
	if page.After != "" {
		from = sort.SearchStrings(all, localOf(page.After))
		if from < len(all) && all[from] == localOf(page.After) {
			from++
		}
	}
	if page.Before != "" {
		to = max(from, sort.SearchStrings(all, localOf(page.Before)))
	}
	if page.Index >= 0 {
		from = min(page.Index, to)
	}
	most := roomsAtOnce
	if page.Max >= 0 {
		most = min(most, page.Max)
	}
	if page.Backward {
		from = max(from, to-most)
	}
	to = min(to, from+most)
	w := xmpp.NewWriter(nil).Start(xmpp.NSDiscoItems, "query")
	for _, local := range all[from:to] {
		w.Start("", "item").Attr("jid", local+"@"+domain).AttrIf("name", names[local]).End()
	}
	if set != nil || to-from < len(all) {
		answer := rsm.Answer{Index: from, Count: len(all)}
		if from < to {
			answer.First, answer.Last = all[from]+"@"+domain, all[to-1]+"@"+domain
		}
		answer.Write(w)
	}
	m.o.Router.Answer(e, w.End().Bytes())
}

func localOf(addr string) string {
	for i := range len(addr) {
		if addr[i] == '@' {
			return addr[:i]
		}
	}
	return addr
}
