package pubsub

import (
	"errors"
	"strings"
	"testing"
	"time"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

// The errors that XEP-0060 lists with each use case, in its order. Without who, the owner asks; without want, it is
// done.
func TestErrorsAreThoseOfTheSpecification(t *testing.T) {
	const (
		payload      = `<t xmlns='urn:t'/>`
		notPersisted = "cancel feature-not-implemented unsupported persistent-items"
	)
	long := strings.Repeat("n", maxName+1)
	publish := func(node, inner string) string { return asked(`<publish node='` + node + `'>` + inner + `</publish>`) }
	create := func(more string) string { return asked(`<create node='fresh'/>` + more) }
	owned := func(verb, node, inner string) string {
		return askedOwner(`<` + verb + ` node='` + node + `'>` + inner + `</` + verb + `>`)
	}
	options := func(fields ...string) string {
		return asked(`<publish node='n'><item id='c'>` + payload + `</item></publish><publish-options>` +
			submission("publish-options", fields...) + `</publish-options>`)
	}
	for _, row := range []struct {
		about, who, kind, payload, want string
	}{
		{"no request", "", "set", asked(``), "modify bad-request"},
		{"an unknown request", "", "set", asked(`<dance node='n'/>`), "modify bad-request"},
		{"a get where a set is expected", "", "get", asked(`<create node='fresh'/>`), "modify bad-request"},
		{"a node with a long name", "", "set", publish(long, `<item>`+payload+`</item>`), "modify not-acceptable"},

		{"§5.6 of a node that is not there", "", "get", asked(`<subscriptions node='none'/>`), "cancel item-not-found"},
		{"§5.7 of a node that is not there", "", "get", asked(`<affiliations node='none'/>`), "cancel item-not-found"},

		{"§6.1.3.1 for somebody else", "", "set", subscribing("n", "nurse"), "modify bad-request invalid-jid"},
		{"§6.1.3.1 for no address", "", "set", asked(`<subscribe node='n' jid='@'/>`), "modify bad-request invalid-jid"},
		{"§6.1.3.7 waiting already", "paris", "set", subscribing("authorize", "paris"), "auth not-authorized pending-subscription"},
		{"§6.1.3.8 an outcast", "tybalt", "set", subscribing("n", "tybalt"), "auth forbidden"},
		{"§6.1.3.12 no such node", "", "set", subscribing("none", "romeo"), "cancel item-not-found"},
		{"§6.1 without a node", "", "set", asked(`<subscribe jid='romeo@example.org'/>`), "modify bad-request nodeid-required"},
		{"§6.3.7 options before the subscription", "", "set", asked(`<options/><subscribe node='n' jid='romeo@example.org'/>`), "modify bad-request"},
		{"§6.3.7 options that name the node", "", "set", asked(`<subscribe node='n' jid='romeo@example.org'/><options node='n'/>`), "modify bad-request"},
		{"§6.3.7 an option without a sense", "", "set", asked(`<subscribe node='n' jid='romeo@example.org'/><options>` +
			submission("subscribe_options", "deliver", "perhaps") + `</options>`), "modify bad-request invalid-options"},
		{"§6.3.7 an end that is over", "", "set", asked(`<subscribe node='n' jid='romeo@example.org'/><options>` +
			submission("subscribe_options", "expire", "2001-01-01T00:00:00Z") + `</options>`), "modify bad-request invalid-options"},
		{"§12.4 as long as one is there", "", "set", asked(`<subscribe node='n' jid='romeo@example.org'/><options>` +
			submission("subscribe_options", "expire", "presence") + `</options>`), "modify bad-request invalid-options"},

		{"§6.2.3.2 not subscribed", "", "set", asked(`<unsubscribe node='n' jid='romeo@example.org'/>`), "cancel unexpected-request not-subscribed"},
		{"§6.2.3.3 for somebody else", "", "set", asked(`<unsubscribe node='n' jid='nurse@example.org'/>`), "auth forbidden"},
		{"§6.2.3.4 no such node", "", "set", asked(`<unsubscribe node='none' jid='romeo@example.org'/>`), "cancel item-not-found"},
		{"§6.2.3.1 which of two", "mercutio", "set", asked(`<unsubscribe node='n' jid='mercutio@example.org'/>`), "modify bad-request subid-required"},
		{"§6.2.3.5 none of two", "mercutio", "set", asked(`<unsubscribe node='n' jid='mercutio@example.org' subid='9'/>`), "modify not-acceptable invalid-subid"},
		{"§6.2.3.5 no id", "mercutio", "set", asked(`<unsubscribe node='n' jid='mercutio@example.org' subid='first'/>`), "modify not-acceptable invalid-subid"},
		{"§6.3.4.1 of somebody else", "nurse", "get", asked(`<options node='n' jid='mercutio@example.org' subid='1'/>`), "auth forbidden"},
		{"§6.3.4.2 not subscribed", "nurse", "get", asked(`<options node='n' jid='nurse@example.org'/>`), "cancel unexpected-request not-subscribed"},
		{"§6.3.4.3 of nobody", "nurse", "get", asked(`<options node='n'/>`), "modify bad-request jid-required"},
		{"§6.3.4.4 which of two", "mercutio", "get", asked(`<options node='n' jid='mercutio@example.org'/>`), "modify bad-request subid-required"},
		{"§6.3.4.5 none of two", "mercutio", "get", asked(`<options node='n' jid='mercutio@example.org' subid='9'/>`), "modify not-acceptable invalid-subid"},
		{"§6.3.4.7 no such node", "", "get", asked(`<options node='none' jid='romeo@example.org'/>`), "cancel item-not-found"},
		{"§6.3.5 of somebody else", "nurse", "set", asked(`<options node='n' jid='mercutio@example.org' subid='1'>` + submission("subscribe_options") + `</options>`), "auth forbidden"},
		{"§6.3.5 no form", "mercutio", "set", asked(`<options node='n' jid='mercutio@example.org' subid='1'/>`), "modify bad-request invalid-options"},
		{"§6.3.5 cancelled", "mercutio", "set", asked(`<options node='n' jid='mercutio@example.org' subid='1'><x xmlns='jabber:x:data' type='cancel'/></options>`), ""},
		{"§6.3.6.2 an option without a sense", "mercutio", "set", asked(`<options node='n' jid='mercutio@example.org' subid='1'>` +
			submission("subscribe_options", "expire", "soon") + `</options>`), "modify bad-request invalid-options"},
		{"§6.4 default options of no node", "", "get", asked(`<default node='none'/>`), "cancel item-not-found"},
		{"§6.5.9.1 for which of two", "mercutio", "get", asked(`<items node='n'/>`), "modify bad-request subid-required"},
		{"§6.5.9.2 for none of two", "mercutio", "get", asked(`<items node='n' subid='9'/>`), "modify not-acceptable invalid-subid"},
		{"§6.5.9.1 for one of two", "mercutio", "get", asked(`<items node='n' subid='2'/>`), ""},
		{"§6.1.3.9 more of one address than it may have", "juliet", "set", asked(`<subscribe node='n' jid='juliet@example.org'/><options>` +
			submission("subscribe_options", "expire", "2100-01-01T00:00:00Z") + `</options>`), "wait policy-violation too-many-subscriptions"},

		{"§6.5.9.2 not subscribed", "nurse", "get", asked(`<items node='authorize'/>`), "auth not-authorized not-subscribed"},
		{"§6.5.9.4 no items are kept", "", "get", asked(`<items node='news'/>`), notPersisted},
		{"§6.5.9.11 no such node", "", "get", asked(`<items node='none'/>`), "cancel item-not-found"},
		{"§6.5 without a node", "", "get", asked(`<items/>`), "modify bad-request nodeid-required"},
		{"§6.5 no number of items", "", "get", asked(`<items node='n' max_items='few'/>`), "modify bad-request"},
		{"XEP-0059 §2.2 after an item that is not there", "", "get",
			asked(`<items node='n'/><set xmlns='http://jabber.org/protocol/rsm'><after>z</after></set>`), "cancel item-not-found"},

		{"§7.1.3.1 by a stranger", "nurse", "set", publication("n", "c"), "auth forbidden"},
		{"§7.1.3.3 no such node, and no right to make one", "nurse", "set", publication("none", "c"), "cancel item-not-found"},
		{"§7.1.3.4 a node that is full", "", "set", publication("reject", "c"), "cancel conflict node-full"},
		{"§7.1.3.4 an item of a full node anew", "", "set", publication("reject", "a"), ""},
		{"§7.1.3.5 too large", "", "set", publish("n", `<item><t xmlns='urn:t'>`+strings.Repeat("x", 200)+`</t></item>`), "modify not-acceptable payload-too-big"},
		{"§7.1.3.6 two payloads", "", "set", publish("n", `<item>`+payload+payload+`</item>`), "modify bad-request invalid-payload"},
		{"§7.1.3.6 a payload without a namespace of its own", "", "set", publish("n", `<item><t xmlns='jabber:client'/></item>`), "modify bad-request invalid-payload"},
		{"§7.1.3.6 no item", "", "set", publish("n", ``), "modify bad-request item-required"},
		{"§7.1.3.6 no payload", "", "set", publish("n", `<item/>`), "modify bad-request payload-required"},
		{"§7.1.3.6 an item where there are none", "", "set", publish("bell", `<item>`+payload+`</item>`), "modify bad-request item-forbidden"},
		{"§7.1.3.6 the ring of a bell", "", "set", publish("bell", ``), ""},
		{"§7.1 without a node", "", "set", asked(`<publish><item>` + payload + `</item></publish>`), "modify bad-request nodeid-required"},
		{"§7.1 an item with a long id", "", "set", publication("n", long), "modify not-acceptable"},
		{"§12.11 more items than the node has", "", "set", publication("reject", "a", "b", "c"), "cancel not-allowed max-items-exceeded"},
		{"§7.1.5 another access model", "", "set", options("access_model", "whitelist"), "cancel conflict precondition-not-met"},
		{"§7.1.5 an option that is not known", "", "set", options("colour", "red"), "cancel conflict precondition-not-met"},
		{"§7.1.5 what is so", "", "set", options("access_model", "open", "persist_items", "true"), ""},
		{"§7.1.5 no form", "", "set", asked(`<publish node='n'><item>` + payload + `</item></publish><publish-options/>`), "modify bad-request"},
		{"§7.1.5 a form of another type", "", "set", asked(`<publish node='n'><item>` + payload + `</item></publish><publish-options>` +
			submission("node_config") + `</publish-options>`), "modify bad-request"},

		{"§7.2.3.1 by a stranger", "nurse", "set", asked(`<retract node='n'><item id='a'/></retract>`), "auth forbidden"},
		{"§7.2.3.2 no such node", "", "set", asked(`<retract node='none'><item id='a'/></retract>`), "cancel item-not-found"},
		{"§7.2.3.2 no such item", "", "set", asked(`<retract node='n'><item id='z'/></retract>`), "cancel item-not-found"},
		{"§7.2.3.3 without a node", "", "set", asked(`<retract><item id='a'/></retract>`), "modify bad-request nodeid-required"},
		{"§7.2.3.4 no item", "", "set", asked(`<retract node='n'/>`), "modify bad-request item-required"},
		{"§7.2.3.4 an item without an id", "", "set", asked(`<retract node='n'><item/></retract>`), "modify bad-request item-required"},
		{"§7.2.3.5 no items are kept", "", "set", asked(`<retract node='news'><item id='a'/></retract>`), notPersisted},

		{"§8.1.1 by a stranger", "nurse", "set", create(``), "auth forbidden"},
		{"§8.1.1 a node that is there", "", "set", asked(`<create node='n'/>`), "cancel conflict"},
		{"§8.1.2 no access model", "", "set", create(`<configure>` + submission("node_config", "access_model", "secret") + `</configure>`),
			"modify not-acceptable unsupported-access-model"},
		{"§8.1.3 no value", "", "set", create(`<configure>` + submission("node_config", "persist_items", "maybe") + `</configure>`), "modify not-acceptable"},
		{"§8.1.3 a configuration that names the node", "", "set", create(`<configure node='fresh'/>`), "modify bad-request"},
		{"§8.1.3 a configuration before the node", "", "set", asked(`<configure/><create node='fresh'/>`), "modify bad-request"},
		{"§8.1.3 a configuration of another kind", "", "set", create(`<configure>` + submission("publish-options") + `</configure>`), "modify bad-request"},

		{"§8.2.3.2 by a stranger", "nurse", "get", owned("configure", "n", ""), "auth forbidden"},
		{"§8.2.3.3 without a node", "", "get", askedOwner(`<configure/>`), "modify bad-request nodeid-required"},
		{"§8.2.3.5 no such node", "", "get", owned("configure", "none", ""), "cancel item-not-found"},
		{"§8.2.4 by a stranger", "nurse", "set", owned("configure", "n", submission("node_config")), "auth forbidden"},
		{"§8.2.4 no form", "", "set", owned("configure", "n", ""), "modify bad-request"},
		{"§8.2.4 a form that is not filled in", "", "set", owned("configure", "n", strings.Replace(submission("node_config"), "submit", "form", 1)), "modify bad-request"},
		{"§8.2.4 a form of no type", "", "set", owned("configure", "n", strings.Replace(submission("node_config"), " type='submit'", "", 1)), "modify bad-request"},
		{"§8.2.4 no value", "", "set", owned("configure", "n", submission("node_config", "max_items", "0")), "modify not-acceptable"},
		{"§8.2.4 cancelled", "", "set", owned("configure", "n", `<x xmlns='jabber:x:data' type='cancel'/>`), ""},
		{"§8.3 by a stranger", "nurse", "get", askedOwner(`<default/>`), "auth forbidden"},

		{"§8.4.3.1 by a stranger", "nurse", "set", owned("delete", "n", ""), "auth forbidden"},
		{"§8.4.3.2 no such node", "", "set", owned("delete", "none", ""), "cancel item-not-found"},
		{"§8.4.1 no address to go to", "", "set", owned("delete", "n", `<redirect uri='nowhere'/>`), "modify bad-request"},

		{"§8.5.3.1 by a stranger", "nurse", "set", owned("purge", "n", ""), "auth forbidden"},
		{"§8.5.3.3 no items are kept", "", "set", owned("purge", "news", ""), notPersisted},
		{"§8.5.3.4 no such node", "", "set", owned("purge", "none", ""), "cancel item-not-found"},

		{"§8.8.1 by a stranger", "nurse", "get", owned("subscriptions", "n", ""), "auth forbidden"},
		{"§8.8.1 no such node", "", "get", owned("subscriptions", "none", ""), "cancel item-not-found"},
		{"§8.8.2 by a stranger", "nurse", "set", owned("subscriptions", "n", ""), "auth forbidden"},
		{"§8.8.2 for a stranger to an account, of one owner's service", "", "set", owned("subscriptions", "n",
			`<subscription jid='nurse@example.org' subscription='subscribed'/>`), "modify not-acceptable"},
		{"§8.8.2 for somebody elsewhere", "", "set", owned("subscriptions", "n",
			`<subscription jid='nurse@example.net' subscription='subscribed'/>`), "modify not-acceptable"},
		{"§8.8.2 for one client", "", "set", owned("subscriptions", "n",
			`<subscription jid='juliet@example.org/x' subscription='subscribed'/>`), "modify not-acceptable"},
		{"§8.8.2 for an outcast", "", "set", owned("subscriptions", "n",
			`<subscription jid='tybalt@example.org' subscription='subscribed'/>`), "modify not-acceptable"},
		{"§8.8.2 an id that nobody has", "", "set", owned("subscriptions", "n",
			`<subscription jid='juliet@example.org' subid='7' subscription='subscribed'/>`), "modify not-acceptable"},
		{"§8.8.2 which of two", "", "set", owned("subscriptions", "n",
			`<subscription jid='mercutio@example.org' subscription='none'/>`), "modify not-acceptable"},
		{"§8.8.2 no such node", "", "set", owned("subscriptions", "none", ""), "cancel item-not-found"},
		{"§8.8.2 without a node", "", "set", askedOwner(`<subscriptions/>`), "modify bad-request nodeid-required"},
		{"§8.8.2 to wait again", "", "set", owned("subscriptions", "n",
			`<subscription jid='paris@example.org' subscription='pending'/>`), "modify not-acceptable"},
		{"§8.8.2 no state", "", "set", owned("subscriptions", "authorize",
			`<subscription jid='paris@example.org' subscription='perhaps'/>`), "modify not-acceptable"},

		{"§8.9.1 by a stranger", "nurse", "get", owned("affiliations", "n", ""), "auth forbidden"},
		{"§8.9.1 no such node", "", "get", owned("affiliations", "none", ""), "cancel item-not-found"},
		{"§8.9.2 by a stranger", "nurse", "set", owned("affiliations", "n", ""), "auth forbidden"},
		{"§8.9.2 no affiliation", "", "set", owned("affiliations", "n",
			`<affiliation jid='nurse@example.org' affiliation='friend'/>`), "modify not-acceptable"},
		{"§8.9.2.4 one twice", "", "set", owned("affiliations", "n", `<affiliation jid='nurse@example.org' affiliation='member'/>`+
			`<affiliation jid='nurse@example.org/x' affiliation='none'/>`), "modify bad-request"},
		{"§8.9.2 another owner, of one owner's service", "", "set", owned("affiliations", "n",
			`<affiliation jid='nurse@example.org' affiliation='owner'/>`), "modify not-acceptable"},
		{"§8.9.2.4 no owner left", "", "set", owned("affiliations", "n",
			`<affiliation jid='romeo@example.org' affiliation='none'/>`), "modify not-acceptable"},
	} {
		for _, shared := range []bool{false, true} {
			if shared && strings.Contains(row.about, "one owner's service") {
				continue
			}
			w := newWorldOf(t, shared)
			w.create("n")
			w.publish("n", "a", "b")
			w.affiliate("n", "tybalt", "outcast")
			w.create("news", "persist_items", "0")
			w.create("bell", "persist_items", "0", "deliver_payloads", "0")
			w.create("reject", "publish_node_full", "reject", "max_items", "2")
			w.publish("reject", "a", "b")
			w.create("authorize", "access_model", "authorize")
			w.do("paris", subscribing("authorize", "paris"))
			w.do("mercutio", subscribing("n", "mercutio"))
			w.do("mercutio", quietly("n", "mercutio"))
			if strings.Contains(row.about, "of one address") {
				for i := range maxSame {
					w.do("juliet", asked(`<subscribe node='n' jid='juliet@example.org'/><options>`+submission("subscribe_options",
						"expire", xmpp.FormatTime(time.Now().Add(time.Duration(i+1)*time.Hour)))+`</options>`))
				}
			}
			if row.who == "" {
				row.who = "romeo"
			}
			got := w.ask(row.who, row.kind, row.payload)
			if strings.HasPrefix(got, "<") {
				got = ""
			}
			if got != row.want {
				t.Errorf("%s, shared %t: %q, want %q", row.about, shared, got, row.want)
			}
		}
	}
}

// What a request has begun and not made durable is not so: the service is read anew.
func TestWhatCouldNotBeWrittenIsNotSo(t *testing.T) {
	for _, row := range []struct{ about, payload string }{
		{"a node", asked(`<create node='fresh'/>`)},
		{"an item", publication("n", "b")},
		{"an item of a new node", publication("fresh", "b")},
		{"a retraction", asked(`<retract node='n'><item id='a'/></retract>`)},
		{"a purge", askedOwner(`<purge node='n'/>`)},
		{"a subscription", subscribing("n", "romeo")},
		{"a configuration", askedOwner(`<configure node='n'>` + submission("node_config", "title", "T") + `</configure>`)},
		{"an affiliation", askedOwner(`<affiliations node='n'><affiliation jid='nurse@example.org' affiliation='member'/></affiliations>`)},
		{"the end of a node", askedOwner(`<delete node='n'/>`)},
	} {
		for _, late := range []bool{false, true} {
			w := newWorld(t)
			w.create("n")
			w.publish("n", "a")
			state := func() string {
				all := ""
				for _, payload := range []string{asked(`<items node='n'/>`), asked(`<subscriptions/>`), askedOwner(`<configure node='n'/>`),
					askedOwner(`<affiliations node='n'/>`), asked(`<items node='fresh'/>`)} {
					all += w.ask("romeo", "get", payload) + "\n"
				}
				return all
			}
			before := state()
			var answer string
			if late {
				w.store.Hold()
				w.clients["romeo"].Send(`<iq type='set' id='late' to='` + serviceName + `'>` + row.payload + `</iq>`)
				if got := w.clients["romeo"].Deliveries(); len(got) > 0 && got[len(got)-1].Stanza.Kind == xmpp.IQ {
					t.Errorf("%s: answered before it is durable", row.about)
				}
				w.store.Release(storage.ErrUnavailable)
				got := w.clients["romeo"].Deliveries()
				answer = told(got[len(got)-1].Stanza.Err())
				// Whether it is so after all only the store knows.
				if _, err := w.store.Map("nodes").DeleteOwner(t.Context(), serviceName); err != nil {
					t.Fatal(err)
				}
				if got := w.ask("romeo", "get", asked(`<items node='n'/>`)); got != told(noNode()) {
					t.Errorf("%s: the store is not asked anew: %s", row.about, got)
				}
			} else {
				w.store.Fail(errors.New("disk"))
				answer = w.ask("romeo", "set", row.payload)
				w.store.Fail(nil)
			}
			if answer != told(router.Unavailable()) {
				t.Errorf("%s: %s", row.about, answer)
			}
			if after := state(); !late && after != before {
				t.Errorf("%s: it is so though it was not written:\n%s\nbefore:\n%s", row.about, after, before)
			}
		}
	}
}
