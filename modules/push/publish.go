package push

import (
	"crypto/rand"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"jackdaw/modules/internal/forms"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	idPrefix = "push-"

	maxBody = 512 // bytes of a text that are told

	// backoffMin is how long the next notification waits after a failure that may pass; after each further one the
	// double, up to backoffMax. All maxFailures together take a day.
	backoffMin  = time.Minute
	backoffMax  = time.Hour
	maxFailures = 30
)

// accepted implements router.Module.Accepted: a message has reached an account of ours.
func (p *Push) accepted(e *router.Envelope) {
	s := e.Stanza
	if s.Type == xmpp.TypeError || s.Type == xmpp.TypeHeadline {
		return
	}
	owner := s.To.Bare()
	if owner.IsZero() || s.From.Bare() == owner { // a user's own
		return
	}
	if p.users.nobody(owner.String()) {
		return
	}
	u, err := p.lock(owner)
	if err != nil {
		p.Log.Warn("nobody is woken", "error", err)
		return
	}
	defer p.unlock(u)
	if len(u.list) > 0 && wakes(s) {
		for _, r := range u.list {
			if s.Type != xmpp.TypeGroupchat || s.To == r.client { // else it is another client that is in the room
				p.wake(u, r, s)
			}
		}
	}
}

// untaken implements router.Module.Untaken: these messages were on their way to a client that is gone.
func (p *Push) untaken(s *router.Session, left []router.Undelivered) {
	u, err := p.lock(s.Bare())
	if err != nil {
		p.Log.Warn("nobody is woken", "error", err)
		return
	}
	defer p.unlock(u)
	for _, r := range u.list {
		if r.client != s.Addr() || r.detached == s { // told of it when it lost its connection, and of each message since
			continue
		}
		for i := range left {
			m := &left[i].Stanza
			if m.From.Bare() != u.bare && wakes(m) {
				p.wake(u, r, m)
			}
		}
	}
}

// wake notes a message for the client of a registration, unless it is connected and gets it by its stream. The caller
// holds the user.
func (p *Push) wake(u *user, r *registration, m *xmpp.Stanza) {
	if !p.away(r) {
		return
	}
	r.count++
	switch p.Settings().Content {
	case Full:
		r.body = textOf(m)
		fallthrough
	case Sender:
		r.sender = m.From.String()
	}
	if has(m, rings) {
		r.hurry(p.Settings().Interval)
		p.disarm(u, r)
	}
	p.arm(u, r)
}

// atOnce is how many calls of an interval are told without waiting.
const atOnce = 6

// hurry lets the next notification go at once, unless its service fails, or has been hurried too often.
func (r *registration) hurry(interval time.Duration) {
	now := time.Now()
	if now.Sub(r.hurried) > interval {
		r.hurried, r.calls = now, 0
	}
	if r.calls++; r.calls <= atOnce && r.failures == 0 && r.next.After(now) {
		r.next = now
	}
}

// away says whether the client of a registration is not connected. The caller holds the user.
func (p *Push) away(r *registration) bool {
	s := p.Router.Session(r.client)
	switch {
	case s == nil:
		return true
	case s.Detached():
		r.detached = s
		return true
	}
	r.detached, r.count, r.sender, r.body = nil, 0, "", ""
	return false
}

var (
	body  = xmpp.Name{Space: xmpp.NSClient, Local: "body"}
	mucX  = xmpp.Name{Space: xmpp.NSMUCUser, Local: "x"}
	calls = "urn:xmpp:jingle-message:0" // XEP-0353
)

// rings says whether an element makes a telephone ring or ends that: it is worth nothing later (XEP-0353 §3).
func rings(n xmpp.Name) bool {
	return n.Space == calls && (n.Local == "propose" || n.Local == "retract")
}

// wakes says whether a message is worth waking somebody for.
func wakes(s *xmpp.Stanza) bool {
	switch s.Type {
	case xmpp.TypeNormal, xmpp.TypeChat, xmpp.TypeGroupchat:
	default:
		return false
	}
	children := s.Children
	if children == nil {
		children = xmpp.Index(s.Payload)
	}
	for _, c := range children {
		switch {
		case c.Name == body, c.Name.Space == "jabber:x:conference", rings(c.Name), xmpp.Encrypted(c.Name):
			return true
		case c.Name == mucX:
			if x := s.Child(mucX); x != nil && x.ChildLocal("invite") != nil {
				return true
			}
		}
	}
	return false
}

