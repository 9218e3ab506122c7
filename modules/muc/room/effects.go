package room

import (
	"strconv"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Effects are what methods of a room want done. The zero value holds none, and methods append to it.
type Effects struct {
	// Deliveries are what clients are to be given, in this order, before anything else happens in the room. Their stanzas
	// have everything but the recipient.
	Deliveries []Delivery
	Stanzas    []xmpp.Stanza
	// Moves are the clients that have come and gone.
	Moves []Move
	// Later are whole stanzas for users, in the room or not. They may be anywhere, so the room must not be locked while
	// they are sent.
	Later []xmpp.Stanza
	// Freed is the size of messages that are remembered no more.
	Freed int64

	entering *Seat // the client that is told everything
}

// A Delivery is a stanza for one client, or the place of the answer among them.
type Delivery struct {
	To     *Seat // nil: whoever has asked for all this is answered here (§8.2)
	Stanza int   // its index in Effects.Stanzas
	Step   bool  // one of many for a client that enters: it may come as the client takes it, the next of them behind it
	// Present says that the stanza is for this client or nobody: not for another one of that user if this one has left.
	Present bool
}

// A Move is a client that has come or gone.
type Move struct {
	Client jid.JID
	In     bool
}

// Reset makes the effects ready for other ones, keeping what they have allocated.
func (fx *Effects) Reset() {
	clear(fx.Deliveries)
	clear(fx.Stanzas)
	clear(fx.Moves)
	*fx = Effects{Deliveries: fx.Deliveries[:0], Stanzas: fx.Stanzas[:0], Moves: fx.Moves[:0]}
}

// A content is a payload with its index, so that nobody on the way has to read it again for each recipient.
type content struct {
	xml      []byte
	children []xmpp.Child
}

func contentOf(xml []byte) content { return content{xml, xmpp.Index(xml)} }

// stanza adds one, for nobody as yet, and returns its index.
func (fx *Effects) stanza(head xmpp.Stanza, c content) int {
	head.Payload, head.Children = c.xml, c.children
	fx.Stanzas = append(fx.Stanzas, head)
	return len(fx.Stanzas) - 1
}

// to has a client given a stanza.
func (fx *Effects) to(s *Seat, stanza int) {
	fx.Deliveries = append(fx.Deliveries, Delivery{To: s, Stanza: stanza, Step: s == fx.entering})
}

// ifPresent has a client given a stanza that is for nobody else at that account.
func (fx *Effects) ifPresent(s *Seat, stanza int) {
	fx.Deliveries = append(fx.Deliveries, Delivery{To: s, Stanza: stanza, Present: true})
}

// answer has whoever has asked for this answered behind what was added so far.
func (fx *Effects) answer() { fx.Deliveries = append(fx.Deliveries, Delivery{}) }

// toAll has all clients given a stanza.
func (r *Room) toAll(fx *Effects, stanza int) {
	for _, o := range r.occupants {
		for _, s := range o.Seats {
			fx.to(s, stanza)
		}
	}
}

// A notice is what the room says of an occupant in presence (§7.2.2).
type notice struct {
	affiliation Affiliation
	role        Role
	nick        string // the next one, of an occupant that changes it
	actor       string // nick of whoever did it
	reason      string
	codes       []int
	open        bool // the codes are for the others, too
	destroyed   *Destruction
	version     uint64 // that a change of the affiliation has made; 0: none
	mav         string // for a single client; see Room.versions
}

// append appends the <x/>. A zero address is not told.
func (n *notice) append(dst []byte, full jid.JID, self bool) []byte {
	dst = append(append(dst, "<x xmlns='http://jabber.org/protocol/muc#user'>"...), n.mav...)
	dst = append(dst, "<item affiliation='"...)
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
		// The codes that greet a client that enters are not for the others.
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
func (r *Room) payload(o *Occupant, show []byte, n *notice, full jid.JID, self bool) content {
	dst := append(make([]byte, 0, len(show)+320+len(n.reason)), show...)
	dst = r.appendHats(appendOccupantID(dst, o.id), o)
	return contentOf(n.append(dst, full, self))
}

func appendOccupantID(dst []byte, id string) []byte {
	dst = append(dst, "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='"...)
	dst = append(dst, id...)
	return append(dst, "'/>"...)
}

// Two kinds of viewers see an occupant differently (§7.2.4).
const (
	bare = iota
	withAddress
)

// available is the payload of an occupant's presence for others, made once for each kind of them.
func (r *Room) available(o *Occupant, sees bool) content {
	kind, full := bare, jid.JID{}
	if sees {
		kind, full = withAddress, o.Seats[0].Full
	}
	if o.shown[kind].xml == nil {
		n := notice{affiliation: r.Rank(o), role: o.Role}
		o.shown[kind] = r.payload(o, o.Seats[0].show, &n, full, false)
	}
	return o.shown[kind]
}

// present is the head of an occupant's presence.
func present(o *Occupant) xmpp.Stanza {
	return xmpp.Stanza{Kind: xmpp.Presence, From: o.Addr, Lang: o.Seats[0].lang}
}

// absent is the head of presence that says that an occupant is gone.
func absent(o *Occupant) xmpp.Stanza {
	return xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnavailable, From: o.Addr}
}

// shows says whether the others are told of the presence of occupants that have this role (§10.1.3).
func (r *Room) shows(o Role) bool { return o == NoRole || r.Conf.Broadcast[o] }

// announce tells everybody that an occupant is there, its own clients with 110. The client that has caused it, if not
// nil, is told last, with the id of what it sent and with the codes, which are for it alone.
func (r *Room) announce(fx *Effects, o *Occupant, n *notice, cause *Seat, id string) {
	first, head := o.Seats[0], present(o)
	if r.shows(o.Role) {
		r.others(fx, head, o, n.reason == "" && n.actor == "" && !n.open, n, first)
	}
	if cause == nil || len(o.Seats) > 1 {
		plain := notice{affiliation: n.affiliation, role: n.role, actor: n.actor, reason: n.reason}
		if n.open {
			plain.codes = n.codes
		}
		if plain.version = n.version; plain.version != 0 {
			r.toldVersions(fx, head, o, plain, first, true)
		} else {
			own := fx.stanza(head, r.payload(o, first.show, &plain, first.Full, true))
			for _, s := range o.Seats {
				if s != cause {
					fx.to(s, own)
				}
			}
		}
	}
	if cause != nil {
		head.ID = id
		fx.to(cause, fx.stanza(head, r.payload(o, first.show, n, first.Full, true)))
	}
}

// others sends presence of o to all others. If it is plain, they get it as it is shown to everybody who asks, else as n
// and first say. It is made once for each kind of viewers.
func (r *Room) others(fx *Effects, head xmpp.Stanza, o *Occupant, plain bool, n *notice, first *Seat) {
	if n.version != 0 {
		r.toldVersions(fx, head, o, *n, first, false)
		return
	}
	made := [2]int{-1, -1}
	for _, v := range r.occupants {
		if v == o {
			continue
		}
		kind, full := bare, jid.JID{}
		if r.sees(v) {
			kind, full = withAddress, first.Full
		}
		switch {
		case made[kind] >= 0:
		case plain:
			made[kind] = fx.stanza(head, r.available(o, r.sees(v)))
		default:
			made[kind] = fx.stanza(head, r.payload(o, first.show, n, full, false))
		}
		for _, s := range v.Seats {
			fx.to(s, made[kind])
		}
	}
}

// notify tells all of a change of the room itself (§10.2.1).
func (r *Room) notify(fx *Effects, codes ...int) {
	if len(codes) == 0 {
		return
	}
	x := []byte("<x xmlns='http://jabber.org/protocol/muc#user'>")
	for _, c := range codes {
		x = appendStatus(x, c)
	}
	head := xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeGroupchat, ID: NewID(), From: r.Addr}
	r.toAll(fx, fx.stanza(head, contentOf(append(x, "</x>"...))))
}
