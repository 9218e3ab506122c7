package forged

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

// program is what the hook posts to.
type program struct {
	*httptest.Server
	mu      sync.Mutex // guards the rest
	status  []int      // of the answers to come; then 204
	got     []reply
	keys    []string
	arrived chan struct{}
}

func newProgram(t *testing.T, status ...int) *program {
	p := &program{status: status, arrived: make(chan struct{}, 1000)}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *program) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, _ := io.ReadAll(r.Body)
	var one reply
	if err := json.Unmarshal(b, &one); err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
		one.Body = fmt.Sprintf("%s %s: %v", r.Method, b, err)
	}
	p.got, p.keys = append(p.got, one), append(p.keys, r.Header.Get("Idempotency-Key"))
	status := http.StatusNoContent
	if len(p.status) > 0 {
		status, p.status = p.status[0], p.status[1:]
	}
	w.WriteHeader(status)
	p.arrived <- struct{}{}
}

// wait returns all that came, once there are n requests more.
func (p *program) wait(t *testing.T, n int) []reply {
	t.Helper()
	for range n {
		select {
		case <-p.arrived:
		case <-time.After(time.Minute):
			t.Fatalf("the program got %v", p.got)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.got)
}

// queued waits until so many replies are left.
func (h *house) queued(want int) {
	h.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		n, _, err := h.store.Log("forged").Size(h.t.Context(), replies)
		if err == nil && n == want {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("%d replies are queued, want %d; %v", n, want, err)
		}
		<-time.After(time.Millisecond)
	}
}

func (h *house) reply(to string) *router.Envelope {
	return h.romeo.Send(`<message type='chat' id='r1' to='` + to + `'><body>thanks &amp; bye</body></message>`)
}

func TestRepliesArePostedToTheHook(t *testing.T) {
	h, p := newHouse(t), newProgram(t)
	h.hook = p.URL
	h.post("ticket-1@trac", "romeo@example.org")
	h.post("ticket-2@example.org", "romeo@example.org")
	for _, to := range []string{"ticket-1@trac", "ticket-2@example.org/x"} {
		if e := h.reply(to); e.Outcome != router.Delivered {
			t.Errorf("a reply to %s fared as %v, %v", to, e.Outcome, e.Err)
		}
	}
	got := p.wait(t, 2)
	for i, to := range []string{"ticket-1@trac", "ticket-2@example.org/x"} {
		want := reply{From: "romeo@example.org/orchard", To: to, ID: "r1", Body: "thanks & bye"}
		stanza := got[i].Stanza
		got[i].Stanza = ""
		if got[i] != want {
			t.Errorf("the program got %+v, want %+v", got[i], want)
		}
		moduletest.Same(t, stanza, `<message xmlns='jabber:client' type='chat' id='r1' from='romeo@example.org/orchard' to='`+to+`'><body>thanks &amp; bye</body></message>`)
	}
	h.queued(0)
	if len(h.remote.Sent()) != 0 || h.forged.Stats.Posted.Load() != 2 {
		t.Errorf("%d were counted", h.forged.Stats.Posted.Load())
	}
	h.romeo.Want()
}

func TestOnlyRepliesArePosted(t *testing.T) {
	h, p := newHouse(t), newProgram(t)
	h.hook = p.URL
	h.post("ticket-1@trac", "romeo@example.org")
	h.post("juliet@example.org", "romeo@example.org") // an account answers for itself
	for _, xml := range []string{
		`<message type='chat' to='ticket-1@trac'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>`,
		`<message type='headline' to='ticket-1@trac'><body>a</body></message>`,
		`<message type='error' to='ticket-1@trac'><body>a</body></message>`,
		`<message type='chat' to='ticket-2@trac'><body>a</body></message>`,
		`<message type='chat' to='juliet@example.org'><body>a</body></message>`,
		`<message type='chat' to='paris@example.org'><body>a</body></message>`,
		`<message type='chat'><body>a</body></message>`,
	} {
		h.romeo.Send(xml)
	}
	h.queued(0)
	if got := p.wait(t, 0); len(got) != 0 {
		t.Errorf("the program got %v", got)
	}
}

func TestAHookThatIsAwayIsTriedAgainInOrder(t *testing.T) {
	h, p := newHouse(t), newProgram(t, 503)
	h.hook = p.URL
	h.post("ticket-1@trac", "romeo@example.org")
	h.reply("ticket-1@trac/1")
	h.reply("ticket-1@trac/2")
	var to []string
	for _, r := range p.wait(t, 3) {
		to = append(to, strings.TrimPrefix(r.To, "ticket-1@trac/"))
	}
	if want := []string{"1", "1", "2"}; !slices.Equal(to, want) {
		t.Errorf("attempts were for %v, want %v", to, want)
	}
	h.queued(0)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys[0] == "" || p.keys[0] != p.keys[1] || p.keys[0] == p.keys[2] {
		t.Errorf("the keys were %v", p.keys)
	}
}

