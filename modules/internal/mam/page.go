package mam

import (
	"context"
	"errors"
	"slices"

	"jackdaw/modules/internal/rsm"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

// Large messages must not fill the memory: pageBytes is where a page ends though more were asked for, and fewChunk
// how many records are read at once while they may be large.
const (
	pageBytes = 1 << 20
	fewChunk  = 10
	chunk     = 100
	small     = 10 << 10 // bytes of a record that is not large, on average
)

// An Archive is the log of one owner.
type Archive struct {
	Log   storage.Log
	Owner string
}

// A Match narrows a query down to one side of the conversations.
type Match struct {
	Peer string                     // only records of this peer; empty: all
	Also func(*storage.Record) bool // nil: no more
	// Page, if not nil, reads pages instead of the log. What it gives matches, but for Also.
	Page func(ctx context.Context, q storage.Query) ([]storage.Record, bool, error)
}

func (m *Match) page(ctx context.Context, a Archive, q storage.Query) ([]storage.Record, bool, error) {
	if m.Page != nil {
		return m.Page(ctx, q)
	}
	return a.Log.Page(ctx, a.Owner, q)
}

// A Page is what a query has found.
type Page struct {
	Records  []storage.Record // oldest first
	Complete bool             // no more of the result set lies beyond (§4.3.2)
	set      rsm.Answer
}

// limits are the exclusive ids between which a query finds something; 0 is open.
type limits struct{ after, before uint64 }

func (l *limits) narrow(after, before uint64) {
	l.after = max(l.after, after)
	if before != 0 && (l.before == 0 || before < l.before) {
		l.before = before
	}
}

func (l *limits) covers(id uint64) bool { return id > l.after && (l.before == 0 || id < l.before) }

func (l *limits) empty() bool { return l.before != 0 && l.before <= l.after+1 }

// Page finds at most limit records. The error is an *xmpp.Error for the client if the query cannot be
// answered, or one of storage.
func (q *Query) Page(ctx context.Context, a Archive, m Match, limit int) (*Page, error) {
	if q.page.Max >= 0 {
		limit = min(limit, q.page.Max)
	}
	l, err := q.limits(ctx, a)
	if err != nil {
		return nil, err
	}
	p := &Page{set: rsm.Answer{Index: -1, Count: -1}}
	if q.hasIDs {
		err = p.some(ctx, q, a, m, l, limit)
	} else {
		err = p.gather(ctx, q, a, m, l, limit)
	}
	if err != nil {
		return nil, err
	}
	if n := len(p.Records); n > 0 {
		p.set.First, p.set.Last = FormatID(p.Records[0].ID), FormatID(p.Records[n-1].ID)
	}
	if !q.filtered() && m.Also == nil && m.Peer == "" {
		err = p.count(ctx, q, a)
	}
	return p, err
}

// limits puts all that bounds a query together. An id that is given must be in the archive (§4.1.3, §4.3.2).
func (q *Query) limits(ctx context.Context, a Archive) (l limits, err error) {
	l = q.times
	for _, s := range [...]string{q.afterID, q.page.After} {
		if s != "" {
			id, err := a.known(ctx, s)
			if err != nil {
				return l, err
			}
			l.narrow(id, 0)
		}
	}
	for _, s := range [...]string{q.beforeID, q.page.Before} {
		if s != "" {
			id, err := a.known(ctx, s)
			if err != nil {
				return l, err
			}
			l.narrow(0, id)
		}
	}
	return l, nil
}

var errUnknownID = xmpp.ItemNotFound("there is no message with that id")

// known is the id of a record in the archive.
func (a Archive) known(ctx context.Context, s string) (uint64, error) {
	id, ok := parseID(s)
	if !ok {
		return 0, errUnknownID
	}
	_, err := a.get(ctx, id)
	return id, err
}

// get reads a record that a client has named.
func (a Archive) get(ctx context.Context, id uint64) (storage.Record, error) {
	r, err := a.Log.Get(ctx, a.Owner, id)
	if errors.Is(err, storage.ErrNotFound) {
		err = errUnknownID
	}
	return r, err
}

// gather reads from one end of the range, a chunk at a time, until the page is full.
func (p *Page) gather(ctx context.Context, q *Query, a Archive, m Match, l limits, limit int) error {
	seen, size := 0, 0
	for !l.empty() {
		n := fewChunk
		if seen > 0 && size/seen < small {
			n = chunk
		}
		if m.Also == nil {
			n = min(n, max(limit-len(p.Records), 1)) // 1: whether there is something
		}
		some, more, err := m.page(ctx, a, storage.Query{Peer: m.Peer, After: l.after, Before: l.before, Limit: n,
			Backward: q.page.Backward})
		if err != nil {
			return err
		}
		if len(some) == 0 {
			break
		}
		seen += len(some)
		for i := range some {
			size += len(some[i].Data)
		}
		if q.page.Backward {
			l.narrow(0, some[0].ID)
		} else {
			l.narrow(some[len(some)-1].ID, 0)
		}
		if m.Also != nil {
			some = slices.DeleteFunc(some, func(r storage.Record) bool { return !m.Also(&r) })
		}
		over := max(len(p.Records)+len(some)-limit, 0)
		if q.page.Backward {
			p.Records = slices.Concat(some[over:], p.Records)
		} else {
			p.Records = append(p.Records, some[:len(some)-over]...)
		}
		switch {
		case over > 0:
			return nil
		case !more:
			p.Complete = true
			return nil
		case len(p.Records) >= limit, len(p.Records) > 0 && size >= pageBytes:
			return nil
		}
	}
	p.Complete = true
	return nil
}

// some reads the records whose ids are given (§4.1.3), each of which must be there.
func (p *Page) some(ctx context.Context, q *Query, a Archive, m Match, l limits, limit int) error {
	var ids []uint64
	for _, s := range q.ids {
		id, ok := parseID(s)
		if !ok {
			return errUnknownID
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	matching := ids[:0]
	for _, id := range ids {
		r, err := a.get(ctx, id)
		if err != nil {
			return err
		}
		if l.covers(id) && (m.Peer == "" || m.Peer == r.Peer) && (m.Also == nil || m.Also(&r)) {
			matching = append(matching, id)
		}
	}
	if q.page.Backward {
		slices.Reverse(matching)
	}
	size := 0
	for i, id := range matching {
		if i == limit || size >= pageBytes {
			break
		}
		r, err := a.get(ctx, id)
		if err != nil {
			return err
		}
		size += len(r.Data)
		p.Records = append(p.Records, r)
	}
	p.Complete = len(p.Records) == len(matching)
	if q.page.Backward {
		slices.Reverse(p.Records)
	}
	return nil
}

// count fills in what is known of the whole archive without reading it (XEP-0059 §2.2, §2.7).
func (p *Page) count(ctx context.Context, q *Query, a Archive) error {
	n, _, err := a.Log.Size(ctx, a.Owner)
	if err != nil {
		return err
	}
	p.set.Count = n
	// COMPAT(slixmpp 1.8): a client that pages backward takes index plus length equal to count for the end, so the
	// last page, of which that is true, does not say its index.
	if q.page.After == "" && !q.page.Backward {
		p.set.Index = 0
	}
	return nil
}

// Fin is the payload of the result (§4, §4.3.2).
func (p *Page) Fin() []byte {
	w := xmpp.NewWriter(nil).Start(xmpp.NSMAM, "fin")
	if p.Complete {
		w.Attr("complete", "true")
	}
	p.set.Write(w)
	return w.End().Bytes()
}

// Metadata is the payload of the answer to a <metadata/> (§5).
func Metadata(ctx context.Context, a Archive) ([]byte, error) {
	w := xmpp.NewWriter(nil).Start(xmpp.NSMAM, "metadata")
	for _, end := range [...]struct {
		name     string
		backward bool
	}{{"start", false}, {"end", true}} {
		one, _, err := a.Log.Page(ctx, a.Owner, storage.Query{Limit: 1, Backward: end.backward})
		if err != nil {
			return nil, err
		}
		if len(one) > 0 {
			w.Start("", end.name).Attr("id", FormatID(one[0].ID)).Attr("timestamp", xmpp.FormatTime(timeOf(one[0].ID))).End()
		}
	}
	return w.End().Bytes(), nil
}
