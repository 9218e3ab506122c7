package reports

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"jackdaw/modules/internal/forms"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	// maxForwarded is how many reports one address elsewhere is sent within a window, by all users together.
	maxForwarded = 60
	// maxAsking is how many domains are asked for an address at a time; patience is how long an answer may take.
	maxAsking = 20
	patience  = time.Minute
	// maxMessages and maxMessage bound the reported messages that go with a report, and the bytes of each.
	maxMessages = 3
	maxMessage  = 8 << 10
	// maxAddress bounds what a domain may say where its reports go.
	maxAddress = 1024
)

// Elements by which a user agrees to the forwarding of a report (§5).
var (
	toOrigin     = xmpp.Name{Space: ns, Local: "report-origin"}
	toThirdParty = xmpp.Name{Space: ns, Local: "third-party"}
)

// forward sends a report to those to whom the user agrees. Without the user's word nothing leaves (§5).
func (m *Reports) forward(user, about jid.JID, r *xmpp.Element) {
	origin := r.Child(toOrigin) != nil && m.Origin() && !m.Router.Owns(about.Domain())
	var parties []jid.JID
	if r.Child(toThirdParty) != nil {
		parties = m.ThirdParties()
	}
	if !origin && len(parties) == 0 {
		return
	}
	payload := m.payload(user, about, r)
	for _, to := range parties {
		if m.send(user.Domain(), to, payload) {
			m.Stats.ThirdParties.Add(1)
		}
	}
	if !origin {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.asking >= maxAsking {
		m.Log.Warn("a report is not forwarded: too many are on their way", "about", about.Domain())
		return
	}
	m.asking++
	m.running.Go(func() {
		to := m.origin(user.Domain(), about.Domain())
		m.mu.Lock()
		m.asking--
		m.mu.Unlock()
		if m.ctx.Err() == nil && m.send(user.Domain(), to, payload) {
			m.Stats.Origins.Add(1)
		}
	})
}

// payload is a report as servers send it to each other: no specification says how, but several do it like this. The
// user is not named, nor is any address of the user's in it: neither the 'to' of messages (§5) nor ids by the account.
func (m *Reports) payload(user, about jid.JID, r *xmpp.Element) []byte {
	reason := r.Attr("reason")
	body := fmt.Sprintf("A user of %s reports %s: %s.", user.Domain(), about, word(reason))
	w := xmpp.NewWriter(nil).Leaf("", "body", body)
	w.Start(ns, "report").Attr("reason", reason).Leaf("urn:xmpp:jid:0", "jid", about.String())
	if text := textOf(r); text != "" {
		w.Start(ns, "text")
		if lang := r.ChildLocal("text").AttrNS(xmpp.NSXML, "lang"); lang != "" && len(lang) <= maxReason {
			w.Attr("xml:lang", lang)
		}
		w.Text(text).End()
	}
	w.End()
	for _, message := range m.messages(user, about, r) {
		w.Raw(message)
	}
	return w.Bytes()
}

// messages are the reported ones that are in the user's archive, as forwarded stanzas (XEP-0297) of what they say.
func (m *Reports) messages(user, about jid.JID, r *xmpp.Element) (all [][]byte) {
	for _, c := range r.Children() {
		if c.Name != (xmpp.Name{Space: xmpp.NSStanzaID, Local: "stanza-id"}) || len(all) >= maxMessages {
			continue
		}
		by, err := jid.Parse(c.Attr("by"))
		if err != nil || by != user { // the archive's ids are by the account (XEP-0313 §4.1.3)
			continue
		}
		id, err := strconv.ParseUint(c.Attr("id"), 10, 64)
		if err != nil {
			continue
		}
		s, err := m.Received(context.Background(), user.String(), id)
		if err != nil {
			if !errors.Is(err, storage.ErrNotFound) {
				m.Log.Warn("a reported message cannot be read", "user", user, "error", err)
			}
			continue
		}
		if s.From.Bare() != about.Bare() && s.From.Domain() != about.String() {
			continue // §6: it is by whom is reported
		}
		if b := said(&s, id); b != nil {
			all = append(all, b)
		}
	}
	return all
}

// said is a message with what it says and who has said it, and nothing else; nil if it says nothing.
func said(s *xmpp.Stanza, id uint64) []byte {
	body := s.WithoutFunc(func(c xmpp.Child, _ []byte) bool {
		return c.Name.Space != xmpp.NSClient || c.Name.Local != "body" && c.Name.Local != "subject"
	})
	if len(body) == 0 || len(body) > maxMessage {
		return nil
	}
	m := xmpp.Stanza{Kind: xmpp.Message, Type: s.Type, ID: s.ID, Lang: s.Lang, From: s.From, Payload: body}
	b := append([]byte("<forwarded xmlns='"+xmpp.NSForward+"'><delay xmlns='"+xmpp.NSDelay+"' stamp='"),
		xmpp.FormatTime(storage.Record{ID: id}.Time())...)
	return append(m.AppendQualified(append(b, "'/>"...)), "</forwarded>"...)
}

// send sends a report in the name of a host, unless the recipient has got very many.
func (m *Reports) send(host string, to jid.JID, payload []byte) bool {
	m.mu.Lock()
	m.turn(time.Now())
	m.sent[to]++
	n := m.sent[to]
	m.mu.Unlock()
	from, err := jid.Parse(host)
	if n > maxForwarded || err != nil {
		if n == maxForwarded+1 {
			m.Log.Warn("very many reports go to one address; further ones are not forwarded for a while", "to", to)
		}
		return false
	}
	e := &router.Envelope{Quiet: true, Stanza: &xmpp.Stanza{Kind: xmpp.Message, ID: rand.Text(), From: from, To: to,
		Payload: payload}}
	m.Router.Route(e)
	if e.Outcome == router.Refused {
		m.Log.Warn("a report is not forwarded", "to", to, "error", e.Err)
		return false
	}
	return true
}

// origin is where a domain wants reports: where it says (XEP-0157), else the domain itself.
func (m *Reports) origin(host, domain string) jid.JID {
	to, err := jid.Parse(domain)
	if err != nil {
		return to
	}
	from, ok := m.asker(host)
	if !ok {
		return to
	}
	id, answer := rand.Text(), make(chan *xmpp.Element, 1)
	m.mu.Lock()
	m.asked[id] = question{to, from, answer}
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.asked, id)
		m.mu.Unlock()
	}()
	e := &router.Envelope{Quiet: true, Stanza: &xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeGet, ID: id, From: from, To: to,
		Payload: []byte("<query xmlns='" + xmpp.NSDiscoInfo + "'/>")}}
	m.Router.Route(e)
	if e.Outcome == router.Refused {
		return to
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case info := <-answer:
		if contact := addressOf(info); !contact.IsZero() {
			return contact
		}
	case <-t.C:
	case <-m.ctx.Done():
	}
	return to
}

