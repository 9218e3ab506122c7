package scenes

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

const (
	ticket    = "ticket-7@trac.example" // of a domain that is not ours
	robot     = "robot@localhost"       // of ours, and nobody's account
	door      = "door@localhost"        // the same, of an API account
	takesNone = "this address is used by a program on this server and takes no replies"
	noReply   = "urn:xmpp:noreply:0"
	anError   = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
)

func chat(id, from, to string) string {
	if from != "" {
		from = "from='" + from + "' "
	}
	return "<message type='chat' id='" + id + "' " + from + "to='" + to + "'><body>about " + id + "</body></message>"
}

// wantsPost fails the test unless the one stanza that came is a posted message.
func (g *guest) wantsPost(what, id, from, to string) {
	g.t.Helper()
	one := read(g.only(what, g.behind(g)))
	one.payload = late.ReplaceAllString(one.payload, "")
	if want := (copied{from, to, "chat", "<body>about " + id + "</body>"}); one != want {
		g.t.Errorf("%s: %s got\n%+v\nwant\n%+v", what, g.JID, one, want)
	}
}

// info asks who an address is.
func (g *guest) info(to string) string {
	g.t.Helper()
	g.marks++
	id := fmt.Sprintf("info-%d", g.marks)
	el, err := g.Ask(id, "<iq type='get' id='"+id+"' to='"+to+"'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
	if err != nil {
		g.t.Fatal(err)
	}
	return el
}

// A listener where a peer should be notices whoever comes.
func listener(t *testing.T) (addr string, came <-chan struct{}) {
	t.Helper()
	addr = harness.FreeAddr()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c := make(chan struct{}, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
			c <- struct{}{}
		}
	}()
	return addr, c
}

func TestWhatAnswersAForgedForeignSenderStaysHere(t *testing.T) {
	t.Parallel()
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			addr, came := listener(t)
			s := harness.Start(t, harness.Options{Place: place, Env: quick, Users: []string{"alarm", "bob", "carol"}, Federate: true,
				S2S: fmt.Sprintf("resolve: {trac.example: %q}", addr), HTTP: "permissions: {forge_sender: [alarm@localhost]}"})
			bob := enter(t, s, "bob", "desk")
			posted(t, s, "alarm", chat("a", ticket, "bob@localhost"))
			posted(t, s, "alarm", chat("b", ticket, "carol@localhost")) // who is away
			bob.wantsPost("a post", "a", ticket, "bob@localhost")
			answers(t, s, bob)

			// What is remembered is as durable as the message.
			s.Kill()
			s.Launch()
			carol := enter(t, s, "carol", "desk")
			carol.wantsPost("a stored post", "b", ticket, "carol@localhost")
			answers(t, s, carol)
			bob = enter(t, s, "bob", "desk")
			bob.settled() // what it had taken just before may come again (docs/promises.md §3)
			bob.say(chat("c", "", ticket))
			bob.refusal("a reply after a crash", bob.settled(), ticket, "service-unavailable", takesNone)

			// A post to nobody comes back to its sender, over HTTP.
			if status, text := web(t, "http://"+s.HTTP+"/message", "alarm", chat("d", ticket, "nobody@localhost")); status != 403 ||
				!strings.Contains(text, "nobody@localhost (service-unavailable)") {
				t.Errorf("a post to nobody: %d %s", status, text)
			}
			if links := s.Command("", "s2s"); strings.Contains(links, "trac.example") {
				t.Errorf("something waits for the domain:\n%s", links)
			}
			select {
			case <-came:
				t.Error("something left for the domain")
			default:
			}
			// Had something left, it would have been seen: whom nobody forged is reached as ever.
			bob.say(chat("e", "", "real@trac.example"))
			select {
			case <-came:
			case <-time.After(harness.Timeout):
				t.Error("a message to a real address does not leave")
			}
		})
	}
}

// answers has a client answer a post from the ticket in all ways there are, on a server that was just started.
func answers(t *testing.T, s *harness.Server, g *guest) {
	t.Helper()
	g.say("<message type='error' id='a' to='" + ticket + "'>" + anError + "</message>")
	g.say("<iq type='error' id='f' to='" + ticket + "'>" + anError + "</iq><iq type='result' id='g' to='" + ticket + "/x'/>")
	g.nothing("errors and results", g.settled())
	counts(t, s, "jackdaw_forged_errors_dropped_total", 3)
	replies := []string{
		chat("h", "", ticket),
		chat("i", "", ticket+"/x"),
		strings.Replace(chat("j", "", ticket), "ticket", "TICKET", 1), // addresses are compared as such
		"<message id='k' to='" + ticket + "'><received xmlns='urn:xmpp:receipts' id='a'/></message>",
		"<presence id='l' type='subscribe' to='" + ticket + "'/>",
		"<iq type='get' id='m' to='" + ticket + "'><ping xmlns='urn:xmpp:ping'/></iq>",
	}
	for _, reply := range replies {
		g.say(reply)
		id := harness.Attr(reply, "id")
		el, err := g.Until(func(el string) bool { return harness.Attr(el, "id") == id })
		if err != nil {
			t.Fatal(err)
		}
		g.refusal(reply, []string{el}, strings.ToLower(harness.Attr(reply, "to")), "service-unavailable", takesNone)
	}
	counts(t, s, "jackdaw_forged_replies_refused_total", len(replies))
	counts(t, s, "jackdaw_forged_errors_dropped_total", 3)
}

