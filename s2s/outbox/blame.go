package outbox

import (
	"fmt"

	"jackdaw/xmpp"
)

// A peer may refuse a stanza by ending the stream, as one does that gets more than it takes (XEP-0205 §4.5). Were that
// stanza written again and again, it would keep back all behind it. When the peer says that this is why a stream ended,
// stanzas are written to the next ones like the first packets of a TCP connection, one alone, then two, then four, so
// that it comes to be the only one that a stream ended with; when that has happened often enough it bounces.
const (
	maxStrikes = 3   // so often
	openWindow = 512 // so many at a time, and there is no more reason for caution
)

// blame notes that the peer has ended the stream for what it was sent, and takes out what cannot be sent for that
// reason. The caller holds mu.
func (p *pair) blame(cause *Failure) []item {
	p.window = 1
	if p.written != 1 || !cause.Alone {
		return nil // it was one of several
	}
	front := *p.queue.get(0)
	if front.at = nil; front != p.struck {
		p.struck, p.strikes = front, 0
	}
	if p.strikes++; p.strikes < maxStrikes {
		return nil
	}
	p.written = 0
	first := true
	return p.withdraw(p.queue.filter(0, func(*item) bool {
		defer func() { first = false }()
		return first
	}))
}

// trust lets more be written at a time, since the peer has taken n. The caller holds mu.
func (p *pair) trust(n int) {
	if p.window > 0 {
		if p.window += n; p.window >= openWindow {
			p.window = 0
		}
	}
}

// oversize takes out what is larger than the peer takes. The caller holds mu.
func (p *pair) oversize() (out []item) {
	if !p.unfit {
		return nil
	}
	p.unfit = false
	return p.withdraw(p.queue.filter(p.written, func(it *item) bool { return it.size() > p.limit }))
}

// tooLarge says whether the peer takes nothing of that size (XEP-0478). The caller holds mu.
func (p *pair) tooLarge(bytes int) bool {
	return p.stream != nil && p.limit > 0 && bytes > p.limit && !p.lost() // the next stream may have another
}

// withdraw discounts items that were taken out and are not in flight. The caller holds mu.
func (p *pair) withdraw(out []item) []item {
	for i := range out {
		p.discount(&out[i], false)
	}
	return out
}

// errTooLarge refuses what the peer would not take (XEP-0478 §4).
func errTooLarge(remote string, limit int) *xmpp.Error {
	return xmpp.PolicyViolation(fmt.Sprintf("%s takes nothing of more than %d bytes", remote, limit))
}

// errRejected is for what the peer ended its streams for.
func errRejected(remote string, cause *Failure) *xmpp.Error {
	return xmpp.PolicyViolation(remote + " does not take this: " + cause.Text)
}
