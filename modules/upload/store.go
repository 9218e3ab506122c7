package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"jackdaw/modules/upload/bucket"
	"jackdaw/storage"
)

// A Store is where files lie: a directory, or a bucket of an object store. A name is a folder and an id with a slash
// between, as nameOf makes it; nobody else chooses one. A Store is safe for concurrent use, also by several servers.
//
// Errors wrap ErrAway where the store cannot be reached, so that it is worth trying again.
type Store interface {
	// Put makes a file of the local one at a path, whose content has been synced. The file is durable when Put returns,
	// and there as a whole or not at all; Put may take the local one away. An error may come though the file is there.
	Put(ctx context.Context, name, from string) error
	// Open returns the bytes of a file from its first on; fs.ErrNotExist if there is none. The caller closes it. ctx
	// bounds all that is done with it.
	Open(ctx context.Context, name string) (io.ReadSeekCloser, error)
	// Has says which of the files are there.
	Has(ctx context.Context, names []string) ([]bool, error)
	// Remove removes files in this order and says how many; those that are not there are removed. After it returns nil
	// no power cut brings one of them back.
	Remove(ctx context.Context, names []string) (n int, err error)
	// Folders lists all folders that have files.
	Folders(ctx context.Context) ([]string, error)
	// RemoveFolder removes all files of a folder.
	RemoveFolder(ctx context.Context, folder string) error
	// Walk calls f with the name of each file, and of what is there and none, in any order, until f fails.
	Walk(ctx context.Context, f func(name string) error) error
}

// ErrAway is returned while the place where files lie cannot be reached.
var ErrAway = bucket.ErrAway

// A Bucket is the Store that is a bucket of an object store.
type Bucket = bucket.Bucket

// BucketOptions say which.
type BucketOptions = bucket.Options

// A BucketError is one of a Bucket, fit for logs.
type BucketError = bucket.Error

// NewBucket returns the bucket, of which nothing is known yet.
func NewBucket(o BucketOptions) (*Bucket, error) { return bucket.New(o) }

// unfinishedName is the folder of files that are being written, in the local directory.
const unfinishedName = "unfinished"

// nameOf is what a Store calls the file of an id; ok is false for what is no id.
func nameOf(id string) (name string, ok bool) {
	in, ok := folder(id)
	return path.Join(in, id), ok
}

// idIn is the id of the file that a Store has under a name; ok is false for what is no name of ours.
func idIn(name string) (id string, ok bool) {
	id = path.Base(name)
	want, ok := nameOf(id)
	return id, ok && want == name
}

// A directory is a Store on the local disk, or on one that all servers mount.
type directory struct {
	dir     string
	syncDir func(string) error
}

// Directory returns the Store that is a directory, which is made when it is needed, with mode 0700. Nobody else writes
// it.
func Directory(dir string) Store { return newDirectory(dir) }

func newDirectory(dir string) *directory { return &directory{dir: dir, syncDir: storage.SyncDir} }

func (d *directory) at(name string) string { return filepath.Join(d.dir, filepath.FromSlash(name)) }

// Put implements Store. The local file is on the same file system.
func (d *directory) Put(_ context.Context, name, from string) error {
	to := d.at(name)
	in := filepath.Dir(to)
	if err := os.MkdirAll(in, 0o700); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return errors.Join(d.syncDir(in), d.syncDir(d.dir), d.syncDir(filepath.Dir(d.dir)))
}

// Open implements Store.
func (d *directory) Open(_ context.Context, name string) (io.ReadSeekCloser, error) {
	return os.Open(d.at(name))
}

// Has implements Store.
func (d *directory) Has(_ context.Context, names []string) ([]bool, error) {
	there := make([]bool, len(names))
	for i, name := range names {
		switch _, err := os.Lstat(d.at(name)); {
		case err == nil:
			there[i] = true
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return there, nil
}

// Remove implements Store.
func (d *directory) Remove(_ context.Context, names []string) (n int, err error) {
	folders := map[string]bool{}
	for _, name := range names {
		if err = os.Remove(d.at(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			break
		}
		err = nil
		folders[path.Dir(name)] = true // also where the file is gone already: perhaps in memory only
		n++
	}
	for in := range folders {
		if bad := d.syncDir(d.at(in)); bad != nil && !errors.Is(bad, fs.ErrNotExist) {
			err = errors.Join(err, bad)
		}
	}
	return n, err
}

// Folders implements Store.
func (d *directory) Folders(context.Context) (names []string, err error) {
	list, err := os.ReadDir(d.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, f := range list {
		names = append(names, f.Name())
	}
	return names, nil
}

// RemoveFolder implements Store.
func (d *directory) RemoveFolder(_ context.Context, folder string) error {
	return os.RemoveAll(d.at(folder))
}

// Walk implements Store.
func (d *directory) Walk(ctx context.Context, f func(name string) error) error {
	err := filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // nothing was uploaded, or its time has come
			return nil
		case err != nil:
			return err
		case e.IsDir() && path == filepath.Join(d.dir, unfinishedName):
			return fs.SkipDir
		case !e.Type().IsRegular() || strings.HasPrefix(e.Name(), "."):
			return ctx.Err()
		}
		name, err := filepath.Rel(d.dir, path)
		if err != nil {
			return err
		}
		return f(filepath.ToSlash(name))
	})
	if err != nil {
		return fmt.Errorf("look through the files: %w", err)
	}
	return nil
}
