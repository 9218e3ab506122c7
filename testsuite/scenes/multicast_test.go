package scenes

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

// service is the address of the multicast service.
const service = "multicast." + harness.Domain

// list is a message with addresses as XEP-0033 has them.
func list(addresses string) string {
	return "<message type='chat' id='m' to='" + service + "'><addresses xmlns='http://jabber.org/protocol/address'>" + addresses +
		"</addresses><body>yo</body></message>"
}

// hidden is one with addresses as the posts over HTTP have them.
func hidden(to, addresses string) string {
	return "<message type='chat' id='m' to='" + to + "'><addresses>" + addresses + "</addresses><body>yo</body></message>"
}

func shown(addresses string) string {
	return "<body>yo</body><addresses xmlns='http://jabber.org/protocol/address'>" + addresses + "</addresses>"
}

// crowd has romeo, who may multicast, and others who may not.
type crowd struct {
	*harness.Server
	romeo, juliet, nurse, paris *guest
}

// same fails the test unless juliet, nurse and paris, in this order, got these payloads from romeo; "" is nothing.
func (c *crowd) same(t *testing.T, what string, payloads ...string) {
	t.Helper()
	for i, g := range []*guest{c.juliet, c.nurse, c.paris} {
		got := g.behind(c.romeo)
		if payloads[i] == "" {
			g.nothing(what, got)
			continue
		}
		bare, _, _ := strings.Cut(g.JID, "/")
		g.wants(what, got, copied{c.romeo.JID, bare, "chat", payloads[i]})
	}
}

func TestClientsSendToManyAtOnce(t *testing.T) {
	t.Parallel()
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			listen, config, addr := componentListener()
			s := harness.Start(t, harness.Options{Place: place, Env: quick, Users: []string{"romeo", "juliet", "nurse", "paris", "friar", "prince"},
				HTTP: "max_recipients: 5\npermissions: {multicast: [romeo@localhost]}", Listen: listen, Config: config})
			c := &crowd{Server: s, romeo: enterManaged(t, s, "romeo", "desk")}
			c.juliet, c.nurse, c.paris = enter(t, s, "juliet", "desk"), enter(t, s, "nurse", "desk"), enter(t, s, "paris", "desk")
			// One after the other: they look at what the same clients get.
			for _, scene := range []struct {
				name string
				play func(*testing.T, *crowd)
			}{
				{"the service is found", theServiceIsFound},
				{"to and cc are shown and bcc is hidden", toAndCcAreShownAndBccIsHidden},
				{"without the namespace all are hidden", withoutTheNamespaceAllAreHidden},
				{"everybody gets one copy", everybodyGetsOneCopy},
				{"what is wrong is named and nothing sent", whatIsWrongIsNamedAndNothingSent},
				{"who may not is refused", whoMayNotIsRefused},
				{"who is blocked is left out", whoIsBlockedIsLeftOut},
				{"presence to many ends", presenceToManyEnds},
				{"a library sends to many and a component does not", func(t *testing.T, c *crowd) { withComponent(t, c.Server, "multicast", addr) }},
				{"copies for who is away survive a crash", copiesSurvive}, // the last: it ends all streams
			} {
				t.Run(scene.name, func(t *testing.T) {
					for _, g := range []*guest{c.romeo, c.juliet, c.nurse, c.paris} {
						g.t = t
					}
					scene.play(t, c)
				})
			}
		})
	}
}

