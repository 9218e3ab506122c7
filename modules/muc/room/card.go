package room

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// maxCard is how many bytes the picture and description of a room may have.
const maxCard = 128 << 10

// MaySetCard says whether somebody may give the room this <vCard/> (XEP-0486 §3.2).
func (r *Room) MaySetCard(who jid.JID, card []byte) *xmpp.Error {
	switch {
	case r.AffiliationOf(who) != Owner:
		return xmpp.Forbidden("only owners are allowed to do this")
	case len(card) > maxCard:
		return xmpp.PolicyViolation("the picture is too large")
	}
	return nil
}

// SetCard takes a <vCard/> over and works out the hashes of its pictures (XEP-0486 §3.2, XEP-0153 §3.1). An empty one
// is none.
func (r *Room) SetCard(card []byte) {
	r.Card, r.hashes = nil, nil
	el, err := xmpp.ParseElement(card)
	if err != nil || len(el.Children()) == 0 {
		return
	}
	r.Card = card
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

// TellCard tells all which picture the room has now (XEP-0486 §3.2).
//
// COMPAT(Conversations 2.12): looks for it in presence from the room itself, which XEP-0486 §5.2 describes and does not
// recommend.
func (r *Room) TellCard(fx *Effects) {
	r.toAll(fx, r.cardPresence(fx))
	r.notify(fx, 104)
}

func (r *Room) cardPresence(fx *Effects) int {
	hash := ""
	if len(r.hashes) > 0 {
		hash = r.hashes[0]
	}
	w := xmpp.NewWriter(nil).Start(xmpp.NSVCardUpdate, "x").Leaf("", "photo", hash).End()
	return fx.stanza(xmpp.Stanza{Kind: xmpp.Presence, From: r.Addr}, contentOf(w.Bytes()))
}
