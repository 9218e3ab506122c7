// Package backup keeps copies of a data directory: a directory with a generation for each time, named by the moment up
// to which it has all. A generation has a manifest with the checksums of its files. What has not changed since the last
// one is a hard link to it.
//
// A generation is written under another name, made durable, and then renamed, so that a crash leaves those before it as
// they are. docs/decisions/0032-full-disks-and-backups.md says why so. Left out: compression and encryption, for which
// there are file systems and programs; copies on other machines.
package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"jackdaw/storage"
)

const (
	manifestName = "manifest"
	filesName    = "data" // below it is what the data directory has
	partial      = ".partial"
	format       = 1
	// nameLayout is of the names of generations, which sort by time.
	nameLayout = "2006-01-02T150405.000Z"
)

// A File is one of a generation.
type File struct {
	Path string `json:"path"` // below the data directory, with slashes
	Size int64  `json:"size"`
	Sum  string `json:"sha256"`
	// Key is that of a file which holds the same whenever its path and key are the same; "": one cannot tell.
	Key string `json:"key,omitempty"`
}

// A Manifest says what is in a generation.
type Manifest struct {
	Format  int       `json:"format"`
	Version string    `json:"version"` // of the program
	Engine  string    `json:"engine"`  // of storage
	Until   time.Time `json:"until"`   // whatever was acknowledged before is in it
	Files   []File    `json:"files"`
}

// A Generation is one that is complete.
type Generation struct {
	Dir string
	Manifest
}

// Open returns the generation in a directory, or the newest one in a directory of generations.
func Open(dir string) (*Generation, error) {
	if _, err := os.Stat(filepath.Join(dir, manifestName)); err == nil {
		return open(dir)
	}
	names, err := generations(dir)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s holds no backup", dir)
	}
	return open(filepath.Join(dir, names[len(names)-1]))
}

func open(dir string) (*Generation, error) {
	b, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	sum, text, _ := bytes.Cut(b, []byte("\n"))
	if s := sha256.Sum256(text); string(sum) != hex.EncodeToString(s[:]) {
		return nil, fmt.Errorf("%s does not match its checksum; take another generation", filepath.Join(dir, manifestName))
	}
	g := &Generation{Dir: dir}
	if err := json.Unmarshal(text, &g.Manifest); err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	if g.Format != format {
		return nil, fmt.Errorf("%s was made by a later version (%s); use that", dir, g.Version)
	}
	for _, f := range g.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Path)) {
			return nil, fmt.Errorf("the manifest names a file elsewhere: %q", f.Path)
		}
	}
	return g, nil
}

// generations are the names of those in a directory, the oldest first.
func generations(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if _, bad := time.Parse(nameLayout, e.Name()); bad == nil && e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// file is where a file of a generation is.
func (g *Generation) file(f File) string {
	return filepath.Join(g.Dir, filesName, filepath.FromSlash(f.Path))
}

// Verify reads all files and returns what is wrong with them, in words.
func (g *Generation) Verify() (problems []string) {
	for _, f := range g.Files {
		if err := g.copy(io.Discard, f); err != nil {
			problems = append(problems, err.Error())
		}
	}
	return problems
}

// copy writes a file, whose checksum must be right.
func (g *Generation) copy(w io.Writer, f File) error {
	in, err := os.Open(g.file(f))
	if err != nil {
		return err
	}
	defer in.Close() // it was only read
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), in)
	if err != nil {
		return err
	}
	if n != f.Size || hex.EncodeToString(sum.Sum(nil)) != f.Sum {
		return fmt.Errorf("%s does not match its checksum", in.Name())
	}
	return nil
}

// A Writer makes a generation. It is for one goroutine.
type Writer struct {
	dir      string // of generations
	tmp      string
	unlock   func()
	before   *Generation // nil: none
	old      map[string]File
	made     map[string]bool // folders
	manifest Manifest
	// Copied and Linked are bytes of files that were new, and of those that were not.
	Copied, Linked int64
}

