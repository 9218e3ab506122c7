package component

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"jackdaw/config"
	"jackdaw/router"
	"jackdaw/xmpp/stream"
)

// far is where domains are at home, as one node sees it.
type far struct {
	t    testing.TB
	here bool

	mu    sync.Mutex // guards the rest
	home  *house     // nil: it cannot be reached
	links []net.Conn
}

func (f *far) Here(string, bool) bool { return f.here }

func (f *far) Open(context.Context, string) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.home == nil {
		return nil, errors.New("no route to host")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Error(err)
		return nil, err
	}
	defer l.Close()
	ours, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	theirs, err := l.Accept()
	if err != nil {
		return nil, err
	}
	f.links = append(f.links, ours)
	f.home.Adopt(theirs)
	return ours, nil
}

// nodes are two: where the domains are at home, and where the components connect.
func nodes(t testing.TB, change func(*config.Limits)) (home, edge *house, way *far) {
	t.Helper()
	way = &far{t: t}
	edge = newHouseOf(t, change, way)
	home = newHouseOf(t, change, &far{t: t, here: true}) // it stops first
	way.home = home
	return home, edge, way
}

func TestAComponentIsServedAtTheHomeOfItsDomain(t *testing.T) {
	home, edge, _ := nodes(t, nil)
	bot := edge.connect("bot.example.org", "botsecret")
	for i := range 50 {
		e := home.route(fmt.Sprintf("<message from='a@users.example.org' to='x@bot.example.org' id='%d'><body>%s</body></message>", i, body),
			func(e *router.Envelope) { e.Durable = true })
		bot.expect(fmt.Sprintf("id='%d'", i), body)
		if err := settled(t, e); err != nil {
			t.Errorf("message %d: %v", i, err)
		}
	}
	bot.say("<message from='x@bot.example.org' to='a@users.example.org' id='back'/>")
	home.expect("id='back'")
	link := home.Links()[0]
	if !link.Connected || link.Address != bot.LocalAddr().String() || link.In != 1 || link.Out != 50 {
		t.Errorf("%+v, want it from %v", link, bot.LocalAddr())
	}
	if edge.Links()[0].Connected || edge.Stats.HandedOver.Load() != 1 || home.Stats.Adopted.Load() != 1 {
		t.Error("it is counted elsewhere")
	}
	bot.say(stream.Close)
	bot.expect("end")
	bot.expect("closed")
	edge.eventually("nothing is left", func() bool { return edge.Stats.Connections.Load() == 0 && home.Stats.Connections.Load() == 0 })
	home.nothing()
}

func TestAWrongSecretIsRefusedAtTheHome(t *testing.T) {
	home, edge, _ := nodes(t, nil)
	bot := edge.dial(header("bot.example.org"))
	bot.say(bot.handshake("guessed"))
	bot.ends(stream.NotAuthorized)
	if home.Stats.Failures.Load() != 1 || edge.Stats.Failures.Load() != 0 {
		t.Error("it is not the home that has looked")
	}
}

func TestAComponentIsTurnedAwayWhileItsHomeCannotBeReached(t *testing.T) {
	home, edge, way := nodes(t, nil)
	way.mu.Lock()
	way.home = nil
	way.mu.Unlock()
	bot := edge.dial(header("bot.example.org"))
	bot.expect("header")
	bot.ends(stream.RemoteConnectionFailed)
	way.mu.Lock()
	way.home = home
	way.mu.Unlock()
	edge.connect("bot.example.org", "botsecret")
}

func TestAComponentsConnectionEndsWithItsLink(t *testing.T) {
	home, edge, way := nodes(t, nil)
	bot := edge.connect("bot.example.org", "botsecret")
	way.mu.Lock()
	for _, l := range way.links {
		_ = l.Close() // it breaks
	}
	way.mu.Unlock()
	bot.expect("closed")
	home.eventually("the home knows", func() bool { return !home.Links()[0].Connected })
}

func TestANodeThatStopsEndsTheStreamsOfItsComponents(t *testing.T) {
	home, edge, _ := nodes(t, nil)
	bot := edge.connect("bot.example.org", "botsecret")
	if err := edge.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	bot.ends(stream.SystemShutdown)
	home.eventually("the home knows", func() bool { return !home.Links()[0].Connected })
}

// What is for a domain goes to its home: a component that stayed connected where it was would get nothing any more.
func TestTheStreamOfAComponentWhoseDomainMovesEnds(t *testing.T) {
	home, edge, _ := nodes(t, nil)
	bot, irc := edge.connect("bot.example.org", "botsecret"), home.connect("irc.example.org", "ircsecret")
	home.route("<message from='a@users.example.org' to='x@bot.example.org' id='last'><body>x</body></message>", nil)
	home.Server.Module().Moved(func(owner string) bool { return owner == "bot.example.org" })
	bot.expect("id='last'")
	bot.ends(stream.SystemShutdown)
	home.eventually("the home knows", func() bool { return !home.Links()[0].Connected })
	home.route("<message from='a@users.example.org' to='x@irc.example.org' id='other'><body>x</body></message>", nil)
	irc.expect("id='other'")
}

// It may move while the component proves its secret.
func TestTheStreamOfAComponentWhoseDomainHasJustMovedEnds(t *testing.T) {
	home := newHouseOf(t, nil, &leaving{})
	bot := home.connect("bot.example.org", "botsecret")
	bot.ends(stream.SystemShutdown)
	home.eventually("the home knows", func() bool { return !home.Links()[0].Connected })
}

// leaving is a node from which a domain moves once it has been asked about it.
type leaving struct {
	far
	asked atomic.Bool
}

func (l *leaving) Here(string, bool) bool { return !l.asked.Swap(true) }

// As TestStreamsThatReplaceEachOtherLoseNothing: what a component by another node has not taken goes to the next.
func TestWhatAComponentElsewhereHasNotTakenGoesToTheNext(t *testing.T) {
	home, edge, _ := nodes(t, roomy)
	first := edge.connect("bot.example.org", "botsecret")
	const n = 1000
	home.flood(0, n, nil)
	second := edge.dial(header("bot.example.org"))
	second.say(second.handshake("botsecret"))
	home.eventually("replaced", func() bool { return home.Stats.Replaced.Load() == 1 })
	seen := map[string]int{}
	for _, got := range first.all() {
		seen[got]++
	}
	second.expect("<handshake/>")
	for len(seen) < n {
		seen[id(second.next())]++
	}
	for got, times := range seen {
		if times != 1 {
			t.Errorf("%s came %d times", got, times)
		}
	}
	home.nothing()
}
