package link

import (
	"fmt"
	"io"
)

// A hello is what both ends say first, once they have proved to have the key: which protocols they speak. What
// follows in a longer one is of later versions and is passed over.
//
//	length of what follows   1 byte
//	oldest protocol          1 byte
//	newest protocol          1 byte
//	kind of the stream       1 byte, of who has dialed, if one stream has the connection for itself (protocol 2)
type hello struct{ oldest, newest byte }

// spoken are the protocols of this version: the meaning of kinds, and of what they carry. A node of the version before
// must be able to speak with one of this version, so that nodes can be upgraded one by one.
var spoken = hello{oldest: 1, newest: 2}

func (h hello) bytes(k Kind) []byte {
	if k == 0 {
		return []byte{2, h.oldest, h.newest}
	}
	return []byte{3, h.oldest, h.newest, byte(k)}
}

func readHello(r io.Reader) (h hello, k Kind, err error) {
	var b [256]byte
	if _, err = io.ReadFull(r, b[:1]); err != nil {
		return h, 0, err
	}
	n := int(b[0])
	if _, err = io.ReadFull(r, b[:n]); err != nil {
		return h, 0, err
	}
	if n < 2 || b[0] == 0 || b[0] > b[1] {
		return h, 0, errHello
	}
	return hello{oldest: b[0], newest: b[1]}, Kind(b[2]), nil // 0 if it is not there
}

// shared is the newest protocol that both speak.
func (h hello) shared(other hello) (byte, error) {
	newest := min(h.newest, other.newest)
	if newest < max(h.oldest, other.oldest) {
		return 0, &versionError{ours: h, theirs: other}
	}
	return newest, nil
}

var errHello = fmt.Errorf("the other end does not speak the protocol of links")

// versionError says that two nodes have no protocol in common.
type versionError struct{ ours, theirs hello }

func (e *versionError) Error() string {
	return fmt.Sprintf("this node speaks the protocols %d to %d, the other %d to %d", e.ours.oldest, e.ours.newest,
		e.theirs.oldest, e.theirs.newest)
}
