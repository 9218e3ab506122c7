package upload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// ErrNoFile is returned to administrators for a file that an account does not have.
var ErrNoFile = errors.New("there is no such file")

// A Usage is how much an account has on the disk.
type Usage struct {
	Owner string // bare address
	Files int
	Bytes int64
}

// A File is one that an account has uploaded.
type File struct {
	ID      string // who knows it can fetch the file
	Name    string // as the client has called it
	Type    string // likewise; "" if not
	Size    int64  // bytes
	Created time.Time
	Until   time.Time // when it goes, if its client has said so; zero: with the others
}

// each calls f with each file of an account that is there, the oldest first, until it returns false.
func (s *Service) each(ctx context.Context, owner string, f func(record uint64, id string, size int64) bool) error {
	for after := uint64(0); ; {
		list, more, err := s.o.Records.Page(ctx, owner, storage.Query{After: after})
		if err != nil {
			return fmt.Errorf("look for files of %s: %w", owner, err)
		}
		noted, names := notedIn(list)
		there, err := s.store.Has(ctx, names)
		if err != nil {
			return fmt.Errorf("look for files of %s: %w", owner, err)
		}
		for i, one := range noted {
			if there[i] && !f(one.record, one.id, one.size) {
				return nil
			}
		}
		if !more {
			return nil
		}
		after = list[len(list)-1].ID
	}
}

// A noted file is one of which a record tells.
type noted struct {
	record uint64
	id     string
	size   int64
}

// notedIn reads records, and returns with each file how a Store calls it.
func notedIn(list []storage.Record) (all []noted, names []string) {
	for _, r := range list {
		size, id, ok := readRecord(r.Data)
		name, good := nameOf(id)
		if ok && good {
			all, names = append(all, noted{r.ID, id, size}), append(names, name)
		}
	}
	return all, names
}

// Used is how much an account has on the disk.
func (s *Service) Used(ctx context.Context, user jid.JID) (Usage, error) {
	u := Usage{Owner: user.Bare().String()}
	err := s.each(ctx, u.Owner, func(_ uint64, _ string, size int64) bool {
		u.Files++
		u.Bytes += size
		return true
	})
	return u, err
}

// Users lists who has files on the disk, in any order.
func (s *Service) Users(ctx context.Context) (all []Usage, err error) {
	var owners []string
	if err := s.o.Records.Owners(ctx, func(owner string) bool {
		owners = append(owners, owner)
		return true
	}); err != nil {
		return nil, fmt.Errorf("look for who has files: %w", err)
	}
	for _, owner := range owners {
		user, err := jid.Parse(owner)
		if err != nil {
			continue // nobody's
		}
		u, err := s.Used(ctx, user)
		if err != nil {
			return nil, err
		}
		if u.Files > 0 {
			all = append(all, u)
		}
	}
	return all, nil
}

// Files lists up to limit files of an account, the oldest first, that come after a place; 0 begins. next is the place
// to go on from, 0 if there are no more.
func (s *Service) Files(ctx context.Context, user jid.JID, place uint64, limit int,
) (page []File, next uint64, err error) {
	last := uint64(0)
	err = s.each(ctx, user.Bare().String(), func(record uint64, id string, size int64) bool {
		if record <= place {
			return true
		}
		if len(page) == limit {
			next = last
			return false
		}
		last = record
		one := File{ID: id, Size: size, Created: time.UnixMicro(int64(record))}
		if f, err := s.open(ctx, id); err == nil { // what is damaged or over is listed by what its record says
			one.Name, one.Type, one.Created, one.Until = f.Name, f.Type, f.Created, f.Until
			f.Close()
		}
		page = append(page, one)
		return true
	})
	return page, next, err
}

// Remove deletes files of an account, or with no ids all of them, and says how many. What they had of the quota they
// keep, as if they were there. Errors: ErrNoFile, of a file that is not the account's; those before it are gone then.
func (s *Service) Remove(ctx context.Context, user jid.JID, ids ...string) (n int, err error) {
	owner := user.Bare().String()
	there := map[string]bool{}
	if err := s.each(ctx, owner, func(_ uint64, id string, _ int64) bool {
		there[id] = true
		return true
	}); err != nil {
		return 0, err
	}
	if len(ids) == 0 {
		for id := range there {
			ids = append(ids, id)
		}
	}
	var names []string
	var none error
	for _, id := range ids {
		if !there[id] {
			none = fmt.Errorf("%s of %s: %w", short(id), owner, ErrNoFile)
			break
		}
		there[id] = false
		name, _ := nameOf(id) // it is one, or it would not be there
		names = append(names, name)
	}
	n, err = s.store.Remove(ctx, names)
	return n, errors.Join(none, err)
}
