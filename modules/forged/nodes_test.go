package forged

import (
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// homes is where romeo may not be at home. It implements router.Homes.
type homes struct{ away atomic.Bool }

func (h *homes) Here(owner string) bool {
	return owner != replies && (!h.away.Load() || owner != "romeo@example.org")
}
func (*homes) Send(owner string, e *router.Envelope) {
	e.Refuse(xmpp.InternalServerError("to " + owner))
}
func (*homes) Tell(router.Sequel) {}

// What all nodes write has no place that takes it out; a user's replies are queued at the user's home, and go on there.
func TestRepliesAreQueuedAtTheHomesOfTheirUsers(t *testing.T) {
	h, p := newHouse(t), newProgram(t)
	h.forged.Close()
	n := &homes{}
	h.SetHomes(n)
	h.open()
	h.hook = p.URL
	h.post("ticket-1@trac", "romeo@example.org")
	if e := h.reply("ticket-1@trac"); e.Outcome != router.Delivered {
		t.Fatalf("a reply fared as %v, %v", e.Outcome, e.Err)
	}
	if got := p.wait(t, 1); got[0].From != "romeo@example.org/orchard" || !strings.HasSuffix(p.keys[0], "-romeo@example.org") {
		t.Errorf("the program got %v with keys %q", got, p.keys)
	}
	for end := time.Now().Add(time.Minute); ; {
		if left, _, err := h.store.Log("forged").Size(t.Context(), "romeo@example.org"); err != nil {
			t.Fatal(err)
		} else if left == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a reply that was taken is queued still")
		}
		runtime.Gosched()
	}
	// He is at home elsewhere when another is queued, and comes back.
	n.away.Store(true)
	h.forged.hook.moved(func(owner string) bool { return owner == "romeo@example.org" })
	if _, _, _, err := h.store.Log("forged").Append(t.Context(), "romeo@example.org", storage.Record{
		Peer: "romeo@example.org", Data: []byte("\x01{\"from\":\"romeo@example.org/x\"}")}, storage.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	h.Coming()
	n.away.Store(false)
	if got := p.wait(t, 1); got[1].From != "romeo@example.org/x" {
		t.Errorf("the program got %v", got)
	}
}

// A domain has as many addresses as its owner likes: they get no queues.
func TestOthersGetNoQueuesOnNodes(t *testing.T) {
	h, p := newHouse(t), newProgram(t)
	h.forged.Close()
	h.SetHomes(&homes{})
	h.open()
	h.hook = p.URL
	for _, from := range []string{"a@peer.example", "b@peer.example/x"} {
		e := &router.Envelope{Stanza: &xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat,
			From: jid.MustParse(from), To: jid.MustParse("ticket-1@trac"), Payload: []byte("<body>hi</body>")}}
		h.forged.hook.take(e)
		if e.Outcome != router.Refused || e.Err == nil || e.Err.Condition != xmpp.CondServiceUnavailable {
			t.Errorf("a reply of %s fared as %v, %v", from, e.Outcome, e.Err)
		}
	}
	if n := len(h.forged.hook.queues); n != 0 {
		t.Errorf("there are %d queues", n)
	}
}
