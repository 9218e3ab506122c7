package admin

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"jackdaw/modules/bots"
	"jackdaw/modules/muc"
	"jackdaw/xmpp/jid"
)

// Bots is what a Service asks of modules/bots.
type Bots interface {
	Add(ctx context.Context, b bots.Bot) error
	Remove(ctx context.Context, user jid.JID) error
	List(ctx context.Context) ([]bots.Status, error)
	Deliveries(ctx context.Context, user jid.JID) ([]bots.Delivery, error)
	Test(ctx context.Context, user jid.JID, text string) (bots.Trial, error)
}

// A BotOrder says what a bot is to be; what is empty is not wanted.
type BotOrder struct {
	JID, URL, Secret, Owner string
	Rooms                   []string
	Nick, Trigger           string
	Encrypted, Composing    bool
}

// BotInfo is what is shown of a bot.
type BotInfo struct {
	JID       string        `json:"jid"`
	URL       string        `json:"url"`    // without a password in it
	Signed    bool          `json:"signed"` // it has a secret
	Owner     string        `json:"owner,omitempty"`
	State     string        `json:"state"` // online, offline, disabled
	Waiting   int           `json:"waiting"`
	Rooms     []BotRoomInfo `json:"rooms"`
	Nick      string        `json:"nick,omitempty"`
	Trigger   string        `json:"trigger,omitempty"`
	Encrypted bool          `json:"encrypted"`
	Composing bool          `json:"composing"`
	Added     time.Time     `json:"added"`
	Last      *DeliveryInfo `json:"last,omitempty"`
}

// BotRoomInfo is a room of a bot.
type BotRoomInfo struct {
	Room string `json:"room"`
	Away string `json:"away,omitempty"` // why the bot is not in it
}

// DeliveryInfo is a request to a bot.
type DeliveryInfo struct {
	At     time.Time `json:"at"`
	From   string    `json:"from"`
	Key    string    `json:"key"`
	Status int       `json:"status"` // 0: there was no answer
	Took   float64   `json:"took"`   // seconds
	Said   int       `json:"said"`   // messages of the answer
	Error  string    `json:"error,omitempty"`
}

// TrialInfo is how a test of a bot went.
type TrialInfo struct {
	Status  int      `json:"status"`
	Took    float64  `json:"took"`
	Texts   []string `json:"texts"` // that it would have said
	Private bool     `json:"private"`
	Error   string   `json:"error,omitempty"`
}

func deliveryInfo(d bots.Delivery) DeliveryInfo {
	return DeliveryInfo{At: d.At, From: d.From, Key: d.Key, Status: d.Status, Took: d.Took.Seconds(), Said: d.Said,
		Error: d.Error}
}

// errNoBots is the answer of a server without the module.
var errNoBots = bots.ErrOff

// AddBot makes an account a bot, or gives a bot other settings.
func (s *Service) AddBot(ctx context.Context, by By, o BotOrder) error {
	if s.o.Bots == nil {
		return errNoBots
	}
	b := bots.Bot{URL: o.URL, Secret: o.Secret, Nick: o.Nick, Trigger: o.Trigger, Encrypted: o.Encrypted,
		Composing: o.Composing}
	var err error
	if b.JID, err = s.existing(ctx, o.JID); err != nil {
		return err
	}
	if passed, err := s.pass(ctx, by, b.JID, "bot.add", o, nil); passed {
		return err
	}
	if o.Owner != "" {
		if b.Owner, err = s.existing(ctx, o.Owner); err != nil {
			return fmt.Errorf("the owner: %w", err)
		}
	}
	for _, address := range o.Rooms {
		room, err := roomAddress(address)
		if err != nil {
			return err
		}
		if slices.Contains(s.o.Config().RoomDomains(), room.Domain()) {
			if there, err := s.o.Rooms.Exists(room); err == nil && !there {
				return fmt.Errorf("%s: %w: make it with a client first", room, muc.ErrNoRoom)
			}
		}
		b.Rooms = append(b.Rooms, room)
	}
	return s.said(s.o.Bots.Add(ctx, b), by, "bot added", "bot", b.JID, "owner", b.Owner, "rooms", len(b.Rooms))
}

// existing reads the address of an account that is here.
func (s *Service) existing(ctx context.Context, address string) (jid.JID, error) {
	j, err := user(address)
	if err == nil {
		_, err = s.o.Accounts.Get(ctx, j)
	}
	return j, err
}

