package pubsub

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/modules/internal/rsm"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// setOptions has somebody change the options of a subscription.
func (w *world) setOptions(who, node, id string, fields ...string) string {
	w.t.Helper()
	return w.ask(who, "set", asked(`<options node='`+node+`' jid='`+at(who).String()+`' subid='`+id+`'>`+submission("subscribe_options", fields...)+`</options>`))
}

func TestAnAddressHasSubscriptionsThatDiffer(t *testing.T) {
	w := newWorldOf(t, true)
	w.create("n", "notify_retract", "1")
	w.do("nurse", subscribing("n", "nurse"))
	if got := w.do("nurse", subscribing("n", "nurse")); !strings.Contains(got, "subid='1'") {
		t.Errorf("the same again: %s", got)
	}
	w.events("nurse")
	if got := w.do("nurse", quietly("n", "nurse")); !strings.Contains(got, "subid='2'") || !strings.Contains(got, "subscribe_options") {
		t.Errorf("another one: %s", got)
	}
	const item, head = `<event><items node='n'><item id='1'><t>1</t></item></items></event>`, `<headers xmlns='http://jabber.org/protocol/shim'><header name='SubID'>`
	w.publish("n", "1")
	if got := w.events("nurse"); got != item+head+`1</header></headers>` {
		t.Errorf("an event for one of two: %s", got)
	}
	if got := w.setOptions("nurse", "n", "2", "deliver", "1"); got != "" {
		t.Fatal(got)
	}
	w.do("romeo", asked(`<retract node='n'><item id='1'/></retract>`))
	if got := w.events("nurse"); !strings.HasSuffix(got, head+`1</header><header name='SubID'>2</header></headers>`) || strings.Contains(got, " | ") {
		t.Errorf("one event for both: %s", got)
	}
	w.do("romeo", askedOwner(`<purge node='n'/>`)) // says nothing of subscriptions: §12.14
	if got := w.events("nurse"); got != `<event><purge node='n'/></event>` {
		t.Errorf("a purge: %s", got)
	}
	w.start() // both outlive the server
	if got := w.ask("nurse", "get", asked(`<subscriptions/>`)); strings.Count(got, "<subscription ") != 2 {
		t.Errorf("after a restart: %s", got)
	}
	w.do("nurse", asked(`<unsubscribe node='n' jid='nurse@example.org' subid='1'/>`))
	if got := w.ask("nurse", "get", asked(`<options node='n' jid='nurse@example.org'/>`)); !strings.Contains(got, "subid='2'") {
		t.Errorf("left is %s", got)
	}
	if got := w.do("nurse", quietly("n", "nurse")); !strings.Contains(got, "subid='1'") {
		t.Errorf("a free id: %s", got)
	}
	if got := plain(w.ask("romeo", "get", askedOwner(`<subscriptions node='n'/>`))); strings.Count(got, "nurse@") != 2 {
		t.Errorf("the owner sees %s", got)
	}
	w.do("romeo", askedOwner(`<subscriptions node='n'><subscription jid='nurse@example.org' subid='2' subscription='none'/></subscriptions>`))
	if got := w.events("nurse"); !strings.Contains(got, "subid='2'") || !strings.Contains(got, "subscription='none'") {
		t.Errorf("the end of one: %s", got)
	}
}

func TestLeasesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldOf(t, true)
		w.create("n")
		expire := func(d time.Duration) string { return xmpp.FormatTime(time.Now().Add(d)) }
		got := w.do("nurse", asked(`<subscribe node='n' jid='nurse@example.org'/><options>`+submission("subscribe_options", "expire", expire(time.Hour))+`</options>`))
		if !strings.Contains(got, "expiry='"+expire(time.Hour)+"'") {
			t.Errorf("subscribed: %s", got)
		}
		// Beyond the longest lease it is cut (§12.18).
		w.do("paris", asked(`<subscribe node='n' jid='paris@example.org'/><options>`+submission("subscribe_options", "expire", expire(10*maxLease))+`</options>`))
		if got := w.ask("paris", "get", asked(`<options node='n' jid='paris@example.org'/>`)); !strings.Contains(got, expire(maxLease)) {
			t.Errorf("a long lease: %s", got)
		}
		<-time.After(50 * time.Minute)
		w.start()
		if got := w.setOptions("nurse", "n", "1", "expire", expire(time.Hour)); got != "" {
			t.Fatalf("renewed: %s", got)
		}
		<-time.After(50 * time.Minute)
		w.publish("n", "1")
		if got := w.events("nurse"); !strings.Contains(got, "<item id='1'>") {
			t.Errorf("within the lease: %s", got)
		}
		<-time.After(11 * time.Minute)
		w.publish("n", "2")
		if got := w.events("nurse"); !strings.Contains(got, "subscription='none'") || strings.Contains(got, "<item") {
			t.Errorf("after the lease: %s", got)
		}
		if got := w.ask("nurse", "get", asked(`<subscriptions/>`)); strings.Contains(got, "<subscription ") {
			t.Errorf("left: %s", got)
		}
		entries, _, err := w.store.Map("nodes").List(t.Context(), serviceName)
		for _, e := range entries {
			if strings.Contains(e.Key, "nurse") {
				t.Errorf("in the store: %q, %v", e.Key, err)
			}
		}
		w.publish("n", "3")
		if got := w.events("paris"); !strings.Contains(got, "<item id='3'>") {
			t.Errorf("the other one: %s", got)
		}
	})
}

func TestOwnersOfANodeAreManyAndNeverNone(t *testing.T) {
	w := newWorldOf(t, true)
	w.create("n", "access_model", "authorize")
	w.do("nurse", subscribing("n", "nurse"))
	w.do("paris", subscribing("n", "paris"))
	affiliate := func(who string, affiliations ...string) string {
		all := ""
		for i := 0; i < len(affiliations); i += 2 {
			all += `<affiliation jid='` + at(affiliations[i]).String() + `' affiliation='` + affiliations[i+1] + `'/>`
		}
		return w.ask(who, "set", askedOwner(`<affiliations node='n'>`+all+`</affiliations>`))
	}
	for _, row := range []struct{ who, affiliations, want string }{
		{"juliet", "juliet owner", "auth forbidden"},
		{"romeo", "romeo none", "modify not-acceptable"},
		{"romeo", "juliet owner", ""},
		{"juliet", "romeo publisher", ""},
		{"romeo", "romeo owner", "auth forbidden"},
		{"juliet", "juliet member", "modify not-acceptable"},
		{"juliet", "juliet member romeo owner", ""},
		{"juliet", "juliet owner", "auth forbidden"},
		{"romeo", "juliet owner nurse publisher paris outcast", ""}, // §8.7.2: these wait no longer
	} {
		if got := affiliate(row.who, strings.Fields(row.affiliations)...); got != row.want {
			t.Fatalf("%s makes %s: %q, want %q", row.who, row.affiliations, got, row.want)
		}
	}
	if got := w.events("nurse"); !strings.Contains(got, "subscription='subscribed'") {
		t.Errorf("a publisher who waited: %s", got)
	}
	if got := w.events("paris"); !strings.Contains(got, "subscription='none'") {
		t.Errorf("an outcast who waited: %s", got)
	}
	w.start()
	if got := plain(w.ask("juliet", "get", askedOwner(`<affiliations node='n'/>`))); strings.Count(got, "'owner'") != 2 {
		t.Errorf("after a restart: %s", got)
	}
	if got := w.ask("nurse", "get", asked(`<affiliations/>`)); !strings.Contains(got, "affiliation='publisher' node='n'") && !strings.Contains(got, "node='n' affiliation='publisher'") {
		t.Errorf("her own: %s", got)
	}
	// A request goes to both, and the first answer counts.
	w.events("romeo")
	w.events("juliet")
	w.do("mercutio", subscribing("n", "mercutio"))
	if r, j := w.events("romeo"), w.events("juliet"); !strings.Contains(r, "subscribe_authorization") || !strings.Contains(j, "mercutio@") {
		t.Errorf("asked: %s and %s", r, j)
	}
	answer := func(by string) (bool, error) {
		is, _, err := w.g.Approve(nil, jid.MustParse(serviceName), at(by), moduletest.Parse(t, `<message>`+submission("subscribe_authorization", "node", "n",
			"subscriber_jid", "mercutio@example.org", "allow", "1")+`</message>`))
		return is, err
	}
	for _, row := range []struct{ by, want string }{{"nurse", "forbidden"}, {"juliet", ""}, {"romeo", "item-not-found"}} {
		is, err := answer(row.by)
		if got := fmt.Sprint(err); !is || row.want == "" && err != nil || !strings.Contains(got, row.want) {
			t.Errorf("%s answers: %t, %v", row.by, is, err)
		}
	}
}

