package muc

import (
	"context"
	"fmt"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp/jid"
)

// sink is a session that writes what it gets where the next stanza overwrites it.
type sink struct {
	buf   []byte
	count int
}

func (s *sink) Send(d router.Delivery) (wake, ok bool) {
	s.buf = d.Stanza.Append(s.buf[:0])
	s.count++
	return false, true
}
func (*sink) Flush()                               {}
func (*sink) Prompt() bool                         { return true }
func (*sink) Full() bool                           { return false }
func (*sink) Detached() bool                       { return false }
func (*sink) WaitBelow(context.Context, int) error { return nil }
func (*sink) End(condition, text string)           {}

// crowd fills a room with n occupants and returns the session of the first.
func crowd(b *testing.B, n int) (*world, []*router.Session, []*sink) {
	w := newWorld(b)
	w.limits.Occupants, w.limits.MessageRate = n+1, 1<<30
	var sessions []*router.Session
	var sinks []*sink
	for i := range n {
		out := &sink{}
		s, err := w.Bind(jid.MustParse(fmt.Sprintf("u%d@%s/pda", i, moduletest.Host)), out)
		if err != nil {
			b.Fatal(err)
		}
		sessions, sinks = append(sessions, s), append(sinks, out)
	}
	return w, sessions, sinks
}

func route(b *testing.B, w *world, s *router.Session, xml string) {
	e := &router.Envelope{Stanza: moduletest.Parse(b, xml), Session: s, Account: s.Bare()}
	e.Stanza.From = s.Addr()
	if w.Route(e); e.Err != nil {
		b.Fatal(e.Err)
	}
}

func fill(b *testing.B, w *world, sessions []*router.Session) {
	for i, s := range sessions {
		route(b, w, s, fmt.Sprintf(`<presence to='%s/n%d'><x xmlns='http://jabber.org/protocol/muc'/></presence>`, coven, i))
		if i == 0 {
			route(b, w, s, `<iq type='set' id='c' to='`+coven+`'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>`)
		}
	}
}

// One message in a room: a delivery to each occupant.
func BenchmarkFanOut(b *testing.B) {
	for _, n := range []int{200, 400} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { fanOut(b, n) })
	}
}

func fanOut(b *testing.B, occupants int) {
	w, sessions, sinks := crowd(b, occupants)
	fill(b, w, sessions)
	s := moduletest.Parse(b, `<message type='groupchat' id='m' to='`+coven+`'><body>Harpier cries: 'tis time, 'tis time, round about the cauldron go</body></message>`)
	s.From = sessions[0].Addr()
	before := sinks[occupants-1].count
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		w.Route(&router.Envelope{Stanza: s, Session: sessions[0]})
		n++
	}
	b.ReportMetric(float64(occupants*n)/b.Elapsed().Seconds(), "deliveries/s")
	if got := sinks[occupants-1].count - before; got != n {
		b.Fatalf("%d of %d messages came", got, n)
	}
}

// One occupant of 400 changes its availability: all are told.
func BenchmarkAvailability(b *testing.B) {
	const occupants = 400
	w, sessions, sinks := crowd(b, occupants)
	fill(b, w, sessions)
	s := moduletest.Parse(b, `<presence to='`+coven+`/n0'><show>away</show></presence>`)
	s.From = sessions[0].Addr()
	before := sinks[occupants-1].count
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		w.Route(&router.Envelope{Stanza: s, Session: sessions[0]})
		n++
	}
	if got := sinks[occupants-1].count - before; got != n {
		b.Fatalf("%d of %d presences came", got, n)
	}
}

// 1,000 users enter a room: half a million presences each way.
func BenchmarkEnter(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		w, sessions, sinks := crowd(b, 1000)
		fill(b, w, sessions)
		if got := sinks[0].count; got < 1000 {
			b.Fatalf("%d stanzas came", got)
		}
	}
}
