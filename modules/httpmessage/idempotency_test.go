package httpmessage

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/storage"
)

func TestSameKeyGivesTheFirstAnswerAndSendsNothing(t *testing.T) {
	h := newHouse(t)
	bob := h.online("bob@" + host + "/phone")
	c := call{body: toBob, headers: []string{"Idempotency-Key: \"8e03978e\"", "Accept: application/json"}}
	first := h.do(c)
	if first.Code != 200 || first.Header().Get("Idempotency-Replayed") != "" {
		t.Fatalf("answer %d %q", first.Code, first.Header())
	}
	for range 2 {
		again := h.do(c)
		if again.Code != 200 || again.Body.String() != first.Body.String() ||
			again.Header().Get("Content-Type") != first.Header().Get("Content-Type") ||
			again.Header().Get("Idempotency-Replayed") != "true" {
			t.Errorf("answer %d %s %q", again.Code, again.Body, again.Header())
		}
		h.open() // also after a restart
	}
	if got := bob.received(); len(got) != 1 {
		t.Errorf("bob got %q", got)
	}

	// The key is the account's.
	c.user = "skel@" + host
	if w := h.do(c); w.Code != 200 || w.Header().Get("Idempotency-Replayed") != "" {
		t.Errorf("answer %d %q", w.Code, w.Header())
	}
	if got := bob.received(); len(got) != 2 {
		t.Errorf("bob got %q", got)
	}
}

func TestKeyIsOfOneRequest(t *testing.T) {
	h := newHouse(t)
	key := "Idempotency-Key: k"
	if w := h.do(call{body: toBob, headers: []string{key}}); w.Code != 200 {
		t.Fatalf("answer %d", w.Code)
	}
	for _, c := range []call{
		{body: strings.Replace(toBob, "yo", "hi", 1), headers: []string{key}},
		{body: toBob + " ", headers: []string{key}},
		{body: toBob, headers: []string{key, jsonType}},
	} {
		if w := h.do(c); w.Code != 422 {
			t.Errorf("answer %d %s", w.Code, w.Body)
		}
	}
	if got := h.stored("bob@" + host); len(got) != 1 {
		t.Errorf("bob has %q", got)
	}
}

func TestRefusalIsNotRemembered(t *testing.T) {
	h := newHouse(t)
	c := call{body: `<message to="late@im.example.org"><body>yo</body></message>`, headers: []string{"Idempotency-Key: k"}}
	if w := h.do(c); w.Code != 403 {
		t.Fatalf("answer %d", w.Code)
	}
	h.engine.users.list["late@"+host] = storage.Account{User: "late@" + host}
	if w := h.do(c); w.Code != 200 || w.Header().Get("Idempotency-Replayed") != "" {
		t.Errorf("answer %d %q", w.Code, w.Header())
	}
}

func TestCrashBeforeTheAnswerIsKeptDoublesNothing(t *testing.T) {
	h := newHouse(t)
	c := call{body: list("bob@"+host, "skel@"+host), headers: []string{"Idempotency-Key: k"}}
	if w := h.do(c); w.Code != 200 {
		t.Fatalf("answer %d", w.Code)
	}
	_, err := h.answers.DeleteOwner(t.Context(), "andy@"+host) // as if it had not been written
	must(t, err)
	h.open()
	if w := h.do(c); w.Code != 200 || w.Header().Get("Idempotency-Replayed") != "" {
		t.Errorf("answer %d %q", w.Code, w.Header())
	}
	for _, user := range []string{"bob@" + host, "skel@" + host} {
		if got := h.stored(user); len(got) != 1 {
			t.Errorf("%s has %q", user, got)
		}
	}
	// Another message with the key is none of the recipients' repetitions.
	_, err = h.answers.DeleteOwner(t.Context(), "andy@"+host)
	must(t, err)
	c.body = strings.Replace(c.body, "yo", "hi", 1)
	if w := h.do(c); w.Code != 200 {
		t.Errorf("answer %d", w.Code)
	}
	if got := h.stored("bob@" + host); len(got) != 2 {
		t.Errorf("bob has %q", got)
	}
}

