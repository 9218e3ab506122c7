package embedded

import (
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
	unlock, err := lockTree(path)
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
				verifyBlocks(tx, dir, add)
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

// verifyBlocks reads the blocks of all records.
func verifyBlocks(tx *bbolt.Tx, dir string, add func(error)) {
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
}
