package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"jackdaw/storage"
)

var accountTests = []test{
	{"AccountComesBackWhole", func(b *bench) {
		a := storage.Account{
			User: "romeo@montague.example",
			Credentials: []storage.Credential{
				{Hash: "SHA-1", Salt: []byte{0, 1, 255}, StoredKey: []byte("stored"), ServerKey: []byte("server"),
					Iterations: 4096},
				{Hash: "SHA-256", Salt: []byte("salt"), StoredKey: []byte("s"), ServerKey: []byte("t"), Iterations: 10000},
			},
			Disabled: true, Approval: storage.ApprovalAsked, Permissions: []string{"forge_sender=*@trac", "multicast"},
			Domains: []string{"a.example", "b.example"},
			Created: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), Changed: time.Date(2026, 2, 2, 3, 4, 5, 6000, time.UTC),
		}
		b.durable(b.Accounts().Create(b.ctx, a))
		for range 2 {
			got, err := b.Accounts().Get(b.ctx, a.User)
			b.must(err)
			got.Created, got.Changed = got.Created.UTC(), got.Changed.UTC()
			if !reflect.DeepEqual(got, a) {
				b.Fatalf("got %+v, want %+v", got, a)
			}
			b.reopen()
		}
	}},
	{"AccountWithoutAnythingComesBackEmpty", func(b *bench) {
		b.create("romeo@x")
		a, err := b.Accounts().Get(b.ctx, "romeo@x")
		b.must(err)
		if len(a.Credentials)+len(a.Permissions)+len(a.Domains) != 0 || a.Disabled || !a.Created.IsZero() ||
			!a.Changed.IsZero() {
			b.Fatalf("got %+v", a)
		}
	}},
	{"UnknownUserIsNotFound", func(b *bench) {
		_, err := b.Accounts().Get(b.ctx, "romeo@x")
		b.want(err, storage.ErrNotFound)
		_, err = b.Accounts().Delete(b.ctx, "romeo@x")
		b.want(err, storage.ErrNotFound)
		_, err = b.Accounts().Modify(b.ctx, "romeo@x", func(*storage.Account) error { b.Error("f was called"); return nil })
		b.want(err, storage.ErrNotFound)
	}},
	{"CreateOfAUserWhoIsThereIsRefused", func(b *bench) {
		b.create("romeo@x")
		_, err := b.Accounts().Create(b.ctx, storage.Account{User: "romeo@x", Disabled: true})
		b.want(err, storage.ErrExists)
		a, err := b.Accounts().Get(b.ctx, "romeo@x")
		b.must(err)
		b.equal("disabled", a.Disabled, false)
		_, err = b.APIAccounts().Get(b.ctx, "romeo@x")
		b.want(err, storage.ErrNotFound)
	}},
	{"OfConcurrentCreatesOneWins", func(b *bench) {
		var mu sync.Mutex
		created, exists := 0, 0
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				_, err := b.Accounts().Create(b.ctx, storage.Account{User: "romeo@x"})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					created++
				} else if errors.Is(err, storage.ErrExists) {
					exists++
				} else {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		b.equal("created and refused", words(created, exists), "1 7")
	}},
	{"DeletedUserIsGoneAndMayComeBack", func(b *bench) {
		b.create("romeo@x")
		b.durable(b.Accounts().Delete(b.ctx, "romeo@x"))
		for range 2 {
			_, err := b.Accounts().Get(b.ctx, "romeo@x")
			b.want(err, storage.ErrNotFound)
			b.equal("users", b.users(b.Accounts(), "", "", 10), []string{})
			b.reopen()
		}
		b.create("romeo@x")
		b.equal("users", b.users(b.Accounts(), "x", "", 10), []string{"romeo@x"})
	}},
	{"ModifyIsOneStep", func(b *bench) {
		b.create("romeo@x")
		const workers, each = 6, 10
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for range each {
					_, err := b.Accounts().Modify(b.ctx, "romeo@x", func(a *storage.Account) error {
						a.Permissions = append(a.Permissions, "p")
						return nil
					})
					if err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
		b.reopen()
		a, err := b.Accounts().Get(b.ctx, "romeo@x")
		b.must(err)
		b.equal("modifications", len(a.Permissions), workers*each)
	}},
	{"ModifyThatFailsWritesNothingAndCannotRename", func(b *bench) {
		b.create("romeo@x")
		boom := errors.New("boom")
		_, err := b.Accounts().Modify(b.ctx, "romeo@x", func(a *storage.Account) error { a.Disabled = true; return boom })
		b.want(err, boom)
		a, err := b.Accounts().Get(b.ctx, "romeo@x")
		b.must(err)
		b.equal("disabled", a.Disabled, false)
		b.durable(b.Accounts().Modify(b.ctx, "romeo@x", func(a *storage.Account) error { a.User = "mallory@x"; return nil }))
		b.equal("users", b.users(b.Accounts(), "", "", 10), []string{"romeo@x"})
	}},
	{"ListIsSortedByDomainAndUserInPages", func(b *bench) {
		want := []string{"a@a.example", "b@a.example", "ü@a.example", "a@b.example", "b@b.example", "z@b.example", "猫@例え.jp"}
		for _, i := range []int{4, 0, 6, 2, 5, 1, 3} {
			b.create(want[i])
		}
		for range 2 {
			b.equal("all", b.users(b.Accounts(), "", "", 10), want)
			b.equal("without a limit", b.users(b.Accounts(), "", "", 0), want)
			b.equal("one domain", b.users(b.Accounts(), "b.example", "", 10), want[3:6])
			b.equal("a part of a domain's name", b.users(b.Accounts(), "b", "", 10), []string{})
			b.equal("after one in a domain", b.users(b.Accounts(), "b.example", "a@b.example", 10), want[4:6])
			b.equal("after one who is not there", b.users(b.Accounts(), "b.example", "aa@b.example", 1), want[4:5])
			b.equal("nothing after the last", b.users(b.Accounts(), "", want[6], 10), []string{})
			var got []string
			for after := ""; ; after = got[len(got)-1] {
				page := b.users(b.Accounts(), "", after, 2)
				if len(page) == 0 {
					break
				}
				got = append(got, page...)
			}
			b.equal("in pages of two", got, want)
			b.reopen()
		}
	}},
	{"APIAccountsHavePlainNames", func(b *bench) {
		for _, name := range []string{"trac", "nagios", "with@sign"} {
			b.durable(b.APIAccounts().Create(b.ctx, storage.Account{User: name, Domains: []string{"x"}}))
		}
		b.equal("API accounts", b.users(b.APIAccounts(), "", "", 10), []string{"nagios", "trac", "with@sign"})
		b.equal("after one", b.users(b.APIAccounts(), "", "nagios", 1), []string{"trac"})
		b.equal("accounts", b.users(b.Accounts(), "", "", 10), []string{})
		b.durable(b.APIAccounts().Delete(b.ctx, "trac"))
		_, err := b.APIAccounts().Get(b.ctx, "trac")
		b.want(err, storage.ErrNotFound)
	}},
	{"ManyUsersAreAllListed", func(b *bench) {
		for i := range 250 {
			_, err := b.Accounts().Create(b.ctx, storage.Account{User: fmt.Sprintf("user%03d@x", i)})
			b.must(err)
		}
		got := b.users(b.Accounts(), "x", "", 1000)
		b.equal("users, the first and the last", words(len(got), got[0], got[249]), "250 user000@x user249@x")
	}},
}

func (b *bench) create(user string) {
	b.Helper()
	b.durable(b.Accounts().Create(b.ctx, storage.Account{User: user}))
}

func (b *bench) users(a storage.Accounts, domain, after string, limit int) []string {
	b.Helper()
	list, err := a.List(b.ctx, domain, after, limit)
	b.must(err)
	users := []string{}
	for _, account := range list {
		users = append(users, account.User)
	}
	return users
}
