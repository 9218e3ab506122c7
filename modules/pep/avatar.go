package pep

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"

	"jackdaw/modules/internal/pubsub"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// The nodes and namespaces of avatars (XEP-0084 §8).
const (
	nodeAvatar     = "urn:xmpp:avatar:data"
	nodeAvatarMeta = "urn:xmpp:avatar:metadata"
)

// Photos are the vCards of users, with the pictures in them.
type Photos interface {
	On() bool // whether there are any now
	// Photo is that of a user; no data where there is none.
	Photo(user jid.JID) (typ string, data []byte, err error)
	// SetPhoto puts another in, or takes it out for want of data. Nobody is told.
	SetPhoto(user jid.JID, typ string, data []byte) (*storage.Pending, error)
	// Change hands a user's vCard to f, an empty one if there is none, and writes it if f says that it has changed it.
	// f may be called again. Nobody is told.
	Change(user jid.JID, f func(card *xmpp.Element) bool) (*storage.Pending, error)
}

// hashes are those of the pictures in the vCards of users who have a session; "" for no picture.
type hashes struct{ users table[jid.JID, string] }

func hashOf(data []byte) string {
	if len(data) == 0 {
		return ""
	}
	sum := sha1.Sum(data)
	return hex.EncodeToString(sum[:])
}

func (p *PEP) photos() Photos {
	if p.o.Photos == nil || !p.o.Photos.On() {
		return nil
	}
	return p.o.Photos
}

// photo is the hash of a user's picture; ok is false if that cannot be known.
func (p *PEP) photo(user jid.JID) (hash string, ok bool) {
	if hash, ok := p.hashes.users.load(user); ok {
		return hash, true
	}
	photos := p.photos()
	if photos == nil {
		return "", false
	}
	_, data, err := photos.Photo(user)
	if err != nil {
		p.o.Log.Warn("a presence leaves without the hash of the avatar", "user", user, "error", err)
		return "", false
	}
	hash = hashOf(data)
	if len(p.o.Router.Sessions(user)) > 0 {
		p.hashes.users.swap(user, hash)
	}
	return hash, true
}

var update = xmpp.Name{Space: xmpp.NSVCardUpdate, Local: "x"}

// stamp puts the hash of the user's picture into available presence (XEP-0398 §4). Who says that there is none is
// believed.
func (p *PEP) stamp(e *router.Envelope) {
	hash, ok := p.photo(e.Session.Bare())
	if !ok || hash == "" {
		return
	}
	if raw := e.Stanza.ChildBytes(update); raw != nil {
		el, err := xmpp.ParseElement(raw)
		if err != nil {
			return
		}
		if photo := el.ChildLocal("photo"); photo != nil && (photo.Text() == "" || photo.Text() == hash) {
			return
		}
	}
	s := e.Stanza.WithPayload(withHash(e.Stanza, hash))
	e.Replace(&s)
}

func withHash(s *xmpp.Stanza, hash string) []byte {
	rest := s.Without(update)
	w := xmpp.NewWriter(append(make([]byte, 0, len(rest)+100), rest...))
	return w.Start(update.Space, update.Local).Leaf("", "photo", hash).End().Bytes()
}

// shown notes another picture of a user, and has the available sessions say so (XEP-0153 §3.1): each as if it had sent
// its presence again.
func (p *PEP) shown(b *router.Batch, user jid.JID, data []byte) {
	was, known := p.hashes.users.swap(user, hashOf(data))
	sessions := p.o.Router.Sessions(user)
	if len(sessions) == 0 {
		p.hashes.users.remove(user)
	}
	if known && was == hashOf(data) {
		return
	}
	for _, s := range sessions {
		last := s.Presence()
		if last == nil {
			continue
		}
		again := last.WithPayload(withHash(last, hashOf(data)))
		again.From, again.To = s.Addr(), jid.JID{}
		p.o.Router.Route(&router.Envelope{Session: s, Account: user, Stanza: &again, Quiet: true, Batch: b})
		if p.o.Router.Session(s.Addr()) != s { // it has ended meanwhile, and nobody else would say so again
			p.o.Router.Route(&router.Envelope{Session: s, Account: user, Quiet: true, Batch: b,
				Stanza: &xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnavailable, From: s.Addr()}})
		}
	}
}

// avatarPublished puts the avatar of the nodes into the vCard (XEP-0398 §3.1), if everybody may see it there too (§8).
func (p *PEP) avatarPublished(b *router.Batch, user jid.JID) *storage.Pending {
	photos := p.photos()
	if photos == nil {
		return nil
	}
	typ, data, ok, err := p.avatar(user)
	if err == nil && ok {
		var old []byte
		if _, old, err = photos.Photo(user); err == nil && !bytes.Equal(old, data) {
			var pending *storage.Pending
			if pending, err = photos.SetPhoto(user, typ, data); err == nil {
				p.shown(b, user, data)
				return pending
			}
		}
	}
	if err != nil {
		p.o.Log.Warn("an avatar does not get into the vCard", "user", user, "error", err)
	}
	return nil
}

