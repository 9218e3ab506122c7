package upload

import (
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"jackdaw/storage"
)

// scheme begins the Authorization header of a slot (RFC 6750 §2.1).
const scheme = "Bearer "

const methods = "OPTIONS, HEAD, GET, PUT"

// A refusal is an answer that is not a file.
type refusal struct {
	status int
	text   string
}

// Handler serves what is below Path.
func (s *Service) Handler() http.Handler { return http.HandlerFunc(s.serve) }

func (s *Service) serve(w http.ResponseWriter, r *http.Request) {
	out := &answer{ResponseWriter: w, rc: http.NewResponseController(w), stall: s.o.Settings().Stall, began: time.Now()}
	defer func() {
		if x := recover(); x != nil {
			s.Stats.Panics.Add(1)
			s.o.Log.Error("panic in a request over HTTP", "do", "report it as a fault of jackdaw, with this line",
				"panic", x, "stack", string(debug.Stack()))
			s.refuse(out, r, &refusal{http.StatusInternalServerError, "Internal server error."})
		}
		s.Stats.answered(r.Method, out.status)
	}()
	h := out.Header()
	// Web clients of other domains send and fetch too (§ Implementation Notes). No cookies are used, so that everybody
	// may.
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	// § Security: nothing that a user made is run.
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none';")
	h.Set("X-Content-Type-Options", "nosniff")
	id, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, Path), "/")
	var bad *refusal
	switch r.Method {
	case http.MethodOptions:
		h.Set("Access-Control-Allow-Methods", methods)
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Range")
		h.Set("Access-Control-Max-Age", "86400")
		out.WriteHeader(http.StatusNoContent)
	case http.MethodGet, http.MethodHead:
		bad = s.get(out, r, id, name)
	case http.MethodPut:
		bad = s.put(out, r, id, name)
	default:
		h.Set("Allow", methods)
		bad = &refusal{http.StatusMethodNotAllowed, "Method not allowed."}
	}
	if bad != nil {
		s.refuse(out, r, bad)
	}
}

// refuse answers that nothing came of it.
func (s *Service) refuse(w *answer, r *http.Request, bad *refusal) {
	if w.status != 0 {
		return // too late
	}
	switch bad.status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", strings.TrimSpace(scheme)) // RFC 9110 §11.6.1
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "30")
	}
	if r.Method == http.MethodPut && r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close") // what is left of the body is not read
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(bad.status)
	if r.Method != http.MethodHead {
		io.WriteString(w, bad.text+"\n") // a client that has gone needs no answer
	}
}

var (
	notFound = &refusal{http.StatusNotFound, "Not found."}
	noPass   = &refusal{http.StatusUnauthorized, "Unauthorized. Use the headers that came with the slot."}
	tryAgain = &refusal{http.StatusServiceUnavailable, "Try again later."}
)

// get serves a file. The name is part of its address, or anybody could give it another.
func (s *Service) get(w *answer, r *http.Request, id, name string) *refusal {
	f, err := s.open(r.Context(), id)
	switch {
	case err == nil:
		s.met(nil)
	case errors.Is(err, fs.ErrNotExist):
		return notFound
	case r.Context().Err() != nil:
		return tryAgain // nobody hears it
	case errors.Is(err, ErrAway):
		s.met(err)
		return tryAgain
	default:
		s.o.Log.Error("file not served", "file", short(id), "error", err,
			"do", "look at where the files lie: the disk of the data directory, or the bucket")
		return &refusal{http.StatusInternalServerError, "Internal server error."}
	}
	defer f.Close()
	if f.Name != name {
		return notFound
	}
	h := w.Header()
	as, show := served(f.Type)
	disposition := "attachment"
	if show {
		disposition = "inline"
	}
	h.Set("Content-Type", as)
	h.Set("Content-Disposition", mime.FormatMediaType(disposition, map[string]string{"filename": f.Name}))
	h.Set("ETag", `"`+id+`"`) // a file never changes
	h.Set("Cache-Control", "private, max-age=86400, immutable")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Access-Control-Expose-Headers", "Accept-Ranges, Content-Disposition, Content-Range, ETag")
	w.size = f.Size
	http.ServeContent(w, r, "", f.Created, f.content())
	return nil
}

// put takes a file (§ Upload).
func (s *Service) put(w *answer, r *http.Request, id, name string) *refusal {
	if r.Header.Get("Content-Range") != "" { // RFC 9110 §14.5
		return &refusal{http.StatusBadRequest, "A part of a file cannot be put."}
	}
	from, bad := s.given(r, id, name)
	if bad != nil {
		return bad
	}
	sl, bad := s.begin(r, id, name, from)
	if bad != nil {
		return bad
	}
	kept := false
	defer func() { s.end(sl, kept) }()
	switch may, err := s.o.May(r.Context(), sl.owner); {
	case err != nil:
		s.o.Log.Warn("file not taken", "account", sl.owner, "error", err)
		return tryAgain
	case !may:
		return &refusal{http.StatusUnauthorized, "The slot is no longer valid."}
	}
	// The claim of this file is counted already.
	if s.reachable() != nil {
		return tryAgain
	}
	if err := s.room(0); err != nil {
		return &refusal{http.StatusInsufficientStorage, "There is no room for files now."}
	}
	kind := sl.kind
	if kind == "" {
		if kind = r.Header.Get("Content-Type"); kind == "" || len(kind) > nameBytes {
			kind = octets
		}
	}
	_ = w.rc.SetWriteDeadline(time.Time{}) // answer sets one when there is something to write; no such deadlines in tests
	if err := s.take(sl, kind, &patient{body: r.Body, w: w, size: sl.size}); err != nil {
		return s.failed(sl, err)
	}
	kept = true
	w.WriteHeader(http.StatusCreated)
	return nil
}

