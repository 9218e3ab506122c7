package modules

import (
	"strings"
	"testing"

	"jackdaw/config"
	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// What an account has published for others, such as a vCard or a node, shows that it exists (XEP-0054 §3.3, XEP-0060
// §6.1.3).
func TestNobodyLearnsFromARequestWhichAccountsExist(t *testing.T) {
	r, romeo := use(t, config.Default())
	juliet := moduletest.Login(t, r, "juliet/balcony") // she is there, and knows none of those who ask
	juliet.Send(`<presence/>`)
	juliet.Send(`<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'><item jid='blocked.example'/></block></iq>`)
	payloads := []string{
		`<query xmlns='http://jabber.org/protocol/disco#info' node='x'/>`,
		`<query xmlns='http://jabber.org/protocol/disco#items' node='x'/>`,
		`<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:avatar:data'/></pubsub>`,
		`<pubsub xmlns='http://jabber.org/protocol/pubsub'><subscriptions/></pubsub>`,
		`<pubsub xmlns='http://jabber.org/protocol/pubsub'><affiliations/></pubsub>`,
		`<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='x'><item><x xmlns='x'/></item></publish></pubsub>`,
		`<pubsub xmlns='http://jabber.org/protocol/pubsub'><create node='x'/></pubsub>`,
		`<pubsub xmlns='http://jabber.org/protocol/pubsub'><subscribe node='x' jid='romeo@example.org'/></pubsub>`,
		`<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><configure node='x'/></pubsub>`,
		`<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><default/></pubsub>`,
		`<unknown xmlns='urn:unknown'/>`,
	}
	for _, m := range r.Modules() {
		for _, q := range m.IQ {
			if q.Scope&router.Account != 0 {
				w := xmpp.NewWriter(nil).Start(q.Payload.Space, q.Payload.Local).Attr("jid", "push.example").End()
				payloads = append(payloads, string(w.Bytes()))
			}
		}
	}
	answer := func(from, to, kind, payload string) string {
		s := moduletest.Parse(t, `<iq id='1' type='`+kind+`' to='`+to+`'>`+payload+`</iq>`)
		e := &router.Envelope{Stanza: s, Quiet: true}
		if s.From = jid.MustParse(from); s.From == romeo.Addr() {
			e.Session, e.Account = romeo.Session, romeo.Bare()
		} else {
			e.Peer = s.From.Domain()
		}
		r.Route(e)
		told := e.Outcome.String() + strings.Join(romeo.Received(), "")
		if e.Err != nil {
			told += string(e.Err.Append(nil))
		}
		return strings.ReplaceAll(told, to, "ACCOUNT")
	}
	for _, from := range []string{romeo.Addr().String(), "stranger@elsewhere.example/x", "blocked.example"} {
		for _, kind := range []string{"get", "set"} {
			for _, payload := range payloads {
				if from == "blocked.example" && !strings.Contains(payload, "urn:xmpp:blocking") &&
					!strings.Contains(payload, "jabber:iq:roster") {
					continue // XEP-0191 §3.3 has an error of its own, where others may ask
				}
				if is, none := answer(from, "juliet@example.org", kind, payload), answer(from, "nobody@example.org", kind, payload); is != none {
					t.Errorf("%s asks (%s) %s:\nan account answers %s\nnobody answers     %s", from, kind, payload, is, none)
				}
			}
		}
	}
}
