package gate

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnAddressCausesALineAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Lines
		a, neighbour := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
		if held, ok := l.Say(a); !ok || held != 0 {
			t.Errorf("the first: %d, %v", held, ok)
		}
		for range 3 {
			if _, ok := l.Say(neighbour); ok {
				t.Error("a second line within the minute")
			}
		}
		if _, ok := l.Say(netip.MustParseAddr("192.0.2.1")); !ok {
			t.Error("another address is held back")
		}
		time.Sleep(linesEvery)
		if held, ok := l.Say(a); !ok || held != 3 {
			t.Errorf("after a minute: %d, %v", held, ok)
		}
	})
}

func TestManyAddressesDoNotFillTheLogEither(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Lines
		written := 0
		for i := range 10 * linesMost {
			if _, ok := l.Say(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})); ok {
				written++
			}
		}
		if written != linesMost || len(l.written) != linesMost {
			t.Errorf("%d lines, %d addresses remembered", written, len(l.written))
		}
		time.Sleep(linesEvery)
		if held, ok := l.Say(netip.MustParseAddr("192.0.2.1")); !ok || held != 9*linesMost {
			t.Errorf("after a minute: %d, %v", held, ok)
		}
	})
}
