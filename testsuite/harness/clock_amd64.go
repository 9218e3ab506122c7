package harness

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A Clock is that of one process. Time comes to it by a function that the kernel maps into each process (vdso(7)); in
// this process the function asks the kernel and adds an offset to CLOCK_REALTIME, and to no other clock: as when
// somebody sets the time. So the binary is the one that people run.
type Clock struct {
	t    testing.TB
	s    *Server
	at   int64     // the function
	span [2]uint64 // addresses of the mapping
}

// program is the function up to the offset: mov eax, SYS_clock_gettime; syscall; test edi, edi; jne +7;
// add qword [rsi], offset. The return follows.
var program = []byte{0xb8, 0xe4, 0, 0, 0, 0x0f, 0x05, 0x85, 0xff, 0x75, 7, 0x48, 0x81, 0x06}

// TakeClock gets hold of the clock of a server, until its process ends.
func TakeClock(t testing.TB, s *Server) *Clock {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", s.PID()))
	if err != nil {
		t.Fatal(err)
	}
	c := &Clock{t: t, s: s}
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(strings.TrimSpace(line), "[vdso]") {
			if _, err := fmt.Sscanf(line, "%x-%x ", &c.span[0], &c.span[1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	image := make([]byte, c.span[1]-c.span[0])
	c.memory(func(f *os.File) error { _, err := f.ReadAt(image, int64(c.span[0])); return err })
	object, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatalf("vdso: %v", err)
	}
	symbols, err := object.DynamicSymbols()
	if err != nil {
		t.Fatalf("vdso: %v", err)
	}
	for _, symbol := range symbols {
		if symbol.Name == "__vdso_clock_gettime" {
			c.at = int64(c.span[0] + symbol.Value)
		}
	}
	if c.at == 0 {
		t.Fatal("vdso: no clock_gettime")
	}
	return c
}

func (c *Clock) memory(use func(f *os.File) error) {
	c.t.Helper()
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", c.s.PID()), os.O_RDWR, 0)
	if err == nil {
		defer f.Close()
		err = use(f)
	}
	if err != nil {
		c.t.Fatalf("memory of the server: %v", err)
	}
}

// Set has the clock show what it would, and offset more.
func (c *Clock) Set(offset time.Duration) {
	c.t.Helper()
	n := int32(offset / time.Second)
	code := append(bytes.Clone(program), byte(n), byte(n>>8), byte(n>>16), byte(n>>24), 0xc3)
	for {
		c.s.Signal(syscall.SIGSTOP)
		if c.quiet() {
			break
		}
		c.s.Signal(syscall.SIGCONT)
	}
	defer c.s.Signal(syscall.SIGCONT)
	c.memory(func(f *os.File) error { _, err := f.WriteAt(code, c.at); return err })
}

// quiet says whether all threads stand still, and none in the mapping.
func (c *Clock) quiet() bool {
	c.t.Helper()
	dir := fmt.Sprintf("/proc/%d/task", c.s.PID())
	threads, err := os.ReadDir(dir)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, thread := range threads {
		for stands := false; !stands; {
			stat, err := os.ReadFile(dir + "/" + thread.Name() + "/stat")
			if err != nil {
				c.t.Fatal(err)
			}
			_, after, _ := strings.Cut(string(stat), ") ")
			stands = strings.HasPrefix(after, "T")
		}
		text, err := os.ReadFile(dir + "/" + thread.Name() + "/syscall")
		if err != nil {
			c.t.Fatal(err)
		}
		fields := strings.Fields(string(text))
		var pc uint64
		if _, err := fmt.Sscanf(fields[len(fields)-1], "0x%x", &pc); err != nil || pc >= c.span[0] && pc < c.span[1] {
			return false
		}
	}
	return true
}
