package scenes

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"jackdaw/testsuite/fakepeer"
	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

// TestAccountsAreServicesOfEvents plays eventing, theme by theme; the first crashes the server that all share, and the
// scenes of each share their actors.
func TestAccountsAreServicesOfEvents(t *testing.T) {
	t.Parallel()
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{Place: place, Config: "limits: {pep_nodes: 20}\n", Env: quick})
			for _, script := range []string{"eventing", "eventing_errors", "eventing_nodes", "eventing_access", "eventing_twins"} {
				play(t, s, script)
			}
		})
	}
}

const (
	juliets  = "juliet@" + harness.Domain
	abroad   = "far.example"
	mercutio = "mercutio@" + abroad // a stranger
	benvolio = "benvolio@" + abroad // a contact
	valentin = "valentin@" + abroad // another one, who is in a group
)

// A foreigner speaks for all of another server.
type foreigner struct {
	t    *testing.T
	peer *fakepeer.Peer
	link *fakepeer.Link
	asks int
	of   string            // whom it asks
	got  []fakepeer.Stanza // that came before what was waited for
}

func (f *foreigner) say(xml string) {
	f.t.Helper()
	if err := f.link.Send(xml); err != nil {
		f.t.Fatal(err)
	}
}

// until returns the next stanza for which is holds; what comes before is in got.
func (f *foreigner) until(what string, is func(fakepeer.Stanza) bool) fakepeer.Stanza {
	f.t.Helper()
	got, err := f.peer.Until(is)
	if err != nil {
		f.t.Fatalf("%s: %v; but %v", what, err, got)
	}
	f.got = append(f.got, got[:len(got)-1]...)
	return got[len(got)-1]
}

var (
	defined = regexp.MustCompile(`<error type='(\w+)'><([\w-]+)`)
	special = regexp.MustCompile(`<([\w-]+) xmlns='http://jabber.org/protocol/pubsub#errors'`)
	state   = regexp.MustCompile(`subscription='(\w+)'`)
)

// ask sends whom it asks a request, and returns how it ends and the events that have come before that since the last
// one, sorted.
func (f *foreigner) ask(who, kind, payload string) (ends string, events []string) {
	f.t.Helper()
	f.asks++
	id := fmt.Sprintf("ask-%d", f.asks)
	f.say("<iq type='" + kind + "' id='" + id + "' from='" + who + "/x' to='" + f.of + "'><pubsub xmlns='http://jabber.org/protocol/pubsub'>" + payload + "</pubsub></iq>")
	answer := f.until("the answer to "+payload, func(s fakepeer.Stanza) bool { return s.Attr("id") == id })
	for _, s := range f.got {
		if strings.HasPrefix(s.Raw, "<message") {
			node := regexp.MustCompile(`<(\w+) node='([^']*)'`).FindStringSubmatch(s.Raw)
			events = append(events, strings.TrimSuffix(s.To, "@"+abroad)+" "+node[1]+" "+node[2])
		}
	}
	f.got = nil
	slices.Sort(events)
	if answer.Attr("type") != "error" {
		if m := state.FindStringSubmatch(answer.Raw); m != nil {
			return m[1], events
		}
		return "ok", events
	}
	ends = "?"
	if m := defined.FindStringSubmatch(answer.Raw); m != nil {
		ends = m[1] + " " + m[2]
	}
	if m := special.FindStringSubmatch(answer.Raw); m != nil {
		ends += " " + m[1]
	}
	return ends, events
}

// heard are the events that have come when all that was sent before has, as the answer for an open node tells.
func (f *foreigner) heard(open string) []string {
	f.t.Helper()
	_, events := f.ask(mercutio, "get", "<items node='"+open+"'/>")
	return events
}

