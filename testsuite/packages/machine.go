// Package packages installs what `make deb` and `make image` leave, on a machine of its own, and lives with it as an
// administrator does: install, start, post, upgrade, remove.
package packages

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// A Machine is what this machine is, with a disk, a network and processes of its own: whatever happens there is
// forgotten at the end of the test. Mnt is the directory that it has as /mnt.
type Machine struct {
	Mnt string

	t    testing.TB
	pid  string // of its first process
	root string
}

// boot mounts an overlay over this machine's disk. Nobody but its own processes sees the mounts.
const boot = `set -e
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
root="$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount --bind "$2" "$root/mnt"
# Services may be started there; dpkg does not read all manual pages each time, nor wait for the disk.
rm -f "$root/usr/sbin/policy-rc.d" "$root/var/lib/man-db/auto-update"
echo force-unsafe-io > "$root/etc/dpkg/dpkg.cfg.d/unsafe"
ip link set lo up
echo up
exec sleep infinity`

// NewMachine starts one; it is gone at the end of the test. It needs root.
func NewMachine(t testing.TB) *Machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("a machine of its own has users of its own: run this test as root")
	}
	m := &Machine{Mnt: t.TempDir(), t: t}
	disk := t.TempDir()
	m.root = disk + "/root"
	cmd := exec.Command("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--", "sh", "-c", boot, "sh",
		disk, m.Mnt)
	// What it starts ends with it, and it with the test process.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("a machine of its own: %v (apt-get install util-linux)", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() // which ends all its processes, so that the mounts go
		cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "up\n" {
		t.Fatalf("a machine of its own does not start: %v %q\n%s", err, line, errs.String())
	}
	pid := cmd.Process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	m.pid = strings.Fields(string(children))[0]
	return m
}

// Command is a script of the shell there, run as root with nobody at the terminal.
func (m *Machine) Command(script string) *exec.Cmd {
	return exec.Command("nsenter", "--target", m.pid, "--mount", "--net", "--pid", "--", "chroot", m.root,
		"env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C",
		"sh", "-ec", script)
}

// Run returns what a script prints; the test ends if the script fails.
func (m *Machine) Run(script string) string {
	m.t.Helper()
	out, err := m.Command(script).CombinedOutput()
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}