func TestOwnersFindWhoWaits(t *testing.T) {
	w := newWorldOf(t, true)
	w.makers["juliet"] = true
	for _, node := range []string{"a", "b", "c"} {
		w.create(node, "access_model", "authorize")
	}
	w.do("juliet", asked(`<create node='hers'/>`))
	w.do("paris", subscribing("b", "paris"))
	w.do("nurse", subscribing("b", "nurse"))
	w.events("romeo")
	service := jid.MustParse(serviceName)
	if names, err := w.g.Waiting(service, at("romeo")); err != nil || fmt.Sprint(names) != "[b]" {
		t.Errorf("waiting at %v, %v", names, err)
	}
	if names, err := w.g.Waiting(service, at("juliet")); err != nil || len(names) > 0 {
		t.Errorf("waiting for somebody else at %v, %v", names, err)
	}
	if err := w.g.AskAgain(nil, service, at("romeo/x"), "b"); err != nil || strings.Count(w.events("romeo"), "subscribe_authorization") != 2 {
		t.Errorf("asked again: %v", err)
	}
	for node, want := range map[string]string{"none": "item-not-found", "hers": "forbidden"} {
		if err := w.g.AskAgain(nil, service, at("romeo/x"), node); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", node, err)
		}
	}
}

func TestNobodyTakesTheRoomOfOthers(t *testing.T) {
	w := newWorldOf(t, true)
	w.limits = Limits{Nodes: 20, UserNodes: 3, Items: 8, ItemBytes: 200, UserBytes: 4000, Bytes: 100000, Subscriptions: 50}
	w.makers["juliet"] = true
	for i := range 3 {
		w.create(fmt.Sprint(i), "publish_model", "open")
	}
	if got := w.ask("romeo", "set", asked(`<create node='more'/>`)); got != "wait resource-constraint" {
		t.Errorf("one node too many: %s", got)
	}
	w.do("juliet", asked(`<create node='hers'/>`))
	// A guest has a quarter of a node's room, and its own items go for more.
	w.publish("0", "r1", "r2")
	for i := range 5 {
		w.do("nurse", publication("0", fmt.Sprintf("n%d", i)))
	}
	if got := w.items("0"); got != "r1 r2 n3 n4" {
		t.Errorf("items %s", got)
	}
	// All guests together have a quarter of the bytes of whoever has made the node.
	payload := func(id string) string {
		return asked(`<publish node='1'><item id='` + id + `'><t xmlns='urn:t'>` + strings.Repeat("x", 150) + `</t></item></publish>`)
	}
	refused := 0
	for i, who := range []string{"nurse", "paris", "mercutio", "tybalt"} {
		for k := range 2 {
			if w.ask(who, "set", payload(fmt.Sprint(i, "-", k))) == "wait resource-constraint" {
				refused++
			}
		}
	}
	if refused == 0 || refused == 8 {
		t.Errorf("%d of 8 were refused", refused)
	}
	w.do("romeo", payload("own"))
	for i := range 40 { // until there is no room
		if got := w.ask("romeo", "set", strings.Replace(payload(fmt.Sprint("o", i)), "'1'", "'2'", 1)); got == "wait resource-constraint" {
			t.Errorf("%d items of 8 that stay", i)
			break
		}
	}
	w.do("juliet", publication("hers", "1"))
	// Half of the subscriptions of a node are one's who has that many addresses.
	taken := 0
	for i := range 10 {
		if got := w.ask("nurse", "set", asked(fmt.Sprintf(`<subscribe node='0' jid='nurse@example.org/%d'/>`, i))); strings.HasPrefix(got, "<") {
			taken++
		}
	}
	if taken != 1 {
		t.Errorf("%d subscriptions of one out of 5", taken)
	}
	w.do("paris", subscribing("0", "paris"))
}

