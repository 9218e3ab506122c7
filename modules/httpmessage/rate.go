package httpmessage

import (
	"net/http"
	"strconv"
	"time"

	"jackdaw/router/accounts"
)

// worthWaiting is how long a debt may last for a post to wait rather than be refused.
const worthWaiting = time.Second

// afford takes what the body will cost from the account's budget, before it is read, so that many posts at once are no
// way round it. Without a refusal the purse must be closed.
func (p *post) afford() *refusal {
	if p.client.Exempt || p.rights != nil && p.rights.Has(accounts.PermAdmin) {
		return nil
	}
	name := p.account
	if p.api == gatewayAPI {
		name = "api account " + name // no address has a space before the resource
	}
	if p.paid = int(min(p.r.ContentLength, int64(p.set.MaxBody))); p.paid < 0 {
		p.paid = p.set.MaxBody // nobody knows yet
	}
	purse := p.s.o.Budgets.Open(name)
	d := purse.Take(p.paid)
	if d > 0 && d <= worthWaiting {
		t := time.NewTimer(d)
		select {
		case <-t.C:
		case <-p.r.Context().Done():
		}
		t.Stop()
		d = purse.Take(p.paid)
	}
	if d == 0 {
		p.purse = purse
		return nil
	}
	purse.Close()
	seconds := int((d + time.Second - 1) / time.Second)
	return &refusal{status: http.StatusTooManyRequests, retry: seconds, close: true,
		text: "Too many requests: the account sends too much. Try again in " + strconv.Itoa(seconds) + " seconds."}
}
