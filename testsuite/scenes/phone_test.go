package scenes

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

// asleep is how many messages come while a phone is away.
const asleep = 1000

// A sleeper is a user's phone, which counts what it is given (XEP-0198 §4).
type sleeper struct {
	*harness.Client
	t       *testing.T
	session string // id of its stream management
	h       uint32
	got     []string // messages
}

// wake logs a phone in with stream management. It is not available yet.
func wake(t *testing.T, s *harness.Server, user string) *sleeper {
	t.Helper()
	c, err := harness.Connect(s.C2STLS, user, "phone")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Conn.Close() })
	p := &sleeper{Client: c, t: t}
	if p.session, err = c.Enable(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *sleeper) say(xml string) {
	p.t.Helper()
	if err := p.Send(xml); err != nil {
		p.t.Fatal(err)
	}
}

// appear makes the phone available, and returns when the server has taken that.
func (p *sleeper) appear() {
	p.t.Helper()
	p.say("<presence/>")
	p.until("<presence", "")
}

// until reads up to a stanza, or what stream management says, that begins like this and has the id, where one is given.
func (p *sleeper) until(start, id string) string {
	p.t.Helper()
	for {
		el, err := p.Next()
		if err != nil {
			p.t.Fatalf("%s waits for %s %s: %v; so far %d messages", p.JID, start, id, err, len(p.got))
		}
		stanza := strings.HasPrefix(el, "<message") || strings.HasPrefix(el, "<iq") || strings.HasPrefix(el, "<presence")
		if stanza {
			p.h++
		}
		if strings.HasPrefix(el, "<r ") {
			p.say(fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", p.h))
		}
		if strings.HasPrefix(el, start) && (id == "" || harness.Attr(el, "id") == id) {
			return el
		}
		if strings.HasPrefix(el, "<message") {
			p.got = append(p.got, el)
		}
	}
}

// brought returns the messages that have come before the one with this id.
func (p *sleeper) brought(mark string) []string {
	p.t.Helper()
	p.until("<message", mark)
	got := p.got
	p.got = nil
	p.say(fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", p.h))
	return got
}

// sleep takes the connection away without a word.
func (p *sleeper) sleep() { p.Conn.Close() }

// leave ends the session.
func (p *sleeper) leave() {
	p.say("<presence type='unavailable'/></stream:stream>")
	for {
		if _, err := p.Next(); err != nil {
			p.Conn.Close()
			return
		}
	}
}

// resume goes on with the session on another connection. It returns what the server says to that.
func (p *sleeper) resume(s *harness.Server, user string) string {
	p.t.Helper()
	c, err := harness.Login(s.C2STLS, user)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Conn.Close() })
	c.JID, p.Client = p.JID, c
	p.say(fmt.Sprintf("<resume xmlns='urn:xmpp:sm:3' previd='%s' h='%d'/>", p.session, p.h))
	el, err := p.Next()
	if err != nil {
		p.t.Fatal(err)
	}
	return el
}

// archived pages through the archive behind what the phone knows.
func (p *sleeper) archived(after string) (numbers, ids []string) {
	p.t.Helper()
	live := p.got
	for page := 0; ; page++ {
		id := fmt.Sprintf("page-%d", page)
		p.say("<iq type='set' id='" + id + "'><query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>100</max>" +
			"<after>" + after + "</after></set></query></iq>")
		p.got = nil
		fin := p.until("<iq", id)
		for _, el := range p.got {
			_, result, ok := strings.Cut(el, "<result ")
			m, mark := number.FindStringSubmatch(el), strings.Contains(el, " id='mark-")
			if !ok || m == nil && !mark {
				p.t.Fatalf("a page holds %s", el)
			}
			if after = harness.Attr("<result "+result, "id"); !mark {
				numbers, ids = append(numbers, m[1]), append(ids, after)
			}
		}
		if strings.Contains(fin, "complete='true'") {
			p.got = live
			return numbers, ids
		}
		if len(p.got) == 0 {
			p.t.Fatalf("an empty page: %s", fin)
		}
	}
}

