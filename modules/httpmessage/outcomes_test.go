package httpmessage

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/posting"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// diary is a Tracker that remembers what it is told.
type diary struct {
	mu      sync.Mutex // guards the rest
	off     bool
	last    int
	begun   []*page
	err     error
	asked   []string
	changes []posting.Change
	closed  int
}

// page is a post in a diary.
type page struct {
	posting.Sent
	to      []jid.JID
	states  []string
	pending *storage.Pending
	dropped bool
	over    chan struct{} // Wait returns when it is closed; nil: too many wait
	now     atomic.Uint32 // a router.Outcome
}

func (d *diary) On() bool { return !d.off }

func (d *diary) NewID() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last++
	return fmt.Sprintf("m-%016x", d.last)
}

func (d *diary) Begin(s posting.Sent, n int, to func(int) jid.JID) posting.Tracking {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off {
		return nil
	}
	p := &page{Sent: s, over: make(chan struct{})}
	for i := range n {
		p.to = append(p.to, to(i))
	}
	d.begun = append(d.begun, p)
	return p
}

func (d *diary) page(i int) *page {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.begun[i]
}

func (p *page) Settle(of func(int) (router.Outcome, string, bool)) *storage.Pending {
	for i, to := range p.to {
		o, why, open := of(i)
		p.states = append(p.states, fmt.Sprintf("%s %s %s %v", to, o, why, open))
	}
	return p.pending
}

func (p *page) Drop() { p.dropped = true }

func (p *page) Wait(ctx context.Context) bool {
	if p.over == nil {
		return false
	}
	select {
	case <-p.over:
		p.now.Store(uint32(router.Taken))
	case <-ctx.Done():
	}
	return true
}

func (p *page) Now(int) (router.Outcome, string) { return router.Outcome(p.now.Load()), "" }

var when = time.Date(2026, 11, 29, 12, 0, 0, 5_000_000, time.UTC)

// record is what a diary says of a post.
func (d *diary) record(account, id string, first int) posting.Record {
	return posting.Record{ID: id, Account: account, MessageID: "x", Sender: jid.MustParse("andy@" + host), At: when, Total: 3,
		Counts: map[router.Outcome]int{router.Taken: 2, router.Bounced: 1}, First: first,
		Recipients: []posting.Became{{To: jid.MustParse("bob@" + host), Outcome: router.Bounced, Reason: "gone", At: when}}}
}

func (d *diary) Record(_ context.Context, account, id string, first, limit int) (posting.Record, error) {
	d.asked = append(d.asked, fmt.Sprintf("%q %s %d %d", account, id, first, limit))
	if d.err == nil && !strings.HasPrefix(id, "m-") {
		return posting.Record{}, posting.ErrNoPost
	}
	return d.record(account, id, first), d.err
}

func (d *diary) List(_ context.Context, account string, since time.Time, cursor string, most, limit int) (
	[]posting.Record, string, error) {
	d.asked = append(d.asked, fmt.Sprintf("%q %d %q %d %d", account, max(since.Unix(), 0), cursor, most, limit))
	if cursor == "bad" {
		return nil, "", posting.ErrCursor
	}
	return []posting.Record{d.record(account, "m-0000000000000001", 0), d.record(account, "m-0000000000000002", 2)}, "c1-2", d.err
}

func (d *diary) Follow(account string, since uint64) (posting.Stream, error) {
	d.asked = append(d.asked, fmt.Sprintf("%q %d", account, since))
	return &reading{d: d}, d.err
}

type reading struct {
	d    *diary
	read bool
}

func (r *reading) Close() { r.d.closed++ }

