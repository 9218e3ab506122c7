package pubsub

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/modules/internal/forms"
	"jackdaw/modules/internal/moduletest"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func TestEachGetsAnEventOnce(t *testing.T) {
	w := newWorld(t)
	w.create("n")
	// juliet wants it at x and has subscribed as well; nurse has subscribed, and says where; tybalt has, and is
	// blocked.
	w.wants["n"] = []string{"juliet/x", "juliet/x", "mercutio/x", "tybalt/x"}
	for _, who := range []string{"juliet", "nurse", "tybalt"} {
		w.do(who, subscribing("n", who))
	}
	nurse2 := moduletest.Login(t, w.Router, "nurse/y")
	nurse2.Available(0)
	w.resources["juliet"], w.resources["nurse"] = []string{"x"}, []string{"y"}
	w.blocked["tybalt"] = true
	w.publish("n", "1")
	const item = `<event><items node='n'><item id='1'><t>1</t></item></items></event>`
	// Those who see the owner's presence learn which session has published (XEP-0163 §4.3.1).
	const by = `<addresses xmlns='http://jabber.org/protocol/address'><address type='replyto' jid='romeo@example.org/x'/></addresses>`
	for who, want := range map[string]string{"juliet": item + by, "mercutio": item + by, "nurse": "", "paris": "", "tybalt": ""} {
		if got := w.events(who); got != want {
			t.Errorf("%s got %s, want %s", who, got, want)
		}
	}
	if got := nurse2.Deliveries(); len(got) != 1 || plain(string(got[0].Stanza.Payload)) != item {
		t.Errorf("the nurse got %v", got)
	}
}

func TestEventsSayWhatTheNodeIsToldToSay(t *testing.T) {
	const node = "n"
	retract := asked(`<retract node='n'><item id='1'/></retract>`)
	for _, row := range []struct {
		about   string
		options []string
		payload string
		want    string
	}{
		{"an item", nil, publication(node, "2"), `<event><items node='n'><item id='2'><t>2</t></item></items></event>`},
		{"two items in one event", nil, publication(node, "2", "3"),
			`<event><items node='n'><item id='2'><t>2</t></item><item id='3'><t>3</t></item></items></event>`},
		{"an item without its payload", []string{"deliver_payloads", "0"}, publication(node, "2"), `<event><items node='n'><item id='2'/></items></event>`},
		{"an item with its publisher", []string{"itemreply", "publisher"}, publication(node, "2"),
			`<event><items node='n'><item id='2' publisher='romeo@example.org'><t>2</t></item></items></event>`},
		{"no events", []string{"deliver_notifications", "0"}, publication(node, "2"), ""},
		{"a retraction that is not told", nil, retract, ""},
		{"a retraction that the request wants told", nil, strings.Replace(retract, "'n'", "'n' notify='true'", 1),
			`<event><items node='n'><retract id='1'/></items></event>`},
		{"a retraction that the node tells", []string{"notify_retract", "1"}, retract, `<event><items node='n'><retract id='1'/></items></event>`},
		{"a purge", nil, askedOwner(`<purge node='n'/>`), `<event><purge node='n'/></event>`},
		{"the end of the node", nil, askedOwner(`<delete node='n'/>`), `<event><delete node='n'/></event>`},
		{"the end of the node, which goes elsewhere", nil, askedOwner(`<delete node='n'><redirect uri='xmpp:hamlet@denmark.example'/></delete>`),
			`<event><delete node='n'><redirect uri='xmpp:hamlet@denmark.example'/></delete></event>`},
		{"the end of the node, which is not told", []string{"notify_delete", "0"}, askedOwner(`<delete node='n'/>`), ""},
		{"a configuration that is not told", nil, askedOwner(`<configure node='n'>` + submission("node_config", "title", "T") + `</configure>`), ""},
		{"a configuration without its form", []string{"notify_config", "1", "deliver_payloads", "0"},
			askedOwner(`<configure node='n'>` + submission("node_config", "title", "T") + `</configure>`), `<event><configuration node='n'/></event>`},
	} {
		w := newWorld(t)
		w.create(node, append(row.options, "access_model", "open")...)
		w.publish(node, "1")
		w.do("nurse", subscribing(node, "nurse"))
		w.events("nurse")
		w.do("romeo", row.payload)
		if got := w.events("nurse"); got != row.want {
			t.Errorf("%s: got %q, want %q", row.about, got, row.want)
		}
	}
}

