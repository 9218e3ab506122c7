package embedded

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"
)

// The kernel reads these.
func TestRequestsAreLaidOutAsTheKernelReadsThem(t *testing.T) {
	for name, c := range map[string][2]uintptr{
		"struct iocb":         {unsafe.Sizeof(ioRequest{}), 64},
		"aio_lio_opcode at":   {unsafe.Offsetof(ioRequest{}.command), 16},
		"aio_fildes at":       {unsafe.Offsetof(ioRequest{}.fd), 20},
		"aio_flags at":        {unsafe.Offsetof(ioRequest{}.flags), 56},
		"aio_resfd at":        {unsafe.Offsetof(ioRequest{}.notifies), 60},
		"struct io_event":     {unsafe.Sizeof(ioEvent{}), 32},
		"res of io_event, at": {unsafe.Offsetof(ioEvent{}.res), 16},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: %d, want %d", name, c[0], c[1])
		}
	}
}

// Many sync many files at once, more than flushers are kept.
func TestFilesAreSyncedSideBySide(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	var done atomic.Int64
	for i := range 4 * cap(flushers) {
		wg.Go(func() {
			file, err := os.Create(filepath.Join(dir, strconv.Itoa(i)))
			if err != nil {
				t.Error(err)
				return
			}
			defer file.Close()
			for range 5 {
				if _, err := file.WriteString("x"); err != nil {
					t.Error(err)
				}
				switch ok, err := flush(file); {
				case err != nil:
					t.Error(err)
				case ok:
					done.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if done.Load() == 0 {
		t.Error("nothing was synced so: does the machine refuse io_setup?")
	}
}

// What cannot be synced is an error in either way.
func TestWhatCannotBeSyncedIsAnError(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := (dataFile{r}).Sync(); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a pipe: %v, want EINVAL", err)
	}
	r.Close()
	if err := (dataFile{r}).Sync(); err == nil {
		t.Error("a closed file is synced")
	}
	if err := (ioEvent{res: -int64(syscall.EIO)}).err(); !errors.Is(err, syscall.EIO) {
		t.Errorf("an event of EIO: %v", err)
	}
	if err := (ioEvent{}).err(); err != nil {
		t.Errorf("an event of a file that is synced: %v", err)
	}
}
