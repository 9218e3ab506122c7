package last

import (
	"context"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// lastName is ours: XEP-0227 has no place for it.
var lastName = xmpp.Name{Space: router.NSPortable, Local: "last"}

func (l *last) portable() []router.Portable {
	return []router.Portable{{
		Spaces: []string{"map last"},
		Export: l.exported,
		Import: []router.Section{{Name: lastName, What: "times of the last login", Import: l.imported}},
	}}
}

func (l *last) exported(ctx context.Context, user jid.JID, put func([]byte) error) error {
	entries, _, err := l.Store.List(ctx, user.String())
	if err != nil || len(entries) == 0 {
		return err
	}
	w := xmpp.NewWriter(nil).Start(lastName.Space, lastName.Local)
	status := ""
	for _, e := range entries {
		r, err := parse(e.Value)
		if err != nil {
			l.Log.Warn("last activity is not exported", "user", user, "err", err)
			continue
		}
		switch e.Key {
		case loginKey:
			w.Attr("login", xmpp.FormatTime(r.at))
		case key:
			status = r.status
			w.Attr("left", xmpp.FormatTime(r.at))
		}
	}
	return put(w.Text(status).End().Bytes())
}

func (l *last) imported(ctx context.Context, in *router.Incoming) error {
	entries, _, err := l.Store.List(ctx, in.User.String())
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		in.Had++
		return nil
	}
	var changes []storage.Change
	for name, key := range map[string]string{"login": loginKey, "left": key} {
		at, err := xmpp.ParseTime(in.Element.Attr(name))
		if err != nil {
			continue
		}
		r := record{at: at}
		if name == "left" {
			r.status = in.Element.Text()
			r.status = r.status[:min(len(r.status), maxStatus)]
		}
		changes = append(changes, storage.Change{Key: key, Value: r.append(nil)})
	}
	if len(changes) == 0 || in.Dry {
		in.Take(nil)
		return nil
	}
	_, p, err := l.Store.Update(ctx, in.User.String(), storage.AnyVersion, changes...)
	if err != nil {
		return err
	}
	in.Take(p)
	return nil
}
