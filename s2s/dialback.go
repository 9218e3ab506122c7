package s2s

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"jackdaw/s2s/outbox"
	"jackdaw/storage"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/stream"
)

const (
	secretOwner = "dialback"
	secretKey   = "secret"
)

// loadSecret reads the secret of this server's network, or makes it. All nodes on one store share it, so that each can
// confirm the keys of the others.
func (s *Server) loadSecret(ctx context.Context) error {
	m := s.o.Store.Map("s2s")
	for {
		b, err := m.Get(ctx, secretOwner, secretKey)
		if err == nil {
			if len(b) < 2 || b[0] != 1 {
				return errors.New("the secret of dialback is kept in a form that this version does not know")
			}
			sum := sha256.Sum256(b[1:])
			k := hex.EncodeToString(sum[:]) // XEP-0185 §2
			s.secret.Store(&k)
			return nil
		}
		if !errors.Is(err, storage.ErrNotFound) {
			return fmt.Errorf("read the secret of dialback: %w", err)
		}
		record := make([]byte, 33)
		record[0] = 1         // version
		rand.Read(record[1:]) // never returns an error
		_, p, err := m.Update(ctx, secretOwner, 0, storage.Change{Key: secretKey, Value: record})
		if err == nil {
			err = p.Wait(ctx)
		}
		if err != nil && !errors.Is(err, storage.ErrConflict) { // another node was faster
			return fmt.Errorf("keep the secret of dialback: %w", err)
		}
	}
}

// key is the dialback key for a stream (XEP-0185 §2).
func (s *Server) key(receiving, originating, id string) string {
	secret := s.secret.Load()
	if secret == nil { // before Start
		return ""
	}
	return dialbackKey(*secret, receiving, originating, id)
}

func dialbackKey(hashed, receiving, originating, id string) string {
	h := hmac.New(sha256.New, []byte(hashed))
	_, _ = h.Write([]byte(receiving + " " + originating + " " + id)) // never returns an error
	return hex.EncodeToString(h.Sum(nil))
}

// A dialback is a <db:result/> or <db:verify/> (XEP-0220 §2).
type dialback struct {
	from, to string // domains
	id       string
	typ      string
	key      string
	err      *xmpp.Error // of type error
}

// readDialback reads one. The addresses must be domains.
func readDialback(raw []byte) (d dialback, ok bool) {
	el, err := xmpp.ParseElement(raw)
	if err != nil {
		return d, false
	}
	from, err := jid.Parse(el.Attr("from"))
	to, err2 := jid.Parse(el.Attr("to"))
	if err != nil || err2 != nil || !from.IsDomain() || !to.IsDomain() {
		return d, false
	}
	d = dialback{from: from.Domain(), to: to.Domain(), id: el.Attr("id"), typ: el.Attr("type"),
		key: strings.TrimSpace(el.Text())}
	if d.typ == "error" {
		d.err = xmpp.ParseError(el.Child(xmpp.Name{Space: xmpp.NSClient, Local: "error"}))
	}
	return d, true
}

// append writes it, with the prefix that old servers insist on (XEP-0220 §2). Our stream headers declare it.
func (d *dialback) append(b []byte, what string) []byte {
	b = append(append(b, "<db:"...), what...)
	for _, a := range [...][2]string{{"from", d.from}, {"to", d.to}, {"id", d.id}, {"type", d.typ}} {
		if a[1] != "" {
			b = append(append(append(b, ' '), a[0]...), "='"...)
			b = append(xmpp.AppendAttr(b, a[1]), '\'')
		}
	}
	switch {
	case d.err != nil:
		b = d.err.Append(append(b, '>'))
	case d.key != "":
		b = xmpp.AppendText(append(b, '>'), d.key)
	default:
		return append(b, "/>"...)
	}
	return append(append(append(b, "</db:"...), what...), '>')
}

// dialback handles what comes in the namespace of dialback, in all four roles.
func (l *link) dialback(what string, raw []byte) error {
	d, ok := readDialback(raw)
	if !ok {
		return wire.Fault(stream.ImproperAddressing, "dialback between what are no domains")
	}
	l.mu.Lock()
	asks := !l.outgoing || l.bidi // XEP-0288 §2.2
	l.mu.Unlock()
	switch {
	case what == "result" && d.typ == "" && asks:
		return l.claim(d)
	case what == "verify" && d.typ == "" && asks:
		l.say(l.confirm(d))
		return nil
	case what == "result" && d.typ != "" && l.answered(d), what == "verify" && d.typ != "" && l.verified(d):
		return nil
	}
	// XEP-0220 §4.1: an answer to what was never asked, or not here, proves nothing.
	l.srv.Stats.Unsolicited.Add(1)
	l.log("unsolicited dialback", "element", what, "type", clip(d.typ))
	return nil
}

// confirm answers, as the authoritative server, whether a key is ours (XEP-0220 §2.2.2).
func (l *link) confirm(d dialback) []byte {
	s := l.srv
	a := dialback{from: d.to, to: d.from, id: d.id}
	switch {
	case !s.o.Router.Owns(d.to):
		a.typ, a.err = "error", xmpp.ItemNotFound("")
	case l.TLS == nil && s.policy().needsTLS(d.from):
		a.typ, a.err = "error", xmpp.PolicyViolation("TLS is required")
	case d.id != "" && d.key != "" && hmac.Equal([]byte(d.key), []byte(s.key(d.from, d.to, d.id))):
		a.typ = "valid"
	default:
		a.typ = "invalid"
		s.Stats.KeysDenied.Add(1)
	}
	return a.append(nil, "verify")
}

// An answer is the end of our asking for a pair.
type answer struct {
	typ string
	err *xmpp.Error
}

// answered takes the result of a claim of ours; false if there is none.
func (l *link) answered(d dialback) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := outbox.Pair{Local: d.to, Remote: d.from}
	c := l.results[p]
	if c == nil {
		return false
	}
	delete(l.results, p)
	if d.typ == "valid" {
		l.granted[p] = byDialback
	}
	c <- answer{d.typ, d.err} // has room for it
	return true
}

// expectResult prepares for the answer to a claim that is about to be made; nil if the same is on its way, or the link
// over.
func (l *link) expectResult(p outbox.Pair) chan answer {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || l.results[p] != nil || len(l.granted) >= maxPairs {
		return nil
	}
	c := make(chan answer, 1)
	l.results[p] = c
	return c
}

// ownClaim is the claim for a pair (XEP-0220 §2.1.1).
func (l *link) ownClaim(p outbox.Pair) []byte {
	d := dialback{from: p.Local, to: p.Remote, key: l.srv.key(p.Remote, p.Local, l.id)}
	return d.append(nil, "result")
}
