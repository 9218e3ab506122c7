// Package invitations keeps links that lead to an account, to a contact or to a new password, and says what a token of
// one is good for: registration by invitation (XEP-0445), subscriptions that need no answer (XEP-0379), and the links
// that users and administrators make (XEP-0401), by a command of package commands or of the administrator.
//
// A token is 130 random bits, of which the store has a hash alone. A use is counted in one step with the check that
// there is one left, and before what it is for is done: it is claimed, and then either counted or given back. A claim
// that a crash has left open is settled later by what has become of it.
//
// An invitation ends with the account that has made it, and does nothing while that is disabled.
//
// Left out: names for contacts, and the list of one's own invitations by command.
package invitations

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"jackdaw/config"
	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// What bounds invitations whoever makes them.
const (
	MaxUses = 1000
	MaxLife = 365 * 24 * time.Hour
	MinLife = time.Minute
	maxHost = 10000 // that wait to be used, of a host
)

const (
	// grace is how long a claim may stay open, and an invitation that has expired be there for those who were admitted
	// in time (XEP-0445, Pre-Authenticated In-Band Registration).
	grace = 10 * time.Minute
	// maxTries bounds how often a change meets another before it gives up.
	maxTries = 100
	sweeping = time.Hour
)

// Errors of Make, to be tested with errors.Is. Their texts are for whoever makes an invitation.
var (
	ErrClosed  = errors.New("no account is made by invitation here: set `registration: invite` in the configuration")
	ErrQuota   = errors.New("too many invitations wait to be used: revoke some, or wait until they expire")
	ErrBounds  = errors.New("an invitation is good for 1 to 1000 uses and for 1m to 365d")
	ErrName    = errors.New("this name is taken, or kept for another invitation")
	ErrUser    = errors.New("no user can have this name")
	ErrNobody  = errors.New("there is no such account")
	ErrContact = errors.New("the contact is not of the host that invites")
	ErrNothing = errors.New("there is no such invitation: see `jackdaw invite list`")
)

// Accounts is what is needed of router/accounts.
type Accounts interface {
	router.Users
	Rights(ctx context.Context, user jid.JID) (*accounts.Rights, error)
}

// Options of New; all are needed but URL.
type Options struct {
	Router   *router.Router
	Accounts Accounts
	Store    storage.Map
	Settings func() config.Invitations
	Hosts    func() []string // that are served
	// Registers says whether invitations may lead to accounts of a host now.
	Registers func(host string) bool
	// Befriend makes one the contact of the other, with both subscriptions, from the side of user alone.
	Befriend func(b *router.Batch, user, contact jid.JID) (*storage.Pending, error)
	// URL is where HTTP of a host is reached, without a slash at its end; "": nowhere.
	URL func(host string) string
	Log *slog.Logger
}

// Invitations is the module. It is safe for concurrent use.
type Invitations struct {
	parts.Switch
	o Options
}

// Befriender is what is needed of the roster.
type Befriender interface {
	Befriend(b *router.Batch, user, contact jid.JID) (*storage.Pending, error)
}

// Of makes the invitations of a server.
func Of(p parts.Parts, contacts Befriender) *Invitations {
	i := New(Options{Router: p.Router, Accounts: p.Accounts, Store: p.Store.Map("invitations"), Log: p.Log, URL: p.URL,
		Settings: func() config.Invitations { return p.Config().Modules.Invitations },
		Hosts: func() (all []string) {
			for _, h := range p.Config().Hosts {
				all = append(all, h.Domain)
			}
			return all
		},
		Registers: func(host string) bool { return p.Registration(host) != config.RegistrationClosed },
		Befriend:  contacts.Befriend})
	i.Switch = p.Switch("invitations")
	return i
}

// New returns the invitations, which are kept in a map that nobody else writes.
func New(o Options) *Invitations { return &Invitations{o: o} }

// Module returns the module.
func (i *Invitations) Module() router.Module {
	return router.Module{
		Name:  "invitations",
		Needs: []string{"roster"},
		Specs: []router.Spec{
			{Name: "XEP-0379", Version: "0.3.3", Note: "the server's part"},
			{Name: "XEP-0401", Version: "0.6.0"},
			{Name: "XEP-0445", Version: "0.2.0"},
		},
		Portable: []router.Portable{{Spaces: []string{"map invitations"},
			Stays: "a link leads to the server that has made it"}},
		Removed: i.removed,
	}
}

// An Order asks for an invitation. What is zero is chosen by Make.
type Order struct {
	Host string
	Kind Kind
	// By is who makes it, a bare address; zero: an administrator by command. Own says that the bounds of users hold.
	By  jid.JID
	Own bool
	// Contact is whom one gets as a contact, a bare address of the host.
	Contact jid.JID
	Name    string // local part; of Reset, that of the account
	Uses    int
	Life    time.Duration
}

