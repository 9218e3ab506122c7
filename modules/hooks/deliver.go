package hooks

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"jackdaw/modules/hooks/notice"
	"jackdaw/modules/internal/posting"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Namespaces that nothing else here speaks of.
const (
	nsReply    = "urn:xmpp:reply:0"                // XEP-0461
	nsFallback = "urn:xmpp:fallback:0"             // XEP-0428
	nsNick     = "http://jabber.org/protocol/nick" // XEP-0172
)

// maxNotices bounds the messages of one request.
const maxNotices = 20

// A delivery is a request of which notices were made, on its way to messages.
type delivery struct {
	hook   *Hook
	source accounts.Source
	key    string // of the request, by which its sender tells a repetition; ""
	data   any    // for the template
	gate   *gate
}

// A Result is what became of a request.
type Result struct {
	Outcome Outcome
	Reason  string // why nothing was sent, for the program
	Retry   int    // seconds, of Unavailable
	Post    string // the id of the first message, as in the log
	Serial  int64  // of the last message within the hook
	// Recipients of all messages, in order.
	Recipients []posting.Recipient
}

// failure is the result of something that may pass.
func failure(reason string) Result {
	return Result{Outcome: Unavailable, Reason: reason, Retry: retrySeconds}
}

const textNotNow = "the message cannot be stored now: try again later"

// send sends the notices of a reading.
func (s *Hooks) send(ctx context.Context, d *delivery, list []notice.Notice) Result {
	if len(list) > maxNotices {
		list = list[:maxNotices]
	}
	// Who asks may go: what has begun is finished.
	ctx = context.WithoutCancel(ctx)
	all := Result{Outcome: Ignored, Reason: "there is nothing to be shown"}
	for i := range list {
		one, err := s.sendOne(ctx, d, &list[i], i)
		if err != nil {
			s.o.Log.Warn("what a hook has sent cannot be kept", "hook", d.hook.Name, "error", err)
			one = failure(textNotNow)
		}
		if i == 0 || one.Outcome == Sent && all.Outcome != Sent {
			one.Recipients = append(all.Recipients, one.Recipients...)
			all = one
		} else {
			all.Recipients = append(all.Recipients, one.Recipients...)
		}
		if one.Outcome == Unavailable { // the next try finds what was sent by its key
			if all.Outcome = Unavailable; all.Reason == "" {
				all.Reason, all.Retry = one.Reason, one.Retry
			}
			return all
		}
	}
	return all
}

// sendOne sends one notice, unless it was sent before.
func (s *Hooks) sendOne(ctx context.Context, d *delivery, n *notice.Notice, place int) (Result, error) {
	h, now := d.hook, time.Now().UTC()
	onceKey, onceFor := "", n.DedupeFor
	switch {
	case n.Dedupe != "":
		onceKey = keyOnce + digest("notice", n.Dedupe)
	case d.key != "":
		onceKey, onceFor = keyOnce+digest("request", d.key, strconv.Itoa(place)), 0
	}
	if onceFor <= 0 {
		onceFor = defaultOnce
	}
	var before once
	if onceKey != "" {
		if err := s.load(ctx, h.ID, onceKey, &before); err != nil {
			return Result{}, err
		}
		if now.Before(before.Until) {
			return Result{Outcome: Repeated, Reason: "this was sent before", Post: before.Post, Serial: before.Serial}, nil
		}
	}
	threadKey := ""
	var last thread
	if n.Key != "" {
		threadKey = keyThread + digest(n.Key)
		if err := s.load(ctx, h.ID, threadKey, &last); err != nil {
			return Result{}, err
		}
		if now.Sub(last.At) > keepThread {
			last = thread{}
		}
	}
	if n.IfFiring && last.State != uint8(notice.Firing) {
		return Result{Outcome: Ignored, Reason: "nothing was wrong before"}, nil
	}
	var serial int64
	if err := s.load(ctx, h.ID, keySerial, &serial); err != nil {
		return Result{}, err
	}
	serial++

	m := message{s: s, d: d, notice: n, last: last, id: "h-" + strings.ToLower(rand.Text())}
	if onceKey != "" {
		// The key is the same after a crash between the message and what is kept of it, and another once that is kept.
		m.key = digest(h.ID, onceKey, strconv.Itoa(before.Times))
		m.id = "h-" + m.key
	}
	m.draw()
	r := m.post(ctx)
	if r.Outcome != Sent {
		return r, nil
	}
	r.Serial = serial
	changes := []storage.Change{save(keySerial, serial)}
	if onceKey != "" {
		changes = append(changes, save(onceKey, once{Times: before.Times + 1, Until: now.Add(onceFor), At: now, Post: r.Post,
			Serial: serial}))
	}
	if threadKey != "" {
		changes = append(changes, save(threadKey, m.thread(now, r.Recipients)))
	}
	return r, s.write(ctx, h.ID, d.gate, changes...)
}

