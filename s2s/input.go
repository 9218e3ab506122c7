package s2s

import "sync"

const (
	// calmSize is what a link that mostly waits reads into, busySize what one does whose peer has more to say.
	calmSize = 2 << 10
	busySize = 16 << 10
)

var busyBuffers = sync.Pool{New: func() any { return new([busySize]byte) }}

// input is what has been read of a stream and not consumed: buf[pos:end].
type input struct {
	buf    []byte
	calm   []byte          // the buffer of quiet times
	pooled *[busySize]byte // buf, while there is much to read
	pos    int
	end    int
	busy   bool // the last read filled its buffer
	total  int  // bytes read
	unpaid int  // of them, consumed and on nobody's budget yet
	most   int  // of them, before authentication; 0: no bound
}

// room makes place behind what has been read. It says whether an item is half read.
func (in *input) room() (half bool) {
	rest := in.buf[in.pos:in.end]
	if len(rest) == 0 {
		in.pos, in.end = 0, 0
		switch {
		case in.busy && in.pooled == nil:
			in.pooled = busyBuffers.Get().(*[busySize]byte)
			in.buf = in.pooled[:]
		case in.busy:
			in.buf = in.pooled[:] // whatever larger one there was, it was for one item
		default:
			in.unpool()
			if in.calm == nil {
				in.calm = make([]byte, calmSize)
			}
			in.buf = in.calm
		}
		return false
	}
	if in.end < len(in.buf) {
		return true
	}
	to := in.buf
	if len(rest) > len(in.buf)/2 {
		if len(in.buf) < busySize && in.pooled == nil {
			in.pooled = busyBuffers.Get().(*[busySize]byte)
			to = in.pooled[:]
		} else {
			to = make([]byte, 2*len(in.buf))
		}
	}
	in.end = copy(to, rest)
	in.pos, in.buf = 0, to
	return true
}

// took takes note that n bytes have been read.
func (in *input) took(n int) {
	in.end += n
	in.total += n
	in.busy = in.end == len(in.buf)
}

func (in *input) unpool() {
	if in.pooled != nil {
		busyBuffers.Put(in.pooled)
		in.pooled = nil
	}
}

// free lets go of everything.
func (in *input) free() {
	in.buf, in.calm, in.pos, in.end = nil, nil, 0, 0
	in.unpool()
}

// empty says whether nothing has been read that was not consumed.
func (in *input) empty() bool { return in.pos == in.end }
