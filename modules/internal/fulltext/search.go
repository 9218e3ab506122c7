package fulltext

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sort"

	"jackdaw/storage"
)

// Errors of NewSearch and Page.
var (
	// ErrNoWords says that a text has no word that could be found.
	ErrNoWords = errors.New("no word to look for")
	// ErrBehind says that very many messages are not in the index yet.
	ErrBehind = errors.New("the index is being made")
)

// stepsOfSearch is how many steps a search makes before it has its answer, if the index is behind.
const stepsOfSearch = 4

// A Search looks for messages of one owner. It is for one goroutine.
type Search struct {
	x       *Index
	owner   string
	words   []string // that a message must have
	lists   []string // those that are looked up in the index, with that of the peer
	peer    string
	caught  bool // segments have been made of what there was
	of      part // the segment whose matches are known
	matches []uint64
}

// NewSearch makes a search for messages that have all words of a text and, if peer is not empty, that peer.
func (x *Index) NewSearch(owner, text, peer string) (*Search, error) {
	s := &Search{x: x, owner: owner, words: words(text, true), peer: peer}
	if len(s.words) == 0 {
		return nil, ErrNoWords
	}
	s.words = s.words[:min(len(s.words), mostSought)]
	s.lists = slices.Clone(s.words)
	// Long words are rare.
	slices.SortStableFunc(s.lists, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	s.lists = s.lists[:min(len(s.lists), mostLists)]
	if peer != "" {
		s.lists = append(s.lists, peerWord(peer))
	}
	return s, nil
}

// Matches says whether a message is one that is looked for.
func (s *Search) Matches(r *storage.Record) bool {
	if s.peer != "" && r.Peer != s.peer {
		return false
	}
	has := set{all: words(s.x.Text(r), false)}
	if len(has.all) > few {
		has.more = make(map[string]struct{}, len(has.all))
		for _, w := range has.all {
			has.more[w] = struct{}{}
		}
	}
	return !slices.ContainsFunc(s.words, func(w string) bool { return !has.has(w) })
}

// Page answers as storage.Log.Page does, with what is found. The peer of the query is not looked at.
func (s *Search) Page(ctx context.Context, q storage.Query) (records []storage.Record, more bool, err error) {
	// A segment that has become one with others meanwhile is not there any more, but the list says where they are.
	for range tries {
		switch records, more, err = s.page(ctx, q); {
		case errors.Is(err, errTail):
			err = s.catchUp(ctx)
			if s.caught = true; err != nil {
				return nil, false, err
			}
		case !errors.Is(err, storage.ErrNotFound):
			if errors.Is(err, errRecord) {
				err = s.mend(ctx, err)
			}
			return records, more, err
		}
	}
	return nil, false, s.mend(ctx, err)
}

// tries is how often a page is begun anew.
const tries = 5

// errTail says that many messages would have to be read because they are in no segment.
var errTail = errors.New("many messages are in no segment")

// catchUp makes segments of what is in none.
func (s *Search) catchUp(ctx context.Context) error {
	defer s.x.hold(s.owner)()
	for range stepsOfSearch {
		more, err := s.x.step(ctx, s.owner, largeTail)
		if err != nil {
			return s.x.mend(ctx, s.owner, err)
		}
		if !more {
			return nil
		}
	}
	s.x.Grown(s.owner)
	return ErrBehind
}

func (s *Search) mend(ctx context.Context, err error) error {
	defer s.x.hold(s.owner)()
	return s.x.mend(ctx, s.owner, err)
}

func (s *Search) page(ctx context.Context, q storage.Query) (found []storage.Record, more bool, err error) {
	st, err := s.x.state(ctx, s.owner)
	if err != nil {
		return nil, false, err
	}
	limit := q.Limit
	if limit == 0 {
		limit = 100
	}
	// One more than is asked for tells whether there is more.
	g := gathering{s: s, q: q, most: limit + 1}
	if g.q.Backward {
		err = g.tail(ctx, st.mark)
		for i := len(st.parts) - 1; i >= 0 && err == nil && !g.full(); i-- {
			err = g.part(ctx, st.parts[i])
		}
	} else {
		for i := 0; i < len(st.parts) && err == nil && !g.full(); i++ {
			err = g.part(ctx, st.parts[i])
		}
		if err == nil {
			err = g.tail(ctx, st.mark)
		}
	}
	if err != nil {
		return nil, false, err
	}
	if more = len(g.found) > limit; more {
		g.found = g.found[:limit]
	}
	if q.Backward {
		slices.Reverse(g.found)
	}
	return g.found, more, nil
}

// A gathering is a page while it is being found, in the order in which it is.
type gathering struct {
	s     *Search
	q     storage.Query
	most  int
	found []storage.Record
}

func (g *gathering) full() bool { return len(g.found) >= g.most }

// tail looks through the messages that are in no segment.
func (g *gathering) tail(ctx context.Context, mark uint64) error {
	q := storage.Query{After: max(g.q.After, mark), Before: g.q.Before, Peer: g.s.peer, Limit: pageMessages,
		Backward: g.q.Backward}
	read, size := 0, 0
	for more := true; more && !g.full() && (q.Before == 0 || q.Before > q.After+1); {
		if (read > largeTail || size > largeTailBytes) && !g.s.caught {
			return errTail
		}
		var page []storage.Record
		var err error
		if page, more, err = g.s.x.Source.Page(ctx, g.s.owner, q); err != nil || len(page) == 0 {
			return err
		}
		if q.Backward {
			q.Before = page[0].ID
			slices.Reverse(page)
		} else {
			q.After = page[len(page)-1].ID
		}
		for i := range page {
			read, size = read+1, size+len(page[i].Data)
			if !g.full() && g.s.Matches(&page[i]) {
				g.found = append(g.found, page[i])
			}
		}
	}
	return nil
}

// part looks into one segment.
func (g *gathering) part(ctx context.Context, p part) error {
	if p.last <= g.q.After || g.q.Before != 0 && p.first >= g.q.Before {
		return nil
	}
	ids, err := g.s.in(ctx, p)
	if err != nil {
		return err
	}
	lo := sort.Search(len(ids), func(i int) bool { return ids[i] > g.q.After })
	hi := len(ids)
	if g.q.Before != 0 {
		hi = sort.Search(len(ids), func(i int) bool { return ids[i] >= g.q.Before })
	}
	for n := lo; n < hi && !g.full(); n++ {
		id := ids[n]
		if g.q.Backward {
			id = ids[hi-1-(n-lo)]
		}
		r, err := g.s.x.Source.Get(ctx, g.s.owner, id)
		switch {
		case errors.Is(err, storage.ErrNotFound): // it has gone since
		case err != nil:
			return err
		case g.s.Matches(&r):
			g.found = append(g.found, r)
		}
	}
	return nil
}

// in are the ids of the messages in a segment that have all words.
func (s *Search) in(ctx context.Context, p part) ([]uint64, error) {
	if s.of == p {
		return s.matches, nil
	}
	r, err := s.x.root(ctx, s.owner, p)
	if err != nil {
		return nil, err
	}
	var common []uint32
	for i, w := range s.lists {
		list, err := s.x.list(ctx, s.owner, r, w)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			common = list
		} else {
			common = intersect(common, list)
		}
		if len(common) == 0 {
			break
		}
	}
	matches := make([]uint64, 0, len(common))
	var ids []uint64
	for i, at := -1, 0; at < len(common); at++ {
		n := int(common[at])
		if n/chunkIDs != i {
			if i = n / chunkIDs; i >= len(r.chunks) {
				return nil, bad(p.root)
			}
			if ids, err = s.x.chunk(ctx, s.owner, r.chunks[i]); err != nil {
				return nil, err
			}
		}
		if n%chunkIDs >= len(ids) {
			return nil, bad(p.root)
		}
		matches = append(matches, ids[n%chunkIDs])
	}
	s.of, s.matches = p, matches
	return matches, nil
}

// intersect returns what two rising lists have in common, in the place of the first.
func intersect(a, b []uint32) []uint32 {
	out := a[:0]
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] < b[j]:
			i++
		case a[i] > b[j]:
			j++
		default:
			out = append(out, a[i])
			i, j = i+1, j+1
		}
	}
	return out
}
