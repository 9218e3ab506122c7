package archive

import (
	"context"
	"errors"
	"time"

	"jackdaw/modules/internal/mam"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

var (
	retractName   = xmpp.Name{Space: nsRetract, Local: "retract"}
	retractedName = xmpp.Name{Space: nsRetract, Local: "retracted"}
)

const (
	// lookBack is how many messages of a conversation are searched for one that is retracted, the newest first.
	lookBack = 500
	// lookAtOnce is how many are read in one step.
	lookAtOnce = 50
)

// retract replaces a message by a tombstone if the one just archived says so and comes from the same
// account (XEP-0424 §5, §6). The retraction itself stays. A message that is not found among
// the latest of the conversation stays as it is.
func (a *Archive) retract(n entry) {
	raw := n.stanza.ChildBytes(retractName)
	if raw == nil || n.stanza.ID == "" { // a tombstone must name the retraction
		return
	}
	el, err := xmpp.ParseElement(raw)
	if err != nil || el.Attr("id") == "" {
		return
	}
	r, original, err := a.find(n, el.Attr("id"))
	if err != nil || r == nil {
		if err != nil {
			a.o.Log.Warn("retracted message not looked for", "owner", n.owner, "error", err)
		}
		return
	}
	w := xmpp.NewWriter(nil).Start(nsRetract, "retracted").Attr("id", n.stanza.ID).
		Attr("stamp", xmpp.FormatTime(time.Now())).End()
	tombstone := xmpp.Stanza{Kind: xmpp.Message, Type: original.Type, ID: original.ID, From: original.From,
		To: original.To, Payload: w.Bytes()}
	// Whoever retracts is told nothing of it, so nobody waits for it.
	if _, err := a.o.Messages.Replace(context.Background(), n.owner.String(), r.ID,
		mam.AppendMessage(nil, &tombstone)); err != nil && !errors.Is(err, storage.ErrNotFound) {
		a.o.Log.Warn("retracted message stays archived", "owner", n.owner, "id", r.ID, "error", err)
	}
	a.gone(n.owner.String(), r.ID)
}

// find looks for a message of the author's with this id, in the conversation of the entry. A short way leads through
// its origin-id, which nearly always is the same and is remembered for a day.
func (a *Archive) find(n entry, id string) (*storage.Record, *xmpp.Stanza, error) {
	ctx, owner := context.Background(), n.owner.String()
	is := func(r *storage.Record) *xmpp.Stanza {
		s, err := mam.ReadMessage(r.Data)
		if err != nil || s.ID != id || !s.From.MatchesBare(n.author) || s.Has(retractName) || s.Has(retractedName) ||
			r.Peer != n.with.Bare().String() {
			return nil
		}
		return &s
	}
	r, _, err := a.o.Messages.Lookup(ctx, owner, n.dedupOf(id))
	switch {
	case err == nil:
		if s := is(&r); s != nil {
			return &r, s, nil
		}
	case !errors.Is(err, storage.ErrNotFound):
		return nil, nil, err
	}
	q := storage.Query{Peer: n.with.Bare().String(), Limit: lookAtOnce, Backward: true}
	for range lookBack / lookAtOnce {
		page, more, err := a.o.Messages.Page(ctx, owner, q)
		if err != nil {
			return nil, nil, err
		}
		for i := len(page) - 1; i >= 0; i-- {
			if s := is(&page[i]); s != nil {
				return &page[i], s, nil
			}
		}
		if !more {
			break
		}
		q.Before = page[0].ID
	}
	return nil, nil, nil
}

// dedupOf is what tells a message of the author's with this origin-id in the archive.
func (n *entry) dedupOf(originID string) string {
	key := router.OriginKey(n.author, originID)
	if n.author == n.owner && !n.with.MatchesBare(n.owner) {
		key = sentKey(n.with, key)
	}
	return key
}
