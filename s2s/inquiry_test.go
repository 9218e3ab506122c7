package s2s

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhatAnAddressMayHaveVerifiedIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q inquiries
		attacker, neighbour := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
		n := 0
		for ; q.enter(attacker, false, 30) == nil; n++ {
		}
		if n != maxOfAddress || q.enter(neighbour, false, 30) == nil {
			t.Errorf("%d at a time", n)
		}
		for range n {
			q.leave(attacker)
		}
		for n = 0; q.enter(attacker, false, 30) == nil; n++ {
			q.leave(attacker)
		}
		if n != 10 {
			t.Errorf("%d more in the same minute", n)
		}
		time.Sleep(20 * time.Second)
		for n = 0; q.enter(attacker, true, 30) == nil; n++ {
			q.leave(attacker)
		}
		if n < 99 || n > 101 {
			t.Errorf("%d that come on a stream that is known, in a third of a minute", n)
		}
		if q.enter(netip.MustParseAddr("127.0.0.1"), false, 30) != nil {
			t.Error("this machine has a bound")
		}
		q.leave(netip.MustParseAddr("127.0.0.1"))
		time.Sleep(2 * time.Minute)
		if q.enter(netip.MustParseAddr("192.0.2.1"), false, 30) != nil || len(q.of) != 1 || q.all != 1 {
			t.Errorf("%d addresses are remembered, %d on their way", len(q.of), q.all)
		}
	})
}

func TestManyKeysOfSomeAddressesKeepNobodyOut(t *testing.T) {
	var q inquiries
	for i := range 10 {
		for range 20 {
			_ = q.enter(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), false, 1000)
		}
	}
	for i := range 100 {
		bad := q.enter(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), false, 1000)
		if (bad == nil) != (q.all <= maxVerifications && i < 95) {
			t.Fatalf("address %d, with %d on their way: %v", i, q.all, bad)
		}
	}
}

// Eight streams with a hundred keys each made the server call 157 times.
func TestStrangersMakeTheServerCallAFewTimesOnly(t *testing.T) {
	w, b, _ := victim(t)
	b.distant()
	for i := range 800 {
		w.mu.Lock()
		w.places[fmt.Sprintf("d%d.example", i)] = []place{{"127.0.0.1:1", false}} // nobody is there
		w.mu.Unlock()
	}
	began := time.Now()
	for i := range 4 {
		s := b.call()
		s.encrypt(capulet, montague, nil)
		for k := range 50 {
			s.say(fmt.Sprintf("<db:result from='d%d.example' to='%s'>key</db:result>", i*100+k, montague))
		}
		for range 50 {
			s.expect("type='error'")
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := 0
	for _, n := range w.dials {
		calls += n
	}
	perMinute := b.settings().Limits.PeerVerifications
	if most := perMinute + int(time.Since(began).Minutes()*float64(perMinute)); calls == 0 || calls > most+1 {
		t.Errorf("the server called %d times, %d are allowed", calls, most)
	}
}

func TestKeysOfOneDomainShareACall(t *testing.T) {
	w, b, _ := victim(t)
	g := w.stage(capulet)
	var all []*stranger
	for range 3 {
		s := b.call()
		s.encrypt(capulet, montague, nil)
		s.say("<db:result from='" + capulet + "' to='" + montague + "'>key</db:result>")
		all = append(all, s)
	}
	until(t, "all wait", func() bool {
		b.Server.mu.Lock()
		defer b.Server.mu.Unlock()
		for _, a := range b.authorities {
			return a.users == 3
		}
		return false
	})
	authority := g.enter()
	authority.acceptTLS(capulet, montague, g.cert, dialbackFeature)
	for range 3 {
		asked := authority.expect("verify", "from='"+montague+"'", ">key<")
		for _, s := range all {
			if id := "id='" + s.id + "'"; strings.Contains(asked, id) {
				authority.say("<db:verify from='" + capulet + "' to='" + montague + "' " + id + " type='valid'/>")
			}
		}
	}
	for _, s := range all {
		s.expect("result", "type='valid'")
	}
	authority.expectOver("")
	if n := w.dialed(capulet); n != 1 {
		t.Errorf("the server called %d times", n)
	}
}
