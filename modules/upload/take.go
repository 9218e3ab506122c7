package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// errDropped: the account is gone.
var errDropped = errors.New("the account was removed")

// take makes what is sent for a slot, which is in use, a file that is served, durably. On an error nothing is left of
// it but for what undo could not reach.
func (s *Service) take(sl *slot, kind string, body io.Reader) error {
	file, err := s.write(sl, kind, body)
	if err != nil {
		return err
	}
	if err = s.finish(sl, file); err == nil {
		s.Stats.Bytes.Add(sl.size)
		s.o.Log.Info("file taken", "account", sl.owner, "file", short(sl.id), "size", sl.size, "type", kind)
	}
	if bad := os.Remove(file); bad != nil && !errors.Is(bad, os.ErrNotExist) {
		s.o.Log.Warn("a half-written file not removed", "error", bad) // the next start does
	}
	return err
}

// finish puts an unfinished file into the store. What is uploaded is noted first, so that no file is without: a crash
// in between leaves a record without a file, which does no harm. What has come is taken though its client may have
// gone.
func (s *Service) finish(sl *slot, file string) error {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	s.mu.Lock()
	if sl.state == dropped {
		s.mu.Unlock()
		return errDropped
	}
	sl.stop, sl.done = cancel, make(chan struct{})
	s.mu.Unlock()
	defer close(sl.done)
	record, err := s.note(sl)
	if err != nil {
		return fmt.Errorf("note an upload: %w", err)
	}
	name, _ := nameOf(sl.id) // it was made by newID
	err = s.store.Put(ctx, name, file)
	s.met(err)
	if err == nil {
		err = s.still(ctx, sl.owner)
	}
	s.mu.Lock()
	if sl.state == dropped { // which may have ended the above
		err = errDropped
	}
	s.mu.Unlock()
	if err != nil {
		s.undo(sl, name, record)
	}
	return err
}

// still says whether an account is there after its file is: one that was removed by another server meanwhile leaves no
// file, since that removes those that came before.
func (s *Service) still(ctx context.Context, owner jid.JID) error {
	may, err := s.o.May(ctx, owner)
	if err == nil && !may {
		err = errDropped
	}
	return err
}

// note has it known, durably, that an account uploads a file.
func (s *Service) note(sl *slot) (record uint64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	record, _, p, err := s.o.Records.Append(ctx, sl.owner.String(), storage.Record{Data: recordOf(sl)},
		storage.AppendOptions{})
	if err == nil {
		err = p.Wait(ctx)
	}
	return record, err
}

// undo removes a file of which nobody was told, and then its record, which would count for the quota. Where it cannot
// be known that there is no file, its record stays, and it goes with its account or when its time has come.
func (s *Service) undo(sl *slot, name string, record uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := s.store.Remove(ctx, []string{name})
	if err == nil {
		var p *storage.Pending
		if p, err = s.o.Records.Remove(ctx, sl.owner.String(), record); err == nil {
			err = p.Wait(ctx)
		}
	}
	if err != nil {
		s.o.Log.Warn("what is left of a file that was not taken is not removed", "account", sl.owner, "file", short(sl.id),
			"error", err)
	}
}

// awayTime is how long nothing is taken after the store was found away; then one tries again.
const awayTime = 5 * time.Second

// met remembers whether the store of files could be reached.
func (s *Service) met(err error) {
	switch {
	case errors.Is(err, ErrAway):
		if s.away.Swap(time.Now().UnixNano()) == 0 {
			do := "bring it back, or the way to it"
			var known *BucketError
			if errors.As(err, &known) {
				do = known.Remedy()
			}
			s.o.Log.Error("the store of files is away", "error", err, "do", do+"; files are taken and served again then")
		}
	case err == nil:
		if s.away.Load() != 0 && s.away.Swap(0) != 0 {
			s.o.Log.Info("the store of files is back")
		}
	}
}

// reachable is ErrAway as long as it is not worth trying.
func (s *Service) reachable() error {
	if last := s.away.Load(); last != 0 && time.Since(time.Unix(0, last)) < awayTime {
		return ErrAway
	}
	return nil
}

// removed erases the files of an account, and the slots it has.
func (s *Service) removed(user jid.JID) error {
	owner := user.Bare().String()
	var ends []<-chan struct{}
	s.mu.Lock()
	for sl := range s.users[owner] {
		if sl.done != nil {
			sl.stop()
			ends = append(ends, sl.done)
		}
		s.drop(sl, dropped)
		s.slots[sl.id] = sl // or its pass would make it anew, as long as it is good
	}
	s.mu.Unlock()
	for _, end := range ends { // whatever appears has appeared before the records are read
		<-end
	}
	ctx := context.Background()
	for after := uint64(0); ; {
		list, more, err := s.o.Records.Page(ctx, owner, storage.Query{After: after})
		if err != nil {
			return err
		}
		_, names := notedIn(list)
		// The records are what names the files, so they go when no power cut brings a file back.
		if _, err := s.store.Remove(ctx, names); err != nil {
			return err
		}
		if !more {
			break
		}
		after = list[len(list)-1].ID
	}
	p, err := s.o.Records.DeleteOwner(ctx, owner)
	if err != nil {
		return err
	}
	return p.Wait(ctx)
}
