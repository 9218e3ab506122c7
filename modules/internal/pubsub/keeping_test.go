package pubsub

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/forms"
	"jackdaw/modules/internal/rsm"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// XEP-0060 §16.4.3: each option with values that it takes, as they are shown then, and one that it does not.
func TestEveryOptionIsTakenAndShown(t *testing.T) {
	wrong := map[string]string{"title": strings.Repeat("t", maxName+1), "description": strings.Repeat("t", maxName+1),
		"type": strings.Repeat("t", maxName+1), "roster_groups_allowed": ""}
	values := map[string][]string{"title": {"T"}, "description": {"D"}, "type": {"urn:t"}, "roster_groups_allowed": {"Lovers"},
		"max_items": {"1", "4", "max"}, "item_expire": {"1", "3600", "max"}}
	for _, s := range settings {
		w := newWorld(t)
		w.create("n")
		good := values[s.name]
		switch {
		case s.kind == "boolean":
			good = []string{"0", "1"}
		case good == nil:
			good = s.options
		}
		if len(good) == 0 {
			t.Errorf("nothing is known of %s", s.name)
		}
		for _, v := range good {
			if got := w.configure("n", s.name, v); got != "" {
				t.Errorf("%s=%s: %s", s.name, v, got)
			}
			w.start()
			shown := w.ask("romeo", "get", askedOwner(`<configure node='n'/>`))
			el, err := xmpp.ParseElement([]byte(shown))
			if err != nil {
				t.Fatal(shown)
			}
			f, bad := forms.Parse(el.ChildLocal("configure").Child(forms.Name))
			if bad != nil || f.Kind != forms.Ask || f.Type != prefix+"node_config" {
				t.Fatalf("%s: %v", shown, bad)
			}
			if field := f.Field("pubsub#" + s.name); field == nil || field.Value() != v || field.Type != s.kind || field.Label == "" {
				t.Errorf("%s=%s is shown as %+v", s.name, v, field)
			}
		}
		bad, ok := wrong[s.name]
		if !ok {
			bad = "nothing of the kind"
		}
		if got := w.configure("n", s.name, bad); !strings.HasPrefix(got, "modify not-acceptable") {
			t.Errorf("%s=%s: %q", s.name, bad, got)
		}
	}
}

func TestANodeIsMadeAsItIsAskedFor(t *testing.T) {
	w := newWorld(t)
	w.do("romeo", asked(`<publish node='auto'><item id='1'><t xmlns='urn:t'/></item></publish><publish-options>`+
		submission("publish-options", "access_model", "whitelist", "max_items", "1000000")+`</publish-options>`))
	if _, c, ok, err := w.g.Items(jid.MustParse(serviceName), "auto"); err != nil || !ok || c.Access != Whitelist ||
		c.MaxItems != 0 {
		t.Errorf("made by a publication: %+v, %v", c, err)
	}
	instant := w.do("romeo", asked(`<create/>`))
	_, rest, _ := strings.Cut(instant, "node='")
	name, _, _ := strings.Cut(rest, "'")
	if got := w.ask("romeo", "get", askedOwner(`<configure node='`+name+`'/>`)); name == "" || !strings.HasPrefix(got, "<") {
		t.Errorf("instant node %s: %s", instant, got)
	}
	if got := w.ask("romeo", "get", askedOwner(`<default/>`)); !strings.Contains(got, prefix+"node_config") {
		t.Errorf("default: %s", got)
	}
}

func TestAFullNodeDoesWhatItIsToldTo(t *testing.T) {
	for full, want := range map[string]struct{ items, events string }{
		"discard-oldest": {"2 3", ""},
		"retract-oldest": {"2 3", "<event><items node='n'><retract id='1'/></items></event>"},
		"reject":         {"1 2", ""},
	} {
		w := newWorld(t)
		w.create("n", "max_items", "2", "publish_node_full", full, "notify_retract", "1", "deliver_payloads", "0")
		w.publish("n", "1", "2")
		w.do("nurse", subscribing("n", "nurse"))
		w.events("nurse")
		w.ask("romeo", "set", asked(`<publish node='n'><item id='3'/></publish>`))
		_, events, _ := strings.Cut(w.events("nurse"), " | ")
		if got := w.items("n"); got != want.items || events != want.events {
			t.Errorf("%s: items %s, events %s; want %v", full, got, events, want)
		}
	}
}

func TestAnItemOfTheSameIDIsReplacedAndNewest(t *testing.T) {
	w := newWorld(t)
	w.create("n")
	w.publish("n", "1", "2", "3")
	w.publish("n", "1")
	w.publish("n", "4", "2", "4")
	if got := w.items("n"); got != "3 1 2 4" {
		t.Errorf("got %s", got)
	}
	w.configure("n", "max_items", "2")
	if got := w.items("n"); got != "2 4" {
		t.Errorf("with room for two: %s", got)
	}
	w.configure("n", "persist_items", "0")
	w.configure("n", "persist_items", "1", "max_items", "max")
	if got := w.items("n"); got != "" {
		t.Errorf("of the time before nothing was kept: %s", got)
	}
}

