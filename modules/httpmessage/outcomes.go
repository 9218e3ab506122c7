package httpmessage

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"jackdaw/modules/internal/posting"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/web"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Paths of what became of posts.
const (
	pathPosts = "/api/1.0/posts"
	pathPost  = "/api/1.0/posts/:id"
)

// What a question may ask for, and what it gets without asking.
const (
	maxList       = 500  // posts of a list
	defaultList   = 100  //
	maxListed     = 100  // recipients of each
	defaultListed = 10   //
	maxOfOne      = 5000 // recipients of a post that is asked for
	defaultOfOne  = 1000 //
	costOfAsking  = 4 << 10
)

// asks answers a question about posts: of one, or of many if the id is empty.
func (s *Service) asks(w http.ResponseWriter, r *http.Request, id string) {
	p := s.posts.Get().(*post)
	p.w, p.r, p.api, p.shape = w, r, direct, shapeJSON
	p.set, p.client = s.settings.Load(), s.client(r)
	p.source = p.client.Source
	status := http.StatusOK
	answer, refused := p.ask(id)
	switch {
	case refused != nil:
		status = refused.status
		refused.write(w, shapeJSON, nil)
	case answer != nil:
		w.Header()["Content-Type"] = typeJSON
		w.Write(append(answer, '\n')) // a client that has gone needs no answer
	}
	s.Stats.answered(status)
	account := p.account
	if account == "" {
		account = p.attempted
	}
	s.o.Log.Info("http request", "status", status, "method", r.Method, "path", r.URL.Path, "account", account,
		"client", p.client.name())
	p.purse.Close()
	p.release()
}

// ask does the checks of a question and returns the answer; nil if it has been given already.
func (p *post) ask(id string) ([]byte, *refusal) {
	if t := p.s.tracker(); t == nil || !t.On() {
		return nil, problem(http.StatusNotFound, "Not found: what becomes of posts is not kept here.")
	}
	if x := p.authenticate(); x != nil {
		return nil, x
	}
	web.Authenticated(p.r)
	if x := p.authorise(); x != nil {
		return nil, x
	}
	if x := p.afford(p.r.Context(), costOfAsking); x != nil {
		return nil, x
	}
	query, err := url.ParseQuery(p.r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("the query cannot be read.")
	}
	q := question{Values: query}
	switch {
	case id != "":
		return p.askOne(id, &q)
	case p.rights.Scoped(): // it knows what it has posted; what other programs of the account have is not its business
		return nil, p.lacks("see the posts of its account")
	case strings.Contains(p.r.Header.Get("Accept"), typeStream):
		return nil, p.follow(&q)
	}
	return p.askMany(&q)
}

// A question is what stands behind the path. The first thing that is wrong with it is kept.
type question struct {
	url.Values
	wrong *refusal
}

// only says which parameters there may be.
func (q *question) only(names ...string) {
	for name, values := range q.Values {
		known := false
		for _, one := range names {
			known = known || one == name
		}
		switch {
		case !known:
			q.fail("unknown parameter " + quoted(name) + "; there may be " + strings.Join(names, ", ") + ".")
		case len(values) != 1:
			q.fail(name + " stands there more than once.")
		}
	}
}

func (q *question) fail(text string) {
	if q.wrong == nil {
		q.wrong = badRequest(text)
	}
}

// number is a parameter from least to most.
func (q *question) number(name string, least, most, otherwise int) int {
	if !q.Has(name) {
		return otherwise
	}
	n, err := strconv.Atoi(q.Get(name))
	if err != nil || n < least || n > most {
		q.fail(name + " is " + quoted(q.Get(name)) + "; it can be " + strconv.Itoa(least) + " to " + strconv.Itoa(most) +
			".")
	}
	return n
}

// asked is whose posts are asked for: an administrator may name another.
func (p *post) asked(q *question) string {
	if !q.Has("account") {
		return p.account
	}
	name := q.Get("account")
	if j, err := jid.Parse(name); err == nil {
		name = j.String()
	}
	if name != p.account && !p.rights.Has(accounts.PermAdmin) {
		if q.wrong == nil {
			q.wrong = forbidden("the posts of others are for administrators.")
		}
	}
	return name
}

