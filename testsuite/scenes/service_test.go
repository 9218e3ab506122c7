package scenes

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/testsuite/fakepeer"
	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

// TestNodesThatManyShare plays service, which crashes the server at its end.
func TestNodesThatManyShare(t *testing.T) {
	t.Parallel()
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{Place: place, Env: quick,
				Config: "limits: {pubsub_user_nodes: 5, pubsub_item_bytes: 1000}\nmodules: {serverinfo: true}\n"})
			play(t, s, "service")
		})
	}
}

// TestStrangersAtTheService: who comes from another server reads, subscribes, hears and publishes as owners allow, and
// takes nobody's room.
func TestStrangersAtTheService(t *testing.T) {
	t.Parallel()
	for _, place := range harness.OverTCP() { // how juliet comes is another theme's
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			const of = "pubsub." + harness.Domain
			authority := peers.NewAuthority(t)
			peer := fakepeer.Start(t, fakepeer.Options{Domains: []string{abroad}}.Certified(t, authority, peers.None))
			own := authority.Issue(harness.Domain, peers.None)
			s := harness.Start(t, harness.Options{Place: place,
				Env: append(authority.Env(), quick...), Users: []string{"juliet"}, Federate: true,
				Cert: own.Cert, Key: own.Key, Config: "limits: {pubsub_subscriptions: 400}\n",
				S2S: fmt.Sprintf("resolve: {%q: %q}", abroad, peer.Addr)})
			for _, domain := range []string{harness.Domain, of} {
				peer.Locate(domain, s.S2S)
			}
			link, err := peer.Connect(abroad, of, fakepeer.Way{})
			if err != nil {
				t.Fatal(err)
			}
			visit(t, enter(t, s, "juliet", "desk"), &foreigner{t: t, peer: peer, link: link, of: of})
		})
	}
}

func visit(t *testing.T, juliet *guest, far *foreigner) {
	do := func(xml string) {
		t.Helper()
		juliet.marks++
		id := fmt.Sprintf("do-%d", juliet.marks)
		juliet.say("<iq type='set' id='" + id + "' to='" + far.of + "'><pubsub xmlns='http://jabber.org/protocol/pubsub'>" + xml + "</pubsub></iq>")
		if juliet.until(id); harness.Attr(juliet.last, "type") != "result" {
			t.Fatalf("%s ends with %s", xml, juliet.last)
		}
	}
	create := func(node, fields string) {
		t.Helper()
		do("<create node='" + node + "'/><configure><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>" +
			"<value>http://jabber.org/protocol/pubsub#node_config</value></field>" + fields + "</x></configure>")
	}
	field := func(name, value string) string {
		return "<field var='pubsub#" + name + "'><value>" + value + "</value></field>"
	}
	publish := func(node, item string) {
		t.Helper()
		do("<publish node='" + node + "'><item id='" + item + "'><t xmlns='urn:t'/></item></publish>")
	}
	create("comments", field("publish_model", "open")+field("max_items", "8"))
	create("friends", field("access_model", "presence"))
	create("closed", field("access_model", "whitelist"))
	publish("comments", "hers")
	const item = "<item id='%s'><t xmlns='urn:t'/></item>"
	for _, row := range []struct{ kind, payload, want string }{
		{"get", "<items node='comments'/>", "ok"},
		{"set", "<subscribe node='comments' jid='" + mercutio + "'/>", "subscribed"},
		{"set", "<subscribe node='friends' jid='" + mercutio + "'/>", "auth not-authorized presence-subscription-required"},
		{"get", "<items node='closed'/>", "cancel not-allowed closed-node"},
		{"set", "<create node='his'/>", "auth forbidden"},
		{"set", "<publish node='his'>" + fmt.Sprintf(item, "1") + "</publish>", "cancel item-not-found"},
		{"set", "<publish node='closed'>" + fmt.Sprintf(item, "1") + "</publish>", "auth forbidden"},
		{"set", "<retract node='comments'><item id='hers'/></retract>", "auth forbidden"},
		{"set", "<subscribe node='comments' jid='" + juliets + "'/>", "modify bad-request invalid-jid"},
	} {
		if ends, _ := far.ask(mercutio, row.kind, row.payload); ends != row.want {
			t.Errorf("%s: %s, want %s", row.payload, ends, row.want)
		}
	}
	// Of eight items two are those of one domain, however many it brings; hers stays.
	for i := range 5 {
		if ends, _ := far.ask(mercutio, "set", "<publish node='comments'>"+fmt.Sprintf(item, fmt.Sprint("m", i))+"</publish>"); ends != "ok" {
			t.Fatalf("a comment: %s", ends)
		}
	}
	far.heard("comments")
	juliet.say("<iq type='get' id='all' to='" + far.of + "'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='comments'/></pubsub></iq>")
	juliet.until("all")
	for id, want := range map[string]bool{"hers": true, "m2": false, "m3": true, "m4": true} {
		if strings.Contains(juliet.last, "<item id='"+id+"'") != want {
			t.Errorf("%s is there: %t; %s", id, !want, juliet.last)
		}
	}
	publish("comments", "another")
	if got := far.heard("comments"); len(got) != 1 || got[0] != "mercutio items comments" {
		t.Errorf("heard: %q", got)
	}
	// One domain has a quarter of the subscriptions of a node, and users here have others.
	taken := 0
	for i := range 30 {
		if ends, _ := far.ask(mercutio, "set", fmt.Sprintf("<subscribe node='comments' jid='%s/%d'/>", mercutio, i)); ends == "subscribed" {
			taken++
		}
	}
	if taken == 0 || taken > 12 {
		t.Errorf("%d of 40 subscriptions are of one domain", taken+1)
	}
	do("<subscribe node='comments' jid='" + juliets + "'/>")
}