// short is as much of an id as tells files apart without giving them away.
func short(id string) string { return id[:min(len(id), 12)] }

// failed says what went wrong with a file.
func (s *Service) failed(sl *slot, err error) *refusal {
	var body errBody
	switch {
	case errors.Is(err, errDropped):
		return notFound
	case errors.As(err, &body) && errors.Is(err, os.ErrDeadlineExceeded):
		return &refusal{http.StatusRequestTimeout, "Request timeout: the file did not arrive in time."}
	case errors.As(err, &body):
		return &refusal{http.StatusBadRequest, "Bad request: the file is not whole."}
	case errors.Is(err, ErrAway): // said where it was found out
		return tryAgain
	case errors.Is(err, storage.ErrUnavailable), errors.Is(err, context.Canceled):
		s.o.Log.Warn("file not taken", "account", sl.owner, "error", err)
		return tryAgain
	}
	s.o.Log.Error("file not taken", "account", sl.owner, "error", err)
	return &refusal{http.StatusInternalServerError, "Internal server error."}
}

// begin finds the slot of a request, which may be one that another server has given, and marks it as being used, or
// says what is wrong. end follows.
func (s *Service) begin(r *http.Request, id, name string, from *slot) (*slot, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slots[id] == nil && from != nil {
		s.adopt(from)
	}
	sl := s.slots[id]
	if sl == nil || sl.name != name || sl.state == dropped || s.expired(sl, time.Now()) {
		return nil, notFound
	}
	secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), scheme)
	if !ok || subtle.ConstantTimeCompare([]byte(secret), []byte(sl.secret)) == 0 {
		return nil, noPass
	}
	switch {
	case sl.state != waiting:
		return nil, &refusal{http.StatusConflict, "Conflict: the slot is used."}
	case r.ContentLength < 0:
		return nil, &refusal{http.StatusLengthRequired, "Length required."}
	case r.ContentLength > sl.size: // §: must be rejected
		return nil, &refusal{http.StatusRequestEntityTooLarge, "Content too large: the slot is for another size."}
	case r.ContentLength < sl.size:
		return nil, &refusal{http.StatusBadRequest, "Bad request: the slot is for another size."}
	case !sameType(sl.kind, r.Header.Get("Content-Type")):
		return nil, &refusal{http.StatusUnsupportedMediaType, "Unsupported media type: the slot is for another one."}
	}
	if bad := s.occupy(sl); bad != nil {
		return nil, bad
	}
	return sl, nil
}

// occupy marks a slot as being used, or says why it cannot be used now. end follows. The caller holds mu.
func (s *Service) occupy(sl *slot) *refusal {
	if s.closed {
		return tryAgain
	}
	own := 0
	for other := range s.users[sl.owner.String()] {
		if other.state == taking {
			own++
		}
	}
	if own >= atOnce {
		return &refusal{http.StatusTooManyRequests, "Too many files at once."}
	}
	if !storage.Fair(allAtOnce, int64(s.active), int64(own), 1) {
		return tryAgain
	}
	sl.state = taking
	s.active++
	s.claim += sl.size
	s.working.Add(1)
	s.Stats.Active.Add(1)
	return nil
}

// end is the end of what occupy began. A slot whose file did not come may be used again until it expires.
func (s *Service) end(sl *slot, kept bool) {
	s.mu.Lock()
	switch {
	case sl.state == dropped:
	case kept:
		s.drop(sl, used)
	default:
		sl.state = waiting
	}
	s.active--
	s.claim -= sl.size
	s.mu.Unlock()
	s.Stats.Active.Add(-1)
	s.working.Done()
}

// sameType compares what was announced with what comes (§ Upload). Programs add a charset; whoever says nothing
// contradicts nothing.
func sameType(want, got string) bool {
	if want == "" || got == "" {
		return true
	}
	w, _, _ := mime.ParseMediaType(want)
	g, _, err := mime.ParseMediaType(got)
	return err == nil && w == g
}

// patient reads a body from a client that may be slow, but not too slow.
type patient struct {
	body io.Reader
	w    *answer
	size int64
}

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	_ = p.w.rc.SetReadDeadline(p.w.deadline(p.size)) // what has no deadlines is a test
	return p.body.Read(b)
}

// An answer is a ResponseWriter that remembers its status, and has a deadline that moves on as long as it is taken.
type answer struct {
	http.ResponseWriter
	rc     *http.ResponseController
	stall  time.Duration
	began  time.Time
	size   int64 // of what is written, for its deadline
	status int
}

// deadline is when the next bytes must have come or gone, of so many in all.
func (w *answer) deadline(size int64) time.Time {
	next, last := time.Now().Add(w.stall), w.began.Add(grace+time.Duration(size/slowest)*time.Second)
	if last.Before(next) {
		return last
	}
	return next
}

// WriteHeader implements http.ResponseWriter.
func (w *answer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
		// A file that took its time has used up the time of its answer.
		_ = w.rc.SetWriteDeadline(time.Now().Add(w.stall)) // what has no deadlines is a test
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (w *answer) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.size > 0 {
		_ = w.rc.SetWriteDeadline(w.deadline(w.size)) // as above
	}
	return w.ResponseWriter.Write(b)
}
