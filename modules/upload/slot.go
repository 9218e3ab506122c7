package upload

import (
	"context"
	"encoding/binary"
	"errors"
	"mime"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A state is how far a slot has come.
type state uint8

const (
	waiting state = iota
	taking
	used
	dropped // its account is gone
)

// A slot is the permission to upload one file. All but its state never changes.
type slot struct {
	id      string
	secret  string // of the Authorization header
	owner   jid.JID
	name    string
	kind    string // media type, "" where the client did not say
	size    int64
	created time.Time
	until   time.Time // when the file must be gone; zero: when its time has come
	expires time.Time // of the slot

	// What follows is guarded by Service.mu.

	state state
	stop  context.CancelFunc // ends what done tells the end of
	done  chan struct{}      // closed when the file is there or not; nil before it is all here
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// errTooMuch: the account must wait until that time.
type errTooMuch struct{ until time.Time }

func (errTooMuch) Error() string { return "over the quota" }

var (
	errFull   = errors.New("too little room on the disk")
	errClosed = errors.New("the server is stopping")
)

// request gives a slot (§ Requesting a slot).
func (s *Service) request(e *router.Envelope) {
	sl, bad := s.asked(e)
	if bad == nil {
		bad = s.grant(sl)
	}
	if bad != nil {
		s.Stats.Refused.Add(1)
		e.Refuse(bad)
		return
	}
	at := ""
	for _, p := range s.o.Places() {
		if p.Domain == e.Stanza.To.Domain() {
			at = p.URL
		}
	}
	at = s.urlOf(at, sl)
	s.Stats.Slots.Add(1)
	w := xmpp.NewWriter(nil).Start(nsUpload, "slot")
	w.Start("", "put").Attr("url", at).Start("", "header").
		Attr("name", "Authorization").Text(scheme + sl.secret).End().End()
	w.Start("", "get").Attr("url", at).End()
	s.o.Router.Answer(e, w.End().Bytes())
}

// urlOf is where the file of a slot is.
func (s *Service) urlOf(place string, sl *slot) string {
	return place + "/" + sl.id + "/" + url.PathEscape(sl.name)
}

// asked reads a request for a slot.
func (s *Service) asked(e *router.Envelope) (*slot, *xmpp.Error) {
	if e.Session == nil { // a peer, a program, or what was posted in somebody's name
		return nil, xmpp.Forbidden("files are taken from users of this server only")
	}
	q := e.Stanza.Child(xmpp.Name{Space: nsUpload, Local: "request"})
	if q == nil {
		return nil, xmpp.BadRequest("")
	}
	set, now := s.o.Settings(), time.Now()
	sl := &slot{owner: e.Session.Bare(), name: cleanName(q.Attr("filename")), created: now, expires: now.Add(slotTime)}
	if q.Attr("filename") == "" {
		return nil, xmpp.BadRequest("a file needs a name")
	}
	if q.HasAttr("content-type") {
		t, param, err := mime.ParseMediaType(q.Attr("content-type"))
		if err != nil || !strings.Contains(t, "/") {
			return nil, xmpp.BadRequest("content-type is no media type")
		}
		sl.kind = mime.FormatMediaType(t, param)
	}
	size, err := strconv.ParseUint(q.Attr("size"), 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		size = 1 << 63 // no file is that large
	} else if err != nil || size == 0 { // § XML Schema: a positive integer
		return nil, xmpp.BadRequest("size is the number of bytes, above 0")
	}
	if size > uint64(set.MaxSize) {
		return nil, tooLarge(set.MaxSize)
	}
	sl.size = int64(size)
	return sl, s.purpose(sl, q, set.Keep)
}

// purpose reads what the file is for (§ Upload purpose).
func (s *Service) purpose(sl *slot, q *xmpp.Element, keep time.Duration) *xmpp.Error {
	for _, p := range q.Children() {
		if p.Name.Space != nsPurpose || p.Name.Local == "message" {
			continue
		}
		if p.Name.Local != "ephemeral" {
			return xmpp.FeatureNotImplemented("files are not taken for this purpose")
		}
		until, err := xmpp.ParseTime(p.Attr("expire-before"))
		if err != nil {
			return xmpp.BadRequest("expire-before is no time")
		}
		if !until.After(sl.created) {
			return xmpp.NotAcceptable("the file would have to be gone already")
		}
		if keep == 0 || until.Before(sl.created.Add(keep)) {
			sl.until = until
		}
	}
	return nil
}

// tooLarge is the error of § Error conditions, with how large a file may be.
func tooLarge(most int64) *xmpp.Error {
	err := xmpp.NotAcceptable("the file is too large, the maximum is "+number(most)+" bytes").
		WithApp(nsUpload, "file-too-large")
	err.App.Content = []xmpp.Node{{Elem: &xmpp.Element{Name: xmpp.Name{Space: nsUpload, Local: "max-file-size"},
		Content: []xmpp.Node{{Text: number(most)}}}}}
	return err
}

// grant puts a slot in force, or says why it cannot be given now.
func (s *Service) grant(sl *slot) *xmpp.Error {
	var over errTooMuch
	switch err := s.admit(sl); {
	case err == nil:
		return nil
	case errors.As(err, &over): // § Error conditions: when it is worth trying again
		bad := xmpp.ResourceConstraint("no more can be uploaded for now").WithApp(nsUpload, "retry")
		// The stamp has seconds, and must not be too early.
		bad.App.Attrs = []xmpp.Attr{{Name: xmpp.Name{Local: "stamp"},
			Value: xmpp.FormatTime(over.until.Add(time.Second - 1).Truncate(time.Second))}}
		return bad
	case errors.Is(err, ErrAway): // said where it was found out
		return router.Unavailable()
	case errors.Is(err, errFull):
		return xmpp.ResourceConstraint("there is no room for files now")
	default:
		s.o.Log.Warn("no slot for a file", "account", sl.owner, "error", err)
		return router.Unavailable()
	}
}

// admit counts the slot and takes that back if it is too much, so that two that come at once are not both let in.
func (s *Service) admit(sl *slot) error {
	if err := errors.Join(s.reachable(), s.room(sl.size)); err != nil {
		return err
	}
	sl.id = newID(sl)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	if sl.secret, err = s.pass(ctx, sl); err != nil {
		return err
	}
	open, err := s.reserve(sl)
	if err != nil {
		return err
	}
	if err = s.quota(sl, open); err != nil {
		s.mu.Lock()
		s.drop(sl, dropped)
		s.mu.Unlock()
	}
	return err
}

// A claim is what the open slots of an account may bring.
type claim struct {
	bytes int64
	ids   map[string]bool
	first time.Time // when the first expires
}

// reserve puts a slot beside those that the account has already, and returns these.
func (s *Service) reserve(sl *slot) (open claim, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	open = claim{ids: map[string]bool{}, first: sl.expires}
	if s.closed {
		return open, errClosed
	}
	owner := sl.owner.String()
	for other := range s.users[owner] {
		if s.expired(other, sl.created) {
			continue
		}
		open.bytes += other.size
		open.ids[other.id] = true
		if other.expires.Before(open.first) {
			open.first = other.expires
		}
	}
	if len(open.ids) >= openSlots {
		return open, errTooMuch{later(open.first, sl.created)}
	}
	s.adopt(sl)
	return open, nil
}

// later is a time to try again that is not past, as that of a slot whose file has been coming for long may be.
func later(t, now time.Time) time.Time {
	if least := now.Add(time.Minute); t.Before(least) {
		return least
	}
	return t
}

// quota says whether the file fits beside those of the last day and those that are expected.
func (s *Service) quota(sl *slot, open claim) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	list, _, err := s.o.Records.Page(ctx, sl.owner.String(),
		storage.Query{After: storage.IDAt(sl.created.Add(-day)), Limit: filesADay, Backward: true})
	if err != nil {
		return err
	}
	// A file that is on its way into the store has both a slot and a record.
	list = slices.DeleteFunc(list, func(r storage.Record) bool {
		_, id, _ := readRecord(r.Data)
		return open.ids[id]
	})
	bytes, files := open.bytes, len(open.ids)+len(list)
	for _, r := range list {
		bytes += sizeOf(r.Data)
	}
	quota := s.o.Settings().Quota
	if bytes <= quota-sl.size && files < filesADay {
		return nil
	}
	for _, r := range list { // in the order in which they stop counting
		bytes -= sizeOf(r.Data)
		files--
		if bytes <= quota-sl.size && files < filesADay {
			return errTooMuch{later(r.Time().Add(day), sl.created)}
		}
	}
	return errTooMuch{later(open.first, sl.created)}
}

// expired forgets a slot that nobody has begun to use in time. The caller holds mu.
func (s *Service) expired(sl *slot, now time.Time) bool {
	if sl.state == taking || now.Before(sl.expires) {
		return false
	}
	s.drop(sl, sl.state)
	delete(s.slots, sl.id)
	return true
}

// drop counts a slot for its account no more; one that is used is remembered until it expires. The caller holds mu.
func (s *Service) drop(sl *slot, to state) {
	sl.state = to
	owner := sl.owner.String()
	if delete(s.users[owner], sl); len(s.users[owner]) == 0 {
		delete(s.users, owner)
	}
	if to == dropped {
		delete(s.slots, sl.id)
	}
}

// sweep forgets the slots that have expired.
func (s *Service) sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sl := range s.slots {
		s.expired(sl, now)
	}
}

// recordVersion begins each record: then come the size of the file as a varint, and its id.
const recordVersion = 1

func recordOf(sl *slot) []byte {
	return append(binary.AppendUvarint([]byte{recordVersion}, uint64(sl.size)), sl.id...)
}

// readRecord returns the size and the id of a file; ok is false for what this version does not know.
func readRecord(b []byte) (size int64, id string, ok bool) {
	if len(b) == 0 || b[0] != recordVersion {
		return 0, "", false
	}
	n, width := binary.Uvarint(b[1:])
	if width <= 0 {
		return 0, "", false
	}
	return int64(n), string(b[1+width:]), true
}

func sizeOf(b []byte) int64 {
	size, _, _ := readRecord(b)
	return size
}
