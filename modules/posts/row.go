package posts

import (
	"encoding/binary"
	"errors"

	"jackdaw/modules/internal/record"
	"jackdaw/router"
	"jackdaw/xmpp/jid"
)

// rowFormat is the first byte of a record: then the newest stamp of an outcome in it, as eight bytes, and rows up to
// the end. A row is a post, or some of the recipients of a large one:
//
//	id, sender, id of the message ("" for that of the post), number of all recipients, index of the first here, number
//	of those here, and for each of them head, time of the outcome, [reason,] address
//
// Numbers are uvarints and strings have their length before them. The time is in milliseconds since the post. head is
// the outcome with flags: sameDomain leaves the domain out of the address of an account, which is then that of the
// recipient before.
const rowFormat = 1

const (
	outcomeMask = 0x0f
	hasReason   = 0x10
	sameDomain  = 0x20
)

var errRow = errors.New("record of posts that cannot be read")

// most bounds what a record may claim.
const most = 1 << 24

// appendRow appends a post with n of its recipients from the first on.
func appendRow(b []byte, p *post, first, n int) []byte {
	b = binary.AppendUvarint(b, p.id)
	b = record.AppendText(b, p.sender.String())
	b = record.AppendText(b, p.messageID)
	b = binary.AppendUvarint(b, uint64(len(p.to)))
	b = binary.AppendUvarint(b, uint64(first))
	b = binary.AppendUvarint(b, uint64(n))
	domain := ""
	for i := first; i < first+n; i++ {
		r := &p.to[i]
		head, address := byte(r.outcome), r.to.String()
		if r.reason != "" {
			head |= hasReason
		}
		if r.to.IsBare() && r.to.Local() != "" && r.to.Domain() == domain {
			head |= sameDomain
			address = r.to.Local()
		}
		domain = r.to.Domain()
		late := uint64(0)
		if r.at > p.id {
			late = (r.at - p.id) / 1000
		}
		b = binary.AppendUvarint(append(b, head), late)
		if r.reason != "" {
			b = record.AppendText(b, r.reason)
		}
		b = record.AppendText(b, address)
	}
	return b
}

// A row is what appendRow wrote: the post has all places for recipients, and those that are here are filled in.
type row struct {
	post     *post // without its account
	total    int
	first, n int
}

// A reader takes a record apart.
type reader struct{ record.Reader }

// count is a number that is at most that of a record.
func (r *reader) count() int {
	v := r.Number()
	if v > most {
		r.Bad = true
		return 0
	}
	return int(v)
}

func (r *reader) address() jid.JID {
	j, err := jid.ParseBytes(r.Bytes())
	r.Bad = r.Bad || err != nil
	return j
}

// newestIn is the newest stamp in a record; 0 if it cannot be read.
func newestIn(b []byte) uint64 {
	if len(b) < 9 || b[0] != rowFormat {
		return 0
	}
	return binary.BigEndian.Uint64(b[1:])
}

// readRows reads a record. What the rows hold is theirs.
func readRows(b []byte) (rows []row, err error) {
	if len(b) < 9 || b[0] != rowFormat {
		return nil, errRow
	}
	r := reader{record.Reader{B: b[9:]}}
	for len(r.B) > 0 {
		p := &post{id: r.Number(), sender: r.address(), messageID: r.Text(), settled: true}
		one := row{post: p, total: r.count(), first: r.count(), n: r.count()}
		// A recipient takes three bytes at least, so that nothing is believed that is not there.
		if r.Bad || one.n == 0 || one.n > len(r.B)/3 || one.first+one.n > one.total {
			return nil, errRow
		}
		p.to = make([]recipient, one.n)
		for i := range p.to {
			r.recipient(p, i)
		}
		if r.Bad {
			return nil, errRow
		}
		rows = append(rows, one)
	}
	return rows, nil
}

// recipient reads one into its place.
func (r *reader) recipient(p *post, i int) {
	head := r.Byte()
	to := &p.to[i]
	to.outcome = router.Outcome(head & outcomeMask)
	to.at = p.id + min(r.Number(), most*1000)*1000
	if head&hasReason != 0 {
		to.reason = r.Text()
	}
	if head&sameDomain == 0 {
		to.to = r.address()
	} else if i > 0 {
		var err error
		to.to, err = jid.New(string(r.Bytes()), p.to[i-1].to.Domain(), "")
		r.Bad = r.Bad || err != nil
	} else {
		r.Bad = true
	}
	r.Bad = r.Bad || to.outcome > router.Bounced || to.to.IsZero()
}
