package httpmessage

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"jackdaw/modules/internal/posting"
)

// typeStream is the media type of Server-Sent Events (HTML, "Server-sent events").
const typeStream = "text/event-stream"

const (
	// aliveEvery is how often something is written to a stream though nothing has happened.
	aliveEvery = 25 * time.Second
	// streamWrite is how long the reader of a stream may take for what is written.
	streamWrite = 30 * time.Second
	// streamLife is how long a stream lasts: its client opens another, with the credentials that hold then.
	streamLife = time.Hour
)

// follow answers with a stream of what becomes of posts, until the client goes or the server stops. A refusal is the
// answer instead.
func (p *post) follow(q *question) *refusal {
	q.only("account")
	account := p.asked(q)
	if q.wrong != nil {
		return q.wrong
	}
	var since uint64
	if last := p.r.Header.Get("Last-Event-ID"); last != "" {
		var err error
		if since, err = strconv.ParseUint(last, 10, 63); err != nil {
			return badRequest("Last-Event-ID is " + quoted(last) + ", which is not one of this stream.")
		}
	}
	stream, err := p.s.tracker().Follow(account, since)
	switch {
	case errors.Is(err, posting.ErrStreams):
		return &refusal{status: http.StatusTooManyRequests, retry: 60, close: true,
			text: "Too many requests: there are as many streams of this account as there may be."}
	case err != nil:
		return unavailable()
	}
	defer stream.Close()
	h := p.w.Header()
	h["Content-Type"] = []string{typeStream}
	h["Cache-Control"] = []string{"no-store"}
	h.Set("X-Accel-Buffering", "no") // nginx would keep it back
	control := http.NewResponseController(p.w)
	// Not every transport can: a test's recorder has no deadlines. A read that is given up ends the request.
	_ = control.SetReadDeadline(time.Time{})
	p.purse.Close() // of a stream that lasts nothing is held
	p.purse = nil
	ctx, cancel := context.WithTimeout(p.r.Context(), streamLife)
	defer cancel()
	write := func(b []byte) bool {
		_ = control.SetWriteDeadline(time.Now().Add(streamWrite))
		_, err := p.w.Write(b)
		return err == nil && control.Flush() == nil
	}
	for going := write([]byte(": what becomes of posts\n\n")); going; {
		next, cancel := context.WithTimeout(ctx, aliveEvery)
		changes, err := stream.Next(next)
		cancel()
		switch {
		case err == nil:
			going = write(appendEvents(nil, changes))
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			going = p.still() && write([]byte(":\n\n"))
		default:
			going = false
		}
	}
	return nil
}

// still says whether the account may go on to follow: it may have been removed or disabled meanwhile, or its permission
// revoked.
func (p *post) still() bool {
	a, err := p.s.o.Accounts.Get(p.r.Context(), p.user)
	return err == nil && !a.Disabled && p.authorise() == nil
}

// appendEvents writes changes as events. The id of one that was before the stream is left out, so that who is cut off
// in their midst gets all of them again.
func appendEvents(b []byte, changes []posting.Change) []byte {
	for i := range changes {
		c := &changes[i]
		if c.ID > 0 {
			b = append(b, "id: "...)
			b = strconv.AppendUint(b, c.ID, 10)
			b = append(b, '\n')
		}
		switch {
		case c.Post == "":
			b = append(b, "event: ready\ndata: {}\n\n"...)
			continue
		case c.Total > 0:
			b = append(b, "event: post\ndata: {\"id\":"...)
			b = appendJSON(b, c.Post)
			b = append(b, `,"total":`...)
			b = strconv.AppendInt(b, int64(c.Total), 10)
			b = appendTime(append(b, `,"at":`...), c.At)
		default:
			b = append(b, "event: outcome\ndata: {\"id\":"...)
			b = appendJSON(b, c.Post)
			b = appendBecame(append(b, ','), &c.Became)
		}
		b = append(b, "}\n\n"...)
	}
	return b
}
