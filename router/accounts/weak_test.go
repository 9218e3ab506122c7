package accounts

import (
	"testing"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

func TestAHostWithKeysOfSHA1AloneIsKnownUntilAllHaveOthers(t *testing.T) {
	ctx, engine := t.Context(), newMemory()
	open := func() *Service {
		s, err := New(ctx, engine, Options{Iterations: 4096})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	k, err := sasl.NewKeys(sasl.SHA1, "pencil", 4096)
	if err != nil {
		t.Fatal(err)
	}
	users := []jid.JID{jid.MustParse("a@one.example"), jid.MustParse("b@one.example"), jid.MustParse("c@two.example")}
	for _, u := range users {
		if err := s.Await(ctx, u); err != nil {
			t.Fatal(err)
		}
		if err := s.Create(ctx, u, "other"); err == nil {
			t.Fatal("the name was not kept")
		}
		if err := s.Restore(ctx, u, storage.Account{Credentials: appendCredentials(nil, k)}, ""); err != nil {
			t.Fatal(err)
		}
	}
	want := func(one, two bool) {
		t.Helper()
		for range 2 {
			if s.OnlySHA1("one.example") != one || s.OnlySHA1("two.example") != two || s.OnlySHA1("three.example") {
				t.Fatalf("one %v, two %v", s.OnlySHA1("one.example"), s.OnlySHA1("two.example"))
			}
			s = open()
		}
	}
	want(true, true)
	// A login that shows the password, a new password, a removal.
	if err := s.Authenticate(ctx, Source{}, users[0], "pencil"); err != nil {
		t.Fatal(err)
	}
	want(true, true)
	if h, err := s.Keyring(ctx, users[0]); err != nil || !h.Has(sasl.SHA256) || !h.Has(sasl.SHA1) {
		t.Errorf("keys after the login: %+v, %v", h, err)
	}
	if err := s.Verify(ctx, users[0], "pencil"); err != nil {
		t.Error(err)
	}
	if err := s.SetPassword(ctx, users[1], "new"); err != nil {
		t.Fatal(err)
	}
	want(false, true)
	if err := s.Delete(ctx, users[2]); err != nil {
		t.Fatal(err)
	}
	want(false, false)
}
