package hooks

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"jackdaw/modules/hooks/notice"
	"jackdaw/router/accounts"
	"jackdaw/router/tokens"
	"jackdaw/web"
)

const (
	// maxHeld is how many bytes of bodies are held at a time, of all requests.
	maxHeld = 64 << 20
	// bigBody is where a body is big: what is made of it takes some room, so that few are read at a time.
	bigBody    = 256 << 10
	bigsAtOnce = 2
	// maxStranger is how much is read of a body that has to say first which hook it is for, of nobody in particular.
	maxStranger = 16 << 10
	// openEvery and openBurst are how fast a hook may be used without a token.
	openEvery = time.Second
	openBurst = 60
	maxKey    = 255
	maxReason = 300 // characters of it in the log
)

// A problem is an answer other than 200.
type problem struct {
	outcome Outcome
	status  int
	word    string // of a notice.Mistake
	text    string
	retry   int    // seconds, of 503
	allow   string // of 405
}

func unauthorized(text string) *problem {
	return &problem{outcome: Unauthorized, status: http.StatusUnauthorized, text: text}
}

func later(text string) *problem {
	return &problem{outcome: Unavailable, status: http.StatusServiceUnavailable, text: text, retry: retrySeconds}
}

func invalid(status int, text string) *problem {
	return &problem{outcome: Invalid, status: status, text: text}
}

// errNotNow is the answer where storage is away.
const errNotNow = "the hook cannot be looked up now: try again later"

// A call is one request on its way.
type call struct {
	s      *Hooks
	w      http.ResponseWriter
	r      *http.Request
	set    Settings
	client web.Client
	source accounts.Source
	way    way

	token   *tokens.Token // nil: an open hook
	hook    *Hook         // nil: not known yet
	face    *notice.Face  // nil: likewise
	limit   int           // of the body
	body    []byte
	hasBody bool
	held    int64
	request *notice.Request
	reading *notice.Reading
	result  Result
}

// ServeHTTP answers a request that Owns says is one for hooks.
func (s *Hooks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer") // the address is a secret
	h.Set("X-Content-Type-Options", "nosniff")
	c := &call{s: s, w: w, r: r, set: s.o.Settings(), way: s.wayOf(r)}
	defer c.recovered()
	c.client = web.ClientOf(r, c.set.TrustedProxies)
	// Loopback by hearsay is not exempt.
	c.source = accounts.Source{Addr: c.client.Addr,
		Exempt: c.client.Unix || !c.client.Forwarded && c.client.Addr.IsLoopback()}
	if c.asked() {
		return
	}
	p := c.run()
	s.held.Add(-c.held)
	c.answer(p)
}

// recovered answers for a panic of ours, without the path.
func (c *call) recovered() {
	x := recover()
	if x == nil {
		return
	}
	c.s.held.Add(-c.held)
	c.s.Stats.Panics.Add(1)
	c.s.o.Log.Error("panic in a request to a hook", "do", "report it as a fault of jackdaw, with this line",
		"hook", c.name(), "panic", x, "stack", string(debug.Stack()))
	c.w.Header().Set("Connection", "close")
	c.reading, c.face = nil, nil // they may be why
	c.answer(&problem{outcome: Unavailable, status: http.StatusInternalServerError, text: "internal server error"})
}

func (c *call) name() string {
	switch {
	case c.hook != nil:
		return c.hook.Name
	case c.token != nil: // the hook is gone, or was not looked up
		return c.token.Hook
	}
	return ""
}

// asked answers what programs for Gotify and ntfy look at before they post. It says nothing of hooks.
func (c *call) asked() bool {
	if c.r.Method != http.MethodGet {
		return false
	}
	body := ""
	switch c.r.URL.Path {
	case pathGotify + "/version":
		body = `{"version":"2.6.3","commit":"","buildDate":""}`
	case pathGotify + "/health":
		body = `{"health":"green","database":"green"}`
	case pathNtfy + pathHealth, pathHealth:
		body = `{"healthy":true}`
	default:
		return false
	}
	c.w.Header().Set("Content-Type", "application/json")
	io.WriteString(c.w, body+"\n") // a program that has gone needs no answer
	return true
}

