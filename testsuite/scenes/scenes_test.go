// Package scenes plays what people do with a server: the real binary on each storage engine, over each transport,
// with clients that others wrote (python3-slixmpp, go-sendxmpp and curl of Debian). Each
// script of testdata is a theme, each function in it a scene.
package scenes

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

// stage is what a script is told of the server.
type stage struct {
	Name   string `json:"name"` // of its users
	Domain string `json:"domain"`
	C2S    string `json:"c2s"`
	TLS    string `json:"tls"`
	HTTP   string `json:"http"`
	HTTPS  string `json:"https"`
	Dir    string `json:"dir"`
	Only   string `json:"only"` // part of the names of the scenes that are played; empty: all
	// Left are scenes that are not played here.
	Left   []string `json:"left"`
	Binary string   `json:"binary"`
	Nodes  int      `json:"nodes"` // several: they settle together
	// Recipients are how many a post may have.
	Recipients int `json:"recipients"`

	way harness.Way
}

// overTCP names what is about TCP itself, by script, and says why. It is played by clients that reach the server over
// TCP, all else in every place.
var overTCP = map[string]map[string]string{
	"login": {
		"each_mechanism_over_both_kinds_of_tls":   "it is about STARTTLS and direct TLS",
		"wrong_passwords_are_refused_when_bound":  noChannel,
		"a_binding_to_another_channel_is_refused": noChannel,
	},
	"programs": {
		"tls-exporter": noChannel,
		"go-sendxmpp":  "it is about STARTTLS and direct TLS",
	},
}

// noChannel is why a login is not bound to a channel.
const noChannel = "plain HTTP has no channel of TLS that a login could be bound to"

// ofOneNode names the scenes that several nodes do not play, by script, and says why.
var ofOneNode = map[string]map[string]string{}

// stageOf is what a script is told of a server.
func stageOf(s *harness.Server) stage {
	return stage{C2S: s.C2S, TLS: s.C2STLS, HTTP: s.HTTP, HTTPS: s.HTTPS, Dir: s.Dir, way: s.Way,
		Nodes: len(s.Nodes) + 1}
}

// left are the scenes of a script that are not played on this stage.
func left(script string, on stage) []string {
	names := []string{} // no null of JSON
	if on.way != harness.TCP && on.way != "" {
		names = slices.AppendSeq(names, maps.Keys(overTCP[script]))
	}
	if on.Nodes > 1 {
		names = slices.AppendSeq(names, maps.Keys(ofOneNode[script]))
	}
	return names
}

// A line is what a script prints: a question to the house, or the outcome of a scene.
type line struct {
	Ask   string   `json:"ask"`
	Args  []string `json:"args"`
	Stdin string   `json:"stdin"`

	Scene string  `json:"scene"`
	MS    int     `json:"ms"`
	Fault *string `json:"fault"`
}

type answer struct {
	Code int    `json:"code"`
	Out  string `json:"out"`
}

// play runs a script of testdata on a server and does what it asks for.
func play(t *testing.T, s *harness.Server, script string) {
	t.Helper()
	perform(t, nil, script, stageOf(s), func(l line) answer { return help(t, s, l) })
}

// perform runs a script, behind a command that runs others, and answers what it asks.
func perform(t *testing.T, prefix []string, script string, config stage, help func(line) answer) {
	t.Helper()
	needs(t, "/usr/bin/python3", "python3-slixmpp")
	config.Name, config.Domain, config.Only = script, harness.Domain, os.Getenv("SCENES")
	config.Left = append(left(script, config), config.Left...)
	told, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	cmd := harness.Python(prefix, filepath.Join("testdata", script+".py"), string(told))
	var errs strings.Builder
	cmd.Stderr = &errs
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill() // where the test ends before it does
	scenes := 0
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Errorf("%s.py prints %q", script, lines.Text())
			continue
		}
		if l.Ask != "" {
			reply, err := json.Marshal(help(l))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stdin.Write(append(reply, '\n')); err != nil {
				t.Fatal(err)
			}
			continue
		}
		scenes++
		t.Logf("%s: %s: %d ms", script, l.Scene, l.MS)
		if l.Fault != nil {
			t.Errorf("%s.py: %s: %s", script, l.Scene, *l.Fault)
		}
	}
	err = cmd.Wait()
	if strings.Contains(errs.String(), "No module named 'slixmpp'") {
		t.Fatal("slixmpp is missing: apt-get install python3-slixmpp")
	}
	if scenes == 0 && os.Getenv("SCENES") == "" || err != nil && !t.Failed() {
		t.Errorf("%s.py: %d scenes, %v\n%s", script, scenes, err, errs.String())
	}
}

