package blocking

import (
	"context"
	"errors"
	"slices"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// nsPrivacy is that of privacy lists (XEP-0016), which other servers have.
const nsPrivacy = "jabber:iq:privacy"

// portable writes a block list as a client gets it (XEP-0191 §3.2). Of privacy lists, which XEP-0227 §4.8 has for
// this, the rules are read that block an address.
func (b *Blocking) portable() []router.Portable {
	return []router.Portable{{
		Spaces: []string{"map blocking"},
		Export: b.exported,
		Import: []router.Section{
			{Name: xmpp.Name{Space: xmpp.NSBlocking, Local: "blocklist"}, What: "blocked addresses", Depth: 1,
				Import: b.imported},
			{Name: xmpp.Name{Space: nsPrivacy, Local: "query"}, What: "rules of privacy lists", Import: b.importLists},
		},
	}}
}

func (b *Blocking) exported(_ context.Context, user jid.JID, put func([]byte) error) error {
	l, err := b.lists.Get(user.String())
	if err != nil {
		return err
	}
	items := l.addresses()
	if len(items) == 0 {
		return nil
	}
	w := xmpp.NewWriter(nil).Start(xmpp.NSBlocking, "blocklist")
	for _, j := range slices.SortedFunc(slices.Values(items), jid.JID.Compare) {
		w.Start("", "item").Attr("jid", j.String()).End()
	}
	return put(w.End().Bytes())
}

func (b *Blocking) imported(_ context.Context, in *router.Incoming) error {
	if in.Element.Name.Local != "item" {
		return nil
	}
	return b.add(in, in.Element.Attr("jid"))
}

// add adds one address to the list.
func (b *Blocking) add(in *router.Incoming, address string) error {
	j, err := jid.Parse(address)
	if err != nil {
		in.Refuse("a blocked address is none")
		return nil
	}
	if in.Dry {
		l, err := b.lists.Get(in.User.String())
		if err != nil {
			return err
		}
		if _, had := l.items[j.String()]; had {
			in.Had++
		} else {
			in.Take(nil)
		}
		return nil
	}
	had := false
	p, err := b.lists.change(in.User.String(), []jid.JID{j}, true, func(before, _ *list) {
		_, had = before.items[j.String()]
	})
	switch {
	case errors.Is(err, errTooMany):
		in.Refuse("more addresses are blocked than a list may have")
	case err != nil:
		return err
	case had:
		in.Had++
	default:
		in.Take(p)
	}
	return nil
}

// importLists reads the default list, which is the one for whoever has chosen none.
func (b *Blocking) importLists(_ context.Context, in *router.Incoming) error {
	name := ""
	if d := in.Element.ChildLocal("default"); d != nil {
		name = d.Attr("name")
	}
	for _, l := range in.Element.Children() {
		if l.Name.Local != "list" {
			continue
		}
		for _, item := range l.Children() {
			all := len(item.Children()) == 0 || item.ChildLocal("message") != nil
			switch {
			case item.Attr("action") != "deny": // what is allowed is allowed here, too
			case l.Attr("name") != name:
				in.Refuse("a rule of a privacy list that is not the default one")
			case item.Attr("type") != "jid" || !all:
				in.Refuse("a rule of a privacy list that is not about messages of an address")
			default:
				if err := b.add(in, item.Attr("value")); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
