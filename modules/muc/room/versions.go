package room

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Versions of the lists of affiliations (XEP-0463). Each change of one makes a new version, and the latest changes
// are kept. What a client knows is a version and the lists that it might see when it was told: with other lists
// than now it is told everything. Nobody can make the name of a version up, so whoever says one has been told of it.

const nsVersions = "urn:xmpp:muc:affiliations:1"

var versionName = xmpp.Name{Space: nsVersions, Local: "mav"}

const (
	// MaxChanges is how many changes are kept; a client that missed more is told everything.
	MaxChanges = 500
	// maxListed is how many items are in one message.
	maxListed = 200
)

// A Change is one of an affiliation. The names are those of the stored record.
type Change struct {
	Version uint64      `json:"-"`    // that it made; the first is 1
	User    string      `json:"user"` // bare address, or a domain
	From    Affiliation `json:"from"`
	To      Affiliation `json:"to"`
}

// Version is the latest.
func (r *Room) Version() uint64 {
	if len(r.Changes) == 0 {
		return 0
	}
	return r.Changes[len(r.Changes)-1].Version
}

// Coming are the changes of affiliations that Learn will add for these, in this order.
func (r *Room) Coming(people []Known) (changes []Change) {
	version := r.Version()
	for _, k := range people {
		if was := r.People[k.User].Affiliation; was != k.Affiliation {
			version++
			changes = append(changes, Change{Version: version, User: k.User, From: was, To: k.Affiliation})
		}
	}
	return changes
}

// Learn takes over what has been stored of somebody, and returns the version that this makes, 0 if it is no new one.
func (r *Room) Learn(k Known) uint64 {
	changes := r.Coming([]Known{k})
	r.SetPerson(k)
	if changes == nil {
		return 0
	}
	if len(r.Changes) >= MaxChanges {
		r.Changes = slices.Delete(r.Changes, 0, len(r.Changes)-MaxChanges+1)
	}
	r.Changes = append(r.Changes, changes...)
	return r.Version()
}

// A view is a set of lists of affiliations.
type view uint8

func (v view) has(a Affiliation) bool { return v&(1<<(a+1)) != 0 }

// viewOf are the lists that a party may see.
func (r *Room) viewOf(by party) (v view) {
	for _, a := range [...]Affiliation{Outcast, Member, Admin, Owner} {
		if r.mayList(by, a) {
			v |= 1 << (a + 1)
		}
	}
	return v
}

// versioned names a version for a client that was told these lists.
func (r *Room) versioned(version uint64, v view) string {
	name := strconv.FormatUint(version, 36) + "-" + strconv.FormatUint(uint64(v), 36)
	h := hmac.New(sha256.New, r.Secret)
	h.Write([]byte(nsVersions + " " + name))
	return name + "-" + hex.EncodeToString(h.Sum(nil)[:10])
}

// knows reads the name of a version.
func (r *Room) knows(name string) (version uint64, v view, ok bool) {
	first, rest, _ := strings.Cut(name, "-")
	second, _, _ := strings.Cut(rest, "-")
	version, err := strconv.ParseUint(first, 36, 64)
	if err != nil {
		return 0, 0, false
	}
	lists, err := strconv.ParseUint(second, 36, 8)
	v = view(lists)
	return version, v, err == nil && sameSecret(name, r.versioned(version, v))
}

// appendVersions appends a <mav/>. An empty name is left out.
func appendVersions(dst []byte, since, until string) []byte {
	dst = append(dst, "<mav xmlns='"+nsVersions+"'"...)
	if since != "" {
		dst = append(append(append(dst, " since='"...), since...), '\'')
	}
	if until != "" {
		dst = append(append(append(dst, " until='"...), until...), '\'')
	}
	return append(dst, "/>"...)
}

// A reader is what clients have in common that are told of a change by the same <mav/>.
type reader struct {
	some bool // there is a list that the client may see
	told view
}

func (r *Room) reader(s *Seat) reader {
	if r.viewOf(party{s.Role, r.Rank(s.Occupant)}) == 0 {
		return reader{}
	}
	return reader{true, s.told}
}

// versions is the <mav/> of a change, empty for those that may see no list (§5.2.2).
func (r *Room) versions(version uint64, to reader) string {
	if !to.some {
		return ""
	}
	return string(appendVersions(nil, r.versioned(version-1, to.told), r.versioned(version, to.told)))
}

// upToNow is the <mav/> of the presence that ends the entry of a client (§5.2.1).
func (r *Room) upToNow(s *Seat) string {
	if r.viewOf(party{s.Role, r.Rank(s.Occupant)}) == 0 {
		return ""
	}
	return string(appendVersions(nil, "", r.versioned(r.Version(), s.told)))
}

