package embedded

import (
	"errors"
	"time"
)

// While the server runs, all pages of the tree are compared with their checksums again and again, some at a time. A
// page that nobody writes would else be found damaged by whoever needs it, or not at all.

const (
	// inspectEvery is how often some pages are compared, inspectAll in what time all of them are.
	inspectEvery = time.Minute
	inspectAll   = 24 * time.Hour
	// leastInspected is how many at least: a small tree is done sooner.
	leastInspected = 256
	// longestInspection is how long merges may have to wait for one turn: a slow disk takes more than inspectAll for
	// all.
	longestInspection = time.Second
)

// inspectNext runs once in a while. Where there are many writes, the next merge does it when it is done.
func (e *engine) inspectNext() {
	e.mu.Lock()
	turn := !e.running && !e.merging && !e.closed.Load() && e.err == nil
	if turn {
		e.merging = true // no page changes meanwhile
	}
	e.mu.Unlock()
	if turn {
		e.inspect()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if turn {
		e.endMerge()
		e.fill()
		e.changed.Broadcast()
	}
	if !e.closed.Load() {
		e.inspecting.Reset(e.inspectEvery)
	}
}

// inspect compares the next pages. The caller has the turn of a merge.
func (e *engine) inspect() {
	e.inspected = time.Now()
	metas, err := readMetas(e.treeFile)
	if err == nil && len(metas) < 2 {
		err = errors.New("one of its first two pages is not whole")
	}
	if err != nil {
		e.treeDamaged(treeDamage(e.treePath, err))
		return
	}
	if len(e.states) == 0 || e.states[0].tx != metas[0].tx {
		return // it has no checksums, of which writeSums has told
	}
	of := e.states[0].of
	if e.nextPage >= len(of) {
		e.nextPage = 0
	}
	r := pageReader{file: e.treeFile, size: metas[0].size}
	to := min(e.nextPage+max(leastInspected, len(of)/int(inspectAll/inspectEvery)), len(of))
	for e.nextPage < to && !e.closed.Load() && time.Since(e.inspected) < longestInspection {
		from := e.nextPage
		e.nextPage = min(from+pagesAtOnce, to)
		if err := r.compare(of, from, e.nextPage, func(n int) bool { return of[n] != 0 }); err != nil {
			e.treeDamaged(treeDamage(e.treePath, err))
		}
	}
}
