package modules

import (
	"context"
	"fmt"
	"testing"

	"jackdaw/config"
	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// sink takes everything and keeps nothing.
type sink struct{ router.Outlet }

func (sink) Send(router.Delivery) (wake, ok bool) { return false, true }
func (sink) Flush()                               {}
func (sink) Prompt() bool                         { return true }
func (sink) Full() bool                           { return false }
func (sink) Detached() bool                       { return false }
func (sink) WaitBelow(context.Context, int) error { return nil }
func (sink) End(string, string)                   {}

// BenchmarkPresenceBroadcast is a client that tells 50 contacts, all available, that it is away. Nobody has a node;
// with pep all clients want some, as clients do, and what they want is known.
func BenchmarkPresenceBroadcast(b *testing.B) {
	const contacts = 50
	for _, with := range []bool{false, true} {
		b.Run(fmt.Sprintf("pep=%v", with), func(b *testing.B) {
			c := config.Default()
			c.Modules.Off = map[string]bool{"pep": !with}
			d := deps(c)
			users := moduletest.Users{"romeo@example.org": true}
			for i := range contacts {
				users[fmt.Sprintf("c%d@example.org", i)] = true
			}
			d.Router = router.New(router.Options{Hosts: []string{moduletest.Host}, Users: users, Log: moduletest.Discard()})
			d.Accounts = book{users}
			if _, _, err := d.Store.Map("pep-caps").Update(b.Context(), "caps", storage.AnyVersion,
				storage.Change{Key: "sha-1 x", Value: []byte("\x01\x08urn:tune")}); err != nil {
				b.Fatal(err)
			}
			d.Router.Use(All(d).Modules()...)
			login := func(user string) *router.Session {
				s, err := d.Router.Bind(jid.MustParse(user+"@example.org/x"), sink{})
				if err != nil {
					b.Fatal(err)
				}
				return s
			}
			send := func(s *router.Session, xml string) {
				st := moduletest.Parse(b, xml)
				st.From = s.Addr()
				d.Router.Route(&router.Envelope{Stanza: st, Session: s, Account: s.Bare()})
			}
			const caps = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:client' ver='x'/>"
			romeo := login("romeo")
			for i := range contacts {
				s := login(fmt.Sprintf("c%d", i))
				send(romeo, fmt.Sprintf("<presence type='subscribe' to='c%d@example.org'/>", i))
				send(s, "<presence type='subscribed' to='romeo@example.org'/>")
				send(s, "<presence type='subscribe' to='romeo@example.org'/>")
				send(romeo, fmt.Sprintf("<presence type='subscribed' to='c%d@example.org'/>", i))
				send(s, "<presence>"+caps+"</presence>")
			}
			away := moduletest.Parse(b, "<presence><show>away</show>"+caps+"</presence>")
			away.From = romeo.Addr()
			b.ReportAllocs()
			for b.Loop() {
				d.Router.Route(&router.Envelope{Stanza: away, Session: romeo, Account: romeo.Bare()})
			}
			if got := len(d.Router.Sessions(jid.MustParse("c0@example.org"))); got != 1 || romeo.Presence() == nil ||
				romeo.Presence().Kind != xmpp.Presence {
				b.Fatal("nobody was there")
			}
		})
	}
}
