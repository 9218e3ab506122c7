package pubsub

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/xmpp"
)

// manage has romeo change entries of a list of a node, and returns what the answer says of those that stay as they are.
func (w *world) manage(list string, entries ...string) (unchanged string) {
	w.t.Helper()
	c := w.clients["romeo"]
	c.Send(`<iq type='set' id='manage' to='` + serviceName + `'>` +
		askedOwner(`<`+list+` node='n'>`+strings.Join(entries, "")+`</`+list+`>`) + `</iq>`)
	for _, d := range c.Deliveries() {
		s := d.Stanza
		if s.Kind != xmpp.IQ || s.ID != "manage" {
			continue
		}
		err := s.Err()
		if err == nil {
			return ""
		}
		if told(err) != "modify not-acceptable" {
			w.t.Fatalf("%s: %s", list, told(err))
		}
		text, _, _ := strings.Cut(plain(string(s.Payload)), "<error")
		text = strings.TrimPrefix(text, `<pubsub><`+list+` node='n'>`)
		return strings.TrimSuffix(text, `</`+list+`></pubsub>`)
	}
	w.t.Fatalf("%s: no answer", list)
	return ""
}

func entryOf(who, what string) string {
	return `<subscription jid='` + who + `' subscription='` + what + `'/>`
}

func TestOwnersSubscribeOthers(t *testing.T) {
	const juliet, nurse, far = "juliet@example.org", "nurse@example.org", "balthasar@example.net"
	event := func(who, state string) string {
		return `<event>` + strings.Replace(entryOf(who, state), " jid", " node='n' jid", 1) + `</event>`
	}
	for _, shared := range []bool{false, true} {
		w := newWorldOf(t, shared)
		w.create("n")
		w.publish("n", "1")
		// Who is a contact, and where many share the service who is of this server; what cannot be is told as it is.
		unchanged := entryOf(far, "none")
		if !shared {
			unchanged = entryOf(nurse, "none") + unchanged
		}
		if got := w.manage("subscriptions", entryOf(juliet, "subscribed"), entryOf(nurse, "subscribed"), entryOf(far, "subscribed")); got != unchanged {
			t.Errorf("shared %t: unchanged are %s", shared, got)
		}
		got := w.events("juliet")
		if !strings.HasPrefix(got, event(juliet, "subscribed")+" | <event><items node='n'><item id='1'>") {
			t.Errorf("shared %t: she is told %s", shared, got)
		}
		if got := w.events("nurse"); (got != "") != shared {
			t.Errorf("shared %t: who is no contact is told %s", shared, got)
		}
		if got := w.manage("subscriptions", entryOf(juliet, "subscribed")); got != "" || w.events("juliet") != "" {
			t.Errorf("shared %t: what is so already: %s", shared, got)
		}
		w.start()
		w.publish("n", "2")
		if got := w.events("juliet"); !strings.Contains(got, "<item id='2'>") {
			t.Errorf("shared %t: after a restart she gets %s", shared, got)
		}
		w.do("juliet", asked(`<unsubscribe node='n' jid='`+juliet+`'/>`)) // she has the last word
		w.publish("n", "3")
		if got := w.events("juliet"); got != "" {
			t.Errorf("shared %t: she has left and gets %s", shared, got)
		}
	}
}

func TestOwnersSubscribeOnlyWhoMayHaveIt(t *testing.T) {
	for access, who := range map[string]string{"whitelist": "", "presence": "juliet mercutio", "roster": "juliet", "authorize": "juliet mercutio paris"} {
		w := newWorldOf(t, true)
		w.create("n", "access_model", access, "roster_groups_allowed", "Lovers")
		var subscribed []string
		for _, name := range []string{"juliet", "mercutio", "paris"} {
			if w.manage("subscriptions", entryOf(at(name).String(), "subscribed")) == "" {
				subscribed = append(subscribed, name)
				if got := w.events(name); !strings.Contains(got, "subscription='subscribed'") {
					t.Errorf("%s: %s is told %s", access, name, got)
				}
			}
		}
		if got := strings.Join(subscribed, " "); got != who {
			t.Errorf("%s: subscribed are %q, want %q", access, got, who)
		}
	}
}

