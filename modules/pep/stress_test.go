package pep

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func TestManyAtOnceSeeTheSame(t *testing.T) {
	w := newWorld(t)
	w.limits.Items = 50
	w.album()
	listener := w.login("romeo/ear", "urn:n")
	ear := w.login("juliet/ear", "urn:n")
	w.deed(juliet, "set", pubsubXML("<create node='urn:n'/>"+optionsXML("configure", "node_config", "access_model", "open", "max_items", "max")))
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			c := moduletest.Login(t, w.Router, fmt.Sprintf("juliet/%d", i))
			for k := range 50 {
				c.Send("<iq type='set' id='p'>" + publishXML("urn:n", fmt.Sprintf("%d-%d", i, k), "x") + "</iq>")
				if k%3 == 0 {
					c.Send("<iq type='set' id='r'>" + pubsubXML(fmt.Sprintf("<retract node='urn:n' notify='1'><item id='%d-%d'/></retract>", i, k)) + "</iq>")
				}
				c.Send("<presence>" + capsOf("urn:n") + "</presence>")
			}
			c.Send("<presence type='unavailable'/>")
		})
		all.Go(func() {
			for range 25 {
				w.peer(fmt.Sprintf("<iq type='set' id='s' from='s%d@montague.example/x' to='juliet@example.org'>%s</iq>", i, subscribeXML(fmt.Sprintf("s%d@montague.example", i))))
				w.peer(fmt.Sprintf("<presence from='%s/%d' to='%s'>%s</presence>", benvolio, i, juliet, capsOf("urn:n")))
				w.peer(fmt.Sprintf("<iq type='set' id='s' from='s%d@montague.example/x' to='juliet@example.org'>%s</iq>", i, strings.ReplaceAll(subscribeXML(fmt.Sprintf("s%d@montague.example", i)), "subscribe", "unsubscribe")))
				w.peer(fmt.Sprintf("<presence type='unavailable' from='%s/%d' to='%s'/>", benvolio, i, juliet))
				w.pep.ContactChanged(nil, jid.MustParse(juliet), jid.MustParse(benvolio), true)
			}
		})
	}
	all.Wait()
	strip := func(c *moduletest.Client) (out []string) {
		for _, d := range c.Deliveries() {
			if c := d.Stanza.ChildBytes(xmpp.Name{Space: xmpp.NSPubSubEvent, Local: "event"}); c != nil {
				out = append(out, string(c))
			}
		}
		return out
	}
	a, b := strip(listener), strip(ear)
	if len(a) == 0 || strings.Join(a, "\n") != strings.Join(b, "\n") {
		t.Errorf("one heard %d events, the other %d, or in another order", len(a), len(b))
	}
	items, _, _, err := w.pep.engine.Items(jid.MustParse(juliet), "urn:n")
	if err != nil {
		t.Fatal(err)
	}
	w.start()
	again, _, _, err := w.pep.engine.Items(jid.MustParse(juliet), "urn:n")
	if err != nil || len(items) != len(again) || len(items) > 50 {
		t.Errorf("%d items, after a restart %d: %v", len(items), len(again), err)
	}
	// What the clients hear is what there is: the last word on each item.
	last := map[string]bool{}
	for _, x := range b {
		for _, id := range ids(x, "<item id='") {
			last[id] = true
		}
		for _, id := range ids(x, "<retract id='") {
			last[id] = false
		}
	}
	for _, it := range items {
		if !last[it.ID] {
			t.Errorf("%s is there, and was taken back for those who listened", it.ID)
		}
	}
}

func ids(xml, start string) (out []string) {
	for _, part := range strings.Split(xml, start)[1:] {
		id, _, _ := strings.Cut(part, "'")
		out = append(out, id)
	}
	return out
}
