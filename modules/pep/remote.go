package pep

import (
	"strings"
	"sync"

	"jackdaw/modules/internal/share"
	"jackdaw/router"
	"jackdaw/xmpp/jid"
)

const (
	// maxWatchers bounds the contacts of one user whose wishes are known, maxClients the addresses of one contact.
	maxWatchers = 10000
	maxClients  = 20
	// maxSeen bounds what is remembered for users who are away.
	maxSeen = 32768
)

// remote holds what contacts on other servers want, for users who are there.
type remote struct {
	router *router.Router

	mu    sync.Mutex                                 // guards the rest
	users map[jid.JID]map[jid.JID]map[jid.JID]*watch // by user, contact and full address
	// sent says who has been sent the last items of whom, and with which capabilities; each domain has its share.
	sent *share.Table[pair, capability]
}

type pair struct{ user, full jid.JID }

func (r *remote) init(o Options) {
	r.router, r.users = o.Router, map[jid.JID]map[jid.JID]map[jid.JID]*watch{}
	r.sent = share.New[pair, capability](maxSeen)
}

// come notes the presence of a contact. fresh says that it is the first, or that it has other capabilities than before,
// which are those of old then.
func (r *remote) come(user, full jid.JID, c capability, online bool) (w, old *watch, fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w = &watch{caps: c}
	contact := full.Bare()
	if old = r.users[user][contact][full]; old != nil && old.caps == c {
		return nil, nil, false
	}
	user, full, contact = clone(user), clone(full), clone(contact)
	if online {
		r.put(user, contact, full, w)
	}
	// Seen while the user was away, or before it went.
	known, seen := r.sent.Get(pair{user, full})
	r.sent.Put(r.router.Sharer(full), pair{user, full}, c, 1)
	if seen && known == c {
		return w, w, online // what it wants is to be learnt, and it has got everything
	}
	return w, old, true
}

// put keeps the watch of an address, if need be in place of another of that contact, which may have gone without a
// word. The caller holds mu.
func (r *remote) put(user, contact, full jid.JID, w *watch) {
	contacts := r.users[user]
	if contacts == nil {
		contacts = map[jid.JID]map[jid.JID]*watch{}
		r.users[user] = contacts
	}
	clients := contacts[contact]
	if clients == nil {
		if len(contacts) >= maxWatchers {
			return
		}
		clients = map[jid.JID]*watch{}
		contacts[contact] = clients
	}
	for other := range clients {
		if len(clients) < maxClients || clients[full] != nil {
			break
		}
		delete(clients, other)
	}
	clients[full] = w
}

// gone forgets an address.
func (r *remote) gone(user, full jid.JID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	contact := full.Bare()
	clients := r.users[user][contact]
	if delete(clients, full); len(clients) == 0 {
		delete(r.users[user], contact)
	}
	r.sent.Delete(pair{user, full})
}

// leave forgets what the contacts of a user want who is away now.
func (r *remote) leave(user jid.JID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.users, user)
}

// part forgets a contact that shows a user its presence no more.
func (r *remote) part(user, contact jid.JID) {
	for _, w := range r.of(user, contact) {
		r.gone(user, w.full)
	}
}

// A watcher is an address with what its client wants.
type watcher struct {
	full  jid.JID
	watch *watch
}

// of are the watchers of a contact.
func (r *remote) of(user, contact jid.JID) (out []watcher) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for full, w := range r.users[user][contact] {
		out = append(out, watcher{full, w})
	}
	return out
}

// who returns the addresses of a user's contacts that want the events of a node.
func (r *remote) who(user jid.JID, node string) (full []jid.JID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, clients := range r.users[user] {
		for one, w := range clients {
			if w.wants(node) {
				full = append(full, one)
			}
		}
	}
	return full
}

// clone makes an address that shares no memory with a stanza.
func clone(a jid.JID) jid.JID {
	c, err := jid.Parse(strings.Clone(a.String()))
	if err != nil {
		return a // cannot be: what is normalised is valid
	}
	return c
}
