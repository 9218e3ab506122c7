package muc

import (
	"slices"
	"sort"
	"strconv"

	"jackdaw/modules/internal/forms"
	"jackdaw/modules/internal/mam"
	"jackdaw/modules/internal/rsm"
	"jackdaw/router"
	"jackdaw/xmpp"
)

const (
	nsStableID = "http://jabber.org/protocol/muc#stable_id"
	nsSelfPing = "http://jabber.org/protocol/muc#self-ping-optimization"
	nickNode   = "x-roomuser-item"
	// trafficNode names what a room lets pass, if that is not all (§18.1.1).
	trafficNode = "http://jabber.org/protocol/muc#traffic"
)

// ServiceName is how the service is called in lists.
const ServiceName = "Rooms"

var serviceFeatures = []string{xmpp.NSDiscoInfo, xmpp.NSDiscoItems, xmpp.NSMUC, "muc_rooms", nsStableID, xmpp.NSRSM, nsOccupant, xmpp.NSPing, xmpp.NSVCard}

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
	case name == pingName:
		m.o.Router.Answer(e, nil)
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
	list, err := m.listed(domain)
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

// info tells what a room is (§6.4), which nick the asker has in it (§7.12), and what it lets pass (§18.1.1): all.
func (r *room) info(e *router.Envelope, q *xmpp.Element) {
	w := xmpp.NewWriter(nil).Start(xmpp.NSDiscoInfo, "query").AttrIf("node", q.Attr("node"))
	switch q.Attr("node") {
	case "":
	case nickNode:
		if nick := r.people[e.Stanza.From.Bare().String()].Nick; nick != "" {
			w.Start("", "identity").Attr("category", "conference").Attr("type", "text").Attr("name", nick).End()
		}
		r.m.o.Router.Answer(e, w.End().Bytes())
		return
	case trafficNode:
		r.m.refuse(e, xmpp.ServiceUnavailable(""))
		return
	default:
		r.m.refuse(e, xmpp.ItemNotFound("there is no such node"))
		return
	}
	name := r.conf.Name
	if name == "" {
		name = r.addr.Unescaped()
	}
	w.Start("", "identity").Attr("category", "conference").Attr("type", "text").Attr("name", name).End()
	for _, f := range r.features() {
		w.Start("", "feature").Attr("var", f).End()
	}
	r.infoForm().Write(w)
	r.m.o.Router.Answer(e, w.End().Bytes())
}

func (r *room) features() []string {
	choose := func(is bool, yes, no string) string {
		if is {
			return yes
		}
		return no
	}
	c := &r.conf
	list := []string{xmpp.NSDiscoInfo, xmpp.NSDiscoItems, xmpp.NSMUC, nsStableID, nsSelfPing, nsOccupant, xmpp.NSPing, xmpp.NSVCard, nsRequest, nsConfig, nsInfo, nsHats, nsCommands,
		choose(c.Persistent, "muc_persistent", "muc_temporary"), choose(c.Public, "muc_public", "muc_hidden"),
		choose(c.MembersOnly, "muc_membersonly", "muc_open"), choose(c.Moderated, "muc_moderated", "muc_unmoderated"),
		choose(c.NonAnonymous, "muc_nonanonymous", "muc_semianonymous"), choose(c.Password != "", "muc_passwordprotected", "muc_unsecured")}
	if c.Registrations {
		list = append(list, xmpp.NSRegister, nsRegForm)
	}
	if c.Archived {
		list = append(list, mam.Feature, mam.FeatureExtended, xmpp.NSStanzaID, nsRetract, nsRetract+"#tombstone",
			nsModerate, nsOldModerate)
	}
	slices.Sort(list)
	return list
}

func (r *room) infoForm() *forms.Form {
	c := &r.conf
	f := &forms.Form{Kind: forms.Result, Type: nsInfo}
	add := func(name, kind string, values ...string) {
		if len(values) > 0 && values[0] != "" {
			f.Fields = append(f.Fields, forms.Field{Var: name, Type: kind, Values: values})
		}
	}
	add("muc#roominfo_description", "text-single", c.Description)
	add("muc#roominfo_lang", "text-single", c.Language)
	add("muc#roominfo_occupants", "text-single", strconv.Itoa(len(r.occupants)))
	add("muc#roominfo_subject", "text-single", r.subject.text())
	add("muc#roominfo_subjectmod", "boolean", truth(c.ChangeSubject)...)
	add(prefix+"changesubject", "boolean", truth(c.ChangeSubject)...)
	add(prefix+"allowinvites", "boolean", truth(c.AllowInvites)...)
	add(prefix+"roomname", "text-single", c.Name)
	add(maxHistory, "text-single", strconv.Itoa(c.History))
	if c.NonAnonymous {
		add("muc#roominfo_contactjid", "jid-multi", r.named(owner)...)
	}
	add("muc#roominfo_avatarhash", "text-multi", r.hashes...)
	add("hats#hash", "text-single", r.hatsHash())
	return f
}

// text is the subject in words.
func (s *subject) text() string {
	payload := []byte(s.XML)
	for _, c := range xmpp.Index(payload) {
		if el, err := xmpp.ParseElement(payload[c.Start:c.End]); err == nil && c.Name == subjectName {
			return el.Text()
		}
	}
	return ""
}

// items are the occupants, for occupants only (§6.5).
func (r *room) items(e *router.Envelope, q *xmpp.Element) {
	w := xmpp.NewWriter(nil).Start(xmpp.NSDiscoItems, "query").AttrIf("node", q.Attr("node"))
	switch q.Attr("node") {
	case "":
	case nsCommands: // XEP-0050 §2.2
		r.listCommands(e, w)
		r.m.o.Router.Answer(e, w.End().Bytes())
		return
	default:
		r.m.refuse(e, xmpp.ItemNotFound("there is no such node"))
		return
	}
	if r.seats[e.Stanza.From] != nil {
		for _, o := range r.occupants {
			if r.shows(o.role) {
				w.Start("", "item").Attr("jid", o.addr.String()).Attr("name", o.nick).End()
			}
		}
	}
	r.m.o.Router.Answer(e, w.End().Bytes())
}
