package portable

import (
	"cmp"
	"slices"
)

// A Report says what an import has brought, or would bring.
type Report struct {
	Dry      bool    `json:"dry_run"`
	Accounts Count   `json:"accounts"`
	Things   []Count `json:"things"` // by what they are
	Lost     []Loss  `json:"lost"`   // what cannot come
}

// A Count is of one kind of thing.
type Count struct {
	What  string `json:"what"`
	Came  int    `json:"came"`
	There int    `json:"there"` // already, and left as it was
	Lost  int    `json:"lost"`
}

// A Loss is what cannot come for one reason.
type Loss struct {
	What  string `json:"what"`
	Why   string `json:"why"`
	Where string `json:"where"` // the first of them: an account
	Times int    `json:"times"`
}

// maxLosses bounds the reasons that are told apart.
const maxLosses = 1000

func (r *Report) count(what string) *Count {
	for i := range r.Things {
		if r.Things[i].What == what {
			return &r.Things[i]
		}
	}
	r.Things = append(r.Things, Count{What: what})
	return &r.Things[len(r.Things)-1]
}

// lose notes that something cannot come.
func (r *Report) lose(what, where, why string) { r.loseTimes(what, where, why, 1) }

func (r *Report) loseTimes(what, where, why string, times int) {
	if len(why) > 300 {
		why = why[:300]
	}
	for i := range r.Lost {
		if l := &r.Lost[i]; l.What == what && l.Why == why {
			l.Times += times
			return
		}
	}
	if len(r.Lost) >= maxLosses {
		last := &r.Lost[len(r.Lost)-1]
		last.What, last.Why, last.Where = "other things", "for other reasons", ""
		last.Times += times
		return
	}
	r.Lost = append(r.Lost, Loss{what, why, where, times})
}

func (r *Report) sort() {
	slices.SortFunc(r.Things, func(a, b Count) int { return cmp.Compare(a.What, b.What) })
	if r.Things == nil {
		r.Things = []Count{} // not null in JSON
	}
	if r.Lost == nil {
		r.Lost = []Loss{}
	}
}

// Merge adds what another node says of its part of the same file.
func (r *Report) Merge(other *Report) {
	if other == nil {
		return
	}
	r.Accounts.add(other.Accounts)
	for _, c := range other.Things {
		r.count(c.What).add(c)
	}
	for _, l := range other.Lost {
		r.loseTimes(l.What, l.Where, l.Why, l.Times)
	}
	r.sort()
}

func (c *Count) add(other Count) {
	c.Came, c.There, c.Lost = c.Came+other.Came, c.There+other.There, c.Lost+other.Lost
}
