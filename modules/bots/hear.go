package bots

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// mark marks what a bot of ours writes, by whichever way it comes, so that no other bot answers it, not even in a room
// that hides who is who.
func (m *Bots) mark(e *router.Envelope) {
	s := e.Stanza
	all, err := m.bots()
	if err != nil || len(all) == 0 || e.Peer != "" || s.Kind != xmpp.Message || s.Type == xmpp.TypeError ||
		all[s.From.Bare()] == nil || !s.Has(nameBody) || s.Has(nameBot) {
		return
	}
	marked := s.WithAdded([]byte("<bot xmlns='" + nsBot + "'/>"))
	e.Replace(&marked)
}

// asked answers requests to the session of a bot.
func (m *Bots) asked(e *router.Envelope) {
	to := e.Stanza.To
	if !to.IsFull() || !e.Stanza.IsRequest() {
		return
	}
	b, err := m.named(to)
	if err != nil || b == nil || b.speaks(to) == nil {
		return
	}
	switch name, _ := e.Stanza.First(); {
	case e.Stanza.Type != xmpp.TypeGet:
	case name.Space == xmpp.NSDiscoInfo && name.Local == "query":
		w := xmpp.NewWriter(nil)
		w.Start(xmpp.NSDiscoInfo, "query")
		w.Start(xmpp.NSDiscoInfo, "identity").Attr("category", "client").Attr("type", "bot").Attr("name", b.nick()).End()
		for _, f := range []string{xmpp.NSDiscoInfo, xmpp.NSPing, xmpp.NSReceipts} {
			w.Start(xmpp.NSDiscoInfo, "feature").Attr("var", f).End()
		}
		m.o.Router.Answer(e, w.End().Bytes())
	case name.Space == xmpp.NSPing && name.Local == "ping":
		m.o.Router.Answer(e, nil)
	}
	if !e.Settled() {
		e.Refuse(xmpp.ServiceUnavailable(""))
	}
}

// delivering sees a message that sessions are about to get: those of clients that use the account as well, or that of
// the bot, which takes nothing by itself.
func (m *Bots) delivering(e *router.Envelope, to []*router.Session) {
	if len(to) == 0 {
		return
	}
	b, err := m.named(to[0].Addr())
	if err != nil || b == nil || e.Returned {
		return // a client of the account has got it at any rate
	}
	if b.take(e); e.Settled() || len(to) > 1 || to[0] != b.session.Load() {
		return
	}
	e.Settle(router.Delivered)
}

// unclaimed sees a message that no session gets. The queue is the delivery, unless clients of the account get it
// when they have caught up. The caller holds the owner's lock.
func (m *Bots) unclaimed(e *router.Envelope) {
	if e.Returned { // it went out when the session that gives it back had got it
		return
	}
	b, err := m.named(e.Stanza.To)
	if err != nil {
		e.Refuse(router.Unavailable())
		return
	}
	if b == nil {
		return
	}
	if taken := b.take(e); !taken || e.Settled() {
		return
	}
	for _, s := range m.o.Router.Sessions(b.JID) {
		if s != b.session.Load() && s.Presence() != nil && s.Priority() >= 0 {
			return
		}
	}
	e.Settle(router.Delivered)
}

// take queues a message, if it is one that goes out, and says so. It refuses what there is no room for.
func (b *bot) take(e *router.Envelope) bool {
	q, why := b.hears(e)
	switch {
	case why != nil:
		e.Refuse(why)
		return false
	case q == nil:
		return false
	}
	m := b.m
	sharer := m.o.Router.Sharer(e.Stanza.From)
	data, err := write(q)
	if err == nil && !m.admits(b, q.sender()) {
		b.busy(e, "too many messages to this bot in a short time, try again later")
		return false
	}
	var p *storage.Pending
	if err == nil {
		p, err = b.queue.Append(sharer, data, e.DedupKey())
	}
	switch {
	case errors.Is(err, storage.ErrFull):
		b.busy(e, "too many messages wait for this bot")
		return false
	case err != nil:
		m.o.Log.Warn("a message for a bot cannot be queued", "bot", b.JID, "error", err)
		b.busy(e, "the server cannot store this now, try again later")
		return false
	}
	e.Await(p)
	b.queue.Kick()
	return true
}

// busy refuses a message for now. A room is told nothing: it would take the error for that of an occupant who is gone
// (XEP-0045 §18.1.1).
func (b *bot) busy(e *router.Envelope, text string) {
	if _, in := b.rooms.all[e.Stanza.From.Bare()]; in {
		b.m.o.Log.Warn("a message of a room does not reach a bot", "bot", b.JID, "room", e.Stanza.From.Bare(),
			"why", text)
		e.Settle(router.Dropped)
		return
	}
	e.Refuse(xmpp.ResourceConstraint(text).WithType(xmpp.ErrorWait))
}

// admits says whether somebody may write to the bot now.
func (m *Bots) admits(b *bot, who string) bool {
	rate := m.rates.Open(b.JID.String() + " " + who)
	defer rate.Close()
	return rate.Take(1) == 0
}