func TestAnswerThatCannotBeKeptIsNotGiven(t *testing.T) {
	h := newHouse(t)
	c := call{body: toBob, headers: []string{"Idempotency-Key: k"}}
	h.answers = failing{h.answers}
	if w := h.do(c); w.Code != 503 {
		t.Errorf("answer %d", w.Code)
	}
	h.open()
	if w := h.do(c); w.Code != 200 {
		t.Errorf("answer %d", w.Code)
	}
	if got := h.stored("bob@" + host); len(got) != 1 {
		t.Errorf("bob has %q", got)
	}
}

type failing struct{ storage.Log }

func (failing) Append(
	context.Context, string, storage.Record, storage.AppendOptions,
) (uint64, bool, *storage.Pending, error) {
	return 0, false, nil, storage.ErrUnavailable
}

// A repetition is acknowledged with the first answer, so that must be durable, too.
func TestFirstAnswerIsGivenAgainOnceItIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		c := call{body: toBob, headers: []string{"Idempotency-Key: k"}}
		if w := h.do(c); w.Code != 200 {
			t.Fatalf("answer %d", w.Code)
		}
		whole := h.answers
		lost := storage.NewPending()
		lost.Finish(storage.ErrUnavailable)
		h.answers = found{whole, lost}
		if w := h.do(c); w.Code != 503 {
			t.Errorf("answer %d, though the first one is lost", w.Code)
		}
		written := storage.NewPending()
		h.answers = found{whole, written}
		done := make(chan int, 1)
		go func() { done <- h.do(c).Code }()
		synctest.Wait()
		if len(done) > 0 {
			t.Errorf("answer %d before the first one is durable", <-done)
		}
		written.Finish(nil)
		if code := <-done; code != 200 {
			t.Errorf("answer %d", code)
		}
	})
}

// found has what it finds rest on a write.
type found struct {
	storage.Log
	p *storage.Pending
}

func (f found) Lookup(ctx context.Context, owner, dedup string) (storage.Record, *storage.Pending, error) {
	r, _, err := f.Log.Lookup(ctx, owner, dedup)
	return r, f.p, err
}

// trimmed records what is asked of it.
type trimmed struct {
	storage.Log
	before map[string]uint64
}

func (l *trimmed) Trim(_ context.Context, owner string, before uint64) (*storage.Pending, error) {
	l.before[owner] = before
	return nil, nil
}

func TestOldAnswersAreForgottenAndRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		log := &trimmed{h.answers, map[string]uint64{}}
		h.answers = log
		c := call{body: toBob, headers: []string{"Idempotency-Key: k"}}
		if w := h.do(c); w.Code != 200 {
			t.Fatalf("answer %d", w.Code)
		}
		time.Sleep(24 * time.Hour)
		if w := h.do(c); w.Header().Get("Idempotency-Replayed") != "true" {
			t.Error("forgotten after 24 hours")
		}
		time.Sleep(answerFor)
		if w := h.do(c); w.Code != 200 || w.Header().Get("Idempotency-Replayed") != "" {
			t.Error("remembered for ever")
		}
		if got, want := log.before["andy@"+host], storage.IDAt(time.Now().Add(-answerFor)); got != want {
			t.Errorf("trimmed before %d, not %d", got, want)
		}
	})
}

func TestDamagedAnswerIsNoAnswer(t *testing.T) {
	for _, b := range []string{"", "\x01", "\x02" + strings.Repeat("x", 40), "\x01\x7f" + strings.Repeat("x", 40)} {
		if a, err := decodeAnswer([]byte(b)); err == nil {
			t.Errorf("%q is %+v", b, a)
		}
	}
	a := &answer{hash: [32]byte{1, 2}, status: 200, media: 1, prefer: true, body: []byte("x")}
	got, err := decodeAnswer(a.encode())
	if err != nil || got.hash != a.hash || got.media != 1 || !got.prefer || string(got.body) != "x" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAnswersOfOneAccountAreBounded(t *testing.T) {
	h := newHouse(t)
	andy := "andy@" + host
	big := make([]byte, maxAnswers-10)
	log := h.engine.Log(answerSpace)
	if _, _, _, err := log.Append(t.Context(), andy, storage.Record{Data: big}, storage.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if w := h.do(call{body: toBob, headers: []string{"Idempotency-Key: k"}}); w.Code != 200 {
			t.Fatalf("answer %d", w.Code)
		}
	}
	if n, size, err := h.engine.Log(answerSpace).Size(t.Context(), andy); err != nil || n != 1 || size > maxAnswers {
		t.Errorf("%d answers with %d bytes are kept, %v", n, size, err)
	}
}
