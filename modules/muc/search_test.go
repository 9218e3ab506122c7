package muc

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

// search asks the service with the fields "name=value" and this <set/>.
func (w *world) search(who, set string, fields ...string) *xmpp.Stanza {
	w.t.Helper()
	form := `<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:channel-search:0:search-params</value></field>`
	for _, f := range fields {
		name, value, _ := strings.Cut(f, "=")
		form += `<field var='` + name + `'><value>` + value + `</value></field>`
	}
	return w.seek(who, `<search xmlns='urn:xmpp:channel-search:0:search'>`+set+`<x xmlns='jabber:x:data' type='submit'>`+form+`</x></search>`)
}

func (w *world) seek(who, payload string) *xmpp.Stanza {
	w.t.Helper()
	w.client(who).Received()
	w.send(who, `<iq type='get' id='s' to='`+domain+`'>`+payload+`</iq>`)
	got := w.client(who).Deliveries()
	if len(got) != 1 {
		w.t.Fatalf("%d answers", len(got))
	}
	return got[0].Stanza
}

// rooms are the local parts of the rooms in an answer, and its <set/>.
func rooms(s *xmpp.Stanza) string {
	r := s.Child(xmpp.Name{Space: nsSearch, Local: "result"})
	if r == nil {
		return "no result"
	}
	var all []string
	for _, c := range r.Children() {
		switch c.Name.Local {
		case "item":
			all = append(all, localOf(c.Attr("address"))+":"+c.ChildLocal("nusers").Text())
		case "set":
			for _, x := range c.Children() {
				all = append(all, x.Name.Local+"="+x.Text())
			}
		}
	}
	return strings.Join(all, ",")
}

