package httpmessage

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"jackdaw/router/accounts"
)

// worthWaiting is how long a debt may last for a post to wait rather than be refused.
const worthWaiting = time.Second

// expected is how long the body will be at most.
func (p *post) expected() int {
	if n := int(min(p.r.ContentLength, int64(p.maxBody()))); n >= 0 {
		return n
	}
	return p.maxBody() // nobody knows yet
}

// afford takes what the message will cost from the account's budget, before it is read, so that many posts at once are
// no way round it. Without a refusal the purse must be closed.
func (d *delivery) afford(ctx context.Context, bytes int) *refusal {
	if d.source.Exempt || d.rights.Has(accounts.PermAdmin) {
		return nil
	}
	name := d.account
	if d.rights.None() {
		name = "api account " + name // no address has a space before the resource
	}
	d.paid = bytes
	purse := d.s.o.Budgets.Open(name)
	wait := purse.Take(d.paid)
	if wait > 0 && wait <= worthWaiting {
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		wait = purse.Take(d.paid)
	}
	if wait == 0 {
		d.purse = purse
		return nil
	}
	purse.Close()
	seconds := int((wait + time.Second - 1) / time.Second)
	return &refusal{status: http.StatusTooManyRequests, retry: seconds, close: true,
		text: "Too many requests: the account sends too much. Try again in " + strconv.Itoa(seconds) + " seconds."}
}