func TestANewConfigurationIsToldWithItsForm(t *testing.T) {
	w := newWorld(t)
	w.create("n", "notify_config", "1")
	w.do("nurse", subscribing("n", "nurse"))
	if got := w.configure("n", "title", "A Plague"); got != "" {
		t.Fatal(got)
	}
	if got := w.events("nurse"); !strings.HasPrefix(got, "<event><configuration node='n'><x ") || !strings.Contains(got, "A Plague") {
		t.Errorf("got %s", got)
	}
}

func TestEventsAreHeadlinesUnlessTheNodeSaysNormal(t *testing.T) {
	for option, want := range map[string]xmpp.Type{"headline": xmpp.TypeHeadline, "normal": xmpp.TypeNormal} {
		w := newWorld(t)
		w.create("n", "notification_type", option)
		w.do("nurse", subscribing("n", "nurse"))
		w.clients["nurse"].Deliveries()
		w.publish("n", "1")
		w.publish("n", "2")
		got := w.clients["nurse"].Deliveries()
		if len(got) != 2 || got[0].Stanza.Type != want || got[0].Stanza.ID == got[1].Stanza.ID ||
			!w.g.IsEvent(got[0].Stanza.ID) {
			t.Errorf("%s: got %v", option, got)
		}
	}
}

func TestTheLastItemComesWithItsTimeToWhomItIsNews(t *testing.T) {
	const last = `<event><items node='n'><item id='2'><t>2</t></item></items></event><delay xmlns='urn:xmpp:delay' stamp=`
	all := func(string) bool { return true }
	for option, want := range map[string][2]bool{"never": {}, "on_sub": {true, false}, "on_sub_and_presence": {true, true}} {
		w := newWorld(t)
		w.create("n", "send_last_published_item", option)
		w.publish("n", "1")
		w.publish("n", "2")
		c := w.clients["nurse"]
		c.Send(fmt.Sprintf(`<iq type='set' id='1' to='%s'>%s</iq>`, serviceName, subscribing("n", "nurse")))
		if got := strings.HasPrefix(w.events("nurse"), last); got != want[0] {
			t.Errorf("%s: with the subscription: %t", option, got)
		}
		if err := w.g.Greet(jid.MustParse(serviceName), at("nurse/x"), all).All(nil); err != nil {
			t.Fatal(err)
		}
		if got := strings.HasPrefix(w.events("nurse"), last); got != want[1] {
			t.Errorf("%s: with presence: %t", option, got)
		}
	}
}

func TestGreetingsGoToThoseWhoMayAndWantThem(t *testing.T) {
	w := newWorld(t)
	for _, model := range accessModels {
		w.create(model, "access_model", model, "roster_groups_allowed", "Lovers", "send_last_published_item", "on_sub_and_presence")
		w.publish(model, "1")
	}
	w.create("silent", "send_last_published_item", "on_sub_and_presence", "deliver_notifications", "0")
	w.publish("silent", "1")
	service := jid.MustParse(serviceName)
	nodes := func(who string) string {
		var all []string
		for event := range strings.SplitSeq(w.events(who), " | ") {
			_, rest, _ := strings.Cut(event, "node='")
			node, _, _ := strings.Cut(rest, "'")
			all = append(all, node)
		}
		return strings.Join(all, " ")
	}
	all := func(node string) bool { return node != "whitelist" }
	for _, row := range []struct{ who, greeted, grouped string }{
		{"juliet", "open presence roster", "roster"}, {"mercutio", "open presence", ""}, {"nurse", "open", ""}, {"romeo", "authorize open presence roster", "roster"},
		{"tybalt", "", ""},
	} {
		w.blocked["tybalt"] = true
		if err := w.g.Greet(service, at(row.who+"/x"), all).All(nil); err != nil {
			t.Fatal(err)
		}
		if got := nodes(row.who); got != row.greeted {
			t.Errorf("%s is greeted with %s, want %s", row.who, got, row.greeted)
		}
		if err := w.g.GreetGroup(service, at(row.who+"/x"), all).All(nil); err != nil {
			t.Fatal(err)
		}
		if got := nodes(row.who); got != row.grouped {
			t.Errorf("%s is greeted for a group with %s, want %s", row.who, got, row.grouped)
		}
	}
}

