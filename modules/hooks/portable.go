package hooks

import (
	"context"
	"encoding/json"
	"errors"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// hooksName is ours: XEP-0227 has no place for hooks. Each is in it as JSON, for its owner; their tokens move with the
// account, too (modules/tokens), so that the addresses stay good.
var hooksName = xmpp.Name{Space: router.NSPortable, Local: "hooks"}

func (s *Hooks) exported(ctx context.Context, user jid.JID, put func([]byte) error) error {
	all, err := s.List(ctx)
	if err != nil {
		return err
	}
	w := xmpp.NewWriter(nil).Start(hooksName.Space, hooksName.Local)
	some := false
	for _, h := range all {
		if h.Owner != user {
			continue
		}
		b, err := json.Marshal(h)
		if err != nil {
			return err
		}
		some = true
		w.Leaf("", "hook", string(b))
	}
	if !some {
		return nil
	}
	return put(w.End().Bytes())
}

func (s *Hooks) imported(ctx context.Context, in *router.Incoming) error {
	var h Hook
	if in.Element.Name.Local != "hook" || json.Unmarshal([]byte(in.Element.Text()), &h) != nil || h.ID == "" {
		in.Refuse("a hook cannot be read")
		return nil
	}
	h.Owner = in.User
	if err := s.checkRow(&h); err != nil {
		in.Refuse("the hook %s: %v", h.Name, err)
		return nil
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	switch old, err := s.Get(ctx, h.Name); {
	case err == nil && old.ID == h.ID && old.Owner == h.Owner:
		in.Had++
		return nil
	case err == nil:
		in.Refuse("the hook %s: %v", h.Name, ErrTaken)
		return nil
	case !errors.Is(err, ErrNoHook):
		return err
	}
	n, _, err := s.rows.Size(ctx, rowOwner)
	switch {
	case err != nil:
		return err
	case n >= MaxHooks:
		in.Refuse("the hook %s: %v", h.Name, ErrMany)
		return nil
	case in.Dry:
		in.Take(nil)
		return nil
	}
	b, err := json.Marshal(&h)
	if err != nil {
		return err
	}
	_, p, err := s.rows.Update(ctx, rowOwner, storage.AnyVersion,
		storage.Change{Key: h.Name, Value: append([]byte{rowVersion}, b...)})
	if err != nil {
		return err
	}
	in.Take(p)
	return nil
}