// A message is a notice on its way to those who get it.
type message struct {
	s      *Hooks
	d      *delivery
	notice *notice.Notice
	last   thread // that it belongs to
	id     string // of the stanza
	key    string // of the post; "": it has none
	text   notice.Drawing
	files  []notice.Attachment
}

// draw makes the text, by the template if the hook has one.
func (m *message) draw() {
	h, n := m.d.hook, *m.notice
	style := notice.Style{Max: m.s.o.Settings().MaxText, Words: h.Words, Subject: h.Subject,
		Nick: h.Nick != "" || !m.toRooms()}
	for _, a := range n.Attachments {
		switch {
		case (h.Files && a.URL != "" || len(a.Data) > 0) && len(m.files) < maxFiles:
			m.files = append(m.files, a)
		case a.URL != "":
			n.Links = append(n.Links, notice.Link{Label: a.Name, URL: a.URL})
		default:
			n.Text += "\n" + leftOut(a)
		}
	}
	if h.Template != "" && m.d.data != nil {
		text, err := notice.Fill(h.Template, m.d.data)
		if err == nil {
			n = notice.Notice{Text: text}
		} else {
			n.Text += "\n(the template of this hook failed: " + err.Error() + ")"
		}
	}
	m.text = notice.Draw(&n, style)
}

// toRooms says whether all who get it are rooms, which show a nick.
func (m *message) toRooms() bool {
	for _, to := range m.recipients() {
		if !m.s.isRoom(to) {
			return false
		}
	}
	return true
}

// recipients are those of the hook, or whom the program asks for, where it may.
func (m *message) recipients() []jid.JID {
	if to, ok := m.d.hook.asked(m.notice.To); ok {
		return []jid.JID{to}
	}
	return m.d.hook.To
}

// asked is whom a program asks for, if the hook lets it.
func (h *Hook) asked(to string) (jid.JID, bool) {
	for len(to) > 0 && (to[0] == '#' || to[0] == '@') { // as channels and users are written elsewhere
		to = to[1:]
	}
	if to == "" || len(h.OverrideTo) == 0 {
		return jid.JID{}, false
	}
	j, err := jid.Parse(to)
	if err != nil || j.Local() == "" {
		return jid.JID{}, false
	}
	for _, one := range h.OverrideTo {
		if p, err := accounts.ParsePattern(one); err == nil && p.Matches(j) {
			return j, true
		}
	}
	return jid.JID{}, false
}

// post sends the message to users and to each room, since each room answers by an id of its own.
func (m *message) post(ctx context.Context) Result {
	var users []jid.JID
	var rooms []jid.JID
	var refused []posting.Recipient
	all := m.recipients()
	for _, to := range all {
		switch {
		case m.s.isRoom(to):
			rooms = append(rooms, to)
		case m.s.remoteRoom(to):
			refused = append(refused, posting.Recipient{To: to, Outcome: router.Refused, Reason: "remote-room"})
		default:
			users = append(users, to)
		}
	}
	h := m.d.hook
	if len(all) > 1 {
		switch rights, err := m.s.o.Accounts.Rights(ctx, h.Owner); {
		case err != nil:
			return failure(textNotNow)
		case !rights.Has(accounts.PermMulticast):
			return Result{Outcome: Refused, Reason: "the owner of the hook may not write to more than one"}
		}
	}
	total := Result{Outcome: Refused, Recipients: refused}
	if len(refused) > 0 {
		total.Reason = ErrRemote.Error()
	}
	if len(users) > 0 {
		total.add(m.postTo(ctx, h.As, "users", users, jid.JID{}))
	}
	for _, room := range rooms {
		total.add(m.postTo(ctx, jid.JID{}, room.String(), []jid.JID{room}, room))
	}
	return total
}