// Begin begins a generation in a directory, which is made if it is not there, and removes what a crash has left.
func Begin(dir string) (*Writer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	unlock, err := lock(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	w := &Writer{dir: dir, tmp: filepath.Join(dir, partial), unlock: unlock,
		old: map[string]File{}, made: map[string]bool{}}
	if err := w.begin(); err != nil {
		unlock()
		return nil, err
	}
	return w, nil
}

func (w *Writer) begin() error {
	if err := os.RemoveAll(w.tmp); err != nil {
		return err
	}
	names, err := generations(w.dir)
	if err != nil {
		return err
	}
	// One that is damaged is no reason to make none.
	if n := len(names); n > 0 {
		if w.before, err = open(filepath.Join(w.dir, names[n-1])); err == nil {
			for _, f := range w.before.Files {
				w.old[f.Path] = f
			}
		}
	}
	return os.MkdirAll(filepath.Join(w.tmp, filesName), 0o700)
}

// Has says whether the last generation has that file with that key.
func (w *Writer) Has(path, key string) bool { return key != "" && w.old[path].Key == key }

// Known are the files that need not come again if their keys are these.
func (w *Writer) Known() map[string]string {
	known := map[string]string{}
	for path, f := range w.old {
		if f.Key != "" {
			known[path] = f.Key
		}
	}
	return known
}

// Link takes a file from the last generation. It fails if that has none, or another one than it should have.
func (w *Writer) Link(path, key string) error {
	f, ok := w.old[path]
	if !ok || f.Key != key {
		return fmt.Errorf("the last backup has no %s", path)
	}
	to, err := w.place(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(w.before.file(f))
	if err == nil && info.Size() != f.Size {
		err = fmt.Errorf("%s has %d bytes instead of %d; move that generation away", w.before.file(f), info.Size(), f.Size)
	}
	if err != nil {
		return err
	}
	if os.Link(w.before.file(f), to) != nil { // this file system cannot, or not so often
		out, err := w.Create(path, key)
		if err != nil {
			return err
		}
		return errors.Join(w.before.copy(out, f), out.Close())
	}
	w.Linked += f.Size
	w.manifest.Files = append(w.manifest.Files, f)
	return nil
}

// place returns where a file goes, whose folder is made.
func (w *Writer) place(path string) (string, error) {
	path = filepath.FromSlash(path)
	if !filepath.IsLocal(path) {
		return "", fmt.Errorf("a file elsewhere: %q", path)
	}
	path = filepath.Join(w.tmp, filesName, path)
	if folder := filepath.Dir(path); !w.made[folder] {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return "", err
		}
		w.made[folder] = true
	}
	return path, nil
}

// Create takes a new file, which is part of the generation when it was closed.
func (w *Writer) Create(path, key string) (io.WriteCloser, error) {
	to, err := w.place(path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &part{w: w, f: f, sum: sha256.New(), is: File{Path: path, Key: key}}, nil
}

// A part is a file that is being written.
type part struct {
	w   *Writer
	f   *os.File
	sum hash.Hash
	is  File
	bad error
}

func (p *part) Write(b []byte) (int, error) {
	n, err := p.f.Write(b)
	p.sum.Write(b[:n]) // it never fails
	p.is.Size += int64(n)
	p.bad = errors.Join(p.bad, err)
	return n, err
}

// Close makes the file durable.
func (p *part) Close() error {
	if err := errors.Join(p.bad, p.f.Sync(), p.f.Close()); err != nil {
		return err
	}
	p.is.Sum = hex.EncodeToString(p.sum.Sum(nil))
	p.w.Copied += p.is.Size
	p.w.manifest.Files = append(p.w.manifest.Files, p.is)
	return nil
}

// Finish makes the generation durable and gives it its name. All but keep of them are removed, the oldest first; 0
// keeps all.
func (w *Writer) Finish(version, engine string, until time.Time, keep int) (*Generation, error) {
	defer w.unlock()
	m := w.manifest
	m.Format, m.Version, m.Engine, m.Until = format, version, engine, until.UTC()
	slices.SortFunc(m.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	text, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return nil, err
	}
	s := sha256.Sum256(text)
	err = writeDurably(filepath.Join(w.tmp, manifestName), append([]byte(hex.EncodeToString(s[:])+"\n"), text...))
	if err == nil {
		err = syncFolders(w.tmp)
	}
	final := filepath.Join(w.dir, m.Until.Format(nameLayout))
	if err == nil {
		err = os.Rename(w.tmp, final)
	}
	if err == nil {
		err = storage.SyncPath(w.dir)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(w.tmp))
	}
	g := &Generation{Dir: final, Manifest: m}
	return g, w.prune(keep)
}

// prune removes the oldest generations.
func (w *Writer) prune(keep int) error {
	names, err := generations(w.dir)
	if err != nil || keep <= 0 {
		return err
	}
	for len(names) > keep {
		// Half of one must not be taken for all of it.
		err := os.Rename(filepath.Join(w.dir, names[0]), w.tmp)
		if err == nil {
			err = os.RemoveAll(w.tmp)
		}
		if err != nil {
			return fmt.Errorf("the backup is done, but an old one stays: %w", err)
		}
		names = names[1:]
	}
	return nil
}

// Abort gives the generation up.
func (w *Writer) Abort() {
	_ = os.RemoveAll(w.tmp) // else the next one does
	w.unlock()
}

func writeDurably(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncFolders makes the names below a directory durable.
func syncFolders(dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = storage.SyncDir(path)
		}
		return err
	})
}