// A program takes replies, as http.sender_hook has it.
type program struct {
	t    *testing.T
	addr string
	got  chan reply

	mu     sync.Mutex // guards the rest
	answer []int      // statuses of the next answers; then 204
	taken  map[string]bool
	server *http.Server
}

type reply struct {
	From, To, ID, Body, Stanza string
	Key                        string `json:"-"`
}

func (p *program) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	one := reply{Key: r.Header.Get("Idempotency-Key")}
	if err := json.NewDecoder(r.Body).Decode(&one); err != nil || r.Method != http.MethodPost || r.URL.Path != "/replies" ||
		r.Header.Get("Content-Type") != "application/json" {
		one.Body = fmt.Sprintf("%s %s %v %v", r.Method, r.URL, r.Header, err)
	}
	p.mu.Lock()
	again := p.taken[one.Key] // the server did not get to see that: it fell
	status := http.StatusNoContent
	switch {
	case len(p.answer) > 0:
		status, p.answer = p.answer[0], p.answer[1:]
	default:
		p.taken[one.Key] = true
	}
	p.mu.Unlock()
	w.WriteHeader(status)
	if !again {
		p.got <- one
	}
}

func (p *program) answers(status ...int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = status
}

func (p *program) up() {
	p.t.Helper()
	l, err := net.Listen("tcp", p.addr)
	// A process that other tests are starting has the old listener, too, until it is another program.
	for end := time.Now().Add(harness.Timeout); errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(end); {
		<-time.After(5 * time.Millisecond)
		l, err = net.Listen("tcp", p.addr)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.server = &http.Server{Handler: p}
	go p.server.Serve(l)
}

func (p *program) down() { p.server.Close() }

// wants takes the next reply, whose key it returns.
func (p *program) wants(what string, want reply) (key string) {
	p.t.Helper()
	want.Body = "about " + want.ID
	want.Stanza = "<message xmlns='jabber:client' type='chat' id='" + want.ID + "' from='" + want.From + "' to='" + want.To + "'><body>" + want.Body + "</body></message>"
	select {
	case got := <-p.got:
		key, got.Key = got.Key, ""
		if got != want || key == "" {
			p.t.Errorf("%s: the program got\n%+v with key %q\nwant\n%+v", what, got, key, want)
		}
	case <-time.After(harness.Timeout):
		p.t.Fatalf("%s: the program got nothing", what)
	}
	return key
}

func TestAProgramTakesRepliesToItsSenders(t *testing.T) {
	t.Parallel()
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			p := &program{t: t, addr: harness.FreeAddr(), got: make(chan reply, 100), taken: map[string]bool{}}
			p.up()
			t.Cleanup(func() { p.down() })
			s := harness.Start(t, harness.Options{Place: place, Env: quick, Users: []string{"alarm", "bob"}, Federate: true,
				HTTP: "permissions: {forge_sender: [alarm@localhost]}\nsender_hook: http://" + p.addr + "/replies"})
			bob := enterManaged(t, s, "bob", "desk")
			for _, from := range []string{ticket, robot} {
				posted(t, s, "alarm", chat("a", from, "bob@localhost"))
				bob.wantsPost("a post", "a", from, "bob@localhost")
			}
			bell(s)
			rung(t, s, "door", chat("a", "", "bob@localhost"))
			bob.wantsPost("a post", "a", door, "bob@localhost")
			for _, address := range []string{robot, door} {
				if el := bob.info(address); harness.Attr(el, "type") != "result" || strings.Contains(el, noReply) {
					t.Errorf("who takes replies says %s", el)
				}
			}
			replies := []string{ticket, ticket + "/x", robot, robot + "/x", door}
			for _, to := range replies {
				bob.say(chat("b", "", to))
				p.wants("a reply", reply{ID: "b", From: bob.JID, To: to})
			}
			// What nobody wrote is not for the program.
			bob.say("<message type='error' id='a' to='" + ticket + "'>" + anError + "</message><message type='error' id='b' to='" + robot + "'>" + anError + "</message>")
			bob.nothing("errors", bob.settled())
			counts(t, s, "jackdaw_forged_errors_dropped_total", 1) // that to robot was never to leave
			bob.say("<message type='chat' id='g' to='" + ticket + "'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>")
			bob.refusal("a state", bob.settled(), ticket, "service-unavailable", takesNone)

			// What it does not want comes back.
			p.answers(http.StatusGone)
			bob.say(chat("h", "", ticket))
			p.wants("a reply that is not wanted", reply{ID: "h", From: bob.JID, To: ticket})
			el, err := bob.Until(func(el string) bool { return strings.HasPrefix(el, "<message") })
			if err != nil {
				t.Fatal(err)
			}
			bob.refusal("a reply that is not wanted", []string{el}, ticket, "recipient-unavailable", "did not take the reply")
			counts(t, s, "jackdaw_forged_replies_failed_total", 1)
			counts(t, s, "jackdaw_forged_replies_posted_total", len(replies))

			// It falls over, and is away for a moment.
			p.answers(http.StatusServiceUnavailable)
			bob.say(chat("i", "", ticket) + chat("j", "", robot))
			bob.acknowledged()
			key := p.wants("a reply that is not taken at first", reply{ID: "i", From: bob.JID, To: ticket})
			p.down()
			if err := s.Output().Await("a reply to a forged sender waits", 0, harness.Timeout, nil); err != nil {
				t.Fatal(err)
			}
			p.up()
			if again := p.wants("the same reply", reply{ID: "i", From: bob.JID, To: ticket}); again != key {
				t.Errorf("repeated with key %q, want %q", again, key)
			}
			p.wants("the next reply", reply{ID: "j", From: bob.JID, To: robot})

			// So does the server; what it had acknowledged comes by itself.
			p.down()
			from := s.Output().Len()
			bob.say(chat("k", "", ticket) + chat("l", "", robot))
			bob.acknowledged()
			if err := s.Output().Await("a reply to a forged sender waits", from, harness.Timeout, nil); err != nil {
				t.Fatal(err)
			}
			s.Kill()
			p.up()
			s.Launch()
			p.wants("a reply after a crash", reply{ID: "k", From: bob.JID, To: ticket})
			p.wants("the next after a crash", reply{ID: "l", From: bob.JID, To: robot})
			again := enter(t, s, "bob", "desk")
			again.say(chat("m", "", ticket))
			p.wants("a reply of after the crash", reply{ID: "m", From: bob.JID, To: ticket})
			for _, el := range again.behind(again) { // posts that the client had not acknowledged, and nothing else
				if harness.Attr(el, "type") == "error" {
					t.Errorf("after a crash bob got %s", el)
				}
			}
			if links := s.Command("", "s2s"); strings.Contains(links, "trac.example") {
				t.Errorf("something waits for the domain:\n%s", links)
			}
		})
	}
}

