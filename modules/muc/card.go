package muc

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

// maxCard is how many bytes the picture and description of a room may have.
const maxCard = 128 << 10

func cardChange(card []byte) storage.Change {
	return storage.Change{Key: cardKey, Value: append([]byte{recordVersion}, card...)}
}

// setCard takes a <vCard/> over and works out the hashes of its pictures (XEP-0486 §3.2, XEP-0153 §3.1). An empty one is none.
func (r *room) setCard(card []byte) {
	r.card, r.hashes = nil, nil
	el, err := xmpp.ParseElement(card)
	if err != nil || len(el.Children()) == 0 {
		return
	}
	r.card = card
	for _, c := range el.Children() {
		if c.Name.Local != "PHOTO" {
			continue
		}
		if bin := c.ChildLocal("BINVAL"); bin != nil {
			text := strings.Map(func(r rune) rune {
				if strings.ContainsRune(" \t\r\n", r) {
					return -1
				}
				return r
			}, bin.Text())
			if picture, err := base64.StdEncoding.DecodeString(text); err == nil && len(picture) > 0 {
				sum := sha1.Sum(picture)
				r.hashes = append(r.hashes, hex.EncodeToString(sum[:]))
			}
		}
	}
}

// showCard gives the room's <vCard/> to whoever asks (XEP-0486 §3.4).
func (r *room) showCard(e *router.Envelope) {
	if r.card == nil {
		r.m.o.Router.Answer(e, []byte("<vCard xmlns='vcard-temp'/>"))
		return
	}
	r.m.o.Router.Answer(e, r.card)
}

// keepCard is an owner's setting of it (§3.2). It is called with order held.
func (r *room) keepCard(e *router.Envelope) {
	card := bytes.Clone(e.Stanza.ChildBytes(cardName))
	switch {
	case r.affiliationOf(e.Stanza.From) != owner:
		r.m.refuse(e, xmpp.Forbidden("only owners are allowed to do this"))
		return
	case len(card) > maxCard:
		r.m.refuse(e, xmpp.PolicyViolation("the picture is too large"))
		return
	}
	r.mu.Lock()
	was, hashes := r.card, r.hashes
	r.setCard(card)
	next := r.card
	r.mu.Unlock()
	c := cardChange(next)
	c.Delete = next == nil
	pending, err := r.store(c)
	r.mu.Lock()
	if err != nil {
		r.card, r.hashes = was, hashes
	} else {
		r.tellCard(e.Batch)
		r.notify(e.Batch, 104)
	}
	r.mu.Unlock()
	if err != nil {
		r.m.refuse(e, r.m.fault(err))
		return
	}
	r.m.o.Router.AnswerAfter(e, pending, nil)
}

// tellCard tells all which picture the room has now.
//
// COMPAT(Conversations 2.12): looks for it in presence from the room itself, which XEP-0486 §5.2 describes and does not recommend.
func (r *room) tellCard(b *router.Batch) {
	p := r.post(b)
	p.head = r.cardPresence()
	p.broadcast()
}

func (r *room) cardPresence() xmpp.Stanza {
	hash := ""
	if len(r.hashes) > 0 {
		hash = r.hashes[0]
	}
	w := xmpp.NewWriter(nil).Start(xmpp.NSVCardUpdate, "x").Leaf("", "photo", hash).End()
	return xmpp.Stanza{Kind: xmpp.Presence, From: r.addr, Payload: w.Bytes(), Children: xmpp.Index(w.Bytes())}
}
