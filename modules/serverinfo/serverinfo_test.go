package serverinfo

import (
	"context"
	"errors"
	"strings"
	"testing"

	"jackdaw/config"
	"jackdaw/modules/internal/moduletest"
	"jackdaw/modules/internal/parts"
	"jackdaw/router"
)

// nodes holds what was published, by host.
type nodes struct {
	of   map[string]string
	fail error
}

func (n *nodes) Publish(_ context.Context, host, node, id string, payload []byte) error {
	n.of[host] = node + " " + id + " " + string(payload)
	return n.fail
}

func (n *nodes) Withdraw(_ context.Context, host, node string) error {
	n.of[host] = node + " is gone"
	return n.fail
}

func TestAHostSaysWhatItIsOnlyWhereItIsToldTo(t *testing.T) {
	c := config.Default()
	c.Hosts = []config.Host{{Domain: "a.example"}, {Domain: "b.example"}}
	n := &nodes{of: map[string]string{}}
	i := Of(parts.Parts{Router: &router.Router{}, Config: func() *config.Config { return c }, Version: "1.2",
		Log: moduletest.Discard()}, n)
	i.Run(t.Context())
	if n.of["a.example"] != "serverinfo is gone" || n.of["b.example"] != "serverinfo is gone" {
		t.Errorf("off: %q", n.of)
	}
	c.Modules.Off = map[string]bool{}
	i.Poke()
	const want = "serverinfo current <serverinfo xmlns='urn:xmpp:serverinfo:0'><domain name='b.example'/>" +
		"<query xmlns='jabber:iq:version'><name>jackdaw</name><version>1.2</version></query></serverinfo>"
	if n.of["b.example"] != want {
		t.Errorf("on: %s", n.of["b.example"])
	}
	c.Modules.Off = map[string]bool{"version": true}
	n.fail = errors.New("somebody else has made it") // is said in the log
	i.Poke()
	if strings.Contains(n.of["a.example"], "version") || !strings.Contains(n.of["a.example"], "a.example") {
		t.Errorf("without a version: %s", n.of["a.example"])
	}
}
