package room

import (
	"slices"
	"strconv"

	"jackdaw/modules/internal/forms"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	nickNode = "x-roomuser-item"
	// trafficNode names what a room lets pass, if that is not all (§18.1.1).
	trafficNode = "http://jabber.org/protocol/muc#traffic"
)

// Info tells what a room is (§6.4), which nick the asker has in it (§7.12), and what it lets pass (§18.1.1), which is
// all.
func (r *Room) Info(who jid.JID, node string) ([]byte, *xmpp.Error) {
	w := xmpp.NewWriter(nil).Start(xmpp.NSDiscoInfo, "query").AttrIf("node", node)
	identity := func(name string) {
		w.Start("", "identity").Attr("category", "conference").Attr("type", "text").Attr("name", name).End()
	}
	switch node {
	case "":
	case nickNode:
		if nick := r.People[who.Bare().String()].Nick; nick != "" {
			identity(nick)
		}
		return w.End().Bytes(), nil
	case trafficNode:
		return nil, xmpp.ServiceUnavailable("")
	default:
		return nil, noNode()
	}
	if name := r.Conf.Name; name != "" {
		identity(name)
	} else {
		identity(r.Addr.Unescaped())
	}
	for _, f := range r.Features() {
		w.Start("", "feature").Attr("var", f).End()
	}
	r.infoForm().Write(w)
	if r.Conf.restricted() {
		r.Conf.restrictions().Write(w)
	}
	return w.End().Bytes(), nil
}

func noNode() *xmpp.Error { return xmpp.ItemNotFound("there is no such node") }

// Features are what the room can do, sorted (§6.4).
func (r *Room) Features() []string {
	choose := func(is bool, yes, no string) string {
		if is {
			return yes
		}
		return no
	}
	c := &r.Conf
	list := []string{xmpp.NSDiscoInfo, xmpp.NSDiscoItems, xmpp.NSMUC, NSStableID, nsSelfPing, nsOccupant, xmpp.NSPing,
		xmpp.NSVCard, NSRequest, nsConfig, nsInfo, nsHats, nsVersions, xmpp.NSCommands,
		choose(c.Persistent, "muc_persistent", "muc_temporary"), choose(c.Public, "muc_public", "muc_hidden"),
		choose(c.MembersOnly, "muc_membersonly", "muc_open"), choose(c.Moderated, "muc_moderated", "muc_unmoderated"),
		choose(c.NonAnonymous, "muc_nonanonymous", "muc_semianonymous"),
		choose(c.Password != "", "muc_passwordprotected", "muc_unsecured")}
	if c.restricted() {
		list = append(list, nsReactions)
	}
	if c.Registrations {
		list = append(list, xmpp.NSRegister, NSRegister)
	}
	if c.Archived {
		list = append(list, xmpp.NSMAM, xmpp.NSMAM+"#extended", xmpp.NSStanzaID, nsRetract, nsRetract+"#tombstone",
			nsModerate, nsOldModerate)
	}
	slices.Sort(list)
	return list
}

func (r *Room) infoForm() *forms.Form {
	c := &r.Conf
	f := &forms.Form{Kind: forms.Result, Type: nsInfo}
	add := func(name, kind string, values ...string) {
		if len(values) > 0 && values[0] != "" {
			f.Fields = append(f.Fields, forms.Field{Var: name, Type: kind, Values: values})
		}
	}
	add("muc#roominfo_description", "text-single", c.Description)
	add("muc#roominfo_lang", "text-single", c.Language)
	add("muc#roominfo_occupants", "text-single", strconv.Itoa(len(r.occupants)))
	add("muc#roominfo_subject", "text-single", r.Subject.text())
	add("muc#roominfo_subjectmod", "boolean", truth(c.ChangeSubject)...)
	add(prefix+"changesubject", "boolean", truth(c.ChangeSubject)...)
	add(prefix+"allowinvites", "boolean", truth(c.AllowInvites)...)
	add(prefix+"roomname", "text-single", c.Name)
	add(maxHistory, "text-single", strconv.Itoa(c.History))
	if c.NonAnonymous {
		add("muc#roominfo_contactjid", "jid-multi", r.Named(Owner)...)
	}
	add("muc#roominfo_avatarhash", "text-multi", r.hashes...)
	add("hats#hash", "text-single", r.hatsHash())
	return f
}

// Items are the occupants, for occupants only (§6.5), or the commands (XEP-0050 §2.2).
func (r *Room) Items(who jid.JID, node string) ([]byte, *xmpp.Error) {
	w := xmpp.NewWriter(nil).Start(xmpp.NSDiscoItems, "query").AttrIf("node", node)
	switch node {
	case "":
	case xmpp.NSCommands: // XEP-0050 §2.2
		r.listCommands(who, w)
		return w.End().Bytes(), nil
	default:
		return nil, noNode()
	}
	if r.seats[who] != nil {
		for _, o := range r.occupants {
			if r.shows(o.Role) {
				w.Start("", "item").Attr("jid", o.Addr.String()).Attr("name", o.Nick).End()
			}
		}
	}
	return w.End().Bytes(), nil
}
