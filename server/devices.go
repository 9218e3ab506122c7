package server

import (
	"context"
	"log/slog"
	"time"

	"jackdaw/config"
	"jackdaw/router/accounts"
	"jackdaw/router/devices"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// newDevices makes the service that knows the devices of accounts.
func newDevices(store storage.Engine, users *accounts.Service, current func() *config.Config, log *slog.Logger,
) *devices.Service {
	return devices.New(devices.Options{Store: store.Map(devices.Space), Accounts: users, Log: log,
		Lifetime: func() time.Duration { return current().C2S.TokenLifetime },
		Keep:     func() time.Duration { return current().Modules.Devices.Keep },
		Shown:    func() bool { return current().Modules.Enabled("devices") }})
}

// Devices is what Control asks of devices.Service.
type Devices interface {
	List(ctx context.Context, user jid.JID) ([]devices.Device, error)
	Remove(ctx context.Context, user jid.JID, device string) error
}

// DeviceInfo is what may be shown of a device.
type DeviceInfo struct {
	ID        string    `json:"id"`
	Software  string    `json:"software"` // as it says; "" if it does not
	Name      string    `json:"name"`     // likewise
	First     time.Time `json:"first_login"`
	Last      time.Time `json:"last_login"` // to the hour, but for another way to log in
	Mechanism string    `json:"mechanism"`  // of that login
	Password  bool      `json:"password"`   // it has shown the present password
	Token     bool      `json:"token"`      // it can log in by one
	Expires   time.Time `json:"token_expires,omitzero"`
	Sessions  int       `json:"sessions"` // of a running server
}

func (c *Control) devices(ctx context.Context, in name) ([]DeviceInfo, error) {
	j, err := user(in.Name)
	if err != nil {
		return nil, err
	}
	list, err := c.Devices.List(ctx, j)
	if err != nil {
		return nil, err
	}
	sessions := map[string]int{}
	if c.Live != nil {
		for _, s := range c.Live.Sessions() {
			if full, err := jid.Parse(s.JID); err == nil && full.Bare() == j {
				sessions[s.Device]++
			}
		}
	}
	out := make([]DeviceInfo, len(list))
	for i, d := range list {
		out[i] = DeviceInfo{ID: d.ID, Software: d.Software, Name: d.Name, First: d.First, Last: d.Last,
			Mechanism: string(d.Mechanism), Password: d.Password, Token: d.Token, Expires: d.Expires,
			Sessions: sessions[d.ID]}
	}
	return out, nil
}

// A deviceOf names a device.
type deviceOf struct{ Name, Device string }

// revokeDevice removes a device, and says whether it may come back with the password.
func (c *Control) revokeDevice(ctx context.Context, in deviceOf) (knows bool, err error) {
	j, err := user(in.Name)
	if err != nil {
		return false, err
	}
	list, err := c.Devices.List(ctx, j)
	if err != nil {
		return false, err
	}
	for _, d := range list {
		knows = knows || d.ID == in.Device && d.Password
	}
	return knows, c.said(c.Devices.Remove(ctx, j, in.Device), "device removed", "account", j, "device", in.Device)
}

// UserDevices lists the devices of an account.
func (c *Client) UserDevices(ctx context.Context, user string) ([]DeviceInfo, error) {
	return call[[]DeviceInfo](ctx, c, "user.devices", name{user})
}

// RevokeDevice takes the right to log in by token from a device of an account, and ends its sessions. knows says that
// it has shown the password, and can come back with it.
func (c *Client) RevokeDevice(ctx context.Context, user, device string) (knows bool, err error) {
	return call[bool](ctx, c, "user.devices.revoke", deviceOf{user, device})
}
