package wire

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"
)

// asleep are the transports of this process that wait without a goroutine.
var asleep sleepers

// sleepers are looked after by one goroutine, which is there while there are any. They are in an epoll of their own,
// beside that of the runtime, until something comes: each at most once (EPOLLONESHOT), so that what is awake costs
// nothing here.
type sleepers struct {
	mu    sync.Mutex // guards the rest, and later and slot of each transport
	poll  *os.File   // the epoll, which the runtime waits for; nil before the first, and where there is none
	fd    int
	tried bool
	at    []*Transport // by descriptor; nil: awake
	n     int
	runs  bool
}

// open makes the epoll at first use. The caller holds mu.
func (s *sleepers) open() bool {
	if s.tried {
		return s.poll != nil
	}
	s.tried = true
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return false
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // for the runtime to wait for it
		_ = syscall.Close(fd) // which is new and unused
		return false
	}
	poll := os.NewFile(uintptr(fd), "epoll")
	if poll.SetReadDeadline(time.Time{}) != nil { // the runtime does not
		_ = poll.Close() // likewise
		return false
	}
	s.poll, s.fd = poll, fd
	return true
}

// AwaitLater has f called on a goroutine of its own when Await would return, and there is none until then. The reader
// calls it in place of Await, and f goes on as the reader. It returns false where that is not possible. From here on
// the connection is closed by the transport alone.
func (t *Transport) AwaitLater(f func()) bool {
	if t.raw == nil || t.pos < t.end {
		return false
	}
	s := &asleep
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open() || t.interrupted.Load() { // whoever interrupts says so first, and looks here afterwards
		return false
	}
	added := false
	err := t.raw.Control(func(fd uintptr) {
		e := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLONESHOT, Fd: int32(fd)}
		if syscall.EpollCtl(s.fd, syscall.EPOLL_CTL_ADD, int(fd), &e) != nil {
			return
		}
		for int(fd) >= len(s.at) {
			s.at = append(s.at, nil)
		}
		s.at[fd], t.slot, added = t, int32(fd), true
	})
	if err != nil || !added {
		return false
	}
	t.later = f
	if s.n++; !s.runs {
		s.runs = true
		_ = s.poll.SetReadDeadline(time.Time{}) // as open did
		go s.run()
	}
	return true
}

// awaken lets a transport go on that is asleep.
func (t *Transport) awaken() {
	if t.raw == nil {
		return
	}
	asleep.mu.Lock()
	defer asleep.mu.Unlock()
	asleep.wake(t)
}

// wake is awaken for a caller that holds mu.
func (s *sleepers) wake(t *Transport) {
	if t.later == nil {
		return
	}
	// The kernel has forgotten a descriptor that is closed, and it may be another's by now.
	_ = t.raw.Control(func(fd uintptr) { _ = syscall.EpollCtl(s.fd, syscall.EPOLL_CTL_DEL, int(fd), nil) })
	if s.at[t.slot] == t {
		s.at[t.slot] = nil
	}
	go t.later()
	t.later = nil
	if s.n--; s.n == 0 {
		_ = s.poll.SetReadDeadline(time.Unix(1, 0)) // run ends
	}
}

// run wakes those for whom something has come, until nobody sleeps. It panics if the epoll is closed; it never is.
func (s *sleepers) run() {
	raw, err := s.poll.SyscallConn()
	if err != nil {
		panic(err) // it is never closed
	}
	var events [128]syscall.EpollEvent
	for {
		n := 0
		err := raw.Read(func(fd uintptr) bool {
			for {
				got, err := syscall.EpollWait(int(fd), events[:], 0)
				if err != syscall.EINTR {
					n = got
					return n > 0
				}
			}
		})
		s.mu.Lock()
		for _, e := range events[:max(n, 0)] {
			// One that has been closed may leave an event to another with its descriptor, who finds nothing then.
			if t := s.at[e.Fd]; t != nil {
				s.wake(t)
			}
		}
		if s.n == 0 {
			s.runs = false
			s.mu.Unlock()
			return
		}
		if errors.Is(err, os.ErrDeadlineExceeded) { // somebody has come since
			_ = s.poll.SetReadDeadline(time.Time{}) // as open did
		}
		s.mu.Unlock()
	}
}