// asker is an address of a host that is at home on this node, so that the answer comes here.
func (m *Reports) asker(host string) (from jid.JID, ok bool) {
	for i := range 26 {
		from, err := jid.Parse(m.Address(i) + "@" + host)
		if err == nil && m.Router.Here(from.String()) {
			return from, true
		}
	}
	return from, false
}

// A question waits for its answer.
type question struct {
	of, by jid.JID
	answer chan *xmpp.Element // has room for it
}

// answered takes the answers to questions.
func (m *Reports) answered(e *router.Envelope) {
	s := e.Stanza
	if !s.IsAnswer() || !strings.HasPrefix(s.To.Local(), prefix) {
		return
	}
	m.mu.Lock()
	q, asked := m.asked[s.ID]
	m.mu.Unlock()
	if !asked || q.by != s.To {
		return
	}
	e.Settle(router.Dropped)
	if q.of != s.From {
		return
	}
	info := s.Child(xmpp.Name{Space: xmpp.NSDiscoInfo, Local: "query"})
	if s.Type == xmpp.TypeError {
		info = nil
	}
	select {
	case q.answer <- info:
	default:
	}
}

// addressOf is where somebody who has answered disco#info wants reports, by XMPP; zero where that is not said.
func addressOf(info *xmpp.Element) (none jid.JID) {
	if info == nil {
		return none
	}
	for _, x := range info.Children() {
		if x.Name != forms.Name {
			continue
		}
		form, bad := forms.Parse(x)
		if bad != nil || form.Type != xmpp.NSServerInfo {
			continue
		}
		for _, name := range []string{"report-addresses", "abuse-addresses"} {
			f := form.Field(name)
			if f == nil {
				continue
			}
			for _, uri := range f.Values {
				path, is := strings.CutPrefix(uri, "xmpp:") // RFC 5122
				path, _, _ = strings.Cut(path, "?")
				if to, err := jid.Parse(path); is && err == nil && len(path) <= maxAddress {
					return to
				}
			}
		}
	}
	return none
}