// streets has four public rooms and one that is not listed. In each are so many as its number says, crone among them.
func streets(t *testing.T) *world {
	w := newWorld(t)
	w.limits.RoomsPerUser = 100
	for _, r := range []struct{ local, fields string }{
		{"alley", "roomname=Dark Alley|roomdesc=where cats meet"}, {"bazaar", "roomname=Bazaar|roomdesc=all of the CATS and dogs|lang=en|whois=anyone"},
		{"cellar", "roomname=Cellar|membersonly=1"}, {"den", "roomdesc=Höhle"}, {"hideout", "roomname=cats in hiding|publicroom=0"},
	} {
		at := r.local + "@" + domain
		w.send("crone", `<presence to='`+at+`/crone'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
		form := `<field var='` + prefix + `persistentroom'><value>1</value></field>`
		if !strings.Contains(r.fields, "publicroom") {
			form += `<field var='` + prefix + `publicroom'><value>1</value></field>`
		}
		for f := range strings.SplitSeq(r.fields, "|") {
			name, value, _ := strings.Cut(f, "=")
			form += `<field var='` + prefix + name + `'><value>` + value + `</value></field>`
		}
		w.wantRefused(w.send("crone", `<iq type='set' id='c' to='`+at+`'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>`+
			form+`</x></query></iq>`), "delivered")
	}
	w.send("hag", `<presence to='bazaar@`+domain+`/hag'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	return w
}

func TestPublicRoomsAreFound(t *testing.T) {
	w := streets(t)
	w.exempt = "witch"
	for _, test := range []struct {
		want   string
		fields []string
	}{
		{"bazaar:2,alley:1,cellar:1,den:1,first=2 bazaar,last=1 den,count=4", []string{"all=1"}},
		{"alley:1,bazaar:2,cellar:1,den:1,first=1 alley,last=1 den,count=4", []string{"all=true", "q=", "key=" + orderAddress}},
		{"bazaar:2,alley:1,first=2 bazaar,last=1 alley,count=2", []string{"q=Cats"}}, // and nothing of the hideout
		{"bazaar:2,first=2 bazaar,last=2 bazaar,count=1", []string{"q=dogs  cats dogs ---"}},
		{"count=0", []string{"q=cats", "sindescription=0"}},
		{"den:1,first=1 den,last=1 den,count=1", []string{"q=HÖHLE"}},
		{"cellar:1,first=1 cellar,last=1 cellar,count=1", []string{"q=cell", "sinaddress=0"}},
		{"count=0", []string{"q=den", "sinaddress=0"}},
		{"count=0", []string{"q=den", "sinaddr=0"}},
		{"den:1,first=1 den,last=1 den,count=1", []string{"q=den", "unknown=x", "types=" + serviceType}},
		{"count=0", []string{"all=1", "types=xep-0369"}},
		{"count=0", []string{"q=hiding"}},
	} {
		if got := strings.ReplaceAll(rooms(w.search("witch", "", test.fields...)), "@"+domain, ""); got != test.want {
			t.Errorf("%s: got %s, want %s", test.fields, got, test.want)
		}
	}
	moduletest.Same(t, string(w.search("witch", "", "q=bazaar").Payload), `<result xmlns='urn:xmpp:channel-search:0:search'><item address='bazaar@`+domain+`'>
		<name>Bazaar</name><description>all of the CATS and dogs</description><language>en</language><nusers>2</nusers><service-type>xep-0045</service-type>
		<is-open>true</is-open><anonymity-mode>{urn:xmpp:channel-search:0:anonymity}none</anonymity-mode></item>
		<set xmlns='http://jabber.org/protocol/rsm'><first index='0'>2 bazaar@`+domain+`</first><last>2 bazaar@`+domain+`</last><count>1</count></set></result>`)
	moduletest.Same(t, string(w.search("witch", "", "q=cellar").Child(xmpp.Name{Space: nsSearch, Local: "result"}).ChildLocal("item").Append(nil)),
		`<item xmlns='urn:xmpp:channel-search:0:search' address='cellar@`+domain+`'><name>Cellar</name><nusers>1</nusers><service-type>xep-0045</service-type>
		<anonymity-mode>muc_semianonymous</anonymity-mode></item>`)
}

func TestASearchIsAnsweredInPages(t *testing.T) {
	w := streets(t)
	for _, key := range []struct{ key, want string }{{orderUsers, "bazaar,alley,cellar,den"}, {orderAddress, "alley,bazaar,cellar,den"}} {
		want := strings.Split(key.want, ",")
		set, got := `<max>1</max>`, []string{}
		for range len(want) + 1 {
			r := w.search("witch", `<set xmlns='http://jabber.org/protocol/rsm'>`+set+`</set>`, "all=1", "key="+key.key).
				Child(xmpp.Name{Space: nsSearch, Local: "result"})
			if item := r.ChildLocal("item"); item != nil {
				got = append(got, localOf(item.Attr("address")))
				set = `<max>1</max><after>` + r.Children()[1].ChildLocal("last").Text() + `</after>`
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("by %s: %s", key.key, got)
		}
	}
	w.exempt = "witch"
	for set, want := range map[string]string{
		`<max>2</max><before/>`: "cellar:1,den:1", `<max>2</max><before>1 cellar@` + domain + `</before>`: "bazaar:2,alley:1",
		`<max>0</max>`: "count=4", `<index>2</index>`: "cellar:1,den:1",
	} {
		if got := strings.ReplaceAll(rooms(w.search("witch", `<set xmlns='http://jabber.org/protocol/rsm'>`+set+`</set>`, "all=1")), "@"+domain, ""); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", set, got)
		}
	}
	for set, want := range map[string]xmpp.Condition{`<after>x</after>`: xmpp.CondItemNotFound, `<before>x y</before>`: xmpp.CondItemNotFound,
		`<max>many</max>`: xmpp.CondBadRequest} {
		if bad := w.search("witch", `<set xmlns='http://jabber.org/protocol/rsm'>`+set+`</set>`, "all=1").Err(); bad == nil || bad.Condition != want {
			t.Errorf("%s: %v", set, bad)
		}
	}
}

func TestSearchesThatMakeNoSenseAreRefused(t *testing.T) {
	w := streets(t)
	moduletest.Same(t, string(w.seek("witch", `<search xmlns='urn:xmpp:channel-search:0:search'/>`).Payload), `<search xmlns='urn:xmpp:channel-search:0:search'>
		<x xmlns='jabber:x:data' type='form'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:channel-search:0:search-params</value></field>
		<field var='q' type='text-single' label='Search for'/><field var='all' type='boolean' label='All rooms, whatever is searched for'/>
		<field var='sinname' type='boolean' label='Search in names'><value>true</value></field>
		<field var='sindescription' type='boolean' label='Search in descriptions'><value>true</value></field>
		<field var='sinaddress' type='boolean' label='Search in addresses'><value>true</value></field>
		<field var='types' type='list-multi' label='Kinds of rooms'><value>xep-0045</value><option label='Multi-User Chat'><value>xep-0045</value></option></field>
		<field var='key' type='list-single' label='Sort by'><value>{urn:xmpp:channel-search:0:order}nusers</value>
		<option label='Number of occupants'><value>{urn:xmpp:channel-search:0:order}nusers</value></option>
		<option label='Address'><value>{urn:xmpp:channel-search:0:order}address</value></option></field></x></search>`)
	refused := func(s *xmpp.Stanza, want string) {
		t.Helper()
		bad := s.Err()
		if bad == nil {
			t.Errorf("answered %s, want %s", s.Payload, want)
			return
		}
		got := string(bad.Type) + " " + string(bad.Condition)
		if bad.App != nil {
			got += " " + bad.App.Name.Local
			for _, c := range bad.App.Children() {
				got += " " + c.Text()
			}
			got += bad.App.Attr("retry-after")
		}
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	const invalid = "modify bad-request invalid-search-terms"
	refused(w.search("witch", ""), "cancel bad-request no-search-conditions")
	refused(w.search("witch", "", "all=0"), "cancel bad-request no-search-conditions")
	refused(w.seek("witch", `<search xmlns='urn:xmpp:channel-search:0:search'><set xmlns='http://jabber.org/protocol/rsm'/></search>`),
		"cancel bad-request no-search-conditions")
	refused(w.search("witch", "", "q="), invalid)
	refused(w.search("witch", "", "q=?? --"), invalid)
	refused(w.search("witch", "", "q=a b c d e f g h i"), invalid)
	refused(w.search("witch", "", "q="+strings.Repeat("a", maxQuery+1)), invalid)
	refused(w.search("witch", "", "q=cats", "all=1"), "modify bad-request conflicting-fields all q")
	refused(w.search("witch", "", "q=cats", "sinname=0", "sindescription=0", "sinaddress=0"),
		"modify bad-request conflicting-fields q sinname sindescription sinaddress")
	refused(w.search("witch", "", "q=cats", "key=age"), "modify feature-not-implemented invalid-sort-key")
	refused(w.search("witch", "", "all=maybe"), "modify bad-request")
	refused(w.search("witch", "", "q=cats", "FORM_TYPE=other"), "modify bad-request")
	refused(w.seek("witch", `<search xmlns='urn:xmpp:channel-search:0:search'><x xmlns='jabber:x:data' type='submit'/></search>`), "modify bad-request")
	refused(w.seek("witch", `<search xmlns='urn:xmpp:channel-search:0:search'><x xmlns='jabber:x:data'/></search>`), "modify bad-request")

	for range searchesSaved {
		if got := rooms(w.search("witch", "", "q=nothing")); got != "count=0" {
			t.Fatal(got)
		}
	}
	refused(w.search("witch", "", "q=nothing"), "wait resource-constraint rate-limit1")
	if got := rooms(w.search("hag", "", "q=nothing")); got != "count=0" {
		t.Errorf("another user: %s", got)
	}
}

func TestRoomsOfOlderDirectoriesAreCompletedWhenTheyAreOpened(t *testing.T) {
	w := streets(t)
	w.exempt = "witch"
	list := w.store.Map("rooms")
	old := storage.Change{Key: "den", Value: encode(map[string]any{"public": true, "creator": "crone@example.org"})}
	if _, _, err := list.Update(t.Context(), domain, storage.AnyVersion, old); err != nil {
		t.Fatal(err)
	}
	w.restart()
	ask := func() string {
		t.Helper()
		item := w.search("witch", "", "q=den").Child(xmpp.Name{Space: nsSearch, Local: "result"}).ChildLocal("item")
		if item == nil {
			t.Fatal("it is not found")
		}
		var names []string
		for _, c := range item.Children() {
			names = append(names, c.Name.Local)
		}
		return strings.Join(names, " ")
	}
	if got := ask(); got != "nusers service-type" {
		t.Errorf("before: %s", got)
	}
	for _, when := range []string{"after it was opened", "after a restart"} {
		if when == "after a restart" {
			w.restart()
		} else {
			w.send("witch", `<iq type='get' id='i' to='den@`+domain+`'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`)
		}
		if got := ask(); got != "description nusers service-type is-open anonymity-mode" {
			t.Errorf("%s: %s", when, got)
		}
	}
}
