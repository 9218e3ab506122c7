package embedded

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
)

// The pages of the tree have no checksums, and those that nobody writes stay where they are. So their checksums lie
// beside it, of the last two states of the tree: a page that is in use in a state never changes. They are written after
// a merge, when all it says is durable; without them nothing is checked.
//
//	magic (4) | twice: transaction (8) | last journal (8) | checksum of its first frame (4) | pages (8) | of each (4),
//	0: not in use | CRC-32C of all before (4)
const (
	sumsName  = "store.sums"
	sumsMagic = "JDS1"
	// checkedAtOpen is how large a tree may be to be checked whenever it is opened; `verify` checks any.
	checkedAtOpen = 16 << 20
	// pagesAtOnce is how many pages are read at once, where so many follow each other.
	pagesAtOnce = 64
)

// A state is a tree as one transaction has left it.
type state struct {
	tx   uint64
	mark mark
	of   []uint32
}

// readMetas returns the states that a tree's file has, the newest first.
func readMetas(f file) (found []meta, err error) {
	b := make([]byte, pageHeader+metaBytes)
	for n, size := 0, 0; n < 2; n++ {
		if n == 1 {
			if size = os.Getpagesize(); len(found) > 0 {
				size = found[0].size
			}
		}
		if _, err := f.ReadAt(b, int64(n*size)); err != nil {
			return nil, err
		}
		if m, ok := readMeta(b); ok {
			found = append(found, m)
		}
	}
	slices.SortFunc(found, func(a, b meta) int { return cmp.Compare(b.tx, a.tx) })
	return found, nil
}

// A pageReader reads pages of the tree.
type pageReader struct {
	file   file
	size   int
	buffer []byte // of up to pagesAtOnce pages, once it is needed
}

// each calls f with the checksum of each wanted page.
func (r *pageReader) each(from, to int, wanted func(n int) bool, f func(n int, sum uint32)) error {
	for n := from; n < to; n++ {
		first := n
		for n < to && n-first < pagesAtOnce && wanted(n) {
			n++
		}
		if n == first {
			continue
		}
		if most := min(pagesAtOnce, to-from) * r.size; len(r.buffer) < most {
			r.buffer = make([]byte, most)
		}
		run := r.buffer[:(n-first)*r.size]
		if _, err := r.file.ReadAt(run, int64(first)*int64(r.size)); err != nil {
			return fmt.Errorf("pages %d to %d cannot be read: %w", first, n-1, err)
		}
		for i := range n - first {
			f(first+i, max(crc32.Checksum(run[i*r.size:(i+1)*r.size], castagnoli), 1))
		}
		n-- // of the next round
	}
	return nil
}

// compare returns an error that names the first wanted page that is not as its checksum says.
func (r *pageReader) compare(of []uint32, from, to int, wanted func(n int) bool) error {
	bad, first := 0, 0
	err := r.each(from, to, wanted, func(n int, sum uint32) {
		if sum != of[n] {
			if bad++; bad == 1 {
				first = n
			}
		}
	})
	if err == nil && bad > 0 {
		err = fmt.Errorf("%d of %d pages do not match their checksums, the first of them page %d at byte %d",
			bad, to-from, first, first*r.size)
	}
	return err
}

// freePages says of each page of a state whether it is free.
func (r *pageReader) freePages(m meta) ([]bool, error) {
	if m.pages > 1<<40/uint64(m.size) || m.free >= m.pages {
		return nil, errors.New("its first page names pages that cannot be")
	}
	page := make([]byte, m.size)
	if _, err := r.file.ReadAt(page, int64(m.free)*int64(m.size)); err != nil {
		return nil, err
	}
	if pageFlags(page) != pageFreelist {
		return nil, errors.New("its list of free pages is none")
	}
	goesOn := uint64(binary.NativeEndian.Uint32(page[12:]))
	if goesOn >= m.pages-m.free {
		return nil, errors.New("its list of free pages is too long")
	}
	all := make([]byte, (int(goesOn)+1)*m.size)
	if _, err := r.file.ReadAt(all, int64(m.free)*int64(m.size)); err != nil {
		return nil, err
	}
	ids, count := all[pageHeader:], uint64(binary.NativeEndian.Uint16(page[10:]))
	if count == 0xffff {
		count, ids = binary.NativeEndian.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return nil, errors.New("its list of free pages is too long")
	}
	free := make([]bool, m.pages)
	for i := range count {
		if id := binary.NativeEndian.Uint64(ids[i*8:]); id < m.pages {
			free[id] = true
		}
	}
	return free, nil
}

// sums returns the checksums of the pages of a state. Those in use in the state before, which may be nil, are taken
// from it.
func (r *pageReader) sums(m meta, before *state) ([]uint32, error) {
	free, err := r.freePages(m)
	if err != nil {
		return nil, err
	}
	of := make([]uint32, m.pages)
	if before != nil {
		copy(of, before.of)
	}
	for n, isFree := range free {
		if isFree {
			of[n] = 0
		}
	}
	fresh := func(n int) bool { return of[n] == 0 && !free[n] }
	return of, r.each(2, len(of), fresh, func(n int, sum uint32) { of[n] = sum })
}

// damagedPages returns an error that names the first page of a state that is not as its checksum says.
func damagedPages(f file, m meta, want *state) error {
	if uint64(len(want.of)) != m.pages {
		return fmt.Errorf("it has %d pages, and checksums of %d", m.pages, len(want.of))
	}
	r := pageReader{file: f, size: m.size}
	return r.compare(want.of, 2, len(want.of), func(n int) bool { return want.of[n] != 0 })
}