// add adds the result of one post to those of others. What was sent to one is sent; what may pass later comes before
// what will not.
func (r *Result) add(one Result) {
	r.Recipients = append(r.Recipients, one.Recipients...)
	switch {
	case r.Outcome == Sent:
	case one.Outcome == Sent:
		r.Outcome, r.Post, r.Reason, r.Retry = Sent, one.Post, "", 0
	case r.Outcome != Unavailable || one.Outcome == Unavailable:
		r.Outcome, r.Reason, r.Retry = one.Outcome, one.Reason, one.Retry
	}
}

// postTo sends the text, and then its files. part tells the posts of a message apart.
func (m *message) postTo(ctx context.Context, from jid.JID, part string, to []jid.JID, room jid.JID) Result {
	r := m.draft(ctx, from, part, to, m.stanza(room))
	if r.Outcome != Sent {
		return r
	}
	for i, a := range m.files {
		// The text is there, and a file that is not is seen to be missing in the report.
		part := part + " file " + strconv.Itoa(i)
		var f Result
		if a.URL != "" {
			f = m.draft(ctx, from, part, to, m.fileStanza(room, i, a.URL))
		} else if f = m.draft(ctx, from, part, to, m.fileStanza(room, i, ""), enclosed(a)); f.Outcome != Sent {
			// The owner may not keep files, or none that large: whoever gets the text hears that there was one.
			f = m.draft(ctx, from, part+" left out", to, m.leftOutStanza(room, i, a))
		}
		r.Recipients = append(r.Recipients, f.Recipients...)
	}
	return r
}

func (m *message) draft(ctx context.Context, from jid.JID, part string, to []jid.JID, stanza xmpp.Stanza,
	files ...posting.Attachment) Result {
	h := m.d.hook
	d := posting.Draft{Account: h.Owner, By: "hook " + h.Name, From: from, To: to, Stanza: stanza, Attachments: files,
		Lenient: true, Source: m.d.source}
	if m.key != "" {
		d.Key = digest("hook", m.key, part)
	}
	report, err := m.s.o.Post(ctx, d)
	var x *posting.Refusal
	switch {
	case err == nil:
		return resultOf(report)
	case !errors.As(err, &x):
		return failure(textNotNow)
	case x.Status == http.StatusUnprocessableEntity:
		// The same was sent before, and then what is kept of it was lost; another instance of the program words it
		// otherwise.
		return Result{Outcome: Sent}
	case x.Status == http.StatusTooManyRequests || x.Status >= 500 || x.Status == http.StatusConflict:
		return Result{Outcome: Unavailable, Reason: x.Text, Retry: max(x.Retry, 1), Recipients: x.Recipients}
	}
	return Result{Outcome: Refused, Reason: x.Text, Recipients: x.Recipients}
}

// resultOf is what a report says: sent, if anybody gets it.
func resultOf(report posting.Report) Result {
	r := Result{Outcome: Refused, Post: report.ID, Recipients: report.Recipients}
	if report.Replayed {
		r.Outcome = Sent
	}
	for _, one := range report.Recipients {
		switch one.Outcome {
		case router.Delivered, router.Stored, router.Queued:
			r.Outcome = Sent
			return r
		}
		r.Reason = one.To.String() + ": " + one.Reason
	}
	return r
}

