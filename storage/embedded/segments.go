package embedded

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"
)

// segments are files beside the tree that are only appended to, and hold full blocks of records: a block that will
// hardly change need not go through the pages of a tree, which are copied again and again. In its place the tree holds
// where it is, and its checksum.
//
// A block begins at a multiple of segmentPage. When nothing refers to it any more its place is given back to the file
// system, and reads as zeros; when a file holds no block that is referred to, it is removed. Places are never used
// twice.
//
//	g  segments        number → format, bytes written, bytes referred to; the sequence of the bucket is the last number
//	d  given back      number, offset → bytes: places that the last merge left, for the next Open if this run ends before
type segments struct {
	dir   string
	files fileSystem
	names names

	// reading is held by whoever reads blocks through a transaction. Places are given back when all have ended that may
	// know of them.
	reading sync.RWMutex

	mu   sync.Mutex // guards open
	open map[uint32]file

	unfinished atomic.Bool // due or fresh hold something
	damages    damages

	// The rest is for merges, of which there is one at a time.
	rows  map[uint32]segment
	last  uint32
	out   file     // the last segment; nil: not open
	fresh leavings // what the last merge has freed
	due   leavings // what those before have freed, to be given back
	left  []ref    // rows of bucket d that are done with
	buf   []byte   // of place
}

// leavings are places of blocks, and segments, to which nothing refers.
type leavings struct {
	blocks []ref
	files  []uint32
}

func (l *leavings) empty() bool { return len(l.blocks)+len(l.files) == 0 }

// A segment is what the tree knows of one file.
type segment struct{ size, live int64 }

// A ref is where a block lies.
type ref struct {
	segment uint32
	at      int64
	size    int
	sum     uint32
	last    uint64 // the id of its last record
}

const (
	segmentPrefix = "records-"
	segmentFormat = 1
	segmentPage   = 4 << 10
	// segmentBytes is where a segment ends, segmentBuffer what is written to it at once.
	segmentBytes  = 64 << 20
	segmentBuffer = 256 << 10
	// openSegments bounds the files that are kept open for readers.
	openSegments = 32
)

// padded is how many bytes the block takes in its file, which are whole pages.
func (r ref) padded() int64 { return (int64(r.size) + segmentPage - 1) / segmentPage * segmentPage }

// append is what the tree holds of a block in a segment; id is that of its key.
func (r ref) append(dst []byte, id uint64) []byte {
	dst = append(dst, blockElsewhere)
	dst = binary.BigEndian.AppendUint32(dst, r.segment)
	dst = binary.BigEndian.AppendUint32(dst, r.sum)
	dst = binary.AppendUvarint(dst, uint64(r.at))
	dst = binary.AppendUvarint(dst, uint64(r.size))
	return binary.AppendUvarint(dst, r.last-id)
}

// readRef reads what append has written; ok is false for a block that is in the tree itself.
func readRef(b []byte, id uint64) (r ref, ok bool, err error) {
	if len(b) == 0 || b[0] != blockElsewhere {
		return ref{}, false, nil
	}
	if len(b) < 9 {
		return ref{}, false, errBadBlock
	}
	r.segment, r.sum = binary.BigEndian.Uint32(b[1:]), binary.BigEndian.Uint32(b[5:])
	b = b[9:]
	var n [3]uint64
	for i := range n {
		v, w := binary.Uvarint(b)
		if w <= 0 {
			return ref{}, false, errBadBlock
		}
		n[i], b = v, b[w:]
	}
	if len(b) > 0 || n[0] > 1<<62 || n[1] > 1<<31 || n[1] == 0 {
		return ref{}, false, errBadBlock
	}
	r.at, r.size, r.last = int64(n[0]), int(n[1]), id+n[2]
	return r, true, nil
}

func (s *segments) path(number uint32) string {
	return filepath.Join(s.dir, fmt.Sprintf("%s%08x", segmentPrefix, number))
}

func segmentKey(number uint32) []byte { return binary.BigEndian.AppendUint32(nil, number) }

