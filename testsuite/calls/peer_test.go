package calls

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/stun/v4"
)

// peerOf says in the environment that the process is one who takes part in a call, and how.
const peerOf = "JACKDAW_TEST_PEER"

// A role is what somebody in a call is told.
type role struct {
	Address  string   `json:"address"` // of its device
	Gateway  string   `json:"gateway"`
	Servers  []string `json:"servers"`
	Username string   `json:"username"`
	Password string   `json:"password"`
	Calls    bool     `json:"calls"`  // and is not called
	Nobody   string   `json:"nobody"` // whom it cannot reach, as HOST:PORT
}

// A line is what they say to the test, which passes it on to the other.
type line struct {
	Ufrag     string `json:"ufrag,omitempty"`
	Password  string `json:"password,omitempty"`
	Candidate string `json:"candidate,omitempty"`
	Done      string `json:"done,omitempty"` // how it went
}

// A peer is a process in a network namespace of its own, in which ICE runs.
type peer struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan line
}

// device is the name of a peer's.
const device = "call0"

// startPeer starts one behind a device of its own. The number tells it apart.
func startPeer(t *testing.T, n int, r role) *peer {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, cmd: exec.Command(os.Args[0]), lines: make(chan line, 100)}
	p.cmd.Env = append(os.Environ(), peerOf+"="+string(text))
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.in.Close()
		p.cmd.Process.Kill()
		p.cmd.Wait()
	})
	here := fmt.Sprintf("peer%d", n)
	for _, c := range []string{
		fmt.Sprintf("link add %s type veth peer name %s netns %d", here, device, p.cmd.Process.Pid),
		fmt.Sprintf("address add %s/24 dev %s", r.Gateway, here), fmt.Sprintf("link set %s up", here),
	} {
		if err := ip(c); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = ip("link delete " + here) }) // it is gone with the namespace, soon
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			var l line
			if json.Unmarshal(s.Bytes(), &l) == nil {
				p.lines <- l
			}
		}
	}()
	p.say(line{}) // the device is there
	return p
}

func ip(command string) error {
	if out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w\n%s", command, err, out)
	}
	return nil
}

func (p *peer) say(l line) {
	b, err := json.Marshal(l)
	if err != nil {
		p.t.Fatal(err)
	}
	p.in.Write(append(b, '\n')) // that it has ended shows in lines
}

// talk passes on what two say until both are done.
func talk(t *testing.T, a, b *peer) {
	t.Helper()
	end := time.After(50 * time.Second)
	for left, done := 2, map[*peer]bool{}; left > 0; {
		var l line
		from, to, ok := a, b, false
		select {
		case l, ok = <-a.lines:
		case l, ok = <-b.lines:
			from, to = b, a
		case <-end:
			t.Fatal("the call does not connect")
		}
		switch {
		case !ok && !done[from]:
			t.Fatal("a peer has ended")
		case l.Done == "good":
			done[from] = true
			left--
		case l.Done != "":
			t.Fatal(l.Done)
		default:
			to.say(l)
		}
	}
}

// bePeer is what the process of a peer does.
func bePeer(text string) error {
	var r role
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return err
	}
	heard := bufio.NewScanner(os.Stdin)
	if !heard.Scan() { // the device
		return errors.New("nothing was said")
	}
	for _, c := range []string{"link set lo up", "address add " + r.Address + "/24 dev " + device,
		"link set " + device + " up", "route add default via " + r.Gateway} {
		if err := ip(c); err != nil {
			return err
		}
	}
	// A packet that nobody passes on is answered by none, or by a word that there is no way.
	if c, err := net.DialTimeout("tcp", r.Nobody, 300*time.Millisecond); err == nil || errors.Is(err, syscall.ECONNREFUSED) {
		if err == nil {
			c.Close()
		}
		return fmt.Errorf("%s is reached", r.Nobody)
	}
	var urls []*stun.URI
	for _, s := range r.Servers {
		u, err := stun.ParseURI(s)
		if err != nil {
			return err
		}
		u.Username, u.Password = r.Username, r.Password
		urls = append(urls, u)
	}
	agent, err := ice.NewAgentWithOptions(ice.WithUrls(urls), ice.WithNetworkTypes([]ice.NetworkType{ice.NetworkTypeUDP4}),
		ice.WithCandidateTypes([]ice.CandidateType{ice.CandidateTypeRelay}), ice.WithInsecureSkipVerify(true))
	if err != nil {
		return err
	}
	defer agent.Close()
	out := json.NewEncoder(os.Stdout)
	ufrag, password, err := agent.GetLocalUserCredentials()
	if err != nil {
		return err
	}
	if err := out.Encode(line{Ufrag: ufrag, Password: password}); err != nil {
		return err
	}
	if err := agent.OnCandidate(func(c ice.Candidate) {
		if c != nil {
			_ = out.Encode(line{Candidate: c.Marshal()}) // the test finds out
		}
	}); err != nil {
		return err
	}
	if !heard.Scan() {
		return errors.New("nobody calls")
	}
	var other line
	if err := json.Unmarshal(heard.Bytes(), &other); err != nil {
		return err
	}
	if err := agent.GatherCandidates(); err != nil {
		return err
	}
	go func() {
		for heard.Scan() {
			var l line
			if json.Unmarshal(heard.Bytes(), &l) != nil {
				continue
			}
			if c, err := ice.UnmarshalCandidate(l.Candidate); err == nil {
				_ = agent.AddRemoteCandidate(c) // the call finds out
			}
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 45*time.Second)
	defer cancel()
	connect := agent.Accept
	if r.Calls {
		connect = agent.Dial
	}
	c, err := connect(ctx, other.Ufrag, other.Password)
	if err != nil {
		return err
	}
	if err := chat(c, r.Calls); err != nil {
		return err
	}
	if err := out.Encode(line{Done: "good"}); err != nil {
		return err
	}
	for heard.Scan() { // the other may need an answer still
	}
	return nil
}

// frames are how many packets each sends in a call.
const frames = 50

// chat sends packets, and waits for those of the other; a few may be lost.
func chat(c net.Conn, calls bool) error {
	b := make([]byte, 1500)
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	for i := range frames {
		if calls {
			if _, err := fmt.Fprintf(c, "frame %d", i); err != nil {
				return err
			}
		}
		n, err := c.Read(b)
		if err != nil {
			return fmt.Errorf("after %d of %d packets: %w", i, frames, err)
		}
		if got := string(b[:n]); got != fmt.Sprintf("frame %d", i) {
			return fmt.Errorf("%q in place of packet %d", got, i)
		}
		if !calls {
			if _, err := c.Write(b[:n]); err != nil {
				return err
			}
		}
	}
	return nil
}
