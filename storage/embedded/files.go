package embedded

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"jackdaw/storage"
)

// A fileSystem is all that the engine does to files. Tests put one here that fails, or one that forgets what was not
// made durable, like a disk whose power is cut.
type fileSystem interface {
	// create opens a file, which is made if it is not there; open fails then.
	create(path string) (file, error)
	open(path string) (file, error)
	readDir(dir string) ([]os.DirEntry, error)
	makeDir(dir string) error
	rename(from, to string) error
	remove(path string) error
	// openDir opens a directory, whose Sync makes the names in it durable.
	openDir(dir string) (syncer, error)
	// syncPath makes durable the names in a directory, its own, and those above it.
	syncPath(dir string) error
	// total is how large the disk of a directory is.
	total(dir string) (int64, error)
	// lock keeps other processes that do the same to a path out until unlock.
	lock(path string) (unlock func(), err error)
	// openTree opens a tree, which is made if it is not there.
	openTree(path string) (*bbolt.DB, error)
}

// A file is what the engine needs of one. Sync makes the data durable, and of the metadata what is needed to read them.
type file interface {
	ReadAt(b []byte, at int64) (int, error)
	WriteAt(b []byte, at int64) (int, error)
	Size() (int64, error)
	// Allocate has the file system keep blocks for so many bytes from the start; with within the size of the file stays
	// as it is. Not every file system can.
	Allocate(size int64, within bool) error
	Truncate(size int64) error
	// Punch gives a part back to the file system: it reads as zeros then. Not every file system can.
	Punch(at, size int64) error
	Sync() error
	Close() error
}

// A syncer is an open directory.
type syncer interface {
	Sync() error
	Close() error
}

// names are those in the data directory, kept open: making them durable must not need a descriptor that is not there.
type names struct{ syncer }

func (n names) sync() error {
	if err := n.Sync(); err != nil {
		return doubt{err}
	}
	return nil
}

// osFiles are the files of the operating system.
type osFiles struct{}

func (osFiles) create(path string) (file, error) { return openFile(path, os.O_RDWR|os.O_CREATE) }
func (osFiles) open(path string) (file, error)   { return openFile(path, os.O_RDWR) }

func openFile(path string, flag int) (file, error) {
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, err // a nil file, not one that holds nil
	}
	return dataFile{f}, nil
}

func (osFiles) readDir(dir string) ([]os.DirEntry, error) { return os.ReadDir(dir) }
func (osFiles) makeDir(dir string) error                  { return os.MkdirAll(dir, 0o700) }
func (osFiles) rename(from, to string) error              { return os.Rename(from, to) }
func (osFiles) remove(path string) error                  { return os.Remove(path) }
func (osFiles) openDir(dir string) (syncer, error)        { return os.Open(dir) }
func (osFiles) syncPath(dir string) error                 { return storage.SyncPath(dir) }

func (osFiles) openTree(path string) (*bbolt.DB, error) { return openTreeWith(path, os.OpenFile) }

// openTreeWith opens a tree whose file is opened by a function.
func openTreeWith(path string, open func(string, int, os.FileMode) (*os.File, error)) (*bbolt.DB, error) {
	// The tree's own file lock keeps other processes out; it is taken without waiting.
	tree, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: time.Millisecond, FreelistType: bbolt.FreelistMapType, NoStatistics: true, OpenFile: open,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, errInUse
	}
	return tree, err
}

var errInUse = errors.New("it is in use by another jackdaw")

// dataFile is a file whose Sync leaves out what is not needed to read the data, such as times.
type dataFile struct{ *os.File }

func (f dataFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// readWhole reads a file.
func readWhole(files fileSystem, path string) ([]byte, error) {
	f, err := files.open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // it was only read
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && size > 0 {
		return nil, err
	}
	return b, nil
}

// syncWhole makes durable what a file holds, whoever wrote it.
func syncWhole(files fileSystem, path string) error {
	f, err := files.open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// removeDurably removes a file for good; one that is not there is no error.
func removeDurably(files fileSystem, n names, path string) error {
	err := files.remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return n.sync()
}