func TestItemsComeByNameByNumberAndInPages(t *testing.T) {
	w := newWorld(t)
	w.create("n")
	w.publish("n", "1", "2", "3", "4", "5")
	page := func(inner string) string { return `<set xmlns='http://jabber.org/protocol/rsm'>` + inner + `</set>` }
	for _, row := range []struct{ about, payload, want, count string }{
		{"all", `<items node='n'/>`, "1 2 3 4 5", ""},
		{"the last two", `<items node='n' max_items='2'/>`, "4 5", ""},
		{"two by name", `<items node='n'><item id='5'/><item id='2'/><item id='z'/></items>`, "2 5", ""},
		{"the first page", `<items node='n'/>` + page(`<max>2</max>`), "1 2", "5"},
		{"the next", `<items node='n'/>` + page(`<max>2</max><after>2</after>`), "3 4", "5"},
		{"the last page", `<items node='n'/>` + page(`<max>2</max><before/>`), "4 5", "5"},
		{"the page before", `<items node='n'/>` + page(`<max>2</max><before>4</before>`), "2 3", "5"},
		{"by number", `<items node='n'/>` + page(`<max>2</max><index>3</index>`), "4 5", "5"},
		{"the count", `<items node='n'/>` + page(`<max>0</max>`), "", "5"},
	} {
		el, err := xmpp.ParseElement([]byte(w.ask("romeo", "get", asked(row.payload))))
		if err != nil {
			t.Fatalf("%s: %v", row.about, err)
		}
		var ids []string
		for _, it := range el.ChildLocal("items").Children() {
			ids = append(ids, it.Attr("id"))
		}
		count := ""
		if set := el.Child(rsm.Name); set != nil {
			count = set.ChildLocal("count").Text()
		}
		if got := strings.Join(ids, " "); got != row.want || count != row.count {
			t.Errorf("%s: got %s of %s, want %s of %s", row.about, got, count, row.want, row.count)
		}
	}
}

func TestAnAnswerThatIsTooLongComesInPages(t *testing.T) {
	w := newWorld(t)
	w.limits = Limits{Nodes: 10, Items: 10, ItemBytes: maxAnswer}
	w.create("n")
	big := strings.Repeat("x", maxAnswer/3)
	for i := range 4 {
		w.do("romeo", asked(fmt.Sprintf(`<publish node='n'><item id='%d'><t xmlns='urn:t'>%s</t></item></publish>`, i, big)))
	}
	got := w.ask("romeo", "get", asked(`<items node='n'/>`))
	if len(got) > maxAnswer+1000 || strings.Count(got, "<item ") != 2 || !strings.Contains(got, "<count>4</count>") {
		t.Errorf("%d bytes, %d items", len(got), strings.Count(got, "<item "))
	}
}

func TestItemsAreGoneWhenTheirTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.create("n", "item_expire", "60")
		w.publish("n", "1")
		time.Sleep(50 * time.Second)
		w.publish("n", "2")
		if got := w.items("n"); got != "1 2" {
			t.Errorf("before: %s", got)
		}
		time.Sleep(20 * time.Second)
		if got := w.items("n"); got != "2" {
			t.Errorf("after a minute: %s", got)
		}
		time.Sleep(time.Minute)
		if it, _, err := w.g.Item(jid.MustParse(serviceName), "n", ""); it != nil || err != nil {
			t.Errorf("after two: %v, %v", it, err)
		}
	})
}

// What a service may keep: nodes, items and bytes; what does not grow may always be written.
func TestAServiceKeepsNoMoreThanItMay(t *testing.T) {
	const noRoom = "wait resource-constraint"
	fill := func(w *world) { w.publish("n", "1", "2") }
	for _, row := range []struct {
		about   string
		limit   func(w *world)
		payload string
		want    string
	}{
		{"another node", func(w *world) { w.limits.Nodes = 1 }, asked(`<create node='m'/>`), noRoom},
		{"another node by an item", func(w *world) { w.limits.Nodes = 1 }, publication("m", "1"), noRoom},
		{"another item of the one", func(w *world) { w.limits.Nodes = 1 }, publication("n", "3"), ""},
		{"an item beyond all bytes", func(w *world) { w.limits.Bytes = 120 }, publication("n", "3"), noRoom},
		{"the same item beyond all bytes", func(w *world) { w.limits.Bytes = 120 }, publication("n", "2"), ""},
		{"a subscription beyond all bytes", func(w *world) { w.limits.Bytes = 120 }, subscribing("n", "romeo"), noRoom},
		{"a retraction beyond all bytes", func(w *world) { w.limits.Bytes = 120 }, asked(`<retract node='n'><item id='1'/></retract>`), ""},
		{"the end of a node beyond all bytes", func(w *world) { w.limits.Bytes = 120 }, askedOwner(`<delete node='n'/>`), ""},
		{"an item on a full disk", func(w *world) { w.full = true }, publication("n", "3"), noRoom},
		{"a node on a full disk", func(w *world) { w.full = true }, asked(`<create node='m'/>`), noRoom},
		{"a retraction on a full disk", func(w *world) { w.full = true }, asked(`<retract node='n'><item id='1'/></retract>`), ""},
	} {
		for _, restarted := range []bool{false, true} {
			w := newWorld(t)
			w.create("n")
			fill(w)
			if restarted { // then the store counts
				w.start()
			}
			row.limit(w)
			got := w.ask("romeo", "set", row.payload)
			if strings.HasPrefix(got, "<") {
				got = ""
			}
			if got != row.want {
				t.Errorf("%s (restarted: %t): %q, want %q", row.about, restarted, got, row.want)
			}
		}
	}
}

