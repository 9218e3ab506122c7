package peers

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

// A side is one of the two servers that a script has people on.
type side struct {
	Kind   string `json:"kind"`
	Domain string `json:"domain"`
	TLS    string `json:"tls"`
}

func (p *Peer) side() side { return side{p.Kind, p.Domain, p.C2STLS} }

// perPair is how many accounts a pair of servers needs: each script has its own, twenty for each direction.
const perPair = 40

// crowd is the accounts for some pairs, from one on.
func crowd(first, pairs int) []string {
	var users []string
	for i := range perPair * pairs {
		users = append(users, fmt.Sprintf("u%d", perPair*first+i))
	}
	return users
}

// playBoth has people of each server do what they do with those of the other.
func playBoth(t *testing.T, a, b side, pair int) {
	t.Helper()
	for i, order := range [][2]side{{a, b}, {b, a}} {
		t.Run(order[0].Kind+" to "+order[1].Kind, func(t *testing.T) {
			t.Parallel()
			play(t, order[0], order[1], perPair*pair+perPair/2*i)
		})
	}
}

// play runs testdata/federation.py with the accounts from a number on.
func play(t *testing.T, a, b side, first int) {
	t.Helper()
	needs(t, "/usr/bin/python3", "python3-slixmpp")
	config, err := json.Marshal(map[string]any{"a": a, "b": b, "first": first, "only": os.Getenv("SCENES")})
	if err != nil {
		t.Fatal(err)
	}
	cmd := harness.Python(nil, "testdata/federation.py", string(config))
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	scenes := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var l struct {
			Scene string
			MS    int
			Fault *string
		}
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Errorf("federation.py prints %q", lines.Text())
			continue
		}
		scenes++
		t.Logf("%s: %d ms", l.Scene, l.MS)
		if l.Fault != nil {
			t.Errorf("%s: %s", l.Scene, *l.Fault)
		}
	}
	err = cmd.Wait()
	if strings.Contains(errs.String(), "No module named 'slixmpp'") {
		t.Fatal("slixmpp is missing: apt-get install python3-slixmpp")
	}
	if scenes == 0 || err != nil && !t.Failed() {
		t.Errorf("federation.py: %d scenes, %v\n%s", scenes, err, errs.String())
	}
}