// RemoveBot makes a bot an account like others. Errors: bots.ErrNone.
func (s *Service) RemoveBot(ctx context.Context, by By, address string) error {
	j, err := s.bot(address)
	if err != nil {
		return err
	}
	if passed, err := s.pass(ctx, by, j, "bot.remove", NameRequest{address}, nil); passed {
		return err
	}
	return s.said(s.aboutBot(j, s.o.Bots.Remove(ctx, j)), by, "bot removed", "bot", j)
}

func (s *Service) bot(address string) (jid.JID, error) {
	if s.o.Bots == nil {
		return jid.JID{}, errNoBots
	}
	return user(address)
}

func (s *Service) aboutBot(j jid.JID, err error) error {
	if errors.Is(err, bots.ErrNone) {
		return fmt.Errorf("%s: %w", j, err)
	}
	return err
}

// Bots lists the bots by address. How one is only its home knows.
func (s *Service) Bots(ctx context.Context) ([]BotInfo, error) {
	all, here, err := s.bots(ctx)
	if err != nil || s.o.Elsewhere == nil || !slices.Contains(here, false) {
		return all, err
	}
	for _, there := range look[[]BotInfo](ctx, s, "node.bots", nil) {
		for _, far := range there {
			if i := slices.IndexFunc(all, func(b BotInfo) bool { return b.JID == far.JID }); i >= 0 && !here[i] {
				all[i] = far
			}
		}
	}
	return all, nil
}

// BotsHere lists the bots that are at home on this node.
func (s *Service) BotsHere(ctx context.Context) (list []BotInfo, err error) {
	all, here, err := s.bots(ctx)
	for i, b := range all {
		if here[i] {
			list = append(list, b)
		}
	}
	return list, err
}

// bots are all bots, and which are at home on this node.
func (s *Service) bots(ctx context.Context) (all []BotInfo, here []bool, err error) {
	if s.o.Bots == nil {
		return nil, nil, errNoBots
	}
	list, err := s.o.Bots.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	all = []BotInfo{} // not null in JSON
	for _, b := range list {
		one := BotInfo{JID: b.JID.String(), Signed: b.Signed, Owner: b.Owner.String(), State: b.State, Waiting: b.Waiting,
			Rooms: []BotRoomInfo{}, Nick: b.Nick, Trigger: b.Trigger, Encrypted: b.Encrypted, Composing: b.Composing,
			Added: b.Added}
		if u, err := url.Parse(b.URL); err == nil {
			one.URL = u.Redacted()
		}
		for _, r := range b.Rooms {
			one.Rooms = append(one.Rooms, BotRoomInfo{Room: r.String(), Away: b.Away[r]})
		}
		if b.Last != nil {
			last := deliveryInfo(*b.Last)
			one.Last = &last
		}
		all, here = append(all, one), append(here, b.Here)
	}
	return all, here, nil
}

// BotLog is the last requests to a bot, the newest first. Errors: bots.ErrNone.
func (s *Service) BotLog(ctx context.Context, address string) ([]DeliveryInfo, error) {
	j, err := s.bot(address)
	if err != nil {
		return nil, err
	}
	var there []DeliveryInfo
	if passed, err := s.pass(ctx, Command, j, "bot.log", NameRequest{address}, &there); passed {
		return there, err
	}
	list, err := s.o.Bots.Deliveries(ctx, j)
	if err != nil {
		return nil, s.aboutBot(j, err)
	}
	all := []DeliveryInfo{}
	for _, d := range list {
		all = append(all, deliveryInfo(d))
	}
	return all, nil
}

// TestBot posts a text to the program of a bot and says what it would have answered. Errors: bots.ErrNone.
func (s *Service) TestBot(ctx context.Context, address, text string) (TrialInfo, error) {
	j, err := s.bot(address)
	if err != nil {
		return TrialInfo{}, err
	}
	var there TrialInfo
	if passed, err := s.pass(ctx, Command, j, "bot.test", TrialRequest{address, text}, &there); passed {
		return there, err
	}
	t, err := s.o.Bots.Test(ctx, j, text)
	return TrialInfo{Status: t.Status, Took: t.Took.Seconds(), Texts: append([]string{}, t.Texts...), Private: t.Private,
		Error: t.Error}, s.aboutBot(j, err)
}