func TestOwnersDecideAboutThoseWhoWait(t *testing.T) {
	w := newWorldOf(t, true)
	w.create("n", "access_model", "authorize")
	w.publish("n", "1")
	for _, name := range []string{"nurse", "paris", "tybalt"} {
		w.do(name, subscribing("n", name))
	}
	const nurse, paris, tybalt = "nurse@example.org", "paris@example.org", "tybalt@example.org"
	if got := w.manage("subscriptions", entryOf(nurse, "subscribed"), entryOf(paris, "none"), entryOf(tybalt, "pending")); got != "" {
		t.Errorf("unchanged are %s", got)
	}
	if got := w.events("nurse"); !strings.Contains(got, "subscription='subscribed'") || !strings.Contains(got, "<item id='1'>") {
		t.Errorf("who is let in is told %s", got)
	}
	if got := w.events("paris"); !strings.Contains(got, "subscription='none'") || strings.Contains(got, "<item") {
		t.Errorf("who is not is told %s", got)
	}
	// Nobody is made to wait, and what has no sense changes nothing.
	want := entryOf(nurse, "subscribed") + entryOf(paris, "none") + entryOf(tybalt, "pending")
	if got := w.manage("subscriptions", entryOf(nurse, "pending"), entryOf(paris, "pending"), entryOf(tybalt, "perhaps"),
		`<subscription jid='`+nurse+`'/>`); got != want {
		t.Errorf("unchanged are %s", got)
	}
	if got := plain(w.ask("romeo", "get", askedOwner(`<subscriptions node='n'/>`))); !strings.Contains(got, "nurse") || strings.Contains(got, "paris") {
		t.Errorf("left are %s", got)
	}
}

func TestAffiliationsThatCannotBeAreTold(t *testing.T) {
	w := newWorldOf(t, true)
	w.create("n")
	entry := func(who, what string) string { return `<affiliation jid='` + who + `' affiliation='` + what + `'/>` }
	const romeo, nurse, paris = "romeo@example.org", "nurse@example.org", "paris@example.org"
	// The example of §8.9.2.4: the one owner stays, and what is said of all others is done.
	want := entry(nurse, "none") + entry(romeo, "owner")
	if got := w.manage("affiliations", entry(romeo, "none"), entry(nurse, "friend"), entry(paris, "publisher")); got != want {
		t.Errorf("unchanged are %s", got)
	}
	got := w.ask("romeo", "get", askedOwner(`<affiliations node='n'/>`))
	if !strings.Contains(got, entry(romeo, "owner")) || !strings.Contains(got, entry(paris, "publisher")) || strings.Contains(got, nurse) {
		t.Errorf("affiliations are %s", got)
	}
}

// Owners who subscribe others take no room from the nodes of somebody else.
func TestOwnersDoNotFillTheService(t *testing.T) {
	w := newWorldOf(t, true)
	w.limits.Subscriptions = 40 // 4 of a node
	w.makers["juliet"] = true
	enlisted := 0
	for i := range 10 {
		w.create(fmt.Sprint("n", i))
		for k := range 6 {
			got := w.ask("romeo", "set", askedOwner(fmt.Sprintf(`<subscriptions node='n%d'>%s</subscriptions>`, i,
				entryOf(fmt.Sprintf("u%d@example.org", k), "subscribed"))))
			if got == "" {
				enlisted++
			} else if got != "modify not-acceptable" {
				t.Fatal(got)
			}
		}
	}
	if enlisted != 10 { // a quarter
		t.Errorf("one owner has %d of 40 subscriptions", enlisted)
	}
	w.do("juliet", asked(`<create node='hers'/>`))
	w.do("nurse", subscribing("hers", "nurse"))
}
