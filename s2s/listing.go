package s2s

import (
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"jackdaw/s2s/outbox"
)

// Stats count since the start, but for those that say they are current.
type Stats struct {
	Accepted        atomic.Int64
	Refused         atomic.Int64 // by the limits of an address
	TLSFailures     atomic.Int64
	AuthFailures    atomic.Int64 // of peers that wanted to prove a domain
	ExternalRefused atomic.Int64 // of us, by peers
	Piggybacked     atomic.Int64 // pairs of ours that joined a stream
	KeysForged      atomic.Int64 // keys of peers that their domain did not know
	KeysDenied      atomic.Int64 // keys that we were asked about and had not made
	Unsolicited     atomic.Int64 // dialback answers that nobody had asked for
	Spoofed         atomic.Int64 // stanzas in the name of a domain that was not proved
	Forged          atomic.Int64 // stanzas of senders that are not ours, stopped at the door: a fault of the server
	Injected        atomic.Int64 // streams with clear text where TLS should begin
	Lost            atomic.Int64 // streams that ended without a word
	Silent          atomic.Int64 // peers that acknowledged nothing any more
	Resumptions     atomic.Int64 // streams that peers resumed
	Resumed         atomic.Int64 // streams that we resumed
	StanzasIn       atomic.Int64
	StanzasOut      atomic.Int64
	Panics          atomic.Int64 // a fault of the server

	proofs [4]atomic.Int64 // pairs that peers proved, by proof
	grants [4]atomic.Int64 // pairs that we proved, likewise
}

// Proofs are how often peers proved a pair and we did, by "external", "certificate" and "dialback".
func (s *Stats) Proofs() (theirs, ours map[string]int64) {
	theirs, ours = map[string]int64{}, map[string]int64{}
	for _, p := range []proof{byExternal, byCertificate, byDialback} {
		theirs[p.String()] = s.proofs[p].Load()
		ours[p.String()] = s.grants[p].Load()
	}
	return theirs, ours
}

// A Link is a stream as `jackdaw s2s` lists it.
type Link struct {
	Direction     string // "in", "out", "both"
	Outgoing      bool   // we opened it
	Authenticated bool
	Pairs         []ProvedPair
	TLS           string // version, "" without
	Cipher        string
	DirectTLS     bool
	Certificate   string // what is wrong with the peer's certificate; "" nothing, or it has not been looked at
	Managed       bool   // XEP-0198
	Bidirectional bool   // XEP-0288
	Address       string
	Since         time.Time
	StanzasIn     int64
	StanzasOut    int64
	Unacked       int64 // stanzas written that the peer has not taken, as far as we know
}

// A ProvedPair is what a link is for.
type ProvedPair struct {
	Local, Remote string
	By            string // "external", "certificate", "dialback"
}

// Links are all streams, the oldest first.
func (s *Server) Links() []Link {
	var list []Link
	for _, l := range s.streams.All() {
		list = append(list, l.describe())
	}
	slices.SortFunc(list, func(a, b Link) int { return a.Since.Compare(b.Since) })
	return list
}

func (l *link) describe() Link {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := Link{Direction: l.direction(), Outgoing: l.outgoing, Authenticated: l.known.Load(), DirectTLS: l.direct,
		Managed: l.out.sm, Bidirectional: l.bidi, Address: l.Transport.RemoteAddr().String(), Since: l.since,
		StanzasIn: l.stanzasIn.Load(), StanzasOut: l.stanzasOut.Load(), Unacked: l.out.written - l.out.taken,
		TLS: l.version, Cipher: l.cipher, Certificate: l.flaw}
	pairs := map[outbox.Pair]proof{}
	first, then := l.granted, l.proved
	if l.outgoing { // what comes back to us counts less than what we have proved
		first, then = then, first
	}
	maps.Copy(pairs, first)
	maps.Copy(pairs, then)
	for p, how := range pairs {
		d.Pairs = append(d.Pairs, ProvedPair{p.Local, p.Remote, how.String()})
	}
	slices.SortFunc(d.Pairs, func(a, b ProvedPair) int {
		return strings.Compare(a.Remote+" "+a.Local, b.Remote+" "+b.Local)
	})
	return d
}
