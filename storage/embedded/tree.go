package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"go.etcd.io/bbolt"
)

const (
	treeName = "store.db"
	// newTreeName is where a tree is made. It gets its name when all of it is durable, so one that was half made is
	// nobody's data.
	newTreeName = "store.db.new"
)

// openTree opens the tree of a directory, and makes both if they are not there. What it returns is durable, with its
// name and those above it: what is found in it may be acted upon.
func openTree(files fileSystem, dir string, log *slog.Logger) (*bbolt.DB, []state, error) {
	if err := files.makeDir(dir); err != nil {
		return nil, nil, err
	}
	path := filepath.Join(dir, treeName)
	// What a killed process wrote last is in memory only, and may be read and lost afterwards. So it is made durable
	// before anything is given back or removed because of it.
	err := syncWhole(files, path)
	if errors.Is(err, fs.ErrNotExist) {
		err = makeTree(files, dir)
	} else if err == nil {
		err = remakeTree(files, dir, log)
	}
	if err != nil {
		return nil, nil, err
	}
	if err := files.syncPath(dir); err != nil {
		return nil, nil, err
	}
	unlock, err := files.lock(path)
	if err != nil {
		return nil, nil, err
	}
	var states []state
	if err = renewMetas(files, path); err == nil {
		states, err = checkTree(files, dir, log, false)
	}
	unlock()
	if err != nil {
		return nil, nil, err
	}
	var tree *bbolt.DB
	err = guarded(path, func() (err error) { tree, err = files.openTree(path); return err })
	if err != nil && !errors.Is(err, errInUse) && !isDamage(err) {
		err = treeDamage(path, err)
	}
	return tree, states, err
}

// renewMetas writes the first pages of a tree again, as they are, and makes them durable. Where fsync has failed the
// system takes what was written for clean: another fsync succeeds, and the disk may still have the state before. All
// else of a state was durable before its meta page was written.
func renewMetas(files fileSystem, path string) error {
	f, err := files.open(path)
	if err != nil {
		return err
	}
	defer f.Close() // what was written is durable
	metas, err := readMetas(f)
	if err != nil || len(metas) == 0 {
		return nil // checkTree tells
	}
	b := make([]byte, 2*metas[0].size)
	if _, err := f.ReadAt(b, 0); err != nil {
		return err
	}
	if _, err := f.WriteAt(b, 0); isFull(err) {
		return nil // where pages are not written in place; a start needs no room
	} else if err != nil {
		return err
	}
	return f.Sync()
}

// guarded runs what reads the tree. Its library takes the pages of the file as they are: it panics, or the system ends
// the process, when one is not what it should be or cannot be read. Here that becomes an error that says what to do.
func guarded(path string, f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = treeDamage(path, p)
		}
	}()
	return f()
}

func treeDamage(path string, why any) error {
	return damage{fmt.Errorf("%s is damaged (%v); see to the disk and restore the directory from a backup; "+
		"'jackdaw verify' tells what else is damaged", path, why)}
}

// makeTree makes an empty tree.
func makeTree(files fileSystem, dir string) error {
	unlock, err := files.lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := readWhole(files, filepath.Join(dir, treeName)); err == nil {
		return nil // another process was faster
	}
	path := filepath.Join(dir, newTreeName)
	if err := files.remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	tree, err := files.openTree(path)
	if err != nil {
		return err
	}
	if err := errors.Join(tree.Sync(), tree.Close()); err != nil {
		return err
	}
	return files.rename(path, filepath.Join(dir, treeName))
}

// remakeTree begins anew where an earlier version was cut off while it made the tree under its own name. That comes
// before everything else, so there is nothing beside it.
func remakeTree(files fileSystem, dir string, log *slog.Logger) error {
	path := filepath.Join(dir, treeName)
	f, err := files.open(path)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err = errors.Join(err, f.Close()); err != nil || size > newTreePages*int64(os.Getpagesize()) {
		return err // it has grown since, so it was whole
	}
	b, err := readWhole(files, path)
	if err != nil || !halfMade(b) {
		return err
	}
	entries, err := files.readDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), filePrefix) || strings.HasPrefix(entry.Name(), segmentPrefix) {
			return nil // it held something, and is damaged
		}
	}
	log.Warn("the store was not finished when it was first made; beginning anew", "file", path)
	if err := files.remove(path); err != nil {
		return err
	}
	return makeTree(files, dir)
}

// newTreePages are the pages of a tree in which nothing was ever written: two metas, the list of free pages, and the
// root.
const newTreePages = 4

// halfMade says whether this is a new tree of which some page never reached the disk.
func halfMade(b []byte) bool {
	size := os.Getpagesize()
	for n := range 2 {
		if m, ok := readMeta(pageOf(b, size, n)); !ok || m.size != size {
			return true
		} else if m.tx > 1 {
			return false // it was used, so it was whole
		}
	}
	free, root := pageOf(b, size, 2), pageOf(b, size, 3)
	return pageFlags(free) != pageFreelist || pageFlags(root) != pageLeaf
}

// The pages of bbolt, whose documentation is its code. Numbers are in the order of bytes of the machine.
//
//	id (8) | flags (2) | count (2) | pages that it goes on for (4) | elements
//	meta: magic (4) | version (4) | page size (4) | flags (4) | root (8) | sequence (8) | free list (8) | pages (8) |
//	      transaction (8) | FNV-1a of all before (8)
const (
	pageHeader   = 16
	pageBranch   = 0x01
	pageLeaf     = 0x02
	pageMeta     = 0x04
	pageFreelist = 0x10

	metaBytes = 64
	metaMagic = 0xED0CDAED
)

// A meta is what the tree's first pages, of which each transaction writes one, say about all the others.
type meta struct {
	size                  int // of a page
	root, free, pages, tx uint64
}

// pageOf is a page of the file, or nil if that is too short.
func pageOf(b []byte, size, n int) []byte {
	if len(b) < (n+1)*size {
		return nil
	}
	return b[n*size : (n+1)*size]
}

func pageFlags(page []byte) uint16 {
	if len(page) < pageHeader {
		return 0
	}
	return binary.NativeEndian.Uint16(page[8:])
}

// readMeta reads a meta page; ok is false for one that is not whole.
func readMeta(page []byte) (m meta, ok bool) {
	if len(page) < pageHeader+metaBytes {
		return meta{}, false
	}
	b := page[pageHeader : pageHeader+metaBytes]
	sum := fnv.New64a()
	sum.Write(b[:metaBytes-8]) // never fails
	n := binary.NativeEndian
	if n.Uint32(b) != metaMagic || n.Uint64(b[metaBytes-8:]) != sum.Sum64() {
		return meta{}, false
	}
	return meta{int(n.Uint32(b[8:])), n.Uint64(b[16:]), n.Uint64(b[32:]), n.Uint64(b[40:]), n.Uint64(b[48:])}, true
}