func (p *post) askOne(id string, q *question) ([]byte, *refusal) {
	q.only("first", "limit", "account")
	first, limit := q.number("first", 0, 1<<30, 0), q.number("limit", 1, maxOfOne, defaultOfOne)
	account := p.asked(q)
	if q.wrong != nil {
		return nil, q.wrong
	}
	one, err := p.s.tracker().Record(p.r.Context(), account, id, first, limit)
	if errors.Is(err, posting.ErrNoPost) && p.rights.Has(accounts.PermAdmin) && !q.Has("account") {
		one, err = p.s.tracker().Record(p.r.Context(), "", id, first, limit)
	}
	switch {
	case errors.Is(err, posting.ErrNoPost):
		return nil, problem(http.StatusNotFound, "Not found: there is no such post of yours, or not any more.")
	case err != nil:
		p.s.o.Log.Warn("posts cannot be looked up", "account", account, "error", err)
		return nil, p.failed(err)
	}
	return appendRecord(nil, &one), nil
}

func (p *post) askMany(q *question) ([]byte, *refusal) {
	q.only("since", "limit", "recipients", "account")
	most := q.number("limit", 1, maxList, defaultList)
	limit := q.number("recipients", 0, maxListed, defaultListed)
	account := p.asked(q)
	var since time.Time
	cursor := q.Get("since")
	if at, err := xmpp.ParseTime(cursor); err == nil {
		since, cursor = at, ""
	}
	if q.wrong != nil {
		return nil, q.wrong
	}
	list, next, err := p.s.tracker().List(p.r.Context(), account, since, cursor, most, limit)
	switch {
	case errors.Is(err, posting.ErrCursor):
		return nil, badRequest("since is " + quoted(cursor) + "; it can be a time such as 2026-11-29T12:00:00Z, or what " +
			"an answer had as next.")
	case err != nil:
		p.s.o.Log.Warn("posts cannot be listed", "account", account, "error", err)
		return nil, p.failed(err)
	}
	b := append([]byte(nil), `{"posts":[`...)
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendRecord(b, &list[i])
	}
	b = append(b, ']')
	if next != "" {
		b = append(b, `,"next":`...)
		b = appendJSON(b, next)
	}
	return append(b, '}'), nil
}

// appendRecord appends what is kept of a post as JSON.
func appendRecord(b []byte, r *posting.Record) []byte {
	b = append(b, `{"id":`...)
	b = appendJSON(b, r.ID)
	b = append(b, `,"account":`...)
	b = appendJSON(b, r.Account)
	b = append(b, `,"sender":`...)
	b = appendJSON(b, r.Sender.String())
	b = append(b, `,"message_id":`...)
	b = appendJSON(b, r.MessageID)
	b = appendTime(append(b, `,"at":`...), r.At)
	b = append(b, `,"total":`...)
	b = strconv.AppendInt(b, int64(r.Total), 10)
	b = append(b, `,"outcomes":{`...)
	comma := false
	for o := router.Undecided; o <= router.Bounced; o++ {
		if n := r.Counts[o]; n > 0 {
			if comma {
				b = append(b, ',')
			}
			comma = true
			b = appendJSON(b, o.String())
			b = strconv.AppendInt(append(b, ':'), int64(n), 10)
		}
	}
	b = append(b, `},"recipients":[`...)
	for i := range r.Recipients {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendBecame(append(b, '{'), &r.Recipients[i]), '}')
	}
	b = append(b, ']')
	if next := r.First + len(r.Recipients); len(r.Recipients) > 0 && next < r.Total {
		b = append(b, `,"next":`...)
		b = strconv.AppendInt(b, int64(next), 10)
	}
	return append(b, '}')
}

// appendBecame appends the members of one recipient.
func appendBecame(b []byte, r *posting.Became) []byte {
	b = append(b, `"jid":`...)
	b = appendJSON(b, r.To.String())
	b = append(b, `,"outcome":"`...)
	b = append(b, r.Outcome.String()...)
	b = append(b, '"')
	if r.Reason != "" {
		b = append(b, `,"reason":`...)
		b = appendJSON(b, r.Reason)
	}
	return appendTime(append(b, `,"at":`...), r.At)
}

// appendTime appends a time in milliseconds (RFC 3339).
func appendTime(b []byte, t time.Time) []byte {
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	return append(b, '"')
}
