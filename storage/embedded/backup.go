package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"jackdaw/storage"
)

// A BackupFile is one of those that a copy of the store consists of.
type BackupFile struct {
	Name string
	// Key is that of a file which holds the same whenever its name and key are the same; "": one cannot tell.
	Key string
	// Copy writes the content. It may be called until the call returns that this was given to.
	Copy func(w io.Writer) error
}

// Backup calls put for each file of a copy of the store, until it returns an error. The copy is that of one moment,
// which Backup returns: whatever was acknowledged before is in it. Reads and writes go on meanwhile; removals are done,
// but give no room back, and the tree's file cannot grow beyond what is mapped of it while it is copied.
func (e *engine) Backup(ctx context.Context, put func(BackupFile) error) (until time.Time, err error) {
	if err := e.hold(); err != nil {
		return until, err
	}
	defer e.letGo()
	c := copying{e, ctx}
	var last mark
	var list []BackupFile
	err = e.read(func(tx *bbolt.Tx) (err error) {
		last = mergedInto(tx)
		if list, err = c.segmentsOf(tx); err != nil {
			return err
		}
		return put(BackupFile{Name: treeName, Copy: func(w io.Writer) error {
			_, err := tx.WriteTo(c.to(w))
			return err
		}})
	})
	for _, f := range list {
		if err == nil {
			err = put(f)
		}
	}
	if err != nil {
		return until, errors.Join(err, c.ended()) // the tree's library tells in words alone
	}
	// What was acknowledged is in the journals that the tree has not got, as far as they are there now.
	until = e.now()
	return until, c.journals(last.number, put)
}

// hold keeps what the tree refers to, and the journals it has not got, where they are.
func (e *engine) hold() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed.Load():
		return storage.ErrClosed
	case e.err != nil:
		return e.err
	}
	e.held++
	return nil
}

// letGo ends a hold. What was not given back goes with the next merge.
func (e *engine) letGo() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.held--
	e.changed.Broadcast()
	if !e.running && !e.merging && !e.closed.Load() {
		e.settling.Reset(e.idle)
	}
}

// isHeld says whether nothing may be given back.
func (e *engine) isHeld() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.held > 0
}

// A copying is one call of Backup.
type copying struct {
	e   *engine
	ctx context.Context
}

// to writes until the call is to end, or the engine.
func (c copying) to(w io.Writer) io.Writer { return stoppable{c, w} }

type stoppable struct {
	c copying
	w io.Writer
}

func (s stoppable) Write(b []byte) (int, error) {
	if err := s.c.ended(); err != nil {
		return 0, err
	}
	return s.w.Write(b)
}

// ended is why the call is to end; nil: it is not.
func (c copying) ended() error {
	select {
	case <-c.ctx.Done():
		return c.ctx.Err()
	case <-c.e.closing:
		return storage.ErrClosed
	default:
		return nil
	}
}

// segmentsOf are the segments that a tree refers to. One whose size and whose live bytes are what they were holds what
// it held, once all that was freed in it has been given back.
func (c copying) segmentsOf(tx *bbolt.Tx) (list []BackupFile, err error) {
	due := map[uint32]bool{}
	if b := tx.Bucket([]byte("d")); b != nil {
		err = b.ForEach(func(k, _ []byte) error {
			if len(k) != 12 {
				return fmt.Errorf("read room to give back, %x: %w", k, errBadBlock)
			}
			due[binary.BigEndian.Uint32(k)] = true
			return nil
		})
	}
	rows := map[uint32]segment{}
	if b := tx.Bucket([]byte("g")); b != nil && err == nil {
		err = b.ForEach(func(k, v []byte) error {
			row, err := readSegment(k, v)
			if err == nil {
				rows[binary.BigEndian.Uint32(k)] = row
			}
			return err
		})
	}
	for _, number := range slices.Sorted(maps.Keys(rows)) {
		row, path := rows[number], c.e.segments.path(number)
		f := BackupFile{Name: filepath.Base(path), Copy: func(w io.Writer) error { return c.file(w, path, row.size) }}
		if !due[number] {
			f.Key = fmt.Sprintf("%d/%d", row.size, row.live)
		}
		list = append(list, f)
	}
	return list, err
}

// file copies the first bytes of a file.
func (c copying) file(w io.Writer, path string, size int64) error {
	f, err := c.e.files.open(path)
	if err != nil {
		return err
	}
	defer f.Close() // it was only read
	n, err := io.Copy(c.to(w), io.NewSectionReader(f, 0, size))
	if err == nil && n < size {
		err = fmt.Errorf("%s has %d bytes instead of %d", path, n, size)
	}
	return err
}

// journals copies the whole frames of all journals above a number.
func (c copying) journals(merged uint64, put func(BackupFile) error) error {
	entries, err := c.e.files.readDir(c.e.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		digits, ok := strings.CutPrefix(entry.Name(), filePrefix)
		if !ok {
			continue
		}
		number, err := strconv.ParseUint(digits, 16, 32)
		if err != nil {
			return fmt.Errorf("read the name of journal %s: %w", entry.Name(), err)
		}
		if number <= merged {
			continue
		}
		err = put(BackupFile{Name: entry.Name(), Copy: func(w io.Writer) error {
			data, err := readWhole(c.e.files, filepath.Join(c.e.dir, entry.Name()))
			if errors.Is(err, io.EOF) { // it has grown meanwhile
				err = nil
			}
			if err != nil {
				return err
			}
			rest, _, _, _ := eachFrame(data, frameNumber(number, 1), func([]byte) error { return nil })
			_, err = c.to(w).Write(data[:len(data)-len(rest)])
			return err
		}})
		if err != nil {
			return err
		}
	}
	return nil
}
