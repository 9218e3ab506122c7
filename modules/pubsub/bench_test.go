package pubsub

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// crowded is a service of 10,000 nodes, one of which has 5,000 subscribers at as many servers.
func crowded(b *testing.B) *world {
	b.Helper()
	w := newWorld(b)
	w.limits = Limits{Nodes: 50_000, UserNodes: 20_000, Items: 100, ItemBytes: 1000, Subscriptions: 200_000}
	for i := range 10_000 {
		w.do("juliet", asked(fmt.Sprintf("<create node='node%05d'/>", i)))
	}
	for i := range 5000 {
		who := fmt.Sprintf("mercutio@d%04d.example", i)
		if got := w.ask(who, "set", asked("<subscribe node='node00000' jid='"+who+"'/>")); !strings.Contains(got, "subscribed") {
			b.Fatal(got)
		}
	}
	return w
}

// work is the time of the processor that this process has had.
func work(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func perOp(b *testing.B, before time.Duration) {
	b.Helper()
	b.ReportMetric(float64((work(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

// BenchmarkCrowdedService is what nodes and subscribers in large numbers cost: the memory of what is known of them, an
// event for 5,000, and a page of 50 nodes.
func BenchmarkCrowdedService(b *testing.B) {
	w := crowded(b)
	first := "<query xmlns='http://jabber.org/protocol/disco#items'><set xmlns='http://jabber.org/protocol/rsm'><max>50</max>%s</set></query>"
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			w.start() // nothing is known
			before := heap()
			w.ask("juliet", "get", fmt.Sprintf(first, ""))
			b.ReportMetric(float64(heap()-before)/1e6, "MB")
		}
	})
	b.Run("publish", func(b *testing.B) {
		b.ReportAllocs()
		before := work(b)
		for b.Loop() {
			w.do("juliet", asked("<publish node='node00000'><item id='1'><t xmlns='urn:t'>what is new</t></item></publish>"))
			if n := len(w.remote.Sent()); n != 5000 {
				b.Fatalf("%d events", n)
			}
		}
		perOp(b, before)
	})
	b.Run("page", func(b *testing.B) {
		before := work(b)
		for b.Loop() {
			got := w.ask("juliet", "get", fmt.Sprintf(first, "<after>node04999</after>"))
			if strings.Count(got, "<item ") != 50 || !strings.Contains(got, "<count>10000</count>") {
				b.Fatal(got)
			}
		}
		perOp(b, before)
	})
}
