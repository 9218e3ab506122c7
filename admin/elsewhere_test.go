package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"jackdaw/modules/announcements"
	"jackdaw/portable"
	"jackdaw/xmpp/jid"
)

// A province is what two other nodes answer, by operation: far, and mute, which answers nothing.
type province struct {
	far   map[string]any
	asked []string
	silly bool // mute is there
}

func (p *province) Pass(context.Context, By, jid.JID, string, any, any) (bool, error) {
	return false, nil
}

func (p *province) Everywhere(_ context.Context, by By, operation string, in any) []Said {
	text, _ := json.Marshal(in)
	p.asked = append(p.asked, string(by)+" "+operation+" "+string(text))
	answer, _ := json.Marshal(p.far[operation])
	all := []Said{{Node: "far", Result: answer}}
	if p.silly {
		all = append(all, Said{Node: "mute", Err: errors.New("no route")})
	}
	return all
}

func (p *province) Import(_ context.Context, _ By, file io.Reader, _ bool) (
	io.Reader, func(error) ([]*portable.Report, error)) {
	return file, func(error) ([]*portable.Report, error) { return nil, nil }
}

// among is a Service with a running server that is one of several nodes.
func among(t *testing.T, run *live, far map[string]any) (*Service, *province, interface{ String() string }) {
	t.Helper()
	s, log := service(t, run)
	p := &province{far: far}
	s.o.Elsewhere = p
	return s, p, log
}

func TestAListIsOfAllNodes(t *testing.T) {
	const romeo, juliet = "romeo@localhost", "juliet@localhost"
	run := &live{sessions: []SessionInfo{{JID: romeo + "/a"}}}
	s, p, log := among(t, run, map[string]any{
		"node.counts": map[string]int{juliet: 2},
		"node.peers":  PeersInfo{Links: []LinkInfo{{Remote: "b.example"}}, Queues: []QueueInfo{{Remote: "a.example"}}},
	})
	for _, who := range []string{romeo, juliet} {
		must(t, s.AddUser(t.Context(), Command, who, "secret of theirs"))
	}
	users, _, err := s.Users(t.Context(), "", "", 0)
	if err != nil || len(users) != 2 || users[0].Sessions != 2 || users[1].Sessions != 1 {
		t.Errorf("users %+v, %v", users, err)
	}
	peers, err := s.Peers()
	if err != nil || len(peers.Links) != 1 || len(peers.Queues) != 1 {
		t.Errorf("peers %+v, %v", peers, err)
	}
	// Of a node that does not answer nothing is listed, and the log says so.
	p.silly = true
	if peers, err = s.Peers(); err != nil || len(peers.Links) != 1 {
		t.Errorf("peers without a node: %+v, %v", peers, err)
	}
	if !strings.Contains(log.String(), `node=mute of=node.peers error="no route"`) {
		t.Errorf("the log does not say what is missing: %s", log)
	}
}

func TestWhatConcernsAllIsDoneByAllNodes(t *testing.T) {
	run := &live{warnings: []string{"of all"}}
	s, p, _ := among(t, run, map[string]any{"node.reload": []string{"of all", "of it alone"}, "node.stop": struct{}{},
		"node.announced": 3})
	warnings, err := s.Reload("boss@localhost", true)
	if err != nil || !slices.Equal(warnings, []string{"of all", "node far: of it alone"}) {
		t.Errorf("reload: %q, %v", warnings, err)
	}
	must(t, s.Stop(Command, time.Minute))
	c := &crier{}
	s.o.Announcements = c
	if n, err := s.Announce(t.Context(), Command, "localhost", "for now", 0); err != nil || n != 5 {
		t.Errorf("reached %d, %v", n, err)
	}
	if n, err := s.Announce(t.Context(), Command, "localhost", "for long", time.Hour); err != nil || n != 5 {
		t.Errorf("reached %d, %v", n, err)
	}
	if n, err := s.Stand(t.Context(), Command, "localhost", announcements.OfTheDay, "hidden", true); err != nil || n != 4 {
		t.Errorf("reached %d, %v", n, err)
	}
	must(t, s.WithdrawAnnouncement(t.Context(), Command, "localhost", "localhost"))
	if want := []string{`boss@localhost node.reload {"DropHost":true}`, `command node.stop {"After":60000000000}`,
		`command node.announced {"Host":"localhost","Text":"for now","Give":false}`,
		`command node.announced {"Host":"localhost","Text":"","Give":true}`,
		`command node.announced {"Host":"localhost","Text":"","Give":true}`,
		`command node.announced {"Host":"localhost","Text":"","Give":false}`}; !slices.Equal(p.asked, want) {
		t.Errorf("asked for\n%s", strings.Join(p.asked, "\n"))
	}

	// A node that does not do it is named.
	p.silly = true
	if _, err := s.Reload(Command, false); err == nil || !strings.Contains(err.Error(), "node mute: no route") {
		t.Errorf("a reload that one node has not heard of: %v", err)
	}
	// Where the node that is asked refuses, no other is asked.
	p.asked, run.broken = nil, errors.New("a slip in the file")
	if _, err := s.Reload(Command, false); err == nil || p.asked != nil {
		t.Errorf("a broken reload: %v, asked for %q", err, p.asked)
	}
}
