package bots

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"jackdaw/modules/internal/outgoing"
	"jackdaw/router/tokens"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

const (
	// PathReplies is what the addresses for late answers begin with; a token follows.
	PathReplies = "/hooks/"
	// replyTime is how long such an address is good, from the last request that has named it.
	replyTime = 30 * time.Minute
	// maxReplies is how many of a bot are good at once; while there are as many, requests have none.
	maxReplies = 5000
	// sweepTime is how often those are forgotten that are good no more.
	sweepTime = 5 * time.Minute
	// sendTime bounds the sending of a late answer.
	sendTime = 10 * time.Second
)

// The token in an address for late answers is the id of the message in the queue and a proof that this server has made
// it: what a request says of it is the same at each try, also after a crash. What a reply needs of the message is in
// storage.
type token [16]byte // 7 bytes of the id, 9 of the proof

// A late is what is stored for late answers to a message.
type late struct {
	queued           // without the stanza
	Named  time.Time `json:"named"` // when a request has named it
}

// replies are the addresses for late answers of a bot.
type replies struct {
	mu    sync.Mutex // guards the rest
	count int        // at most so many are good
	swept time.Time
}

// tokenOf is the token for a message of the queue.
func (b *bot) tokenOf(id uint64) (t token) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], id)
	proof := b.m.o.Derive("bots", b.JID.String(), strconv.FormatUint(id, 10))
	copy(t[:7], n[1:])
	copy(t[7:], proof[:])
	return t
}

func (t token) id() uint64 {
	var n [8]byte
	copy(n[1:], t[:7])
	return binary.BigEndian.Uint64(n[:])
}

// keyOfReply is where it is stored.
func keyOfReply(id uint64) string { return fmt.Sprintf("%016x", id) }

// replyURL is the address for late answers to a message, nil where there is none: nobody reaches this server, there are
// too many, or it cannot be stored.
func (b *bot) replyURL(q *queued, id uint64) *string {
	base := b.m.o.URL(b.JID.Domain())
	if base == "" || !b.mayReply() {
		return nil
	}
	kept := late{queued: *q, Named: time.Now()}
	kept.Stanza = ""
	data, err := write(kept)
	if err == nil {
		_, _, err = b.m.o.Replies.Update(b.m.ctx, b.JID.String(), storage.AnyVersion,
			storage.Change{Key: keyOfReply(id), Value: data})
	}
	if err != nil {
		b.m.o.Log.Warn("a bot gets no address for late answers", "bot", b.JID, "error", err)
		return nil
	}
	address := base + PathReplies + tokens.Of(tokens.KindHook, b.tokenOf(id))
	return &address
}

// mayReply says whether there is room for another address, having forgotten those that are good no more.
func (b *bot) mayReply() bool {
	r := &b.replies
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.count >= maxReplies && now.Sub(r.swept) >= time.Second || now.Sub(r.swept) >= sweepTime {
		r.swept = now
		left, err := b.sweep(now)
		if err != nil {
			b.m.o.Log.Warn("addresses for late answers are not forgotten", "bot", b.JID, "error", err)
			return false
		}
		r.count = left
	}
	if r.count >= maxReplies {
		return false
	}
	r.count++
	return true
}

// sweep forgets the addresses that are good no more, and says how many are left.
func (b *bot) sweep(now time.Time) (left int, err error) {
	entries, _, err := b.m.o.Replies.List(b.m.ctx, b.JID.String())
	if err != nil {
		return 0, err
	}
	var gone []storage.Change
	for _, e := range entries {
		var kept late
		if read(e.Value, &kept) != nil || now.Sub(kept.Named) >= replyTime {
			gone = append(gone, storage.Change{Key: e.Key, Delete: true})
		}
	}
	if len(gone) > 0 {
		_, _, err = b.m.o.Replies.Update(b.m.ctx, b.JID.String(), storage.AnyVersion, gone...)
	}
	return len(entries) - len(gone), err
}

