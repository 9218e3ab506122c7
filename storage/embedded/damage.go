package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"
)

// A block that the disk has changed, or cannot read, costs what is in it and nothing else: it is named once and stepped
// over. Whoever trims or erases gives it up as a whole when all of it is to go; what is written into it replaces it.
//
//	y  given up    owner NUL id → nothing: a damaged block to be taken out of the tree; only in journal and tables

// damage is the error of such a block.
type damage struct{ error }

func (d damage) Unwrap() error { return d.error }

func isDamage(err error) bool { return err != nil && errors.As(err, new(damage)) }

// damages are those that were met since the start.
type damages struct {
	log   *slog.Logger
	count atomic.Int64
	mu    sync.Mutex
	told  map[string]bool
}

// mostTold bounds what is remembered of blocks that were named.
const mostTold = 1000

// meet names a block once.
func (d *damages) meet(r ref, owner []byte, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := string(r.key())
	if d.told[key] || len(d.told) >= mostTold {
		return
	}
	if d.told == nil {
		d.told = map[string]bool{}
	}
	d.told[key] = true
	d.count.Add(1)
	d.log.Error("a block of records is damaged and left out: see to the disk, "+
		"and restore the directory from a backup if they are needed",
		"owner", string(bytes.TrimSuffix(owner, []byte{0})), "error", err)
}

// Damaged is how many blocks of records were found damaged since the start.
func (e *engine) Damaged() int64 { return e.segments.damages.count.Load() }

// A span is the ids that a block may hold.
type span struct{ first, last uint64 }

// damagedOf are the damaged blocks of an owner that end below an id. The caller holds the shard.
func (l *logSpace) damagedOf(owner string, before uint64) (list []span, err error) {
	l.segments.reading.RLock()
	defer l.segments.reading.RUnlock()
	err = l.view(func(tx *bbolt.Tx) {
		c := newBlockCursor(tx, &l.segments, l.space, owner, nil, 1, before-1, false)
		if c == nil {
			return
		}
		defer c.close()
		for c.here() != nil {
			c.step()
		}
		err = c.err
		for _, s := range c.damaged {
			if s.last < before {
				list = append(list, s)
			}
		}
	})
	return list, err
}

// giveUp takes the damaged blocks of an owner that end below an id out of the tree with the next merge, and counts anew
// what is left.
func (l *logSpace) giveUp(b *batch, owner string, st *logState, before uint64) error {
	if before == 0 || l.segments.damages.count.Load() == 0 {
		return nil
	}
	list, err := l.damagedOf(owner, before)
	if err != nil || len(list) == 0 {
		return err
	}
	for _, s := range list {
		b.set(binary.BigEndian.AppendUint64(ownerKey("y", l.space, owner, 8), s.first), nil)
	}
	st.records, st.bytes = 0, 0
	return l.records(owner, 0, 0, false, func(r record) bool {
		st.records++
		st.bytes += int64(len(r.data))
		return true
	})
}

// giveUp takes a block out of the tree if it is still damaged. key is "space NUL owner NUL id".
func (p *placer) giveUp(key []byte) error {
	cut := bytes.IndexByte(key, 0)
	if cut < 0 || len(key) < cut+1+8 {
		return errBadOps
	}
	w, err := newBlockWriter(p.tx, string(key[:cut]), p)
	if err != nil {
		return err
	}
	prefix, id := key[cut+1:len(key)-8], binary.BigEndian.Uint64(key[len(key)-8:])
	r, elsewhere, err := readRef(w.blocks.Get(blockKey(prefix, id)), id)
	if err != nil || !elsewhere {
		return err
	}
	if _, err = p.read(r, nil); !isDamage(err) {
		return err
	}
	return w.lose(prefix, id, r)
}

// lose takes a block out of the tree that cannot be read, and so not asked for its peers.
func (w *blockWriter) lose(prefix []byte, id uint64, r ref) error {
	w.out.free(r)
	if err := w.blocks.Delete(blockKey(prefix, id)); err != nil {
		return err
	}
	var gone [][]byte
	end := binary.BigEndian.AppendUint64([]byte{0}, id)
	c := w.peers.Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		if bytes.HasSuffix(k, end) {
			gone = append(gone, bytes.Clone(k))
		}
	}
	for _, k := range gone {
		if err := w.peers.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// errDamaged says where.
func errDamaged(path string, at int64, why string) error {
	return damage{fmt.Errorf("%s is damaged at byte %d: %s", path, at, why)}
}