func TestAGreetingComesInStepsOfAFewItems(t *testing.T) {
	w := newWorld(t)
	w.limits = Limits{Nodes: 20, Items: 1, ItemBytes: greetAtOnce}
	const many = 10
	for i := range many {
		node := fmt.Sprint("n", i)
		w.create(node, "send_last_published_item", "on_sub_and_presence")
		w.do("romeo", asked(`<publish node='`+node+`'><item id='1'><t xmlns='urn:t'>`+strings.Repeat("x", greetAtOnce*2/5)+`</t></item></publish>`))
	}
	greeting := w.g.Greet(jid.MustParse(serviceName), at("nurse/x"), func(string) bool { return true })
	var steps []int
	for more := true; more; {
		var err error
		if more, err = greeting.Step(nil); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, len(w.clients["nurse"].Deliveries()))
		if len(steps) == 2 { // what has gone meanwhile is not missed
			w.do("romeo", askedOwner(`<delete node='n7'/>`))
			w.do("romeo", askedOwner(`<delete node='n9'/>`))
		}
	}
	if got := fmt.Sprint(steps); got != "[3 3 2]" {
		t.Errorf("%s items in each step", got)
	}
}

// XEP-0060 §8.6: approval by the owner.
func TestTheOwnerDecidesWhoWaits(t *testing.T) {
	answer := func(allow string) *xmpp.Stanza {
		return moduletest.Parse(t, `<message>`+`<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>`+authorization+`</value></field>`+
			`<field var='pubsub#node'><value>n</value></field><field var='pubsub#subscriber_jid'><value>nurse@example.org</value></field>`+
			`<field var='pubsub#allow'><value>`+allow+`</value></field></x></message>`)
	}
	service := jid.MustParse(serviceName)
	for allow, want := range map[string]string{"true": "subscribed", "false": "none"} {
		w := newWorld(t)
		w.create("n", "access_model", "authorize")
		w.publish("n", "1")
		if got := w.do("nurse", subscribing("n", "nurse")); !strings.Contains(got, "subscription='pending'") {
			t.Fatalf("she does not wait: %s", got)
		}
		if len(w.mail) != 1 || !strings.Contains(w.mail[0], "nurse@example.org") || !strings.Contains(w.mail[0], authorization) {
			t.Errorf("the owner is asked %q", w.mail)
		}
		w.publish("n", "2")
		if got := w.events("nurse"); got != "" {
			t.Errorf("she got %s while she waits", got)
		}
		for _, other := range []string{`<message><body>a</body></message>`, `<message><x xmlns='jabber:x:data' type='submit'/></message>`} {
			if is, _, err := w.g.Approve(nil, service, at("romeo"), moduletest.Parse(t, other)); is || err != nil {
				t.Errorf("%s is an answer: %v", other, err)
			}
		}
		if is, _, err := w.g.Approve(nil, service, at("romeo"), answer("perhaps")); !is || err == nil {
			t.Errorf("an answer that is none: %t, %v", is, err)
		}
		if is, _, err := w.g.Approve(nil, service, at("romeo"), answer(allow)); !is || err != nil {
			t.Errorf("the answer is %t, %v", is, err)
		}
		events := w.events("nurse")
		if !strings.HasPrefix(events, "<event><subscription node='n' jid='nurse@example.org' subscription='"+want+"'/></event>") {
			t.Errorf("she is told %s", events)
		}
		if last := strings.Contains(events, "<t>2</t>"); last != (allow == "true") {
			t.Errorf("%s: the last item came: %t", allow, last)
		}
		if is, _, err := w.g.Approve(nil, service, at("romeo"), answer(allow)); !is || err == nil {
			t.Errorf("answered twice: %t, %v", is, err)
		}
	}
}

