package offline

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/xmpp"
)

// Whatever two clients of juliet do, what is sent to the full address of one while it is there comes to it in order,
// all is taken in the end, and nobody is held then.
func TestMessagesToAFullAddressComeInOrderWhateverTheSessionsDo(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			p := &play{scene: newScene(t, Options{}), Rand: rand.New(rand.NewPCG(seed, 0)),

				clients: map[string]*moduletest.Client{}, meant: map[int]*moduletest.Client{},
				last: map[*moduletest.Client]int{}, taken: map[int]bool{}}
			for range 60 {
				p.step()
			}
			p.end()
			if t.Failed() {
				t.Fatalf("seed %d:\n%s", seed, strings.Join(p.log, "\n"))
			}
		})
	}
}

// play is a scene in which juliet's clients do what chance says.
type play struct {
	*scene
	*rand.Rand
	clients map[string]*moduletest.Client // by resource
	sent    int
	meant   map[int]*moduletest.Client // the client that had the full address when a message was sent there
	last    map[*moduletest.Client]int // the last of these that has come
	taken   map[int]bool
	log     []string
}

func (p *play) note(format string, args ...any) { p.log = append(p.log, fmt.Sprintf(format, args...)) }

// step does one thing.
func (p *play) step() {
	resource := []string{"a", "b"}[p.IntN(2)]
	j := p.clients[resource]
	switch op := p.IntN(14); {
	case op < 5:
		p.send([]string{"/a", "/b", ""}[p.IntN(3)], []int{0, 100 << 10, big}[p.IntN(3)])
	case op == 5:
		wait := time.Duration(p.IntN(1500)) * time.Millisecond
		p.note("wait %v", wait)
		<-time.After(wait)
	case j == nil:
		p.note("login %s", resource)
		p.clients[resource] = p.juliet(resource)
	case op == 6, op == 7:
		p.note("available %s", resource)
		j.Available(0)
	case op == 8:
		p.note("unavailable %s", resource)
		p.r.SetPresence(j.Session, nil, 0)
	case op == 9, op == 10:
		p.note("full %s: %t", resource, op == 9)
		j.Out.Fill(op == 9)
	case op == 11:
		p.note("take %s", resource)
		p.take(j)
	case op == 12:
		p.note("logout %s", resource)
		j.Logout()
		p.look(j)
		delete(p.clients, resource)
	case op == 13:
		p.note("replaced %s", resource)
		p.clients[resource] = p.juliet(resource)
		synctest.Wait()
		p.look(j)
	}
	if p.IntN(2) == 0 {
		synctest.Wait()
	}
}

func (p *play) send(address string, size int) {
	p.sent++
	if address != "" {
		p.meant[p.sent] = p.clients[address[1:]]
	}
	xml := to(address, fmt.Sprint(p.sent), size)
	send := p.romeo.Send
	if p.IntN(2) == 0 {
		send = p.romeo.SendDurable
	}
	p.note("send %d to %q, %d bytes: %v", p.sent, address, size, send(xml).Outcome)
}

// look checks the order of what has come to a client.
func (p *play) look(j *moduletest.Client) {
	for _, d := range j.Deliveries() {
		n := number(d.Stanza)
		if p.meant[n] != j {
			continue
		}
		if n <= p.last[j] {
			p.Errorf("%s got %d after %d", j.Addr(), n, p.last[j])
		}
		p.last[j] = n
	}
}

func (p *play) take(j *moduletest.Client) {
	for _, d := range j.Take() {
		p.taken[number(d.Stanza)] = true
	}
	p.look(j)
}

// end lets both clients take all there is.
func (p *play) end() {
	p.note("end")
	for _, resource := range []string{"a", "b"} {
		if p.clients[resource] == nil {
			p.clients[resource] = p.juliet(resource)
		}
		p.clients[resource].Out.Fill(false)
	}
	for range p.sent + 5 {
		<-time.After(2 * patience)
		synctest.Wait()
		for _, j := range p.clients {
			p.take(j)
			j.Available(0)
		}
	}
	for n := range p.sent {
		if !p.taken[n+1] {
			p.Errorf("%d was never taken", n+1)
		}
	}
	p.wantStored(0)
	if !p.idle() {
		p.Error("a session still catches up")
	}
	for _, j := range p.clients {
		if j.Held() {
			p.Errorf("%s is held", j.Addr())
		}
		j.Logout()
	}
}

func number(s *xmpp.Stanza) int {
	n, _ := strconv.Atoi(s.Child(xmpp.Name{Space: xmpp.NSClient, Local: "body"}).Text())
	return n
}
