package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"jackdaw/router/space"
)

// A Machine is the one on which the examined server runs.
type Machine struct {
	// PID is that of the running server; 0: none runs.
	PID int
	// Addresses are those that everybody can reach, as far as the machine knows.
	Addresses []netip.Addr
	// Storage says what is wrong with where things are kept, if that is elsewhere; nil if it is here.
	Storage func(context.Context) []Finding

	// Accounts says what is wrong with whom is asked for passwords of the domain, if that is another; nil if all are here.
	Accounts func(context.Context) []Finding

	// What follows is read from the system where it is nil.

	// Descriptors are how many files a process has open, and may have.
	Descriptors func(pid int) (open, limit int, err error)
	// Disk is how many bytes and files there may still be, and in all.
	Disk func(dir string) (Room, error)
	// Clock says whether something keeps the time right.
	Clock func() (kept bool, err error)
}

// Room is what is left on a disk.
type Room struct{ Free, All, FilesFree, Files int64 }

// fewDescriptors is what a server for more than a family needs.
const fewDescriptors = 1024

// machine looks at what only this machine knows. Whatever the system does not tell is passed over.
func (e *examination) machine(ctx context.Context) {
	m := e.Machine
	if m.PID == 0 {
		e.add(Finding{Level: Wrong, What: "no server runs on " + e.Config.Data, Why: "nobody is served",
			Do: "start it: systemctl start jackdaw, or jackdaw serve; the log says why if it does not"})
	} else {
		e.descriptors(m)
	}
	e.disk(m)
	kept := clockKept
	if m.Clock != nil {
		kept = m.Clock
	}
	switch ok, err := kept(); {
	case err != nil:
	case ok:
		e.good("the clock of this machine is kept right")
	default:
		e.add(Finding{Level: Warning, What: "nothing keeps the clock of this machine right",
			Why: "certificates, tokens and the times of messages depend on it",
			Do:  "have it kept: timedatectl set-ntp true, or apt install chrony"})
	}
	for _, look := range []func(context.Context) []Finding{m.Storage, m.Accounts} {
		if look == nil {
			continue
		}
		for _, f := range look(ctx) {
			e.add(f)
		}
	}
}

func (e *examination) descriptors(m *Machine) {
	read := descriptorsOf
	if m.Descriptors != nil {
		read = m.Descriptors
	}
	open, limit, err := read(m.PID)
	const do = "raise LimitNOFILE in the unit of systemd (65536), or ulimit -n, and start the server again"
	switch {
	case err != nil:
	case limit < fewDescriptors:
		e.add(Finding{Level: Warning, What: fmt.Sprintf("the server may have %d files open", limit),
			Why: "each connection is one", Do: do})
	case open > limit/10*8:
		e.add(Finding{Level: Warning, What: fmt.Sprintf("the server has %d of %d files open", open, limit),
			Why: "each connection is one; when there are none left, new ones are refused", Do: do})
	default:
		e.good(fmt.Sprintf("the server has %d of %d files open", open, limit))
	}
}

func (e *examination) disk(m *Machine) {
	read := roomOf
	if m.Disk != nil {
		read = m.Disk
	}
	room, err := read(e.Config.Data)
	if err != nil {
		return
	}
	l := &e.Config.Limits
	bounds := space.Bounds{Warn: int64(l.DiskWarn), Reserve: int64(l.DiskReserve)}.Of(room.All)
	const mib = 1 << 20
	what := fmt.Sprintf("the disk of %s has %d MiB of %d free", e.Config.Data, room.Free/mib, room.All/mib)
	const do = "make room, give it a larger disk, or keep less: modules.archive.keep, modules.upload.keep"
	switch {
	case room.Free < bounds.Reserve:
		e.add(Finding{Level: Wrong, What: what, Why: "archives pause, and soon nobody's messages wait", Do: do})
	case room.Free < bounds.Warn:
		e.add(Finding{Level: Warning, What: what, Why: "files are no longer taken", Do: do})
	case room.Files > 0 && room.FilesFree < room.Files/50:
		e.add(Finding{Level: Warning, What: fmt.Sprintf("the disk of %s has room for %d more files", e.Config.Data,
			room.FilesFree),
			Why: "each upload is one", Do: do})
	default:
		e.good(what)
	}
}

// places compares the addresses in the DNS with those of this machine.
func (e *examination) places() {
	if e.Machine == nil || len(e.Machine.Addresses) == 0 {
		return
	}
	ours, told := e.Machine.Addresses, map[spot]bool{}
	var near []string
	for _, s := range e.at {
		switch {
		case told[s]:
		case slices.Contains(ours, s.ip):
			near = append(near, s.ip.String())
		default:
			e.add(Finding{Level: Warning, What: fmt.Sprintf("%s has the address %s, and this machine has %s", s.host,
				s.ip, list(ours)),
				Why: "whoever follows the record comes to another machine, unless that passes on what comes",
				Do:  "correct the record, if no router or proxy of yours is there: " + addressRecord(s.host, ours[0], "").String()})
		}
		told[s] = true
	}
	slices.Sort(near)
	if near = slices.Compact(near); len(near) > 0 {
		e.add(Finding{Level: Note, What: strings.Join(near, ", ") + " is this machine, so that no firewall was on the way",
			Why: "ports that are open here may be closed to others",
			Do:  "run `jackdaw doctor " + e.Domain + "` on another machine as well; it needs no configuration there"})
	}
}

func list(addrs []netip.Addr) string {
	words := make([]string, len(addrs))
	for i, a := range addrs {
		words[i] = a.String()
	}
	return strings.Join(words, ", ")
}

func descriptorsOf(pid int) (open, limit int, err error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	files, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return 0, 0, err
	}
	b, err := os.ReadFile(filepath.Join(dir, "limits"))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			soft, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			limit, err = strconv.Atoi(soft)
			return len(files), limit, err
		}
	}
	return 0, 0, fmt.Errorf("no limit in %s", filepath.Join(dir, "limits"))
}

func roomOf(dir string) (Room, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return Room{}, err
	}
	return Room{Free: int64(s.Bavail) * s.Bsize, All: int64(s.Blocks) * s.Bsize, FilesFree: int64(s.Ffree),
		Files: int64(s.Files)}, nil
}

// clockKept asks the kernel whether its time is disciplined, by NTP or the like.
func clockKept() (bool, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t) // without modes it only reads
	if err != nil {
		return false, err
	}
	const unsynchronised = 5 // TIME_ERROR
	return state != unsynchronised && t.Status&unix.STA_UNSYNC == 0, nil
}
