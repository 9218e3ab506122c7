package private

import (
	"context"
	"errors"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func (p *Private) portable() []router.Portable {
	return []router.Portable{{
		Spaces: []string{"map private"},
		Export: p.exported,
		Import: []router.Section{{Name: query, What: "pieces of private data", Import: p.imported}},
	}}
}

func (p *Private) exported(ctx context.Context, user jid.JID, put func([]byte) error) error {
	entries, _, err := p.store.List(ctx, user.String())
	if err != nil || len(entries) == 0 {
		return err
	}
	w := xmpp.NewWriter(nil).Start(xmpp.NSPrivate, "query")
	for _, e := range entries {
		if len(e.Value) > 0 && e.Value[0] == recordVersion {
			w.Raw(e.Value[1:])
		}
	}
	return put(w.End().Bytes())
}

// imported takes all pieces at once: several may be of one name.
func (p *Private) imported(ctx context.Context, in *router.Incoming) error {
	values, order := map[string][]byte{}, []string(nil)
	for _, c := range in.Element.Children() {
		if s := c.Name.Space; s == "" || s == xmpp.NSPrivate || s == xmpp.NSClient || s == router.NSPie {
			in.Refuse("an element of private data has no namespace of its own")
			continue
		}
		k := key(c.Name)
		if values[k] == nil {
			values[k], order = []byte{recordVersion}, append(order, k)
		}
		values[k] = c.Append(values[k])
	}
	for _, k := range order {
		if len(values[k])-1 > MaxSize {
			in.Refuse("an element of private data takes %d bytes at most", MaxSize)
			continue
		}
		switch _, err := p.store.Get(ctx, in.User.String(), k); {
		case err == nil:
			in.Had++
			continue
		case !errors.Is(err, storage.ErrNotFound):
			return err
		case in.Dry:
			in.Take(nil)
			continue
		}
		_, pending, err := p.store.Update(ctx, in.User.String(), storage.AnyVersion,
			storage.Change{Key: k, Value: values[k]})
		if err != nil {
			return err
		}
		in.Take(pending)
	}
	return nil
}
