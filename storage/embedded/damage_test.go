package embedded

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"testing"

	"go.etcd.io/bbolt"

	"jackdaw/storage"
)

// damageOne changes one bit of the first block of an owner, and returns how many records are in it.
func damageOne(t *testing.T, m *merged, owner string) (records int) {
	t.Helper()
	err := m.tree.View(func(tx *bbolt.Tx) error {
		prefix := append([]byte(owner), 0)
		k, v := tx.Bucket([]byte("karchive")).Cursor().Seek(prefix)
		id := blockID(prefix, k)
		r, elsewhere, err := readRef(v, id)
		if err != nil || !elsewhere {
			return fmt.Errorf("no block of %s is in a segment: %w", owner, err)
		}
		b, err := m.segments.read(r, nil)
		if err != nil {
			return err
		}
		list, err := readBlock(nil, id, b, nil)
		if err != nil {
			return err
		}
		records = len(list)
		f, err := os.OpenFile(m.segments.path(r.segment), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close() // a failed write shows below
		_, err = f.WriteAt([]byte{b[100] ^ 4}, r.at+100)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func TestDamagedBlockIsNamedAndSteppedOver(t *testing.T) {
	notes := &notebook{}
	m := openMerged(t)
	m.segments.damages.log = slog.New(slog.NewTextHandler(notes, nil))
	const each = 200
	ids := fillSegments(t, m, 2, each)["owner0"]
	lost := damageOne(t, m, "owner0")
	for _, q := range []storage.Query{{Limit: 1000}, {Limit: 1000, Backward: true}, {Limit: 1000, Peer: "p"}} {
		page, _, err := m.log.Page(t.Context(), "owner0", q)
		if err != nil || len(page) != each-lost || lost == 0 || page[0].ID != ids[lost] {
			t.Errorf("%+v: %d records of %d, %d lost, %v", q, len(page), each, lost, err)
		}
	}
	if page, _, err := m.log.Page(t.Context(), "owner1", storage.Query{Limit: 1000}); err != nil || len(page) != each {
		t.Errorf("%d records of another, %v", len(page), err)
	}
	if n := notes.count("owner=owner0"); n != 1 || m.Damaged() != 1 {
		t.Errorf("named %d times, counted %d", n, m.Damaged())
	}
}

func TestDamagedBlockIsTrimmedErasedAndReplaced(t *testing.T) {
	const each = 200
	for name, test := range map[string]struct {
		do   func(m *merged, ids []uint64, lost int) error
		left func(lost int) int
	}{
		"trimmed": {func(m *merged, ids []uint64, lost int) error {
			_, err := m.log.Trim(t.Context(), "owner0", ids[lost+10])
			return err
		}, func(lost int) int { return each - lost - 10 }},
		"trimmed in part": {func(m *merged, ids []uint64, lost int) error {
			_, err := m.log.Trim(t.Context(), "owner0", ids[lost/2])
			return err
		}, func(lost int) int { return each - lost }},
		"erased": {func(m *merged, ids []uint64, lost int) error {
			_, err := m.log.DeleteOwner(t.Context(), "owner0")
			return err
		}, func(int) int { return 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			m := openMerged(t)
			ids := fillSegments(t, m, 2, each)["owner0"]
			lost := damageOne(t, m, "owner0")
			if err := test.do(m, ids, lost); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				for _, q := range []storage.Query{{Limit: 1000}, {Limit: 1000, Peer: "p"}} {
					page, _, err := m.log.Page(t.Context(), "owner0", q)
					if err != nil || len(page) != test.left(lost) {
						t.Errorf("%d records are left, %v", len(page), err)
					}
				}
				m.mergeNow(t)
			}
			if n, _, err := m.log.Size(t.Context(), "owner0"); name != "trimmed in part" && (err != nil || n != test.left(lost)) {
				t.Errorf("said to have %d records, %v", n, err)
			}
			if name == "trimmed in part" {
				return
			}
			m.sound(t)
			for _, path := range segmentFiles(t, m.dir) {
				if b, err := os.ReadFile(path); err != nil || bytes.Contains(b, fmt.Appendf(nil, "owner0 record %0300d", 2)) {
					t.Errorf("what was given up is still in %s (%v)", path, err)
				}
			}
		})
	}
}

// A record that is replaced while its block is damaged takes the place of the block; merging goes on.
func TestWriteIntoADamagedBlockReplacesIt(t *testing.T) {
	m := openMerged(t)
	ids := fillSegments(t, m, 2, 200)["owner0"]
	if _, err := m.log.Replace(t.Context(), "owner0", ids[3], []byte("new")); err != nil {
		t.Fatal(err)
	}
	lost := damageOne(t, m, "owner0")
	m.mergeNow(t)
	m.sound(t)
	for _, q := range []storage.Query{{Limit: 1000}, {Limit: 1000, Peer: "p"}} {
		page, _, err := m.log.Page(t.Context(), "owner0", q)
		if err != nil || len(page) != 200-lost+1 || string(page[0].Data) != "new" {
			t.Errorf("%d records, %d lost, %v", len(page), lost, err)
		}
	}
}