func (r *reading) Next(ctx context.Context) ([]posting.Change, error) {
	if !r.read {
		r.read = true
		return r.d.changes, nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// tracked is a house with a diary.
func tracked(t testing.TB) (*house, *diary) {
	h, d := newHouse(t), &diary{}
	h.TrackBy(d)
	return h, d
}

func TestAMessageIsTrackedByItsID(t *testing.T) {
	h, d := tracked(t)
	h.do(call{body: toBob})
	h.do(call{body: strings.Replace(toBob, "<message", "<message id='mine'", 1), headers: []string{"Accept: application/json"}})
	h.do(call{body: toBob, path: gatewayPath + "/ticket", user: "robot", headers: []string{xmlType}})
	for i, want := range []struct {
		id, account string
		said        bool
	}{{"m-0000000000000001", "andy@" + host, false}, {"mine", "andy@" + host, true}, {"m-0000000000000003", "api account robot", true}} {
		p := d.page(i)
		if p.MessageID != want.id || p.Account != want.account || p.Said != want.said || p.dropped {
			t.Errorf("%d is tracked as %+v", i, p.Sent)
		}
		if got := []string{"bob@" + host + " stored  true"}; !slices.Equal(p.states, got) {
			t.Errorf("%d became %q", i, p.states)
		}
		if xml := h.stored("bob@" + host)[i]; !strings.Contains(xml, "id='"+want.id+"'") {
			t.Errorf("%d was sent as %s", i, xml)
		}
	}
	d.off = true
	h.do(call{body: toBob})
	if xml := h.stored("bob@" + host)[3]; strings.Contains(xml, "id=") {
		t.Errorf("while nobody tracks it was sent %s", xml)
	}
}

func TestWhatNobodyAcceptsIsNotTracked(t *testing.T) {
	h, d := tracked(t)
	h.do(call{body: strings.Replace(toBob, "bob@", "nobody@", 1)})
	h.do(call{body: "<message"})
	if len(d.begun) != 1 || !d.begun[0].dropped {
		t.Errorf("%d began", len(d.begun))
	}
}

func TestAPostThatPanicsIsNotTracked(t *testing.T) {
	h, d := tracked(t)
	h.router.Use(router.Module{Name: "broken", Unclaimed: func(*router.Envelope) { panic("for a test") }})
	if w := h.do(call{body: toBob}); w.Code != 500 || len(d.begun) != 1 || !d.begun[0].dropped {
		t.Errorf("answer %d, %d began", w.Code, len(d.begun))
	}
}

func TestAnAnswerComesAfterWhatIsKeptOfThePost(t *testing.T) {
	h, d := tracked(t)
	lost := errors.New("lost")
	h.TrackBy(unwritten{d, lost})
	if w := h.do(call{body: toBob, headers: []string{"Accept: application/json"}}); w.Code != 503 {
		t.Errorf("answer %d %s", w.Code, w.Body)
	}
}

// unwritten is a diary whose pages are never durable.
type unwritten struct {
	*diary
	err error
}

func (f unwritten) Begin(s posting.Sent, n int, to func(int) jid.JID) posting.Tracking {
	p := f.diary.Begin(s, n, to).(*page)
	p.pending = storage.NewPending()
	p.pending.Finish(f.err)
	return p
}

func TestARequestWaitsForWhatBecomesOfItsPost(t *testing.T) {
	for name, c := range map[string]struct {
		prefer  string
		headers []string
		told    time.Duration // when the message is taken; 0: never
		full    bool
		took    time.Duration
		applied []string
		outcome string
	}{
		"taken":       {prefer: "wait=10", told: 3 * time.Second, took: 3 * time.Second, applied: []string{"wait=10"}, outcome: "taken"},
		"not taken":   {prefer: "wait=10", took: 10 * time.Second, applied: []string{"wait=10"}, outcome: "stored"},
		"too long":    {prefer: "wait=3600", took: time.Minute, applied: []string{"wait=60"}, outcome: "stored"},
		"with others": {prefer: `handling=lenient, wait="2"; x`, took: 2 * time.Second, applied: []string{"handling=lenient", "wait=2"}, outcome: "stored"},
		"too many":    {prefer: "wait=10", full: true, outcome: "stored"},
		"no number":   {prefer: "wait=soon", outcome: "stored"},
		"negative":    {prefer: "wait=-1", outcome: "stored"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, d := tracked(t)
				began := time.Now()
				go func() {
					time.Sleep(time.Millisecond)
					p := d.page(0)
					if c.full {
						return
					}
					if p.now.Store(uint32(router.Stored)); c.told > 0 {
						time.Sleep(c.told - time.Millisecond)
						close(p.over)
					}
				}()
				if c.full {
					h.TrackBy(full{d})
				}
				one := call{body: toBob, headers: []string{"Prefer: " + c.prefer, "Accept: application/json", "Idempotency-Key: k"}}
				w := h.do(one)
				if took := time.Since(began); took != c.took {
					t.Errorf("took %s", took)
				}
				if got := w.Header()["Preference-Applied"]; !slices.Equal(got, c.applied) {
					t.Errorf("applied %q", got)
				}
				if !strings.Contains(w.Body.String(), `"accepted":1`) || !strings.Contains(w.Body.String(), `"outcome":"`+c.outcome+`"`) {
					t.Errorf("answer %s", w.Body)
				}
				again := h.do(one)
				if again.Body.String() != w.Body.String() || again.Header().Get("Idempotency-Replayed") != "true" {
					t.Errorf("the repetition got %s", again.Body)
				}
				synctest.Wait()
				time.Sleep(time.Minute)
			})
		})
	}
}

