package invitations

import (
	"context"
	"time"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// An Admission is what a token lets somebody do who has no session.
type Admission struct {
	Name  string // the local part that there is to choose; "": any
	Reset bool   // an account of this name gets a new password, instead of being made
}

// Admit says what a token is good for now, for somebody who wants an account of the host or a new password (XEP-0445).
// Nothing is used by it.
func (i *Invitations) Admit(ctx context.Context, host, token string) (Admission, *xmpp.Error) {
	r, _, bad := i.look(ctx, host, token, time.Now())
	if bad != nil {
		return Admission{}, bad
	}
	if r.Kind == Contact || r.Kind == Account && !i.o.Registers(host) {
		return Admission{}, invalid()
	}
	return Admission{Name: r.Name, Reset: r.Kind == Reset}, nil
}

// look finds what a token is good for at some time, with its hash.
func (i *Invitations) look(ctx context.Context, host, token string, at time.Time) (*record, string, *xmpp.Error) {
	h, ok := hash(token)
	if !ok || !i.On() {
		return nil, "", invalid()
	}
	r, err := i.get(ctx, host, h)
	if err != nil {
		return nil, "", i.unavailable(err)
	}
	good, err := i.good(ctx, r, at)
	switch {
	case err != nil:
		return nil, "", i.unavailable(err)
	case !good, r.left() <= 0 && !r.stale(at):
		return nil, "", invalid()
	}
	return r, h, nil
}

// good says whether an invitation, which may be nil, can be used at some time but for the number of uses: it ends with
// whoever has made it.
func (i *Invitations) good(ctx context.Context, r *record, at time.Time) (bool, error) {
	if r == nil || !at.Before(r.Expires) {
		return false, nil
	}
	if r.By.IsZero() {
		return true, nil
	}
	who, err := i.o.Accounts.Rights(ctx, r.By)
	return err == nil && who.Active(), err
}

// stale says whether a claim is open that should be settled.
func (r *record) stale(now time.Time) bool {
	for _, c := range r.Claims {
		if now.Sub(c.At) > grace {
			return true
		}
	}
	return false
}

func (i *Invitations) unavailable(err error) *xmpp.Error {
	i.o.Log.Warn("invitations unavailable", "error", err)
	return router.Unavailable()
}

// A Claim is a use that has begun. One of its two methods is to be called; if none is, it is settled later by whether
// there is such an account.
type Claim struct {
	Admission
	i    *Invitations
	host string
	hash string
	as   claim
	r    *record
}

// Claim begins a use for a user to be, or one who gets a new password. admitted is when the token was good, which is
// what counts (XEP-0445: it does not expire meanwhile).
func (i *Invitations) Claim(ctx context.Context, token string, user jid.JID, admitted time.Time) (
	*Claim, *xmpp.Error) {
	return i.claim(ctx, user.Domain(), token, user, admitted, func(r *record) *xmpp.Error {
		switch {
		case r.Kind == Contact, r.Kind == Account && !i.o.Registers(user.Domain()):
			return invalid()
		case r.Name != "" && r.Name != user.Local():
			return xmpp.NotAcceptable("this invitation is for another user name")
		}
		return nil
	})
}

func (i *Invitations) claim(ctx context.Context, host, token string, user jid.JID, admitted time.Time,
	fits func(*record) *xmpp.Error) (*Claim, *xmpp.Error) {
	h, ok := hash(token)
	if !ok || !i.On() {
		return nil, invalid()
	}
	// The time is that of the begin: two uses by one user are two claims.
	c := &Claim{i: i, host: host, hash: h, as: claim{User: user, At: time.Now().UTC()}}
	var bad *xmpp.Error
	err := i.change(ctx, host, func() (uint64, []storage.Change, error) {
		version, r, err := i.one(ctx, host, h)
		if err != nil {
			return 0, nil, err
		}
		good, err := i.good(ctx, r, admitted)
		if err != nil {
			return 0, nil, err
		}
		if !good {
			bad = invalid()
			return version, nil, nil
		}
		if err := i.settle(ctx, r, time.Now()); err != nil {
			return 0, nil, err
		}
		if bad = fits(r); bad == nil && r.left() <= 0 {
			bad = invalid()
		}
		if bad != nil {
			return version, nil, nil
		}
		c.r, c.Admission = r, Admission{Name: r.Name, Reset: r.Kind == Reset}
		r.Claims = append(r.Claims, c.as)
		changes, err := put(h, r)
		return version, changes, err
	})
	switch {
	case bad != nil:
		return nil, bad
	case err != nil:
		return nil, i.unavailable(err)
	}
	return c, nil
}

// Keep counts the use. The user that it was for gets the contact.
func (c *Claim) Keep(ctx context.Context) error {
	if c.r.Kind == Account {
		c.i.befriend(c.as.User, c.r.Contact)
	}
	return c.end(ctx, 1)
}

// Drop gives the use back.
func (c *Claim) Drop(ctx context.Context) error { return c.end(ctx, 0) }

func (c *Claim) end(ctx context.Context, used int) error {
	return c.i.change(ctx, c.host, func() (uint64, []storage.Change, error) {
		version, r, err := c.i.one(ctx, c.host, c.hash)
		if err != nil || r == nil { // revoked meanwhile
			return version, nil, err
		}
		for n, open := range r.Claims {
			if open.User == c.as.User && open.At.Equal(c.as.At) {
				r.Claims = append(r.Claims[:n:n], r.Claims[n+1:]...)
				r.Used += used
				changes, err := put(c.hash, r)
				return version, changes, err
			}
		}
		return version, nil, nil // settled meanwhile
	})
}

// settle closes claims that a crash has left open: those whose account is there are uses.
func (i *Invitations) settle(ctx context.Context, r *record, now time.Time) error {
	var open []claim
	for _, c := range r.Claims {
		if now.Sub(c.At) <= grace {
			open = append(open, c)
			continue
		}
		ours := r.Kind != Contact && i.o.Router.Serves(c.User.Domain())
		there := true // a use by whoever had an account already
		if ours {
			var err error
			if there, err = i.o.Accounts.Exists(ctx, c.User); err != nil {
				return err
			}
		}
		if !there {
			continue
		}
		r.Used++
		if ours && r.Kind == Account {
			i.befriend(c.User, r.Contact)
		}
	}
	r.Claims = open
	return nil
}

// befriend makes two users of ours contacts of each other, with both subscriptions (XEP-0401 §5.5).
func (i *Invitations) befriend(user, contact jid.JID) {
	if contact.IsZero() || user == contact {
		return
	}
	b := new(router.Batch)
	defer b.Flush()
	for _, one := range [][2]jid.JID{{user, contact}, {contact, user}} {
		p, err := i.o.Befriend(b, one[0], one[1])
		if err == nil {
			err = p.Wait(context.Background())
		}
		if err != nil {
			i.o.Log.Warn("an invited user is no contact", "user", one[0], "contact", one[1], "error", err)
		}
	}
}

// Subscribe says whether a token in a request for a subscription makes it one that needs no answer (XEP-0379 §3.5).
// Then the use has begun, and settle ends it.
func (i *Invitations) Subscribe(user, contact jid.JID, token string) (settle func(granted bool), ok bool) {
	ctx := context.Background()
	c, bad := i.claim(ctx, user.Domain(), token, contact, time.Now(), func(r *record) *xmpp.Error {
		if r.Contact != user || r.Kind == Reset {
			return invalid()
		}
		return nil
	})
	if bad != nil {
		return nil, false
	}
	return func(granted bool) {
		used := 0
		if granted {
			used = 1
		}
		if err := c.end(ctx, used); err != nil {
			i.o.Log.Warn("the use of an invitation is not counted yet", "error", err)
		}
	}, true
}

// Keeps says whether a user name is kept for somebody who has been invited (XEP-0445, Business Rules).
func (i *Invitations) Keeps(ctx context.Context, user jid.JID) (bool, error) {
	if !i.On() {
		return false, nil
	}
	b, err := i.o.Store.Get(ctx, user.Domain(), nameKey+user.Local())
	if err != nil {
		return false, notFoundIsNo(err)
	}
	r, err := i.get(ctx, user.Domain(), string(b))
	return r != nil && time.Now().Before(r.Expires), err
}

// Run removes what has expired and settles what was left open, now and then, until ctx ends.
func (i *Invitations) Run(ctx context.Context) {
	for {
		for _, host := range i.o.Hosts() {
			if err := i.sweep(ctx, host); err != nil && ctx.Err() == nil {
				i.o.Log.Warn("invitations are not swept", "host", host, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(sweeping):
		}
	}
}

func (i *Invitations) sweep(ctx context.Context, host string) error {
	return i.change(ctx, host, func() (uint64, []storage.Change, error) {
		now := time.Now()
		return i.each(ctx, host, func(h string, r *record) ([]storage.Change, error) {
			stale := r.stale(now)
			if err := i.settle(ctx, r, now); err != nil {
				return nil, err
			}
			switch {
			case now.Sub(r.Expires) > grace:
				return remove(h, r), nil
			case stale:
				return put(h, r)
			}
			return nil, nil
		})
	})
}