// An Invitation is what may be shown of one. Token, URI and URL are told when it is made and never again.
type Invitation struct {
	ID         string
	Kind       Kind
	Host       string
	By         jid.JID
	Contact    jid.JID
	Name       string
	Uses, Used int
	Created    time.Time
	Expires    time.Time

	Token string
	URI   string // xmpp:
	URL   string // of the page; "" where no HTTP is reached
}

func shown(host, h string, r *record) Invitation {
	return Invitation{ID: h[:idSize], Kind: r.Kind, Host: host, By: r.By, Contact: r.Contact, Name: r.Name,
		Uses: r.Most, Used: r.Used, Created: r.Created, Expires: r.Expires}
}

// Make makes an invitation. It returns when it is durable. Errors: those above, and the storage's.
func (i *Invitations) Make(ctx context.Context, o Order) (Invitation, error) {
	now := time.Now().UTC().Truncate(time.Second)
	r, err := i.fill(ctx, o, now)
	if err != nil {
		return Invitation{}, err
	}
	token := rand.Text() // 130 bits
	h, _ := hash(token)
	value, err := r.encode()
	if err != nil {
		return Invitation{}, err
	}
	err = i.change(ctx, o.Host, func() (version uint64, changes []storage.Change, err error) {
		all, version, err := i.o.Store.List(ctx, o.Host)
		if err != nil {
			return 0, nil, err
		}
		count, own, taken := 0, 0, false
		for _, e := range all {
			old, err := readEntry(e)
			if err != nil {
				return 0, nil, err
			}
			if old == nil {
				continue
			}
			if now.Sub(old.Expires) > grace {
				changes = append(changes, remove(strings.TrimPrefix(e.Key, tokenKey), old)...)
				continue
			}
			count++
			if old.By == r.By {
				own++
			}
			taken = taken || old.Kind == Account && r.Name != "" && old.Name == r.Name
		}
		if count >= maxHost || o.Own && own >= i.o.Settings().PerAccount {
			return 0, nil, ErrQuota
		}
		changes = append(changes, storage.Change{Key: tokenKey + h, Value: value})
		if r.Kind == Account && r.Name != "" {
			if taken {
				return 0, nil, fmt.Errorf("%s: %w", r.Name, ErrName)
			}
			changes = append(changes, storage.Change{Key: nameKey + r.Name, Value: []byte(h)})
		}
		return version, changes, nil
	})
	if err != nil {
		return Invitation{}, err
	}
	out := shown(o.Host, h, r)
	out.Token, out.URI = token, out.uri(token, i.o.Registers(o.Host))
	if i.o.URL != nil {
		if at := i.o.URL(o.Host); at != "" {
			out.URL = at + Path + token
		}
	}
	if o.By.IsZero() { // package admin says who it was
		return out, nil
	}
	i.o.Log.Info("invitation made", "id", out.ID, "kind", out.Kind, "host", out.Host, "by", out.By,
		"contact", out.Contact, "name", out.Name, "uses", out.Uses, "expires", out.Expires)
	return out, nil
}

// fill checks an order and completes it.
func (i *Invitations) fill(ctx context.Context, o Order, now time.Time) (*record, error) {
	s := i.o.Settings()
	uses, life := cmp.Or(o.Uses, 1), cmp.Or(o.Life, s.Expires)
	if o.Own {
		uses, life = s.Uses, min(life, s.Expires)
	}
	if o.Kind == Reset {
		uses = 1
	}
	switch {
	case uses < 1 || uses > MaxUses || life < MinLife || life > MaxLife || o.Name != "" && uses != 1:
		return nil, ErrBounds
	case o.Kind == Account && !i.o.Registers(o.Host):
		return nil, ErrClosed
	}
	r := &record{Kind: o.Kind, By: o.By, Contact: o.Contact, Most: uses, Created: now, Expires: now.Add(life)}
	exists := func(user jid.JID) error {
		ok, err := i.o.Accounts.Exists(ctx, user)
		if err == nil && !ok {
			err = fmt.Errorf("%s: %w", user, ErrNobody)
		}
		return err
	}
	switch {
	case r.Contact.IsZero() && o.Kind == Contact:
		return nil, ErrNobody
	case r.Contact.IsZero():
	case r.Contact.Domain() != o.Host:
		return nil, ErrContact
	default:
		if err := exists(r.Contact); err != nil {
			return nil, err
		}
	}
	if o.Name == "" {
		return r, nil
	}
	user, err := jid.New(o.Name, o.Host, "")
	if err != nil {
		return nil, fmt.Errorf("%q: %w", o.Name, ErrUser)
	}
	r.Name = user.Local()
	err = exists(user)
	switch {
	case o.Kind == Reset:
		return r, err
	case err == nil:
		return nil, fmt.Errorf("%s: %w", user, ErrName)
	case !errors.Is(err, ErrNobody):
		return nil, err
	}
	return r, nil
}

