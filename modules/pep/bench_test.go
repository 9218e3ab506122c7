package pep

import (
	"fmt"
	"testing"

	"jackdaw/modules/internal/pubsub"
	"jackdaw/router"
	"jackdaw/xmpp/jid"
)

// sink takes everything and keeps nothing.
type sink struct{ router.Outlet }

func (sink) Send(router.Delivery) (wake, ok bool) { return false, true }
func (sink) Flush()                               {}
func (sink) Full() bool                           { return false }
func (sink) Detached() bool                       { return false }
func (sink) End(string, string)                   {}

// BenchmarkPublish publishes into a node with 256 items, whose events so many contacts want.
func BenchmarkPublish(b *testing.B) {
	for _, contacts := range []int{0, 50} {
		b.Run(fmt.Sprintf("contacts=%d", contacts), func(b *testing.B) {
			w := newWorld(b)
			w.limits = Limits{Nodes: 10, Items: 256, ItemBytes: 1000}
			w.contacts = friends(contacts)
			w.start()
			node := "urn:n"
			c := profile{w.pep}.Default(node)
			c.MaxItems = 0
			owner := jid.MustParse(juliet)
			item := func(i int) pubsub.Item {
				return pubsub.Item{ID: fmt.Sprint(i % 256), Payload: []byte("<t xmlns='urn:t'>some text that is not long</t>")}
			}
			for i := range 256 {
				if _, err := w.pep.engine.Publish(nil, owner, node, c, item(i)); err != nil {
					b.Fatal(err)
				}
			}
			for i := range contacts {
				s, err := w.Bind(jid.MustParse(fmt.Sprintf("c%d@example.org/x", i)), sink{})
				if err != nil {
					b.Fatal(err)
				}
				watching := &watch{}
				watching.in.Store(&interest{[]string{node}})
				w.pep.here.sessions.swap(s, watching)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, err := w.pep.engine.Publish(nil, owner, node, c, item(i)); err != nil {
					b.Fatal(err)
				}
				i++
			}
			if it, _, err := w.pep.engine.Item(owner, node, ""); err != nil || it == nil || it.ID != fmt.Sprint((i-1)%256) {
				b.Fatalf("the last item is %v, %v", it, err)
			}
		})
	}
}

// friends are so many friends of juliet's.
func friends(n int) contacts {
	c := contacts{}
	for i := range n {
		c.befriend(juliet, fmt.Sprintf("c%d@example.org", i))
	}
	return c
}