// help does what a script asks of the house.
func help(t *testing.T, s *harness.Server, l line) answer {
	switch l.Ask {
	case "command":
		out, err := s.TryCommand(l.Stdin, l.Args...)
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		code := 0
		if exit != nil {
			code = exit.ExitCode()
		}
		return answer{Code: code, Out: out}
	case "quiet":
		s.Quiet()
	case "users":
		s.AddUser(l.Args...)
	case "stop":
		return answer{Code: s.Stop()}
	case "launch":
		s.Launch()
	case "configure": // replaces the first argument in the file by the second
		s.Reconfigure(l.Args[0], l.Args[1])
	case "restart":
		if code := s.Stop(); code != 0 {
			t.Errorf("exit code %d after SIGTERM", code)
		}
		s.Launch()
	case "crash":
		s.Kill()
		s.Launch()
	default:
		t.Fatalf("the script asks for %q", l.Ask)
	}
	return answer{}
}

// needs fails the test where a program is missing, and says what to install.
func needs(t *testing.T, program, debianPackage string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("%s is missing: apt-get install %s", program, debianPackage)
	}
}

// onEach plays a script on a server in each place. Scenes that stop their server have one of their own.
func onEach(t *testing.T, script string, options harness.Options) {
	t.Parallel()
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			o := options
			o.Place = place
			play(t, harness.Start(t, o), script)
		})
	}
}

func TestScenesOnASharedServer(t *testing.T) {
	t.Parallel()
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{Place: place, Config: "modules: {directory: true}\n"})
			for _, script := range []string{"login", "roster", "availability", "messages", "account", "resume"} {
				t.Run(script, func(t *testing.T) {
					if place.Nodes == 0 { // several settle together
						t.Parallel()
					}
					play(t, s, script)
				})
			}
			for name, scene := range map[string]func(*testing.T, *harness.Server){"tls-exporter": testExporter,
				"one request": testOneRequest, "devices": testDevices, "go-sendxmpp": testSendXMPP} {
				if !slices.Contains(left("programs", stageOf(s)), name) {
					t.Run(name, func(t *testing.T) { t.Parallel(); scene(t, s) })
				}
			}
		})
	}
}

// Three nodes are one server to clients that are spread over them. This is a part, on one Redis; `make scenes-nodes`
// plays all scenes on each kind of Redis. One script after the other: they settle together.
func TestScenesOnSeveralNodes(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Place: harness.Several, Config: "modules: {directory: true}\n"})
	for _, script := range []string{"login", "roster", "availability", "messages", "account", "resume"} {
		t.Run(script, func(t *testing.T) { play(t, s, script) })
	}
}

func TestMessagesSurviveTheServer(t *testing.T) {
	onEach(t, "restart", harness.Options{C2S: "resume_window: 2s"})
}

func TestOperatorsCommandsActAtOnce(t *testing.T) {
	needs(t, "/usr/bin/curl", "curl")
	onEach(t, "operate", harness.Options{})
}

// What administrators announce is for everybody, so that they have servers of their own.
func TestAdministratorsWorkInTheirClients(t *testing.T) {
	onEach(t, "administer", harness.Options{})
}

func TestPeopleComeByInvitation(t *testing.T) {
	onEach(t, "invitations", harness.Options{Config: "registration: invite\n"})
}

func TestAnAdministratorApprovesWhoRegisters(t *testing.T) {
	onEach(t, "approvals", harness.Options{Config: "registration: approve\n"})
}

func TestProgramsAnswerForAccounts(t *testing.T) {
	onEach(t, "bots", harness.Options{HTTP: "url: https://im.example.org"})
}

func TestPostsByCurlReachClients(t *testing.T) {
	needs(t, "/usr/bin/curl", "curl")
	onEach(t, "post", harness.Options{})
}

func TestOnePostReachesTenThousand(t *testing.T) {
	t.Parallel()
	needs(t, "/usr/bin/curl", "curl")
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			recipients := 10000
			switch { // the accounts take the time
			case place.Way != harness.TCP:
				recipients = 500
			case place.Engine == harness.Redis:
				recipients = 2000
			}
			s := harness.Start(t, harness.Options{Place: place, Fast: true, HTTP: fmt.Sprint("max_recipients: ", recipients)})
			on := stageOf(s)
			on.Recipients = recipients
			perform(t, nil, "many", on, func(l line) answer { return help(t, s, l) })
		})
	}
}

// The defaults name ports, so that the server has a network of its own where that is allowed.
func TestTheFirstStartPrintsAllOneNeeds(t *testing.T) {
	t.Parallel()
	needs(t, "/usr/bin/curl", "curl")
	var network []string
	if exec.Command("unshare", "-rn", "true").Run() == nil {
		network = []string{"unshare", "-rn"}
	}
	perform(t, network, "first", stage{Dir: t.TempDir(), Binary: harness.Binary(t, "")}, func(l line) answer {
		t.Fatalf("the script asks for %q", l.Ask)
		return answer{}
	})
}
