package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"jackdaw/modules/announcements"
	"jackdaw/xmpp/jid"
)

// Announcements is what a Service asks of modules/announcements.
type Announcements interface {
	Announce(ctx context.Context, host, text string, keep time.Duration) (reached int, err error)
	Kept(host string) ([]announcements.Notice, error)
	Withdraw(ctx context.Context, host, id string) error
	Standing(host string, k announcements.Kind) (string, error)
	Stand(ctx context.Context, host string, k announcements.Kind, text string, edit bool) (reached int, err error)
	Renew(host, text string, give bool) (reached int)
}

// AnnouncementInfo is an announcement that is kept for those who are away.
type AnnouncementInfo struct {
	Host  string    `json:"host"`
	ID    string    `json:"id"` // within the host
	Made  time.Time `json:"made"`
	Until time.Time `json:"until"`
	Text  string    `json:"text"`
}

// hosts reads the name of a host that is served; "" is all of them.
func (s *Service) hosts(host string) (list []string, err error) {
	if host == "" {
		for _, h := range s.o.Config().Hosts {
			list = append(list, h.Domain)
		}
		return list, nil
	}
	if host, err = domain(host); err == nil {
		err = s.served(host)
	}
	return []string{host}, err
}

// Announce writes to all users of a host, or with "" of all hosts: to those who are connected now, and for the time
// keep (0: not at all; at most announcements.MaxKeep) also to those who come. It says how many it has reached at once.
// Errors: announcements.ErrText, announcements.ErrTooMany.
func (s *Service) Announce(ctx context.Context, by By, host, text string, keep time.Duration) (reached int, err error) {
	list, err := s.hosts(host)
	for _, host := range list {
		if err != nil {
			break
		}
		n := 0
		n, err = s.announce(ctx, by, host, text, keep)
		if reached += n; err != nil {
			err = fmt.Errorf("announce on %s: %w", host, err)
		}
	}
	return reached, err
}

// announce does it on one host, at the home of that.
func (s *Service) announce(ctx context.Context, by By, host, text string, keep time.Duration) (reached int, err error) {
	passed, err := s.passHost(ctx, by, host, "announce", AnnounceRequest{host, text, keep}, &reached)
	if passed {
		return reached, err
	}
	if reached, err = s.o.Announcements.Announce(ctx, host, text, keep); err != nil {
		return reached, err
	}
	now := ""
	if keep <= 0 {
		now = text
	}
	reached += s.renewed(ctx, by, NoticeRequest{Host: host, Text: now, Give: keep > 0})
	return reached, s.said(nil, by, "announced", "host", host, "reached", reached, "kept", keep)
}

// passHost is pass for what concerns a host: its domain has a home, too.
func (s *Service) passHost(ctx context.Context, by By, host, operation string, in, out any) (bool, error) {
	if s.o.Elsewhere == nil {
		return false, nil
	}
	j, err := jid.Parse(host)
	if err != nil {
		return true, err
	}
	return s.pass(ctx, by, j, operation, in, out)
}

// renewed tells the other nodes that what a host announces has changed, and says how many they have reached. One that
// does not hear it learns it within a minute; so it is no error.
func (s *Service) renewed(ctx context.Context, by By, n NoticeRequest) (reached int) {
	answers, failed := tell[int](ctx, s, by, "node.announced", n)
	for _, there := range answers {
		reached += there
	}
	if len(failed) > 0 && s.o.Log != nil {
		s.o.Log.Warn("not all nodes announce", "host", n.Host, "error", errors.Join(failed...))
	}
	return reached
}

// Announced gives what another node has announced to those who are at this one, and says how many.
func (s *Service) Announced(host, text string, give bool) (reached int) {
	return s.o.Announcements.Renew(host, text, give)
}

// KeptAnnouncements lists what is kept for those who are away, of a host, or with "" of all.
func (s *Service) KeptAnnouncements(host string) (all []AnnouncementInfo, err error) {
	list, err := s.hosts(host)
	if err != nil {
		return nil, err
	}
	for _, host := range list {
		var there []AnnouncementInfo
		passed, err := s.passHost(context.Background(), Command, host, "announce.list", AnnouncedRequest{Host: host}, &there)
		if err != nil {
			return nil, err
		}
		if passed {
			all = append(all, there...)
			continue
		}
		kept, err := s.o.Announcements.Kept(host)
		if err != nil {
			return nil, err
		}
		for _, n := range kept {
			all = append(all, AnnouncementInfo{Host: host, ID: n.ID, Made: n.Made, Until: n.Until, Text: n.Text})
		}
	}
	return all, nil
}

// WithdrawAnnouncement has an announcement kept no more for those who are away; who has it has it. With "" it is looked
// for on all hosts. Errors: announcements.ErrNone.
func (s *Service) WithdrawAnnouncement(ctx context.Context, by By, host, id string) error {
	list, err := s.hosts(host)
	if err != nil {
		return err
	}
	for _, host := range list {
		passed, failed := s.passHost(ctx, by, host, "announce.withdraw", AnnouncedRequest{host, id}, nil)
		if err = failed; !passed {
			if err = s.o.Announcements.Withdraw(ctx, host, id); err == nil {
				s.renewed(ctx, by, NoticeRequest{Host: host})
			}
		}
		if !errors.Is(err, announcements.ErrNone) {
			if passed {
				return err
			}
			return s.said(err, by, "announcement withdrawn", "host", host, "id", id)
		}
	}
	return err
}

// Standing is the message of the day or the welcome of a host; "" if there is none.
func (s *Service) Standing(host string, k announcements.Kind) (string, error) {
	host, err := domain(host)
	if err != nil {
		return "", err
	}
	var text string
	in := StandingRequest{Host: host, Kind: string(k)}
	if passed, err := s.passHost(context.Background(), Command, host, "announce.standing", in, &text); passed {
		return text, err
	}
	return s.o.Announcements.Standing(host, k)
}

// Stand sets the message of the day or the welcome of a host, or with "" takes it back. With edit, who has got the one
// before does not get this one. reached says how many have got a message of the day at once.
func (s *Service) Stand(ctx context.Context, by By, host string, k announcements.Kind, text string, edit bool,
) (reached int, err error) {
	if host, err = domain(host); err != nil {
		return 0, err
	}
	if err := s.served(host); err != nil {
		return 0, err
	}
	in := StandingRequest{host, string(k), text, edit}
	if passed, err := s.passHost(ctx, by, host, "announce.stand", in, &reached); passed {
		return reached, err
	}
	what := "text set"
	if text == "" {
		what = "text taken back"
	}
	reached, err = s.o.Announcements.Stand(ctx, host, k, text, edit)
	if err == nil {
		reached += s.renewed(ctx, by, NoticeRequest{Host: host, Give: k == announcements.OfTheDay && text != ""})
	}
	return reached, s.said(err, by, what, "host", host, "text", string(k))
}