// writeSums notes the checksums of the state that the merge has just made. What the merge has read and written anew is
// compared first: a page that the disk has changed would get a checksum that is right.
func (e *engine) writeSums() error {
	metas, err := readMetas(e.treeFile)
	if err != nil || len(metas) == 0 || len(e.states) > 0 && e.states[0].tx == metas[0].tx {
		return err
	}
	next := state{tx: metas[0].tx, mark: e.merged}
	var before *state
	if len(e.states) > 0 && e.states[0].tx+1 == next.tx {
		before = &e.states[0]
	}
	r := pageReader{file: e.treeFile, size: metas[0].size}
	if next.of, err = r.sums(metas[0], before); err != nil {
		return err
	}
	if before != nil {
		replaced := func(n int) bool { return before.of[n] != 0 && next.of[n] == 0 }
		if err := r.compare(before.of, 2, len(before.of), replaced); err != nil {
			// Nothing will find these pages again: they are free.
			err = treeDamage(e.treePath, fmt.Errorf("the last merge has read what the disk had changed: %w", err))
			e.log.Error("the store is damaged; what can be read is served", "error", err)
		}
	}
	e.states = append([]state{next}, e.states[:min(len(e.states), 1)]...)
	b := []byte(sumsMagic)
	for i := range 2 {
		var s state
		if i < len(e.states) {
			s = e.states[i]
		}
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, s.tx), s.mark.number)
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(b, s.mark.first), uint64(len(s.of)))
		for _, sum := range s.of {
			b = binary.BigEndian.AppendUint32(b, sum)
		}
	}
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	path := filepath.Join(e.dir, sumsName)
	if err := e.files.remove(path + ".new"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := e.files.create(path + ".new")
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return e.files.rename(path+".new", path)
}

// readSums returns what writeSums has written.
func readSums(files fileSystem, dir string) (states []state, err error) {
	path := filepath.Join(dir, sumsName)
	b, err := readWhole(files, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(b) < 8 || string(b[:4]) != sumsMagic ||
		crc32.Checksum(b[:len(b)-4], castagnoli) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return nil, fmt.Errorf("%s is damaged", path)
	}
	b = b[:len(b)-4]
	for b = b[4:]; len(b) >= 28; {
		s := state{tx: binary.BigEndian.Uint64(b),
			mark: mark{binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint32(b[16:])}}
		n := binary.BigEndian.Uint64(b[20:])
		if b = b[28:]; n > uint64(len(b)/4) {
			return nil, fmt.Errorf("%s cannot be read; was it written by a later version?", path)
		}
		s.of = make([]uint32, n)
		for i := range s.of {
			s.of[i] = binary.BigEndian.Uint32(b[i*4:])
		}
		if b = b[n*4:]; n > 0 {
			states = append(states, s)
		}
	}
	return states, nil
}

func stateOf(states []state, tx uint64) *state {
	for i := range states {
		if states[i].tx == tx {
			return &states[i]
		}
	}
	return nil
}

// checkTree compares the newest state of a tree with its checksums, and returns those that it relies on. Where that
// state is damaged and the one before it is whole, with all the journals that have been merged since, it goes back to
// that one.
func checkTree(files fileSystem, dir string, log *slog.Logger, all bool) ([]state, error) {
	states, err := readSums(files, dir)
	if err != nil && !all {
		log.Warn("the checksums of the store cannot be read; it is not compared, and the next merge writes them anew",
			"error", err)
		err = nil
	}
	if err != nil || len(states) == 0 {
		return nil, err
	}
	path := filepath.Join(dir, treeName)
	f, err := files.open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // what was written is durable
	metas, err := readMetas(f)
	if err != nil || len(metas) == 0 {
		return nil, treeDamage(path, errors.Join(errors.New("both of its first pages are damaged"), err))
	}
	if len(metas) == 2 { // what is newer is of another tree
		states = slices.DeleteFunc(states, func(s state) bool { return s.tx > metas[0].tx })
	}
	var bad error
	before := metas[len(metas)-1]
	now := stateOf(states, metas[0].tx)
	switch {
	case len(metas) == 1 && (all || states[0].tx > metas[0].tx):
		bad, now = errors.New("one of its first two pages is damaged"), &states[0]
	case now == nil: // a crash came before they were written, or an earlier version was here
		return nil, nil
	case all || int(metas[0].pages)*metas[0].size <= checkedAtOpen:
		bad = damagedPages(f, metas[0], now)
	}
	if bad == nil {
		return states, nil
	}
	old := stateOf(states, before.tx)
	if all || old == nil || old == now || damagedPages(f, before, old) != nil ||
		!journalsSince(files, dir, old.mark, now.mark) {
		return nil, treeDamage(path, bad)
	}
	log.Error("the newest state of the store is damaged; going back to the one before it and the journals since: "+
		"nothing is lost; see to the disk", "file", path, "damage", bad)
	if len(metas) == 2 {
		if _, err := f.WriteAt(make([]byte, metas[0].size), int64(metas[0].tx%2)*int64(metas[0].size)); err != nil {
			return nil, err
		}
	}
	return []state{*old}, f.Sync()
}

// journalsSince says whether all journals are there that have been merged between two states.
func journalsSince(files fileSystem, dir string, from, to mark) bool {
	for n := from.number + 1; n <= to.number && from != to; n++ {
		f, err := files.open(filepath.Join(dir, fmt.Sprintf("%s%016x", filePrefix, n)))
		if err != nil || f.Close() != nil {
			return false
		}
	}
	return true
}
