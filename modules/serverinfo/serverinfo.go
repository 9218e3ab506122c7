// Package serverinfo publishes what a host wants known of itself (XEP-0485), in a node of the publish-subscribe
// service that everybody may read: that it is there, and the name and version of the server, which it tells by
// XEP-0092 as well. It is off unless it is turned on, which is what others take for leave to name the host (§ Privacy
// Considerations).
//
// Left out: the peers of the host, whose leave would have to be asked for of each.
package serverinfo

import (
	"context"
	"log/slog"
	"sync"

	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/xmpp"
)

// Node is where it is published.
const Node = "serverinfo"

const ns = "urn:xmpp:serverinfo:0"

// Nodes publishes items of a host in nodes of its publish-subscribe service that are the host's own.
type Nodes interface {
	// Publish puts an item in the place of all that the node has, and makes the node if need be.
	Publish(ctx context.Context, host, node, id string, payload []byte) error
	// Withdraw takes the node away, if there is one of the host's own.
	Withdraw(ctx context.Context, host, node string) error
}

// Info is the module. It is safe for concurrent use.
type Info struct {
	parts.Switch
	p     parts.Parts
	nodes Nodes
	log   *slog.Logger

	mu sync.Mutex // held while something is published
}

// Of makes the information of a server.
func Of(p parts.Parts, nodes Nodes) *Info {
	return &Info{Switch: p.Switch("serverinfo"), p: p, nodes: nodes, log: p.Log}
}

// Module returns the module. It takes part in no stage.
func (*Info) Module() router.Module {
	return router.Module{
		Name:     "serverinfo",
		Needs:    []string{"disco", "pubsub"},
		Specs:    []router.Spec{{Name: "XEP-0485", Version: "1.0.0", Note: "if turned on; never its peers"}},
		Features: []string{ns},
	}
}

// Run publishes what is known at the start.
func (i *Info) Run(ctx context.Context) { i.tell(ctx) }

// Poke publishes what a new configuration says, or takes it back.
func (i *Info) Poke() { i.tell(context.Background()) }

func (i *Info) tell(ctx context.Context) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, h := range i.p.Config().Hosts {
		var err error
		if i.On() {
			err = i.nodes.Publish(ctx, h.Domain, Node, "current", i.payload(h.Domain))
		} else {
			err = i.nodes.Withdraw(ctx, h.Domain, Node)
		}
		if err != nil && ctx.Err() == nil {
			i.log.Warn("what everybody may know of a host is not published", "host", h.Domain, "error", err)
		}
	}
}

// payload says it (§ Data Format).
func (i *Info) payload(host string) []byte {
	w := xmpp.NewWriter(nil).Start(ns, "serverinfo").Start("", "domain").Attr("name", host).End()
	if i.p.Switch("version").On() {
		w.Start(xmpp.NSVersion, "query").Leaf("", "name", "jackdaw")
		if i.p.Version != "" {
			w.Leaf("", "version", i.p.Version)
		}
		w.End()
	}
	return w.End().Bytes()
}
