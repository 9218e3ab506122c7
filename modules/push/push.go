// Package push wakes the clients of users who are away (XEP-0357): a client names a push service and a node of it, and
// whenever a message comes that this client cannot see now, because its session waits to be resumed (XEP-0198 §5) or is
// gone, the service is told. It tells the phone, by ways of its own.
//
// Each client is judged by itself: a user who sits at a desk with one does not leave the phone asleep. Which client a
// registration is of is known by the address from which it was enabled last, also after a restart; a client that comes
// back under another address enables again, as clients do.
//
// What wakes: messages of people, with a text, an encrypted one or an invitation, and announcements of calls
// (XEP-0353), from others than the user; of rooms, those for the client itself. Not what only says that somebody types
// or reads, nor errors, headlines, presence and requests. A client that is connected and inactive (XEP-0352) gets all
// that at once by its stream.
//
// The first message is told at once, further ones together after a while, but for calls, which cannot wait. An error of
// the service ends a registration, as §7.1 asks, unless it may pass: then the pauses grow, and after a day of nothing
// else the registration ends too.
//
// Left out: the number of pending subscription requests, and settings of the content by the user.
package push

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"strings"
	"time"

	"jackdaw/modules/internal/forms"
	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	ns             = "urn:xmpp:push:0"
	publishOptions = "http://jabber.org/protocol/pubsub#publish-options" // FORM_TYPE, §5
	summary        = "urn:xmpp:push:summary"                             // FORM_TYPE, §7

	recordVersion = 1
	maxNode       = 1024    // bytes of a node
	maxForm       = 4 << 10 // bytes of what is to be published along
)

// Content says what a push service learns of a message (§8).
type Content string

// The contents: that there are messages and how many, who sent the last, and what it says.
const (
	None   Content = "none"
	Sender Content = "sender"
	Full   Content = "full"
)

// Settings of the module.
type Settings struct {
	Content       Content
	Registrations int           // of one user; a further one takes the place of the oldest
	Interval      time.Duration // between two notifications of one registration
}

// Options of New; all are needed.
type Options struct {
	Router   *router.Router
	Store    storage.Map     // of this module alone
	Settings func() Settings // asked whenever it matters
	Log      *slog.Logger
}

// Push is the module. It is safe for concurrent use.
type Push struct {
	Options
	users users
	life  life
}

// Of makes the module of a server.
func Of(p parts.Parts) *Push {
	return New(Options{Router: p.Router, Store: p.Store.Map("push"), Log: p.Log, Settings: func() Settings {
		s := &p.Config().Modules.Push
		return Settings{Content: Content(s.Content), Registrations: s.Registrations, Interval: s.Interval}
	}})
}

// New returns the module.
func New(o Options) *Push {
	p := &Push{Options: o}
	p.users.init()
	return p
}

// Module says where push takes part.
func (p *Push) Module() router.Module {
	return router.Module{
		Name: "push",
		Specs: []router.Spec{{Name: "XEP-0357", Version: "0.4.1",
			Note: "the number of subscription requests is not told"}},
		AccountFeatures: []string{ns}, // §4.1
		IQ: []router.IQ{
			{Payload: xmpp.Name{Space: ns, Local: "enable"}, Scope: router.Account, Handle: p.own(p.enable)},
			{Payload: xmpp.Name{Space: ns, Local: "disable"}, Scope: router.Account, Handle: p.own(p.disable)},
		},
		Arriving: router.Stage{Message: p.revoked, IQ: p.answered},
		Accepted: p.accepted,
		Untaken:  p.untaken,
		Portable: []router.Portable{{Spaces: []string{"map push"}, Stays: "clients enable push anew when they log in"}},
		Moved:    p.users.moved,
		Removed:  p.removed,
	}
}

// own reads a request of the user.
func (p *Push) own(handle func(e *router.Envelope, el *xmpp.Element, service jid.JID)) func(*router.Envelope) {
	return func(e *router.Envelope) {
		name, _ := e.Stanza.First()
		el := e.Stanza.Child(name)
		switch {
		case e.Stanza.Type != xmpp.TypeSet, el == nil, el.Attr("jid") == "":
			e.Refuse(xmpp.BadRequest("a set that names a push service is expected"))
			return
		case len(el.Attr("node")) > maxNode:
			e.Refuse(xmpp.NotAcceptable("the node is too long"))
			return
		}
		service, err := jid.Parse(el.Attr("jid"))
		if err != nil {
			e.Refuse(xmpp.JIDMalformed(err.Error()))
			return
		}
		handle(e, el, service)
	}
}

// enable adds a registration, or puts it in place of the one of the same service and node (§5).
func (p *Push) enable(e *router.Envelope, el *xmpp.Element, service jid.JID) {
	owner := e.Session.Bare()
	form, bad := optionsOf(el)
	switch {
	case bad != nil:
		e.Refuse(bad)
		return
	case service.Bare() == owner: // it would be woken by its own answers
		e.Refuse(xmpp.NotAllowed("an account is no push service"))
		return
	}
	r := &registration{service: service, node: strings.Clone(el.Attr("node")), form: form, client: e.Session.Addr(),
		since: time.Now()}
	u, err := p.lock(owner)
	if err != nil {
		p.fail(e, err)
		return
	}
	defer p.unlock(u)
	var drop []*registration
	if old := u.find(service, r.node); old != nil {
		drop = append(drop, old)
	} else if bound := p.Settings().Registrations; len(u.list) >= bound {
		drop = append(drop, u.oldest(len(u.list)-bound+1)...)
	}
	var changes []storage.Change
	for _, old := range drop {
		changes = append(changes, storage.Change{Key: old.key(), Delete: true})
	}
	changes = append(changes, storage.Change{Key: r.key(), Value: r.record()}) // of two changes to one key the later wins
	written, err := p.change(u, changes)
	if err != nil {
		p.fail(e, err)
		return
	}
	for _, old := range drop {
		p.end(u, old)
	}
	u.list = append(u.list, r)
	p.Router.AnswerAfter(e, written, nil)
}