// run does the checks in their order; the first that fails answers.
func (c *call) run() *problem {
	c.limit = c.set.MaxBody
	if f := notice.Find(c.way.face); f != nil {
		c.face = f
	}
	for _, check := range [...]func() *problem{c.address, c.open, c.find, c.kind, c.method, c.read, c.verify} {
		if p := check(); p != nil {
			return p
		}
	}
	// Some programs wait for an answer no longer than 4 s, so all waiting has one end.
	ctx, cancel := context.WithTimeout(c.r.Context(), patience)
	defer cancel()
	g, ok := c.s.enter(ctx, c.hook.ID)
	if !ok {
		return later("too many requests to this hook at once: try again later")
	}
	defer g.leave()
	if c.token == nil && !g.afford(time.Now()) {
		return later("this hook is used too often: try again later")
	}
	if !c.s.slot(ctx, len(c.body)) {
		return later("too many requests to hooks at once: try again later")
	}
	defer c.s.release(len(c.body))
	if p := c.understand(); p != nil {
		return p
	}
	return c.send(g)
}

// afford is the generic cell rate algorithm: each use puts off by one the time when all of the burst is there again.
func (g *gate) afford(now time.Time) bool {
	if g.full.Before(now) {
		g.full = now
	}
	if g.full.Add(openEvery).Sub(now) > openBurst*openEvery {
		return false
	}
	g.full = g.full.Add(openEvery)
	return true
}

// slot takes the place of a request that is read and sent, once there is one before ctx ends.
func (s *Hooks) slot(ctx context.Context, body int) bool {
	if body >= bigBody {
		select {
		case s.bigs <- struct{}{}:
		case <-ctx.Done():
			return false
		}
	}
	select {
	case s.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		if body >= bigBody {
			<-s.bigs
		}
		return false
	}
}

func (s *Hooks) release(body int) {
	<-s.slots
	if body >= bigBody {
		<-s.bigs
	}
}

// address refuses what is no address of a hook.
func (c *call) address() *problem {
	if !c.way.known {
		return invalid(http.StatusNotFound, "there is nothing here: a hook takes messages at /hooks/TOKEN, "+
			"/hooks/TOKEN/KIND, /gotify/message and /ntfy/NAME")
	}
	switch c.r.Method {
	case http.MethodPost, http.MethodPut, http.MethodGet:
		return nil
	}
	return &problem{outcome: Invalid, status: http.StatusMethodNotAllowed, text: "a hook takes POST, PUT and maybe GET",
		allow: "POST, PUT, GET"}
}

// open finds out who is there.
func (c *call) open() *problem {
	secret := c.way.secretOf(c.r)
	if secret == "" {
		return nil // find says whether that is enough
	}
	t, err := c.s.o.Tokens.Open(c.r.Context(), secret, c.source)
	var slow accounts.ErrThrottled
	var fast tokens.TooFast
	switch {
	case err == nil:
		c.token = &t
		web.Authenticated(c.r)
		if t.MaxBytes > 0 {
			c.limit = min(c.limit, t.MaxBytes)
		}
		return nil
	case errors.As(err, &slow):
		p := later("too many failed logins from this address: try again later")
		p.outcome, p.retry = Unauthorized, slow.Seconds()
		return p
	case errors.As(err, &fast):
		c.token = &fast.Token // for the log: an administrator looks for who it is
		p := later("the token is used too often: try again later")
		p.retry = fast.Seconds()
		return p
	case tokens.Wrong(err):
		return unauthorized("the token is not good")
	}
	return later(errNotNow)
}

// find finds the hook.
func (c *call) find() *problem {
	name := c.way.topic
	switch {
	case c.token != nil && c.token.Hook != "":
		name = c.token.Hook
		if c.way.topic != "" && c.way.topic != name {
			return &problem{outcome: Unauthorized, status: http.StatusForbidden, text: "the token is for another hook"}
		}
	case name == "" && c.way.root: // the body has it
		if c.token == nil {
			c.limit = min(c.limit, maxStranger)
		}
		if p := c.read(); p != nil {
			return p
		}
		body := &notice.Request{Media: "application/json", Body: c.body}
		if o, err := body.Object(); err == nil {
			name = o.String("topic")
		}
	}
	if name == "" || !isName(name) {
		return unauthorized("no token: it stands in the path, in Authorization, or where this program has its own")
	}
	h, err := c.s.Get(c.r.Context(), name)
	switch {
	case errors.Is(err, ErrNoHook):
		return unauthorized("the token is not good")
	case err != nil:
		return later(errNotNow)
	case c.token == nil:
		if !h.Open || c.way.face != faceNtfy {
			return unauthorized("no token: it stands in the path, in Authorization, or where this program has its own")
		}
	case h.Owner != c.token.Owner:
		return unauthorized("the token is not good")
	case c.token.Kind == tokens.KindAccount && !c.token.Scopes.Hook(h.Name):
		return &problem{outcome: Unauthorized, status: http.StatusForbidden, text: "the token is not for this hook"}
	}
	c.hook = &h
	return nil
}

