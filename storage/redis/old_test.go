package redis

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"jackdaw/storage"
	"jackdaw/storage/redis/redistest"
)

// older writes what versions wrote that had no blocks, no tokens of owners and no number of records: three records, a
// map and an account.
func older(s *redistest.Server, now time.Time) {
	day := fmt.Sprint(now.UnixMicro() / storage.DedupWindow.Microseconds())
	s.CLI("hset", "{romeo}:archive:meta", "last", "1003", "b", "11")
	s.CLI("zadd", "{romeo}:archive:i", "1001", "1001:juliet", "1002", "1002:", "1003", "1003:juliet")
	s.CLI("eval", `return redis.call('ZADD', KEYS[1], 0, 'juliet\0' .. '0000000000001001', 0, 'juliet\0' .. '0000000000001003')`,
		"1", "{romeo}:archive:p")
	s.CLI("hset", "{romeo}:archive:d", "1001", "one", "1002", "two", "1003", "three")
	s.CLI("hset", "{romeo}:archive:x"+day, "origin", "1003", "removed", "900")
	s.CLI("hset", "{romeo}:roster:m", "v", "4", "f", "0", "n", "1", "kjuliet", "2:Lfriend", "kparis", "4:D", "knurse", "3:L")
	account, _ := storage.EncodeAccount(storage.Account{User: "romeo@x", Permissions: []string{"multicast"}}) // plain fields
	s.CLI("hset", "{x}:accounts:h", "romeo", string(account))
	s.CLI("zadd", "{x}:accounts:z", "0", "romeo")
	s.CLI("sadd", "{domains}:accounts:s", "x")
}

func TestDataOfOlderVersionsOpensAsItIs(t *testing.T) {
	s := redistest.Start(t)
	older(s, time.Now())
	e := open(t, Options{Addrs: []string{s.Addr}})
	l := e.Log("archive")
	page := func(q storage.Query) string {
		t.Helper()
		records, more, err := l.Page(t.Context(), "romeo", q)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, r := range records {
			out = append(out, fmt.Sprintf("%d:%s:%s", min(r.ID, 2000), r.Peer, r.Data))
		}
		return fmt.Sprint(out, more)
	}
	want := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	want("all", page(storage.Query{}), "[1001:juliet:one 1002::two 1003:juliet:three] false")
	want("of a peer", page(storage.Query{Peer: "juliet", Backward: true, Limit: 1}), "[1003:juliet:three] true")
	n, bytes, err := l.Size(t.Context(), "romeo")
	want("size", fmt.Sprint(n, bytes, err), "3 11 <nil>")
	for _, o := range []storage.AppendOptions{{Dedup: "origin"}, {Dedup: "removed"}} {
		if id, dup, _, err := l.Append(t.Context(), "romeo", storage.Record{}, o); !dup || err != nil || id != 1003 && id != 900 {
			t.Errorf("%+v: id %d, dup %v, %v", o, id, dup, err)
		}
	}
	// New records come behind the old ones, into o and from there into a block.
	for i := range 5 {
		if _, _, _, err := l.Append(t.Context(), "romeo", storage.Record{Peer: "juliet", Data: fmt.Append(nil, i)},
			storage.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	want("all", page(storage.Query{}), "[1001:juliet:one 1002::two 1003:juliet:three 2000:juliet:0 2000:juliet:1 "+
		"2000:juliet:2 2000:juliet:3 2000:juliet:4] false")
	want("of a peer", page(storage.Query{Peer: "juliet", After: 1001, Limit: 3}),
		"[1003:juliet:three 2000:juliet:0 2000:juliet:1] true")
	if _, err := l.Replace(t.Context(), "romeo", 1002, []byte("2")); err != nil {
		t.Error(err)
	}
	if _, err := l.Remove(t.Context(), "romeo", 1001); err != nil {
		t.Error(err)
	}
	want("changed", page(storage.Query{Before: 1500}), "[1002::2 1003:juliet:three] false")
	if members := s.CLI("zrange", "{romeo}:archive:i", "0", "-1"); !strings.Contains(members, "-5-5") {
		t.Errorf("no block among %s", members)
	}
	if _, err := l.Trim(t.Context(), "romeo", 1003); err != nil {
		t.Error(err)
	}
	n, bytes, err = l.Size(t.Context(), "romeo")
	want("size", fmt.Sprint(n, bytes, err), "6 10 <nil>")

	m := e.Map("roster")
	v, _, err := m.Update(t.Context(), "romeo", 4, storage.Change{Key: "paris", Value: []byte("back")},
		storage.Change{Key: "nurse", Delete: true})
	want("version", fmt.Sprint(v, err), "5 <nil>")
	entries, v, err := m.List(t.Context(), "romeo")
	want("roster", fmt.Sprint(len(entries), v, err), "2 5 <nil>")
	changes, _, ok, err := m.Since(t.Context(), "romeo", 2)
	want("changes", fmt.Sprint(len(changes), ok, err), "2 true <nil>")

	account, err := e.Accounts().Get(t.Context(), "romeo@x")
	want("account", fmt.Sprint(account.Permissions, err), "[multicast] <nil>")
	if _, err := e.Accounts().Create(t.Context(), storage.Account{User: "romeo@x"}); err == nil {
		t.Error("an account that is there was made again")
	}
	list, err := e.Accounts().List(t.Context(), "", "", 0)
	want("accounts", fmt.Sprint(len(list), err), "1 <nil>")
}