// avatar is the one in the nodes, no data if it is turned off; ok is false if there is none that is for everybody and
// what it says it is.
func (p *PEP) avatar(user jid.JID) (typ string, data []byte, ok bool, err error) {
	meta, c, err := p.engine.Item(user, nodeAvatarMeta, "")
	if err != nil || meta == nil || c.Access != pubsub.Open {
		return "", nil, false, err
	}
	id, typ := avatarInfo(meta.Payload)
	if id == "" {
		return "", nil, len(meta.Payload) > 0, nil // XEP-0084 §4.2.2
	}
	it, c, err := p.engine.Item(user, nodeAvatar, id)
	if err != nil || it == nil || c.Access != pubsub.Open {
		return "", nil, false, err
	}
	el, err := xmpp.ParseElement(it.Payload)
	if err != nil {
		return "", nil, false, nil
	}
	data, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(el.Text()), ""))
	if err != nil || hashOf(data) != strings.ToLower(id) {
		return "", nil, false, nil
	}
	return typ, data, true, nil
}

// avatarInfo reads metadata: the picture that is in the data node, if there is one.
func avatarInfo(metadata []byte) (id, typ string) {
	el, err := xmpp.ParseElement(metadata)
	if err != nil {
		return "", ""
	}
	for _, info := range el.Children() {
		if info.Name.Local == "info" && info.Attr("url") == "" && info.Attr("id") != "" {
			return info.Attr("id"), info.Attr("type")
		}
	}
	return "", ""
}

// A PhotoChange is a vCard that its owner has written: its photo, without which Data is empty, and the whole of it.
type PhotoChange struct {
	User         jid.JID
	Type         string // as the owner has it
	Data, Before []byte
	Card, Was    *xmpp.Element // Was is nil if there was none
}

// PhotoChanged puts what a vCard says that its owner has written into the nodes that say the same: the picture into
// those of the avatar (XEP-0398 §3.2), the rest into that of the vCard4 (XEP-0292). It returns what has to be durable
// before the owner is answered, of which written is a part.
func (p *PEP) PhotoChanged(b *router.Batch, change PhotoChange, written *storage.Pending) *storage.Pending {
	if !p.On() {
		return written
	}
	return p.cardChanged(b, change, p.photoChanged(b, change, written))
}

func (p *PEP) photoChanged(b *router.Batch, change PhotoChange, written *storage.Pending) *storage.Pending {
	user, data := change.User, change.Data
	p.shown(b, user, data)
	meta, _, err := p.engine.Item(user, nodeAvatarMeta, "")
	current := ""
	if err == nil && meta != nil {
		current, _ = avatarInfo(meta.Payload)
	}
	hash := hashOf(data)
	c := profile{p}.Default(nodeAvatar)
	c.Access = pubsub.Open // as the vCard is
	var w xmpp.Writer
	w.Start(nodeAvatarMeta, "metadata")
	switch {
	case err != nil, hash == current:
	// the avatar was another than the photo: it is not what was taken out
	case hash == "" && current != hashOf(change.Before):
	case hash == "":
		written, err = p.also(b, user, nodeAvatarMeta, c, pubsub.Item{ID: "none", Payload: w.End().Bytes()}, written)
	default:
		var d xmpp.Writer
		d.Leaf(nodeAvatar, "data", base64.StdEncoding.EncodeToString(data))
		written, err = p.also(b, user, nodeAvatar, c, pubsub.Item{ID: hash, Payload: d.Bytes()}, written)
		if err != nil {
			break
		}
		w.Start("", "info").Attr("bytes", strconv.Itoa(len(data))).Attr("id", hash).
			Attr("type", typeOf(change.Type, data)).End()
		written, err = p.also(b, user, nodeAvatarMeta, c, pubsub.Item{ID: hash, Payload: w.End().Bytes()}, written)
	}
	if err != nil {
		p.o.Log.Warn("a photo does not become an avatar", "user", user, "error", err)
	}
	return written
}

// also publishes an item and returns what the answer waits for then.
func (p *PEP) also(b *router.Batch, user jid.JID, node string, c pubsub.Config, it pubsub.Item,
	written *storage.Pending) (*storage.Pending, error) {
	pending, err := p.engine.Publish(b, user, node, c, it)
	return storage.Join(written, pending), err
}

// typeOf is the type of a picture by what it is, and by what is said of it where that is not known (XEP-0153 §5).
func typeOf(said string, data []byte) string {
	for magic, typ := range map[string]string{"\x89PNG": "image/png", "\xff\xd8\xff": "image/jpeg", "GIF8": "image/gif"} {
		if bytes.HasPrefix(data, []byte(magic)) {
			return typ
		}
	}
	if said == "" {
		return "image/png"
	}
	return said
}
