package bots

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/modules/internal/outgoing"
	"jackdaw/router/tokens"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// asks has ann write to the bot, which says nothing in time, and returns the path for late answers.
func (h *house) asks(id string) string {
	h.t.Helper()
	h.url = "https://example.org:5284"
	h.ann.Send(`<message type='chat' id='` + id + `' to='weather@example.org'><body>a</body><thread>t1</thread></message>`)
	got := h.posted()
	if len(got) != 1 || got[0].ReplyURL == nil {
		h.t.Fatalf("posted was %+v", got)
	}
	path, ok := strings.CutPrefix(*got[0].ReplyURL, h.url)
	if kind, isToken := tokens.KindOf(strings.TrimPrefix(path, "/hooks/")); !ok || !isToken || kind != tokens.KindHook {
		h.t.Fatalf("the address is %s", *got[0].ReplyURL)
	}
	return path
}

// late posts an answer.
func (h *house) late(path, media, body, key string) (int, string) {
	h.t.Helper()
	if !h.bots.Owns(path) {
		h.t.Fatalf("%s is not the bots'", path)
	}
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", media)
	r.Header.Set("Idempotency-Key", key)
	h.bots.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestALateAnswerIsTheReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(Bot{})
		path := h.asks("a1")
		if status, text := h.late(path, "text/plain", "at last", ""); status != http.StatusOK || text != "{\"status\":\"ok\"}\n" {
			t.Errorf("%d %s", status, text)
		}
		got := h.ann.Deliveries()
		if len(got) != 1 {
			t.Fatalf("ann got %d stanzas", len(got))
		}
		moduletest.Same(t, string(got[0].Stanza.Append(nil)), `<message type='chat' id='`+got[0].Stanza.ID+`' from='`+h.full(weather)+`' to='ann@example.org/phone'>
			<body>at last</body><thread>t1</thread><bot xmlns='urn:x-jackdaw:bot:0'/>
			<reply xmlns='urn:xmpp:reply:0' to='ann@example.org/phone' id='a1'/></message>`)
		for _, key := range []string{"k", "k", "other"} {
			h.late(path, "application/json", `{"messages":["b"]}`, key)
		}
		ids := map[string]bool{}
		for _, d := range h.ann.Deliveries() {
			ids[d.Stanza.ID] = true
		}
		if len(ids) != 2 {
			t.Errorf("with two keys there are the ids %v", ids)
		}
	})
}

func TestAnAddressForLateAnswersIsGoodForHalfAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(Bot{})
		path := h.asks("a1")
		time.Sleep(replyTime - time.Second)
		h.end()
		h.open() // a restart changes nothing
		synctest.Wait()
		if status, text := h.late(path, "text/plain", "b", ""); status != http.StatusOK {
			t.Errorf("just before: %d %s", status, text)
		}
		time.Sleep(2 * time.Second)
		if status, _ := h.late(path, "text/plain", "b", ""); status != http.StatusGone {
			t.Errorf("just after: %d", status)
		}
		h.asks("a2") // which has it forgotten
		if n, _, err := h.store.Map("bots-replies").Size(t.Context(), weather.String()); n != 1 || err != nil {
			t.Errorf("%d are kept, %v", n, err)
		}
	})
}

func TestEachTryHasTheSameAddressAndRenewsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(Bot{})
		h.url = "https://example.org"
		h.answers(func(request) (outgoing.Answer, error) { return outgoing.Answer{Status: 503}, nil })
		h.ann.Send(`<message type='chat' id='a1' to='weather@example.org'><body>a</body></message>`)
		time.Sleep(50 * time.Minute)
		got := h.posted()
		for _, r := range got {
			if *r.ReplyURL != *got[0].ReplyURL {
				t.Fatalf("%s, and then %s", *got[0].ReplyURL, *r.ReplyURL)
			}
		}
		if status, text := h.late(strings.TrimPrefix(*got[0].ReplyURL, h.url), "text/plain", "b", ""); status != http.StatusOK {
			t.Errorf("%d %s", status, text)
		}
	})
}

func TestWhatIsWrongWithALateAnswerIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(Bot{})
		path := h.asks("a1")
		for _, row := range []struct {
			media, body string
			status      int
			text        string
		}{
			{"text/plain", "", 400, "says nothing"},
			{"application/json", `{"text":`, 400, "not understood"},
			{"text/html", "<p>", 400, "Content-Type"},
			{"text/plain", strings.Repeat("a", outgoing.MaxAnswer+1), 413, "more than"},
		} {
			if status, text := h.late(path, row.media, row.body, ""); status != row.status || !strings.Contains(text, row.text) {
				t.Errorf("%s of %d bytes: %d %s", row.media, len(row.body), status, text)
			}
		}
		w := httptest.NewRecorder()
		h.bots.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != http.MethodPost {
			t.Errorf("GET: %d", w.Code)
		}
		status := 0
		for range 2 * burst {
			if status, _ = h.late(path, "text/plain", "b", ""); status != http.StatusOK {
				break
			}
		}
		if status != http.StatusServiceUnavailable {
			t.Errorf("without end: %d", status)
		}
		h.off.Store(true)
		if status, _ = h.late(path, "text/plain", "b", ""); status != http.StatusGone {
			t.Errorf("of a disabled bot: %d", status)
		}
	})
}

func TestOnlyThisServerMakesAddressesForLateAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(Bot{})
		path := h.asks("a1")
		real, ok := tokens.BytesOf(tokens.KindHook, strings.TrimPrefix(path, PathReplies))
		if !ok {
			t.Fatal("it is no token")
		}
		for i := range real {
			forged := real
			forged[i] ^= 1
			if h.bots.Owns(PathReplies + tokens.Of(tokens.KindHook, forged)) {
				t.Errorf("with another byte %d it is good", i)
			}
		}
		for _, other := range []string{"/hooks", "/hooks/", "/hooks/ops", PathReplies + tokens.Generate(tokens.KindHook), path + "/x",
			strings.ToUpper(path), "/other" + path} {
			if h.bots.Owns(other) {
				t.Errorf("%s is good", other)
			}
		}
		if err := h.bots.Remove(t.Context(), weather); err != nil {
			t.Fatal(err)
		}
		if h.bots.Owns(path) {
			t.Error("after the bot was removed, it is good")
		}
		if n, _, err := h.store.Map("bots-replies").Size(t.Context(), weather.String()); n != 0 || err != nil {
			t.Errorf("%d are kept, %v", n, err)
		}
	})
}

func TestALateAnswerInARoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.url = "https://example.org"
		h.bot(inGarden())
		h.enters()
		h.from(`<message type='groupchat' id='a1' from='` + garden + `/Ann' to=''><body>!w a</body></message>`)
		got := h.posted()
		path := strings.TrimPrefix(*got[0].ReplyURL, h.url)
		if status, text := h.late(path, "text/plain", "b", ""); status != http.StatusOK {
			t.Errorf("%d %s", status, text)
		}
		said := h.inRooms()
		if len(said) != 1 || said[0].Type != xmpp.TypeGroupchat || said[0].To != jid.MustParse(garden) {
			t.Errorf("to the room came %v", said)
		}
	})
}

func TestWithoutAWayInThereIsNoAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(Bot{})
		h.ann.Send(`<message type='chat' to='weather@example.org'><body>a</body></message>`)
		if got := h.posted(); len(got) != 1 || got[0].ReplyURL != nil {
			t.Errorf("posted was %+v", got)
		}
	})
}
