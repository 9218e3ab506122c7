package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"jackdaw/config"
	"jackdaw/server/backup"
	"jackdaw/storage"
	"jackdaw/storage/embedded"
)

// A keeper copies a data directory while it is in use.
type keeper struct {
	data   string
	engine string
	store  storage.Engine
}

// storeName is the folder of the embedded store in a data directory.
const storeName = "store"

// A keptFile is one of a data directory.
type keptFile struct {
	path, key string
	copy      func(io.Writer) error
}

func newKeeper(cfg *config.Config, store storage.Engine) *keeper {
	return &keeper{data: cfg.Data, engine: cfg.Storage.Engine, store: store}
}

// files calls put for each file, and returns the moment up to which all that was acknowledged is in them. What users
// upload comes before the store and what they have uploaded meanwhile after it: then the store is not held for long.
func (k *keeper) files(ctx context.Context, put func(keptFile) error) (until time.Time, err error) {
	seen := map[string]bool{}
	beside := func() error { return k.beside(ctx, seen, put) }
	if err := beside(); err != nil {
		return until, err
	}
	until = time.Now()
	if store, ok := k.store.(interface {
		Backup(context.Context, func(embedded.BackupFile) error) (time.Time, error)
	}); ok {
		until, err = store.Backup(ctx, func(f embedded.BackupFile) error {
			return put(keptFile{storeName + "/" + f.Name, f.Key, f.Copy})
		})
		if err != nil {
			return until, fmt.Errorf("copy the store: %w", err)
		}
	}
	return until, beside()
}

// beside calls put for the files beside the store that were not seen yet.
func (k *keeper) beside(ctx context.Context, seen map[string]bool, put func(keptFile) error) error {
	return filepath.WalkDir(k.data, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != k.data {
			return nil // its time had come
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(k.data, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == storeName || name == filepath.Join("upload", "unfinished") {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || seen[name] {
			return nil
		}
		seen[name] = true
		key := ""
		if strings.HasPrefix(name, "upload"+string(filepath.Separator)) { // never written again
			info, err := d.Info()
			if err != nil {
				return ifThere(err)
			}
			key = fmt.Sprintf("%d/%d", info.Size(), info.ModTime().UnixNano())
		}
		f, err := os.Open(path)
		if err != nil {
			return ifThere(err)
		}
		defer f.Close() // it was only read
		return put(keptFile{filepath.ToSlash(name), key, func(w io.Writer) error {
			_, err := io.Copy(w, f)
			return err
		}})
	})
}

// ifThere is an error unless it says that a file is gone.
func ifThere(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// A backupPiece is a line of the answer to a backup. One with a path begins a file, which the next of them end; after
// one with Data come as many bytes.
type backupPiece struct {
	Path   string    `json:",omitempty"`
	Key    string    `json:",omitempty"`
	Same   bool      `json:",omitempty"` // as what the client has
	Data   int       `json:",omitempty"`
	Until  time.Time `json:",omitzero"` // the end
	Engine string    `json:",omitempty"`
	Error  string    `json:",omitempty"`
}

// backingUp is what the client has: the keys of files.
type backingUp struct{ Known map[string]string }

// maxKnown is how many bytes of keys a client may send.
const maxKnown = 1 << 30

// A pieceWriter sends what a file holds.
type pieceWriter struct {
	out *json.Encoder
	raw io.Writer
}

func (p pieceWriter) Write(b []byte) (n int, err error) {
	if err := p.out.Encode(backupPiece{Data: len(b)}); err != nil {
		return 0, err
	}
	return p.raw.Write(b)
}

func (c *Control) backup(w http.ResponseWriter, r *http.Request) {
	var in backingUp
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxKnown)).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := json.NewEncoder(w)
	if c.keeper == nil {
		_ = out.Encode(backupPiece{Error: "nothing is kept here"}) // whoever asked may have gone
		return
	}
	content := bufio.NewWriterSize(pieceWriter{out, w}, pieceSize)
	until, err := c.keeper.files(r.Context(), func(f keptFile) error {
		same := f.key != "" && in.Known[f.path] == f.key
		if err := out.Encode(backupPiece{Path: f.path, Key: f.key, Same: same}); err != nil || same {
			return err
		}
		content.Reset(pieceWriter{out, w})
		if err := f.copy(content); err != nil {
			return fmt.Errorf("%s: %w", f.path, err)
		}
		return content.Flush()
	})
	end := backupPiece{Until: until, Engine: c.keeper.engine}
	if err != nil {
		end = backupPiece{Error: err.Error()}
	}
	_ = out.Encode(end) // likewise
}

// Backup writes a generation of all that is in the data directory into dir, and keeps so many of those that are there
// (0: all). Copied and linked are how many bytes were new and how many were not.
func (c *Client) Backup(ctx context.Context, dir, version string, keep int) (
	g *backup.Generation, copied, linked int64, err error) {
	w, err := backup.Begin(dir)
	if err != nil {
		return nil, 0, 0, err
	}
	end, err := c.receive(ctx, w)
	if err != nil {
		w.Abort()
		return nil, 0, 0, err
	}
	g, err = w.Finish(version, end.Engine, end.Until, keep)
	return g, w.Copied, w.Linked, err
}

// receive takes the files of a backup.
func (c *Client) receive(ctx context.Context, w *backup.Writer) (end backupPiece, err error) {
	resp, err := ask(ctx, c, "backup", backingUp{w.Known()})
	if err != nil {
		return end, err
	}
	defer resp.Body.Close()
	r := bufio.NewReaderSize(resp.Body, pieceSize)
	var file io.WriteCloser
	done := func() (err error) {
		if file != nil {
			err = file.Close()
		}
		file = nil
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	for {
		p, err := next[backupPiece](r)
		if err != nil {
			return end, err
		}
		if p.Data == 0 {
			if err := done(); err != nil {
				return end, err
			}
		}
		switch {
		case p.Error != "":
			return end, errors.New(p.Error)
		case !p.Until.IsZero():
			return p, nil
		case p.Same:
			err = w.Link(p.Path, p.Key)
		case p.Path != "":
			file, err = w.Create(p.Path, p.Key)
		case p.Data > 0 && file != nil:
			_, err = io.CopyN(file, r, int64(p.Data))
		default:
			err = errors.New("the server's answer makes no sense")
		}
		if err != nil {
			return end, err
		}
	}
}

// Restore puts a backup, a generation or the newest one of a directory, into the empty data directory.
func Restore(cfg *config.Config, dir string) (*backup.Generation, error) {
	g, err := backup.Open(dir)
	if err != nil {
		return nil, err
	}
	return g, g.Restore(cfg.Data)
}