// hears is what goes out of a message; nil: nothing. why, if not nil, says why its sender must not think that the bot
// has it.
func (b *bot) hears(e *router.Envelope) (q *queued, why *xmpp.Error) {
	s := e.Stanza
	encrypted, delayed := false, false
	for _, c := range children(s) {
		encrypted = encrypted || xmpp.Encrypted(c.Name)
		delayed = delayed || c.Name == nameDelay
	}
	body := s.Child(nameBody)
	_, in := b.rooms.all[s.From.Bare()]
	switch {
	case s.Type != xmpp.TypeNormal && s.Type != xmpp.TypeChat && s.Type != xmpp.TypeGroupchat,
		s.Type == xmpp.TypeGroupchat && !in, delayed, s.From.IsZero(), s.From.Bare() == b.JID,
		s.From.Local() == "" && b.m.o.Router.Serves(s.From.Domain()), // what the server tells users
		in && (s.From.Resource() == "" || s.From.Resource() == b.nick()),
		(body == nil || strings.TrimSpace(body.Text()) == "") && !encrypted:
		return nil, nil
	case s.Has(nameBot):
		if in {
			return nil, nil
		}
		return nil, xmpp.PolicyViolation("bots do not answer each other")
	case encrypted && !b.Encrypted:
		if in {
			return nil, nil
		}
		return nil, xmpp.NotAcceptable("this bot reads no encrypted messages: turn encryption off for it")
	}
	q = &queued{event: event{Bot: b.JID.String(), From: s.From.String(), Type: s.Type.String(), ID: s.ID,
		Args: []string{}}}
	if s.Type == xmpp.TypeNormal {
		q.Type = "normal"
	}
	by := b.JID
	if in {
		room, nick := s.From.Bare().String(), s.From.Resource()
		q.Room, q.Nick = &room, &nick
		if s.Type == xmpp.TypeGroupchat {
			by = s.From.Bare()
		}
	}
	if !encrypted {
		text, command, called := b.reads(body.Text())
		if s.Type == xmpp.TypeGroupchat && !called {
			return nil, nil
		}
		if q.Text = &text; command != "" {
			q.Command, q.Args = &command, append(q.Args, strings.Fields(text)...)
		}
	} else if s.Type == xmpp.TypeGroupchat { // nobody can tell whether it is for the bot
		return nil, nil
	}
	q.StanzaID = stanzaID(s, by)
	if t := s.ChildBytes(nameThread); len(t) <= maxThread {
		q.Thread = string(t)
	}
	q.Receipt = s.ID != "" && s.Type != xmpp.TypeGroupchat && s.Has(nameReceipt) // XEP-0184 §5.3
	q.Stanza = string(s.AppendQualified(nil))
	return q, nil
}

// maxThread is how many bytes of a thread are kept.
const maxThread = 1024

// reads takes a text apart: what begins with the trigger is a command, and what names the bot is for it (called). text
// is what is left.
func (b *bot) reads(body string) (text, command string, called bool) {
	body = strings.TrimSpace(body)
	if b.Trigger != "" {
		word := strings.TrimRightFunc(b.Trigger, unicode.IsSpace)
		if rest, ok := strings.CutPrefix(body, b.Trigger); ok {
			return strings.TrimSpace(rest), word, true
		}
		if body == word {
			return "", word, true
		}
	}
	if nick := b.nick(); nick != "" {
		if rest, ok := cutFold(body, nick); ok {
			switch r, _ := utf8.DecodeRuneInString(rest); {
			case rest == "":
				return "", "", true
			case r == ':' || r == ',':
				return strings.TrimSpace(rest[1:]), "", true
			case !inWord(r):
				return body, "", true
			}
		}
		return body, "", mentions(body, nick)
	}
	return body, "", false
}

// cutFold is strings.CutPrefix without regard to case.
func cutFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// mentions says whether a name is in a text as a word of its own.
func mentions(text, name string) bool {
	for at := 0; at+len(name) <= len(text); at++ {
		// Texts can be long: most places are passed over by one byte, whose bit 0x20 is the case of a letter.
		if c := name[0]; c < utf8.RuneSelf && text[at] < utf8.RuneSelf && text[at]|0x20 != c|0x20 {
			continue
		}
		if !strings.EqualFold(text[at:at+len(name)], name) {
			continue
		}
		before, _ := utf8.DecodeLastRuneInString(text[:at])
		after, _ := utf8.DecodeRuneInString(text[at+len(name):])
		if (at == 0 || !inWord(before)) && (at+len(name) == len(text) || !inWord(after)) {
			return true
		}
	}
	return false
}

func inWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

// nick is the name of a bot in rooms.
func (b *bot) nick() string {
	if b.Nick != "" {
		return b.Nick
	}
	return b.JID.Local()
}

// stanzaID is the id that the bot's account or its room has given a message (XEP-0359); nil: none.
func stanzaID(s *xmpp.Stanza, by jid.JID) *string {
	for _, c := range children(s) {
		if c.Name.Local != "stanza-id" || c.Name.Space != xmpp.NSStanzaID {
			continue
		}
		if el, err := xmpp.ParseElement(s.Payload[c.Start:c.End]); err == nil && el.Attr("by") == by.String() {
			id := el.Attr("id")
			return &id
		}
	}
	return nil
}

// children are the elements at the top of a stanza.
func children(s *xmpp.Stanza) []xmpp.Child {
	if s.Children != nil {
		return s.Children
	}
	return xmpp.Index(s.Payload)
}
