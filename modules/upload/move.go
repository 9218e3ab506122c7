package upload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
)

// A Moved says what became of the files of a directory.
type Moved struct {
	Moved   int      `json:"moved"`
	There   int      `json:"there"`   // they were in the other place already
	Damaged []string `json:"damaged"` // in words; they stay
}

// Move puts the files of a directory into another Store, each durably before it is removed from the directory; with
// keep it is not. What was moved before is not sent again, so that whoever was interrupted begins anew. Files may come
// and go meanwhile.
func Move(ctx context.Context, dir string, to Store, keep bool) (all Moved, err error) {
	from := newDirectory(dir)
	all.Damaged = []string{} // not null in JSON
	err = from.Walk(ctx, func(name string) error {
		if _, ok := idIn(name); !ok {
			all.Damaged = append(all.Damaged, from.at(name)+" is none of the files that users have uploaded")
			return nil
		}
		there, err := to.Has(ctx, []string{name})
		if err != nil {
			return err
		}
		if there[0] {
			all.There++
		} else {
			switch err := move(ctx, from, to, name); {
			case errors.Is(err, fs.ErrNotExist): // its time has come
				return nil
			case errors.Is(err, errDamaged):
				all.Damaged = append(all.Damaged, fmt.Sprintf("%s: %v", from.at(name), err))
				return nil
			case err != nil:
				return err
			}
			all.Moved++
		}
		if keep {
			return nil
		}
		_, err = from.Remove(ctx, []string{name})
		return err
	})
	if err != nil || keep {
		return all, err
	}
	folders, err := from.Folders(ctx)
	for _, in := range folders {
		if in != unfinishedName {
			_ = syscall.Rmdir(filepath.Join(dir, in)) // one that has something left stays, and so does a file
		}
	}
	return all, err
}

// move sends a file that is whole.
func move(ctx context.Context, from *directory, to Store, name string) error {
	if err := verifyFile(ctx, from, name); err != nil {
		return err
	}
	return to.Put(ctx, name, from.at(name))
}
