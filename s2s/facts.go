package s2s

import (
	"jackdaw/s2s/outbox"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
	"jackdaw/xmpp/stream"
)

// maxPairs is how many pairs one stream may carry in a direction.
const maxPairs = 100

// A proof says how a domain was authenticated.
type proof uint8

// The proofs.
const (
	byExternal    proof = iota + 1 // SASL EXTERNAL (XEP-0178)
	byCertificate                  // the certificate, where the peer asked for dialback (XEP-0220 §1.2)
	byDialback                     // the domain's own server confirmed the key
)

// String is the word used in listings and logs.
func (p proof) String() string {
	return [...]string{"", "external", "certificate", "dialback"}[p]
}

// facts are what a link has come to by negotiation, and where that stands.
type facts struct {
	direct bool // TLS from the first byte; set before the link is known, likewise bare
	bare   bool // opened without showing our certificate

	// The reader's; while an outgoing link is negotiated, that of whoever opens it.
	shown     bool        // our certificate was shown to the one we called
	offered   offered     // outgoing: by the peer
	external  bool        // incoming: EXTERNAL is offered
	login     sasl.Server // incoming: the attempt that goes on, if any
	failures  int         // of such attempts
	certainty error       // what is wrong with the peer's certificate for the domain of the header; nil: nothing

	// The link's mu guards these.
	began    bool   // our header for the present stream is out
	version  string // of TLS
	cipher   string // likewise
	flaw     string // certainty, for anybody to read
	id       string // of the stream: the response header's
	local    string // of the headers
	remote   string // likewise; "" as long as an incoming peer has not said
	bidi     bool   // XEP-0288
	errors   bool   // the peer knows dialback errors (XEP-0220 §2.4.2)
	limit    int    // bytes of a stanza, as the peer has announced (XEP-0478); 0: not at all
	proved   map[outbox.Pair]proof
	granted  map[outbox.Pair]proof         // what we may send
	claims   map[outbox.Pair]bool          // of the peer, that are being verified
	results  map[outbox.Pair]chan answer   // that we wait for
	verifies map[verification]chan verdict // likewise
}

func newFacts() facts {
	return facts{proved: map[outbox.Pair]proof{}, granted: map[outbox.Pair]proof{}, claims: map[outbox.Pair]bool{},
		results: map[outbox.Pair]chan answer{}, verifies: map[verification]chan verdict{}}
}

// header is our stream header, which is about to be written. The caller holds the link's mu.
func (f *facts) header() stream.Header {
	from, _ := jid.Parse(f.local) // the zero JID where there is none
	to, _ := jid.Parse(f.remote)  // likewise
	f.began = true
	return stream.Header{Content: xmpp.NSServer, From: from, To: to, ID: f.id, Version: "1.0", Lang: "en", Dialback: true}
}

// prove takes note of what the peer may send from now on, on the stream of that id; ok is false where that is another
// by now, or there is no place for it.
func (l *link) prove(p outbox.Pair, how proof, id string) (ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.id != id {
		return false
	}
	if _, had := l.proved[p]; had {
		return true
	}
	if l.ended || len(l.proved) >= maxPairs {
		return false
	}
	l.proved[p] = how
	l.srv.Stats.proofs[how].Add(1)
	if !l.known.Swap(true) && !l.outgoing {
		l.pass.Known()
		_ = l.patient() // the reader finds out if that does not work
	}
	l.srv.log.Info("link up", "peer", p.Remote, "local", p.Local, "direction", l.direction(), "by", how.String(),
		"tls", l.version)
	return true
}

// turnBack lets us use a link that a peer has opened for what it has proved, if it carries both directions. The peer
// has been told, or is before anything else.
func (l *link) turnBack(p outbox.Pair) {
	l.mu.Lock()
	how, ok := l.proved[p]
	if ok = ok && l.bidi && !l.outgoing && !l.ended; ok {
		l.granted[p] = how
		l.srv.mu.Lock()
		l.srv.back[p] = l
		l.srv.mu.Unlock()
	}
	l.mu.Unlock()
	l.srv.queue.Seen(p.Remote)
}

// direction is "in", "out" or "both". The caller holds mu.
func (l *link) direction() string {
	switch {
	case l.bidi:
		return "both"
	case l.outgoing:
		return "out"
	}
	return "in"
}
