package disco

import (
	"strings"
	"testing"

	"jackdaw/router"
	"jackdaw/xmpp"
)

// delegated has a component answer for these namespaces.
type delegated struct {
	spaces  map[string]bool
	says    []*xmpp.Element
	version uint64
	rest    []string // what it was asked
}

func (d *delegated) Delegated(host, space string) bool {
	return host == "example.org" && d.spaces[space]
}
func (d *delegated) Version() uint64 { return d.version }
func (d *delegated) Info(host string, account bool) []*xmpp.Element {
	if host != "example.org" || !account {
		return nil
	}
	return d.says
}
func (d *delegated) Rest(e *router.Envelope, query string) bool {
	if !d.spaces[query] {
		return false
	}
	_, short, _ := strings.Cut(query, "#")
	d.rest = append(d.rest, short+" "+e.Stanza.To.String())
	e.Settle(router.Delivered)
	return true
}

func TestWhatAComponentSaysTakesThePlaceOfAModule(t *testing.T) {
	h := newHouse(t)
	d := &delegated{spaces: map[string]bool{}}
	h.disco.o.Nested = d
	element := func(xml string) *xmpp.Element {
		el, err := xmpp.ParseElement([]byte(xml))
		if err != nil {
			t.Fatal(err)
		}
		return el
	}
	form := func(kind string) string {
		return `<x xmlns='jabber:x:data' type='result'><field type='hidden' var='FORM_TYPE'><value>` + kind + `</value></field></x>`
	}
	for _, xml := range []string{`<identity xmlns='` + infoNS + `' category='pubsub' type='pep'/>`,
		`<identity xmlns='` + infoNS + `' category='account' type='registered' name='again'/>`,
		`<feature xmlns='` + infoNS + `' var='urn:new'/>`, `<feature xmlns='` + infoNS + `' var='urn:new'/>`,
		`<feature xmlns='` + infoNS + `' var='urn:pep'/>`, form("urn:f"), form("urn:f")} {
		d.says = append(d.says, element(xml))
	}
	h.Use(h.disco.Module(), router.Module{Name: "a", Features: []string{"urn:z", "urn:a"}, AccountFeatures: []string{"urn:old"},
		IQ: []router.IQ{{Payload: xmpp.Name{Space: "urn:a", Local: "q"}, Scope: router.Account}}},
		router.Module{Name: "b", Features: []string{"urn:z"}, AccountFeatures: []string{"urn:pep"}})
	rest := `<feature var='urn:new'/>` + form("urn:f")
	before := h.disco.Version()
	if d.version++; h.disco.Version() == before {
		t.Error("the hash of what it says stays the same")
	}
	h.ask(t, infoNS, "example.org", "", hostInfo)
	d.spaces["urn:a"] = true
	h.ask(t, infoNS, "example.org", "", strings.Replace(hostInfo, `<feature var='urn:a'/>`, "", 1))
	h.ask(t, infoNS, "juliet@example.org", "", strings.Replace(accountInfo, `registered'/>`,
		`registered'/><identity category='pubsub' type='pep'/>`, 1)+rest)
	if !strings.Contains(string(h.disco.Info("example.net").Append(nil)), "urn:a") {
		t.Error("another host has nothing of the module")
	}
}

func TestNodesThatNobodyHasAreTheComponents(t *testing.T) {
	h := newHouse(t)
	d := &delegated{spaces: map[string]bool{}}
	h.disco.o.Nested = d
	h.ask(t, infoNS, "juliet@example.org", "n", "!item-not-found")
	d.spaces[infoNS], d.spaces[itemsNS] = true, true
	say := func(space, to, node string) {
		if node != "" {
			node = "' node='" + node
		}
		h.romeo.Send(`<iq type='get' id='1' to='` + to + `'><query xmlns='` + space + node + `'/></iq>`)
	}
	for _, user := range []string{"juliet", "nurse", "nobody"} {
		say(infoNS, user+"@example.org", "n")
		say(itemsNS, user+"@example.org", "")
		say(itemsNS, user+"@example.org", "n")
	}
	say(itemsNS, "example.org", "n")
	say(infoNS, "example.org", "n")
	var want []string
	for _, user := range []string{"juliet", "nurse", "nobody"} {
		want = append(want, "info "+user+"@example.org", "items "+user+"@example.org", "items "+user+"@example.org")
	}
	if got := strings.Join(d.rest, ", "); got != strings.Join(want, ", ") {
		t.Errorf("the component was asked %s", got)
	}
	for _, got := range h.romeo.Deliveries() {
		if got.Stanza.From.String() != "example.org" {
			t.Errorf("romeo got %s", got.Stanza.Append(nil))
		}
	}
}