// Strangers share the subscriptions of a node and leave room for those who see the owner.
func TestStrangersDoNotFillANode(t *testing.T) {
	w := newWorld(t)
	w.create("n")
	subscribe := func(user string) bool {
		e := &router.Envelope{Quiet: true, Peer: "capulet.example"}
		e.Stanza = &xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeSet, ID: "s", From: jid.MustParse(user),
			To:      jid.MustParse(serviceName),
			Payload: []byte(asked(`<subscribe node='n' jid='` + user + `'/>`))}
		e.Stanza.Children = xmpp.Index(e.Stanza.Payload)
		w.g.Handle(e)
		return e.Outcome != router.Refused
	}
	taken := 0
	for i := range maxSubscriptions {
		if !subscribe(fmt.Sprintf("u%d@capulet.example", i)) {
			break
		}
		taken++
	}
	if taken == 0 || taken > maxSubscriptions*3/4 {
		t.Errorf("one domain has %d of %d subscriptions", taken, maxSubscriptions)
	}
	if got := w.ask("nurse", "set", subscribing("n", "nurse")); !strings.Contains(got, "subscribed") {
		t.Errorf("another stranger: %s", got)
	}
	if got := w.ask("juliet", "set", subscribing("n", "juliet")); !strings.Contains(got, "subscribed") {
		t.Errorf("a friend: %s", got)
	}
}

func TestARemovedServiceHasNoNodes(t *testing.T) {
	w := newWorld(t)
	w.create("n")
	w.publish("n", "1")
	w.do("nurse", subscribing("n", "nurse"))
	service := jid.MustParse(serviceName)
	if err := w.g.Removed(service); err != nil {
		t.Fatal(err)
	}
	for _, space := range []string{"nodes", "items"} {
		if keys, _, err := w.store.Map(space).Size(t.Context(), serviceName); keys != 0 || err != nil {
			t.Errorf("%s: %d records, %v", space, keys, err)
		}
	}
	if got := w.ask("romeo", "get", asked(`<items node='n'/>`)); got != told(noNode()) {
		t.Errorf("its node is there: %s", got)
	}
	w.create("n")
	if got := w.items("n"); got != "" {
		t.Errorf("a new node has the items %s", got)
	}
}

// Publish and Retract are for a module that acts in the owner's name.
func TestAModulePublishesAndRetractsForTheOwner(t *testing.T) {
	w := newWorld(t)
	service := jid.MustParse(serviceName)
	w.wants["n"] = []string{"juliet/x"}
	item := func(id string) Item { return Item{ID: id, Payload: []byte("<t xmlns='urn:t'>" + id + "</t>")} }
	var many []Item
	for i := range 7 {
		many = append(many, item(fmt.Sprint(i)))
	}
	if _, err := w.g.Publish(nil, service, "n", w.standard, many...); err != nil {
		t.Fatal(err)
	}
	if got := w.items("n"); got != "2 3 4 5 6" {
		t.Errorf("kept %s", got)
	}
	if got := w.events("juliet"); strings.Count(got, "<item ") != 5 {
		t.Errorf("she got %s", got)
	}
	if _, err := w.g.Publish(nil, service, "n", w.standard,
		Item{ID: "8", Payload: []byte("<t xmlns='urn:t'>" + strings.Repeat("x", 200) + "</t>")}); err == nil {
		t.Error("a large one is published")
	}
	if _, err := w.g.Retract(nil, service, "n", "2", "none", "3"); err != nil {
		t.Fatal(err)
	}
	if got, event := w.items("n"), w.events("juliet"); got != "4 5 6" || event != "<event><items node='n'><retract id='2'/><retract id='3'/></items></event>" {
		t.Errorf("kept %s, told %s", got, event)
	}
	for node, ids := range map[string][]string{"n": {"none"}, "none": {"4"}} {
		if _, err := w.g.Retract(nil, service, node, ids...); err != nil || w.events("juliet") != "" {
			t.Errorf("what is not there: %v", err)
		}
	}
	items, c, ok, err := w.g.Items(service, "n")
	if len(items) != 3 || !ok || err != nil || c.Access != Open || items[0].By != serviceName {
		t.Errorf("%v, %v, %t, %v", items, c, ok, err)
	}
	if _, _, ok, err := w.g.Items(service, "none"); ok || err != nil {
		t.Errorf("a node that is not there: %t, %v", ok, err)
	}
	if it, _, err := w.g.Item(service, "n", "5"); err != nil || it == nil || string(it.Payload) != "<t xmlns='urn:t'>5</t>" {
		t.Errorf("%v, %v", it, err)
	}
}
