package forged

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	// hookTime bounds one attempt to hand a reply over.
	hookTime = 10 * time.Second
	// hookAge is how long a reply is tried; hookFirst and hookMost are the pauses between attempts.
	hookAge   = 24 * time.Hour
	hookFirst = time.Second
	hookMost  = 5 * time.Minute
	// maxReplies and maxReplyBytes bound what waits; whoever replies has a share of it.
	maxReplies    = 10000
	maxReplyBytes = 64 << 20

	// replies is the owner of the queue.
	replies = "replies"
	// replyVersion is the first byte of what is queued; the reply as JSON follows.
	replyVersion = 1
)

// A reply is what is posted.
type reply struct {
	From   string `json:"from"` // full
	To     string `json:"to"`
	ID     string `json:"id"`
	Body   string `json:"body"`
	Stanza string `json:"stanza"` // the whole message as XML
}

// A hook posts replies to a URL, in order, from a queue in storage.
type hook struct {
	url    func() string
	queue  storage.Log
	router *router.Router
	log    *slog.Logger
	client *http.Client

	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup

	mu      sync.Mutex // guards the rest
	running bool       // there is a goroutine that empties the queue
	more    bool       // and it must look again

	posted, failed *atomic.Int64
}

func newHook(o Options, stats *Stats) *hook {
	h := &hook{url: o.Hook, queue: o.Replies, router: o.Router, log: o.Log, posted: &stats.Posted, failed: &stats.Failed,
		client: &http.Client{Timeout: hookTime, Transport: &http.Transport{MaxIdleConnsPerHost: 1,
			IdleConnTimeout: time.Minute},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	h.ctx, h.stop = context.WithCancel(context.Background())
	return h
}

// on says whether there is a URL.
func (h *hook) on() bool { return h.url() != "" }

// isReply says whether a stanza is one that somebody wrote.
func isReply(s *xmpp.Stanza) bool {
	return s.Kind == xmpp.Message && (s.Type == xmpp.TypeNormal || s.Type == xmpp.TypeChat) && s.Has(body)
}

var body = xmpp.Name{Space: xmpp.NSClient, Local: "body"}

// take queues a reply.
func (h *hook) take(e *router.Envelope) {
	s := e.Stanza
	text := ""
	if b := s.Child(body); b != nil {
		text = b.Text()
	}
	record := bytes.NewBuffer([]byte{replyVersion})
	w := json.NewEncoder(record)
	w.SetEscapeHTML(false)
	err := w.Encode(reply{From: s.From.String(), To: s.To.String(), ID: s.ID, Body: text,
		Stanza: string(s.AppendQualified(nil))})
	if err == nil {
		var p *storage.Pending
		r := storage.Record{Peer: h.router.Sharer(s.From), Data: record.Bytes()}
		_, _, p, err = h.queue.Append(context.Background(), replies, r,
			storage.AppendOptions{Dedup: e.DedupKey(), MaxRecords: maxReplies, MaxBytes: maxReplyBytes, Fair: true})
		e.Await(p)
	}
	switch {
	case errors.Is(err, storage.ErrFull):
		e.Refuse(xmpp.ResourceConstraint("too many replies wait for the program that uses this address"))
	case err != nil:
		h.log.Warn("a reply to a forged sender cannot be queued", "error", err)
		e.Refuse(router.Unavailable())
	default:
		e.Settle(router.Delivered)
		h.kick()
	}
}

// kick has the queue emptied.
func (h *hook) kick() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.more = true
	if !h.running && h.ctx.Err() == nil {
		h.running = true
		h.work.Go(h.run)
	}
}

// close stops the work; what is queued stays.
func (h *hook) close() {
	h.stop()
	h.work.Wait()
	h.client.CloseIdleConnections()
}

func (h *hook) run() {
	for {
		h.mu.Lock()
		if !h.more || h.ctx.Err() != nil {
			h.running = false
			h.mu.Unlock()
			return
		}
		h.more = false
		h.mu.Unlock()
		for h.ctx.Err() == nil && h.page() {
		}
	}
}

// page works off the oldest of the queue, and says whether there may be more.
func (h *hook) page() bool {
	if !h.on() {
		return false // what waits is kept for the next URL
	}
	records, _, err := h.queue.Page(h.ctx, replies, storage.Query{Limit: 50})
	if err != nil {
		return h.wait("replies to forged senders wait for storage", err)
	}
	for _, r := range records {
		if !h.deliver(r) {
			return false
		}
		if _, err := h.queue.Remove(h.ctx, replies, r.ID); err != nil {
			return h.wait("a reply to a forged sender will be posted again", err)
		}
	}
	return len(records) > 0
}

// wait lets storage recover; false: the server is stopping.
func (h *hook) wait(what string, err error) bool {
	if errors.Is(err, storage.ErrClosed) || h.ctx.Err() != nil {
		return false
	}
	h.log.Warn(what, "error", err)
	return h.pause(hookMost)
}

// pause says whether to go on after a while.
func (h *hook) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-h.ctx.Done():
		return false
	}
}

