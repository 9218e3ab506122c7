package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"jackdaw/testsuite/harness"
)

// deeds are what persons have done.
type deeds struct {
	Logins, Resumptions, Forgotten, Messages, Posts, Visits, Uploads atomic.Int64
}

// A house is a server with what persons need of it.
type house struct {
	*harness.Server
	users []string // addresses
	rooms string   // domain

	uploaded atomic.Int64 // bytes
}

// A person is a user that comes and goes.
type person struct {
	*run
	at    *house
	name  string
	dice  *rand.Rand
	pause time.Duration // between two deeds, on average
	count int
}

// live goes on until the soak ends. It returns what must not happen.
func (p *person) live() error {
	for life := 0; p.wait(p.random(10 * time.Second)); life++ {
		s, err := open(p.at.C2STLS, p.at.Domain, p.name, fmt.Sprintf("life%d", life%3), p.book)
		if err != nil {
			return fmt.Errorf("log in %s: %w", p.name, err)
		}
		p.deeds.Logins.Add(1)
		err = p.session(s)
		if err != nil {
			s.cut()
			return fmt.Errorf("%s@%s: %w", p.name, p.at.Domain, err)
		}
	}
	return nil
}

// session is what a person does from login to the end of the session.
func (p *person) session(s *stream) error {
	for {
		for end := time.Now().Add(p.random(60 * time.Second)); time.Now().Before(end) && p.wait(p.random(2*p.pause)); {
			if err := p.deed(s); err != nil {
				return err
			}
		}
		switch n := p.dice.IntN(10); {
		case n < 4 || p.over():
			s.close()
			return nil
		case n < 6: // what it was given and has not acknowledged comes with another login
			s.cut()
			p.deeds.Forgotten.Add(1)
			return nil
		}
		s.cut()
		p.wait(p.random(5 * time.Second))
		resumed, err := s.resume()
		if err != nil || !resumed {
			if resumed {
				s.cut()
			}
			return err
		}
		p.deeds.Resumptions.Add(1)
	}
}

// deed is one thing among those that a person does.
func (p *person) deed(s *stream) error {
	p.count++
	switch n := p.dice.IntN(200); {
	case n < 1:
		return p.upload(s)
	case n < 4:
		return p.visit(s)
	case n < 30:
		return p.post()
	}
	to := p.somebody(p.houses[p.dice.IntN(len(p.houses))])
	id := p.book.open(to)
	p.deeds.Messages.Add(1)
	return s.send(chat(id, to), id)
}

func chat(id, to string) string {
	return "<message type='chat' id='" + id + "' to='" + to + "'><body>" + text + "</body>" +
		"<origin-id xmlns='urn:xmpp:sid:0' id='" + id + "'/></message>"
}

const text = "But, soft! what light through yonder window breaks? It is the east, and Juliet is the sun."

// post sends a message over HTTP to somebody of the house.
func (p *person) post() error {
	to := p.somebody(p.at)
	id := p.book.open(to)
	p.deeds.Posts.Add(1)
	message := "<message id='" + id + "' to='" + to + "'><body>" + text + "</body></message>"
	_, err := p.request(http.MethodPost, "http://"+p.at.HTTP+"/message", []byte(message), http.StatusOK, func(r *http.Request) {
		r.SetBasicAuth(p.name+"@"+p.at.Domain, harness.Password)
		r.Header.Set("Idempotency-Key", id)
		r.Header.Set("Content-Type", "application/xml")
	})
	if err == nil {
		p.book.promise(id)
	}
	return err
}

// visit enters a room, which may be new, and says something, which comes back to whoever says it.
func (p *person) visit(s *stream) error {
	at := p.houses[p.dice.IntN(len(p.houses))]
	room := fmt.Sprintf("hall%d@%s", p.dice.IntN(6), at.rooms)
	nick := room + "/" + p.name + "-of-" + strings.ReplaceAll(p.at.Domain, ".", "-")
	p.deeds.Visits.Add(1)
	for i, what := range []string{
		"<presence id='ID' to='" + nick + "'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='2'/></x></presence>",
		"<message id='ID' type='groupchat' to='" + room + "'><body>" + text + "</body></message>",
		"<message id='ID' type='groupchat' to='" + room + "'><body>" + text + "</body></message>",
		"<presence id='ID' type='unavailable' to='" + nick + "'/>",
	} {
		id := fmt.Sprintf("visit-%s-%d-%d", p.name, p.count, i)
		el, err := s.ask(id, strings.Replace(what, "ID", id, 1))
		if err != nil {
			return err
		}
		if i == 0 && strings.Contains(el, "<not-allowed ") {
			return nil // nobody is there, and guests make no rooms
		}
		if harness.Attr(el, "type") == "error" {
			return fmt.Errorf("in %s: %s", room, el)
		}
	}
	return nil
}

// upload keeps a file at the house (XEP-0363) and reads it.
func (p *person) upload(s *stream) error {
	body := bytes.Repeat([]byte{byte('a' + p.dice.IntN(26))}, 1024+p.dice.IntN(30<<10))
	p.deeds.Uploads.Add(1)
	id := fmt.Sprintf("slot-%s-%d", p.name, p.count)
	el, err := s.ask(id, fmt.Sprintf("<iq type='get' id='%s' to='upload.%s'>"+
		"<request xmlns='urn:xmpp:http:upload:0' filename='a.txt' size='%d'/></iq>", id, p.at.Domain, len(body)))
	if err != nil {
		return err
	}
	_, put, _ := strings.Cut(el, "<put")
	_, get, _ := strings.Cut(el, "<get")
	put, get = harness.Attr("<put"+put, "url"), harness.Attr("<get"+get, "url")
	if put == "" || get == "" {
		return fmt.Errorf("no slot: %s", el)
	}
	_, header, _ := strings.Cut(el, "<header")
	name, value := harness.Attr("<header"+header, "name"), header[strings.IndexByte(header, '>')+1:]
	value, _, _ = strings.Cut(value, "<")
	allowed := func(r *http.Request) { r.Header.Set(name, value) }
	if _, err := p.request(http.MethodPut, put, body, http.StatusCreated, allowed); err != nil {
		return err
	}
	p.at.uploaded.Add(int64(len(body)))
	back, err := p.request(http.MethodGet, get, nil, http.StatusOK, nil)
	if err == nil && !bytes.Equal(back, body) {
		err = errors.New("an uploaded file came back as another")
	}
	return err
}

func (p *person) request(method, url string, body []byte, status int, more func(*http.Request)) ([]byte, error) {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if more != nil {
		more(req)
	}
	resp, err := p.web.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != status {
		err = fmt.Errorf("%s %s: status %d: %.200s", method, url, resp.StatusCode, text)
	}
	return text, err
}

func (p *person) somebody(at *house) string { return at.users[p.dice.IntN(len(at.users))] }

// random is a time from 0 to most.
func (p *person) random(most time.Duration) time.Duration {
	return time.Duration(p.dice.Int64N(int64(most) + 1))
}