// catchUp tells a client that enters what it has missed, if it asks for that, before anything else (§5.2.1).
func (r *Room) catchUp(fx *Effects, ev *Event, s *Seat, x *xmpp.Element) {
	s.told = 0
	asked := x.Child(versionName)
	if asked == nil {
		return
	}
	lists := r.viewOf(party{s.Role, r.Rank(s.Occupant)})
	head := xmpp.Stanza{Kind: xmpp.Message, From: r.Addr, ID: ev.Stanza.ID}
	if head.ID == "" {
		head.ID = NewID()
	}
	if lists == 0 { // §5.2.3
		head.Type = xmpp.TypeError
		bad := xmpp.Forbidden("you may not see the affiliations of this room")
		bad.By = r.Addr
		fx.to(s, fx.stanza(head, contentOf(bad.Append(nil))))
		return
	}
	s.told = lists
	since := asked.Attr("since")
	version, known, ok := r.knows(since)
	var items []Change
	if ok && known == lists && r.keeps(version) {
		if items = r.since(version, lists); items == nil { // there is no empty difference
			return
		}
	} else {
		since, items = "", r.all(lists)
	}
	head.ID = NewID()
	for last := false; !last; {
		part := items[:min(maxListed, len(items))]
		items = items[len(part):]
		last = len(items) == 0
		until := r.versioned(r.Version(), lists)
		if !last { // a version that nobody knows: whoever has no more than this is told everything
			until = NewID()
		}
		dst := appendVersions([]byte("<x xmlns='"+xmpp.NSMUCUser+"'>"), since, until)
		for _, one := range part {
			dst = append(append(dst, "<item affiliation='"...), one.To.String()...)
			dst = append(xmpp.AppendAttr(append(dst, "' jid='"...), one.User), "'/>"...)
		}
		fx.to(s, fx.stanza(head, contentOf(append(dst, "</x>"...))))
		since, head.ID = until, NewID()
	}
}

// keeps says whether all changes behind a version are there.
func (r *Room) keeps(version uint64) bool {
	return version <= r.Version() && r.Version()-version <= uint64(len(r.Changes))
}

// since are the changes behind a version as somebody sees them who may see these lists: the first state and the last of
// each user, and what is in none of the lists is no affiliation.
func (r *Room) since(version uint64, lists view) (items []Change) {
	at := map[string]int{}
	var all []Change
	for _, c := range r.Changes[len(r.Changes)-int(r.Version()-version):] {
		if i, twice := at[c.User]; twice {
			all[i].To = c.To
			continue
		}
		at[c.User] = len(all)
		all = append(all, c)
	}
	for _, c := range all {
		if !lists.has(c.From) {
			c.From = Unaffiliated
		}
		if !lists.has(c.To) {
			c.To = Unaffiliated
		}
		if c.From != c.To {
			items = append(items, c)
		}
	}
	return items
}

// all are the affiliations on these lists.
func (r *Room) all(lists view) (items []Change) {
	for a := Owner; a >= Outcast; a-- {
		if !lists.has(a) {
			continue
		}
		for _, name := range r.Named(a) {
			items = append(items, Change{User: name, To: a})
		}
	}
	return items
}

// toldVersions tells the others, or an occupant's own clients, of a change of its affiliation: each with the versions
// that it knows.
func (r *Room) toldVersions(fx *Effects, head xmpp.Stanza, o *Occupant, n notice, first *Seat, own bool) {
	type variant struct {
		sees bool
		reader
	}
	made := map[variant]int{}
	for _, v := range r.occupants {
		if (v == o) != own {
			continue
		}
		for _, s := range v.Seats {
			kind := variant{own || r.sees(v), r.reader(s)}
			told, ok := made[kind]
			if !ok {
				full := jid.JID{}
				if kind.sees {
					full = first.Full
				}
				n.mav = r.versions(n.version, kind.reader)
				told = fx.stanza(head, r.payload(o, first.show, &n, full, own))
				made[kind] = told
			}
			fx.to(s, told)
		}
	}
}

// moved has everybody who knows addresses told of the affiliation of somebody who is not shown in the room (§5.2.2,
// XEP-0045 §9.5 and others).
func (r *Room) moved(fx *Effects, version uint64, user string, now Affiliation) {
	made := map[reader]int{}
	for _, o := range r.occupants {
		if !r.sees(o) {
			continue
		}
		for _, s := range o.Seats {
			kind := r.reader(s)
			told, ok := made[kind]
			if !ok {
				x := append([]byte("<x xmlns='"+xmpp.NSMUCUser+"'>"), r.versions(version, kind)...)
				x = append(append(x, "<item affiliation='"...), now.String()...)
				x = append(xmpp.AppendAttr(append(x, "' jid='"...), user), "' role='none'/></x>"...)
				told = fx.stanza(xmpp.Stanza{Kind: xmpp.Message, ID: NewID(), From: r.Addr}, contentOf(x))
				made[kind] = told
			}
			fx.ifPresent(s, told)
		}
	}
}
