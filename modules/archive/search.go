package archive

import (
	"context"
	"errors"
	"sync/atomic"

	"jackdaw/modules/internal/fulltext"
	"jackdaw/modules/internal/mam"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A search is what messages are found by (XEP-0431). A nil one finds nothing.
type search struct {
	*fulltext.Index
	wanted func() bool
	// active is what wanted has said last. Messages on their way ask for this alone, so that a search that is turned off
	// costs them nothing.
	active atomic.Bool
}

func newSearch(o Options) *search {
	if o.Segments == nil {
		return nil
	}
	s := &search{wanted: func() bool { return o.Limits().Search }}
	s.Index = fulltext.New(fulltext.Options{Source: o.Messages, Segments: o.Segments, Lists: o.Lists, Text: said,
		Most: func() int64 { return o.Limits().Index }, On: s.on,
		Full: func() bool { return o.Full != nil && o.Full() }, Here: o.Router.Here, Log: o.Log})
	s.on()
	return s
}

// on says whether messages are found by what they say.
func (s *search) on() bool {
	if s == nil {
		return false
	}
	on := s.wanted()
	s.active.Store(on)
	return on
}

// said is what a message says: its bodies and subjects in all languages. What is encrypted says nothing here; the body
// beside it only tells clients that cannot read it.
func said(r *storage.Record) string {
	s, err := mam.ReadMessage(r.Data)
	if err != nil {
		return ""
	}
	var text string
	for _, c := range xmpp.Index(s.Payload) {
		switch {
		case xmpp.Encrypted(c.Name):
			return ""
		case c.Name.Space == xmpp.NSClient && (c.Name.Local == "body" || c.Name.Local == "subject"):
			el, err := xmpp.ParseElement(s.Payload[c.Start:c.End])
			if err != nil {
				continue
			}
			if text != "" {
				text += "\n"
			}
			text += el.Text()
		}
	}
	return text
}

// find narrows a match down to messages with all words of a query's text.
func (s *search) find(m *mam.Match, owner jid.JID, q *mam.Query) *xmpp.Error {
	one, err := s.NewSearch(owner.String(), q.Text, m.Peer)
	if err != nil {
		return xmpp.BadRequest("a search needs a word of two letters at least")
	}
	if q.HasIDs() { // they are read one by one
		also := m.Also
		m.Also = func(r *storage.Record) bool { return one.Matches(r) && (also == nil || also(r)) }
		return nil
	}
	m.Page = func(ctx context.Context, q storage.Query) ([]storage.Record, bool, error) {
		found, more, err := one.Page(ctx, q)
		if errors.Is(err, fulltext.ErrBehind) {
			err = xmpp.ResourceConstraint("the archive is being made ready for searches, try again in a moment").
				WithType(xmpp.ErrorWait)
		}
		return found, more, err
	}
	return nil
}

// grown and gone tell the index of what has come, and of what was taken out or replaced.
func (s *search) grown(owner string) {
	if s != nil && s.active.Load() {
		s.Grown(owner)
	}
}

func (a *Archive) gone(owner string, id uint64) {
	if a.search == nil || !a.search.active.Load() {
		return
	}
	if err := a.search.Gone(context.Background(), owner, id); err != nil {
		a.o.Log.Warn("words of a message that is gone stay in the index for now", "owner", owner, "id", id, "error", err)
	}
}

// features are those of an account that depend on what is turned on.
func (a *Archive) features() []string {
	if a.search.on() {
		return []string{mam.FeatureSearch}
	}
	return nil
}