// full is a diary at which too many wait.
type full struct{ *diary }

func (f full) Begin(s posting.Sent, n int, to func(int) jid.JID) posting.Tracking {
	p := f.diary.Begin(s, n, to).(*page)
	p.over = nil
	return p
}

func TestPostsAreToldToTheirOwner(t *testing.T) {
	h, d := tracked(t)
	must(t, h.who.Grant(t.Context(), jid.MustParse("skel@"+host), "admin"))
	get := func(user, path string) *httptest.ResponseRecorder {
		h.t.Helper()
		return h.do(call{method: "GET", path: path, user: user})
	}
	const one = `{"id":"m-0000000000000001","account":"andy@im.example.org","sender":"andy@im.example.org","message_id":"x",` +
		`"at":"2026-11-29T12:00:00.005Z","total":3,"outcomes":{"taken":2,"bounced":1},"recipients":[{"jid":"bob@im.example.org",` +
		`"outcome":"bounced","reason":"gone","at":"2026-11-29T12:00:00.005Z"}],"next":1}`
	if w := get("andy", "/api/1.0/posts/m-0000000000000001"); w.Code != 200 || w.Body.String() != one+"\n" {
		t.Errorf("answer %d %s", w.Code, w.Body)
	}
	list := `{"posts":[` + one + `,` + strings.Replace(strings.Replace(one, "1\",\"acc", "2\",\"acc", 1), `,"next":1`, "", 1) +
		`],"next":"c1-2"}` + "\n"
	if w := get("andy", "/api/1.0/posts"); w.Code != 200 || w.Body.String() != list {
		t.Errorf("answer %d %s", w.Code, w.Body)
	}
	for _, q := range [][2]string{
		{"andy", "/api/1.0/posts/m-0000000000000001?first=7&limit=5000"}, {"skel", "/api/1.0/posts/m-0000000000000001?account=ANDY@" + host},
		{"skel", "/api/1.0/posts?account=api%20account%20robot&limit=1&recipients=0&since=1970-01-01T00:00:07Z"},
		{"andy", "/api/1.0/posts?since=c1-2&account=andy@" + host},
	} {
		if w := get(q[0], q[1]); w.Code != 200 {
			t.Errorf("%s: %d %s", q[1], w.Code, w.Body)
		}
	}
	want := []string{`"andy@im.example.org" m-0000000000000001 0 1000`, `"andy@im.example.org" 0 "" 100 10`,
		`"andy@im.example.org" m-0000000000000001 7 5000`, `"andy@im.example.org" m-0000000000000001 0 1000`, `"api account robot" 7 "" 1 0`,
		`"andy@im.example.org" 0 "c1-2" 100 10`}
	if !slices.Equal(d.asked, want) {
		t.Errorf("asked for %q", d.asked)
	}
}

// askedFor are the ways in which a question about posts is answered.
var askedFor = []struct {
	status int // for the reader
	play   func(h *house, d *diary, c call)
}{
	{200, func(h *house, _ *diary, c call) { h.do(c) }},
	{400, func(h *house, _ *diary, c call) { c.path += "?x=1"; h.do(c) }},
	{401, func(h *house, _ *diary, c call) { c.user = "-"; h.do(c) }},
	{403, func(h *house, _ *diary, c call) { c.path += "?account=bob@" + host; h.do(c) }},
	{404, func(h *house, d *diary, c call) { d.off = true; h.do(c) }},
	{429, func(h *house, _ *diary, c call) {
		c.password = "wrong"
		for range 6 {
			h.do(c)
		}
	}},
	{500, func(h *house, d *diary, c call) { h.TrackBy(broken{d}); h.do(c) }},
	{503, func(h *house, d *diary, c call) { d.err = storage.ErrUnavailable; h.do(c) }},
}

// broken is a diary that makes the server panic.
type broken struct{ *diary }

func (broken) On() bool { panic("for a test") }