func (r ref) key() []byte { return binary.BigEndian.AppendUint64(segmentKey(r.segment), uint64(r.at)) }

// readSegment reads what the tree knows of a segment.
func readSegment(k, v []byte) (segment, error) {
	if len(k) != 4 || len(v) != 17 || v[0] != segmentFormat {
		return segment{}, fmt.Errorf("read segment %x: %w", k, errBadBlock)
	}
	return segment{int64(binary.BigEndian.Uint64(v[1:])), int64(binary.BigEndian.Uint64(v[9:]))}, nil
}

// load reads what the tree knows, finishes what the last run has left, and checks that the files are there.
func (s *segments) load(e *engine) error {
	s.rows, s.open = map[uint32]segment{}, map[uint32]file{}
	err := e.read(func(tx *bbolt.Tx) error {
		if b := tx.Bucket([]byte("g")); b != nil {
			s.last = uint32(b.Sequence())
			err := b.ForEach(func(k, v []byte) error {
				row, err := readSegment(k, v)
				if err == nil {
					s.rows[binary.BigEndian.Uint32(k)] = row
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		b := tx.Bucket([]byte("d"))
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, v []byte) error {
			if len(k) != 12 || len(v) != 8 {
				return fmt.Errorf("read room to give back, %x: %w", k, errBadBlock)
			}
			at, size := binary.BigEndian.Uint64(k[4:]), binary.BigEndian.Uint64(v)
			s.left = append(s.left, ref{segment: binary.BigEndian.Uint32(k), at: int64(at), size: int(size)})
			return nil
		})
	})
	if err != nil {
		return err
	}
	entries, err := s.files.readDir(s.dir)
	if err != nil {
		return err
	}
	found := map[uint32]bool{}
	for _, entry := range entries {
		digits, ok := strings.CutPrefix(entry.Name(), segmentPrefix)
		if !ok {
			continue
		}
		number, err := strconv.ParseUint(digits, 16, 32)
		if err != nil {
			return fmt.Errorf("read the name of segment %s: %w", entry.Name(), err)
		}
		row, ok := s.rows[uint32(number)]
		if !ok { // a crash came before the merge was done, or after the segment was given up
			if err := s.files.remove(filepath.Join(s.dir, entry.Name())); err != nil {
				return err
			}
			continue
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Size() < row.size {
			return fmt.Errorf("%s has %d bytes instead of %d; restore the directory from a backup",
				s.path(uint32(number)), info.Size(), row.size)
		}
		found[uint32(number)] = true
	}
	for number := range s.rows {
		if !found[number] {
			return fmt.Errorf("%s is missing; restore the directory from a backup", s.path(number))
		}
	}
	return s.erase(slices.DeleteFunc(slices.Clone(s.left), func(r ref) bool { return !found[r.segment] }))
}

// erase gives the room of blocks back. It sorts them.
func (s *segments) erase(blocks []ref) error {
	slices.SortFunc(blocks, func(a, b ref) int {
		return cmp.Or(cmp.Compare(a.segment, b.segment), cmp.Compare(a.at, b.at))
	})
	for len(blocks) > 0 {
		n := 1
		for n < len(blocks) && blocks[n].segment == blocks[0].segment {
			n++
		}
		if err := s.eraseIn(blocks[0].segment, blocks[:n]); err != nil {
			return err
		}
		blocks = blocks[n:]
	}
	return nil
}

// eraseIn is erase for sorted blocks of one segment.
func (s *segments) eraseIn(number uint32, blocks []ref) error {
	f, err := s.files.open(s.path(number))
	if err != nil {
		return err
	}
	for len(blocks) > 0 && err == nil {
		from, to := blocks[0].at, blocks[0].at+blocks[0].padded()
		for blocks = blocks[1:]; len(blocks) > 0 && blocks[0].at == to; blocks = blocks[1:] {
			to += blocks[0].padded()
		}
		if err = f.Punch(from, to-from); err == nil {
			continue
		}
		// The room stays taken until all of the file is given up, but the data are gone.
		for err = nil; from < to && err == nil; from += segmentPage {
			_, err = f.WriteAt(zeros[:segmentPage], from)
		}
	}
	return errors.Join(err, f.Close())
}

// read returns a block, in buffer if that is large enough. The caller holds reading, or is the merge.
func (s *segments) read(r ref, buffer []byte) ([]byte, error) {
	b := slices.Grow(buffer[:0], r.size)[:r.size]
	for {
		f, err := s.file(r.segment)
		if err != nil {
			return nil, err
		}
		if _, err = f.ReadAt(b, r.at); errors.Is(err, fs.ErrClosed) {
			continue // others needed files, too
		} else if err != nil {
			return nil, errDamaged(s.path(r.segment), r.at, err.Error())
		}
		if crc32.Checksum(b, castagnoli) != r.sum {
			return nil, errDamaged(s.path(r.segment), r.at, "it does not match its checksum")
		}
		return b, nil
	}
}

// file returns a segment for reading.
func (s *segments) file(number uint32) (file, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.open[number]; f != nil {
		return f, nil
	}
	f, err := s.files.open(s.path(number))
	if err != nil {
		return nil, err
	}
	if len(s.open) >= openSegments {
		for other := range s.open { // any
			s.forget(other)
			break
		}
	}
	s.open[number] = f
	return f, nil
}

// forget closes a segment for reading. The caller holds mu.
func (s *segments) forget(number uint32) {
	if f := s.open[number]; f != nil {
		f.Close() // it was only read
		delete(s.open, number)
	}
}

func (s *segments) close() (err error) {
	if s.out != nil {
		err = s.out.Close()
		s.out = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for number := range s.open {
		s.forget(number)
	}
	return err
}

// A placer puts the blocks of one merge into segments. Nothing of it counts before the transaction has been committed.
type placer struct {
	*segments
	tx      *bbolt.Tx
	changed map[uint32]segment
	freed   []ref
	start   int64 // of what is in buf
	used    bool  // out has been written to
}

func (s *segments) begin(tx *bbolt.Tx) *placer {
	s.buf = s.buf[:0]
	return &placer{segments: s, tx: tx, changed: map[uint32]segment{}}
}

// row is what is going to be known of a segment.
func (p *placer) row(number uint32) segment {
	if row, ok := p.changed[number]; ok {
		return row
	}
	return p.rows[number]
}

// place puts a block into a segment. Its bytes are copied.
func (p *placer) place(b []byte, last uint64) (ref, error) {
	row := p.row(p.last)
	if row.size == 0 || row.size >= segmentBytes {
		if err := p.next(); err != nil {
			return ref{}, err
		}
		row = segment{}
	}
	if p.out == nil { // the first since the start
		var err error
		if p.out, err = p.files.create(p.path(p.last)); err != nil {
			return ref{}, err
		}
	}
	if len(p.buf) == 0 {
		p.start = row.size
	}
	r := ref{p.last, row.size, len(b), crc32.Checksum(b, castagnoli), last}
	p.buf = append(p.buf, b...)
	var padding [segmentPage]byte
	p.buf = append(p.buf, padding[:int(r.padded())-len(b)]...)
	p.changed[p.last] = segment{row.size + r.padded(), row.live + r.padded()}
	if len(p.buf) >= segmentBuffer {
		return r, p.flush()
	}
	return r, nil
}

// next begins a segment.
func (p *placer) next() error {
	if err := p.closeOut(); err != nil {
		return err
	}
	b, err := p.tx.CreateBucketIfNotExists([]byte("g"))
	if err != nil {
		return err
	}
	number, err := b.NextSequence()
	if err != nil {
		return err
	}
	if number > 1<<32-1 {
		return errors.New("no more segments can be numbered")
	}
	p.last = uint32(number)
	if p.out, err = p.files.create(p.path(p.last)); err != nil {
		return err
	}
	return p.names.sync()
}

// closeOut closes the segment that is being written.
func (p *placer) closeOut() error {
	if p.out == nil {
		return nil
	}
	err := p.sync()
	err = errors.Join(err, p.out.Close())
	p.out = nil
	return err
}

func (p *placer) flush() error {
	if len(p.buf) == 0 {
		return nil
	}
	p.used = true
	_, err := p.out.WriteAt(p.buf, p.start)
	p.buf = p.buf[:0]
	return err
}

func (p *placer) sync() error {
	err := p.flush()
	if err == nil && p.used {
		if err = p.out.Sync(); err != nil {
			return doubt{err}
		}
		p.used = false
	}
	return err
}

// free says that a block is referred to no more.
func (p *placer) free(r ref) {
	row := p.row(r.segment)
	row.live -= r.padded()
	p.changed[r.segment] = row
	p.freed = append(p.freed, r)
}

// note makes what was placed durable, and notes in the tree what it must know.
func (p *placer) note() error {
	if err := p.sync(); err != nil {
		return err
	}
	if len(p.changed) == 0 && len(p.left) == 0 {
		return nil
	}
	rows, err := p.tx.CreateBucketIfNotExists([]byte("g"))
	if err != nil {
		return err
	}
	for number, row := range p.changed {
		if row.live <= 0 {
			err = rows.Delete(segmentKey(number))
		} else {
			v := binary.BigEndian.AppendUint64([]byte{segmentFormat}, uint64(row.size))
			err = rows.Put(segmentKey(number), binary.BigEndian.AppendUint64(v, uint64(row.live)))
		}
		if err != nil {
			return err
		}
	}
	back, err := p.tx.CreateBucketIfNotExists([]byte("d"))
	if err != nil {
		return err
	}
	for _, r := range p.left {
		if err := back.Delete(r.key()); err != nil {
			return err
		}
	}
	for _, r := range p.freed {
		if p.row(r.segment).live > 0 {
			if err := back.Put(r.key(), binary.BigEndian.AppendUint64(nil, uint64(r.size))); err != nil {
				return err
			}
		}
	}
	return nil
}

// awaitReaders returns when all who are reading have ended.
func (s *segments) awaitReaders() {
	s.reading.Lock()
	defer s.reading.Unlock()
}

// committed runs when the transaction has been committed. What it has freed the tree of before refers to, which is
// needed in case the next merge is cut off: it is due when that has been committed.
func (p *placer) committed() {
	maps.Copy(p.rows, p.changed)
	p.left = p.left[:0]
	p.due.blocks, p.due.files = append(p.due.blocks, p.fresh.blocks...), append(p.due.files, p.fresh.files...)
	p.fresh = leavings{}
	for number, row := range p.changed {
		if row.live <= 0 {
			delete(p.rows, number)
			p.fresh.files = append(p.fresh.files, number)
		}
	}
	for _, r := range p.freed {
		if _, ok := p.rows[r.segment]; ok {
			p.fresh.blocks = append(p.fresh.blocks, r)
		}
	}
	p.unfinished.Store(!p.due.empty() || !p.fresh.empty())
}

// giveBack gives back what is due. What it could not is tried again after the next merge.
func (s *segments) giveBack() error {
	if s.due.empty() {
		return nil
	}
	s.awaitReaders()
	err := s.erase(s.due.blocks)
	if err == nil {
		s.left = append(s.left, s.due.blocks...)
		s.due.blocks = nil
	}
	for len(s.due.files) > 0 {
		if err2 := s.remove(s.due.files[0]); err2 != nil {
			err = errors.Join(err, err2)
			break
		}
		s.due.files = s.due.files[1:]
	}
	s.unfinished.Store(!s.due.empty() || !s.fresh.empty())
	return err
}

// remove removes a segment that holds nothing.
func (s *segments) remove(number uint32) error {
	if number == s.last && s.out != nil {
		if err := s.out.Close(); err != nil {
			return err
		}
		s.out = nil
	}
	s.mu.Lock()
	s.forget(number)
	s.mu.Unlock()
	return removeDurably(s.files, s.names, s.path(number))
}
