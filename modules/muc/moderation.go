package muc

import (
	"context"
	"errors"
	"strconv"
	"time"

	"jackdaw/modules/internal/mam"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

const (
	nsModerate = "urn:xmpp:message-moderate:1"
	nsRetract  = "urn:xmpp:message-retract:1"
	// COMPAT(slixmpp 1.8): knows version 0.2 of XEP-0425 alone, which fastens what it says to the message (XEP-0422).
	nsOldModerate = "urn:xmpp:message-moderate:0"
	nsOldRetract  = "urn:xmpp:message-retract:0"
	nsFasten      = "urn:xmpp:fasten:0"
)

var (
	retractName     = xmpp.Name{Space: nsRetract, Local: "retract"}
	oldRetractName  = xmpp.Name{Space: nsOldRetract, Local: "retract"}
	oldModerateName = xmpp.Name{Space: nsOldModerate, Local: "moderate"}
	fastenedName    = xmpp.Name{Space: nsFasten, Local: "apply-to"}
)

// retract replaces a message by a tombstone if the utterance says so, and is its author's (XEP-0424 §5, §6). What
// is another's, or is not there, stays as it is: the others' clients see by the occupant ids who wants what.
func (u *utterance) retract() *xmpp.Error {
	raw := u.e.Stanza.ChildBytes(retractName)
	if raw == nil {
		return nil
	}
	el, err := xmpp.ParseElement(raw)
	if err != nil {
		return nil
	}
	id, err := strconv.ParseUint(el.Attr("id"), 10, 64)
	if err != nil {
		return nil
	}
	w := xmpp.NewWriter(nil).Start(nsRetract, "retracted").Attr("id", u.id).Attr("stamp", xmpp.FormatTime(time.Now()))
	pending, err := u.r.bury(id, u.o.name, w.End().Bytes())
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil
	case err != nil:
		return u.r.m.fault(err)
	}
	u.e.Await(pending)
	return nil
}

// bury replaces a message in the archive, and in what is shown to who enters. author, if not empty, is who must have sent it. It is
// called with order held.
func (r *room) bury(id uint64, author string, tombstone []byte) (*storage.Pending, error) {
	ctx := context.Background()
	was, err := r.m.o.Archive.Get(ctx, r.name, id)
	if err != nil {
		return nil, err
	}
	s, err := mam.ReadMessage(was.Data)
	if err != nil || author != "" && was.Peer != author {
		return nil, storage.ErrNotFound
	}
	s.Payload = append(bytesOf(s.ChildBytes(occupantName)), tombstone...)
	s.Attrs, s.Children = nil, nil
	pending, err := r.m.o.Archive.Replace(ctx, r.name, id, mam.AppendMessage(nil, &s))
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.unsay(id)
	r.mu.Unlock()
	return pending, nil
}

func bytesOf(b []byte) []byte { return append([]byte(nil), b...) }

// moderate takes back what another has said (XEP-0425 §4): the message that the room knows by the id. el, which may be
// nil, holds the element that says so, of this name, and the reason. It is called with order held.
func (r *room) moderate(e *router.Envelope, message string, el *xmpp.Element, retract xmpp.Name) {
	r.mu.Lock()
	seat := r.seats[e.Stanza.From]
	r.mu.Unlock()
	id, err := strconv.ParseUint(message, 10, 64)
	switch {
	case seat == nil:
		r.m.refuse(e, xmpp.NotAcceptable("you are not in this room"))
		return
	case seat.role != moderator:
		r.m.refuse(e, xmpp.Forbidden("only moderators take back what others have said"))
		return
	case !r.conf.Archived:
		r.m.refuse(e, xmpp.FeatureNotImplemented("the room keeps no messages"))
		return
	case el == nil || el.Child(retract) == nil || message == "":
		r.m.refuse(e, xmpp.BadRequest("which message is to be retracted is not said"))
		return
	case err != nil:
		r.m.refuse(e, xmpp.ItemNotFound("there is no such message"))
		return
	}
	reason := ""
	if c := el.ChildLocal("reason"); c != nil {
		reason = c.Text()
	}
	// What both the tombstone and the message to all say.
	say := func(w *xmpp.Writer) {
		w.Start(nsModerate, "moderated").Attr("by", seat.addr.String()).Raw(appendOccupantID(nil, seat.id)).End()
		if reason != "" {
			w.Leaf("", "reason", reason)
		}
		w.End()
	}
	w := xmpp.NewWriter(nil).Start(nsRetract, "retracted").Attr("stamp", xmpp.FormatTime(time.Now()))
	told := xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeGroupchat, ID: newID(), From: r.addr}
	w.Attr("id", told.ID)
	say(w)
	buried, err := r.bury(id, "", w.Bytes())
	switch {
	case errors.Is(err, storage.ErrNotFound):
		r.m.refuse(e, xmpp.ItemNotFound("there is no such message"))
		return
	case err != nil:
		r.m.refuse(e, r.m.fault(err))
		return
	}
	e.Await(buried)
	x := xmpp.NewWriter(nil).Start(nsRetract, "retract").Attr("id", message)
	say(x)
	x.Start(nsFasten, "apply-to").Attr("id", message).Start(nsOldModerate, "moderated").Attr("by", seat.addr.String())
	x.Start(nsOldRetract, "retract").End()
	if reason != "" {
		x.Leaf("", "reason", reason)
	}
	told.Payload = x.End().End().Bytes()
	kept, _, pending, err := r.record(storage.Record{Data: mam.AppendMessage(nil, &told)}, storage.AppendOptions{})
	if err != nil {
		r.m.refuse(e, r.m.fault(err))
		return
	}
	told.Payload = router.AppendStanzaID(told.Payload, r.name, kept)
	r.mu.Lock()
	p := r.post(e.Batch)
	p.head = told
	p.with(contentOf(told.Payload))
	p.broadcast()
	p.finish()
	r.mu.Unlock()
	r.m.o.Router.AnswerAfter(e, pending, nil)
}
