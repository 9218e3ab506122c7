package server

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/cluster"
)

// abode is where the only slot of a test is. It implements places.
type abode struct {
	home    string
	served  bool
	next    string // the home that a look finds; "": home
	changed chan struct{}
}

func (a *abode) Refresh(context.Context) {
	if a.next != "" {
		a.home = a.next
	}
}

func (*abode) ID() string                 { return "here" }
func (a *abode) Changed() <-chan struct{} { return a.changed }
func (a *abode) Home(int) (cluster.Place, bool) {
	return cluster.Place{Node: a.home}, a.home != ""
}

func TestAStreamWaitsWhileItsOwnerMoves(t *testing.T) {
	for name, c := range map[string]struct {
		before, after abode
		want          bool
		wait          time.Duration
		handed        bool
	}{
		"here":               {abode{home: "here", served: true}, abode{home: "here", served: true}, true, 0, false},
		"elsewhere":          {abode{home: "there"}, abode{home: "there"}, false, 0, false},
		"coming":             {abode{home: "here"}, abode{home: "here", served: true}, true, time.Second, false},
		"going":              {abode{home: "here"}, abode{home: "there"}, false, time.Second, false},
		"nowhere, then here": {abode{}, abode{home: "here", served: true}, true, time.Second, false},
		"nowhere for long":   {abode{}, abode{}, false, settleTime, false},
		"handed over":        {abode{home: "there"}, abode{home: "there"}, false, 0, true},
		"handed over before it is known": {abode{home: "there", next: "here"}, abode{home: "here", served: true}, true,
			time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				at := func() *abode {
					if time.Since(began) < time.Second {
						return &c.before
					}
					return &c.after
				}
				ctx, cancel := context.WithTimeout(t.Context(), settleTime)
				defer cancel()
				got := settled(ctx, moving(at), 0, c.handed, func() bool { return at().served })
				if took := time.Since(began); got != c.want || took < c.wait || took > c.wait+settlePause {
					t.Errorf("here: %t, want %t, after %v, want %v", got, c.want, took, c.wait)
				}
			})
		})
	}
}

// moving is an abode that is another one later.
type moving func() *abode

func (m moving) Refresh(ctx context.Context)         { m().Refresh(ctx) }
func (m moving) ID() string                          { return m().ID() }
func (m moving) Changed() <-chan struct{}            { return m().Changed() }
func (m moving) Home(slot int) (cluster.Place, bool) { return m().Home(slot) }

func TestWhoBuriesLooksWhoIsThereAfterReadingTheMarks(t *testing.T) {
	there, looks := map[string]bool{"a": true}, 0
	alive := afresh(func() { looks++; there["b"] = true }, func(name string) bool { return there[name] })
	if looks > 0 {
		t.Error("it was looked before the marks were read")
	}
	for name, want := range map[string]bool{"a": true, "b": true, "c": false} {
		if alive(name) != want {
			t.Errorf("%s is there: %t", name, !want)
		}
	}
	if looks != 1 {
		t.Errorf("%d looks", looks)
	}
}