// answer says what a client can, when it is asked.
func (f *foreigner) answer(what, full, info string) {
	f.t.Helper()
	q := f.until(what, func(s fakepeer.Stanza) bool { return s.To == full && strings.Contains(s.Raw, "disco#info") })
	kind := "result"
	if strings.HasPrefix(info, "<error") {
		kind = "error"
	}
	f.say("<iq type='" + kind + "' id='" + q.Attr("id") + "' from='" + full + "' to='" + q.From + "'>" + info + "</iq>")
}

// wishes is an answer to disco#info of a client that wants these nodes, and the capabilities that stand for it
// (XEP-0115 §5.1).
func wishes(nodes ...string) (info, caps string) {
	text := "client/pc//<"
	slices.Sort(nodes)
	info = "<query xmlns='http://jabber.org/protocol/disco#info'><identity category='client' type='pc'/>"
	for _, n := range nodes {
		text += n + "+notify<"
		info += "<feature var='" + n + "+notify'/>"
	}
	sum := sha1.Sum([]byte(text))
	return info + "</query>", "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:client' ver='" + base64.StdEncoding.EncodeToString(sum[:]) + "'/>"
}

var models = []string{"open", "presence", "roster", "authorize", "whitelist"}

// TestEventsReachOtherServers: strangers there, contacts, and those who are gone.
func TestEventsReachOtherServers(t *testing.T) {
	t.Parallel()
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			authority := peers.NewAuthority(t)
			peer := fakepeer.Start(t, fakepeer.Options{Domains: []string{abroad}}.Certified(t, authority, peers.None))
			own := authority.Issue(harness.Domain, peers.None)
			s := harness.Start(t, harness.Options{Place: place, Env: append(authority.Env(), quick...),
				Users: []string{"juliet"}, Federate: true, Cert: own.Cert, Key: own.Key,
				S2S: fmt.Sprintf("resolve: {%q: %q}", abroad, peer.Addr)})
			peer.Locate(harness.Domain, s.S2S)
			link, err := peer.Connect(abroad, harness.Domain, fakepeer.Way{})
			if err != nil {
				t.Fatal(err)
			}
			playAbroad(t, enter(t, s, "juliet", "desk"), &foreigner{t: t, peer: peer, link: link, of: juliets})
		})
	}
}

