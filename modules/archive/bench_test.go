package archive

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"jackdaw/modules/internal/mam"
	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/storage/embedded"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func cpu() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func openStore(b *testing.B) storage.Engine {

	e, err := embedded.Open(filepath.Join(b.TempDir(), "data"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { e.Close() }) // the benchmark is over
	return e
}

// sample is a chat message of the size that clients send.
func sample(b *testing.B, from, to string) *xmpp.Stanza {
	return moduletest.Parse(b, `<message from='`+from+`@example.org/desk' to='`+to+`@example.org' type='chat' id='0f3c7d1e-5f2b-4a4a'>`+
		`<body>But, soft! what light through yonder window breaks? It is the east, and Juliet is the sun.</body>`+
		`<active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/></message>`)
}

// BenchmarkPage shows that a page costs the same in a long archive as in a short one (docs/performance.md, "Targets").
func BenchmarkPage(b *testing.B) {
	for _, size := range []int{1_000, 1_000_000} {
		e := openStore(b)
		log, ctx := e.Log("archive"), context.Background()
		data := mam.AppendMessage(nil, sample(b, "romeo", "juliet"))
		var ids []uint64
		var last *storage.Pending
		for i := range size {
			peer := fmt.Sprintf("user%d@example.org", i%20)
			id, _, p, err := log.Append(ctx, "romeo@example.org", storage.Record{Peer: peer, Data: data}, storage.AppendOptions{})
			if err != nil {
				b.Fatal(err)
			}
			if ids, last = append(ids, id), p; i%1000 == 999 {
				if err := p.Wait(ctx); err != nil {
					b.Fatal(err)
				}
			}
		}
		if err := last.Wait(ctx); err != nil {
			b.Fatal(err)
		}
		middle := mam.FormatID(ids[size/2])
		for _, test := range []struct{ name, query string }{
			{"last", paged(`<max>50</max><before/>`)},
			{"middle", paged(`<max>50</max><after>` + middle + `</after>`)},
			{"with", filtered(field("with", "user7@example.org") + field("after-id", middle))},
		} {
			el, err := xmpp.ParseElement([]byte(test.query))
			if err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("%s/%d", test.name, size), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					q, bad := mam.Parse(el)
					if bad != nil {
						b.Fatal(bad)
					}
					page, err := q.Page(ctx, mam.Archive{Log: log, Owner: "romeo@example.org"}, match(jid.MustParse("romeo@example.org"), q.With), 20)
					if err != nil || len(page.Records) != 20 && size > 1000 {
						b.Fatal(len(page.Records), err)
					}
				}
			})
		}
	}
}

