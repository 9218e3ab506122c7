package vcard

import (
	"context"
	"errors"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

func (v *VCard) portable() []router.Portable {
	return []router.Portable{{
		Spaces: []string{"map vcard"},
		Export: v.exported,
		Import: []router.Section{{Name: payload, What: "vCards", Import: v.imported}},
	}}
}

func (v *VCard) exported(_ context.Context, user jid.JID, put func([]byte) error) error {
	card, _, err := v.read(user)
	if err != nil || card == nil {
		return err
	}
	return put(card.Append(nil))
}

func (v *VCard) imported(ctx context.Context, in *router.Incoming) error {
	record := in.Element.Append([]byte{recordVersion})
	if most := v.limit(); len(record)-1 > most {
		in.Refuse("a vCard takes %d bytes at most (limits.vcard_bytes)", most)
		return nil
	}
	switch _, err := v.store.Get(ctx, in.User.String(), key); {
	case err == nil:
		in.Had++
		return nil
	case !errors.Is(err, storage.ErrNotFound):
		return err
	case in.Dry:
		in.Take(nil)
		return nil
	}
	_, p, err := v.store.Update(ctx, in.User.String(), storage.AnyVersion, storage.Change{Key: key, Value: record})
	if err != nil {
		return err
	}
	in.Take(p)
	return nil
}
