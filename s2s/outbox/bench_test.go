package outbox

import (
	"context"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A sink is a peer that takes everything at once.
type sink struct {
	acked Acked
	over  chan struct{}

	mu   sync.Mutex // guards the rest
	lag  int        // stanzas that it acknowledges together
	owed int
}

func (s *sink) Open(_ context.Context, _ Pair, acked Acked) (Stream, error) {
	s.acked = acked
	return s, nil
}

func (s *sink) Write(xml []byte, n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owed += n; s.owed >= s.lag {
		s.acked(s.owed)
		s.owed = 0
	}
	return nil
}

func (s *sink) Over() <-chan struct{} { return s.over }
func (s *sink) Limit() int            { return 0 }
func (s *sink) Cause() *Failure       { return nil }
func (s *sink) Close()                {}

// noLog is a store that takes everything at once.
type noLog struct {
	storage.Log
	last uint64
}

func (l *noLog) Append(context.Context, string, storage.Record, storage.AppendOptions) (
	uint64, bool, *storage.Pending, error) {
	l.last++
	return l.last, false, nil, nil
}

func (l *noLog) Remove(context.Context, string, ...uint64) (*storage.Pending, error) { return nil, nil }

func BenchmarkPush(b *testing.B) {
	for _, c := range []struct {
		name    string
		durable bool
		lag     int
	}{{"memory", false, 0}, {"durable", true, 0}, {"acknowledged late", false, 800}} {
		b.Run(c.name, func(b *testing.B) {
			s, none := &sink{over: make(chan struct{}), lag: c.lag}, Limits{}
			o := New(Options{Dialer: s, Log: &noLog{}, Logger: slog.New(slog.DiscardHandler),
				Owns:   func(d string) bool { return d == here },
				Bounce: func(*xmpp.Stanza, *xmpp.Error) { b.Error("bounced") }, Limits: func() *Limits { return &none }})
			x := &xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: "purple1234", From: jid.MustParse("romeo@" + here + "/garden"),
				To: jid.MustParse("juliet@" + there), Payload: []byte("<body>" + strings.Repeat("word ", 20) + "</body>")}
			b.ReportAllocs()
			for b.Loop() {
				for {
					e := router.Envelope{Stanza: x, Durable: c.durable}
					if o.Push(&e); e.Outcome == router.Queued {
						break
					}
					runtime.Gosched() // the queue is full
				}
			}
			s.mu.Lock()
			s.lag = 0
			s.acked(s.owed)
			s.mu.Unlock()
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			if err := o.Stop(ctx); err != nil {
				b.Error(err)
			}
			b.ReportMetric(float64(o.Stats.Refused[ForFull].Load())/float64(b.N), "refused/op")
			if got := o.Stats.Sent.Load(); got != o.Stats.Queued.Load() {
				b.Errorf("%d taken of %d", got, o.Stats.Queued.Load())
			}
		})
	}
}
