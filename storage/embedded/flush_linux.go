package embedded

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A flusher has the kernel sync a file while nobody's thread is in a system call (io_submit(2), IOCB_CMD_FDSYNC). One
// that waits for a disk costs a Go program more than the disk: its processor is taken away, another thread is woken for
// it, and the runtime's monitor looks again every 20 µs as long as it finds such calls
// (docs/decisions/0068-fsync-without-a-thread.md). It has one request at a time.
type flusher struct {
	queue uintptr  // the kernel's, for one request
	event *os.File // an eventfd that counts what has ended, and waits as any descriptor does
	fd    uint32   // its number: os.File.Fd would have it block
}

// flushers are those that nobody uses: as many as sync at the same time, mostly one or two.
var flushers = make(chan *flusher, 8)

// Of linux/aio_abi.h.
const (
	ioFdsync = 3 // IOCB_CMD_FDSYNC
	ioNotify = 1 // IOCB_FLAG_RESFD
)

// ioRequest is struct iocb.
type ioRequest struct {
	_        uint64 // comes back with the event
	_        [2]uint32
	command  uint16
	_        int16
	fd       uint32
	_        [4]uint64 // what is read or written, and where
	flags    uint32
	notifies uint32
}

// ioEvent is struct io_event.
type ioEvent struct {
	_   [2]uint64
	res int64 // below 0: an errno
	_   int64
}

// flush is fdatasync(2). It is false, and nothing is done, where the kernel does not do it so, or not for us.
func flush(file *os.File) (done bool, err error) {
	var f *flusher
	select {
	case f = <-flushers:
	default:
		if f = newFlusher(); f == nil {
			return false, nil
		}
	}
	done, again, err := f.sync(file)
	if again {
		select {
		case flushers <- f:
			return done, err
		default:
		}
	}
	f.close()
	return done, err
}

// newFlusher is nil where there can be none.
func newFlusher() *flusher {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil
	}
	f := &flusher{event: os.NewFile(uintptr(fd), "eventfd"), fd: uint32(fd)}
	if _, _, e := unix.Syscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&f.queue)), 0); e != 0 {
		_ = f.event.Close() // nothing is in it
		return nil
	}
	return f
}

// close waits for what the kernel has been given.
func (f *flusher) close() {
	_, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, f.queue, 0, 0) // it is ours
	_ = f.event.Close()                                        // nothing is in it
}

// sync is flush; again says that it may be used once more.
func (f *flusher) sync(file *os.File) (done, again bool, err error) {
	conn, err := file.SyscallConn()
	if err != nil {
		return false, true, nil // the other way says why
	}
	taken := false
	err = conn.Control(func(fd uintptr) {
		list := [1]*ioRequest{{command: ioFdsync, fd: uint32(fd), flags: ioNotify, notifies: f.fd}}
		n, _, e := unix.RawSyscall(unix.SYS_IO_SUBMIT, f.queue, 1, uintptr(unsafe.Pointer(&list)))
		taken = e == 0 && n == 1
	})
	if err != nil || !taken {
		return false, true, nil
	}
	var count [8]byte
	if _, err := f.event.Read(count[:]); err != nil {
		return true, false, err // what has become of it is not known: as if it had failed
	}
	var events [1]ioEvent
	var now unix.Timespec
	n, _, e := unix.RawSyscall6(unix.SYS_IO_GETEVENTS, f.queue, 1, 1, uintptr(unsafe.Pointer(&events)),
		uintptr(unsafe.Pointer(&now)), 0)
	switch {
	case e != 0:
		return true, false, os.NewSyscallError("io_getevents", e)
	case n != 1: // an event is there before it is counted
		return true, false, os.NewSyscallError("io_getevents", syscall.EIO)
	}
	return true, true, events[0].err()
}

// err is what the kernel says of a request.
func (e ioEvent) err() error {
	if e.res < 0 {
		return os.NewSyscallError("fdatasync", syscall.Errno(-e.res))
	}
	return nil
}
