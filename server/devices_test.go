package server

import (
	"strings"
	"testing"
	"time"

	"jackdaw/admin"
	"jackdaw/router/devices"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

func TestDevicesAreListedAndRevoked(t *testing.T) {
	const user = "romeo@localhost"
	romeo := jid.MustParse(user)
	cfg := controlConfig(t)
	c, store, err := openAdmin(t.Context(), cfg, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Accounts.Create(t.Context(), romeo, "secret"); err != nil {
		t.Fatal(err)
	}
	known := c.Devices.(*devices.Service)
	login := devices.Login{User: romeo, Agent: devices.Agent{ID: "phone", Software: "Conversations", Device: "Pixel"},
		Mechanism: sasl.ScramSHA256, Began: time.Now()}
	if _, _, err := known.Issue(t.Context(), login, sasl.HTSHA256None); err != nil {
		t.Fatal(err)
	}
	login.Agent.ID = "tablet"
	if err := known.Seen(t.Context(), login); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	phone, tablet := devices.ID(romeo, "phone"), devices.ID(romeo, "tablet")

	// Without a server.
	offline := client(t, cfg)
	list, err := offline.UserDevices(t.Context(), user)
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, d := range list {
		if d.Software != "Conversations" || d.Name != "Pixel" || d.Mechanism != "SCRAM-SHA-256" || !d.Password ||
			d.Sessions != 0 || d.Token != (d.ID == phone) || d.Expires.IsZero() == d.Token ||
			time.Since(d.First) > time.Minute || d.Last.Before(d.First) {
			t.Errorf("listed: %+v", d)
		}
	}
	if knows, err := offline.RevokeDevice(t.Context(), user, tablet); err != nil || !knows {
		t.Errorf("revoked: %v, %v", knows, err)
	}
	u, err := offline.User(t.Context(), user)
	if err != nil || len(u.Stored) != 1 || u.Stored[0].Space != "devices" || u.Stored[0].Records != 1 {
		t.Errorf("stored: %+v, %v", u.Stored, err)
	}
	if err := offline.Close(); err != nil {
		t.Fatal(err)
	}

	// With one.
	running(t, cfg, &fakeRun{sessions: []admin.SessionInfo{{JID: user + "/a", Device: phone}, {JID: user + "/b"},
		{JID: "juliet@localhost/c", Device: phone}}})
	online := client(t, cfg)
	list, err = online.UserDevices(t.Context(), user)
	if err != nil || len(list) != 1 || list[0].ID != phone || list[0].Sessions != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	for _, wrong := range []struct{ user, device, want string }{
		{user, tablet, "there is no such device"}, {user, "", "there is no such device"},
		{user, ".since", "there is no such device"}, {"juliet@localhost", phone, "there is no such account"},
		{"localhost", phone, "names no account"},
	} {
		_, err := online.RevokeDevice(t.Context(), wrong.user, wrong.device)
		if err == nil || !strings.Contains(err.Error(), wrong.want) {
			t.Errorf("revoke %q of %q: %v", wrong.device, wrong.user, err)
		}
	}
	_, err = online.UserDevices(t.Context(), "juliet@localhost")
	if err == nil || !strings.Contains(err.Error(), "there is no such account") {
		t.Errorf("of nobody: %v", err)
	}
	if _, err := online.RevokeDevice(t.Context(), user, phone); err != nil {
		t.Error(err)
	}
	if list, err = online.UserDevices(t.Context(), user); err != nil || len(list) != 0 {
		t.Errorf("left: %+v, %v", list, err)
	}
}
