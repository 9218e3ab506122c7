package httpmessage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"mime"
	"net/http"
	"time"

	"jackdaw/modules/internal/mam"
	"jackdaw/storage"
)

// answerSpace holds the first answers to requests with an Idempotency-Key: the owner is the account, the Dedup value
// the key.
const answerSpace = "httpmessage"

// answerFor is how long a first answer is given again: longer than recipients tell repetitions from new messages
// (storage.DedupWindow), so that a key that is used again later sends a message that nobody takes for the first one.
const answerFor = 2 * storage.DedupWindow

// sweepEvery is how often expired answers are removed.
const sweepEvery = time.Hour

// maxAnswers is how many bytes of answers are kept for one account; beyond, its oldest go. Their messages are still
// told from repetitions by their recipients' logs, for storage.DedupWindow.
const maxAnswers = 16 << 20

const maxKey = 255

// An answer is one of 200 that was given, kept for whoever asks again.
type answer struct {
	hash   [sha256.Size]byte // of the request
	status int
	media  byte // one of answerMedia
	prefer bool // Preference-Applied was sent
	body   []byte
}

const answerFormat = 1 // the version byte of a kept answer

// answerMedia are the values of Content-Type by their place in a kept answer.
var answerMedia = [...][]string{typeHTML, typeJSON}

func (a *answer) encode() []byte {
	b := make([]byte, 0, 3+len(a.hash)+len(a.body))
	flags := a.media
	if a.prefer {
		flags |= 0x80
	}
	b = append(b, answerFormat, flags)
	b = append(b, a.hash[:]...)
	return append(b, a.body...)
}

func decodeAnswer(b []byte) (*answer, error) {
	a := &answer{status: http.StatusOK}
	if len(b) < 2+len(a.hash) || b[0] != answerFormat || int(b[1]&0x7f) >= len(answerMedia) {
		return nil, errors.New("decode a kept answer: unknown format")
	}
	a.media, a.prefer = b[1]&0x7f, b[1]&0x80 != 0
	b = b[2:]
	a.body = b[copy(a.hash[:], b):]
	return a, nil
}

func (a *answer) write(w http.ResponseWriter) {
	h := w.Header()
	h["Idempotency-Replayed"] = yes
	if a.prefer {
		h["Preference-Applied"] = lenientOnly
	}
	h["Content-Type"] = answerMedia[a.media]
	w.WriteHeader(a.status)
	w.Write(a.body) // a client that has gone needs no answer
}

// enter reads the key of the request: see once.
func (p *post) enter() *refusal {
	keys := p.r.Header["Idempotency-Key"]
	if len(keys) != 1 || !isKey(keys[0]) {
		return badRequest("Idempotency-Key must be one value of 1 to 255 visible characters.")
	}
	p.hash = p.fingerprint()
	x, err := p.once(p.r.Context(), keys[0])
	if err != nil {
		return p.failed(err)
	}
	return x
}

// once claims the key for a message with d.hash, or finds the first answer. Without an error, a refusal or a replay,
// leave must follow.
func (d *delivery) once(ctx context.Context, key string) (*refusal, error) {
	if !d.s.claim(d.account, key) {
		return problem(http.StatusConflict, "Conflict: a request with this Idempotency-Key is under way."), nil
	}
	a, err := d.s.first(ctx, d.account, key)
	if err == nil && a == nil {
		d.key = key
		return nil, nil
	}
	d.s.unclaim(d.account, key)
	switch {
	case err != nil:
		return nil, err
	case a.hash != d.hash:
		return problem(http.StatusUnprocessableEntity,
			"Unprocessable content: this Idempotency-Key was used with another request."), nil
	}
	d.replay = a
	return nil, nil
}

func (d *delivery) leave() { d.s.unclaim(d.account, d.key) }

func isKey(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != "" && len(s) <= maxKey
}

// fingerprint tells requests apart: by path, sender and body. Its parts cannot run into each other, since none but the
// last may hold a zero byte.
func (p *post) fingerprint() (sum [sha256.Size]byte) {
	h := sha256.New()
	kind, body := "xml", p.body // a form of curl's default type cannot be taken for XML
	switch p.media {
	case mediaJSON:
		kind = "json"
	case mediaMultipart: // whoever repeats it may have another boundary
		kind = "multipart"
		_, params, _ := mime.ParseMediaType(p.r.Header.Get("Content-Type"))
		if b := params["boundary"]; b != "" {
			body = bytes.ReplaceAll(body, []byte(b), nil)
		}
	}
	for _, part := range [...]string{p.r.URL.Path, p.account, kind} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	h.Write(body)
	h.Sum(sum[:0])
	return sum
}

func (s *Service) claim(account, key string) bool {
	name := account + "\n" + key
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flying[name] {
		return false
	}
	s.flying[name] = true
	return true
}

func (s *Service) unclaim(account, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flying, account+"\n"+key)
}

// first returns the first answer to a request with this key, nil if there is none.
func (s *Service) first(ctx context.Context, account, key string) (*answer, error) {
	r, written, err := s.answers.Lookup(ctx, account, key)
	if err == nil {
		// It is given again, so it is an acknowledgement, too. What it tells of was durable before it.
		limited, cancel := context.WithTimeout(ctx, patience)
		err = written.Wait(limited)
		cancel()
	}
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case time.Since(r.Time()) > answerFor:
		return nil, nil
	}
	return decodeAnswer(r.Data)
}

// keep remembers the answer. It comes after the message is durable: else a crash between the two could leave an answer
// for a message that was lost.
func (d *delivery) keep() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	id, _, pending, err := mam.Append(ctx, d.s.answers, d.account, storage.Record{Data: d.given()},
		storage.AppendOptions{Dedup: d.key, MaxBytes: maxAnswers})
	if err != nil {
		return err
	}
	if err := pending.Wait(ctx); err != nil {
		return err
	}
	d.kept = id
	d.s.sweep()
	return nil
}

// amend remembers what the answer has become since keep: one that was waited for tells more.
func (d *delivery) amend() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	pending, err := d.s.answers.Replace(ctx, d.account, d.kept, d.given())
	if err != nil {
		return err
	}
	return pending.Wait(ctx)
}

// given is the answer as it is kept.
func (d *delivery) given() []byte {
	a := answer{hash: d.hash, prefer: d.lenient, body: d.success()}
	if d.shape != shapeText {
		a.media = 1
	}
	return a.encode()
}

// sweep removes expired answers from time to time, beside the request that found it due.
func (s *Service) sweep() {
	now := time.Now()
	last := s.swept.Load()
	if now.Unix()-last < int64(sweepEvery/time.Second) || !s.swept.CompareAndSwap(last, now.Unix()) {
		return
	}
	before := storage.IDAt(now.Add(-answerFor))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var owners []string
	err := s.answers.Owners(ctx, func(owner string) bool {
		owners = append(owners, owner)
		return true
	})
	for _, owner := range owners {
		if err != nil {
			break
		}
		_, err = s.answers.Trim(ctx, owner, before)
	}
	if err != nil {
		s.o.Log.Warn("remove expired answers of http posts", "err", err)
	}
}
