package console

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	// maxLines is how many lines of the log are kept, maxLine how many bytes of each.
	maxLines = 400
	maxLine  = 1000
	// maxPosts and maxReports are how many of these are kept.
	maxPosts   = 1000
	maxReports = 200
	// maxValue is how many bytes are kept of one fact.
	maxValue = 300
)

// A Record keeps the end of the log, and of that what was posted and reported, in memory. It is safe for concurrent
// use.
type Record struct {
	mu      sync.Mutex // guards the rest
	lines   ring[Line]
	posts   ring[Post]
	reports ring[Report]
}

// A Line is one of the log.
type Line struct {
	At    time.Time
	Level string
	Text  string // message and facts
}

// A Post is one over HTTP or of a feature, as the log has it: never what it says.
type Post struct {
	At                                 time.Time
	Status                             int64
	Account, Sender, Client, ID        string
	Path                               string // of the request, or the feature that posted
	Delivered, Stored, Queued, Refused string // addresses, with spaces between
}

// A Report is what a user has told of somebody (XEP-0377).
type Report struct {
	At                time.Time
	By, About, Reason string
}

// A ring keeps the last few of something.
type ring[T any] struct {
	all  []T
	next int
}

func (r *ring[T]) add(one T, most int) {
	if len(r.all) < most {
		r.all = append(r.all, one)
		return
	}
	r.all[r.next] = one
	r.next = (r.next + 1) % most
}

// newest has the last first.
func (r *ring[T]) newest() []T {
	out := make([]T, 0, len(r.all))
	for i := range r.all {
		out = append(out, r.all[(r.next+len(r.all)-1-i)%len(r.all)])
	}
	return out
}

// Lines are those kept, the newest first; so are Posts and Reports.
func (r *Record) Lines() []Line { r.mu.Lock(); defer r.mu.Unlock(); return r.lines.newest() }

// Posts are those kept.
func (r *Record) Posts() []Post { r.mu.Lock(); defer r.mu.Unlock(); return r.posts.newest() }

// Reports are those kept.
func (r *Record) Reports() []Report { r.mu.Lock(); defer r.mu.Unlock(); return r.reports.newest() }

// Tap returns a handler that does what next does and keeps in the record what is of level info or above, as far as next
// takes it.
func (r *Record) Tap(next slog.Handler) slog.Handler {
	t := &tap{next: next, record: r, buffer: new(bytes.Buffer), mu: new(sync.Mutex)}
	t.text = slog.NewTextHandler(t.buffer, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}})
	return t
}

// A tap is a handler between a logger and another.
type tap struct {
	next   slog.Handler
	record *Record
	text   slog.Handler // writes to buffer
	mu     *sync.Mutex  // guards buffer
	buffer *bytes.Buffer
}

// Enabled implements slog.Handler.
func (t *tap) Enabled(ctx context.Context, l slog.Level) bool { return t.next.Enabled(ctx, l) }

// WithAttrs implements slog.Handler.
func (t *tap) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *t
	c.next, c.text = t.next.WithAttrs(attrs), t.text.WithAttrs(attrs)
	return &c
}

// WithGroup implements slog.Handler.
func (t *tap) WithGroup(name string) slog.Handler {
	c := *t
	c.next, c.text = t.next.WithGroup(name), t.text.WithGroup(name)
	return &c
}

// Handle implements slog.Handler.
func (t *tap) Handle(ctx context.Context, one slog.Record) error {
	if one.Level >= slog.LevelInfo {
		t.keep(ctx, one)
	}
	return t.next.Handle(ctx, one)
}

func (t *tap) keep(ctx context.Context, one slog.Record) {
	line := Line{At: one.Time, Level: strings.ToLower(one.Level.String())}
	t.mu.Lock()
	t.buffer.Reset()
	_ = t.text.Handle(ctx, one) // a buffer takes all
	line.Text = cut(strings.TrimPrefix(strings.TrimRight(t.buffer.String(), "\n"), "msg="), maxLine)
	t.mu.Unlock()
	r := t.record
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines.add(line, maxLines)
	switch one.Message {
	case "http post", "post":
		r.posts.add(postOf(one), maxPosts)
	case "report":
		r.reports.add(reportOf(one), maxReports)
	}
}

// cut is a copy of at most so many bytes.
func cut(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strings.Clone(s)
}

func postOf(one slog.Record) Post {
	p := Post{At: one.Time}
	one.Attrs(func(a slog.Attr) bool {
		text := func() string { return cut(a.Value.String(), maxValue) }
		switch a.Key {
		case "status":
			p.Status = a.Value.Int64()
		case "account":
			p.Account = text()
		case "sender":
			p.Sender = text()
		case "client":
			p.Client = text()
		case "path", "by":
			p.Path = text()
		case "id":
			p.ID = text()
		case "delivered":
			p.Delivered = text()
		case "stored":
			p.Stored = text()
		case "queued":
			p.Queued = text()
		case "refused":
			p.Refused = text()
		}
		return true
	})
	return p
}

func reportOf(one slog.Record) Report {
	r := Report{At: one.Time}
	one.Attrs(func(a slog.Attr) bool {
		text := cut(a.Value.String(), maxValue)
		switch a.Key {
		case "by":
			r.By = text
		case "about":
			r.About = text
		case "reason":
			r.Reason = text
		}
		return true
	})
	return r
}
