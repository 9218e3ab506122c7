package accounts

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

func TestWhoWasGrantedAdminIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s, m := service(t, Options{Admins: []jid.JID{jid.MustParse("configured@a.example")}})
		user := func(name string) jid.JID { return jid.MustParse(name) }
		for _, name := range []string{"configured@a.example", "x@a.example", "y@b.example", "z@b.example"} {
			must(t, s.Create(ctx, user(name), "secret"))
		}
		want := func(names ...string) {
			t.Helper()
			list, err := s.Granted(ctx)
			must(t, err)
			var got []string
			for _, j := range list {
				got = append(got, j.String())
			}
			slices.Sort(got)
			if !slices.Equal(got, names) {
				t.Errorf("got %q, want %q", got, names)
			}
		}
		want()
		must(t, s.Grant(ctx, user("y@b.example"), PermAdmin))
		must(t, s.Grant(ctx, user("x@a.example"), PermMulticast, PermAdmin))
		must(t, s.Grant(ctx, user("z@b.example"), PermMulticast))
		want("x@a.example", "y@b.example")
		must(t, s.SetDisabled(ctx, user("x@a.example"), true))
		want("y@b.example")
		must(t, s.SetDisabled(ctx, user("x@a.example"), false))
		must(t, s.Revoke(ctx, user("y@b.example"), PermAdmin))
		want("x@a.example")
		must(t, s.Restore(ctx, user("moved@b.example"), storage.Account{Permissions: []string{"admin"}}, "secret"))
		must(t, s.Delete(ctx, user("x@a.example")))
		want("moved@b.example")
		must(t, s.Apply(ctx, user("new@b.example"), "secret", Source{Exempt: true}, roomy))
		must(t, s.Grant(ctx, user("new@b.example"), PermAdmin))
		want("moved@b.example")
		must(t, s.Approve(ctx, user("new@b.example")))
		want("moved@b.example", "new@b.example")

		// More changes than are remembered one by one.
		for i := range grantedDirty + 10 {
			m.users.list[fmt.Sprintf("u%d@c.example", i)] = storage.Account{User: fmt.Sprintf("u%d@c.example", i)}
			s.forget(user(fmt.Sprintf("u%d@c.example", i)))
		}
		must(t, s.Grant(ctx, user("z@b.example"), PermAdmin))
		want("moved@b.example", "new@b.example", "z@b.example")

		// What another process has granted.
		a := m.users.list["y@b.example"]
		a.Permissions = []string{"admin"}
		m.users.list["y@b.example"] = a
		want("moved@b.example", "new@b.example", "z@b.example")
		pass(grantedFor + 1)
		want("moved@b.example", "new@b.example", "y@b.example", "z@b.example")

		must(t, s.Revoke(ctx, user("z@b.example"), PermAdmin))
		m.setFail(errors.New("no disk"))
		if _, err := s.Granted(ctx); !errors.Is(err, ErrUnavailable) {
			t.Errorf("without a disk: %v", err)
		}
		m.setFail(nil)
		want("moved@b.example", "new@b.example", "y@b.example")
	})
}
