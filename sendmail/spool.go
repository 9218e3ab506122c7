package sendmail

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxKept is how many letters wait unless a Spool says else.
	maxKept = 10000
	// lockTime is how long a call waits for another that posts what is kept.
	lockTime = 30 * time.Second

	keptSuffix = ".letter"
	lostSuffix = ".refused" // for whoever looks: the server does not want it
)

// A Spool is a directory with letters that wait for the server. Several programs may use it at once.
type Spool struct {
	Dir  string
	Most int // letters; 0: maxKept
}

// lock keeps others from posting what is here, so that it is posted in order.
func (s *Spool) lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.Dir, "lock"), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, failure(ExitTemporary, "the spool cannot be used: %w", err)
	}
	for end := time.Now().Add(lockTime); ; {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return func() { _ = f.Close() }, nil // which unlocks
		}
		if time.Now().After(end) || ctx.Err() != nil {
			_ = f.Close()
			return nil, failure(ExitTemporary, "another program is posting what is in %s", s.Dir)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// keep writes a letter to the disk, behind all that are there.
func (s *Spool) keep(l Letter) error {
	names, err := s.kept()
	switch {
	case err != nil:
		return err
	case len(names) >= cmp.Or(s.Most, maxKept):
		return fmt.Errorf("%s is full: %d wait", s.Dir, len(names))
	}
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(s.Dir, "new-") // readable by its owner alone
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // there is none any more, unless something went wrong
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	// A name that sorts behind those that are there: the time to the nanosecond, in digits of one length.
	name := fmt.Sprintf("%020d-%s%s", time.Now().UnixNano(), l.Key, keptSuffix)
	if err := os.Rename(f.Name(), filepath.Join(s.Dir, name)); err != nil {
		return err
	}
	d, err := os.Open(s.Dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// kept are the names of what waits, in order.
func (s *Spool) kept() (names []string, err error) {
	all, err := os.ReadDir(s.Dir)
	for _, one := range all {
		if strings.HasSuffix(one.Name(), keptSuffix) {
			names = append(names, one.Name())
		}
	}
	return names, err
}

// flush posts what waits, in order. late is why the rest has to wait on; errs are of letters that the server refused,
// which are put aside. It is called with the lock held.
func (s *Spool) flush(ctx context.Context, p *Poster) (errs []error, late error) {
	names, err := s.kept()
	if err != nil {
		return nil, failure(ExitTemporary, "the spool cannot be used: %w", err)
	}
	for _, name := range names {
		path := filepath.Join(s.Dir, name)
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
			continue // another user's, who posts it
		}
		var l Letter
		if err == nil {
			err = json.Unmarshal(b, &l)
		}
		if err != nil {
			err = failure(ExitData, "%s cannot be read: %w", path, err)
		} else {
			err = p.Post(ctx, l)
		}
		switch {
		case err == nil:
			err = os.Remove(path)
		case Code(err) == ExitTemporary:
			return errs, err
		default:
			errs = append(errs, fmt.Errorf("%w; it is now %s", err, strings.TrimSuffix(name, keptSuffix)+lostSuffix))
			err = os.Rename(path, strings.TrimSuffix(path, keptSuffix)+lostSuffix)
		}
		if err != nil {
			return errs, failure(ExitTemporary, "%w", err)
		}
	}
	return errs, nil
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