var number = regexp.MustCompile(`<body>(\d+)</body>`)

// A night is a server with romeo, who writes, and a user with a phone, who has had message 0.
type night struct {
	s     *harness.Server
	user  string
	romeo *guest
	phone *sleeper
	last  string // the stanza-id that the phone knows
	marks int
}

func fall(t *testing.T, s *harness.Server, user string) *night {
	t.Helper()
	n := &night{s: s, user: user, romeo: enterManaged(t, s, "romeo", user), phone: wake(t, s, user)}
	n.phone.appear()
	// Whoever is no contact fills no more than a share of what waits for somebody.
	n.phone.say("<iq type='set' id='contact'><query xmlns='jabber:iq:roster'><item jid='romeo@localhost'/></query></iq>")
	n.phone.until("<iq", "contact")
	n.say(t, 0, 1)
	_, ids := n.said(t, n.phone.brought(n.mark(t)))
	n.last = ids[0]
	// It has said what it has: what it is not asked about would come again.
	n.phone.say(fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/><iq type='get' id='told' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>", n.phone.h))
	n.phone.until("<iq", "told")
	return n
}

// say has romeo send messages, each with its number, and returns when the server answers for them.
func (n *night) say(t *testing.T, from, to int) {
	t.Helper()
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "<message to='%s@localhost' type='chat' id='m%d'><body>%d</body></message>", n.user, i, i)
	}
	n.romeo.say(b.String())
	n.romeo.acknowledged()
}

// mark has romeo send what tells that all he sent before has come.
func (n *night) mark(t *testing.T) (id string) {
	t.Helper()
	n.marks++
	id = fmt.Sprintf("mark-%d", n.marks)
	n.romeo.say("<message to='" + n.user + "@localhost' type='chat' id='" + id + "'><composing xmlns='http://jabber.org/protocol/chatstates'/>" +
		"<store xmlns='urn:xmpp:hints'/></message>")
	return id
}

// said are the numbers of messages in the order in which they came, with their stanza-ids.
func (n *night) said(t *testing.T, got []string) (numbers, ids []string) {
	t.Helper()
	by := regexp.MustCompile(`<stanza-id xmlns='urn:xmpp:sid:0' by='` + n.user + `@localhost' id='(\d+)'/>`)
	for _, el := range got {
		m, id := number.FindStringSubmatch(el), by.FindStringSubmatch(el)
		if m == nil || id == nil {
			t.Fatalf("the phone got %s", el)
		}
		numbers, ids = append(numbers, m[1]), append(ids, id[1])
	}
	return numbers, ids
}

// complete fails the test unless all messages of the night came, each once and after the one before.
func complete(t *testing.T, what string, numbers []string) {
	t.Helper()
	for i, got := range numbers {
		if got != strconv.Itoa(i+1) {
			t.Fatalf("%s: of %d messages, the one in place %d is %s", what, len(numbers), i+1, got)
		}
	}
	if len(numbers) != asleep {
		t.Fatalf("%s: %d messages, not %d", what, len(numbers), asleep)
	}
}

// brought fails the test unless the phone has been brought all, and finds all in its archive, under the same ids. Then
// it leaves, and nothing must be left for the next login.
func (n *night) brought(t *testing.T, what string) {
	t.Helper()
	n.all(t, what, n.phone.brought(n.mark(t)))
	n.phone.leave()
	n.phone = wake(t, n.s, n.user)
	n.phone.appear()
	if got := n.phone.brought(n.mark(t)); len(got) > 0 {
		t.Errorf("%s: %d messages come again: %s", what, len(got), got[0])
	}
}

func (n *night) all(t *testing.T, what string, got []string) {
	t.Helper()
	numbers, ids := n.said(t, got)
	complete(t, what, numbers)
	numbers, same := n.phone.archived(n.last)
	complete(t, what+", in the archive", numbers)
	if !slices.Equal(ids, same) {
		t.Errorf("%s: the archive knows messages by other ids than the phone", what)
	}
}

