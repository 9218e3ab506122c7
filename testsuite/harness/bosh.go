package harness

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

const (
	nsBOSH  = "http://jabber.org/protocol/httpbind"
	nsXBOSH = "urn:xmpp:xbosh"
	// batch bounds the bytes of a request beyond its first element.
	batch = 16 << 10
)

// bosh is a stream over BOSH (XEP-0124, XEP-0206). The server holds one request; another one goes out with what the
// client has to say.
type bosh struct {
	b      *bridge
	http   *http.Client
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex // guards what follows
	wake    sync.Cond
	queue   []boshPost
	out     int // requests that wait for their responses
	rid     int // of the next request
	sid     string
	last    bool // the session is to end by what is queued
	came    map[int]boshBody
	due     int    // rid of the response that is next
	err     error  // the first that a request met: nothing more is said
	taken   bool   // next has given all that came, and waits for more
	greeted bool   // the client has its first header
	domain  string // that the session is to
}

// boshPost is something to say: an element, or what is said by attributes of a request of its own.
type boshPost struct {
	element string
	attrs   string
}

// boshBody is a response, or why there is none.
type boshBody struct {
	attrs []xml.Attr
	items []item
	err   error
}

func newBOSH(b *bridge) farSide {
	s := &bosh{b: b, http: &http.Client{Transport: &http.Transport{}}, came: map[int]boshBody{}, rid: 1 + rand.IntN(1<<40)}
	s.due = s.rid
	s.wake.L = &s.mu
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

func (s *bosh) header(attrs []xml.Attr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	version := value(attrs, "", "version")
	rest := make([]xml.Attr, 0, len(attrs))
	for _, a := range attrs {
		if a.Name.Local != "version" {
			rest = append(rest, a)
		}
	}
	said := written(rest) + " xmlns:xmpp='" + nsXBOSH + "'"
	if s.sid == "" {
		s.domain = value(attrs, "", "to")
		said += " content='text/xml; charset=utf-8' hold='1' wait='60' ver='1.11' ack='1'"
		if version != "" {
			said += " xmpp:version='" + version + "'"
		}
		s.queue = append(s.queue, boshPost{attrs: said})
		s.pump()
		for s.sid == "" && s.out > 0 { // nothing can be said before
			s.wake.Wait()
		}
		return nil
	}
	// XEP-0206 §5: no header answers a restart.
	s.came[-1] = boshBody{}
	s.queue = append(s.queue, boshPost{attrs: said + " xmpp:restart='true'"})
	s.pump()
	s.wake.Broadcast()
	return nil
}

func (s *bosh) send(element string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, boshPost{element: element})
	s.pump()
	return s.err
}

func (s *bosh) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, boshPost{attrs: " type='terminate'"})
	s.pump()
	return nil
}

// pump sends as many requests as may be out. The caller holds mu.
func (s *bosh) pump() {
	for s.err == nil && !s.last {
		switch {
		case s.sid == "" && (s.out > 0 || len(s.queue) == 0):
			return
		case s.out < 2 && len(s.queue) > 0:
			attrs, payload := s.queue[0].attrs, s.queue[0].element
			s.last = strings.Contains(attrs, "'terminate'")
			n := 1
			for attrs == "" && n < len(s.queue) && s.queue[n].attrs == "" && len(payload)+len(s.queue[n].element) <= batch {
				payload += s.queue[n].element
				n++
			}
			s.queue = s.queue[n:]
			s.post(attrs, payload)
		case s.out == 0 && s.taken:
			s.post("", "")
		default:
			return
		}
	}
}

