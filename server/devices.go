package server

import (
	"log/slog"
	"time"

	"jackdaw/config"
	"jackdaw/router/accounts"
	"jackdaw/router/devices"
	"jackdaw/storage"
)

// newDevices makes the service that knows the devices of accounts.
func newDevices(store storage.Engine, users *accounts.Service, current func() *config.Config, log *slog.Logger,
) *devices.Service {
	return devices.New(devices.Options{Store: store.Map(devices.Space), Accounts: users, Log: log,
		Lifetime: func() time.Duration { return current().C2S.TokenLifetime },
		Keep:     func() time.Duration { return current().Modules.Devices.Keep },
		Shown:    func() bool { return current().Modules.Enabled("devices") }})
}
