package modules

import (
	"strings"
	"testing"

	"jackdaw/config"
	"jackdaw/modules/internal/moduletest"
	"jackdaw/storage"
)

func TestWhatIsSoAlreadyIsAnsweredWithTheWriteThatMadeItSo(t *testing.T) {
	const room = "heath@rooms.example.org"
	set := func(to, payload string) string {
		return `<iq type='set' id='again' to='` + to + `'>` + payload + `</iq>`
	}
	own := func(payload string) string { return `<iq type='set' id='again'>` + payload + `</iq>` }
	event := func(ns, payload string) string {
		return own(`<pubsub xmlns='http://jabber.org/protocol/pubsub` + ns + `'>` + payload + `</pubsub>`)
	}
	enter := `<presence to='` + room + `/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>`
	configure := func(fields string) string {
		return set(room, `<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>`+
			`<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>`+fields+`</x></query>`)
	}
	persistent := configure(`<field var='muc#roomconfig_persistentroom'><value>1</value></field>`)
	form := func(typ string) string {
		return `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#` +
			typ + `</value></field></x>`
	}
	block := own(`<block xmlns='urn:xmpp:blocking'><item jid='a@b'/></block>`)
	create := event("", `<create node='n'/>`)
	subscribe := event("", `<subscribe node='n' jid='romeo@example.org'/>`)
	for name, test := range map[string]struct {
		before  []string
		request string
	}{
		"roster":      {nil, own(`<query xmlns='jabber:iq:roster'><item jid='juliet@example.org' name='J'/></query>`)},
		"block":       {nil, block},
		"unblock":     {[]string{block}, own(`<unblock xmlns='urn:xmpp:blocking'><item jid='a@b'/></unblock>`)},
		"unblock all": {[]string{block}, own(`<unblock xmlns='urn:xmpp:blocking'/>`)},
		"push": {[]string{own(`<enable xmlns='urn:xmpp:push:0' jid='p.example.net' node='n'/>`)},
			own(`<disable xmlns='urn:xmpp:push:0' jid='p.example.net'/>`)},
		"private":      {nil, own(`<query xmlns='jabber:iq:private'><x xmlns='y:z'>w</x></query>`)},
		"vcard":        {nil, own(`<vCard xmlns='vcard-temp'><FN>R</FN></vCard>`)},
		"preferences":  {nil, own(`<prefs xmlns='urn:xmpp:mam:2' default='never'/>`)},
		"subscription": {[]string{create}, subscribe},
		"subscribers": {[]string{create, subscribe}, event("#owner",
			`<subscriptions node='n'><subscription jid='romeo@example.org' subscription='none'/></subscriptions>`)},
		"affiliations": {[]string{create}, event("#owner",
			`<affiliations node='n'><affiliation jid='a@b' affiliation='publisher'/></affiliations>`)},
		"configuration": {[]string{create}, event("#owner", `<configure node='n'>`+form("node_config")+`</configure>`)},
		"room": {[]string{enter, persistent},
			configure(`<field var='muc#roomconfig_roomname'><value>x</value></field>`)},
		"member": {[]string{enter, persistent},
			set(room, `<query xmlns='http://jabber.org/protocol/muc#admin'><item jid='a@b' affiliation='member'/></query>`)},
	} {
		for _, failed := range []error{nil, storage.ErrUnavailable} {
			d := deps(config.Default())
			store := d.Store.(*moduletest.Store)
			d.Router.Use(All(d).Modules()...)
			romeo := moduletest.Login(t, d.Router, "romeo/orchard")
			for _, xml := range test.before {
				romeo.Send(xml)
			}
			romeo.Received()
			answers := func() string {
				var types []string
				for _, got := range romeo.Deliveries() {
					if got.Stanza.ID == "again" {
						types = append(types, got.Stanza.Type.String())
					}
				}
				return strings.Join(types, " ")
			}
			store.Hold()
			for n := range 3 {
				if e := romeo.Send(test.request); e.Err != nil {
					t.Fatalf("%s: request %d: %v", name, n, e.Err)
				}
			}
			if got := answers(); got != "" {
				t.Errorf("%s: answered before anything is durable: %s", name, got)
			}
			store.Release(failed)
			want := "result result result"
			if failed != nil {
				want = "error error error"
			}
			if got := answers(); got != want {
				t.Errorf("%s: after %v: %s", name, failed, got)
			}
		}
	}
}
