package harness

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// ServerIP is where servers listen in a namespace; it is not loopback, so that limits hold for whoever connects.
const ServerIP = "192.0.2.1"

const namespaced = "JACKDAW_TEST_NAMESPACE"

func isolated() bool { return os.Getenv(namespaced) != "" }

// Isolate runs the test process again in a network namespace of its own, whose only device has these addresses and
// ServerIP; it returns in that process. Call it first in TestMain. It needs root or user namespaces, and Debian's
// iproute2.
func Isolate(addresses ...string) { isolate([]string{"--net"}, "", addresses) }

// IsolateNames is Isolate, and has all programs ask the name server of the test, at ServerIP, port 53.
func IsolateNames(addresses ...string) {
	isolate([]string{"--net", "--mount"}, "f=$(mktemp) && echo nameserver "+ServerIP+
		" > $f && mount --bind $f /etc/resolv.conf && rm $f && ", addresses)
}

func isolate(spaces []string, script string, addresses []string) {
	if isolated() {
		return
	}
	script += "ip link set lo up"
	for _, a := range append(addresses, ServerIP) {
		script += " && ip address add " + a + "/32 dev lo"
	}
	args := []string{"unshare"}
	if os.Getuid() != 0 {
		args = append(args, "--user", "--map-root-user")
	}
	args = append(append(args, spaces...), "--", "/bin/sh", "-c", script+` && exec "$@"`, "sh")
	unshare, err := exec.LookPath("unshare")
	if _, e := exec.LookPath("ip"); err == nil {
		err = e
	}
	if err == nil {
		err = syscall.Exec(unshare, append(args, os.Args...), append(os.Environ(), namespaced+"=1"))
	}
	fmt.Fprintf(os.Stderr, "a network namespace for the test: %v (apt-get install iproute2 util-linux)\n", err)
	os.Exit(1)
}

// Dial opens a connection from one of the machine's addresses; "" is any.
func Dial(from, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: Timeout}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(strings.Trim(from, "[]"))}
	}
	return d.Dial("tcp", addr)
}
