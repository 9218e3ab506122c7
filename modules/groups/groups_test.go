package groups

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/config"
	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// house is what the groups see: accounts, and rosters that remember what they were told.
type house struct {
	hosts []config.Host

	mu       sync.Mutex // guards the rest, while the groups run by themselves
	accounts map[string]time.Time
	store    *moduletest.Store
	told     map[string]string // user → "contact:group,group contact:group"
	writes   int
	broken   error
	log      strings.Builder
}

func newHouse(names ...string) *house {
	h := &house{accounts: map[string]time.Time{}, store: moduletest.NewStore(), told: map[string]string{}}
	for _, n := range names {
		h.accounts[n+"@example.org"] = time.Unix(1, 0)
	}
	return h
}

// share has groups in the form "Name=alice,bob" and brings the rosters up to them.
func (h *house) share(groups ...string) *Groups {
	host := config.Host{Domain: "example.org"}
	for _, g := range groups {
		name, members, _ := strings.Cut(g, "=")
		group := config.Group{Name: name}
		for m := range strings.SplitSeq(members, ",") {
			if m != "*" {
				m += "@example.org"
			}
			group.Members = append(group.Members, m)
		}
		host.Groups = append(host.Groups, group)
	}
	h.hosts = []config.Host{host}
	return &Groups{config: func() *config.Config { return &config.Config{Hosts: h.hosts} }, accounts: h, rosters: h,
		marks: h.store.Map("groups"), log: slog.New(slog.NewTextHandler(&h.log, nil)), poked: make(chan struct{}, 1)}
}

func (h *house) Page(_ context.Context, _, after string, limit int) (list []accounts.Account, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(h.accounts)) {
		if name > after && len(list) < limit {
			list = append(list, accounts.Account{User: jid.MustParse(name), Created: h.accounts[name]})
		}
	}
	return list, nil
}

func (h *house) Share(ctx context.Context, _ *router.Batch, user jid.JID, want map[jid.JID][]string) (
	_, _ []jid.JID, _ *storage.Pending, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broken != nil {
		return nil, nil, nil, h.broken
	}
	h.writes++
	var all []string
	for contact, groups := range want {
		all = append(all, contact.Local()+":"+strings.Join(groups, ","))
	}
	slices.Sort(all)
	h.told[user.Local()] = strings.Join(all, " ")
	_, p, err := h.store.Map("roster").Update(ctx, user.String(), storage.AnyVersion)
	return nil, nil, p, err
}

func (h *house) Seen(*router.Batch, jid.JID, []jid.JID, []jid.JID) {}

func (h *house) want(t *testing.T, told map[string]string, writes int) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !maps.Equal(h.told, told) || h.writes != writes {
		t.Errorf("rosters were told %q in %d writes, want %q in %d\n%s", h.told, h.writes, told, writes, &h.log)
	}
	h.writes = 0
}

