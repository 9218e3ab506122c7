package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"jackdaw/modules/internal/recent"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	// maxListed is how many addresses a user's preferences may name.
	maxListed = 1000
	// prefsKey is the key of an owner's, prefsVersion the first byte of its value.
	prefsKey     = "prefs"
	prefsVersion = 1
)

// A policy says what is archived of those who are not listed (XEP-0441 §2.1.1).
type policy byte

const (
	always policy = 'a'
	never  policy = 'n'
	roster policy = 'r'
)

var policies = map[string]policy{"always": always, "never": never, "roster": roster}

func (p policy) String() string {
	for name, other := range policies {
		if p == other {
			return name
		}
	}
	return ""
}

// prefs are what a user wants archived. Immutable.
type prefs struct {
	rest   policy
	listed map[string]policy // always or never, by address
}

// standard is for users who have said nothing.
var standard = &prefs{rest: always}

// of is what the preferences say about an address: the whole one first, then the bare one (XEP-0441 §2.3.1).
func (p *prefs) of(j jid.JID) policy {
	if len(p.listed) == 0 {
		return p.rest
	}
	if one, ok := p.listed[j.String()]; ok {
		return one
	}
	if one, ok := p.listed[j.Bare().String()]; ok {
		return one
	}
	return p.rest
}

// addresses are those of one list, sorted.
func (p *prefs) addresses(which policy) []string {
	var out []string
	for j, one := range p.listed {
		if one == which {
			out = append(out, j)
		}
	}
	slices.Sort(out)
	return out
}

// append is the preferences as they are stored: version, policy of the rest, then each address with its policy before
// it and a NUL behind it.
func (p *prefs) append(dst []byte) []byte {
	dst = append(dst, prefsVersion, byte(p.rest))
	for _, which := range []policy{always, never} {
		for _, j := range p.addresses(which) {
			dst = append(append(append(dst, byte(which)), j...), 0)
		}
	}
	return dst
}

var errPrefs = errors.New("archive preferences that cannot be read")

func readPrefs(b []byte) (*prefs, error) {
	if len(b) < 2 || b[0] != prefsVersion || policy(b[1]).String() == "" {
		return nil, errPrefs
	}
	p := &prefs{rest: policy(b[1]), listed: map[string]policy{}}
	for b = b[2:]; len(b) > 0; {
		i := bytes.IndexByte(b, 0)
		if i < 1 || policy(b[0]) != always && policy(b[0]) != never {
			return nil, errPrefs
		}
		p.listed[string(b[1:i])] = policy(b[0])
		b = b[i+1:]
	}
	return p, nil
}

// parsePrefs reads a <prefs/> of type set.
func parsePrefs(el *xmpp.Element) (*prefs, *xmpp.Error) {
	p := &prefs{rest: policies[el.Attr("default")], listed: map[string]policy{}}
	if p.rest == 0 {
		return nil, xmpp.BadRequest("'default' is always, never or roster")
	}
	for _, which := range []policy{always, never} { // an address in both lists is not archived
		list := el.ChildLocal(which.String())
		if list == nil {
			continue
		}
		for _, c := range list.Children() {
			if c.Name != (xmpp.Name{Space: xmpp.NSMAM, Local: "jid"}) {
				continue
			}
			j, err := jid.Parse(strings.TrimSpace(c.Text()))
			if err != nil {
				return nil, xmpp.JIDMalformed(err.Error())
			}
			p.listed[j.String()] = which
		}
	}
	if len(p.listed) > maxListed {
		return nil, xmpp.ResourceConstraint("too many addresses are listed").WithType(xmpp.ErrorModify)
	}
	return p, nil
}

func (p *prefs) payload() []byte {
	w := xmpp.NewWriter(nil).Start(xmpp.NSMAM, "prefs").Attr("default", p.rest.String())
	for _, which := range []policy{always, never} {
		w.Start("", which.String())
		for _, j := range p.addresses(which) {
			w.Leaf("", "jid", j)
		}
		w.End()
	}
	return w.End().Bytes()
}

// preferences answers questions about them and changes (XEP-0441 §2.1).
func (a *Archive) preferences(e *router.Envelope, el *xmpp.Element) {
	owner := e.Session.Bare().String()
	if e.Stanza.Type == xmpp.TypeGet {
		p, err := a.prefs.Get(owner)
		if err != nil {
			a.fail(e, err)
			return
		}
		a.o.Router.Answer(e, p.payload())
		return
	}
	p, bad := parsePrefs(el)
	if bad != nil {
		e.Refuse(bad)
		return
	}
	pending, err := a.prefs.set(owner, p)
	if err != nil {
		a.fail(e, err)
		return
	}
	a.o.Router.AnswerAfter(e, pending, p.payload())
}

// wants says whether a user has what is exchanged with an address archived. A user's own resources are always in the
// roster.
func (a *Archive) wants(user, with jid.JID) (bool, error) {
	if a.o.Full != nil && a.o.Full() {
		return false, nil
	}
	p, err := a.prefs.Get(user.String())
	if err != nil {
		return false, err
	}
	if with.IsZero() {
		with = user
	}
	switch p.of(with) {
	case always:
		return true, nil
	case roster:
		if with.MatchesBare(user) {
			return true, nil
		}
		return a.o.Contacts.Has(user, with.Bare())
	}
	return false, nil
}

// prefsCache is in front of the map in storage: it is asked twice for every message.
type prefsCache struct {
	*recent.Values[*prefs]
	store storage.Map
}

func newPrefsCache(store storage.Map) *prefsCache {
	c := &prefsCache{store: store}
	c.Values = recent.NewValues(c.load)
	return c
}

func (c *prefsCache) load(owner string) (*prefs, error) {
	p := standard
	b, err := c.store.Get(context.Background(), owner, prefsKey)
	if err == nil {
		p, err = readPrefs(b)
	} else if errors.Is(err, storage.ErrNotFound) {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("load archive preferences of %s: %w", owner, err)
	}
	return p, nil
}

func (c *prefsCache) set(owner string, p *prefs) (*storage.Pending, error) {
	held := c.Hold(owner)
	defer held.Release()
	_, pending, err := c.store.Update(context.Background(), owner, storage.AnyVersion,
		storage.Change{Key: prefsKey, Value: p.append(nil)})
	if err != nil {
		return nil, fmt.Errorf("store archive preferences of %s: %w", owner, err)
	}
	held.Put(p)
	return pending, nil
}

func (c *prefsCache) forget(owner string) {
	held := c.Hold(owner)
	defer held.Release()
	held.Forget()
}