func TestTheAnswerSaysWhetherToTryAgain(t *testing.T) {
	h := newHouse(t)
	for _, row := range []struct {
		status       int
		taken, final bool
	}{{200, true, false}, {202, true, false}, {302, false, false}, {400, false, true}, {404, false, true},
		{408, false, false}, {425, false, false},
		{429, false, false}, {500, false, false}, {503, false, false}} {
		h.hook = newProgram(t, row.status).URL
		final, err := h.forged.hook.try(t.Context(), replies, storage.Record{ID: 1, Data: []byte("\x01{}")})
		if final != row.final || (err == nil) != row.taken {
			t.Errorf("%d: final %v, %v", row.status, final, err)
		}
	}
	h.hook = "http://user:secret@127.0.0.1:1/token"
	if _, err := h.forged.hook.try(t.Context(), replies, storage.Record{ID: 1, Data: []byte("\x01{}")}); err == nil ||
		strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "token") {
		t.Errorf("the log would say %v", err)
	}
}

func TestWhatTheHookRefusesComesBack(t *testing.T) {
	h, p := newHouse(t), newProgram(t, 404)
	h.hook = p.URL
	h.post("ticket-1@trac", "romeo@example.org")
	h.reply("ticket-1@trac")
	p.wait(t, 1)
	h.romeo.Wait(1)
	got := h.romeo.Deliveries()
	if s := got[0].Stanza; s.Type != xmpp.TypeError || s.ID != "r1" || s.From.String() != "ticket-1@trac" ||
		s.Err().Condition != xmpp.CondRecipientUnavailable {
		t.Errorf("romeo got %s", s.Append(nil))
	}
	h.queued(0)
	if n := h.forged.Stats.Failed.Load(); n != 1 {
		t.Errorf("%d were counted", n)
	}
}

func TestWhatIsQueuedSurvivesARestart(t *testing.T) {
	h, p := newHouse(t), newProgram(t)
	h.hook = "http://127.0.0.1:1/"
	h.post("ticket-1@trac", "romeo@example.org")
	h.reply("ticket-1@trac")
	h.queued(1)
	h.forged.Close()
	h.hook = p.URL
	h.open()
	p.wait(t, 1)
	h.queued(0)
}

func TestAReplyThatNobodyTakesForADayComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.hook = "ftp://nobody" // refused by the client without a connection
		h.post("ticket-1@trac", "romeo@example.org")
		h.reply("ticket-1@trac")
		time.Sleep(hookAge - time.Hour)
		h.romeo.Want()
		h.queued(1)
		time.Sleep(2 * time.Hour)
		if got := h.romeo.Deliveries(); len(got) != 1 || got[0].Stanza.Type != xmpp.TypeError {
			t.Errorf("romeo got %v", got)
		}
		h.queued(0)
		h.forged.Close()
	})
}

func TestAReplyIsAcknowledgedWhenItIsSafe(t *testing.T) {
	h := newHouse(t)
	h.hook = "http://127.0.0.1:1/"
	h.post("ticket-1@trac", "romeo@example.org")
	h.store.Hold()
	if e := h.reply("ticket-1@trac"); len(e.Pendings) != 1 {
		t.Errorf("the acknowledgement waits for %d writes", len(e.Pendings))
	}
	h.store.Release(nil)
	h.store.Fail(storage.ErrUnavailable)
	if e := h.reply("ticket-1@trac"); e.Err == nil || e.Err.Condition != xmpp.CondResourceConstraint {
		t.Errorf("without storage a reply fared as %v", e.Outcome)
	}
	h.store.Fail(nil)
}

func TestTheQueueIsBounded(t *testing.T) {
	h := newHouse(t)
	h.hook = "http://127.0.0.1:1/"
	h.post("ticket-1@trac", "romeo@example.org")
	h.forged.Close() // nothing is taken out
	big := strings.Repeat("a", maxReplyBytes/10)
	var last *router.Envelope
	for range 20 {
		if last = h.romeo.Send(`<message type='chat' to='ticket-1@trac'><body>` + big + `</body></message>`); last.Outcome == router.Refused {
			break
		}
	}
	if last.Err == nil || last.Err.Condition != xmpp.CondResourceConstraint {
		t.Errorf("the last reply fared as %v", last.Outcome)
	}
}

func TestRepliesOfOneLeaveRoomForThoseOfOthers(t *testing.T) {
	h := newHouse(t)
	h.hook = "http://127.0.0.1:1/"
	h.post("ticket-1@trac", "romeo@example.org")
	h.forged.Close() // nothing is taken out
	big := make([]byte, maxReplyBytes/8)
	for _, who := range []string{"romeo@example.org", "romeo@example.org", "other.example"} {
		if _, _, _, err := h.store.Log("forged").Append(t.Context(), replies, storage.Record{Peer: who, Data: big},
			storage.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if e := h.reply("ticket-1@trac"); e.Err == nil || e.Err.Condition != xmpp.CondResourceConstraint ||
		e.Err.Type != xmpp.ErrorWait {
		t.Errorf("a reply of one who has his share fared as %v, %v", e.Outcome, e.Err)
	}
	_, _, _, err := h.store.Log("forged").Append(t.Context(), replies, storage.Record{Peer: "juliet@example.org",
		Data: big[:1000]},
		storage.AppendOptions{MaxRecords: maxReplies, MaxBytes: maxReplyBytes, Fair: true})
	if err != nil {
		t.Errorf("one of another: %v", err)
	}
}
