package pep

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/xmpp/jid"
)

func TestWhatAnAccountKeepsIsBoundedInBytes(t *testing.T) {
	w := newWorld(t)
	w.limits = Limits{Nodes: 20, Items: 100, ItemBytes: 2000, Bytes: 20_000}
	desk := w.login("juliet/desk")
	const full = "wait resource-constraint"
	text := strings.Repeat("x", 900)
	publish := func(node, id string) string { return w.do(desk, "set", "", publishXML(node, id, text)) }
	fill := func(node string) (n int) {
		for ; ; n++ {
			switch got := publish(node, fmt.Sprint(n)); {
			case got == full:
				return n
			case got != published(node, fmt.Sprint(n)):
				t.Fatalf("item %d: %s", n, got)
			}
		}
	}
	w.do(desk, "set", "", pubsubXML("<create node='urn:a'/><configure>"+formXML("node_config", "max_items", "100",
		"persist_items", "1")+"</configure>"))
	if n := fill("urn:a"); n < 15 || n > 20 {
		t.Errorf("%d items are kept", n)
	}
	if got := publish("urn:b", "1"); got != full {
		t.Errorf("to a new node: %s", got)
	}
	w.want(desk, "get", "", pubsubXML("<items node='urn:b'/>"), "cancel item-not-found")
	for _, again := range []bool{false, true} {
		if again { // what is not in memory counts as well
			w.start()
			w.appear(desk)
		}
		if got := publish("urn:b", "1"); got != full {
			t.Errorf("to a new node, again %v: %s", again, got)
		}
		if got := publish("urn:a", "3"); got != published("urn:a", "3") {
			t.Errorf("in place of another, again %v: %s", again, got)
		}
	}
	w.do(desk, "set", "", pubsubXML("<retract node='urn:a'><item id='1'/></retract>"))
	w.do(desk, "set", "", pubsubXML("<retract node='urn:a'><item id='2'/></retract>"))
	if got := publish("urn:b", "1"); got != published("urn:b", "1") {
		t.Errorf("when there is room again: %s", got)
	}
	w.do(desk, "set", "", ownerXML("<delete node='urn:a'/>"))
	for i := range 8 {
		if got := publish(fmt.Sprint("urn:c", i), "1"); got != published(fmt.Sprint("urn:c", i), "1") {
			t.Errorf("when a node has gone: %s", got)
		}
	}
}

func TestConfigurationsAndAffiliationsCountToo(t *testing.T) {
	w := newWorld(t)
	w.limits.Bytes = 20_000
	w.make("urn:n")
	desk := w.login("juliet/desk")
	grow := func(i int) string {
		return w.do(desk, "set", "", ownerXML(fmt.Sprintf("<affiliations node='urn:n'><affiliation jid='%s%d@example.org' affiliation='member'/></affiliations>",
			strings.Repeat("u", 900), i)))
	}
	n := 0
	for ; n < 100 && grow(n) == "ok"; n++ {
	}
	if n < 10 || n > 21 {
		t.Errorf("%d affiliations are kept", n)
	}
	// What is written again is not new.
	for range 100 {
		if got := w.do(desk, "set", "", ownerXML("<configure node='urn:n'>"+formXML("node_config", "title",
			"x")+"</configure>")); got != "ok" {
			t.Fatalf("a configuration: %s", got)
		}
	}
}

func TestNothingNewIsPublishedWhenTheDiskIsFull(t *testing.T) {
	w := newWorld(t)
	w.make("urn:n")
	w.full = true
	desk := w.login("juliet/desk")
	w.want(desk, "set", "", publishXML("urn:m", "1", "x"), "wait resource-constraint")
	w.want(desk, "set", "", publishXML("urn:n", "1", strings.Repeat("x", 500)), "wait resource-constraint")
	w.want(desk, "set", "", publishXML("urn:n", "1", ""), published("urn:n", "1"))
	w.full = false
	w.want(desk, "set", "", publishXML("urn:m", "1", "x"), published("urn:m", "1"))
}

func TestAnAnswerOfManyPiecesIsBounded(t *testing.T) {
	w := newWorld(t)
	w.limits = Limits{Nodes: 1000, Items: 10, ItemBytes: 1000}
	desk := w.login("juliet/desk")
	name := func(i int) string { return fmt.Sprint(i, strings.Repeat("n", 1000)) }
	for i := range 500 {
		w.do(desk, "set", "", pubsubXML("<create node='"+name(i)+"'/>"))
	}
	const tooLong = "modify resource-constraint"
	w.want(desk, "get", "", pubsubXML("<affiliations/>"), tooLong)
	all, err := w.pep.Nodes().List(jid.MustParse(juliet), jid.MustParse(juliet))
	size := 0
	for _, el := range all {
		size += len(el.Append(nil))
	}
	if err != nil || len(all) < 300 || size > 500<<10 {
		t.Errorf("%d nodes with %d bytes are listed, %v", len(all), size, err)
	}
	for i := range 500 {
		w.do(desk, "set", "", pubsubXML(fmt.Sprintf("<subscribe node='%s' jid='%s'/>", name(i), juliet)))
	}
	w.want(desk, "get", "", pubsubXML("<subscriptions/>"), tooLong)
	if got := w.do(desk, "get", "", pubsubXML("<subscriptions node='"+name(1)+"'/>")); !strings.Contains(got,
		"subscribed") {
		t.Errorf("of one node: %s", got)
	}
	for part := range 5 {
		var some strings.Builder
		for i := range 100 {
			fmt.Fprintf(&some, "<affiliation jid='%s%d-%d@example.org' affiliation='member'/>", strings.Repeat("u", 1000),
				part, i)
		}
		w.want(desk, "set", "", ownerXML("<affiliations node='"+name(1)+"'>"+some.String()+"</affiliations>"), "ok")
	}
	w.want(desk, "get", "", ownerXML("<affiliations node='"+name(1)+"'/>"), tooLong)
}
