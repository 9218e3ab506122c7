package muc

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"jackdaw/modules/internal/mam"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// said is a message that who enters is shown (§7.2.13).
type said struct {
	from     jid.JID
	id, lang string
	payload  []byte
	delayed  content // payload with the time of it; empty until somebody needs it
	at       time.Time
	archived uint64 // id in the archive, 0 for none
	author   string // bare address
	dated    bool   // it says itself when it was said
}

// remember keeps a message for those who enter. What it holds is owned. A message that an owner has brought from elsewhere says itself
// when that was (§7.9).
func (r *room) remember(s said) {
	if s.dated && r.people[s.author].Affiliation == owner {
		s.delayed = contentOf(s.payload)
	}
	r.outlive(r.conf.History - 1)
	if r.conf.History == 0 {
		return
	}
	for !r.m.memory.take(r, s.size(), r.m.o.Limits()) {
		if len(r.past) == 0 { // it alone would be too much
			return
		}
		r.outlive(len(r.past) - 1)
	}
	r.past = append(r.past, s)
}

// size is roughly the memory of a message.
func (s *said) size() int64 { return int64(256 + len(s.id) + len(s.lang) + len(s.payload)) }

// outlive lets go of all but so many of the latest messages.
func (r *room) outlive(most int) {
	n := len(r.past) - max(most, 0)
	if n <= 0 {
		return
	}
	for i := range r.past[:n] {
		r.m.memory.give(r, r.past[i].size())
		r.past[i] = said{}
	}
	r.past = r.past[n:]
}

// unsay lets go of a message that was taken back.
func (r *room) unsay(archived uint64) {
	r.past = slices.DeleteFunc(r.past, func(s said) bool {
		if s.archived == archived {
			r.m.memory.give(r, s.size())
		}
		return s.archived == archived
	})
}

// latest are the messages to show at most.
func (r *room) latest() []said { return r.past[max(len(r.past)-r.conf.History, 0):] }

// delay is the mark of a message that is shown late.
func (r *room) delay(dst []byte, at time.Time) []byte {
	dst = append(dst, "<delay xmlns='urn:xmpp:delay' from='"...)
	dst = append(xmpp.AppendAttr(dst, r.name), "' stamp='"...)
	return append(xmpp.AppendTime(dst, at), "'/>"...)
}

// history shows who enters what was said, within all limits that it has named (§7.2.14).
func (p *post) history(s *seat, x *xmpp.Element) {
	r := p.r
	list := r.latest()
	chars := -1
	if h := x.ChildLocal("history"); h != nil {
		if n, err := strconv.Atoi(h.Attr("maxstanzas")); err == nil && n >= 0 {
			list = list[max(len(list)-n, 0):]
		}
		var since time.Time
		if n, err := strconv.Atoi(h.Attr("seconds")); err == nil && n >= 0 {
			since = time.Now().Add(-time.Duration(min(n, 1<<30)) * time.Second)
		}
		if at, err := xmpp.ParseTime(h.Attr("since")); err == nil && at.After(since) {
			since = at
		}
		for !since.IsZero() && len(list) > 0 && list[0].at.Before(since) {
			list = list[1:]
		}
		if n, err := strconv.Atoi(h.Attr("maxchars")); err == nil && n >= 0 {
			chars = n
		}
	}
	for i := range list {
		if one := &list[i]; one.delayed.xml == nil {
			one.delayed = contentOf(r.delay(append(make([]byte, 0, len(one.payload)+160), one.payload...), one.at))
		}
	}
	head := func(one *said) xmpp.Stanza {
		return xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeGroupchat, ID: one.id, Lang: one.lang, From: one.from,
			Payload: one.delayed.xml, Children: one.delayed.children}
	}
	if chars >= 0 { // of complete stanzas, the newest first
		from := len(list)
		for from > 0 {
			stanza := head(&list[from-1])
			stanza.To = s.full
			if chars -= len(stanza.Append(nil)); chars < 0 {
				break
			}
			from--
		}
		list = list[from:]
	}
	for i := range list {
		p.head = head(&list[i])
		p.to(s)
	}
}

// tellSubject ends what who enters is told (§7.2.15).
func (p *post) tellSubject(s *seat) {
	r := p.r
	p.head = xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeGroupchat, ID: r.subject.ID, From: r.addr}
	if p.head.ID == "" {
		p.head.ID = newID()
	}
	payload := []byte("<subject/>")
	if r.subject.XML != "" {
		payload = []byte(r.subject.XML)
	}
	if !r.subject.Changed.IsZero() {
		if from, err := r.addr.WithResource(r.subject.By); err == nil && r.subject.By != "" {
			p.head.From = from
			payload = appendOccupantID(payload, r.subject.Author)
		}
		payload = r.delay(payload, r.subject.Changed)
	}
	p.head.Payload = payload
	p.to(s)
}

// keepSubject stores a new subject; a repetition waits for the first, since which another may have come. It is called with order held.
func (u *utterance) keepSubject(dup bool) *xmpp.Error {
	r := u.r
	if dup {
		p, err := r.store()
		if err != nil {
			return r.m.fault(err)
		}
		u.e.Await(p)
		return nil
	}
	var xml []byte
	s := u.e.Stanza
	for _, c := range xmpp.Index(s.Payload) {
		if c.Name == subjectName {
			xml = append(xml, s.Payload[c.Start:c.End]...)
		}
	}
	next := subject{By: u.from.Resource(), XML: string(xml), Changed: time.Now().UTC(), ID: u.id, Author: u.o.id}
	p, err := r.store(storage.Change{Key: subjectKey, Value: encode(next)})
	if err != nil {
		return r.m.fault(err)
	}
	u.e.Await(p)
	r.mu.Lock()
	r.subject = next
	r.mu.Unlock()
	return nil
}

// recalled is how many messages are read at a time: more than can be shown may be large.
const recalled = 20

// recall reads from the archive what is shown to who enters. It is called before anybody can be in the room.
func (r *room) recall() error {
	if r.conf.History == 0 || !r.conf.Archived {
		return nil
	}
	var records []storage.Record
	most := r.m.o.Limits().HistoryBytes
	before, size, more := uint64(0), int64(0), true
	for more && len(records) < r.conf.History && (most == 0 || size < most) {
		var page []storage.Record
		var err error
		page, more, err = r.m.o.Archive.Page(context.Background(), r.name,
			storage.Query{Before: before, Limit: min(r.conf.History-len(records), recalled), Backward: true})
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
		if err != nil || !forHistory(&s) {
			continue
		}
		payload := router.AppendStanzaID(cut(&s, userName), r.name, records[i].ID)
		r.remember(said{from: s.From, id: s.ID, lang: s.Lang, payload: payload, at: records[i].Time(), archived: records[i].ID, author: records[i].Peer, dated: s.Has(delayName)})
	}
	return nil
}

const recordVersion = 1

// encode writes a record: its version, then JSON. It panics for what JSON cannot hold, which no record of ours does.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("muc: a record that cannot be written: " + err.Error())
	}
	return append([]byte{recordVersion}, b...)
}
