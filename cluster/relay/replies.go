package relay

import (
	"encoding/binary"
	"net"
	"sync"
	"time"
)

// replies are the answers that leave over a stream.
type replies struct {
	c    net.Conn
	wake chan struct{}
	over chan struct{}

	mu   sync.Mutex // guards the rest
	b    []byte
	dead bool
}

// add queues an answer. It does not block.
func (o *replies) add(a *answer) {
	o.mu.Lock()
	if o.dead {
		o.mu.Unlock()
		return
	}
	if len(o.b) == 0 {
		o.b = append(o.b, 0, 0, 0, 0)
	}
	o.b = a.append(o.b)
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// beat answers a batch that says nothing with another one, if nothing is to be said.
func (o *replies) beat() {
	o.mu.Lock()
	if !o.dead && len(o.b) == 0 {
		o.b = append(o.b, 0, 0, 0, 0)
	}
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *replies) end() {
	o.mu.Lock()
	dead := o.dead
	o.dead, o.b = true, nil
	o.mu.Unlock()
	if !dead {
		close(o.over)
		_ = o.c.Close() // it says nothing of use; it may wait for the link
	}
}

// write writes what is queued, for as long as the stream lives.
func (o *replies) write() {
	var spare []byte
	for {
		select {
		case <-o.wake:
		case <-o.over:
			return
		}
		for {
			o.mu.Lock()
			b := o.b
			o.b = spare[:0]
			o.mu.Unlock()
			if spare = b; len(b) == 0 {
				break
			}
			binary.BigEndian.PutUint32(b, uint32(len(b)-batchHead))
			_ = o.c.SetWriteDeadline(time.Now().Add(writeTime)) // an error shows at the write
			if _, err := o.c.Write(b); err != nil {
				o.end()
				return
			}
			if cap(spare) > bigBuffer {
				spare = nil
			}
		}
	}
}