func TestWhoeverIsRemovedLeavesNothing(t *testing.T) {
	w := newWorldOf(t, true)
	w.makers["juliet"] = true
	w.create("his")
	w.create("theirs")
	w.affiliate("theirs", "juliet", "owner")
	w.do("juliet", asked(`<create node='hers'/>`))
	w.do("romeo", subscribing("hers", "romeo"))
	w.do("nurse", subscribing("his", "nurse"))
	w.events("nurse")
	if err := w.g.Forget(jid.MustParse(serviceName), at("romeo")); err != nil {
		t.Fatal(err)
	}
	if got := w.events("nurse"); got != `<event><delete node='his'/></event>` {
		t.Errorf("the subscriber of a node that is gone hears %q", got)
	}
	for range 2 {
		all, _, _, err := w.g.Visible(jid.MustParse(serviceName), at("juliet"), rsm.All())
		if err != nil || len(all) != 2 || all[0].Attr("node") != "hers" || all[1].Attr("node") != "theirs" {
			t.Errorf("left: %v, %v", all, err)
		}
		for _, request := range []string{asked(`<subscriptions/>`), asked(`<affiliations/>`)} {
			if got := w.ask("romeo", "get", request); strings.Contains(got, "node=") {
				t.Errorf("his: %s", got)
			}
		}
		w.start()
	}
	entries, _, err := w.store.Map("nodes").List(t.Context(), serviceName)
	for _, e := range entries {
		if strings.Contains(e.Key, "romeo") {
			t.Errorf("in the store: %q, %v", e.Key, err)
		}
	}
}

// What is counted as it changes is what a service that is read anew counts.
func TestCountsAreThoseOfAServiceReadAnew(t *testing.T) {
	w := newWorldOf(t, true)
	w.makers["juliet"], w.makers["nurse"] = true, true
	service := jid.MustParse(serviceName)
	counts := func() string {
		s, err := w.g.lock(service)
		if err != nil {
			t.Fatal(err)
		}
		defer w.g.unlock(s)
		out := fmt.Sprintf("%d nodes, %d subscriptions, %v, %v", len(s.nodes), s.subs, s.shared.of, s.shared.shares)
		if s.shared.of == nil {
			out = "0 nodes, 0 subscriptions, map[], map[]"
		}
		for _, who := range []string{"romeo", "juliet", "nurse"} {
			out += fmt.Sprint(" ", len(s.shared.made[at(who).String()]))
		}
		return out
	}
	whos := []string{"romeo", "juliet", "nurse", "paris"}
	for i := range 300 {
		who, node := whos[i*7%4], fmt.Sprint("n", i*5%6)
		switch i * 11 % 9 {
		case 0, 1:
			w.ask(who, "set", asked(`<create node='`+node+`'/>`))
		case 2:
			w.ask(who, "set", subscribing(node, who))
		case 3:
			w.ask(who, "set", quietly(node, who))
		case 4:
			w.ask(who, "set", asked(`<unsubscribe node='`+node+`' jid='`+at(who).String()+`' subid='1'/>`))
		case 5:
			w.ask(who, "set", publication(node, fmt.Sprint(i)))
		case 6:
			w.ask(who, "set", askedOwner(`<affiliations node='`+node+`'><affiliation jid='paris@example.org' affiliation='`+affiliationNames[i%6]+`'/></affiliations>`))
		case 7:
			if i%5 == 0 {
				w.ask(who, "set", askedOwner(`<delete node='`+node+`'/>`))
			}
		case 8:
			if i%7 == 0 {
				if err := w.g.Forget(service, at(who)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if i%10 == 9 {
			before := counts()
			w.start()
			if after := counts(); after != before {
				t.Fatalf("after %d: %s, and anew %s", i, before, after)
			}
		}
	}
}

func TestPlacesOfManyItemsAreForgotten(t *testing.T) {
	w := newWorldOf(t, true)
	w.create("n")
	w.publish("n", "1", "2")
	s, err := w.g.lock(jid.MustParse(serviceName))
	if err != nil {
		t.Fatal(err)
	}
	s.forgetPlaces()
	size, err := w.g.size(s)
	w.g.unlock(s)
	if size == 0 || err != nil {
		t.Errorf("%d bytes, %v", size, err)
	}
	w.publish("n", "3")
	if got := w.items("n"); got != "1 2 3" {
		t.Errorf("items %s", got)
	}
}
