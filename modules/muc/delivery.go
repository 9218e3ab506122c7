package muc

import (
	"strconv"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A post hands stanzas of a room to occupants: one envelope and one head for all. It is used with the room locked.
type post struct {
	r       *room
	env     router.Envelope
	head    xmpp.Stanza
	durable *router.Envelope // awaits what must be durable before its sender is told so; nil: nobody waits
	lost    []*seat          // that could not be given a message

	entering *seat         // a client that is told everything; nil: none
	rest     []xmpp.Stanza // what it does not take at once
}

func (r *room) post(b *router.Batch) *post { return &post{r: r, env: router.Envelope{Batch: b}} }

// A content is a payload with its index, so that nobody on the way has to read it again for each recipient.
type content struct {
	xml      []byte
	children []xmpp.Child
}

func contentOf(xml []byte) content { return content{xml, xmpp.Index(xml)} }

// with puts a payload under the head.
func (p *post) with(c content) { p.head.Payload, p.head.Children = c.xml, c.children }

// to gives the stanza in head to a client.
func (p *post) to(s *seat) {
	p.head.To = s.full
	if s == p.entering && s.session != nil && (len(p.rest) > 0 || !s.session.TakesMore()) {
		p.rest = append(p.rest, p.head)
		return
	}
	p.env.Reset()
	p.env.Stanza, p.env.Quiet, p.env.Own, p.env.Shared = &p.head, true, true, true
	if p.durable != nil {
		p.env.Durable = p.durable.Durable
	}
	p.r.m.o.Router.Route(&p.env)
	if p.durable != nil {
		p.durable.Await(p.env.Pendings...)
	}
	// A queue that is full for a moment says nothing of who is at its end (RFC 6120 §8.3.3.18).
	if p.env.Outcome == router.Refused && p.head.Kind == xmpp.Message && p.env.Err.Condition != xmpp.CondResourceConstraint {
		p.lost = append(p.lost, s)
	}
}

// bringRest brings who enters what it has not taken at once, ahead of what is said from now on.
func (p *post) bringRest() {
	if len(p.rest) == 0 {
		return
	}
	rest, next, to := p.rest, 0, p.r.m.o.Router
	var env router.Envelope
	p.entering.session.Bring(p.env.Batch, p.r.addr, func(b *router.Batch) bool {
		env.Reset()
		env.Stanza, env.Quiet, env.Own, env.Batch = &rest[next], true, true, b
		to.Route(&env)
		rest[next] = xmpp.Stanza{}
		next++
		return next < len(rest)
	})
}

// finish removes those who could not be given a message: they would miss it and not know.
func (p *post) finish() {
	for len(p.lost) > 0 {
		lost := p.lost
		p.lost = nil
		for _, s := range lost {
			if p.r.seats[s.full] == s {
				p.r.leave(p.env.Batch, s, departure{codes: []int{333}, reason: "messages cannot be delivered"})
			}
		}
	}
}

// A notice is what the room says of an occupant in presence (§7.2.2).
type notice struct {
	affiliation affiliation
	role        role
	nick        string // the next one, of who changes it
	actor       string // nick of who did it
	reason      string
	codes       []int
	open        bool // the codes are for the others, too
	destroyed   *destruction
}

// append appends the <x/>; a zero address is not told.
func (n *notice) append(dst []byte, full jid.JID, self bool) []byte {
	dst = append(dst, "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='"...)
	dst = append(dst, n.affiliation.String()...)
	dst = append(dst, "' role='"...)
	dst = append(dst, n.role.String()...)
	if !full.IsZero() {
		dst = append(dst, "' jid='"...)
		dst = xmpp.AppendAttr(dst, full.String())
	}
	if n.nick != "" {
		dst = append(dst, "' nick='"...)
		dst = xmpp.AppendAttr(dst, n.nick)
	}
	dst = append(dst, '\'')
	if n.actor == "" && n.reason == "" {
		dst = append(dst, "/>"...)
	} else {
		dst = append(dst, '>')
		if n.actor != "" {
			dst = append(dst, "<actor nick='"...)
			dst = append(xmpp.AppendAttr(dst, n.actor), "'/>"...)
		}
		if n.reason != "" {
			dst = append(dst, "<reason>"...)
			dst = append(xmpp.AppendText(dst, n.reason), "</reason>"...)
		}
		dst = append(dst, "</item>"...)
	}
	if n.destroyed != nil {
		dst = n.destroyed.append(dst)
	}
	if self {
		dst = appendStatus(dst, 110)
	}
	for _, c := range n.codes {
		// What greets who enters is not for the others.
		if self || n.open || c >= 300 {
			dst = appendStatus(dst, c)
		}
	}
	return append(dst, "</x>"...)
}

func appendStatus(dst []byte, code int) []byte {
	dst = append(dst, "<status code='"...)
	dst = strconv.AppendInt(dst, int64(code), 10)
	return append(dst, "'/>"...)
}

// payload is the presence of an occupant as it is shown: what its client said, then what the room says.
func (r *room) payload(o *occupant, show []byte, n *notice, full jid.JID, self bool) content {
	dst := append(make([]byte, 0, len(show)+320+len(n.reason)), show...)
	dst = r.appendHats(appendOccupantID(dst, o.id), o)
	return contentOf(n.append(dst, full, self))
}

func appendOccupantID(dst []byte, id string) []byte {
	dst = append(dst, "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='"...)
	dst = append(dst, id...)
	return append(dst, "'/>"...)
}

// available is the payload of an occupant's presence for others, made once for each kind of them.
func (r *room) available(o *occupant, sees bool) content {
	kind, full := bare, jid.JID{}
	if sees {
		kind, full = withAddress, o.seats[0].full
	}
	if o.shown[kind].xml == nil {
		n := notice{affiliation: r.rank(o), role: o.role}
		o.shown[kind] = r.payload(o, o.seats[0].show, &n, full, false)
	}
	return o.shown[kind]
}

// shownTo says whether presence of who has this role is told to others (§10.1.3).
func (r *room) shows(o role) bool { return o == noRole || r.conf.Broadcast[o] }

// announce tells everybody that an occupant is there, its own clients with 110. The one that has caused it, if not nil, is told
// last, with the id of what it sent and the codes, which are for it alone.
func (p *post) announce(o *occupant, n *notice, entering *seat, id string) {
	r := p.r
	first := o.seats[0]
	p.head = xmpp.Stanza{Kind: xmpp.Presence, From: o.addr, Lang: first.lang}
	if r.shows(o.role) {
		p.others(o, n.reason == "" && n.actor == "" && !n.open, n, first)
	}
	plain := notice{affiliation: n.affiliation, role: n.role, actor: n.actor, reason: n.reason}
	if n.open {
		plain.codes = n.codes
	}
	p.with(r.payload(o, first.show, &plain, first.full, true))
	for _, s := range o.seats {
		if s != entering {
			p.to(s)
		}
	}
	if entering != nil {
		p.head.ID = id
		p.with(r.payload(o, first.show, n, first.full, true))
		p.to(entering)
	}
}

// others sends presence of o to all others: as it is shown to all who ask, if it is plain, else what is said of first; made once for
// each kind of them.
func (p *post) others(o *occupant, plain bool, n *notice, first *seat) {
	r := p.r
	var made [2]content
	for _, v := range r.occupants {
		if v == o {
			continue
		}
		kind, full := bare, jid.JID{}
		if r.sees(v) {
			kind, full = withAddress, first.full
		}
		switch {
		case made[kind].xml != nil:
		case plain:
			made[kind] = r.available(o, r.sees(v))
		default:
			made[kind] = r.payload(o, first.show, n, full, false)
		}
		p.with(made[kind])
		for _, s := range v.seats {
			p.to(s)
		}
	}
}

// broadcast gives a message to all clients.
func (p *post) broadcast() {
	for _, o := range p.r.occupants {
		for _, s := range o.seats {
			p.to(s)
		}
	}
}

// notify tells all of a change of the room itself (§10.2.1).
func (r *room) notify(b *router.Batch, codes ...int) {
	if len(codes) == 0 {
		return
	}
	p := r.post(b)
	x := []byte("<x xmlns='http://jabber.org/protocol/muc#user'>")
	for _, c := range codes {
		x = appendStatus(x, c)
	}
	p.head = xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeGroupchat, ID: newID(), From: r.addr}
	p.with(contentOf(append(x, "</x>"...)))
	p.broadcast()
	p.finish()
}
