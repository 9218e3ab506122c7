package commands

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"sync"
	"time"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// What commands that have begun may hold.
const (
	maxEach   = 10               // sessions of an account or a peer's user; beyond: the one that has waited longest goes
	maxAll    = 10000            // sessions of all
	maxStages = 20               // that can be gone back
	lifetime  = 10 * time.Minute // of a session since its last answer
)

// A session is a command that waits for a form (§3.3). Its id is known to the one address that has begun it.
type session struct {
	id, node string
	from     jid.JID // full
	host     string

	mu     sync.Mutex // guards stages and over: one request at a time
	stages []Reply    // those before, and last the one that waits
	over   bool

	until time.Time // guarded by the table
}

// sessions is the table of them.
type sessions struct {
	key [32]byte // of this process

	mu  sync.Mutex            // guards the rest
	by  map[string][]*session // by bare address; those that have waited longest first
	all int
}

func newSessions() *sessions {
	t := &sessions{by: map[string][]*session{}}
	_, _ = rand.Read(t.key[:]) // it never fails
	return t
}

const nonceSize, macSize = 9, 15 // bytes; both are whole in base64

// name makes an id that is told, as long as the process lives, from one that was never given for this (§4.4): what has
// ended need not be kept to be known.
func (t *sessions) name(from jid.JID, host, node string) string {
	var nonce [nonceSize]byte
	_, _ = rand.Read(nonce[:])
	return base64.RawURLEncoding.EncodeToString(append(nonce[:], t.mac(nonce[:], from, host, node)...))
}

func (t *sessions) mac(nonce []byte, from jid.JID, host, node string) []byte {
	h := hmac.New(sha256.New, t.key[:])
	h.Write(nonce)
	for _, s := range []string{from.String(), host, node} {
		h.Write([]byte(s))
		h.Write([]byte{0}) // in none of them: they come from XML
	}
	return h.Sum(nil)[:macSize]
}

func (t *sessions) given(id string, from jid.JID, host, node string) bool {
	b, err := base64.RawURLEncoding.DecodeString(id)
	return err == nil && len(b) == nonceSize+macSize && hmac.Equal(b[nonceSize:], t.mac(b[:nonceSize], from, host, node))
}

// begin makes a session that waits in its first stage.
func (t *sessions) begin(call *Call, c *Command, first Reply) (*session, *xmpp.Error) {
	from, bare := call.From, call.From.Bare().String()
	s := &session{id: t.name(from, call.Host, c.Node), node: c.Node, from: from, host: call.Host,
		stages: []Reply{first}, until: time.Now().Add(lifetime)}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.prune(bare)
	if t.all >= maxAll {
		for who := range t.by {
			t.prune(who)
		}
	}
	if len(t.by[bare]) >= maxEach {
		t.remove(bare, t.by[bare][0])
	}
	if t.all >= maxAll {
		return nil, xmpp.ResourceConstraint("too many commands wait, try again later")
	}
	t.by[bare] = append(t.by[bare], s)
	t.all++
	return s, nil
}

// resume has something done in a session, which ends if f says so.
func (t *sessions) resume(call *Call, c *Command, id string,
	f func(s *session) (answer []byte, over bool, bad *xmpp.Error)) ([]byte, *xmpp.Error) {
	if !t.given(id, call.From, call.Host, c.Node) {
		return nil, wrong("bad-sessionid", "there was no such session")
	}
	bare := call.From.Bare().String()
	t.mu.Lock()
	t.prune(bare)
	i := slices.IndexFunc(t.by[bare], func(s *session) bool { return s.id == id })
	var s *session
	if i >= 0 {
		s = t.by[bare][i]
	}
	t.mu.Unlock()
	expired := xmpp.NotAllowed("this session is over").WithApp(xmpp.NSCommands, "session-expired")
	if s == nil {
		return nil, expired
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil, expired
	}
	answer, over, bad := f(s)
	s.over = over
	t.mu.Lock()
	defer t.mu.Unlock()
	if there := t.remove(bare, s); there && !over {
		s.until = time.Now().Add(lifetime)
		t.by[bare] = append(t.by[bare], s)
		t.all++
	}
	return answer, bad
}

// drop forgets the sessions that an address has begun.
func (t *sessions) drop(from jid.JID) {
	bare := from.Bare().String()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range slices.Clone(t.by[bare]) {
		if s.from == from {
			t.remove(bare, s)
		}
	}
}

// prune forgets those of somebody that have waited too long.
func (t *sessions) prune(bare string) {
	for now := time.Now(); len(t.by[bare]) > 0 && !now.Before(t.by[bare][0].until); {
		t.remove(bare, t.by[bare][0])
	}
}

// remove takes a session out, if it is there.
func (t *sessions) remove(bare string, s *session) (there bool) {
	i := slices.Index(t.by[bare], s)
	if i < 0 {
		return false
	}
	t.all--
	if t.by[bare] = slices.Delete(t.by[bare], i, i+1); len(t.by[bare]) == 0 {
		delete(t.by, bare)
	}
	return true
}