// BenchmarkRoute is what a message costs the router with and without an archive for both sides, fifty pairs, every
// hundred messages awaited together. Its own figure is CPU time, since the engine works beside.
func BenchmarkRoute(b *testing.B) {
	for _, test := range []struct {
		name     string
		archived bool
	}{{"without", false}, {"with", true}} {
		b.Run(test.name, func(b *testing.B) {
			const pairs = 50
			var names []string
			for i := range pairs {
				names = append(names, fmt.Sprintf("r%d", i), fmt.Sprintf("j%d", i))
			}
			r, e := moduletest.New(names...), openStore(b)
			a := New(Options{Router: r, Messages: e.Log("archive"), Prefs: e.Map("archive-prefs"), Contacts: contacts{},
				Limits: func() Limits { return Limits{Page: 100} }, Log: moduletest.Discard()})
			if test.archived {
				r.Use(a.Module())
			}
			var from []*router.Session
			var stanzas []*xmpp.Stanza
			for i := range pairs {
				s, err := r.Bind(jid.MustParse(names[2*i]+"@example.org/desk"), sink{})
				if err != nil {
					b.Fatal(err)
				}
				to, err := r.Bind(jid.MustParse(names[2*i+1]+"@example.org/desk"), sink{})
				if err != nil {
					b.Fatal(err)
				}
				r.SetPresence(to, &xmpp.Stanza{Kind: xmpp.Presence, From: to.Addr()}, 0)
				from, stanzas = append(from, s), append(stanzas, sample(b, names[2*i], names[2*i+1]))
			}
			var env router.Envelope
			var batch router.Batch
			var last *storage.Pending
			b.ReportAllocs()
			b.ResetTimer()
			start := cpu()
			for i := range b.N {
				env.Reset()
				env.Stanza, env.Session, env.Account, env.Durable, env.Batch = stanzas[i%pairs], from[i%pairs],
					from[i%pairs].Bare(), true, &batch
				if r.Route(&env); env.Outcome != router.Delivered {
					b.Fatal(env.Outcome, env.Err)
				}
				if n := len(env.Pendings); n > 0 {
					last = env.Pendings[n-1]
				}
				if i%100 == 99 {
					if err := last.Wait(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
			}
			if err := last.Wait(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64((cpu()-start).Nanoseconds())/float64(b.N), "cpu-ns/message")
		})
	}
}

// sink is an outlet that takes everything and forgets it.
type sink struct{}

func (sink) Send(router.Delivery) (wake, ok bool) { return false, true }
func (sink) Flush()                               {}
func (sink) Prompt() bool                         { return false }
func (sink) Full() bool                           { return false }
func (sink) Detached() bool                       { return false }
func (sink) WaitBelow(context.Context, int) error { return nil }
func (sink) End(string, string)                   {}

// BenchmarkServingWhilePurging compares how long messages take to be durable, a thousand a second, while nothing else
// happens and while an archive of a year ago is purged. Its figures are the ratios.
func BenchmarkServingWhilePurging(b *testing.B) {
	const owners, each = 50, 4000
	ctx := b.Context()
	now := time.Now()
	clock := now.Add(-365 * 24 * time.Hour)
	e, err := embedded.OpenWith(filepath.Join(b.TempDir(), "data"), embedded.Options{Now: func() time.Time { return clock }})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close() // the benchmark is over
	log := e.Log("archive")
	data := mam.AppendMessage(nil, sample(b, "romeo", "juliet"))
	var last *storage.Pending
	for i := range owners * each {
		if _, _, last, err = log.Append(ctx, fmt.Sprintf("u%d@example.org", i%owners),
			storage.Record{Peer: "juliet@example.org", Data: data}, storage.AppendOptions{}); err != nil {
			b.Fatal(err)
		}
		if i%500 == 0 {
			if err := last.Wait(ctx); err != nil {
				b.Fatal(err)
			}
		}
	}
	clock = now
	a := New(Options{Messages: log, Prefs: e.Map("archive-prefs"), Log: moduletest.Discard(),
		Limits: func() Limits { return Limits{Keep: time.Hour} }})
	serve := func(until func() bool) (mean, p99 time.Duration) {
		var all []time.Duration
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := 0; !until(); i++ {
			<-tick.C
			began := time.Now()
			_, _, p, err := log.Append(ctx, fmt.Sprintf("u%d@example.org", i%owners), storage.Record{Peer: "juliet@example.org", Data: data}, storage.AppendOptions{})
			if err != nil {
				b.Fatal(err)
			}
			if err := p.Wait(ctx); err != nil {
				b.Fatal(err)
			}
			all = append(all, time.Since(began))
		}
		slices.Sort(all)
		var sum time.Duration
		for _, d := range all {
			sum += d
		}
		return sum / time.Duration(len(all)), all[len(all)*99/100]
	}
	for b.Loop() {
		end := time.Now().Add(5 * time.Second)
		mean, p99 := serve(func() bool { return time.Now().After(end) })
		began := time.Now()
		var purged atomic.Bool
		go func() {
			a.keeper.Round(ctx, now)
			purged.Store(true)
		}()
		mean2, p992 := serve(purged.Load)
		b.ReportMetric(float64(mean2)/float64(mean), "mean-ratio")
		b.ReportMetric(float64(p992)/float64(p99), "p99-ratio")
		b.ReportMetric(owners*each/time.Since(began).Seconds(), "purged/s")
		b.Logf("mean %v, while purging %v; p99 %v, while purging %v", mean, mean2, p99, p992)
	}
}