// tokenIn is the bot and the token of a path for late answers; nil: it is none. Others may have addresses that look the
// same, and no proof.
func (m *Bots) tokenIn(path string) (*bot, token) {
	secret, ok := strings.CutPrefix(path, PathReplies)
	if !ok {
		return nil, token{}
	}
	t, ok := tokens.BytesOf(tokens.KindHook, secret)
	all, err := m.bots()
	if !ok || err != nil {
		return nil, token{}
	}
	for _, b := range all {
		if own := b.tokenOf(token(t).id()); subtle.ConstantTimeCompare(own[:], t[:]) == 1 {
			return b, own
		}
	}
	return nil, token{}
}

// Claimed is the account of the bot whose late answers a path is for, "" if it is none. With anew, a bot is found that
// another node has added a moment ago: a path that is good for nothing else costs a read of storage then.
func (m *Bots) Claimed(ctx context.Context, path string, anew bool) string {
	b, _ := m.tokenIn(path)
	if secret, ok := strings.CutPrefix(path, PathReplies); b == nil && anew && ok && !m.o.Router.Alone() {
		if _, ok = tokens.BytesOf(tokens.KindHook, secret); ok && m.lookAfter(ctx, time.Now()) == nil {
			b, _ = m.tokenIn(path)
		}
	}
	if b == nil {
		return ""
	}
	return b.JID.String()
}

// Owns says whether a path is one for late answers of a bot.
func (m *Bots) Owns(path string) bool {
	b, _ := m.tokenIn(path)
	return b != nil
}

// ServeHTTP takes late answers at the paths that Owns knows. A body is as that of an answer in time.
func (m *Bots) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	b, t := m.tokenIn(r.URL.Path)
	switch {
	case b == nil:
		http.NotFound(w, r)
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "use POST", http.StatusMethodNotAllowed)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), sendTime)
	defer cancel()
	status, text := b.answersLate(ctx, t.id(), w, r)
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	if status != http.StatusOK {
		http.Error(w, text, status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, text) // a program that has gone needs no answer
}

// answersLate sends a late answer to a message, and says what the program is told.
func (b *bot) answersLate(ctx context.Context, id uint64, w http.ResponseWriter, r *http.Request) (int, string) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, outgoing.MaxAnswer))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return http.StatusRequestEntityTooLarge, outgoing.ErrLong.Error()
	case err != nil:
		return http.StatusBadRequest, "the answer did not come to its end"
	}
	a, err := readAnswer(http.StatusOK, r.Header.Get("Content-Type"), body)
	if err == nil && len(a.texts) == 0 {
		err = errors.New("it says nothing")
	}
	if err != nil {
		return http.StatusBadRequest, "the answer is not understood: " + err.Error()
	}
	data, err := b.m.o.Replies.Get(ctx, b.JID.String(), keyOfReply(id))
	var kept late
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return http.StatusGone, "this address is good no more"
	case err != nil:
		return http.StatusServiceUnavailable, "this cannot be looked up now, try again later"
	case read(data, &kept) != nil || time.Since(kept.Named) >= replyTime || !b.m.active(b):
		return http.StatusGone, "this address is good no more"
	case b.budget.Wait() > 0, !b.m.admits(b, "late "+keyOfReply(id)):
		return http.StatusServiceUnavailable, "too many answers in a short time, try again later"
	}
	// Without a key each is another; with one, the same once more is sent once.
	name := keyOf(b.JID.String(), id) + "-late-"
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		sum := sha256.Sum256([]byte(key))
		name += hex.EncodeToString(sum[:8])
	} else {
		name += strconv.FormatInt(time.Now().UnixMicro(), 36)
	}
	for i, text := range a.texts {
		var refused errAnswer
		switch err := b.say(ctx, &kept.queued, name+"-"+strconv.Itoa(i+1), text, a.private); {
		case errors.As(err, &refused):
			return http.StatusForbidden, err.Error()
		case err != nil:
			return http.StatusServiceUnavailable, "this cannot be sent now, try again later"
		}
	}
	return http.StatusOK, `{"status":"ok"}` + "\n"
}

// forgetReplies ends all addresses for late answers of an account.
func (m *Bots) forgetReplies(ctx context.Context, user jid.JID) error {
	p, err := m.o.Replies.DeleteOwner(ctx, user.String())
	if err != nil {
		return err
	}
	return p.Wait(ctx)
}
