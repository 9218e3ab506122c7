package forged

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/modules/internal/outgoing"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	// hookAge is how long a reply is tried.
	hookAge = 24 * time.Hour
	// maxReplies and maxReplyBytes bound what waits; whoever replies has a share of it. Where there are several nodes each
	// user of ours has a queue, and perUser is the part of that in it.
	maxReplies    = 10000
	maxReplyBytes = 64 << 20
	perUser       = 16

	// replies is the owner of the queue of a server that is alone. Where there are several nodes, those of each user are
	// queued under the user's address, at home.
	replies = "replies"
	// lookEvery is how often a node looks whether replies have come home with their users, and looks how often after a
	// move: they are at home a moment later.
	lookEvery = 2 * time.Second
	looks     = 5
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

// A hook posts replies to a URL, one after the other and those of each user in order, from a queue in storage.
type hook struct {
	url    func() string
	stored storage.Log
	router *router.Router
	log    *slog.Logger
	client *outgoing.Client

	turn   chan struct{} // one reply is posted at a time
	coming atomic.Int32  // how often to look for replies that come home
	ctx    context.Context
	end    context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex // guards queues
	queues map[string]*outgoing.Queue

	posted, failed *atomic.Int64
}

func newHook(o Options, stats *Stats) *hook {
	h := &hook{url: o.Hook, stored: o.Replies, router: o.Router, log: o.Log, posted: &stats.Posted, failed: &stats.Failed,
		client: outgoing.NewClient(1, false), turn: make(chan struct{}, 1), queues: map[string]*outgoing.Queue{}}
	h.ctx, h.end = context.WithCancel(context.Background())
	if !h.router.Alone() {
		h.work.Go(h.look)
	} else if h.on() {
		h.resume()
	}
	return h
}

// queue is that of an owner.
func (h *hook) queue(owner string) *outgoing.Queue {
	h.mu.Lock()
	defer h.mu.Unlock()
	q := h.queues[owner]
	if q == nil {
		part := int64(1)
		if owner != replies {
			part = perUser
		}
		q = outgoing.New(outgoing.Options{Log: h.stored, Owner: owner,
			MaxRecords: int(maxReplies / part), MaxBytes: maxReplyBytes / part, Age: hookAge, Parallel: 1, Sender: sender,
			Try:   func(ctx context.Context, r storage.Record) (bool, error) { return h.try(ctx, owner, r) },
			Waits: h.waits, Lost: h.bounce, On: func() bool { return h.on() && h.router.Here(owner) }, Logger: h.log})
		h.queues[owner] = q
		if h.ctx.Err() != nil {
			q.Close()
		}
	}
	return q
}

// resume goes on with what is queued for owners at home here, and says whether it could be read.
func (h *hook) resume() bool {
	err := h.stored.Owners(h.ctx, func(owner string) bool {
		if h.router.Here(owner) {
			h.queue(owner).Kick()
		}
		return true
	})
	if err != nil && h.ctx.Err() == nil {
		h.log.Warn("replies to forged senders wait", "error", err)
	}
	return err == nil
}

// look goes on with what is queued for owners that have come home.
func (h *hook) look() {
	for {
		if n := h.coming.Load(); n > 0 && h.on() && h.resume() {
			h.coming.CompareAndSwap(n, n-1)
		}
		t := time.NewTimer(lookEvery)
		select {
		case <-t.C:
		case <-h.ctx.Done():
			t.Stop()
			return
		}
	}
}

// moved ends what is done for owners that are at home elsewhere from now on.
func (h *hook) moved(gone func(owner string) bool) {
	h.mu.Lock()
	var end []*outgoing.Queue
	for owner, q := range h.queues {
		if gone(owner) {
			end = append(end, q)
			delete(h.queues, owner)
		}
	}
	h.mu.Unlock()
	for _, q := range end {
		q.Close()
	}
}

// on says whether there is a URL. What is queued while there is none is kept for the next one.
func (h *hook) on() bool { return h.url() != "" }

// isReply says whether a stanza is one that somebody wrote.
func isReply(s *xmpp.Stanza) bool {
	return s.Kind == xmpp.Message && (s.Type == xmpp.TypeNormal || s.Type == xmpp.TypeChat) && s.Has(body)
}

var body = xmpp.Name{Space: xmpp.NSClient, Local: "body"}

// take queues a reply.
func (h *hook) take(e *router.Envelope) {
	s := e.Stanza
	if !h.router.Alone() && !h.router.Owns(s.From.Domain()) {
		// Whoever has a domain makes as many addresses as he likes, and each would have a queue.
		e.Refuse(xmpp.ServiceUnavailable("replies from other servers are not taken here"))
		return
	}
	text := ""
	if b := s.Child(body); b != nil {
		text = b.Text()
	}
	record := bytes.NewBuffer([]byte{replyVersion})
	w := json.NewEncoder(record)
	w.SetEscapeHTML(false)
	err := w.Encode(reply{From: s.From.String(), To: s.To.String(), ID: s.ID, Body: text,
		Stanza: string(s.AppendQualified(nil))})
	var queue *outgoing.Queue
	if err == nil {
		owner := replies
		if !h.router.Alone() {
			owner = s.From.Bare().String()
		}
		queue = h.queue(owner)
		var p *storage.Pending
		p, err = queue.Append(h.router.Sharer(s.From), record.Bytes(), e.DedupKey())
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
		queue.Kick()
	}
}

// close stops the work; what is queued stays.
func (h *hook) close() {
	h.end()
	h.work.Wait()
	h.moved(func(string) bool { return true })
	h.client.Close()
}

// read is the reply of a record.
func read(r storage.Record) (one reply, ok bool) {
	return one, len(r.Data) > 1 && r.Data[0] == replyVersion && json.Unmarshal(r.Data[1:], &one) == nil
}

// sender is the user who replied.
func sender(r storage.Record) string {
	one, _ := read(r)
	user, _, _ := strings.Cut(one.From, "/")
	return user
}

// try hands over a reply of an owner. final says that another try would fare no better.
func (h *hook) try(ctx context.Context, owner string, r storage.Record) (final bool, err error) {
	select {
	case h.turn <- struct{}{}:
		defer func() { <-h.turn }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	key := strconv.FormatUint(r.ID, 10)
	if owner != replies { // ids of several owners may be the same
		key += "-" + owner
	}
	if _, ok := read(r); !ok {
		h.log.Error("a queued reply cannot be read and is lost", "id", r.ID)
		return true, errors.New("it cannot be read")
	}
	// The answer may be lost, and the reply come again.
	answer, err := h.client.Do(ctx, outgoing.Request{URL: h.url(), Body: r.Data[1:], Key: key})
	if answer.Status == 0 {
		return false, err
	}
	taken, final := outgoing.Taken(answer.Status)
	if !taken {
		return final, outgoing.StatusError(answer.Status)
	}
	h.posted.Add(1)
	return false, nil
}

func (h *hook) waits(_ storage.Record, err error, next time.Duration) {
	h.log.Info("a reply to a forged sender waits", "error", err, "next", next)
}

// bounce tells who replied that nobody took it.
func (h *hook) bounce(r storage.Record, err error) {
	h.log.Warn("a reply to a forged sender was not taken", "error", err)
	h.failed.Add(1)
	one, _ := read(r)
	from, err := jid.Parse(one.From)
	to, err2 := jid.Parse(one.To)
	if err != nil || err2 != nil {
		return
	}
	h.router.Bounce(&xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: strings.Clone(one.ID), From: from, To: to},
		xmpp.RecipientUnavailable("the program that uses this address did not take the reply"))
}