// stanza is the message for users, or for a room.
func (m *message) stanza(room jid.JID) xmpp.Stanza {
	n, h := m.notice, m.d.hook
	body := m.text.Text
	w := xmpp.NewWriter(nil)
	answers := n.State == notice.Resolved && m.last.ID != "" && m.last.State == uint8(notice.Firing) && !h.Correct
	answered, to := m.answered(room)
	if answers && answered != "" {
		// What is quoted is for clients that do not know answers, and stands at the end: the first line says what is new
		// (XEP-0461 §3.1, XEP-0428).
		start := utf8.RuneCountInString(body)
		body += "\n> " + m.last.Head
		w.Start(nsReply, "reply").Attr("to", to).Attr("id", answered).End()
		w.Start(nsFallback, "fallback").Attr("for", nsReply).Start("", "body").AttrInt("start", int64(start)).
			AttrInt("end", int64(utf8.RuneCountInString(body))).End().End()
	}
	if m.text.Subject != "" && room.IsZero() { // in a room that would be to change the subject (XEP-0045 §8.1)
		w.Leaf("", "subject", m.text.Subject)
	}
	w.Leaf("", "body", body)
	if n.Key != "" {
		w.Leaf("", "thread", "hook-"+digest(h.ID, n.Key))
	}
	if m.corrects() {
		w.Start(xmpp.NSCorrect, "replace").Attr("id", m.last.ID).End()
	}
	return m.headed(w, room, m.id)
}

// corrects says whether the message takes the place of the last of its thread: as long as that is about the same time
// of trouble.
func (m *message) corrects() bool {
	return m.d.hook.Correct && m.last.ID != "" && m.last.State == uint8(notice.Firing)
}

// answered is the id of the message that this one answers, as those know it who get it (XEP-0461 §3.2), and its sender.
func (m *message) answered(room jid.JID) (id, to string) {
	h := m.d.hook
	if !room.IsZero() {
		full, err := room.WithResource(m.nick())
		if err != nil {
			return "", ""
		}
		return m.last.Rooms[room.String()], full.String()
	}
	if !h.As.IsZero() {
		return m.last.ID, h.As.String()
	}
	return m.last.ID, h.Owner.String()
}

// headed completes a stanza.
func (m *message) headed(w *xmpp.Writer, room jid.JID, id string) xmpp.Stanza {
	h, n := m.d.hook, m.notice
	st := xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: id}
	if !room.IsZero() {
		st.Type = xmpp.TypeGroupchat
		w.Leaf(nsNick, "nick", m.nick())
	}
	w.Start(xmpp.NSStanzaID, "origin-id").Attr("id", id).End()
	if limit, ok := notice.ParseLevel(h.NoStore); ok && h.NoStore != "" && n.Level <= limit {
		w.Start(xmpp.NSHints, "no-store").End()
	} else if n.Level == notice.Critical {
		w.Start(xmpp.NSHints, "store").End()
	}
	st.Payload = w.Bytes()
	return st
}

// nick is the name that rooms show: that of the hook, else the one that the program asks for, else the hook's own name.
func (m *message) nick() string {
	h, asked := m.d.hook, m.notice.Nick
	switch {
	case h.Nick != "":
		return h.Nick
	case asked == "" || utf8.RuneCountInString(asked) > maxNick || !xmpp.ValidText(asked):
		return h.Name
	}
	if _, err := h.Owner.WithResource(asked); err != nil { // XEP-0045 §7.2.1: a nick is a resource
		return h.Name
	}
	return asked
}

// maxHead bounds the line that is quoted of an earlier message.
const maxHead = 200

// thread is what is kept of the message, for those that follow.
func (m *message) thread(now time.Time, to []posting.Recipient) thread {
	t := thread{State: uint8(m.notice.State), ID: m.id, Head: notice.FirstLine(m.text.Text, maxHead), At: now}
	if m.corrects() { // further ones correct the first (XEP-0308 §3)
		t.ID, t.Head, t.Rooms = m.last.ID, m.last.Head, m.last.Rooms
		return t
	}
	for _, r := range to {
		if r.StanzaID != 0 && m.s.isRoom(r.To) {
			if t.Rooms == nil {
				t.Rooms = map[string]string{}
			}
			if id := r.To.String(); t.Rooms[id] == "" { // the first is the text, others are files
				t.Rooms[id] = strconv.FormatUint(r.StanzaID, 10)
			}
		}
	}
	return t
}
