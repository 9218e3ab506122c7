package archive

import (
	"context"

	"jackdaw/modules/internal/mam"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

// Received returns a message that an account, a bare address, has been sent, with the id that it has in the archive,
// and storage.ErrNotFound if it is not there any more: it may have been retracted since. The stanza is the caller's.
func (a *Archive) Received(ctx context.Context, owner string, id uint64) (xmpp.Stanza, error) {
	r, err := a.o.Messages.Get(ctx, owner, id)
	if err != nil {
		return xmpp.Stanza{}, err
	}
	s, err := mam.ReadMessage(r.Data)
	if err == nil && !received(&s, owner) {
		err = storage.ErrNotFound
	}
	if err != nil {
		return xmpp.Stanza{}, err
	}
	s.Payload = router.AppendStanzaID(s.Payload, owner, id)
	return s, nil
}

// EachReceived calls f with the messages that an account has been sent, as Received returns them, from the one after an
// id to the one before another, in order, until f returns false. What cannot be read is passed over.
func (a *Archive) EachReceived(ctx context.Context, owner string, after, before uint64,
	f func(id uint64, s *xmpp.Stanza) bool) error {
	for {
		page, more, err := a.o.Messages.Page(ctx, owner, storage.Query{After: after, Before: before, Limit: pageAtOnce})
		if err != nil {
			return err
		}
		for i := range page {
			after = page[i].ID
			s, err := mam.ReadMessage(page[i].Data)
			if err != nil || !received(&s, owner) {
				continue
			}
			s.Payload = router.AppendStanzaID(s.Payload, owner, after)
			if !f(after, &s) {
				return nil
			}
		}
		if !more {
			return nil
		}
	}
}

// pageAtOnce is how many records EachReceived reads at once.
const pageAtOnce = 50

// Owners calls f with each account that has an archive, until f returns false.
func (a *Archive) Owners(ctx context.Context, f func(owner string) bool) error {
	return a.o.Messages.Owners(ctx, f)
}

// received says whether an archived message is one that came, and not a copy of one that the account has sent, or what
// a retraction has left.
func received(s *xmpp.Stanza, owner string) bool {
	return (s.To.IsZero() || s.To.Bare().String() == owner) && !s.Has(retractedName)
}
