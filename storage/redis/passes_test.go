package redis

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"jackdaw/cluster"
	"jackdaw/storage"
	"jackdaw/storage/redis/redistest"
)

func TestWhatPassesIsToldFromWhatSomebodyHasToCorrect(t *testing.T) {
	s := redistest.Start(t, "--requirepass", "secret")
	s.CLI("-a", "secret", "acl", "setuser", "weak", "on", ">weak", "~*", "-@all", "+@connection")
	right := Options{Addrs: []string{s.Addr}, Password: "secret"}
	open(t, right) // by a server that has no cluster
	few := right
	few.WaitReplicas = 1
	for name, test := range map[string]struct {
		o    Options
		want bool
	}{
		"nobody there":       {Options{Addrs: []string{"127.0.0.1:1"}}, true},
		"too few replicas":   {few, true},
		"no password":        {Options{Addrs: []string{s.Addr}}, false},
		"a wrong password":   {Options{Addrs: []string{s.Addr}, Password: "wrong"}, false},
		"no rights":          {Options{Addrs: []string{s.Addr}, Username: "weak", Password: "weak"}, false},
		"a name of nobody":   {Options{Addrs: []string{"redis.invalid:6379"}}, false},
		"a prefix in use":    {right, false},
		"a prefix of no use": {Options{Addrs: []string{s.Addr}, Password: "secret", Prefix: "{x}"}, false},
	} {
		if _, err := Open(t.Context(), test.o); err == nil || Passes(err) != test.want {
			t.Errorf("%s passes: %v, %v", name, !test.want, err)
		}
	}
	nodes, err := OpenNodes(t.Context(), right)
	if err != nil {
		t.Fatal(err)
	}
	defer nodes.Close()
	var single *cluster.SingleError
	_, err = nodes.Do(t.Context(), cluster.Request{Op: cluster.OpJoin, Member: cluster.Member{ID: "a", Run: "1"},
		Lease: time.Second, Grace: time.Second})
	if !errors.As(err, &single) || Passes(err) {
		t.Errorf("a server without cluster passes: %v", err)
	}

	s.Pause()
	defer s.Wake()
	if _, err = OpenNodes(t.Context(), right); !Passes(err) {
		t.Errorf("a Redis that does not answer stays away: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err = nodes.Do(ctx, cluster.Request{Op: cluster.OpLook}); !Passes(err) {
		t.Errorf("a Redis that does not answer a node stays away: %v", err)
	}
	for _, err := range []error{nil, errors.New("x"), fmt.Errorf("%w: %w", storage.ErrUnavailable, storage.ErrTaken)} {
		if Passes(err) {
			t.Errorf("%v passes", err)
		}
	}
}
