package announcements

import (
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"time"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// everybody calls f with each user of a host who has a session.
func (a *Announcements) everybody(host string, f func(user jid.JID)) {
	users := map[jid.JID]bool{}
	a.router.EachSession(func(s *router.Session) bool {
		if s.Bare().Domain() == host {
			users[s.Bare()] = true
		}
		return true
	})
	for user := range users {
		f(user)
	}
}

// giveAll gives to all users of a host who can take messages, and says to how many.
func (a *Announcements) giveAll(host string) (reached int) {
	a.everybody(host, func(user jid.JID) {
		available := func(s *router.Session) bool { return s.Presence() != nil }
		if !slices.ContainsFunc(a.router.Sessions(user), available) {
			return // with the first presence
		}
		switch n, err := a.give(user, nil); {
		case err != nil:
			a.log.Warn("announcements not given", "user", user, "error", err)
		case n > 0:
			reached++
		}
	})
	return reached
}

// give gives a user what there is that they have not got, and says how much that was.
func (a *Announcements) give(user jid.JID, batch *router.Batch) (n int, err error) {
	b, err := a.board(user.Domain())
	if err != nil {
		return 0, err
	}
	kept, motd, welcome := b.kept, b.stand[OfTheDay], b.stand[Welcome] // replaced, never changed
	b.mu.Unlock()
	if len(kept) == 0 && motd == nil && welcome == nil {
		return 0, nil
	}
	lock := &a.giving[maphash.String(a.seed, user.String())%uint64(len(a.giving))]
	lock.Lock()
	defer lock.Unlock()
	had, err := a.seen(user)
	if err != nil {
		return 0, err
	}
	now := had
	for _, one := range kept {
		if one.Made.UnixNano() <= now.announced || time.Now().After(one.Until) {
			continue
		}
		if !a.send(user, one, batch) {
			break // with the next login
		}
		now.announced = one.Made.UnixNano()
		n++
	}
	if motd != nil && motd.Made.UnixNano() > now.motd && a.send(user, *motd, batch) {
		now.motd = motd.Made.UnixNano()
		n++
	}
	if welcome != nil && !now.welcomed {
		if made := welcome.Made.UnixNano(); now.made < made {
			now.welcomed = true // it was here before
		} else if a.send(user, *welcome, batch) {
			now.welcomed = true
			n++
		}
	}
	if now == had {
		return n, nil
	}
	_, p, err := a.store.Update(context.Background(), user.String(), storage.AnyVersion,
		storage.Change{Key: seenKey, Value: now.append(nil)})
	if err != nil {
		return n, err
	}
	p.Then(func(err error) {
		if err != nil {
			a.log.Warn("what a user has been announced is not kept", "user", user, "error", err)
		}
	})
	return n, nil
}

// send writes to a user, and says whether they have got it or will.
func (a *Announcements) send(user jid.JID, n Notice, b *router.Batch) bool {
	from, err := jid.New("", user.Domain(), "")
	if err != nil {
		return false
	}
	payload := xmpp.NewWriter(nil).Leaf(xmpp.NSClient, "body", n.Text).Bytes()
	e := &router.Envelope{Quiet: true, Batch: b, Stanza: &xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeNormal,
		From: from, To: user, Payload: payload}}
	a.router.Route(e)
	return e.Err == nil
}

// seen is up to where a user has got what was announced, in nanoseconds since 1970.
type seen struct {
	made            int64 // the account; not in the record
	announced, motd int64
	welcomed        bool
}

// seen reads what a user has got. Who never got anything begins with their account: what was announced before is not
// for them, but for the message of the day.
func (a *Announcements) seen(user jid.JID) (s seen, err error) {
	ctx := context.Background()
	value, err := a.store.Get(ctx, user.String(), seenKey)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return s, err
	}
	known := err == nil
	if known {
		if s, err = parseSeen(value); err != nil {
			return s, err
		}
	}
	if known && s.welcomed {
		return s, nil
	}
	account, err := a.accounts.Get(ctx, user)
	if err != nil {
		return s, err
	}
	if !account.Created.IsZero() {
		s.made = account.Created.UnixNano()
	}
	if !known {
		s.announced = s.made
	}
	return s, nil
}