func (s *bosh) post(attrs, payload string) {
	body := "<body xmlns='" + nsBOSH + "' rid='" + strconv.Itoa(s.rid) + "'" + attrs
	if s.sid != "" {
		body += " sid='" + s.sid + "'"
		got := s.due - 1 // XEP-0124 §9.2: all up to it have come
		for ; ; got++ {
			if _, ok := s.came[got+1]; !ok {
				break
			}
		}
		if got < s.rid-1 {
			body += " ack='" + strconv.Itoa(got) + "'"
		}
	}
	if payload == "" {
		body += "/>"
	} else {
		body += ">" + payload + "</body>"
	}
	rid := s.rid
	s.rid++
	s.out++
	s.b.wg.Go(func() { // a session is closed before the bridge
		answer, err := s.exchange(s.ctx, body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.out--
		if sid := value(answer.attrs, "", "sid"); sid != "" && s.sid == "" {
			s.sid = sid
		} else if s.sid == "" && err == nil && value(answer.attrs, "", "type") != "terminate" {
			err = s.b.wrong("no sid in the first response")
		}
		// What a request met is heard in its turn, as an answer is: one before it may be still on its way (XEP-0124 §14.2).
		answer.err = err
		s.came[rid] = answer
		if s.err == nil {
			s.err = err
		}
		s.pump()
		s.wake.Broadcast()
	})
}

func (s *bosh) exchange(ctx context.Context, body string) (boshBody, error) {
	var answer boshBody
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.b.http+"/http-bind", strings.NewReader(body))
	if err != nil {
		return answer, err
	}
	req.Header.Set("Content-Type", "text/xml; charset=utf-8")
	resp, err := s.http.Do(req)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer, err
	}
	if resp.StatusCode != http.StatusOK {
		return answer, fmt.Errorf("%s: %s", resp.Status, b)
	}
	if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/xml") {
		return answer, s.b.wrong("a response of type %q", kind)
	}
	r := newReaderOf("body", strings.NewReader(string(b)))
	it, err := r.next()
	if err != nil || it.start.Name != (xml.Name{Space: nsBOSH, Local: "body"}) {
		return answer, s.b.wrong("not a body: %v: %s", err, b)
	}
	answer.attrs = it.start.Attr
	for {
		if it, err = r.next(); err != nil {
			return answer, s.b.wrong("%v: %s", err, b)
		}
		if it.kind == isEnd {
			return answer, nil
		}
		answer.items = append(answer.items, it)
	}
}

func (s *bosh) next() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if _, ok := s.came[-1]; ok {
			delete(s.came, -1)
			return firstHeader(s.domain, s.sid), nil
		}
		if answer, ok := s.came[s.due]; ok {
			if answer.err != nil {
				return "", answer.err
			}
			delete(s.came, s.due)
			s.due++
			said, err := s.said(answer)
			if said != "" || err != nil {
				return said, err
			}
			continue
		}
		s.taken = true
		s.pump()
		s.wake.Wait()
		s.taken = false
	}
}

// said is a response as over TCP.
func (s *bosh) said(answer boshBody) (string, error) {
	var text strings.Builder
	ends := value(answer.attrs, "", "type") == "terminate"
	if !s.greeted {
		s.greeted = true
		text.WriteString(firstHeader(value(answer.attrs, "", "from"), value(answer.attrs, "", "sid")))
	}
	failed := false
	for _, it := range answer.items {
		one, err := it.within()
		if err != nil {
			return "", s.b.wrong("%v", err)
		}
		failed = failed || strings.HasPrefix(one, "<stream:error")
		text.WriteString(one)
	}
	if !ends {
		return text.String(), nil
	}
	if condition := value(answer.attrs, "", "condition"); condition != "" && !failed { // XEP-0124 §17.2
		text.WriteString("<stream:error><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>")
	}
	return text.String() + "</stream:stream>", io.EOF
}

// Close leaves the session. The server would notice when no request has come for a minute; here it does at once, by one
// whose rid is not of the session, which breaks it off (XEP-0124 §14.2).
func (s *bosh) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return nil
	}
	s.cancel()
	if s.sid != "" && !s.last {
		body := "<body xmlns='" + nsBOSH + "' rid='" + strconv.Itoa(s.rid+1000) + "' sid='" + s.sid + "'/>"
		s.b.wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), Timeout)
			defer cancel()
			s.exchange(ctx, body) // what it says does not matter, nor whether the server runs
			s.http.CloseIdleConnections()
		})
	}
	return nil
}