// change applies what f finds is to be done, again if somebody else has written meanwhile, and waits until it is
// durable. Without changes nothing is written.
func (i *Invitations) change(ctx context.Context, host string, f func() (uint64, []storage.Change, error)) error {
	for range maxTries {
		version, changes, err := f()
		if err != nil {
			return err
		}
		if len(changes) == 0 {
			return nil
		}
		_, p, err := i.o.Store.Update(ctx, host, version, changes...)
		if errors.Is(err, storage.ErrConflict) {
			continue
		}
		if err != nil {
			return err
		}
		return p.Wait(ctx)
	}
	return storage.ErrConflict
}

// one reads an invitation with the version at which it is so; nil if there is none.
func (i *Invitations) one(ctx context.Context, host, h string) (uint64, *record, error) {
	// The version comes first: what is written between the two makes the change that rests on them fail.
	version, _, err := i.o.Store.Update(ctx, host, storage.AnyVersion)
	if err != nil {
		return 0, nil, err
	}
	r, err := i.get(ctx, host, h)
	return version, r, err
}

func (i *Invitations) get(ctx context.Context, host, h string) (*record, error) {
	b, err := i.o.Store.Get(ctx, host, tokenKey+h)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return readRecord(b)
}

// readEntry is the record of an entry, nil if it is another key.
func readEntry(e storage.Entry) (*record, error) {
	if !strings.HasPrefix(e.Key, tokenKey) {
		return nil, nil
	}
	return readRecord(e.Value)
}

// put is the change that stores a record, or removes it with its name when it has been used up.
func put(h string, r *record) ([]storage.Change, error) {
	if r.Used >= r.Most {
		return remove(h, r), nil
	}
	b, err := r.encode()
	return []storage.Change{{Key: tokenKey + h, Value: b}}, err
}

func remove(h string, r *record) []storage.Change {
	changes := []storage.Change{{Key: tokenKey + h, Delete: true}}
	if r.Kind == Account && r.Name != "" {
		changes = append(changes, storage.Change{Key: nameKey + r.Name, Delete: true})
	}
	return changes
}

// List returns the invitations of a host that can be used, the oldest first.
func (i *Invitations) List(ctx context.Context, host string) (out []Invitation, err error) {
	all, _, err := i.o.Store.List(ctx, host)
	now := time.Now()
	for _, e := range all {
		r, bad := readEntry(e)
		if bad != nil {
			return nil, bad
		}
		if r != nil && now.Before(r.Expires) {
			out = append(out, shown(host, strings.TrimPrefix(e.Key, tokenKey), r))
		}
	}
	slices.SortFunc(out, func(a, b Invitation) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
	return out, err
}

// Revoke ends the invitation of a host with this id, token or link. Errors: ErrNothing, and the storage's.
func (i *Invitations) Revoke(ctx context.Context, host, which string) error {
	if at := strings.LastIndex(which, Path); at >= 0 {
		which = which[at+len(Path):]
	}
	h, ok := hash(which)
	if !ok {
		return ErrNothing
	}
	return i.change(ctx, host, func() (uint64, []storage.Change, error) {
		version, changes, err := i.each(ctx, host, func(key string, r *record) ([]storage.Change, error) {
			if key != h && key[:idSize] != strings.ToLower(which) {
				return nil, nil
			}
			return remove(key, r), nil
		})
		if err == nil && len(changes) == 0 {
			err = ErrNothing
		}
		return version, changes, err
	})
}

// removed ends what a deleted account has made, what leads to it as a contact, and what was to set its password. Only
// an invitation to an account that somebody else has made stays, without the contact.
func (i *Invitations) removed(user jid.JID) error {
	ctx := context.Background()
	var errs []error
	for _, host := range i.o.Hosts() {
		errs = append(errs, i.change(ctx, host, func() (uint64, []storage.Change, error) {
			return i.without(ctx, host, user)
		}))
	}
	return errors.Join(errs...)
}

func (i *Invitations) without(ctx context.Context, host string, user jid.JID) (uint64, []storage.Change, error) {
	return i.each(ctx, host, func(h string, r *record) ([]storage.Change, error) {
		switch {
		case r.By == user, r.Kind == Contact && r.Contact == user,
			r.Kind == Reset && r.Name == user.Local() && host == user.Domain():
			return remove(h, r), nil
		case r.Contact == user:
			r.Contact = jid.JID{}
			return put(h, r)
		}
		return nil, nil
	})
}

// each collects what f wants to change of the invitations of a host.
func (i *Invitations) each(ctx context.Context, host string, f func(h string, r *record) ([]storage.Change, error)) (
	version uint64, changes []storage.Change, err error) {
	all, version, err := i.o.Store.List(ctx, host)
	for _, e := range all {
		r, err := readEntry(e)
		if err != nil {
			return 0, nil, err
		}
		if r == nil {
			continue
		}
		more, err := f(strings.TrimPrefix(e.Key, tokenKey), r)
		if err != nil {
			return 0, nil, err
		}
		changes = append(changes, more...)
	}
	return version, changes, err
}

// invalid is what is told of a token that is good for nothing (XEP-0445), whatever the reason.
func invalid() *xmpp.Error {
	return xmpp.ItemNotFound("this invitation is not valid: it has expired, been used or been withdrawn")
}
