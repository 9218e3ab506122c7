package announcements

import (
	"encoding/binary"
	"errors"
	"time"
)

const recordVersion = 1

func (s seen) append(dst []byte) []byte {
	dst = append(dst, recordVersion)
	for _, n := range []int64{s.announced, s.motd} {
		dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	if s.welcomed {
		return append(dst, 1)
	}
	return append(dst, 0)
}

var errRecord = errors.New("a record of another version, or damaged")

func parseSeen(b []byte) (s seen, err error) {
	if len(b) != 18 || b[0] != recordVersion {
		return s, errRecord
	}
	return seen{announced: int64(binary.BigEndian.Uint64(b[1:])), motd: int64(binary.BigEndian.Uint64(b[9:])),
		welcomed: b[17] == 1}, nil
}

// append writes a notice without its id: when it was made, until when it is kept, its text.
func (n *Notice) append(dst []byte) []byte {
	until := int64(0)
	if !n.Until.IsZero() {
		until = n.Until.UnixNano()
	}
	dst = binary.BigEndian.AppendUint64(append(dst, recordVersion), uint64(n.Made.UnixNano()))
	return append(binary.BigEndian.AppendUint64(dst, uint64(until)), n.Text...)
}

func parse(b []byte) (n Notice, err error) {
	if len(b) < 17 || b[0] != recordVersion {
		return n, errRecord
	}
	n = Notice{Made: time.Unix(0, int64(binary.BigEndian.Uint64(b[1:]))), Text: string(b[17:])}
	if until := int64(binary.BigEndian.Uint64(b[9:])); until != 0 {
		n.Until = time.Unix(0, until)
	}
	return n, nil
}
