package bots

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"jackdaw/modules/internal/outgoing"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// try posts a message and says what the program answers. final says that another try would fare no better.
func (b *bot) try(ctx context.Context, r storage.Record) (final bool, err error) {
	q, err := readQueued(r.Data)
	if err != nil {
		b.m.o.Log.Error("a message for a bot cannot be read and is lost", "bot", b.JID, "id", r.ID, "error", err)
		return true, err
	}
	key := keyOf(q.Bot, r.ID)
	done := Delivery{At: time.Now(), Key: key, From: q.From}
	// What answers have cost beyond the account's budget is waited for, before there are more.
	if wait := b.budget.Wait(); wait > 0 && !pause(ctx, min(wait, outgoing.Timeout)) {
		return false, ctx.Err()
	}
	b.shows(&q, "composing")
	q.ReplyURL = b.replyURL(&q, r.ID)
	said, status, final, err := b.exchange(ctx, &q, key)
	if ctx.Err() != nil {
		return false, err // the server ends: the same again after its start
	}
	if said == 0 {
		b.shows(&q, "active")
	}
	done.Status, done.Took, done.Said = status, time.Since(done.At), said
	if err != nil {
		done.Error = err.Error()
	}
	var unreadable errAnswer
	if errors.As(err, &unreadable) { // it was taken: the program would do again what it has done
		err = nil
	}
	if taken, _ := outgoing.Taken(status); taken {
		b.m.Stats.Taken.Add(1)
		if err == nil {
			b.receives(&q)
		}
	} else {
		b.m.Stats.Failed.Add(1)
	}
	b.history.add(done, b.m.o.Log)
	return final, err
}

// An errAnswer says what is wrong with the answer of a program that has taken a message.
type errAnswer struct{ error }

// exchange posts a message and sends what the program answers. It says how many messages those were.
func (b *bot) exchange(ctx context.Context, q *queued, key string) (said, status int, final bool, err error) {
	body, err := q.body()
	if err != nil {
		return 0, 0, true, err
	}
	a, err := b.client(ctx).Do(ctx, outgoing.Request{URL: b.URL, Body: body, Key: key, Secret: b.Secret})
	if a.Status == 0 {
		return 0, 0, false, err
	}
	taken, final := outgoing.Taken(a.Status)
	switch {
	case !taken:
		return 0, a.Status, final, outgoing.StatusError(a.Status)
	case errors.Is(err, outgoing.ErrLong):
		return 0, a.Status, false, errAnswer{err}
	case err != nil: // it was cut off
		return 0, a.Status, false, err
	}
	answered, err := readAnswer(a.Status, a.Type, a.Body)
	if err != nil {
		return 0, a.Status, false, errAnswer{fmt.Errorf("the answer is not understood: %w", err)}
	}
	for i, text := range answered.texts {
		if err := b.say(ctx, q, key+"-"+strconv.Itoa(i+1), text, answered.private); err != nil {
			return said, a.Status, false, err
		}
		said++
	}
	return said, a.Status, false, nil
}

// stanzaCost is what a message costs of the budget beside its payload.
const stanzaCost = 256

// say sends one message of an answer, and waits until it is safe. Under the same id it is kept once. An error that is
// no errAnswer says that it may be sent later.
func (b *bot) say(ctx context.Context, q *queued, id, text string, private bool) error {
	to, err := jid.Parse(q.From)
	if err != nil {
		return err
	}
	s := b.session.Load()
	m := xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeOf(xmpp.Message, q.Type), ID: id, From: b.JID, To: to}
	w := xmpp.NewWriter(nil)
	w.Leaf(xmpp.NSClient, "body", text)
	if q.Thread != "" {
		w.Raw([]byte(q.Thread))
	}
	w.Raw([]byte("<bot xmlns='" + nsBot + "'/>"))
	if answers := q.answers(); answers != "" { // XEP-0461 §3.1
		w.Start("urn:xmpp:reply:0", "reply").Attr("to", q.From).Attr("id", answers).End()
	}
	if q.Room != nil {
		if s == nil {
			return errors.New("the bot is not in the room")
		}
		if m.Type == xmpp.TypeGroupchat && !private {
			m.To = to.Bare()
		} else { // XEP-0045 §7.5
			m.Type = xmpp.TypeChat
			w.Start(xmpp.NSMUCUser, "x").End()
		}
	} else if b.Composing {
		w.Start(xmpp.NSChatStates, "active").End() // XEP-0085 §5.1
	}
	if s != nil {
		m.From = s.Addr()
	}
	m.Payload = w.Bytes()
	b.budget.Spend(stanzaCost + len(m.Payload))
	e := &router.Envelope{Stanza: &m, Session: s, Account: b.JID, Budget: b.budget, Durable: true,
		Dedup: "bot " + id, Quiet: true}
	b.m.o.Router.Route(e)
	if e.Outcome == router.Refused {
		return errAnswer{fmt.Errorf("the answer is refused: %w", e.Err)}
	}
	b.m.Stats.Answers.Add(1)
	if err := storage.Join(e.Pendings...).Wait(ctx); err != nil {
		return err
	}
	if o, err := e.Settlement(); o == router.Refused {
		return errAnswer{fmt.Errorf("the answer is refused: %w", err)}
	}
	return nil
}

// answers is the id that a reply names: in a room the one that the room has given (XEP-0461 §3.1).
func (q *queued) answers() string {
	if q.Room == nil || q.Type != "groupchat" {
		return q.ID
	}
	if q.StanzaID != nil {
		return *q.StanzaID
	}
	return ""
}

// receives tells who has written that the message was received (XEP-0184 §5), if it asks.
func (b *bot) receives(q *queued) {
	to, err := jid.Parse(q.From)
	s := b.session.Load()
	if !q.Receipt || s == nil || err != nil {
		return
	}
	w := xmpp.NewWriter(nil)
	w.Start(xmpp.NSReceipts, "received").Attr("id", q.ID).End()
	if q.Room != nil {
		w.Start(xmpp.NSMUCUser, "x").End()
	}
	b.route(s, xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeOf(xmpp.Message, q.Type), To: to, Payload: w.Bytes()})
}

// shows tells whoever has written that the bot is at work, or no more (XEP-0085).
func (b *bot) shows(q *queued, state string) {
	s := b.session.Load()
	to, err := jid.Parse(q.From)
	if !b.Composing || s == nil || err != nil || q.Room != nil {
		return
	}
	w := xmpp.NewWriter(nil)
	w.Start(xmpp.NSChatStates, state).End()
	w.Start(xmpp.NSHints, "no-store").End()
	b.route(s, xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, To: to, Payload: w.Bytes()})
}

// lost tells who has written that the program did not take it. A room is told nothing: it would take an error for that
// of an occupant who is gone.
func (b *bot) lost(r storage.Record, err error) {
	b.m.o.Log.Warn("a bot did not take a message", "bot", b.JID, "key", keyOf(b.JID.String(), r.ID), "error", err)
	b.m.Stats.Lost.Add(1)
	q, bad := readQueued(r.Data)
	if errors.Is(err, outgoing.ErrOld) {
		b.history.add(Delivery{At: time.Now(), Key: keyOf(b.JID.String(), r.ID), From: q.From,
			Error: "given up: " + err.Error()}, b.m.o.Log)
	}
	from, worse := jid.Parse(q.From)
	if bad != nil || worse != nil || q.Room != nil {
		return
	}
	b.m.o.Router.Bounce(&xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: q.ID, From: from, To: b.JID},
		xmpp.RecipientUnavailable("the bot did not take this message"))
}