func TestWhoLosesTheRightLosesTheSubscription(t *testing.T) {
	service := jid.MustParse(serviceName)
	for about, lose := range map[string]func(w *world){
		"an outcast":             func(w *world) { w.affiliate("n", "juliet", "outcast") },
		"a closed node":          func(w *world) { w.configure("n", "access_model", "whitelist") },
		"a contact that is none": func(w *world) { delete(w.groups, "juliet"); _ = w.g.Revoke(nil, service, at("juliet")) },
	} {
		w := newWorld(t)
		w.create("n", "access_model", "presence")
		w.do("juliet", subscribing("n", "juliet"))
		lose(w)
		if got := w.events("juliet"); got != "<event><subscription node='n' jid='juliet@example.org' subscription='none'/></event>" {
			t.Errorf("%s: she is told %s", about, got)
		}
		w.publish("n", "1")
		if got := w.events("juliet"); got != "" {
			t.Errorf("%s: she got %s", about, got)
		}
	}
	// Those who waited have nobody left to approve them once everybody may.
	w := newWorld(t)
	w.create("n", "access_model", "authorize")
	w.do("nurse", subscribing("n", "nurse"))
	w.configure("n", "access_model", "open")
	if got := w.ask("nurse", "get", asked(`<subscriptions/>`)); !strings.Contains(got, "subscription='subscribed'") {
		t.Errorf("she waits for ever: %s", got)
	}
}

func TestAnAddressThatIsGoneIsNotSubscribed(t *testing.T) {
	service := jid.MustParse(serviceName)
	for condition, stays := range map[xmpp.Condition]bool{xmpp.CondGone: false, xmpp.CondItemNotFound: false,
		xmpp.CondRemoteServerTimeout: true} {
		w := newWorld(t)
		w.create("n")
		w.do("nurse", subscribing("n", "nurse"))
		if err := w.g.Bounced(service, at("nurse"), &xmpp.Error{Condition: condition}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(w.ask("nurse", "get", asked(`<subscriptions/>`)), "subscribed"); got != stays {
			t.Errorf("%s: subscribed: %t", condition, got)
		}
	}
}

func TestTheOwnerOfAChangeHearsOfItAndItsWrites(t *testing.T) {
	w := newWorld(t)
	var got []string
	later := storage.NewPending()
	w.options.Before = func(node string) bool { return node == "n" }
	w.options.Changed = func(c Change) []*storage.Pending {
		before := ""
		if c.Before != nil {
			before = c.Before.ID
		}
		got = append(got, fmt.Sprintf("%s by %s, before %q", c.Node, c.By.Local(), before))
		return []*storage.Pending{later}
	}
	w.start()
	c := w.clients["romeo"]
	w.create("n")
	for i, payload := range []string{publication("n", "1"), publication("n", "2"), publication("other", "1"), asked(`<retract node='n'><item id='1'/></retract>`),
		askedOwner(`<purge node='n'/>`), askedOwner(`<delete node='n'/>`)} {
		c.Send(fmt.Sprintf(`<iq type='set' id='%d' to='%s'>%s</iq>`, i, serviceName, payload))
	}
	if n := len(c.Deliveries()); n != 0 {
		t.Errorf("%d are answered before what belongs to them is durable", n)
	}
	later.Finish(nil)
	if n := len(c.Deliveries()); n != 6 {
		t.Errorf("%d are answered", n)
	}
	want := []string{`n by romeo, before ""`, `n by romeo, before "1"`, `other by romeo, before ""`, `n by romeo, before ""`, `n by romeo, before ""`, `n by romeo, before ""`}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("heard %q, want %q", got, want)
	}
	if _, err := w.g.Publish(nil, jid.MustParse(serviceName), "n", w.standard, Item{ID: "3"}); err != nil || len(got) != 6 {
		t.Errorf("what it did itself is told: %v, %d", err, len(got))
	}
}