func TestQuestionsThatCannotBeAreRefused(t *testing.T) {
	h, _ := tracked(t)
	for path, code := range map[string]int{
		"/api/1.0/posts?limit=0": 400, "/api/1.0/posts?limit=501": 400, "/api/1.0/posts?limit=x": 400, "/api/1.0/posts?recipients=-1": 400,
		"/api/1.0/posts?since=bad": 400, "/api/1.0/posts?unknown=1": 400, "/api/1.0/posts?limit=1&limit=2": 400, "/api/1.0/posts?%zz": 400,
		"/api/1.0/posts/m-1?first=-1": 400, "/api/1.0/posts/m-1?limit=5001": 400, "/api/1.0/posts/m-1?since=1": 400,
		"/api/1.0/posts/x": 404, "/api/1.0/posts/m-1/": 404, "/api/1.0/posts/": 404, "/api/1.0/posts/m-1?account=bob@" + host: 403,
	} {
		if w := h.do(call{method: "GET", path: path}); w.Code != code {
			t.Errorf("%s: %d %s, not %d", path, w.Code, w.Body, code)
		}
	}
	if w := h.do(call{path: "/api/1.0/posts/m-1"}); w.Code != 405 || w.Header().Get("Allow") != "GET" {
		t.Errorf("POST: %d %q", w.Code, w.Header())
	}
}

func TestAStreamTellsWhatHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, d := tracked(t)
		bob := posting.Became{To: jid.MustParse("bob@" + host), Outcome: router.Taken, At: when}
		d.changes = []posting.Change{{Post: "m-1", Became: bob}, {ID: 7},
			{ID: 8, Post: "m-2", Total: 2, Became: posting.Became{At: when}}, {ID: 9, Post: "m-2", Became: bob}}
		r := call{method: "GET", path: "/api/1.0/posts", headers: []string{"Accept: text/event-stream", "Last-Event-ID: 5"}}.request()
		ctx, cancel := context.WithCancel(r.Context())
		w := httptest.NewRecorder()
		done := make(chan struct{})
		go func() {
			defer close(done)
			h.Handler().ServeHTTP(w, r.WithContext(ctx))
		}()
		time.Sleep(aliveEvery + time.Second)
		synctest.Wait()
		cancel()
		<-done
		const became = `"jid":"bob@im.example.org","outcome":"taken","at":"2026-11-29T12:00:00.005Z"}` + "\n\n"
		want := ": what becomes of posts\n\n" +
			`event: outcome` + "\n" + `data: {"id":"m-1",` + became +
			"id: 7\nevent: ready\ndata: {}\n\n" +
			"id: 8\nevent: post\n" + `data: {"id":"m-2","total":2,"at":"2026-11-29T12:00:00.005Z"}` + "\n\n" +
			"id: 9\nevent: outcome\n" + `data: {"id":"m-2",` + became + ":\n\n"
		if got := w.Body.String(); got != want {
			t.Errorf("the stream is\n%s", got)
		}
		if w.Header().Get("Content-Type") != "text/event-stream" || !w.Flushed {
			t.Errorf("answer %d %q", w.Code, w.Header())
		}
		if !slices.Equal(d.asked, []string{`"andy@im.example.org" 5`}) || d.closed != 1 {
			t.Errorf("asked %q, closed %d", d.asked, d.closed)
		}
	})
}

func TestAStreamEndsWithTheAccountAndInTime(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(h *house)
		took time.Duration
	}{
		"disabled": {func(h *house) { must(t, h.who.SetDisabled(context.Background(), jid.MustParse("andy@"+host), true)) }, aliveEvery},
		"in time":  {func(*house) {}, streamLife},
	} {
		synctest.Test(t, func(t *testing.T) {
			h, _ := tracked(t)
			began := time.Now()
			done := make(chan struct{})
			go func() {
				defer close(done)
				h.do(call{method: "GET", path: "/api/1.0/posts", headers: []string{"Accept: text/event-stream"}})
			}()
			synctest.Wait()
			c.do(h)
			<-done
			if took := time.Since(began); took != c.took {
				t.Errorf("%s: it took %s", name, took)
			}
		})
	}
}

func TestStreamsThatCannotBeAreRefused(t *testing.T) {
	h, d := tracked(t)
	c := call{method: "GET", path: "/api/1.0/posts", headers: []string{"Accept: text/event-stream", "Last-Event-ID: x"}}
	if w := h.do(c); w.Code != http.StatusBadRequest {
		t.Errorf("a bad id: %d %s", w.Code, w.Body)
	}
	c.headers = c.headers[:1]
	for err, code := range map[error]int{posting.ErrStreams: 429, posting.ErrClosed: 503} {
		d.err = err
		if w := h.do(c); w.Code != code || w.Header().Get("Retry-After") == "" {
			t.Errorf("%v: %d %s", err, w.Code, w.Body)
		}
	}
}
