package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
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
			if size = pageSize(found); size == 0 {
				break // as bbolt has it, the first tells where the second is
			}
		}
		if _, err := f.ReadAt(b, int64(n*size)); err != nil {
			return nil, err
		}
		if m, ok := readMeta(b); ok {
			found = append(found, m)
		}
	}
	slices.SortFunc(found, func(a, b meta) int { return int(b.tx) - int(a.tx) })
	return found, nil
}

func pageSize(found []meta) int {
	if len(found) == 0 {
		return 4096
	}
	return found[0].size
}

// sumPages returns the checksums of the pages of a state. Those in use in the state before, if it is that, are taken from it.
func sumPages(f file, m meta, before *state) ([]uint32, error) {
	if m.pages > 1<<40/uint64(m.size) || m.free >= m.pages {
		return nil, errors.New("its first page names pages that cannot be")
	}
	page := make([]byte, m.size)
	free := make([]bool, m.pages)
	if _, err := f.ReadAt(page, int64(m.free)*int64(m.size)); err != nil {
		return nil, err
	}
	if pageFlags(page) != pageFreelist {
		return nil, errors.New("its list of free pages is none")
	}
	all := make([]byte, (int(binary.NativeEndian.Uint32(page[12:]))+1)*m.size)
	if len(all) > int(m.pages)*m.size {
		return nil, errors.New("its list of free pages is too long")
	}
	if _, err := f.ReadAt(all, int64(m.free)*int64(m.size)); err != nil {
		return nil, err
	}
	ids, count := all[pageHeader:], int(binary.NativeEndian.Uint16(page[10:]))
	if count == 0xffff {
		count, ids = int(binary.NativeEndian.Uint64(ids)), ids[8:]
	}
	if count > len(ids)/8 {
		return nil, errors.New("its list of free pages is too long")
	}
	for i := range count {
		if id := binary.NativeEndian.Uint64(ids[i*8:]); id < m.pages {
			free[id] = true
		}
	}
	of := make([]uint32, m.pages)
	if before != nil && before.tx+1 == m.tx {
		copy(of, before.of)
	}
	for n, isFree := range free {
		if isFree {
			of[n] = 0
		}
	}
	run := make([]byte, min(pagesAtOnce, len(of))*m.size)
	for n := 2; n < len(of); n++ {
		first := n
		for n < len(of) && n-first < pagesAtOnce && of[n] == 0 && !free[n] {
			n++
		}
		if n == first {
			continue
		}
		if _, err := f.ReadAt(run[:(n-first)*m.size], int64(first)*int64(m.size)); err != nil {
			return nil, fmt.Errorf("pages %d to %d: %w", first, n-1, err)
		}
		for i := range n - first {
			of[first+i] = max(crc32.Checksum(run[i*m.size:(i+1)*m.size], castagnoli), 1)
		}
		n-- // of the next round
	}
	return of, nil
}

// damagedPages returns an error that names the first page that is not as its checksum says.
func damagedPages(f file, m meta, want *state) error {
	got, err := sumPages(f, m, nil)
	if err != nil {
		return err
	}
	bad, first := 0, 0
	for n := range got {
		if n >= len(want.of) || got[n] != want.of[n] {
			if bad++; bad == 1 {
				first = n
			}
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d pages do not match their checksums, the first of them page %d at byte %d", bad, len(got), first, first*m.size)
	}
	return nil
}

// writeSums notes the checksums of the state that the merge has just made.
func (e *engine) writeSums() error {
	metas, err := readMetas(e.treeFile)
	if err != nil || len(metas) == 0 || len(e.states) > 0 && e.states[0].tx == metas[0].tx {
		return err
	}
	next := state{tx: metas[0].tx, mark: e.merged}
	var before *state
	if len(e.states) > 0 {
		before = &e.states[0]
	}
	if next.of, err = sumPages(e.treeFile, metas[0], before); err != nil {
		return err
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

// readSums returns what writeSums has written, nothing if it is not whole.
func readSums(files fileSystem, dir string) (states []state, err error) {
	b, err := readWhole(files, filepath.Join(dir, sumsName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil || len(b) < 8 || string(b[:4]) != sumsMagic {
		return nil, err
	}
	b, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(b, castagnoli) != sum {
		return nil, nil
	}
	for b = b[4:]; len(b) >= 28; {
		s := state{tx: binary.BigEndian.Uint64(b), mark: mark{binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint32(b[16:])}}
		n := binary.BigEndian.Uint64(b[20:])
		if b = b[28:]; n > uint64(len(b)/4) {
			return nil, nil
		}
		for i := range int(n) {
			s.of = append(s.of, binary.BigEndian.Uint32(b[i*4:]))
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

// checkTree compares the newest state of a tree with its checksums. Where that is damaged and the state before it is
// whole, with all the journals that have been merged since, it goes back to that one.
func checkTree(files fileSystem, dir string, log *slog.Logger, all bool) ([]state, error) {
	states, err := readSums(files, dir)
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
	now := stateOf(states, metas[0].tx)
	if now == nil || !all && int(metas[0].pages)*metas[0].size > checkedAtOpen {
		return states, nil
	}
	bad := damagedPages(f, metas[0], now)
	if bad == nil {
		return states, nil
	}
	if len(metas) < 2 || all {
		return nil, treeDamage(path, bad)
	}
	before := stateOf(states, metas[1].tx)
	if before == nil || damagedPages(f, metas[1], before) != nil || !journalsSince(files, dir, before.mark, now.mark) {
		return nil, treeDamage(path, bad)
	}
	log.Error("the newest state of the store is damaged; going back to the one before it and the journals since: nothing is lost; see to the disk",
		"file", path, "damage", bad)
	if _, err := f.WriteAt(make([]byte, metas[0].size), int64(metas[0].tx%2)*int64(metas[0].size)); err != nil {
		return nil, err
	}
	return []state{*before}, f.Sync()
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