func TestSubscriptionsAndAffiliationsAreThoseOfWhoAsks(t *testing.T) {
	w := newWorld(t)
	for _, node := range []string{"a", "b"} {
		w.create(node)
	}
	w.do("nurse", subscribing("a", "nurse"))
	w.do("nurse", subscribing("b", "nurse/x"))
	w.do("juliet", subscribing("a", "juliet"))
	w.affiliate("b", "nurse", "publisher")
	w.affiliate("a", "tybalt", "outcast")
	for _, row := range []struct{ who, payload, want string }{
		{"nurse", asked(`<subscriptions/>`), `<pubsub><subscriptions><subscription node='a' jid='nurse@example.org' subscription='subscribed'/>` +
			`<subscription node='b' jid='nurse@example.org/x' subscription='subscribed'/></subscriptions></pubsub>`},
		{"nurse", asked(`<subscriptions node='a'/>`), `<pubsub><subscriptions node='a'><subscription node='a' jid='nurse@example.org' subscription='subscribed'/></subscriptions></pubsub>`},
		{"paris", asked(`<subscriptions/>`), `<pubsub><subscriptions/></pubsub>`},
		{"nurse", asked(`<affiliations/>`), `<pubsub><affiliations><affiliation node='b' affiliation='publisher'/></affiliations></pubsub>`},
		{"romeo", asked(`<affiliations/>`), `<pubsub><affiliations><affiliation node='a' affiliation='owner'/><affiliation node='b' affiliation='owner'/></affiliations></pubsub>`},
		{"romeo", askedOwner(`<subscriptions node='a'/>`), `<pubsub><subscriptions node='a'><subscription jid='juliet@example.org' subscription='subscribed'/>` +
			`<subscription jid='nurse@example.org' subscription='subscribed'/></subscriptions></pubsub>`},
		{"romeo", askedOwner(`<affiliations node='a'/>`), `<pubsub><affiliations node='a'><affiliation jid='romeo@example.org' affiliation='owner'/>` +
			`<affiliation jid='tybalt@example.org' affiliation='outcast'/></affiliations></pubsub>`},
	} {
		if got := plain(w.ask(row.who, "get", row.payload)); got != row.want {
			t.Errorf("%s: %s:\n%s, want\n%s", row.who, row.payload, got, row.want)
		}
	}
	w.start() // and after a restart
	if got := w.ask("nurse", "get", asked(`<subscriptions/>`)); strings.Count(got, "'subscribed'") != 2 {
		t.Errorf("after a restart: %s", got)
	}
	w.do("nurse", asked(`<unsubscribe node='a' jid='nurse@example.org'/>`))
	w.do("romeo", askedOwner(`<subscriptions node='b'><subscription jid='nurse@example.org/x' subscription='none'/></subscriptions>`))
	if got := w.ask("nurse", "get", asked(`<subscriptions/>`)); strings.Contains(got, "'subscribed'") {
		t.Errorf("at the end: %s", got)
	}
}

func TestTheOwnerIsToldOfSubscribersWhereTheNodeSaysSo(t *testing.T) {
	w := newWorld(t)
	w.create("n", "notify_sub", "1")
	w.do("nurse", subscribing("n", "nurse"))
	w.do("nurse", asked(`<unsubscribe node='n' jid='nurse@example.org'/>`))
	if len(w.mail) != 2 || !strings.Contains(w.mail[0], "subscription='subscribed'") || !strings.Contains(w.mail[1], "subscription='none'") {
		t.Errorf("told %q", w.mail)
	}
}

func TestMetadataSayWhatEverybodyMayKnow(t *testing.T) {
	w := newWorld(t)
	w.create("n", "title", "Verona", "description", "News", "max_items", "3")
	w.do("nurse", subscribing("n", "nurse"))
	info, err := w.g.Info(jid.MustParse(serviceName), at("paris"), "n")
	if err != nil || info == nil {
		t.Fatalf("%v, %v", info, err)
	}
	f, bad := forms.Parse(info.Child(forms.Name))
	if bad != nil {
		t.Fatal(bad)
	}
	var got []string
	for _, field := range f.Fields {
		if field.Var != "pubsub#creation_date" && field.Var != "FORM_TYPE" {
			got = append(got, strings.TrimPrefix(field.Var, "pubsub#")+"="+strings.Join(field.Values, ","))
		}
	}
	const want = "title=Verona description=News access_model=open publish_model=publishers max_items=3 " +
		"creator=" + serviceName + " owner=" + serviceName + " num_subscribers=1"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("got %s, want %s", s, want)
	}
}