// deliver tries until the reply has been taken, or never will be. False: it is to stop.
func (h *hook) deliver(r storage.Record) bool {
	if len(r.Data) < 2 || r.Data[0] != replyVersion {
		h.log.Error("a queued reply cannot be read and is lost", "id", r.ID)
		return true
	}
	for wait := hookFirst; ; wait = min(2*wait, hookMost) {
		if !h.on() {
			return false
		}
		var final bool
		err := error(errTooOld)
		if time.Since(r.Time()) < hookAge {
			if final, err = h.post(r); err == nil {
				h.posted.Add(1)
				return true
			}
		}
		if h.ctx.Err() != nil {
			return false
		}
		if final || errors.Is(err, errTooOld) {
			h.log.Warn("a reply to a forged sender was not taken", "error", err)
			h.bounce(r)
			return true
		}
		h.log.Info("a reply to a forged sender waits", "error", err, "next", wait)
		if !h.pause(wait) {
			return false
		}
	}
}

var errTooOld = fmt.Errorf("not taken in %v", hookAge)

// post is one attempt. final says that another would fare no better.
func (h *hook) post(r storage.Record) (final bool, err error) {
	q, err := http.NewRequestWithContext(h.ctx, http.MethodPost, h.url(), bytes.NewReader(r.Data[1:]))
	if err != nil {
		return false, errors.New("http.sender_hook is no URL")
	}
	q.Header.Set("Content-Type", "application/json")
	// The answer may be lost, and the reply come again.
	q.Header.Set("Idempotency-Key", strconv.FormatUint(r.ID, 10))
	w, err := h.client.Do(q)
	if err != nil {
		var bare *url.Error
		if errors.As(err, &bare) {
			err = bare.Err // the URL may hold a password
		}
		return false, err
	}
	_, _ = io.CopyN(io.Discard, w.Body, 4<<10) // so that the connection can be used again
	_ = w.Body.Close()
	switch c := w.StatusCode; {
	case c >= 200 && c < 300:
		return false, nil
	case c == http.StatusRequestTimeout, c == http.StatusTooEarly, c == http.StatusTooManyRequests:
		return false, errors.New(w.Status)
	default:
		return c >= 400 && c < 500, errors.New(w.Status)
	}
}

// bounce tells who replied that nobody took it.
func (h *hook) bounce(r storage.Record) {
	h.failed.Add(1)
	var one reply
	if json.Unmarshal(r.Data[1:], &one) != nil {
		return
	}
	from, err := jid.Parse(one.From)
	to, err2 := jid.Parse(one.To)
	if err != nil || err2 != nil {
		return
	}
	h.router.Bounce(&xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: strings.Clone(one.ID), From: from, To: to},
		xmpp.RecipientUnavailable("the program that uses this address did not take the reply"))
}
