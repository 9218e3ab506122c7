package redis

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// A holder is the server that has a lease, as it stands in Redis.
type holder struct {
	ID    string    `json:"id"` // of this run, random
	Host  string    `json:"host"`
	PID   int       `json:"pid"`
	Since time.Time `json:"since"`

	// Where the process can be looked for. Empty where the system does not tell: such a holder is waited for.
	Boot   string `json:"boot,omitempty"`  // the run of the kernel
	Space  string `json:"space,omitempty"` // what numbers of processes are told apart by, such as a container
	Began  string `json:"began,omitempty"` // when the process did, since numbers are given again
	format string // what it was read from, if that is another version's
}

// self is this process.
func self() holder {
	h := holder{ID: rand.Text(), PID: os.Getpid(), Since: time.Now().UTC().Truncate(time.Second)}
	h.Host, _ = os.Hostname() // it is for people; the rest decides
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	space, err2 := os.Readlink("/proc/self/ns/pid")
	began, running := beganAt(h.PID)
	if err == nil && err2 == nil && running {
		h.Boot, h.Space, h.Began = strings.TrimSpace(string(boot)), space, began
	}
	return h
}

func (h *holder) encode() string {
	b, _ := json.Marshal(h) // plain fields always can be
	return string(b)
}

func decodeHolder(s string) *holder {
	var h holder
	if json.Unmarshal([]byte(s), &h) != nil || h.ID == "" {
		return &holder{format: s}
	}
	return &h
}

func (h *holder) String() string {
	if h.ID == "" {
		return fmt.Sprintf("%.100q", h.format)
	}
	return fmt.Sprintf("host %s, process %d, since %s", h.Host, h.PID, h.Since.Local().Format("2006-01-02 15:04:05 MST"))
}

// ended says for certain that a holder was a process of this machine and runs no more.
func (h *holder) ended(me *holder) bool {
	if !h.near(me) {
		return false
	}
	began, running := beganAt(h.PID)
	return !running || began != h.Began
}

// runs says for certain that a holder is a process of this machine that still runs.
func (h *holder) runs(me *holder) bool { return h.near(me) && !h.ended(me) }

func (h *holder) near(me *holder) bool {
	return me.Boot != "" && h.Boot == me.Boot && h.Space == me.Space && h.Began != ""
}

// beganAt tells when a process began, as proc(5) has it, and whether it runs.
func beganAt(pid int) (string, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", false
	}
	// The name of the program may hold anything; behind it come the fields from the third on.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	const state, starttime = 0, 22 - 3
	if len(fields) <= starttime {
		return "", false
	}
	dead := fields[state] == "Z" || fields[state] == "X"
	return fields[starttime], !dead
}