func TestANameWithoutAccountTakesNoMessages(t *testing.T) {
	t.Parallel()
	const none = "this address takes no messages"
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{Place: place, Env: quick, Users: []string{"alarm", "bob", "carol", "dave"},
				HTTP: "permissions: {forge_sender: [alarm@localhost]}"})
			bob, carol := enter(t, s, "bob", "desk"), enter(t, s, "carol", "desk")
			// XEP-0506 §4: whoever is not known as a sender is nobody.
			for _, address := range []string{robot, door} {
				if el := carol.info(address); harness.Attr(el, "type") != "error" {
					t.Errorf("before it sent anything, %s says %s", address, el)
				}
				carol.say(chat("a", "", address))
				got := carol.settled()
				carol.refusal("to nobody", got, address, "service-unavailable", "")
				if strings.Contains(got[0], none) {
					t.Errorf("before it sent anything: %s", got[0])
				}
			}

			posted(t, s, "alarm", chat("b", robot+"/x", "bob@localhost"))
			bob.wantsPost("a post", "b", robot+"/x", "bob@localhost")
			// A program that is no user at all.
			bell(s)
			rung(t, s, "door", chat("c", "", "bob@localhost"))
			bob.wantsPost("a post", "c", door, "bob@localhost")
			for _, address := range []string{robot, door} {
				for _, g := range []*guest{bob, carol} {
					el := g.info(address)
					if harness.Attr(el, "type") != "result" || !strings.Contains(el, "<feature var='"+noReply+"'/>") ||
						!strings.Contains(el, "<identity category='client' type='bot'/>") {
						t.Errorf("%s tells %s %s", address, g.JID, el)
					}
					g.say(chat("d", "", address))
					g.refusal("a message", g.settled(), address, "service-unavailable", none)
					g.say(chat("e", "", address+"/x"))
					g.refusal("a message to a resource", g.settled(), address+"/x", "service-unavailable", none)
					g.say("<message type='error' id='f' to='" + address + "'>" + anError + "</message>")
					g.nothing("an error", g.settled())
				}
			}
			// The host says it of itself, and real users do not, also if somebody writes in their name.
			if el := bob.info("localhost"); !strings.Contains(el, "<feature var='"+noReply+"'/>") {
				t.Errorf("the host says %s", el)
			}
			posted(t, s, "alarm", chat("g", "dave@localhost", "bob@localhost"))
			bob.wantsPost("a post", "g", "dave@localhost", "bob@localhost")
			if el := bob.info("dave@localhost"); harness.Attr(el, "type") != "error" {
				t.Errorf("dave says to a stranger %s", el)
			}
			bob.say(chat("h", "", "dave@localhost"))
			bob.nothing("an answer", bob.settled())
			// Nor do those who get an account later.
			s.AddUser("robot")
			bob.say(chat("i", "", robot))
			bob.nothing("an answer", bob.settled())
			for user, id := range map[string]string{"dave": "h", "robot": "i"} {
				enter(t, s, user, "desk").wantsPost("what was stored", id, bob.JID, user+"@localhost")
			}
		})
	}
}
