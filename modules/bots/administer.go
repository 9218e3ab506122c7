package bots

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"jackdaw/modules/internal/outgoing"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	maxURL     = 2000
	maxSecret  = 1000
	maxTrigger = 50
	maxRooms   = 20
)

// check says what is wrong with the settings of a bot.
func (one *Bot) check() error {
	u, err := url.Parse(one.URL)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "", len(one.URL) > maxURL:
		return errors.New("the URL: expected one of http or https, such as https://bot.example.org/in")
	case len(one.Secret) > maxSecret || !xmpp.ValidText(one.Secret):
		return fmt.Errorf("the secret: expected one line of at most %d bytes", maxSecret)
	case len(one.Trigger) > maxTrigger || !xmpp.ValidText(one.Trigger) ||
		one.Trigger != "" && (strings.TrimSpace(one.Trigger) == "" || strings.TrimLeft(one.Trigger, " \t") != one.Trigger):
		return fmt.Errorf("the trigger: expected at most %d bytes that begin with no space, such as '!w '", maxTrigger)
	case len(one.Rooms) > maxRooms:
		return fmt.Errorf("a bot is in %d rooms at most", maxRooms)
	}
	for _, r := range one.Rooms {
		if r.Local() == "" || !r.IsBare() {
			return fmt.Errorf("%s is no room: expected an address such as garden@rooms.example.org", r)
		}
		if _, err := r.WithResource(one.Nick); one.Nick != "" && err != nil {
			return fmt.Errorf("the nick %q is none: %w", one.Nick, err)
		}
	}
	return nil
}

// Add makes an account a bot, or gives a bot other settings; what waits for it stays. It returns when that is durable.
// Errors: ErrMany, ErrOff, storage's, and those that say what is wrong with the settings.
func (m *Bots) Add(ctx context.Context, one Bot) error {
	if !m.o.On() {
		return ErrOff
	}
	if err := one.check(); err != nil {
		return err
	}
	slices.SortFunc(one.Rooms, jid.JID.Compare)
	one.Rooms = slices.Compact(one.Rooms)
	one.JID, one.Added = one.JID.Bare(), time.Now().UTC().Truncate(time.Second)
	if _, err := m.current(ctx); err != nil {
		return err
	}
	data, err := write(one)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	all := *m.all.Load()
	old := all[one.JID]
	if old == nil && len(all) >= MaxBots {
		return ErrMany
	}
	_, p, err := m.o.Store.Update(ctx, owner, storage.AnyVersion, storage.Change{Key: one.JID.String(), Value: data})
	if err == nil {
		err = p.Wait(ctx)
	}
	if err != nil {
		return err
	}
	if old != nil {
		old.close()
	}
	b := m.newBot(one, data)
	m.replace(func(next map[jid.JID]*bot) { next[one.JID] = b })
	m.revive(b)
	return nil
}

// Remove makes a bot an account like others. What waits for it is lost. Errors: ErrNone, storage's.
func (m *Bots) Remove(ctx context.Context, user jid.JID) error {
	if _, err := m.current(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b := (*m.all.Load())[user.Bare()]
	if b == nil {
		return ErrNone
	}
	_, p, err := m.o.Store.Update(ctx, owner, storage.AnyVersion, storage.Change{Key: b.JID.String(), Delete: true})
	if err == nil {
		err = p.Wait(ctx)
	}
	if err != nil {
		return err
	}
	m.replace(func(next map[jid.JID]*bot) { delete(next, b.JID) })
	b.close()
	if err := m.forgetReplies(ctx, b.JID); err != nil {
		return err
	}
	for _, log := range []storage.Log{m.o.Queue, m.o.Done} {
		p, err := log.DeleteOwner(ctx, b.JID.String())
		if err == nil {
			err = p.Wait(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A Status is a bot and how it is.
type Status struct {
	Bot            // without its secret
	Here    bool   // it is at home on this node, which alone knows its state
	Signed  bool   // it has one
	State   string // a word: "online", "offline" or "disabled"
	Waiting int    // messages
	// Away says for each room why the bot is not in it, "" if it is.
	Away map[jid.JID]string
	Last *Delivery // nil: there was none yet
}

// List are the bots by address.
func (m *Bots) List(ctx context.Context) ([]Status, error) {
	all, err := m.current(ctx)
	if err != nil {
		return nil, err
	}
	list := []Status{}
	for _, b := range sorted(all) {
		s := Status{Bot: b.Bot, Here: m.o.Router.IsHome(b.JID), Signed: b.Secret != "", State: "offline",
			Away: b.rooms.list()}
		s.Secret = ""
		switch {
		case s.Here && !m.active(b):
			s.State = "disabled"
		case b.session.Load() != nil:
			s.State = "online"
		}
		if s.Waiting, err = b.queue.Size(ctx); err != nil {
			return nil, err
		}
		last, err := b.history.list(ctx)
		if err != nil {
			return nil, err
		}
		if len(last) > 0 {
			s.Last = &last[0]
		}
		list = append(list, s)
	}
	return list, nil
}

// Deliveries are the last requests of a bot, the newest first. Errors: ErrNone, storage's.
func (m *Bots) Deliveries(ctx context.Context, user jid.JID) ([]Delivery, error) {
	all, err := m.current(ctx)
	if err != nil {
		return nil, err
	}
	b := all[user.Bare()]
	if b == nil {
		return nil, ErrNone
	}
	return b.history.list(ctx)
}

// A Trial is how a test went.
type Trial struct {
	Status  int
	Took    time.Duration
	Texts   []string // what would have been said
	Private bool
	Error   string // what is wrong; "": nothing
}

// Test posts a message to the program of a bot, as if the bot had written to itself, and says what it would have
// answered. Nothing is sent to anybody. Errors: ErrNone, storage's.
func (m *Bots) Test(ctx context.Context, user jid.JID, text string) (Trial, error) {
	all, err := m.current(ctx)
	if err != nil {
		return Trial{}, err
	}
	b := all[user.Bare()]
	if b == nil {
		return Trial{}, ErrNone
	}
	id := fmt.Sprintf("test-%d", time.Now().UnixMicro())
	s := xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: id, From: b.JID, To: b.JID}
	w := xmpp.NewWriter(nil)
	s.Payload = w.Leaf(xmpp.NSClient, "body", text).Bytes()
	left, command, _ := b.reads(text)
	q := queued{event: event{Bot: b.JID.String(), From: b.JID.String(), Type: "chat", ID: id, Text: &left,
		Args: []string{}, Stanza: string(s.AppendQualified(nil))}}
	if command != "" {
		q.Command, q.Args = &command, append(q.Args, strings.Fields(left)...)
	}
	body, err := q.body()
	if err != nil {
		return Trial{}, err
	}
	begun := time.Now()
	a, err := b.client(ctx).Do(ctx, outgoing.Request{URL: b.URL, Body: body, Key: id, Secret: b.Secret})
	t := Trial{Status: a.Status, Took: time.Since(begun)}
	if taken, _ := outgoing.Taken(a.Status); err == nil && !taken {
		err = outgoing.StatusError(a.Status)
	}
	if err == nil {
		var answered answer
		answered, err = readAnswer(a.Status, a.Type, a.Body)
		t.Texts, t.Private = answered.texts, answered.private
	}
	if err != nil {
		t.Error = err.Error()
	}
	return t, nil
}
