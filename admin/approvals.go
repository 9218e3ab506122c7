package admin

import (
	"context"
	"time"
)

// ApplicationInfo is an account that waits for approval.
type ApplicationInfo struct {
	JID     string    `json:"jid"`
	Asked   time.Time `json:"asked"`
	Address string    `json:"address,omitempty"` // where from, of IPv6 that of the /64; "" from the machine of the server
}

// Waiting lists the accounts that wait for approval, of a host, or with "" of all: host by host, those first that have
// waited longest.
func (s *Service) Waiting(ctx context.Context, host string) ([]ApplicationInfo, error) {
	all := []ApplicationInfo{} // not null in JSON
	list, err := s.hosts(host)
	if err != nil {
		return nil, err
	}
	for _, host := range list {
		waiting, err := s.o.Accounts.Waiting(ctx, host)
		if err != nil {
			return nil, err
		}
		for _, one := range waiting {
			info := ApplicationInfo{JID: one.User.String(), Asked: one.Asked}
			if one.From.IsValid() {
				info.Address = one.From.String()
			}
			all = append(all, info)
		}
	}
	return all, nil
}

// Approve lets the user of an account that waits log in. Errors: accounts.ErrNotWaiting.
func (s *Service) Approve(ctx context.Context, by By, address string) error {
	j, err := user(address)
	if err != nil {
		return err
	}
	if passed, err := s.pass(ctx, by, j, "user.decide", SwitchRequest{address, "on"}, nil); passed {
		return err
	}
	return s.said(s.o.Accounts.Approve(ctx, j), by, "account approved", "account", j)
}

// Refuse removes an account that waits. Errors: accounts.ErrNotWaiting.
func (s *Service) Refuse(ctx context.Context, by By, address string) error {
	j, err := user(address)
	if err != nil {
		return err
	}
	if passed, err := s.pass(ctx, by, j, "user.decide", SwitchRequest{address, "off"}, nil); passed {
		return err
	}
	return s.said(s.o.Accounts.Refuse(ctx, j), by, "account refused", "account", j)
}