func all(t *testing.T, g *Groups) {
	t.Helper()
	if err := g.all(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestMembersOfAGroupHaveEachOther(t *testing.T) {
	h := newHouse("alice", "bob", "carol", "dave")
	all(t, h.share("Sales=alice,bob,nobody", "Board=bob,alice"))
	told := map[string]string{"alice": "bob:Board,Sales", "bob": "alice:Board,Sales"}
	h.want(t, told, 2) // nobody else's roster is touched
	all(t, h.share("Board=alice,bob", "Sales=nobody,bob,alice"))
	h.want(t, told, 0) // the same, also after a restart
	all(t, h.share("Company=*"))
	h.want(t, map[string]string{"alice": "bob:Company carol:Company dave:Company", "bob": "alice:Company carol:Company dave:Company",
		"carol": "alice:Company bob:Company dave:Company", "dave": "alice:Company bob:Company carol:Company"}, 4)
	all(t, h.share())
	h.want(t, map[string]string{"alice": "", "bob": "", "carol": "", "dave": ""}, 4)
	all(t, h.share())
	h.want(t, h.told, 0)
	if entries, _, err := h.store.Map("groups").List(context.Background(), "example.org"); err != nil || len(entries) > 0 {
		t.Errorf("without groups it keeps %v, %v", entries, err)
	}
}

func TestAccountsThatComeAndGoAreFollowed(t *testing.T) {
	h := newHouse("alice", "bob")
	all(t, h.share("Company=*"))
	h.want(t, map[string]string{"alice": "bob:Company", "bob": "alice:Company"}, 2)
	h.accounts["carol@example.org"] = time.Unix(2, 0)
	all(t, h.share("Company=*"))
	h.want(t, map[string]string{"alice": "bob:Company carol:Company", "bob": "alice:Company carol:Company",
		"carol": "alice:Company bob:Company"}, 3)
	delete(h.accounts, "carol@example.org")
	delete(h.told, "carol")
	all(t, h.share("Company=*"))
	h.want(t, map[string]string{"alice": "bob:Company", "bob": "alice:Company"}, 2)
	// Made anew, an account has an empty roster, though the members are the same.
	h.accounts["bob@example.org"] = time.Unix(3, 0)
	all(t, h.share("Company=*"))
	h.want(t, map[string]string{"alice": "bob:Company", "bob": "alice:Company"}, 2)
}

func TestAGroupThatIsTooLargeIsLeftOut(t *testing.T) {
	h := newHouse("alice", "bob")
	for i := range config.MaxMembers {
		h.accounts[fmt.Sprintf("u%d@example.org", i)] = time.Unix(1, 0)
	}
	all(t, h.share("Company=*", "Sales=alice,bob"))
	h.want(t, map[string]string{"alice": "bob:Sales", "bob": "alice:Sales"}, 2)
	if !strings.Contains(h.log.String(), "too large") {
		t.Errorf("the log does not say so:\n%s", &h.log)
	}
}

func TestWhatWasLeftHalfDoneIsDoneAgain(t *testing.T) {
	h := newHouse("alice", "bob")
	h.broken = errors.New("the disk is away")
	g := h.share("Company=*")
	if err := g.all(context.Background()); err == nil {
		t.Fatal("a store that fails is no error")
	}
	h.broken = nil
	all(t, g)
	h.want(t, map[string]string{"alice": "bob:Company", "bob": "alice:Company"}, 2)

	// The same for a group that is no longer there.
	h.broken = errors.New("the disk is away")
	if err := h.share().all(context.Background()); err == nil {
		t.Fatal("a store that fails is no error")
	}
	h.broken = nil
	all(t, h.share())
	h.want(t, map[string]string{"alice": "", "bob": ""}, 2)
}

func TestRunFollowsAndTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse("alice", "bob")
		h.broken = errors.New("the disk is away")
		g := h.share("Company=*")
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { g.Run(ctx); close(done) }()
		synctest.Wait()
		h.want(t, map[string]string{}, 0)
		h.mu.Lock()
		h.broken = nil
		h.mu.Unlock()
		time.Sleep(again + time.Millisecond)
		synctest.Wait()
		h.want(t, map[string]string{"alice": "bob:Company", "bob": "alice:Company"}, 2)
		h.mu.Lock()
		h.accounts["carol@example.org"] = time.Unix(2, 0)
		h.mu.Unlock()
		g.Poke()
		g.Poke()
		time.Sleep(gather + time.Millisecond)
		synctest.Wait()
		h.want(t, map[string]string{"alice": "bob:Company carol:Company", "bob": "alice:Company carol:Company",
			"carol": "alice:Company bob:Company"}, 3)
		cancel()
		<-done
	})
}

func TestEachNodeWritesTheRostersOfUsersAtHomeThere(t *testing.T) {
	h := newHouse("ann", "ben", "cat")
	here := map[string]bool{"ann": true}
	node := func(home func(user jid.JID) bool) *Groups {
		g := h.share("Team=ann,ben,cat")
		g.home, g.done = home, map[string][]byte{}
		return g
	}
	first := node(func(user jid.JID) bool { return here[user.Local()] })
	second := node(func(user jid.JID) bool { return !here[user.Local()] })
	for range 2 { // and each its own once
		for _, g := range []*Groups{first, second} {
			if err := g.all(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if h.writes != 3 || len(h.told) != 3 {
			t.Errorf("%d writes, of %v", h.writes, h.told)
		}
	}
	here["ben"] = true
	h.writes = 0
	if err := first.all(t.Context()); err != nil || h.writes != 2 {
		t.Errorf("%v: when ben has come home there are %d writes, want those of ann and ben", err, h.writes)
	}
}
