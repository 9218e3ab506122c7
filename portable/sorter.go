package portable

import (
	"bufio"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// sortAtOnce is how many bytes a sorter keeps in memory. A variable, for the test.
var sortAtOnce = 16 << 20

// A sorter brings pieces into the order of their keys, as many as there is room for on the disk: when there are more
// than it keeps in memory, it sorts them in runs, which go to a file that has no name and that nobody else can read.
// Pieces with the same key stay in the order in which they came.
type sorter struct {
	held  []piece
	bytes int
	file  *os.File
	end   int64
	runs  []*io.SectionReader
}

type piece struct {
	key  string
	data []byte
}

// add takes a piece. The data is the sorter's from then on.
func (s *sorter) add(key string, data []byte) error {
	s.held = append(s.held, piece{key, data})
	if s.bytes += len(key) + len(data) + 64; s.bytes < sortAtOnce {
		return nil
	}
	return s.spill()
}

func (s *sorter) sort() {
	slices.SortStableFunc(s.held, func(a, b piece) int { return cmp.Compare(a.key, b.key) })
}

// spill writes what is held to the file.
func (s *sorter) spill() error {
	if s.file == nil {
		f, err := os.CreateTemp("", "jackdaw-import-") // mode 0600
		if err != nil {
			return fmt.Errorf("sort on the disk: %w: TMPDIR says where", err)
		}
		s.file = f
		if err := os.Remove(f.Name()); err != nil {
			return err
		}
	}
	s.sort()
	out, begin := bufio.NewWriterSize(s.file, 64<<10), s.end
	var head []byte
	for _, p := range s.held {
		head = binary.AppendUvarint(binary.AppendUvarint(head[:0], uint64(len(p.key))), uint64(len(p.data)))
		for _, b := range [][]byte{head, []byte(p.key), p.data} {
			_, _ = out.Write(b) // Flush returns the error
			s.end += int64(len(b))
		}
	}
	s.runs = append(s.runs, io.NewSectionReader(s.file, begin, s.end-begin))
	clear(s.held)
	s.held, s.bytes = s.held[:0], 0
	if err := out.Flush(); err != nil {
		return fmt.Errorf("sort on the disk: %w: TMPDIR says where there is more room", err)
	}
	return nil
}

// each calls f with all pieces in order, once.
func (s *sorter) each(f func(key string, data []byte) error) error {
	if len(s.runs) == 0 {
		s.sort()
		for _, p := range s.held {
			if err := f(p.key, p.data); err != nil {
				return err
			}
		}
		return nil
	}
	if err := s.spill(); err != nil {
		return err
	}
	var h runs
	for i, in := range s.runs {
		r := &run{in: bufio.NewReaderSize(in, 16<<10), place: i}
		if ok, err := r.next(); err != nil {
			return err
		} else if ok {
			h = append(h, r)
		}
	}
	heap.Init(&h)
	for len(h) > 0 {
		r := h[0]
		if err := f(r.key, r.data); err != nil {
			return err
		}
		ok, err := r.next()
		switch {
		case err != nil:
			return err
		case ok:
			heap.Fix(&h, 0)
		default:
			heap.Pop(&h)
		}
	}
	return nil
}

// close gives the file back.
func (s *sorter) close() {
	if s.file != nil {
		s.file.Close() // it has no name and goes
	}
}

// A run is what was sorted at once; the piece is its first one.
type run struct {
	piece
	in    *bufio.Reader
	place int
}

func (r *run) next() (ok bool, err error) {
	k, err := binary.ReadUvarint(r.in)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	d, err := binary.ReadUvarint(r.in)
	if err != nil {
		return false, err
	}
	both := make([]byte, k+d)
	if _, err := io.ReadFull(r.in, both); err != nil {
		return false, err
	}
	r.piece = piece{string(both[:k]), both[k:]}
	return true, nil
}

type runs []*run

func (h runs) Len() int { return len(h) }
func (h runs) Less(i, j int) bool {
	if c := cmp.Compare(h[i].key, h[j].key); c != 0 {
		return c < 0
	}
	return h[i].place < h[j].place
}
func (h runs) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *runs) Push(x any)   { *h = append(*h, x.(*run)) }
func (h *runs) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
