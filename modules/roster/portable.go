package roster

import (
	"context"
	"maps"
	"slices"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// portable writes a roster as XEP-0227 has it: the contacts as a client gets them, but for those by groups of the
// administrators, and the requests that wait.
func (r *Roster) portable() []router.Portable {
	return []router.Portable{{
		Spaces: []string{"map roster"},
		Export: r.exported,
		Import: []router.Section{
			{Name: xmpp.Name{Space: xmpp.NSRoster, Local: "query"}, What: "contacts", Depth: 1, Import: r.importItem},
			{Name: xmpp.Name{Space: xmpp.NSClient, Local: "presence"}, What: "subscription requests",
				Import: r.importRequest},
		},
	}, {
		Spaces: []string{"map groups"}, Stays: "made of the groups in the configuration",
	}}
}

func (r *Roster) exported(_ context.Context, user jid.JID, put func([]byte) error) error {
	u, err := r.lock(user)
	if err != nil {
		return err
	}
	items := make(map[jid.JID]*Item, len(u.items))
	for contact, it := range u.items {
		if it = it.unshared(); it != nil {
			items[contact] = it
		}
	}
	requests := slices.SortedFunc(maps.Keys(u.requests), jid.JID.Compare)
	r.unlock(u)
	if len(items) > 0 {
		w := xmpp.NewWriter(nil).Start(xmpp.NSRoster, "query")
		for _, contact := range slices.SortedFunc(maps.Keys(items), jid.JID.Compare) {
			items[contact].write(w, contact)
		}
		if err := put(w.End().Bytes()); err != nil {
			return err
		}
	}
	for _, contact := range requests {
		s, err := r.Request(user, contact)
		if err != nil {
			return err
		}
		if s == nil { // answered meanwhile
			continue
		}
		s.To = jid.JID{}
		if err := put(s.AppendQualified(nil)); err != nil {
			return err
		}
	}
	return nil
}

func (r *Roster) importItem(_ context.Context, in *router.Incoming) error {
	el := in.Element
	contact, err := jid.Parse(el.Attr("jid"))
	switch {
	case el.Name != xmpp.Name{Space: xmpp.NSRoster, Local: "item"}:
		return nil // such as what Prosody says of the version
	case err != nil:
		in.Refuse("the address of a contact is none")
		return nil
	case contact.Bare() == in.User:
		return nil // some servers have users in their own rosters
	}
	contact = contact.Bare()
	it := &Item{Name: xmpp.MendText(el.Attr("name"))}
	if len(it.Name) > maxText {
		it.Name = ""
		in.Refuse("a contact's name is too long; the contact comes without")
	}
	switch el.Attr("subscription") {
	case "remove":
		return nil
	case "both":
		it.State.To, it.State.From = true, true
	case "to":
		it.State.To = true
	case "from":
		it.State.From = true
	}
	it.State.PendingOut = el.Attr("ask") == "subscribe" && !it.State.To
	approved := el.Attr("approved")
	it.State.Approved = (approved == "true" || approved == "1") && !it.State.From
	for _, g := range el.Children() {
		name := g.Text()
		if g.Name.Local != "group" || name == "" || slices.Contains(it.Groups, name) {
			continue
		}
		if len(name) > maxText || len(it.Groups) >= maxImportedGroups {
			in.Refuse("a contact has too many groups, or one with too long a name")
			continue
		}
		it.Groups = append(it.Groups, name)
	}
	u, err := r.lock(in.User)
	if err != nil {
		return err
	}
	defer r.unlock(u)
	switch old := u.items[contact]; {
	case old.isShared() && !old.own: // there by a group alone
		it.share(old.sharedGroups(), true, it.State)
	case old != nil:
		in.Had++
		return nil
	}
	if in.Dry {
		in.Take(nil)
		return nil
	}
	p, err := r.put(u, contact, it, nil, false)
	if err != nil {
		return err
	}
	in.Take(p)
	return nil
}

// maxImportedGroups bounds the groups of one contact that comes from elsewhere.
const maxImportedGroups = 200

func (r *Roster) importRequest(_ context.Context, in *router.Incoming) error {
	s, err := xmpp.StanzaOf(in.Element)
	contact := s.From.Bare()
	switch {
	case err != nil:
		in.Refuse("%v", err)
		return nil
	case s.Type != xmpp.TypeSubscribe || contact.IsZero() || contact == in.User:
		in.Refuse("presence that is no request for a subscription")
		return nil
	}
	s.From, s.To = contact, in.User
	u, err := r.lock(in.User)
	if err != nil {
		return err
	}
	defer r.unlock(u)
	it := u.items[contact]
	if u.requests[contact] || it != nil && it.State.From {
		in.Had++
		return nil
	}
	if in.Dry {
		in.Take(nil)
		return nil
	}
	p, err := r.put(u, contact, it, smallRequest(&s), false)
	if err != nil {
		return err
	}
	in.Take(p)
	return nil
}
