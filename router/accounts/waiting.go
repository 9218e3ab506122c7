package accounts

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

const (
	// waitingOwner, with the domain behind it, has in the map of the secret who waits for approval there. The account
	// itself says that it waits; this says which do, since when and from where, so that nobody has to look at all. It is
	// written before the account is, and removed after it has been decided.
	waitingOwner = "waiting "
	// settleTime is how long a note may be there without an account: then whoever wrote it has died.
	settleTime = 10 * time.Minute

	applicationVersion = 1
)

// Errors of Apply, to be tested with errors.Is.
var (
	ErrHostFull    = errors.New("too many accounts of this host wait for approval")
	ErrAddressFull = errors.New("too many accounts from this address wait for approval")
)

// Bounds are how many accounts may wait for approval.
type Bounds struct {
	Host    int // of one host
	Address int // from one address (of IPv6, one /64), but for exempt ones
}

// An Application is an account that waits for approval.
type Application struct {
	User  jid.JID
	Asked time.Time
	From  netip.Addr // of IPv6 that of the /64; not valid if it is not known
}

// waiting says whether an account waits for approval.
func waiting(a storage.Account) bool { return a.Disabled && a.Approval == storage.ApprovalAsked }

// Apply makes an account that waits for an administrator to approve it. Until then nobody can log in, and to others
// there is no such user. Errors: those of Create, ErrHostFull, ErrAddressFull.
func (s *Service) Apply(ctx context.Context, user jid.JID, password string, from Source, most Bounds) error {
	a, err := s.fresh(ctx, user, password)
	if err != nil {
		return err
	}
	note := Application{User: user, Asked: a.Created, From: from.Network()}
	if from.Exempt {
		note.From, most.Address = netip.Addr{}, 0
	}
	if err := s.note(ctx, note, most); err != nil {
		return err
	}
	a.Disabled, a.Approval = true, storage.ApprovalAsked
	p, err := s.make(ctx, user, a)
	if errors.Is(err, ErrExists) { // somebody else has made it meanwhile
		return errors.Join(err, s.decided(ctx, user))
	}
	if err == nil {
		err = s.reckon(ctx, a.User, a.Credentials)
	}
	if err != nil { // whether it was made is seen later
		return err
	}
	return s.settle(ctx, p, user, 0)
}

// note writes that an account is going to wait, if there is room for it, and returns when that is durable.
func (s *Service) note(ctx context.Context, n Application, most Bounds) error {
	owner := waitingOwner + n.User.Domain()
	for swept := false; ; {
		entries, version, err := s.notes.List(ctx, owner)
		if err != nil {
			return about(n.User.String(), err)
		}
		same := 0
		for _, e := range entries {
			one, err := readApplication(e)
			switch {
			case err != nil:
				return about(n.User.String(), err)
			case one.User == n.User && n.Asked.Sub(one.Asked) < settleTime:
				return about(n.User.String(), storage.ErrExists) // it is on its way
			case one.User != n.User && one.From == n.From:
				same++
			}
		}
		full := error(nil)
		switch {
		case most.Address > 0 && same >= most.Address:
			full = ErrAddressFull
		case len(entries) >= most.Host:
			full = ErrHostFull
		}
		if full != nil && swept {
			return full
		} else if full != nil { // some may have been decided, and left their note
			swept = true
			if _, err := s.Waiting(ctx, n.User.Domain()); err != nil {
				return err
			}
			continue
		}
		_, p, err := s.notes.Update(ctx, owner, version, storage.Change{Key: n.User.String(), Value: n.encode()})
		if errors.Is(err, storage.ErrConflict) {
			continue
		}
		if err == nil {
			err = p.Wait(ctx)
		}
		if err != nil {
			return about(n.User.String(), err)
		}
		return nil
	}
}

// encode is the version, the time in Unix seconds, and the address.
func (n Application) encode() []byte {
	b := binary.BigEndian.AppendUint64([]byte{applicationVersion}, uint64(n.Asked.Unix()))
	return append(b, n.From.AsSlice()...)
}

func readApplication(e storage.Entry) (n Application, err error) {
	if n.User, err = jid.Parse(e.Key); err != nil {
		return n, err
	}
	if len(e.Value) < 9 || e.Value[0] != applicationVersion {
		return n, fmt.Errorf("who waits for approval: the record of %s is of an unknown version or damaged", n.User)
	}
	n.Asked = time.Unix(int64(binary.BigEndian.Uint64(e.Value[1:])), 0).UTC()
	n.From, _ = netip.AddrFromSlice(e.Value[9:])
	return n, nil
}

// decided forgets that an account waits, if it is noted.
func (s *Service) decided(ctx context.Context, user jid.JID) error {
	owner, key := waitingOwner+user.Domain(), user.String()
	_, err := s.notes.Get(ctx, owner, key)
	if err == nil {
		_, _, err = s.notes.Update(ctx, owner, storage.AnyVersion, storage.Change{Key: key, Delete: true})
	}
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}

// Waiting lists the accounts of a host that wait for approval, those first that have waited longest. It ends what was
// begun with others by a process that has died. Errors: ErrUnavailable, or the context's.
func (s *Service) Waiting(ctx context.Context, host string) (all []Application, err error) {
	entries, _, err := s.notes.List(ctx, waitingOwner+host)
	for i := 0; err == nil && i < len(entries); i++ {
		var n Application
		if n, err = readApplication(entries[i]); err != nil {
			break
		}
		var a storage.Account
		switch a, err = s.users.store.Get(ctx, n.User.String()); {
		case errors.Is(err, storage.ErrNotFound) && time.Since(n.Asked) < settleTime:
			err = nil // it is being made
		case errors.Is(err, storage.ErrNotFound), err == nil && a.Approval == "":
			err = s.decided(ctx, n.User)
		case err == nil && waiting(a):
			all = append(all, n)
		case err == nil:
			err = s.Delete(ctx, n.User)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list who waits for approval on %s: %w", host, unavailable(err))
	}
	slices.SortFunc(all, func(a, b Application) int {
		return cmp.Or(a.Asked.Compare(b.Asked), strings.Compare(a.User.String(), b.User.String()))
	})
	return all, nil
}

// Approve lets the user of an account that waits log in; to all who listen it is created now. Errors: ErrNotWaiting,
// ErrNotFound, ErrUnavailable, or the context's.
func (s *Service) Approve(ctx context.Context, user jid.JID) error {
	return s.modifyThen(ctx, user, Created, func(a *storage.Account) error {
		if !waiting(*a) {
			return ErrNotWaiting
		}
		a.Disabled, a.Approval, a.Created = false, "", time.Now().UTC()
		return nil
	}, func() error { return s.decided(ctx, user.Bare()) })
}

// Refuse removes an account that waits. Whoever approves it at the same time has either been first, or fails. Errors:
// ErrNotWaiting, ErrNotFound, ErrUnavailable, or the context's.
func (s *Service) Refuse(ctx context.Context, user jid.JID) error {
	err := s.modify(ctx, user, 0, func(a *storage.Account) error {
		if !waiting(*a) {
			return ErrNotWaiting
		}
		a.Approval = storage.ApprovalRefused
		return nil
	})
	if err != nil {
		return err
	}
	return s.Delete(ctx, user)
}

// Reserved says whether the configuration gives this user, by name, what others do not have: who registers must not
// get that by being first.
func (s *Service) Reserved(user jid.JID) bool {
	c := s.settings.Load()
	if c.admins[user.Bare()] {
		return true
	}
	for _, r := range c.everyone {
		for _, p := range r.accounts {
			if p.String() == user.Bare().String() {
				return true
			}
		}
	}
	return false
}
