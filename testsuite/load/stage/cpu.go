package stage

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Tick is the unit in which Linux counts CPU time (USER_HZ).
const Tick = 10 * time.Millisecond

// TreeCPU is the CPU time, in user and system mode, of a process and its descendants, those that have ended and were
// reaped included.
func TreeCPU(pid int) (time.Duration, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	cpu, children := map[int]time.Duration{}, map[int][]int{}
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // it has ended meanwhile
		}
		parent, spent, err := parseStat(stat)
		if err != nil {
			return 0, fmt.Errorf("read the stat of process %d: %w", id, err)
		}
		cpu[id] = spent
		children[parent] = append(children[parent], id)
	}
	if _, ok := cpu[pid]; !ok {
		return 0, fmt.Errorf("process %d has ended", pid)
	}
	var sum time.Duration
	for rest := []int{pid}; len(rest) > 0; {
		id := rest[0]
		rest = append(rest[1:], children[id]...)
		sum += cpu[id]
	}
	return sum, nil
}

// parseStat reads proc_pid_stat(5): fields 4 and 14 to 17.
func parseStat(stat []byte) (parent int, cpu time.Duration, err error) {
	// The second field is a name in brackets, which may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 15 {
		return 0, 0, fmt.Errorf("%d fields", len(fields))
	}
	if parent, err = strconv.Atoi(fields[1]); err != nil {
		return 0, 0, err
	}
	for _, f := range fields[11:15] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, 0, err
		}
		cpu += time.Duration(n) * Tick
	}
	return parent, cpu, nil
}
