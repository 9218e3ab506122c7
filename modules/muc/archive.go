package muc

import (
	"context"
	"errors"

	"jackdaw/modules/internal/mam"
	"jackdaw/modules/muc/room"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// queriedAtOnce is how many clients' queries are answered at a time.
const queriedAtOnce = 1000

// query answers a question to the archive of a room (XEP-0313 §6.1.2).
func (m *Rooms) query(e *router.Envelope, el *xmpp.Element) {
	var one mam.Question
	metadata := false
	m.visit(e, nil, func(r *hosted) {
		s := e.Stanza
		if bad := r.MayRead(s.From); bad != nil {
			m.refuse(e, bad)
			return
		}
		switch {
		case el.HasAttr("node"): // XEP-0313 §6.1.3: it would ask for something else than messages
			m.refuse(e, xmpp.FeatureNotImplemented("nodes have no archives"))
			return
		case el.Name == mam.MetadataName:
			metadata = true
			return
		case s.Type == xmpp.TypeGet:
			m.o.Router.Answer(e, mam.Form(false))
			return
		}
		q, bad := mam.Parse(el)
		if bad != nil {
			m.refuse(e, bad)
			return
		}
		discloses := r.Discloses(s.From)
		sees := r.Conf.NonAnonymous || discloses
		one = mam.Question{IQ: xmpp.Stanza{Kind: xmpp.IQ, Type: s.Type, ID: s.ID, From: s.From, To: s.To}, Session: e.Session,
			Archive: mam.Archive{Log: m.o.Archive, Owner: r.Name}, Query: q, Match: r.match(q.With, sees)}
		switch {
		case !sees: // the room may have told addresses when something was said
			one.Adapt = func(_ *storage.Record, s *xmpp.Stanza) { s.Payload, s.Children = s.Without(room.UserName), nil }
		case discloses:
			one.Adapt = r.disclose
		}
	})
	switch {
	case e.Settled():
	case metadata:
		b, err := mam.Metadata(context.Background(), mam.Archive{Log: m.o.Archive, Owner: e.Stanza.To.String()})
		if err != nil {
			m.refuse(e, m.fault(err))
			return
		}
		m.o.Router.Answer(e, b)
	default:
		if bad := m.desk.Ask(e, one); bad != nil {
			m.refuse(e, bad)
		}
	}
}

// grown is by how much the archive of a room grows before it is looked again at what there is for it.
const grown = 16 << 20

// record puts a message into the archive of the room. The archives of all rooms that one user has made share a bound;
// each room is sure of its part of that, and may have more as long as the others leave it. It is called with order
// held.
func (r *hosted) record(rec storage.Record, o storage.AppendOptions) (
	id uint64, repeated bool, p *storage.Pending, err error) {
	ctx, l := context.Background(), r.m.o.Limits()
	if r.may == 0 {
		r.may = l.sure()
	}
	if o.MaxBytes = r.may; r.may == 0 {
		return r.m.o.Archive.Append(ctx, r.Name, rec, o)
	}
	id, repeated, p, err = r.m.o.Archive.Append(ctx, r.Name, rec, o)
	if !errors.Is(err, storage.ErrFull) {
		return id, repeated, p, err
	}
	if r.may, err = r.allowance(ctx, l); err != nil {
		return 0, false, nil, err
	}
	o.MaxBytes = r.may
	return mam.Append(ctx, r.m.o.Archive, r.Name, rec, o)
}

// sure is what each room may have whatever the others have, 0 for no bound.
func (l *Limits) sure() int64 {
	switch {
	case l.MadeBytes == 0:
		return l.ArchiveBytes
	case l.ArchiveBytes == 0:
		return max(l.MadeBytes/int64(l.RoomsPerUser), 1)
	}
	return max(min(l.ArchiveBytes, l.MadeBytes/int64(l.RoomsPerUser)), 1)
}

// allowance is how large the archive of the room may get for now.
func (r *hosted) allowance(ctx context.Context, l Limits) (int64, error) {
	sure := l.sure()
	if l.MadeBytes == 0 || sure == 0 {
		return sure, nil
	}
	list, err := r.m.listed(r.Addr.Domain())
	if err != nil {
		return 0, err
	}
	most := l.MadeBytes
	for _, local := range list.madeBy(r.Creator) {
		if local == r.Addr.Local() {
			continue
		}
		_, size, err := r.m.o.Archive.Size(ctx, local+"@"+r.Addr.Domain())
		if err != nil {
			return 0, err
		}
		most -= size
	}
	_, own, err := r.m.o.Archive.Size(ctx, r.Name)
	if err != nil {
		return 0, err
	}
	if most = min(most, own+grown); l.ArchiveBytes > 0 {
		most = min(most, l.ArchiveBytes)
	}
	return max(most, sure), nil
}

// disclose adds the author of a message, for a client that may know it though the room did not tell everybody (XEP-0313
// §6.1.2).
func (r *hosted) disclose(rec *storage.Record, s *xmpp.Stanza) {
	author, err := jid.Parse(rec.Peer)
	if err != nil || s.Has(room.UserName) {
		return // the room itself, or it has been told
	}
	w := xmpp.NewWriter(append(make([]byte, 0, len(s.Payload)+200), s.Payload...))
	w.Start(xmpp.NSMUCUser, "x").Start("", "item")
	r.with(func() { w.Attr("affiliation", r.AffiliationOf(author).String()) })
	s.Payload, s.Children = w.Attr("jid", author.String()).End().End().Bytes(), nil
}

// match says which records 'with' asks for: those of an occupant, or of a user where addresses are no secret.
func (r *hosted) match(with jid.JID, sees bool) mam.Match {
	switch {
	case with.IsZero() || with == r.Addr:
		return mam.Match{}
	case with.Bare() == r.Addr:
		return mam.Match{Also: func(rec *storage.Record) bool {
			s, err := mam.ReadMessage(rec.Data)
			return err == nil && s.From == with
		}}
	case sees:
		return mam.Match{Peer: with.Bare().String()}
	}
	return mam.Match{Also: func(*storage.Record) bool { return false }}
}

// recalled is how many messages are read at a time: more than can be shown may be large.
const recalled = 20

// recall reads from the archive the messages that are shown to a client that enters. It is called before anybody can be
// in the room.
func (r *hosted) recall() error {
	if r.Conf.History == 0 || !r.Conf.Archived {
		return nil
	}
	var records []storage.Record
	most := r.m.o.Limits().HistoryBytes
	before, size, more := uint64(0), int64(0), true
	for more && len(records) < r.Conf.History && (most == 0 || size < most) {
		var page []storage.Record
		var err error
		page, more, err = r.m.o.Archive.Page(context.Background(), r.Name,
			storage.Query{Before: before, Limit: min(r.Conf.History-len(records), recalled), Backward: true})
		if err != nil {
			return err
		}
		for i := range page {
			size += int64(len(page[i].Data))
		}
		if len(page) > 0 {
			before = page[0].ID
		}
		records = append(page, records...)
	}
	for i := range records {
		s, err := mam.ReadMessage(records[i].Data)
		if err != nil || !room.ForHistory(&s) {
			continue
		}
		payload := append(make([]byte, 0, len(s.Payload)+256), s.Without(room.UserName)...)
		r.remember(room.Said{From: s.From, ID: s.ID, Lang: s.Lang, At: records[i].Time(), Archived: records[i].ID,
			Payload: router.AppendStanzaID(payload, r.Name, records[i].ID), Author: records[i].Peer, Dated: room.Dated(&s)})
	}
	return nil
}
