package certificates

import (
	"crypto/x509"
	"math/rand/v2"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

const (
	// afterFirst is how long a name waits after its first failure; the next attempt is by another challenge, if there is
	// one. afterSecond is doubled by each further failure, up to afterMany. That makes four attempts in the first hour:
	// authorities allow five.
	afterFirst  = time.Minute
	afterSecond = 10 * time.Minute
	afterMany   = 24 * time.Hour
	// hurryAfter is how old an attempt must be before a reload brings another one.
	hurryAfter = 15 * time.Minute
	// missingWait is how long a name without a record waits, which costs nobody but our own resolver anything.
	missingWait = 10 * time.Minute
	// longestRetry bounds what an authority may ask for.
	longestRetry = 7 * 24 * time.Hour
	// atLeastApart is between two certificates of one name, whatever the authority suggests, or a third of a lifetime.
	atLeastApart = 6 * time.Hour
)

// backoff is how long to wait after so many failures, one after the other: a tenth more or less, so that servers that
// failed together do not come back together.
func backoff(failures int) time.Duration {
	d := afterFirst
	if failures > 1 {
		d = afterMany
		if n := failures - 2; n < 8 { // 2^8 times ten minutes is more than a day
			d = min(afterSecond<<n, afterMany)
		}
	}
	return d - d/10 + rand.N(d/5)
}

func lifetime(leaf *x509.Certificate) time.Duration { return leaf.NotAfter.Sub(leaf.NotBefore) }

// A window is when the authority suggests that a certificate be renewed (RFC 9773 §4.2). It is that of one certificate.
type window struct {
	ID          string    `json:"id"` // of the certificate
	Start       time.Time `json:"start,omitzero"`
	End         time.Time `json:"end,omitzero"`
	Chosen      time.Time `json:"chosen,omitzero"` // at random between these
	Explanation string    `json:"explanation,omitempty"`
	Ask         time.Time `json:"ask"` // again
}

// of says whether it is that of this certificate.
func (w *window) of(leaf *x509.Certificate) bool {
	id, err := acme.ARIUniqueIdentifier(leaf)
	return err == nil && w.ID == id
}

// renewal is when a certificate is to be renewed: when the authority suggests it, but with a tenth of its lifetime left
// at least, else after two thirds of it.
func renewal(leaf *x509.Certificate, w *window) time.Time {
	if w.of(leaf) && !w.Chosen.IsZero() {
		if last := leaf.NotBefore.Add(lifetime(leaf) / 10 * 9); w.Chosen.After(last) {
			return last
		}
		return w.Chosen
	}
	return leaf.NotBefore.Add(lifetime(leaf) / 3 * 2)
}

// from says whether the certificate is from this authority, as far as is known: a record may be lost.
func (r *record) from(set *Settings) bool { return r.Directory == set.Directory || r.Directory == "" }

// orderAt is when to order a certificate.
func (h *held) orderAt(set *Settings) time.Time {
	at := time.Time{} // at once
	if h.cert != nil && h.record.from(set) {
		at = renewal(h.cert.Leaf, &h.record.Window)
	}
	if h.record.Asked != set.Directory {
		return at // another authority knows nothing of failures
	}
	for _, not := range []time.Time{h.record.Next, h.record.NotBefore} {
		if not.After(at) {
			at = not
		}
	}
	return at
}

// askAt is when to ask for the window of renewal; zero: there is nothing to ask for.
func (h *held) askAt(set *Settings) time.Time {
	switch {
	case h.cert == nil || !h.record.from(set):
		return time.Time{}
	case h.record.Window.of(h.cert.Leaf):
		return h.record.Window.Ask
	default:
		return h.cert.Leaf.NotBefore
	}
}

// next is when something is due.
func (h *held) next(set *Settings) time.Time {
	at := h.orderAt(set)
	if ask := h.askAt(set); !ask.IsZero() && ask.Before(at) {
		return ask
	}
	return at
}

// mayHurry says whether an attempt that failed may be made again before its time.
func (h *held) mayHurry(now time.Time, hurry int32) bool {
	r := &h.record
	if r.Problem == "" || now.Before(r.NotBefore) {
		return false
	}
	return r.Missing && hurry >= hurryMissing || hurry == hurryAll && !now.Before(r.Tried.Add(hurryAfter))
}
