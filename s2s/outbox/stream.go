package outbox

import (
	"context"

	"jackdaw/xmpp"
)

// A Pair names a direction: from a domain of ours to a domain of a peer. Both are normalised.
type Pair struct{ Local, Remote string }

// A Stream is a way to a peer on which the pair has been authenticated. It may carry other pairs too, and the other
// direction. s2s implements it.
type Stream interface {
	// Write sends n stanzas, written one behind the other in xml, and returns when the socket has taken them. After an
	// error the stream is over; what of xml has arrived is unknown. xml is borrowed. Calls do not overlap for one pair.
	Write(xml []byte, n int) error
	// Over is closed when the stream has ended, whoever ended it.
	Over() <-chan struct{}
	// Limit is the most bytes of a stanza that the peer says it takes (XEP-0478); 0 if it has not said. It does not
	// change.
	Limit() int
	// Cause says why the stream has ended; nil while it has not, or if nobody knows.
	Cause() *Failure
	// Close says that the pair needs the stream no longer; it ends when no other pair does. Acknowledgements that are on
	// their way are awaited for a moment.
	Close()
}

// Acked is told how many more of the oldest stanzas written for a pair the peer has taken: by stream management
// (XEP-0198) or, without it, as well as one can tell. It must not block, nor call the stream.
type Acked func(n int)

// A Dialer opens streams. s2s implements it.
type Dialer interface {
	// Open makes one attempt to bring an authenticated stream for the pair: one that is there already, or a new one.
	// Stanzas that had been written to an earlier stream of the pair and that the peer, asked on resumption (XEP-0198 §5),
	// says it has are given to acked before Open returns; all others must be written again. From then on acked is called
	// until the stream is over, and not afterwards.
	Open(ctx context.Context, p Pair, acked Acked) (Stream, error)
}

// A Failure says why there is no stream, or none any more. The errors that Open returns are Failures.
type Failure struct {
	Text      string         // bland, for the sender: "the certificate has expired"
	Condition xmpp.Condition // CondRemoteServerNotFound or CondRemoteServerTimeout
	Permanent bool           // another attempt would end the same way: what waits bounces at once
	Err       error          // for the log, without what Text says; may be nil

	// Of streams that were there:
	Blames bool // the peer ended it because of something that it was sent
	Alone  bool // nothing but stanzas of the pair was written to it that the peer had not acknowledged
}

func (f *Failure) Error() string {
	if f.Err != nil {
		return f.Text + ": " + f.Err.Error()
	}
	return f.Text
}

// Unwrap is Err.
func (f *Failure) Unwrap() error { return f.Err }