// kind finds the face, if it is known before the body.
func (c *call) kind() *problem {
	fixed := notice.Find(c.hook.Kind)
	switch {
	case fixed == nil: // it is found out
	case c.face == nil || c.way.face == faceRocketChat && c.way.fixed:
		c.face = fixed
	case c.face != fixed && !slices.Contains(fixed.Also, c.face.Name):
		return invalid(http.StatusBadRequest, "this hook takes what "+fixed.Name+" sends, and not what "+c.face.Name+" does")
	}
	return nil
}

// method says whether a GET is one that sends: programs and people follow links.
func (c *call) method() *problem {
	if c.r.Method != http.MethodGet || c.hook.Get {
		return nil
	}
	looks := c.face != nil && c.face.Looks
	if c.face == nil && c.r.URL.RawQuery == "" {
		for _, name := range notice.Names() {
			if f := notice.Find(name); f.Looks {
				c.face, looks = f, true
				break
			}
		}
	}
	if looks {
		return nil
	}
	return &problem{outcome: Invalid, status: http.StatusMethodNotAllowed, allow: "POST, PUT",
		text: "this hook takes no GET: make it with --get if a program cannot do otherwise"}
}

// read reads the body, once.
func (c *call) read() *problem {
	if c.hasBody {
		return nil
	}
	tooLarge := invalid(http.StatusRequestEntityTooLarge, "the body is larger than "+strconv.Itoa(c.limit)+" bytes")
	switch {
	case c.r.ContentLength > int64(c.limit):
		return tooLarge
	case c.r.Header.Get("Content-Encoding") != "" && !strings.EqualFold(c.r.Header.Get("Content-Encoding"), "identity"):
		return invalid(http.StatusUnsupportedMediaType, "the body is compressed, which is not taken")
	}
	size := c.r.ContentLength
	if size < 0 {
		size = int64(c.limit)
	}
	c.held = size
	if c.s.held.Add(size) > maxHeld {
		return later("too many large requests at once: try again later")
	}
	// Not every transport can: a test's recorder has nothing to wait for.
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Now().Add(c.set.BodyTime))
	b, err := io.ReadAll(io.LimitReader(c.r.Body, int64(c.limit)+1))
	switch {
	case len(b) > c.limit:
		return tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return invalid(http.StatusRequestTimeout, "the body did not arrive in "+c.set.BodyTime.String())
	case err != nil:
		return invalid(http.StatusBadRequest, "the body cannot be read to its end")
	}
	c.body, c.hasBody = b, true
	return nil
}

// verify checks the signature, where the hook wants one.
func (c *call) verify() *problem {
	if c.hook.HMAC == "" || signed(c.r.Header, c.body, c.hook.HMAC, time.Now()) {
		return nil
	}
	if p := c.payload(); p != "" && signed(c.r.Header, []byte(p), c.hook.HMAC, time.Now()) {
		return nil
	}
	return unauthorized("this hook takes signed requests, and the signature is missing or wrong: " +
		strings.Join(signatures[:], ", "))
}

// understand makes notices of the request.
func (c *call) understand() *problem {
	media, params, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil {
		media, _, _ = strings.Cut(c.r.Header.Get("Content-Type"), ";")
		media, params = strings.ToLower(strings.TrimSpace(media)), nil
	}
	header, query := shown(c.r)
	c.request = &notice.Request{Method: c.r.Method, Header: header, Query: query, Rest: c.way.rest, Media: media,
		Params: params, Body: c.body, Rename: c.hook.Renames}
	if c.face == nil {
		if c.face, err = notice.Guess(c.request); err != nil {
			return mistaken(err)
		}
	}
	reading, err := c.face.Read(c.request)
	if err != nil {
		return mistaken(err)
	}
	if reading.Event != "" && len(c.hook.Events) > 0 && !slices.Contains(c.hook.Events, reading.Event) {
		reading.Notices, reading.Ignored = nil, "this hook does not show "+reading.Event
	}
	c.reading = &reading
	return nil
}

func mistaken(err error) *problem {
	var m *notice.Mistake
	if !errors.As(err, &m) {
		return invalid(http.StatusBadRequest, "the body cannot be read")
	}
	p := invalid(m.Status, m.Text)
	p.word = m.Word
	return p
}

