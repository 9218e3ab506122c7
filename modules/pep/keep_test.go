package pep

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

func TestItemsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		desk := w.login("juliet/desk")
		expiring := []string{"access_model", "open", "max_items", "max", "item_expire", "60"}
		w.want(desk, "set", "", publishXML("urn:n", "1", "a", expiring...), published("urn:n", "1"))
		<-time.After(40 * time.Second)
		w.want(desk, "set", "", publishXML("urn:n", "2", "b", expiring...), published("urn:n", "2"))
		w.want(desk, "set", "", publishXML("urn:m", "1", "c"), published("urn:m", "1"))
		<-time.After(19 * time.Second)
		w.want(desk, "get", "", pubsubXML("<items node='urn:n'/>"), pubsubXML("<items node='urn:n'>"+itemXML("1", "a")+itemXML("2", "b")+"</items>"))
		<-time.After(time.Second)
		w.start() // what is not in memory expires too
		for _, request := range []string{"<items node='urn:n'/>", "<items node='urn:n' max_items='5'/>"} {
			w.want(desk, "get", "", pubsubXML(request), pubsubXML("<items node='urn:n'>"+itemXML("2", "b")+"</items>"))
		}
		w.want(desk, "set", "", pubsubXML("<retract node='urn:n'><item id='1'/></retract>"), noSuch)
		if all, _, _ := w.store.Map("pep-items").List(t.Context(), juliet+"/urn:n"); len(all) != 1 {
			t.Errorf("%d items are in the store", len(all))
		}
		<-time.After(time.Hour)
		if ids, ok, err := w.pep.Nodes().Items(jid.MustParse(juliet), jid.MustParse(nurse), "urn:n"); len(ids) > 0 || !ok ||
			err != nil {
			t.Errorf("items %v, %v", ids, err)
		}
		for _, id := range []string{"", "2"} {
			if it, _, err := w.pep.engine.Item(jid.MustParse(juliet), "urn:n", id); it != nil || err != nil {
				t.Errorf("item %q is %+v, %v", id, it, err)
			}
		}
		w.got(w.login("juliet/phone", "urn:n", "urn:m"), "juliet@example.org/phone|items urn:m 1:c delay")
		w.want(desk, "get", "", pubsubXML("<items node='urn:m'/>"), pubsubXML("<items node='urn:m'>"+itemXML("1", "c")+"</items>"))
		for _, value := range []string{"0", "-1", "soon"} {
			w.want(desk, "set", "", publishXML("urn:x", "1", "a", "item_expire", value), "modify not-acceptable")
		}
	})
}

func TestItemsThatCannotBeTakenOutAreGoneAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		desk := w.login("juliet/desk")
		w.want(desk, "set", "", publishXML("urn:n", "1", "a", "item_expire", "60"), published("urn:n", "1"))
		<-time.After(time.Hour)
		w.store.Fail(storage.ErrUnavailable)
		w.want(desk, "get", "", pubsubXML("<items node='urn:n'/>"), "wait resource-constraint")
		w.store.Fail(nil)
		w.want(desk, "get", "", pubsubXML("<items node='urn:n'/>"), pubsubXML("<items node='urn:n'/>"))
	})
}

func TestFullNodeDoesWhatItsOwnerWants(t *testing.T) {
	for _, row := range []struct{ model, third, event, items string }{
		{"discard-oldest", published("urn:n", "3"), "items urn:n 3:x", "23"},
		{"retract-oldest", published("urn:n", "3"), "items urn:n 3:x|items urn:n -1", "23"},
		{"reject", "cancel conflict node-full", "", "12"},
	} {
		w := newWorld(t)
		desk := w.login("juliet/desk")
		for _, id := range []string{"1", "2"} {
			w.want(desk, "set", "", publishXML("urn:n", id, "x", "max_items", "2", "publish_node_full", row.model), published("urn:n", id))
		}
		phone := moduletest.Login(t, w.Router, "juliet/phone")
		w.appear(phone, "urn:n")
		phone.Received()
		got := w.do(desk, "set", "", publishXML("urn:n", "3", "x"))
		if strings.HasPrefix(row.third, "<") {
			row.third = moduletest.Canonical(t, row.third)
		}
		if got != row.third {
			t.Errorf("%s: %s", row.model, got)
		}
		var heard []string
		for _, one := range phone.Received() {
			heard = append(heard, strings.TrimSuffix(strings.TrimPrefix(events(t, []string{one})[0], "juliet@example.org/phone|"), " addresses"))
		}
		if strings.Join(heard, "|") != row.event {
			t.Errorf("%s: told %q", row.model, heard)
		}
		all, _, _ := w.pep.Nodes().Items(jid.MustParse(juliet), jid.MustParse(juliet), "urn:n")
		ids := ""
		for _, it := range all {
			ids += it.Attr("name")
		}
		if ids != row.items {
			t.Errorf("%s: left are %v", row.model, ids)
		}
		w.want(desk, "set", "", publishXML("urn:n", "2", "y"), published("urn:n", "2")) // in place of itself
	}
}

func TestDeletionSaysWhereTheNodeWent(t *testing.T) {
	w := newWorld(t)
	desk, phone := w.login("juliet/desk"), w.login("juliet/phone", "urn:n")
	w.want(desk, "set", "", publishXML("urn:n", "1", "x"), published("urn:n", "1"))
	phone.Received()
	for _, uri := range []string{"", "elsewhere", ":", "xmpp:" + strings.Repeat("x", 1024)} {
		w.want(desk, "set", "", ownerXML("<delete node='urn:n'><redirect uri='"+uri+"'/></delete>"), "modify bad-request")
	}
	w.want(desk, "set", "", ownerXML("<delete node='urn:n'><redirect uri='xmpp:juliet@example.org?;node=urn:m'/></delete>"), "ok")
	got := phone.Received()
	if len(got) != 1 || !strings.Contains(got[0], "<delete node='urn:n'><redirect uri='xmpp:juliet@example.org?;node=urn:m'/></delete>") {
		t.Errorf("told %q", got)
	}
}

func TestWhoMayHaveANodeAtLastIsSentItsLastItem(t *testing.T) {
	w := newWorld(t)
	desk, phone, orchard := w.login("juliet/desk"), w.login("juliet/phone", "urn:n"), w.login("romeo/orchard", "urn:n")
	w.want(desk, "set", "", publishXML("urn:n", "1", "x", "access_model", "whitelist"), published("urn:n", "1"))
	w.got(phone, "juliet@example.org/phone|items urn:n 1:x addresses")
	w.got(orchard)
	configure := func(options ...string) {
		w.want(desk, "set", "", ownerXML("<configure node='urn:n'>"+formXML("node_config", options...)+"</configure>"), "ok")
	}
	configure("access_model", "presence")
	w.got(orchard, "romeo@example.org/orchard|items urn:n 1:x delay")
	configure("access_model", "open")
	configure("access_model", "roster", "roster_groups_allowed", "Servants")
	w.got(orchard)
	configure("access_model", "roster", "roster_groups_allowed", "Friends")
	w.got(orchard, "romeo@example.org/orchard|items urn:n 1:x delay")
	configure("access_model", "whitelist")
	configure("access_model", "open", "send_last_published_item", "never")
	w.got(orchard)
	w.got(phone)
}
