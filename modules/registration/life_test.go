package registration

import (
	"errors"
	"testing"

	"jackdaw/config"
	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/storage/embedded"
	"jackdaw/xmpp/jid"
)

// TestAnAccountIsCreatedChangedAndRemovedForGood goes through the life of one account with the
// accounts and the store of the server.
func TestAnAccountIsCreatedChangedAndRemovedForGood(t *testing.T) {
	engine, err := embedded.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	}()
	users, err := accounts.New(t.Context(), engine, accounts.Options{Iterations: 4096})
	if err != nil {
		t.Fatal(err)
	}
	r := router.New(router.Options{Hosts: []string{moduletest.Host}, Users: users, Log: moduletest.Discard()})
	g := New(Options{Router: r, Accounts: users, Log: moduletest.Discard(),
		Policy: func(string) config.Registration { return config.RegistrationOpen }, Limits: func() Limits { return limits }})
	erased := make(chan jid.JID, 1)
	r.Use(g.Module(), router.Module{Name: "data", Removed: func(user jid.JID) error {
		erased <- user
		return nil
	}})
	users.OnChange(func(user jid.JID, what accounts.Change) { // as package server does
		if what != accounts.Deleted {
			return
		}
		if err := r.Remove(user); err != nil {
			t.Error(err)
		}
	})

	reply := g.Visit(moduletest.Host, from("192.0.2.1"))(t.Context(), moduletest.Parse(t, form("bill", "first")))
	if e := reply.Err(); e != nil {
		t.Fatalf("create: %v", e)
	}
	wantPassword := func(password string, want error) {
		t.Helper()
		if err := users.Verify(t.Context(), bill, password); !errors.Is(err, want) {
			t.Errorf("the password %q: %v, want %v", password, err, want)
		}
	}
	wantPassword("first", nil)

	const result = `<iq type='result' id='1' from='bill@example.org' to='bill@example.org/globe'/>`
	client := moduletest.Login(t, r, "bill/globe")
	client.Send(request("set", "", change))
	client.Want(result)
	wantPassword("first", accounts.ErrNotAuthorized)
	wantPassword("new", nil)

	client.Send(request("set", "", "<remove/>"))
	client.Want(result)
	wantPassword("new", accounts.ErrNotAuthorized)
	if who := <-erased; who != bill {
		t.Errorf("erased %s", who)
	}
	if ok, err := users.Exists(t.Context(), bill); ok || err != nil {
		t.Errorf("exists: %v, %v", ok, err)
	}
}