func playAbroad(t *testing.T, juliet *guest, far *foreigner) {
	do := func(xml string) {
		t.Helper()
		juliet.marks++
		id := fmt.Sprintf("do-%d", juliet.marks)
		juliet.say("<iq type='set' id='" + id + "'>" + xml + "</iq>")
		if juliet.until(id); harness.Attr(juliet.last, "type") != "result" {
			t.Fatalf("%s ends with %s", xml, juliet.last)
		}
	}
	publish := func(node, item string) {
		t.Helper()
		do("<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='" + node + "'><item id='" + item + "'><t xmlns='urn:t'/></item></publish></pubsub>")
	}
	wants := func(what string, got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	do("<query xmlns='jabber:iq:roster'><item jid='" + valentin + "'><group>Friends</group></item></query>")
	for _, who := range []string{benvolio, valentin} { // each sees the other's presence
		far.say("<presence type='subscribe' from='" + who + "' to='" + juliets + "'/>")
		if _, err := juliet.Until(func(el string) bool {
			return harness.Attr(el, "type") == "subscribe" && harness.Attr(el, "from") == who
		}); err != nil {
			t.Fatal(err)
		}
		juliet.say("<presence type='subscribed' to='" + who + "'/><presence type='subscribe' to='" + who + "'/>")
		far.until("her request", func(s fakepeer.Stanza) bool { return s.Attr("type") == "subscribe" && s.To == who })
		far.say("<presence type='subscribed' from='" + who + "' to='" + juliets + "'/>")
	}
	for _, model := range models {
		do("<pubsub xmlns='http://jabber.org/protocol/pubsub'><create node='" + model + "'/><configure><x xmlns='jabber:x:data' type='submit'>" +
			"<field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#node_config</value></field>" +
			"<field var='pubsub#access_model'><value>" + model + "</value></field>" +
			"<field var='pubsub#roster_groups_allowed'><value>Friends</value></field></x></configure></pubsub>")
		publish(model, "1")
	}

	// The table of access models, for those elsewhere: what comes of it when they retrieve, subscribe, and retrieve
	// again.
	const stranger, closed, waits = "auth not-authorized presence-subscription-required", "cancel not-allowed closed-node", "auth not-authorized not-subscribed"
	const group = "auth not-authorized not-in-roster-group"
	for _, row := range []struct{ who, open, presence, roster, authorize, whitelist string }{
		{mercutio, "ok subscribed ok", stranger, stranger, waits, closed},
		{benvolio, "ok subscribed ok", "ok subscribed ok", group, waits, closed},
		{valentin, "ok subscribed ok", "ok subscribed ok", "ok subscribed ok", waits, closed},
	} {
		for i, want := range []string{row.open, row.presence, row.roster, row.authorize, row.whitelist} {
			switch {
			case want == waits:
				want += " pending " + waits
			case !strings.HasPrefix(want, "ok"):
				want += " " + want + " " + want
			}
			var all []string
			for _, request := range []string{"get <items node='%s'/>", "set <subscribe node='%s' jid='" + row.who + "'/>", "get <items node='%s'/>"} {
				kind, payload, _ := strings.Cut(fmt.Sprintf(request, models[i]), " ")
				ends, _ := far.ask(row.who, kind, payload)
				all = append(all, ends)
			}
			if got := strings.Join(all, " "); got != want {
				t.Errorf("%s and the model %s: %s, want %s", row.who, models[i], got, want)
			}
		}
	}
	for _, model := range models {
		publish(model, "2")
	}
	wants("subscribers elsewhere", far.heard("open"), "benvolio items open", "benvolio items presence", "mercutio items open",
		"valentin items open", "valentin items presence", "valentin items roster")

	// She may subscribe contacts who have not asked, and nobody else (XEP-0060 §8.8.2).
	do("<pubsub xmlns='http://jabber.org/protocol/pubsub'><create node='notices'/></pubsub>")
	juliet.say("<iq type='set' id='enlist'><pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><subscriptions node='notices'>" +
		"<subscription jid='" + benvolio + "' subscription='subscribed'/><subscription jid='" + mercutio + "' subscription='subscribed'/>" +
		"</subscriptions></pubsub></iq>")
	juliet.until("enlist")
	if !strings.Contains(juliet.last, "<not-acceptable") || strings.Contains(juliet.last, benvolio) ||
		!strings.Contains(juliet.last, "<subscription jid='"+mercutio+"' subscription='none'/>") {
		t.Errorf("a contact and a stranger are subscribed: %s", juliet.last)
	}
	publish("notices", "1")
	wants("who is subscribed", far.heard("open"), "benvolio items notices", "benvolio subscription notices")
	do("<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><delete node='notices'/></pubsub>")
	wants("the end", far.heard("open"), "benvolio delete notices")

	// A contact whose client wants something is sent the last item, and events where the client is (XEP-0163 §4.3).
	info, caps := wishes("presence", "roster")
	far.say("<presence from='" + benvolio + "/street' to='" + juliets + "'>" + caps + "</presence>")
	far.answer("the question for capabilities", benvolio+"/street", info)
	last := far.until("the last item", func(s fakepeer.Stanza) bool { return s.To == benvolio+"/street" && strings.Contains(s.Raw, "<event") })
	if !strings.Contains(last.Raw, "node='presence'") || !strings.Contains(last.Raw, "urn:xmpp:delay") || last.From != juliets {
		t.Errorf("the last item is %s", last.Raw)
	}
	// Another of which the same is known already, and presence that says nothing new.
	far.say("<presence from='" + valentin + "/inn' to='" + juliets + "'>" + caps + "</presence>")
	far.say("<presence from='" + benvolio + "/street' to='" + juliets + "'><show>away</show>" + caps + "</presence>")
	wants("last items", far.heard("open"), "valentin@"+abroad+"/inn items presence", "valentin@"+abroad+"/inn items roster")
	publish("presence", "3")
	wants("events for clients", far.heard("open"), "benvolio@"+abroad+"/street items presence", "valentin@"+abroad+"/inn items presence")

	// An answer that does not fit is believed of its sender only, and one that is none of nobody (XEP-0115 §5.4).
	lie, _ := wishes("presence", "open")
	_, popular := wishes("open")
	for i, at := range []string{benvolio + "/one", benvolio + "/two", benvolio + "/three"} {
		far.say("<presence from='" + at + "' to='" + juliets + "'>" + popular + "</presence>")
		honest, _ := wishes("open")
		far.answer("the question for capabilities", at, []string{"<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>", lie, honest}[i])
	}
	far.say("<presence from='" + valentin + "/two' to='" + juliets + "'>" + popular + "</presence>")
	wants("last items", far.heard("open"), "benvolio@"+abroad+"/three items open", "benvolio@"+abroad+"/two items open", "benvolio@"+abroad+"/two items presence",
		"valentin@"+abroad+"/two items open")

	// Whoever goes hears no more; nor does anybody who is blocked, or a contact that is one no longer.
	for _, at := range []string{"one", "two", "three", "street"} {
		far.say("<presence type='unavailable' from='" + benvolio + "/" + at + "' to='" + juliets + "'/>")
	}
	far.heard("open")
	publish("presence", "4")
	wants("events for a contact that is away", far.heard("open"), "benvolio items presence", "valentin@"+abroad+"/inn items presence")
	do("<block xmlns='urn:xmpp:blocking'><item jid='" + valentin + "'/></block>")
	publish("presence", "5")
	wants("events for one who is blocked", far.heard("open"), "benvolio items presence")
	do("<unblock xmlns='urn:xmpp:blocking'/>")
	far.say("<presence type='unsubscribe' from='" + valentin + "' to='" + juliets + "'/>")
	if _, events := far.ask(valentin, "get", "<items node='open'/>"); !slices.Equal(events, []string{"valentin subscription presence", "valentin subscription roster"}) {
		t.Errorf("who is no contact any more is told %q", events)
	}

	// An address that is gone is sent nothing more (XEP-0060 §12.4).
	publish("open", "6")
	bounced := far.until("an event", func(s fakepeer.Stanza) bool { return s.To == mercutio })
	far.say("<message type='error' id='" + bounced.Attr("id") + "' from='" + mercutio + "' to='" + juliets + "'><error type='cancel'>" +
		"<gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
	far.heard("open")
	publish("open", "7")
	if got := far.heard("open"); slices.Contains(got, "mercutio items open") || !slices.Contains(got, "benvolio items open") {
		t.Errorf("after a bounce %q", got)
	}

	// There is room for a thousand (§6.1.3.9), a quarter of which one domain of strangers may have.
	var all strings.Builder
	for i := range 250 {
		fmt.Fprintf(&all, "<iq type='set' id='many-%d' from='%s/x' to='%s'><pubsub xmlns='http://jabber.org/protocol/pubsub'>"+
			"<subscribe node='many' jid='%s/%d'/></pubsub></iq>", i, mercutio, juliets, mercutio, i)
	}
	do("<pubsub xmlns='http://jabber.org/protocol/pubsub'><create node='many'/><configure><x xmlns='jabber:x:data' type='submit'>" +
		"<field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#node_config</value></field>" +
		"<field var='pubsub#access_model'><value>open</value></field></x></configure></pubsub>")
	far.say(all.String())
	if s := far.until("the last of many", func(s fakepeer.Stanza) bool { return s.Attr("id") == "many-249" }); s.Attr("type") != "result" {
		t.Errorf("the 250th subscription: %s", s.Raw)
	}
	if ends, _ := far.ask(mercutio, "set", "<subscribe node='many' jid='"+mercutio+"'/>"); ends != "wait policy-violation too-many-subscriptions" {
		t.Errorf("one more subscription: %s", ends)
	}
}
