package relay

import (
	"bytes"
	"encoding/binary"
	"net"
	"reflect"
	"testing"

	"jackdaw/cluster"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func TestNumbersOfTheProtocolStay(t *testing.T) {
	// Nodes of two versions tell each other these numbers: they may be added to, and change with the protocol only.
	for i, x := range []xmpp.Kind{0, xmpp.Message, xmpp.Presence, xmpp.IQ} {
		if int(x) != i {
			t.Errorf("kind %v is %d, was %d", x, x, i)
		}
	}
	for i, x := range []xmpp.Type{xmpp.TypeNormal, xmpp.TypeChat, xmpp.TypeGroupchat, xmpp.TypeHeadline, xmpp.TypeError,
		xmpp.TypeUnavailable, xmpp.TypeSubscribe, xmpp.TypeSubscribed, xmpp.TypeUnsubscribe, xmpp.TypeUnsubscribed,
		xmpp.TypeProbe, xmpp.TypeGet, xmpp.TypeSet, xmpp.TypeResult, xmpp.TypeInvalid} {
		if int(x) != i {
			t.Errorf("type %v is %d, was %d", x, x, i)
		}
	}
	for i, x := range []router.Outcome{router.Undecided, router.Delivered, router.Stored, router.Queued, router.Refused,
		router.Dropped, router.Taken, router.Received, router.Displayed, router.Bounced} {
		if int(x) != i {
			t.Errorf("outcome %v is %d, was %d", x, x, i)
		}
	}
}

// samples are envelopes with everything that they can have.
func samples() []*router.Envelope {
	romeo := jid.MustParse("romeo@example.org/orchard")
	r := router.New(router.Options{Hosts: []string{"example.org"}})
	all := xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: "m<1>", Lang: "de", From: romeo,
		To: jid.MustParse("juliet@example.org/balkón"), Attrs: []byte(" xmlns:x='urn:x' x:y='z'"),
		Payload: []byte("<body>hi</body><a xmlns='urn:a'/>")}
	all.Children = xmpp.Index(all.Payload)
	bare := xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnavailable, To: jid.MustParse("example.org")}
	return []*router.Envelope{
		{Stanza: &all, Session: r.Standin(romeo), Account: romeo.Bare(), Durable: true, Tracked: true},
		{Stanza: &all, Session: r.Standin(jid.MustParse("nurse@example.org/x")), Account: romeo.Bare(), Left: true},
		{Stanza: &all, Peer: "example.net", Component: "bots.example.org", Dedup: "a key", Own: true},
		{Stanza: &all, Account: romeo.Bare(), Shared: true},
		{Stanza: &all, Shared: true},
		{Stanza: &bare, Quiet: true},
	}
}

// pipe is a connection that remembers what is written.
type pipe struct {
	net.Conn
	b *bytes.Buffer
}

func (p pipe) Write(b []byte) (int, error) { return p.b.Write(b) }

func encode(all []*router.Envelope) []byte {
	var items []item
	for i, e := range all {
		x := &entry{seq: uint64(i + 7), head: appendHead(nil, e, e.Dedup, nil), shared: e.Shared}
		if x.body = e.Stanza.Payload; !x.shared {
			x.body = appendPayload(nil, e.Stanza)
		}
		items = append(items, item{x: x, slot: i, round: 3, fence: 1 << 40, base: 5})
	}
	near, _ := net.Pipe()
	defer near.Close()
	var out bytes.Buffer
	b := batch{stats: new(Stats)}
	_ = b.write(pipe{near, &out}, items, nil)
	return out.Bytes()[batchHead:]
}