// textOf is what a message says, cut. What is beside an encrypted message is not (XEP-0380 §3).
func textOf(s *xmpp.Stanza) string {
	el := s.Child(body)
	if el == nil || has(s, xmpp.Encrypted) {
		return ""
	}
	t := el.Text()
	if strings.HasPrefix(t, "?OTR") { // XEP-0364: the body itself is encrypted
		return ""
	}
	if len(t) <= maxBody {
		return strings.Clone(t)
	}
	n := maxBody
	for !utf8.RuneStart(t[n]) {
		n--
	}
	return strings.Clone(t[:n])
}

// has says whether a message has a child of such a name.
func has(s *xmpp.Stanza, such func(xmpp.Name) bool) bool {
	children := s.Children
	if children == nil {
		children = xmpp.Index(s.Payload)
	}
	return slices.ContainsFunc(children, func(c xmpp.Child) bool { return such(c.Name) })
}

// tell is what a timer does: it tells the service what has come, if the client is still away.
func (p *Push) tell(u *user, r *registration) {
	u.mu.Lock()
	r.timer = nil
	if r.ended || !p.away(r) {
		u.mu.Unlock()
		return
	}
	var random [12]byte
	rand.Read(random[:]) // never returns an error
	id := idPrefix + base64.RawURLEncoding.EncodeToString(random[:])
	r.id, r.next = id, time.Now().Add(p.Settings().Interval)
	iq := xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeSet, ID: id, From: u.bare, To: r.service,
		Payload: r.payload(p.Settings().Content)}
	u.mu.Unlock()
	e := router.Envelope{Stanza: &iq, Quiet: true}
	if p.Router.Route(&e); e.Outcome == router.Refused {
		p.result(u.bare, r.service, id, e.Err)
	}
}

// payload is what is published (§7). The caller holds the user.
func (r *registration) payload(c Content) []byte {
	form := forms.Form{Kind: forms.Submit, Type: summary, Fields: []forms.Field{{Var: "message-count",
		Values: []string{strconv.Itoa(r.count)}}}}
	if r.sender != "" && c != None {
		form.Fields = append(form.Fields, forms.Field{Var: "last-message-sender", Values: []string{r.sender}})
	}
	if r.body != "" && c == Full {
		form.Fields = append(form.Fields, forms.Field{Var: "last-message-body", Values: []string{r.body}})
	}
	w := xmpp.NewWriter(nil).Start(xmpp.NSPubSub, "pubsub")
	w.Start(xmpp.NSPubSub, "publish").AttrIf("node", r.node).Start(xmpp.NSPubSub, "item").Start(ns, "notification")
	form.Write(w)
	w.End().End().End()
	if r.form != nil {
		w.Start(xmpp.NSPubSub, "publish-options").Raw(r.form).End()
	}
	return w.End().Bytes()
}

// answered takes the answers of push services out of what is for the account.
func (p *Push) answered(e *router.Envelope) {
	s := e.Stanza
	if !s.IsAnswer() || !s.To.IsBare() || !strings.HasPrefix(s.ID, idPrefix) {
		return
	}
	e.Settle(router.Delivered)
	p.result(s.To, s.From, s.ID, s.Err())
}

// result acts on the outcome of a notification, nil for success (§7.1).
func (p *Push) result(owner, service jid.JID, id string, failed *xmpp.Error) {
	u, err := p.lock(owner)
	if err != nil {
		p.Log.Warn("push registrations unavailable", "error", err)
		return
	}
	defer p.unlock(u)
	for _, r := range u.list {
		if r.service != service || r.id != id {
			continue
		}
		r.id = ""
		switch {
		case failed == nil:
			r.failures = 0
		case !passing(failed), r.failures+1 >= maxFailures:
			p.give(u, r, string(failed.Condition))
		default:
			r.failures++
			r.next = time.Now().Add(min(backoffMin<<min(r.failures-1, 10), backoffMax))
			p.disarm(u, r)
			p.arm(u, r) // a client that was not woken is to be
		}
		return
	}
}

// passing says whether an error is of the moment: the service is not to be reached, or asks to wait.
func passing(e *xmpp.Error) bool {
	switch e.Condition {
	case xmpp.CondRemoteServerNotFound, xmpp.CondRemoteServerTimeout, xmpp.CondInternalServerError,
		xmpp.CondResourceConstraint, xmpp.CondServiceUnavailable, xmpp.CondRecipientUnavailable:
		return true
	}
	return e.Type == xmpp.ErrorWait
}