// send sends what there is.
func (c *call) send(g *gate) *problem {
	d := &delivery{hook: c.hook, source: c.source, gate: g}
	if keys := c.r.Header["Idempotency-Key"]; len(keys) == 1 && len(keys[0]) <= maxKey {
		d.key = keys[0] // GitLab has one
	}
	if c.hook.Template != "" {
		d.data = c.data()
	}
	shown := slices.DeleteFunc(c.reading.Notices, func(n notice.Notice) bool { return n.Empty() })
	if c.r.Method == http.MethodGet && !c.hook.Get { // it only looks
		shown = nil
	}
	c.result = c.s.send(c.r.Context(), d, shown)
	if c.reading.Ignored == "" && (c.result.Outcome == Ignored || c.result.Outcome == Repeated) {
		c.reading.Ignored = c.result.Reason
	}
	switch c.result.Outcome {
	case Unavailable:
		p := later(c.result.Reason)
		p.retry = c.result.Retry
		return p
	case Refused:
		return &problem{outcome: Refused, status: http.StatusForbidden, text: c.result.Reason}
	}
	return nil
}

// data is what the template of the hook works on: the JSON of the request, else its fields and its text.
func (c *call) data() any {
	if o, err := c.request.Object(); err == nil {
		return o
	}
	o := notice.Object{"text": string(c.body)}
	form, _, _ := c.request.Form() // what is no form has no fields
	for _, fields := range []map[string][]string{c.request.Query, form} {
		for name, values := range fields {
			o[name] = values[0]
		}
	}
	return o
}

// answer tells the program what became of its request, in its own words, and writes the line in the log.
func (c *call) answer(p *problem) {
	o := &notice.Outcome{Status: http.StatusOK, ID: c.result.Post, Serial: c.result.Serial, Hook: c.name(),
		Received: time.Now().Unix(), Request: c.request, Reading: c.reading}
	outcome := c.result.Outcome
	if p != nil {
		outcome = p.outcome
		o.Status, o.Word, o.Text, o.Retry = p.status, p.word, p.text, p.retry
		if !c.hasBody { // the rest is not worth reading
			c.w.Header().Set("Connection", "close")
		}
	} else if c.reading != nil {
		o.Ignored = c.reading.Ignored
	}
	c.s.Stats.Outcomes[outcome].Add(1)
	response := notice.AnswerJSON(o)
	if c.face != nil && c.face.Answer != nil {
		response = c.face.Answer(o)
	}
	h := c.w.Header()
	switch o.Status {
	case http.StatusUnauthorized:
		h["WWW-Authenticate"] = []string{`Bearer realm="hooks"`} // RFC 6750 §3
	case http.StatusMethodNotAllowed:
		h.Set("Allow", p.allow)
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", strconv.Itoa(max(o.Retry, 1)))
	}
	for name, value := range response.Header {
		h.Set(name, value)
	}
	if response.Media != "" {
		h.Set("Content-Type", response.Media)
	} else if len(response.Body) == 0 {
		h["Content-Type"] = nil
	}
	c.w.WriteHeader(response.Status)
	if response.Status != http.StatusNoContent {
		c.w.Write(response.Body) // a program that has gone needs no answer
	}
	c.audit(o, response.Status, outcome)
}

// audit writes the one line of a request: never its path, its body or its token.
func (c *call) audit(o *notice.Outcome, status int, outcome Outcome) {
	client := "unix"
	if !c.client.Unix {
		client = c.client.Addr.String()
	}
	attrs := []slog.Attr{slog.Int("status", status), slog.String("hook", c.name()),
		slog.String("outcome", Outcomes[outcome])}
	if c.face != nil {
		attrs = append(attrs, slog.String("kind", c.face.Name))
	}
	if c.token != nil {
		attrs = append(attrs, slog.String("account", c.token.Owner.String()), slog.String("token", c.token.ID))
	}
	if o.ID != "" {
		attrs = append(attrs, slog.String("id", o.ID))
	}
	attrs = append(attrs, slog.String("client", client), slog.String("path", pathHooks+"/"+c.name()))
	if o.Text != "" {
		attrs = append(attrs, slog.String("reason", notice.FirstLine(o.Text, maxReason)))
	} else if o.Ignored != "" {
		attrs = append(attrs, slog.String("reason", notice.FirstLine(o.Ignored, maxReason)))
	}
	c.s.o.Log.LogAttrs(context.Background(), slog.LevelInfo, "hook request", attrs...)
}

// Test sends a notice to those who get what a hook sends, and says what became of it. Errors: ErrNoHook, and the
// storage's; what else is wrong is in the Result.
func (s *Hooks) Test(ctx context.Context, name string) (Result, error) {
	h, err := s.Get(ctx, name)
	if err != nil {
		return Result{}, err
	}
	g, ok := s.enter(ctx, h.ID)
	if !ok {
		return failure("too many requests to this hook at once: try again later"), nil
	}
	defer g.leave()
	d := &delivery{hook: &h, source: accounts.Source{Exempt: true}, gate: g}
	return s.send(ctx, d, []notice.Notice{{Title: "hook works", Source: h.Name}}), nil
}
