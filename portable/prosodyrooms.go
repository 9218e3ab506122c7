package portable

import (
	"slices"
	"strings"
	"time"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// roomSettings are those of rooms, as far as their values are the same.
var roomSettings = map[string]string{"name": "roomname", "description": "roomdesc", "language": "lang",
	"moderated": "moderatedroom", "members_only": "membersonly", "whois": "whois", "changesubject": "changesubject",
	"allow_member_invites": "allowinvites", "archiving": "enablelogging"}

func (p *prosody) rooms(service string) error {
	all, err := p.files.one(service, "persistent", "")
	if err != nil {
		return err
	}
	for _, one := range all.pairs {
		addr, err := jid.Parse(one.key.String())
		if err != nil || addr.Local() == "" {
			continue
		}
		config, err := p.files.one(service, "config", addr.Local())
		if err != nil {
			return err
		}
		if len(config.pairs) == 0 {
			continue
		}
		p.room(addr, config)
		p.out.start(xmpp.Name{Space: NS, Local: "room-archive"}, local("jid", addr.String()))
		if err := p.archive(service, "muc_log", addr.Local(), addr.String()); err != nil {
			return err
		}
		p.out.end()
	}
	return nil
}

func (p *prosody) room(addr jid.JID, config value) {
	data, people := config.get("_data"), config.get("_affiliations").pairs
	if len(people) == 0 { // of the newer form
		for _, one := range config.pairs {
			if strings.Contains(one.key.text, "@") && one.value.kind == text {
				people = append(people, one)
			}
		}
	}
	own := func(local string) xmpp.Name { return xmpp.Name{Space: NS, Local: local} }
	slices.SortFunc(people, func(a, b pair) int { return strings.Compare(a.key.text, b.key.text) })
	creator := ""
	for _, one := range people {
		if one.value.text == "owner" && creator == "" {
			creator = one.key.text
		}
	}
	p.out.start(own("room"), local("jid", addr.String()), local("creator", xmpp.MendText(creator)))
	set := data
	yes := func(name string, v bool) {
		set.pairs = append(slices.Clip(set.pairs), pair{value{kind: text, text: name}, value{kind: truth, truth: v}})
	}
	names := map[string]string{"public": "publicroom", "protected": "passwordprotectedroom", "password": "roomsecret"}
	for k, v := range roomSettings {
		names[k] = v
	}
	yes("public", !data.get("hidden").truth)
	if data.get("password").String() != "" {
		yes("protected", true)
	} else {
		delete(names, "password")
	}
	p.form("http://jabber.org/protocol/muc#roomconfig", set, names, "muc#roomconfig_")
	if subject := data.get("subject"); subject.String() != "" {
		at, ok := moment(data.get("subject_time"))
		if !ok {
			at = time.Unix(1, 0)
		}
		nick := data.get("subject_from").String()
		if j, err := jid.Parse(nick); err == nil {
			nick = j.Resource()
		}
		p.out.start(own("subject"), local("changed", xmpp.FormatTime(at)), local("by", xmpp.MendText(nick)))
		p.out.start(xmpp.Name{Space: xmpp.NSClient, Local: "message"})
		p.leaf(xmpp.Name{Space: xmpp.NSClient, Local: "subject"}, xmpp.MendText(subject.String()))
		p.out.end()
		p.out.end()
	}
	for _, one := range people {
		about := config.get("_affiliation_data").get(one.key.text)
		attrs := []xmpp.Attr{local("jid", xmpp.MendText(one.key.text)), local("affiliation", xmpp.MendText(one.value.text))}
		if nick := about.get("reserved_nickname").String(); nick != "" {
			attrs = append(attrs, local("nick", xmpp.MendText(nick)))
		}
		p.out.start(own("person"), attrs...)
		p.out.end()
	}
	p.out.end()
}
