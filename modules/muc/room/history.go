package room

import (
	"slices"
	"strconv"
	"time"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A Said is a message that is shown to those who enter (§7.2.13). What it holds is owned.
type Said struct {
	From     jid.JID
	ID, Lang string
	Payload  []byte
	At       time.Time
	Archived uint64 // id in the archive, 0 for none
	Author   string // bare address
	Dated    bool   // it says itself when it was said

	delayed content // payload with the time of it; empty until somebody needs it
}

// Size is roughly the memory of a message.
func (s *Said) Size() int64 { return int64(256 + len(s.ID) + len(s.Lang) + len(s.Payload)) }

// Remembered is how many messages the room holds for those who enter.
func (r *Room) Remembered() int { return len(r.past) }

// Remember keeps a message for those who enter. A message that an owner has brought from elsewhere says itself when
// that was (§7.9).
func (r *Room) Remember(s Said) {
	if s.Dated && r.People[s.Author].Affiliation == Owner {
		s.delayed = contentOf(s.Payload)
	}
	r.past = append(r.past, s)
}

// Trim lets go of all but so many of the latest messages, and returns their size.
func (r *Room) Trim(most int) (freed int64) {
	n := len(r.past) - max(most, 0)
	if n <= 0 {
		return 0
	}
	for i := range r.past[:n] {
		freed += r.past[i].Size()
		r.past[i] = Said{}
	}
	r.past = r.past[n:]
	return freed
}

// Unsay lets go of a message that was taken back, and returns its size.
func (r *Room) Unsay(archived uint64) (freed int64) {
	r.past = slices.DeleteFunc(r.past, func(s Said) bool {
		if s.Archived == archived {
			freed += s.Size()
		}
		return s.Archived == archived
	})
	return freed
}

// delay is the mark of a message that is shown late.
func (r *Room) delay(dst []byte, at time.Time) []byte {
	dst = append(dst, "<delay xmlns='urn:xmpp:delay' from='"...)
	dst = append(xmpp.AppendAttr(dst, r.Name), "' stamp='"...)
	return append(xmpp.AppendTime(dst, at), "'/>"...)
}

// history shows a client that enters what was said, within all limits that it has named (§7.2.14).
func (r *Room) history(fx *Effects, s *Seat, x *xmpp.Element, now time.Time) {
	list := r.past[max(len(r.past)-r.Conf.History, 0):]
	chars := -1
	if h := x.ChildLocal("history"); h != nil {
		if n, err := strconv.Atoi(h.Attr("maxstanzas")); err == nil && n >= 0 {
			list = list[max(len(list)-n, 0):]
		}
		var since time.Time
		if n, err := strconv.Atoi(h.Attr("seconds")); err == nil && n >= 0 {
			since = now.Add(-time.Duration(min(n, 1<<30)) * time.Second)
		}
		if at, err := xmpp.ParseTime(h.Attr("since")); err == nil && at.After(since) {
			since = at
		}
		for !since.IsZero() && len(list) > 0 && list[0].At.Before(since) {
			list = list[1:]
		}
		if n, err := strconv.Atoi(h.Attr("maxchars")); err == nil && n >= 0 {
			chars = n
		}
	}
	for i := range list {
		if one := &list[i]; one.delayed.xml == nil {
			one.delayed = contentOf(r.delay(append(make([]byte, 0, len(one.Payload)+160), one.Payload...), one.At))
		}
	}
	head := func(one *Said) xmpp.Stanza {
		return xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeGroupchat, ID: one.ID, Lang: one.Lang, From: one.From}
	}
	if chars >= 0 { // of complete stanzas, the newest first
		from := len(list)
		for from > 0 {
			stanza := head(&list[from-1])
			stanza.To, stanza.Payload = s.Full, list[from-1].delayed.xml
			if chars -= len(stanza.Append(nil)); chars < 0 {
				break
			}
			from--
		}
		list = list[from:]
	}
	for i := range list {
		fx.to(s, fx.stanza(head(&list[i]), list[i].delayed))
	}
}

// A Subject is what the room talks about (§8.1): the elements that came, their author and the time. The names are those
// of the stored record.
type Subject struct {
	By      string    `json:"by,omitempty"` // nick
	XML     string    `json:"xml,omitempty"`
	Changed time.Time `json:"changed,omitzero"`
	ID      string    `json:"id,omitempty"`
	Author  string    `json:"author,omitempty"` // occupant id
}

// text is the subject in words.
func (s *Subject) text() string {
	payload := []byte(s.XML)
	for _, c := range xmpp.Index(payload) {
		if el, err := xmpp.ParseElement(payload[c.Start:c.End]); err == nil && c.Name == SubjectName {
			return el.Text()
		}
	}
	return ""
}

// tellSubject ends what a client that enters is told (§7.2.15).
func (r *Room) tellSubject(fx *Effects, s *Seat) {
	head := xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeGroupchat, ID: r.Subject.ID, From: r.Addr}
	if head.ID == "" {
		head.ID = NewID()
	}
	payload := []byte("<subject/>")
	if r.Subject.XML != "" {
		payload = []byte(r.Subject.XML)
	}
	if !r.Subject.Changed.IsZero() {
		if from, err := r.Addr.WithResource(r.Subject.By); err == nil && r.Subject.By != "" {
			head.From = from
			payload = appendOccupantID(payload, r.Subject.Author)
		}
		payload = r.delay(payload, r.Subject.Changed)
	}
	fx.to(s, fx.stanza(head, content{xml: payload}))
}
