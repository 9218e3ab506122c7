package room

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/xmpp/jid"
)

// One server must not make a room know users without end.
func TestRegistrationsLeaveRoomForOthers(t *testing.T) {
	p := newPlay(t)
	register := func(from string) string {
		s := p.event("hag", `<iq type='set' id='r' to='`+coven+`'><query xmlns='jabber:iq:register'>`+
			`<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>`+muc+`#register</value></field>`+
			`<field var='muc#register_roomnick'><value>`+strings.ReplaceAll(from, "@", ".")+
			`</value></field></x></query></iq>`).Stanza
		name, _ := s.First()
		what, bad := p.Register(jid.MustParse(from), s.Child(name))
		if bad != nil {
			return string(bad.Condition)
		}
		p.SetPerson(p.Next(*what.Item))
		return "ok"
	}
	n := 0
	for ; n < 2*maxPeople; n++ {
		name := fmt.Sprintf("u%d@flood.example", n)
		if n < maxPeople*8/10 { // so many are let in, and it need not take long
			p.SetPerson(Known{name, Person{Affiliation: Member}})
			continue
		}
		if got := register(name); got != "ok" {
			if got != "resource-constraint" {
				t.Fatal(got)
			}
			break
		}
	}
	if n < maxPeople*8/10 || n > maxPeople*95/100 {
		t.Errorf("%d of one domain are known", n)
	}
	if got := register("hag@elsewhere.example"); got != "ok" {
		t.Errorf("another: %s", got)
	}
	if got := register(fmt.Sprintf("u%d@flood.example", n-1)); got != "ok" {
		t.Errorf("once more: %s", got)
	}
}

func TestAdminsMakeARoomKnowNoMoreThanItMay(t *testing.T) {
	p := newPlay(t)
	p.enter("crone", "first")
	for i := len(p.People); i < 2*maxPeople; i++ {
		p.SetPerson(Known{fmt.Sprintf("u%d@example.net", i), Person{Affiliation: Member}})
	}
	p.want(p.administer("crone", `<item jid='hag@example.org' affiliation='member'/>`), "resource-constraint")
	p.want(p.administer("crone", `<item jid='u5@example.net' affiliation='none'/>`), "ok")
	p.want(p.administer("crone", `<item jid='hag@example.org' affiliation='member'/>`), "ok")
}