// optionsOf reads what the service wants to be published along (§5), as it is sent later; nil for nothing.
func optionsOf(el *xmpp.Element) ([]byte, *xmpp.Error) {
	x := el.Child(forms.Name)
	if x == nil {
		return nil, nil
	}
	f, bad := forms.ParseOptions(x)
	switch {
	case bad != nil:
		return nil, bad
	case f.Kind != forms.Submit || f.Type != publishOptions && f.Type != "":
		return nil, xmpp.BadRequest("publish-options are expected")
	}
	f.Type = publishOptions // nothing else can be meant where it is left out
	w := xmpp.NewWriter(nil)
	f.Write(w)
	if len(w.Bytes()) > maxForm {
		return nil, xmpp.NotAcceptable("the publish-options are too long")
	}
	return w.Bytes(), nil
}

// disable ends one registration, or without a node all of that service (§6).
func (p *Push) disable(e *router.Envelope, el *xmpp.Element, service jid.JID) {
	u, err := p.lock(e.Session.Bare())
	if err != nil {
		p.fail(e, err)
		return
	}
	defer p.unlock(u)
	var gone []*registration
	for _, r := range u.list {
		if r.service == service && (!el.HasAttr("node") || r.node == el.Attr("node")) {
			gone = append(gone, r)
		}
	}
	written, err := p.drop(u, gone...) // of none: as it is wanted already
	if err != nil {
		p.fail(e, err)
		return
	}
	p.Router.AnswerAfter(e, written, nil)
}

func (p *Push) fail(e *router.Envelope, err error) {
	p.Log.Warn("push registrations unavailable", "error", err)
	e.Refuse(router.Unavailable())
}

// revoked sees a service take back the right to publish (§7.3).
func (p *Push) revoked(e *router.Envelope) {
	s := e.Stanza
	el := s.Child(xmpp.Name{Space: xmpp.NSPubSub, Local: "pubsub"})
	if el == nil || s.Type == xmpp.TypeError || !s.To.IsBare() {
		return
	}
	a := el.ChildLocal("affiliation")
	if a == nil || a.Attr("affiliation") != "none" && a.Attr("affiliation") != "outcast" {
		return
	}
	if who, err := jid.Parse(a.Attr("jid")); err != nil || who.Bare() != s.To {
		return
	}
	u, err := p.lock(s.To)
	if err != nil {
		p.Log.Warn("push registrations unavailable", "error", err)
		return
	}
	defer p.unlock(u)
	if r := u.find(s.From, el.Attr("node")); r != nil {
		e.Settle(router.Delivered)
		p.give(u, r, "revoked")
	}
}

// give ends a registration that its service does not want any more.
func (p *Push) give(u *user, r *registration, why string) {
	if _, err := p.drop(u, r); err != nil {
		p.Log.Warn("push registration stays", "user", u.bare, "service", r.service, "error", err)
		return
	}
	p.Log.Info("push registration ended by its service", "user", u.bare, "service", r.service, "reason", why)
}

func (p *Push) removed(user jid.JID) error {
	u, err := p.lock(user)
	if err != nil {
		return err
	}
	for len(u.list) > 0 {
		p.end(u, u.list[0])
	}
	written, err := p.Store.DeleteOwner(context.Background(), user.String())
	p.unlock(u)
	if err != nil {
		return err
	}
	return written.Wait(context.Background())
}

// key is that of the record; no address holds a newline.
func (r *registration) key() string { return r.service.String() + "\n" + r.node }

// record is version, time in seconds, the address of the client with its length before it, and the form.
func (r *registration) record() []byte {
	b := binary.BigEndian.AppendUint64([]byte{recordVersion}, uint64(r.since.Unix()))
	client := r.client.String()
	b = append(binary.AppendUvarint(b, uint64(len(client))), client...)
	return append(b, r.form...)
}

var errRecord = errors.New("record of a push registration that cannot be read")

func readRegistration(e *storage.Entry) (*registration, error) {
	service, node, ok := strings.Cut(e.Key, "\n")
	b := e.Value
	if !ok || len(b) < 9 || b[0] != recordVersion {
		return nil, errRecord
	}
	r := &registration{node: node, since: time.Unix(int64(binary.BigEndian.Uint64(b[1:])), 0)}
	n, k := binary.Uvarint(b[9:])
	if b = b[9:]; k <= 0 || n > uint64(len(b)-k) {
		return nil, errRecord
	}
	var err error
	if r.service, err = jid.Parse(service); err != nil {
		return nil, errRecord
	}
	if r.client, err = jid.Parse(string(b[k : k+int(n)])); err != nil {
		return nil, errRecord
	}
	if r.form = b[k+int(n):]; len(r.form) == 0 {
		r.form = nil
	}
	return r, nil
}