func theServiceIsFound(t *testing.T, c *crowd) {
	for _, ask := range []struct{ to, space, want string }{
		{harness.Domain, "http://jabber.org/protocol/disco#items", "<item jid='" + service + "'/>"},
		{service, "http://jabber.org/protocol/disco#info", "<feature var='http://jabber.org/protocol/address'/>"},
		{service, "http://jabber.org/protocol/disco#info", "<identity category='service' type='multicast'"},
	} {
		el, err := c.paris.Ask("find", "<iq type='get' id='find' to='"+ask.to+"'><query xmlns='"+ask.space+"'/></iq>")
		if err != nil || harness.Attr(el, "type") != "result" || !strings.Contains(el, ask.want) {
			t.Errorf("%s of %s: %v, %s; want %s", ask.space, ask.to, err, el, ask.want)
		}
	}
	// XEP-0033 §2.2: the host itself is no such service, and does not say so.
	el, err := c.paris.Ask("host", "<iq type='get' id='host' to='localhost'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
	if err != nil || harness.Attr(el, "type") != "result" || strings.Contains(el, "protocol/address") {
		t.Errorf("the host says %v, %s", err, el)
	}
}

func toAndCcAreShownAndBccIsHidden(t *testing.T, c *crowd) {
	c.romeo.say(list(`<address type='to' jid='juliet@localhost' desc='Juliet'/><address type='bcc' jid='nurse@localhost'/>` +
		`<address type='cc' jid='paris@localhost'/><address type='replyto' jid='romeo@localhost'/><address type='ofrom' jid='prince@localhost'/>`))
	const all = `<address type='to' jid='juliet@localhost' desc='Juliet' delivered='true'/><address type='cc' jid='paris@localhost' delivered='true'/>` +
		`<address type='replyto' jid='romeo@localhost'/>`
	c.same(t, "a list", shown(all), shown(all+`<address type='bcc' jid='nurse@localhost'/>`), shown(all))

	// XEP-0033 §4.5: whoever has it already does not get it again.
	c.romeo.say(list(`<address type='to' jid='juliet@localhost' delivered='true'/><address type='to' jid='paris@localhost'/>`))
	c.same(t, "a list of which some is done", "", "",
		shown(`<address type='to' jid='juliet@localhost' delivered='true'/><address type='to' jid='paris@localhost' delivered='true'/>`))
	c.romeo.nothing("an answer", c.romeo.settled())
}

func withoutTheNamespaceAllAreHidden(t *testing.T, c *crowd) {
	for _, to := range []string{"multicast", service} {
		c.romeo.say(hidden(to, `<address jid='juliet@localhost'/><address type='to' jid='Nurse@LOCALHOST'/><address type='cc' jid='paris@localhost'/>`))
		c.same(t, "a list to "+to, "<body>yo</body>", "<body>yo</body>", "<body>yo</body>")
	}
	c.romeo.nothing("an answer", c.romeo.settled())
}

func everybodyGetsOneCopy(t *testing.T, c *crowd) {
	c.romeo.say(list(`<address type='bcc' jid='juliet@localhost'/><address type='to' jid='JULIET@localhost'/><address type='cc' jid='juliet@localhost'/>` +
		`<address type='bcc' jid='nurse@localhost'/><address type='bcc' jid='nurse@localhost'/>`))
	const all = `<address type='to' jid='JULIET@localhost' delivered='true'/><address type='cc' jid='juliet@localhost' delivered='true'/>`
	c.same(t, "named again", shown(all), shown(all+`<address type='bcc' jid='nurse@localhost'/>`), "")
	c.romeo.say(hidden("multicast", strings.Repeat(`<address jid='juliet@localhost'/>`, 50)))
	c.same(t, "named fifty times", "<body>yo</body>", "", "")
	// Two clients of one user are two addresses.
	phone := enter(t, c.Server, "juliet", "phone")
	defer phone.Close()
	c.romeo.say(hidden("multicast", `<address jid='`+c.juliet.JID+`'/><address jid='`+phone.JID+`'/>`))
	for _, g := range []*guest{c.juliet, phone} {
		g.wants("a list of clients", g.behind(c.romeo), copied{c.romeo.JID, g.JID, "chat", "<body>yo</body>"})
	}
	c.romeo.nothing("an answer", c.romeo.settled())
}

func whatIsWrongIsNamedAndNothingSent(t *testing.T, c *crowd) {
	const juliet = `<address type='bcc' jid='juliet@localhost'/>`
	others := ""
	for i := range 5 {
		others += fmt.Sprintf("<address type='to' jid='r%d@localhost'/>", i)
	}
	for _, row := range []struct{ what, send, from, condition, text string }{
		{"an address that is none", list(juliet + `<address type='to' jid='a@@b'/>`), service, "jid-malformed", `address 2, "a@@b", is not valid`},
		{"one that is hidden", hidden("multicast", `<address jid='juliet@localhost'/><address jid='a@@b'/>`), "", "jid-malformed", `a@@b`},
		{"no address", list(juliet + `<address type='cc'/>`), service, "bad-request", "address 2 has no jid"},
		{"no type", list(juliet + `<address jid='paris@localhost'/>`), service, "bad-request", "address 2 is of no type"},
		{"one that no stanza goes to", list(juliet + `<address type='to' uri='mailto:paris@localhost'/>`), service, "jid-malformed", "mailto:paris@localhost"},
		{"too many", list(juliet + others), service, "not-acceptable", `r4@localhost" and what follows are more than the 5 recipients`},
		{"too many hidden", hidden(service, juliet+others), service, "not-acceptable", "more than the 5 recipients"},
		{"nobody", list(`<address type='replyto' jid='juliet@localhost'/>`), service, "bad-request", "nobody"},
		{"no list", "<message type='chat' id='m' to='multicast'><body>yo</body></message>", "", "bad-request", "requires addresses"},
		{"two lists", strings.Replace(list(juliet), "<body>", "<addresses>"+juliet+"</addresses><body>", 1), service, "bad-request", "more than one"},
		{"itself", list(juliet + `<address type='to' jid='` + service + `'/>`), service, "forbidden", "a multicast is no recipient"},
		{"elsewhere, where there is no federation", list(juliet + `<address type='to' jid='skel@example.net'/>`), service, "forbidden", "skel@example.net"},
		{"a user of the service", "<message type='chat' id='m' to='all@" + service + "'><addresses>" + juliet + "</addresses><body>yo</body></message>",
			"all@" + service, "service-unavailable", ""},
	} {
		c.romeo.say(row.send)
		got := c.romeo.settled()
		from := row.from
		if from == "" && len(got) == 1 { // the name alone: as it was sent or as it was meant
			from = harness.Attr(got[0], "from")
			if from != "multicast" && from != service {
				t.Errorf("%s: the answer is from %q", row.what, from)
			}
		}
		c.romeo.refusal(row.what, got, from, row.condition, row.text)
		c.same(t, row.what, "", "", "")
	}
}

func whoMayNotIsRefused(t *testing.T, c *crowd) {
	for _, xml := range []string{list(`<address type='to' jid='juliet@localhost'/>`), hidden("multicast", `<address jid='juliet@localhost'/>`)} {
		c.paris.say(xml)
		got := c.paris.settled()
		if el := c.paris.only("no permission", got); !strings.Contains(el, "does not have permission to multicast") {
			t.Errorf("no permission: %s", el)
		}
		c.paris.refusal("no permission", got, harness.Attr(got[0], "from"), "forbidden", "does not have permission to multicast")
		c.juliet.nothing("a multicast of one who may not", c.juliet.behind(c.paris))
	}
	// The permission comes at once.
	c.Command("", "user", "grant", "paris@localhost", "multicast")
	c.paris.say(hidden("multicast", `<address jid='juliet@localhost'/>`))
	c.juliet.wants("with the permission", c.juliet.behind(c.paris), copied{c.paris.JID, "juliet@localhost", "chat", "<body>yo</body>"})
	c.Command("", "user", "revoke", "paris@localhost", "multicast")
	c.paris.say(hidden("multicast", `<address jid='juliet@localhost'/>`))
	c.juliet.nothing("the permission is gone", c.juliet.behind(c.paris))
	c.paris.settled()
}

func whoIsBlockedIsLeftOut(t *testing.T, c *crowd) {
	block := func(g *guest, verb, who string) {
		t.Helper()
		el, err := g.Ask(verb, "<iq type='set' id='"+verb+"'><"+verb+" xmlns='urn:xmpp:blocking'><item jid='"+who+"'/></"+verb+"></iq>")
		if err != nil || harness.Attr(el, "type") != "result" {
			t.Fatalf("%s: %v, %s", verb, err, el)
		}
	}
	both := hidden("multicast", `<address jid='juliet@localhost'/><address jid='nurse@localhost'/>`)
	// One who does not want to hear of the sender: that copy alone comes back, as if it had been sent alone.
	block(c.juliet, "block", "romeo@localhost")
	c.romeo.say(both)
	c.romeo.refusal("blocked by a recipient", c.romeo.settled(), "juliet@localhost", "service-unavailable", "")
	c.nurse.wants("the other", c.nurse.behind(c.romeo), copied{c.romeo.JID, "nurse@localhost", "chat", "<body>yo</body>"})
	block(c.juliet, "unblock", "romeo@localhost")

	// One whom the sender has blocked: nobody gets any.
	block(c.romeo, "block", "nurse@localhost")
	c.romeo.say(both)
	got := c.romeo.settled()
	c.romeo.refusal("blocked by the sender", got, harness.Attr(c.romeo.only("blocked by the sender", got), "from"), "forbidden", `nurse@localhost" (blocked by you)`)
	block(c.romeo, "unblock", "nurse@localhost")
	c.same(t, "after all that", "", "", "")
}

func presenceToManyEnds(t *testing.T, c *crowd) {
	here := enter(t, c.Server, "romeo", "tower")
	here.say("<presence to='" + service + "'><addresses xmlns='http://jabber.org/protocol/address'><address type='bcc' jid='juliet@localhost'/>" +
		"<address type='bcc' jid='paris@localhost'/></addresses><status>up here</status></presence>")
	here.nothing("an answer", here.settled())
	for _, kind := range []string{"", "unavailable"} {
		if kind != "" {
			here.Close() // XEP-0033 §5.1
		}
		for _, g := range []*guest{c.juliet, c.paris} {
			el, err := g.Until(func(el string) bool {
				return strings.HasPrefix(el, "<presence") && harness.Attr(el, "from") == here.JID
			})
			if err != nil || harness.Attr(el, "type") != kind || strings.Contains(el, "<status>up here</status>") != (kind == "") {
				t.Errorf("%s got %v, %s", g.JID, err, el)
			}
		}
	}
	c.same(t, "beside presence", "", "", "")
}

func copiesSurvive(t *testing.T, c *crowd) {
	c.romeo.say(list(`<address type='to' jid='prince@localhost'/><address type='bcc' jid='friar@localhost'/>`))
	c.romeo.acknowledged()
	c.Kill()
	c.Launch()
	const all = `<address type='to' jid='prince@localhost' delivered='true'/>`
	for user, addresses := range map[string]string{"prince": all, "friar": all + `<address type='bcc' jid='friar@localhost'/>`} {
		g := enter(t, c.Server, user, "later")
		one := read(g.only("after a crash", g.behind(g)))
		one.payload = late.ReplaceAllString(one.payload, "")
		if want := (copied{"romeo@localhost/desk", user + "@localhost", "chat", shown(addresses)}); one != want {
			t.Errorf("after a crash %s got\n%+v\nwant\n%+v", user, one, want)
		}
		g.Close()
		again := enter(t, c.Server, user, "later still")
		again.nothing("what was delivered", again.behind(again))
	}
}

// late is when a stored message came.
var late = regexp.MustCompile(`<delay xmlns='urn:xmpp:delay' from='localhost' stamp='[^']+'/>`)