func TestEnvelopeIsTheSameAtTheOtherEnd(t *testing.T) {
	all := samples()
	d := decoder{slots: cluster.Slots}
	n := 0
	err := d.batch(encode(all), func(in *incoming) {
		e := all[n]
		want := *e.Stanza
		if len(want.Payload) > 0 {
			want.Children = xmpp.Index(want.Payload)
		}
		if got := in.stanza; !reflect.DeepEqual(got, want) {
			t.Errorf("%d: stanza %+v, want %+v", n, got, want)
		}
		var session jid.JID
		if e.Session != nil {
			session = e.Session.Addr()
		}
		if in.slot != n || in.seq != uint64(n+7) || in.base != 5 || in.round != 3 || in.fence != 1<<40 ||
			in.session != session || in.account != e.Account || in.peer != e.Peer || in.part != e.Component ||
			in.dedup != e.Dedup {
			t.Errorf("%d: %+v", n, in)
		}
		for bit, want := range map[uint64]bool{bitDurable: e.Durable, bitOwn: e.Own, bitLeft: e.Left, bitTracked: e.Tracked,
			bitShared: e.Shared, bitQuiet: e.Quiet} {
			if in.bits&bit != 0 != want {
				t.Errorf("%d: bit %x", n, bit)
			}
		}
		n++
	}, nil)
	if err != nil || n != len(all) {
		t.Errorf("%d of %d, %v", n, len(all), err)
	}
}

var answers = []answer{
	{slot: 1, seq: 2, code: byte(router.Stored), id: 1 << 50},
	{slot: 1023, seq: 1 << 40, code: byte(router.Delivered) | codeOpen, id: router.NoStanzaID},
	{slot: 3, seq: 4, code: codeNotHere, round: 9},
	{slot: 3, seq: 4, code: byte(router.Refused) | codeTold},
	{slot: 0, seq: 0, code: byte(router.Refused), err: xmpp.ResourceConstraint("no <room>").WithType(xmpp.ErrorWait).
		WithApp("urn:example", "full")},
}

func TestAnswerIsTheSameAtTheOtherEnd(t *testing.T) {
	var b []byte
	for i := range answers {
		b = answers[i].append(b)
	}
	n := 0
	err := readAnswers(b, cluster.Slots, func(a *answer) {
		want := answers[n]
		if want.err != nil && string(a.err.Append(nil)) == string(want.err.Append(nil)) {
			a.err, want.err = nil, nil
		}
		if !reflect.DeepEqual(*a, want) {
			t.Errorf("%d: %+v, want %+v", n, *a, want)
		}
		n++
	})
	if err != nil || n != len(answers) {
		t.Errorf("%d of %d, %v", n, len(answers), err)
	}
}

func FuzzBatch(f *testing.F) {
	f.Add(encode(samples()))
	sequel := appendBytes([]byte{itemSequel}, []byte("\x03a@b\x01c\x02id\x06"))
	f.Add(sequel)
	f.Add(binary.AppendUvarint([]byte{itemOwn}, 1<<63))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := decoder{slots: cluster.Slots}
		count := 0
		err := d.batch(bytes.Clone(b), func(in *incoming) {
			count++
			s := &in.stanza
			if in.slot >= cluster.Slots || in.base > in.seq || s.Kind < xmpp.Message || s.Kind > xmpp.IQ {
				t.Errorf("%+v", in)
			}
			last := 0
			for _, c := range s.Children {
				if c.Start < last || c.End <= c.Start || c.End > len(s.Payload) {
					t.Errorf("a child from %d to %d of %d", c.Start, c.End, len(s.Payload))
				}
				last = c.End
			}
			_ = s.Append(nil)
			// What was read is written as it was.
			e := &router.Envelope{Stanza: s, Account: in.account, Peer: in.peer, Component: in.part}
			if in.session.IsZero() && in.bits < 1<<12 {
				again := incoming{}
				d.head(appendHead(nil, e, in.dedup, nil), &again)
				if again.stanza.Kind != s.Kind || again.stanza.To != s.To || again.stanza.From != s.From ||
					again.stanza.ID != s.ID || again.account != in.account {
					t.Errorf("%+v has become %+v", in, again)
				}
			}
		}, func(telling) {})
		if len(d.names) > maxNames || err == nil && count > len(b) {
			t.Errorf("%d names, %d envelopes of %d bytes", len(d.names), count, len(b))
		}
	})
}

func FuzzAnswers(f *testing.F) {
	var b []byte
	for i := range answers {
		b = answers[i].append(b)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = readAnswers(b, cluster.Slots, func(a *answer) {
			if a.slot >= cluster.Slots || a.code != codeNotHere && a.code&codeOutcomes > byte(router.Dropped) {
				t.Errorf("%+v", a)
			}
		})
	})
}