func TestAPhoneThatSleepsGetsEveryMessageOnceAndInOrder(t *testing.T) {
	t.Parallel()
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			options := harness.Options{Place: place, Env: quick, Users: []string{"romeo", "juliet", "nurse", "tybalt", "paris"},
				Config: "modules: {offline: {max_messages: 1500}}"}
			s := harness.Start(t, options)
			for _, scene := range []struct {
				name, user string
				play       func(*testing.T, *night)
			}{
				{"resumption", "juliet", resumed},
				{"a connection that was cut long before it was noticed", "nurse", cutOff},
				{"a plain login with the archive", "tybalt", loggedIn},
				{"a desktop that is awake", "paris", besideADesktop},
			} {
				t.Run(scene.name, func(t *testing.T) {
					t.Parallel()
					scene.play(t, fall(t, s, scene.user))
				})
			}
			t.Run("a session that is not resumed in time", func(t *testing.T) {
				t.Parallel()
				options.C2S = "resume_window: 2s"
				tooLate(t, fall(t, harness.Start(t, options), "juliet"))
			})
		})
	}
}

// resumed: the phone loses its connection and goes on with its session (XEP-0198 §5).
func resumed(t *testing.T, n *night) {
	n.phone.sleep()
	n.say(t, 1, asleep+1)
	if el := n.phone.resume(n.s, n.user); !strings.HasPrefix(el, "<resumed") {
		t.Fatal(el)
	}
	n.brought(t, "resumed")
}

// cutOff: the messages are on their way when the connection is lost, and the phone has read none of them. It has to
// resume twice.
func cutOff(t *testing.T, n *night) {
	n.say(t, 1, asleep+1)
	for range 2 {
		n.phone.sleep()
		if el := n.phone.resume(n.s, n.user); !strings.HasPrefix(el, "<resumed") {
			t.Fatal(el)
		}
	}
	n.brought(t, "cut off")
}

// loggedIn: the phone has left, and looks into the archive before it says that it is there.
func loggedIn(t *testing.T, n *night) {
	n.phone.leave()
	n.say(t, 1, asleep+1)
	n.phone = wake(t, n.s, n.user)
	first, _ := n.phone.archived(n.last)
	complete(t, "the archive at login", first)
	n.phone.appear()
	n.brought(t, "stored")
}

// besideADesktop: the desktop has taken everything, so that the archive is all that the phone has.
func besideADesktop(t *testing.T, n *night) {
	n.phone.leave()
	desk := enterManaged(t, n.s, n.user, "desk")
	n.say(t, 1, asleep+1)
	numbers, ids := n.said(t, desk.until(n.mark(t)))
	complete(t, "at the desktop", numbers)
	// its presence, an answer, the messages and the mark
	desk.say(fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", 1+1+asleep+1))
	desk.settled()
	n.phone = wake(t, n.s, n.user)
	numbers, same := n.phone.archived(n.last)
	complete(t, "in the archive", numbers)
	if !slices.Equal(ids, same) {
		t.Error("the archive knows messages by other ids than the desktop")
	}
	n.phone.appear()
	if got := n.phone.brought(n.mark(t)); len(got) > 0 {
		t.Errorf("%d messages come that the desktop has taken, such as %s", len(got), got[0])
	}
}

// tooLate: half of the messages come while the session waits to be resumed, half when it does not any more.
func tooLate(t *testing.T, n *night) {
	n.phone.sleep()
	n.say(t, 1, asleep/2+1)
	for deadline := time.Now().Add(harness.Timeout); ; {
		// romeo's
		if strings.Contains(measured(t, n.s), "\njackdaw_sessions 1\n") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the session does not end")
		}
	}
	n.say(t, asleep/2+1, asleep+1)
	if el := n.phone.resume(n.s, n.user); !strings.HasPrefix(el, "<failed") {
		t.Fatal(el)
	}
	n.phone.Conn.Close()
	n.phone = wake(t, n.s, n.user)
	n.phone.appear()
	n.brought(t, "too late")
}
