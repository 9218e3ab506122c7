package gate

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// linesEvery is how long an address that has caused a line waits for its next one.
	linesEvery = time.Minute
	// linesMost is how many addresses may cause a line in that time: many attackers must not fill the log either.
	linesMost = 500
)

// Lines bounds what strangers can have written into the log: a line a minute for each address (of IPv6, each /64), and
// for all of them together. The zero value is ready; safe for concurrent use.
type Lines struct {
	mu      sync.Mutex // guards the rest
	written map[netip.Addr]*line
	swept   time.Time
	lost    int // lines of addresses beyond linesMost
}

type line struct {
	at   time.Time
	held int // since then
}

// Say says whether a line about this address may be written now, and how many were held back since the last one: its
// own, and those of addresses for which there was no room.
func (l *Lines) Say(a netip.Addr) (held int, ok bool) {
	a = Neighbourhood(a)
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if one := l.written[a]; one != nil && now.Sub(one.at) < linesEvery {
		one.held++
		return 0, false
	} else if one != nil {
		held = one.held
	} else if len(l.written) >= linesMost {
		if now.Sub(l.swept) >= time.Second { // else a flood of addresses would have us look all the time
			l.swept = now
			for b, one := range l.written {
				if now.Sub(one.at) >= linesEvery {
					l.lost += one.held
					delete(l.written, b)
				}
			}
		}
		if len(l.written) >= linesMost {
			l.lost++
			return 0, false
		}
	}
	if l.written == nil {
		l.written = map[netip.Addr]*line{}
	}
	held, l.lost = held+l.lost, 0
	l.written[a] = &line{at: now}
	return held, true
}
