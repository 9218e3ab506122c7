package portable

import (
	"strings"
	"time"

	"jackdaw/xmpp"
)

// ejabberdRoomSettings are those of rooms, as far as their values are the same, with the fields that they are in forms.
var ejabberdRoomSettings = map[string]string{"title": "roomname", "description": "roomdesc", "lang": "lang",
	"public": "publicroom", "members_only": "membersonly", "moderated": "moderatedroom", "mam": "enablelogging",
	"password_protected": "passwordprotectedroom", "password": "roomsecret", "allow_change_subj": "changesubject",
	"allow_user_invites": "allowinvites", "allowpm": "allowpm", "whois": "whois"}

// room writes a room that stays.
func (d *dump) room(r row) error {
	id, options := r.get("name_host"), r.get("opts")
	if options.get("persistent").text != "true" {
		return nil
	}
	settings, names := map[string][]string{}, map[string]string{}
	for option, field := range ejabberdRoomSettings {
		names[option] = "muc#roomconfig_" + field
		if v := options.get(option); v.kind != opaque {
			settings[option] = []string{settingText(v)}
		}
	}
	if options.get("password_protected").text != "true" {
		delete(settings, "password")
	}
	// Whoever enters has voice there, which a moderated room gives to nobody here.
	if options.get("members_by_default").text == "true" {
		settings["moderated"] = []string{"0"}
	}
	if options.get("allow_private_messages").text == "false" { // before there was allowpm
		settings["allowpm"] = []string{"none"}
	}
	if len(options.get("subscribers").list) > 0 {
		d.lost.lose("rooms", clip(address(id, false)), "who has subscribed to a room without being in it")
	}
	settings["whois"] = []string{"moderators"}
	if options.get("anonymous").text == "false" {
		settings["whois"] = []string{"anyone"}
	}
	children := []*xmpp.Element{formOf("http://jabber.org/protocol/muc#roomconfig", names, settings)}
	own := func(local string) xmpp.Name { return xmpp.Name{Space: NS, Local: local} }
	if subject := subjectOf(options.get("subject")); subject != "" {
		by := options.get("subject_author")
		if by.kind == tuple {
			by = by.at(0)
		}
		children = append(children, branch(own("subject"), []xmpp.Attr{local("changed", xmpp.FormatTime(time.Unix(1, 0))),
			mended("by", by.String())}, branch(xmpp.Name{Space: xmpp.NSClient, Local: "message"}, nil,
			leaf(xmpp.Name{Space: xmpp.NSClient, Local: "subject"}, subject))))
	}
	creator := ""
	for _, a := range options.get("affiliations").list {
		who, kind, reason := xmpp.MendText(address(a.at(0), false)), a.at(1), ""
		if kind.kind == tuple {
			kind, reason = kind.at(0), kind.at(1).String()
		}
		if kind.text == "none" {
			continue
		}
		if kind.text == "owner" && creator == "" {
			creator = who
		}
		attrs := []xmpp.Attr{local("jid", who), mended("affiliation", kind.text)}
		if reason != "" {
			attrs = append(attrs, mended("reason", reason))
		}
		children = append(children, leaf(own("person"), "", attrs...))
	}
	p := of(id, ofRoom, 0)
	attrs := []xmpp.Attr{mended("jid", p.name+"@"+p.host), local("creator", creator)}
	return d.put(p, branch(own("room"), attrs, children...))
}

// subjectOf is a subject that is kept as a text, or as {text, Language, Text} for each language.
func subjectOf(t term) string {
	for _, one := range t.list {
		if one.is("text", 2) {
			return one.list[2].String()
		}
	}
	return strings.TrimSpace(t.text)
}
