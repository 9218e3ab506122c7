package portable

import (
	"slices"

	"jackdaw/xmpp"
)

// archive writes the messages of a list, with our own attribute for the author where there is one.
func (p *prosody) archive(host, store, user, owner string) error {
	begun := false
	err := p.files.each(host, store, user, func(v value) error {
		e, ok := stanza(v, xmpp.NSClient, 0)
		at, timed := moment(v.get("when"))
		if !timed && ok {
			var err error
			if at, err = xmpp.ParseTime(e.Attr("stamp")); err == nil {
				timed = true
			}
		}
		if !ok || !timed || e.Name.Local != "message" {
			return nil
		}
		if !begun {
			begun = true
			p.out.start(xmpp.Name{Space: NSPie + "#mam", Local: "archive"})
		}
		p.out.start(xmpp.Name{Space: xmpp.NSMAM, Local: "result"}, local("id", xmpp.MendText(v.get("key").String())))
		p.out.start(xmpp.Name{Space: xmpp.NSForward, Local: "forwarded"})
		p.out.start(xmpp.Name{Space: xmpp.NSDelay, Local: "delay"},
			local("stamp", at.UTC().Format("2006-01-02T15:04:05.000000Z")))
		p.out.end()
		p.out.element(ownIDs(without(e, "stamp", "stamp_legacy"), owner))
		p.out.end()
		p.out.end()
		return p.out.err
	})
	if begun {
		p.out.end()
	}
	return err
}

var stanzaIDName = xmpp.Name{Space: xmpp.NSStanzaID, Local: "stanza-id"}

// ownIDs takes away the ids that the archive itself has given: messages get others here.
func ownIDs(e *xmpp.Element, owner string) *xmpp.Element {
	e.Content = slices.DeleteFunc(e.Content, func(n xmpp.Node) bool {
		return n.Elem != nil && n.Elem.Name == stanzaIDName && n.Elem.Attr("by") == owner
	})
	return e
}

func (p *prosody) offline(host, user string) error {
	begun := false
	err := p.files.each(host, "offline", user, func(v value) error {
		e, ok := stanza(v, xmpp.NSClient, 0)
		if !ok || e.Name.Local != "message" {
			return nil
		}
		if !begun {
			begun = true
			p.out.start(xmpp.Name{Space: NSPie, Local: "offline-messages"})
		}
		if stamp := e.Attr("stamp"); stamp != "" {
			e.Content = append(e.Content, xmpp.Node{Elem: &xmpp.Element{Name: xmpp.Name{Space: xmpp.NSDelay, Local: "delay"},
				Attrs: []xmpp.Attr{local("from", host), local("stamp", stamp)}}})
		}
		p.out.element(without(e, "stamp", "stamp_legacy"))
		return p.out.err
	})
	if begun {
		p.out.end()
	}
	return err
}
