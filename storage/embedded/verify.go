package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"go.etcd.io/bbolt"
)

// Verify reads everything that a store keeps and returns what is damaged, in words. No server may run on it. It changes
// nothing.
func Verify(dir string) (problems []string, err error) {
	add := func(err error) {
		if err != nil {
			problems = append(problems, err.Error())
		}
	}
	path := filepath.Join(dir, treeName)
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("there is no store: %w", err)
	}
	unlock, err := osFiles{}.lock(path)
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w; stop the server first", dir, err)
	}
	quiet := slog.New(slog.DiscardHandler)
	_, err = checkTree(osFiles{}, dir, quiet, true)
	unlock()
	add(err)
	if isDamage(err) {
		return problems, nil // what it says of the rest cannot be relied on
	}
	add(guarded(path, func() error {
		tree, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: 1, NoStatistics: true})
		if err != nil {
			return treeDamage(path, err)
		}
		merged := mark{}
		err = tree.View(func(tx *bbolt.Tx) error {
			merged = mergedInto(tx)
			for err := range tx.Check() {
				add(treeDamage(path, err))
			}
			if len(problems) == 0 {
				live := verifyBlocks(tx, dir, add)
				verifyReferences(tx, dir, live, add)
				add(verifyRuns(tx))
			}
			return nil
		})
		journals := replayer{files: osFiles{}, dir: dir, merged: merged, log: quiet, suspect: add}
		_, _, bad := journals.replay(func(ops []byte) error { return eachOp(ops, func(op) {}) })
		add(bad)
		return errors.Join(err, tree.Close())
	}))
	return problems, nil
}

// verifyBlocks reads the blocks of all records, and returns how many bytes of each segment they take.
func verifyBlocks(tx *bbolt.Tx, dir string, add func(error)) (live map[uint32]int64) {
	live = map[uint32]int64{}
	s := &segments{dir: dir, files: osFiles{}, open: map[uint32]file{}}
	defer s.close() // they were only read
	_ = tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
		if name[0] != 'k' {
			return nil
		}
		var buffer []byte
		return b.ForEach(func(k, v []byte) error {
			owner, _, _ := strings.Cut(string(k), "\x00")
			if len(k) < len(owner)+9 {
				add(fmt.Errorf("%s's %s: %w", owner, name[1:], errBadBlock))
				return nil
			}
			id := blockID(k[:len(owner)+1], k)
			r, elsewhere, err := readRef(v, id)
			if err == nil && elsewhere {
				live[r.segment] += r.padded()
				if v, err = s.read(r, buffer); err == nil {
					buffer = v
				}
			}
			if err == nil {
				_, err = readBlock(nil, id, v, nil)
			}
			if err != nil {
				add(fmt.Errorf("records of %s's %s from %d on: %w", owner, name[1:], id, err))
			}
			return nil
		})
	})
	return live
}

// verifyReferences compares what the tree says of segments with what is there, and looks for the blocks that the lists
// of peers name. live is that of verifyBlocks.
func verifyReferences(tx *bbolt.Tx, dir string, live map[uint32]int64, add func(error)) {
	s := &segments{dir: dir}
	if b := tx.Bucket([]byte("g")); b != nil {
		_ = b.ForEach(func(k, v []byte) error {
			row, err := readSegment(k, v)
			if err != nil {
				add(err)
				return nil
			}
			number := binary.BigEndian.Uint32(k)
			if row.live != live[number] {
				add(fmt.Errorf("%s should have %d bytes in use, and %d are referred to", s.path(number), row.live, live[number]))
			}
			delete(live, number)
			if info, err := os.Stat(s.path(number)); err != nil {
				add(err)
			} else if info.Size() < row.size {
				add(fmt.Errorf("%s has %d bytes instead of %d", s.path(number), info.Size(), row.size))
			}
			return nil
		})
	}
	for number := range live {
		add(fmt.Errorf("%s is referred to and not known", s.path(number)))
	}
	_ = tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
		if name[0] != 'q' {
			return nil
		}
		blocks := tx.Bucket(append([]byte("k"), name[1:]...))
		return b.ForEach(func(k, _ []byte) error {
			owner, rest, _ := strings.Cut(string(k), "\x00")
			if len(rest) < 9 || blocks == nil ||
				blocks.Get(blockKey(append([]byte(owner), 0), binary.BigEndian.Uint64(k[len(k)-8:]))) == nil {
				add(fmt.Errorf("%s's %s: a list of peers names a block that is not there", owner, name[1:]))
			}
			return nil
		})
	})
}
