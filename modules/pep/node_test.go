package pep

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/modules/internal/pubsub"
	"jackdaw/modules/internal/rsm"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func TestRequestsFailAsTheSpecificationSays(t *testing.T) {
	big := strings.Repeat("x", 1001)
	form := "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:other</value></field></x>"
	for _, row := range []struct{ section, kind, payload, want string }{
		{"6.1.3.1", "set", pubsubXML("<subscribe node='urn:n' jid='romeo@example.org'/>"), "modify bad-request invalid-jid"},
		{"6.1.3.1", "set", pubsubXML("<subscribe node='urn:n'/>"), "modify bad-request invalid-jid"},
		{"6.1.3.12", "set", pubsubXML("<subscribe node='urn:none' jid='juliet@example.org'/>"), noSuch},
		{"6.2.3.2", "set", pubsubXML("<unsubscribe node='urn:n' jid='juliet@example.org'/>"), "cancel unexpected-request not-subscribed"},
		{"6.2.3.3", "set", pubsubXML("<unsubscribe node='urn:n' jid='romeo@example.org'/>"), forbids},
		{"6.2.3.4", "set", pubsubXML("<unsubscribe node='urn:none' jid='juliet@example.org'/>"), noSuch},
		{"6.3.4.2", "get", pubsubXML("<options node='urn:n' jid='juliet@example.org'/>"), "cancel unexpected-request not-subscribed"},
		{"6.3.7", "set", pubsubXML("<subscribe node='urn:n' jid='juliet@example.org'/><options node='urn:n'/>"), "modify bad-request"},
		{"6.4", "get", pubsubXML("<default node='urn:none'/>"), noSuch},
		{"6.5.9.4", "get", pubsubXML("<items node='urn:transient'/>"), "cancel feature-not-implemented unsupported persistent-items"},
		{"6.5.9.11", "get", pubsubXML("<items node='urn:none'/>"), noSuch},
		{"6.5.9.12", "get", pubsubXML("<items node='urn:n'><item id='none'/></items>"), pubsubXML("<items node='urn:n'/>")},
		{"6.5", "get", pubsubXML("<items/>"), "modify bad-request nodeid-required"},
		{"6.5.6", "get", pubsubXML("<items node='urn:n' max_items='-1'/>"), "modify bad-request"},
		{"7.1.3", "set", pubsubXML("<publish><item><t xmlns='urn:t'/></item></publish>"), "modify bad-request nodeid-required"},
		{"7.1.3.5", "set", publishXML("urn:n", "1", big), "modify not-acceptable payload-too-big"},
		{"7.1.3.6", "set", pubsubXML("<publish node='urn:n'><item><t xmlns='urn:t'/><t xmlns='urn:t'/></item></publish>"), "modify bad-request invalid-payload"},
		{"7.1.3.6", "set", pubsubXML("<publish node='urn:n'><item><body xmlns='jabber:client'/></item></publish>"), "modify bad-request invalid-payload"},
		{"7.1.3.7", "set", pubsubXML("<publish node='urn:n'/>"), "modify bad-request item-required"},
		{"7.1.3.7", "set", pubsubXML("<publish node='urn:n'><item id='1'/></publish>"), "modify bad-request payload-required"},
		{"7.1.3.7", "set", pubsubXML("<publish node='urn:transient'><item id='1'/></publish>"), "modify bad-request item-forbidden"},
		{"7.1.5", "set", publishXML("urn:n", "1", "x", "access_model", "open"), "cancel conflict precondition-not-met"},
		{"7.1.5", "set", publishXML("urn:n", "1", "x", "no_such_option", "1"), "cancel conflict precondition-not-met"},
		{"7.1.5", "set", publishXML("urn:new", "1", "x", "no_such_option", "1"), "modify not-acceptable"},
		{"7.1.5", "set", publishXML("urn:new", "1", "x", "max_items", "many"), "modify not-acceptable"},
		{"7.1.5", "set", publishXML("urn:new", "1", "x", "access_model", "x"),
			"modify not-acceptable unsupported-access-model"},
		{"7.1.5", "set", pubsubXML("<publish node='urn:n'><item><t xmlns='urn:t'/></item></publish><publish-options/>"), "modify bad-request"},
		{"7.1.5", "set", pubsubXML("<publish node='urn:n'><item><t xmlns='urn:t'/></item></publish><publish-options>" + form + "</publish-options>"), "modify bad-request"},
		{"7.2.3.2", "set", pubsubXML("<retract node='urn:none'><item id='1'/></retract>"), noSuch},
		{"7.2.3.2", "set", pubsubXML("<retract node='urn:n'><item id='none'/></retract>"), noSuch},
		{"7.2.3.3", "set", pubsubXML("<retract><item id='1'/></retract>"), "modify bad-request nodeid-required"},
		{"7.2.3.4", "set", pubsubXML("<retract node='urn:n'/>"), "modify bad-request item-required"},
		{"7.2.3.4", "set", pubsubXML("<retract node='urn:n'><item/></retract>"), "modify bad-request item-required"},
		{"7.2.3.5", "set", pubsubXML("<retract node='urn:transient'><item id='1'/></retract>"), "cancel feature-not-implemented unsupported persistent-items"},
		{"8.1.1", "set", pubsubXML("<create node='urn:n'/>"), "cancel conflict"},
		{"8.1.2", "set", pubsubXML("<create node='urn:new'/>" + optionsXML("configure", "node_config", "access_model", "guests")), "modify not-acceptable unsupported-access-model"},
		{"8.1.3", "set", pubsubXML("<create node='urn:new'/>" + optionsXML("configure", "node_config", "max_items", "many")), "modify not-acceptable"},
		{"8.1.3", "set", pubsubXML("<create node='urn:new'/><configure>" + form + "</configure>"), "modify bad-request"},
		{"8.1.3", "set", pubsubXML("<create node='urn:new'/><configure node='urn:new'/>"), "modify bad-request"},
		{"8.1.3", "set", pubsubXML("<configure/><create node='urn:new'/>"), "modify bad-request"},
		{"8.2.3.3", "get", ownerXML("<configure/>"), "modify bad-request nodeid-required"},
		{"8.2.3.5", "get", ownerXML("<configure node='urn:none'/>"), noSuch},
		{"8.2.4", "set", ownerXML("<configure node='urn:n'/>"), "modify bad-request"},
		{"8.2.4", "set", ownerXML("<configure node='urn:n'><x xmlns='jabber:x:data' type='cancel'/></configure>"), "ok"},
		{"8.2.5.2", "set", ownerXML("<configure node='urn:n'>" + formXML("node_config", "max_items", "11") + "</configure>"), "modify not-acceptable"},
		{"8.4.3.2", "set", ownerXML("<delete node='urn:none'/>"), noSuch},
		{"8.5.3.3", "set", ownerXML("<purge node='urn:transient'/>"), "cancel feature-not-implemented unsupported persistent-items"},
		{"8.5.3.4", "set", ownerXML("<purge node='urn:none'/>"), noSuch},
		{"8.8.1.3", "get", ownerXML("<subscriptions node='urn:none'/>"), noSuch},
		{"8.8.2.4", "set", ownerXML("<subscriptions node='urn:n'><subscription jid='nurse@example.org' subscription='subscribed'/></subscriptions>"), "modify not-acceptable"},
		{"8.9.2.4", "set", ownerXML("<affiliations node='urn:n'><affiliation jid='juliet@example.org' affiliation='none'/></affiliations>"), "modify not-acceptable"},
		{"8.9.2.4", "set", ownerXML("<affiliations node='urn:n'><affiliation jid='romeo@example.org' affiliation='owner'/></affiliations>"), "modify not-acceptable"},
		{"8.9.2.4", "set", ownerXML("<affiliations node='urn:n'><affiliation jid='romeo@example.org' affiliation='king'/></affiliations>"), "modify not-acceptable"},
		{"8.9.2", "set", ownerXML("<affiliations node='urn:n'><affiliation jid='@' affiliation='member'/></affiliations>"), "modify not-acceptable"},
		{"12.11", "set", pubsubXML("<publish node='urn:n'>" + itemXML("1", "a") + itemXML("2", "b") + "</publish>"), "cancel not-allowed max-items-exceeded"},
		{"", "set", pubsubXML("<items node='urn:n'/>"), "modify bad-request"},
		{"", "get", pubsubXML(""), "modify bad-request"},
		{"", "set", pubsubXML("<create node='" + strings.Repeat("n", 1025) + "'/>"), "modify not-acceptable"},
		{"", "set", publishXML("urn:n", strings.Repeat("i", 1025), "x"), "modify not-acceptable"},
	} {
		w := newWorld(t)
		w.make("urn:n")
		w.deed(juliet, "set", pubsubXML("<create node='urn:transient'/>"+optionsXML("configure", "node_config", "persist_items", "0", "deliver_payloads", "0")))
		if got := w.do(moduletest.Login(t, w.Router, "juliet/desk"), row.kind, "", row.payload); got != row.want {
			if !strings.HasPrefix(row.want, "<") || got != moduletest.Canonical(t, row.want) {
				t.Errorf("§%s: %s\ngot  %s\nwant %s", row.section, row.payload, got, row.want)
			}
		}
	}
}

func TestAddressThatIsNobodysIsAnsweredLikeAnAccountWithoutNodes(t *testing.T) {
	w := newWorld(t)
	c := w.login("nurse/home")
	for _, payload := range []string{
		pubsubXML("<items node='urn:n'/>"), pubsubXML("<subscriptions/>"), ownerXML("<configure node='urn:n'/>"), pubsubXML("<affiliations/>"),
	} {
		a, b := w.do(c, "get", "romeo@example.org", payload), w.do(c, "get", "nobody@example.org", payload)
		if a != b {
			t.Errorf("%s: %s for an account, %s for none", payload, a, b)
		}
	}
	for _, payload := range []string{publishXML("urn:n", "1", "x"), pubsubXML("<create/>"), pubsubXML("<subscribe node='urn:n' jid='nurse@example.org'/>"), ownerXML("<delete node='urn:n'/>")} {
		a, b := w.do(c, "set", "romeo@example.org", payload), w.do(c, "set", "nobody@example.org", payload)
		if a != b {
			t.Errorf("%s: %s for an account, %s for none", payload, a, b)
		}
	}
}

func TestQuotasHold(t *testing.T) {
	w := newWorld(t)
	w.limits.Nodes = 2
	desk := w.login("juliet/desk")
	w.want(desk, "set", "", publishXML("urn:a", "1", "x"), published("urn:a", "1"))
	w.want(desk, "set", "", pubsubXML("<create node='urn:b'/>"), "ok")
	w.want(desk, "set", "", publishXML("urn:c", "1", "x"), "wait resource-constraint")
	w.want(desk, "set", "", pubsubXML("<create node='urn:c'/>"), "wait resource-constraint")
	w.want(desk, "set", "", ownerXML("<delete node='urn:b'/>"), "ok")
	w.want(desk, "set", "", publishXML("urn:c", "0", "x", "max_items", "max"), published("urn:c", "0"))
	for i := range 20 {
		w.want(desk, "set", "", publishXML("urn:c", fmt.Sprint(i), "x"), published("urn:c", fmt.Sprint(i)))
	}
	got := ""
	for i := 10; i < 20; i++ {
		got += itemXML(fmt.Sprint(i), "x")
	}
	w.want(desk, "get", "", pubsubXML("<items node='urn:c'/>"), pubsubXML("<items node='urn:c'>"+got+"</items>"))
	w.want(desk, "set", "", ownerXML("<configure node='urn:c'>"+formXML("node_config", "max_items", "2")+"</configure>"), "ok")
	w.want(desk, "get", "", pubsubXML("<items node='urn:c'/>"), pubsubXML("<items node='urn:c'>"+itemXML("18", "x")+itemXML("19", "x")+"</items>"))
}

func TestItemsComeInPages(t *testing.T) {
	w := newWorld(t)
	desk := w.login("juliet/desk")
	for _, id := range []string{"e", "d", "c", "b", "a"} {
		w.want(desk, "set", "", publishXML("urn:n", id, id, "max_items", "max"), published("urn:n", id))
	}
	w.want(desk, "set", "", publishXML("urn:n", "d", "d"), published("urn:n", "d")) // now the newest: e c b a d
	page := func(set, items string, first, last string, index, count int) {
		t.Helper()
		want := "<items node='urn:n'>"
		for _, id := range strings.Fields(items) {
			want += itemXML(id, id)
		}
		want += "</items><set xmlns='http://jabber.org/protocol/rsm'>"
		if first != "" {
			want += fmt.Sprintf("<first index='%d'>%s</first><last>%s</last>", index, first, last)
		}
		want += fmt.Sprintf("<count>%d</count></set>", count)
		w.want(desk, "get", "", pubsubXML("<items node='urn:n'/><set xmlns='http://jabber.org/protocol/rsm'>"+set+"</set>"), pubsubXML(want))
	}
	page("<max>2</max>", "e c", "e", "c", 0, 5)
	page("<max>2</max><after>c</after>", "b a", "b", "a", 2, 5)
	page("<max>2</max><before/>", "a d", "a", "d", 3, 5)
	page("<max>2</max><before>a</before>", "c b", "c", "b", 1, 5)
	page("<max>9</max><index>3</index>", "a d", "a", "d", 3, 5)
	page("<max>0</max>", "", "", "", 0, 5)
	w.want(desk, "get", "", pubsubXML("<items node='urn:n'/><set xmlns='http://jabber.org/protocol/rsm'><after>z</after></set>"), noSuch)
	w.want(desk, "get", "", pubsubXML("<items node='urn:n' max_items='2'/>"), pubsubXML("<items node='urn:n'>"+itemXML("a", "a")+itemXML("d", "d")+"</items>"))
	w.want(desk, "get", "", pubsubXML("<items node='urn:n'><item id='d'/><item id='e'/></items>"), pubsubXML("<items node='urn:n'>"+itemXML("e", "e")+itemXML("d", "d")+"</items>"))
}

func TestAnswerThatWouldBeTooLargeComesInPages(t *testing.T) {
	w := newWorld(t)
	w.limits.ItemBytes = 60000
	desk := w.login("juliet/desk")
	big := strings.Repeat("x", 50000)
	for i := range 10 {
		w.want(desk, "set", "", publishXML("urn:n", fmt.Sprint(i), big, "max_items", "max"), published("urn:n", fmt.Sprint(i)))
	}
	page := func(set string) (got []string, count string) {
		t.Helper()
		el, err := xmpp.ParseElement([]byte(w.do(desk, "get", "", pubsubXML("<items node='urn:n'/>"+set))))
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range el.ChildLocal("items").Children() {
			got = append(got, it.Attr("id"))
		}
		if s := el.Child(rsm.Name); s != nil {
			count = s.ChildLocal("count").Text()
		}
		return got, count
	}
	all, count := page("")
	if len(all) < 2 || len(all) == 10 || count != "10" {
		t.Fatalf("the first page has %v of %s", all, count)
	}
	for len(all) < 10 {
		more, _ := page("<set xmlns='http://jabber.org/protocol/rsm'><after>" + all[len(all)-1] + "</after></set>")
		if len(more) == 0 {
			t.Fatalf("after %v comes nothing", all)
		}
		all = append(all, more...)
	}
	if strings.Join(all, "") != "0123456789" {
		t.Errorf("all pages have %v", all)
	}
	if last, _ := page("<set xmlns='http://jabber.org/protocol/rsm'><before/></set>"); last[len(last)-1] != "9" || len(last) == 10 {
		t.Errorf("the last page has %v", last)
	}
}

func FuzzRequestsDoNoHarm(f *testing.F) {
	for _, seed := range []string{publishXML("urn:n", "1", "x", "access_model", "open"), pubsubXML("<retract node='urn:n'><item id='first'/></retract>"),
		pubsubXML("<subscribe node='urn:n' jid='juliet@example.org'/>"), pubsubXML("<items node='urn:n' max_items='3'/><set xmlns='http://jabber.org/protocol/rsm'><max>1</max><before/></set>"),
		ownerXML("<configure node='urn:n'>" + formXML("node_config", "max_items", "3") + "</configure>"), ownerXML("<delete node='urn:n'/>"), capsOf("urn:n"),
		ownerXML("<affiliations node='urn:n'><affiliation jid='nurse@example.org' affiliation='member'/></affiliations>"), listXML("<conference jid='a@b'/>"),
		"<query xmlns='http://jabber.org/protocol/disco#info'><feature var='urn:n+notify'/></query>"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		el, err := xmpp.ParseElement([]byte(payload))
		if err != nil || el.Name.Space == "" {
			return
		}
		w := newWorld(t)
		w.make("urn:n", "access_model", "open", "max_items", "5")
		c := moduletest.Login(t, w.Router, "juliet/desk")
		for _, kind := range []string{"get", "set"} {
			w.do(c, kind, "", string(el.Append(nil)))
		}
		w.Route(&router.Envelope{Session: c.Session, Account: c.Bare(),
			Stanza: &xmpp.Stanza{Kind: xmpp.Presence, From: c.Addr(), Payload: el.Append(nil)}})
		interestOf(el)
		items, _, ok, err := w.pep.engine.Items(jid.MustParse(juliet), "urn:n")
		if err != nil {
			t.Fatal(err)
		}
		w.start() // what was written can be read
		again, _, still, err := w.pep.engine.Items(jid.MustParse(juliet), "urn:n")
		if err != nil || ok != still || len(items) != len(again) {
			t.Errorf("%d items became %d, %v", len(items), len(again), err)
		}
	})
}

func TestNodeIsConfiguredByForm(t *testing.T) {
	w := newWorld(t)
	desk := w.login("juliet/desk")
	values := func(what string) map[string]string {
		t.Helper()
		el, err := xmpp.ParseElement([]byte(w.do(desk, "get", "", ownerXML(what))))
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, f := range el.Children()[0].Children()[0].Children() {
			if v := f.ChildLocal("value"); v != nil {
				out[strings.TrimPrefix(f.Attr("var"), "pubsub#")] = v.Text()
			}
		}
		return out
	}
	d := values("<default/>")
	for name, want := range map[string]string{"access_model": "presence", "send_last_published_item": "on_sub_and_presence",
		"deliver_payloads": "1", "deliver_notifications": "1", "max_items": "1", "publish_model": "publishers", "notification_type": "headline"} {
		if d[name] != want {
			t.Errorf("the default of %s is %q, not %q", name, d[name], want)
		}
	}
	w.want(desk, "set", "", pubsubXML("<create node='urn:n'/>"+optionsXML("configure", "node_config", "title", "N", "max_items", "max", "unknown", "x")), "ok")
	w.want(desk, "set", "", ownerXML("<configure node='urn:n'>"+formXML("node_config", "access_model", "roster", "roster_groups_allowed", "Friends", "notify_sub", "true", "max_items", "7")+"</configure>"), "ok")
	w.start() // and all that is still so after a restart
	c := values("<configure node='urn:n'/>")
	for name, want := range map[string]string{"title": "N", "access_model": "roster", "roster_groups_allowed": "Friends", "notify_sub": "1", "max_items": "7", "persist_items": "1"} {
		if c[name] != want {
			t.Errorf("%s is %q, not %q", name, c[name], want)
		}
	}
}

func TestInstantNodeGetsAName(t *testing.T) {
	w := newWorld(t)
	desk := w.login("juliet/desk")
	el, err := xmpp.ParseElement([]byte(w.do(desk, "set", "", pubsubXML("<create/>"))))
	if err != nil {
		t.Fatal(err)
	}
	name := el.ChildLocal("create").Attr("node")
	w.want(desk, "set", "", publishXML(name, "1", "x"), published(name, "1"))
}

func TestItemWithoutIDGetsOne(t *testing.T) {
	w := newWorld(t)
	desk := w.login("juliet/desk")
	el, err := xmpp.ParseElement([]byte(w.do(desk, "set", "", publishXML("urn:n", "", "x"))))
	if err != nil {
		t.Fatal(err)
	}
	id := el.ChildLocal("publish").ChildLocal("item").Attr("id")
	w.want(desk, "get", "", pubsubXML("<items node='urn:n'/>"), pubsubXML("<items node='urn:n'>"+itemXML(id, "x")+"</items>"))
}

func TestPublishOptionsThatAskForMoreThanThereIsRoomForGetWhatThereIs(t *testing.T) {
	w := newWorld(t)
	desk := w.login("juliet/desk")
	for _, id := range []string{"1", "2"} { // the second is a condition, which is met
		w.want(desk, "set", "", publishXML("urn:n", id, "x", "max_items", "1000", "item_expire", "99999999999"),
			published("urn:n", id))
	}
	got := w.do(desk, "get", "", ownerXML("<configure node='urn:n'/>"))
	for _, name := range []string{"max_items", "item_expire"} {
		if _, rest, _ := strings.Cut(got, "pubsub#"+name+"'"); !strings.Contains(rest[:strings.Index(rest,
			"</field>")], "<value>max</value>") {
			t.Errorf("%s is not the most there is: %s", name, got)
		}
	}
	w.want(desk, "set", "", publishXML("urn:n", "3", "x", "max_items", "5"), "cancel conflict precondition-not-met")
}

// Clients refuse a form that does not follow the registry (XEP-0060 §16.4.4).
func TestGroupsOfTheRosterAreAListThatTakesOthers(t *testing.T) {
	w := newWorld(t)
	desk := w.login("juliet/desk")
	w.want(desk, "set", "", publishXML("urn:n", "1", "x", "access_model", "roster", "roster_groups_allowed",
		"Friends"), published("urn:n", "1"))
	got := w.do(desk, "get", "", ownerXML("<configure node='urn:n'/>"))
	const want = `<field label='Groups of the roster that may subscribe' type='list-multi' var='pubsub#roster_groups_allowed'>` +
		`<validate xmlns='http://jabber.org/protocol/xdata-validate' datatype='xs:string'><open/></validate>` +
		`<value>Friends</value><option><value>Friends</value></option></field>`
	if !strings.Contains(got, want) {
		t.Errorf("the form is %s", got)
	}
}

func TestPublishOptionsMakeTheNodeAndAreConditionsThen(t *testing.T) {
	w := newWorld(t)
	desk := w.login("juliet/desk")
	private := []string{"persist_items", "true", "max_items", "max", "send_last_published_item", "never", "access_model", "whitelist"}
	public := []string{"persist_items", "true", "access_model", "open"}
	w.want(desk, "set", "", publishXML("urn:private", "1", "x", private...), published("urn:private", "1")) // XEP-0223
	w.want(desk, "set", "", publishXML("urn:private", "2", "x", private...), published("urn:private", "2"))
	w.want(desk, "set", "", publishXML("urn:private", "3", "x", public...), "cancel conflict precondition-not-met")
	w.want(desk, "set", "", publishXML("urn:public", "1", "x", public...), published("urn:public", "1")) // XEP-0222
	w.want(desk, "set", "", publishXML("urn:public", "1", "x", private...), "cancel conflict precondition-not-met")
	for who, want := range map[string]string{mercutio: theNode, nurse: theNode} {
		if got := w.deed(who, "get", pubsubXML("<items node='urn:public'/>")); got != want {
			t.Errorf("%s gets %s", who, got)
		}
	}
	if got := w.deed(romeo, "get", pubsubXML("<items node='urn:private'/>")); got != closed {
		t.Errorf("a contact gets %s", got)
	}
}

func TestResultOfAWriteWaitsUntilItIsDurable(t *testing.T) {
	for _, fault := range []error{nil, errors.New("disk")} {
		w := newWorld(t)
		desk := w.login("juliet/desk")
		for _, payload := range []string{publishXML("urn:n", "1", "x"), pubsubXML("<subscribe node='urn:n' jid='juliet@example.org'/>"),
			ownerXML("<configure node='urn:n'>" + formXML("node_config", "title", "x") + "</configure>"), pubsubXML("<retract node='urn:n'><item id='1'/></retract>"),
			ownerXML("<affiliations node='urn:n'><affiliation jid='nurse@example.org' affiliation='member'/></affiliations>"), ownerXML("<purge node='urn:n'/>"), ownerXML("<delete node='urn:n'/>")} {
			w.store.Hold()
			if got := w.do(desk, "set", "", payload); got != "nothing" {
				t.Fatalf("%s: answered too early: %s", payload, got)
			}
			w.store.Release(fault)
			got := desk.Deliveries()
			if len(got) != 1 || (got[0].Stanza.Type == xmpp.TypeError) != (fault != nil) {
				t.Fatalf("%s: %d answers", payload, len(got))
			}
		}
	}
}

func TestWriteThatFailsInTheEndIsForgotten(t *testing.T) {
	w := newWorld(t)
	desk := w.login("juliet/desk")
	w.want(desk, "set", "", publishXML("urn:n", "1", "x", "max_items", "5"), published("urn:n", "1"))
	w.store.Hold()
	w.do(desk, "set", "", publishXML("urn:n", "2", "y"))
	if _, _, err := w.store.Map("pep-items").Update(t.Context(), juliet+"/urn:n", storage.AnyVersion,
		storage.Change{Key: "2", Delete: true}); err != nil {
		t.Fatal(err) // as an engine that could not write it
	}
	w.store.Release(errors.New("disk"))
	desk.Received()
	w.want(desk, "get", "", pubsubXML("<items node='urn:n' max_items='1'/>"), pubsubXML("<items node='urn:n'>"+itemXML("1", "x")+"</items>"))
}

func TestStoreThatIsAwayIsAReasonToWait(t *testing.T) {
	w := newWorld(t)
	desk := w.login("juliet/desk")
	w.store.Fail(errors.New("away"))
	w.want(desk, "set", "", publishXML("urn:n", "1", "x"), "wait resource-constraint")
	w.want(desk, "get", "", pubsubXML("<items node='urn:n'/>"), "wait resource-constraint")
	w.store.Fail(nil)
	w.want(desk, "set", "", publishXML("urn:n", "1", "x"), published("urn:n", "1"))
	w.store.Fail(errors.New("away"))
	w.want(desk, "set", "", publishXML("urn:n", "2", "x"), "wait resource-constraint")
	w.store.Fail(nil)
	w.want(desk, "get", "", pubsubXML("<items node='urn:n'/>"), pubsubXML("<items node='urn:n'>"+itemXML("1", "x")+"</items>"))
}

func TestNothingIsLeftOfAnAccountThatIsRemoved(t *testing.T) {
	w := newWorld(t)
	w.make("urn:n", "access_model", "open")
	w.deed(nurse, "set", pubsubXML("<subscribe node='urn:n' jid='nurse@example.org'/>"))
	if err := w.pep.engine.Removed(jid.MustParse(juliet)); err != nil {
		t.Fatal(err)
	}
	if got := w.deed(nurse, "get", pubsubXML("<items node='urn:n'/>")); got != noSuch {
		t.Errorf("a stranger gets %s", got)
	}
	for _, space := range []string{"pep", "pep-items"} {
		for _, owner := range []string{juliet, juliet + "/urn:n"} {
			entries, _, err := w.store.Map(space).List(t.Context(), owner)
			if err != nil || len(entries) > 0 {
				t.Errorf("%s has %d entries of %s, %v", space, len(entries), owner, err)
			}
		}
	}
}

func TestNodesAreShownToWhoMayHaveThem(t *testing.T) {
	w := newWorld(t)
	w.make("urn:open", "access_model", "open", "title", "Open")
	w.make("urn:presence")
	w.make("urn:private", "access_model", "whitelist")
	nodes := w.pep.Nodes()
	for who, want := range map[string]string{juliet: "urn:open urn:presence urn:private", romeo: "urn:open urn:presence", mercutio: "urn:open"} {
		items, err := nodes.List(jid.MustParse(juliet), jid.MustParse(who))
		var got []string
		for _, i := range items {
			got = append(got, i.Attr("node"))
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s sees %v, %v", who, got, err)
		}
	}
	q, err := nodes.Info(jid.MustParse(juliet), jid.MustParse(mercutio), "urn:open")
	if err != nil || q == nil {
		t.Fatal(err)
	}
	text := string(q.Append(nil))
	for _, want := range []string{"<identity category='pubsub' type='leaf'/>", "meta-data", "<value>Open</value>", "<value>open</value>", "<value>juliet@example.org</value>"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in %s", want, text)
		}
	}
	if q, err := nodes.Info(jid.MustParse(juliet), jid.MustParse(mercutio), "urn:presence"); q != nil || err != nil {
		t.Errorf("a stranger sees %v, %v", q, err)
	}
	items, ok, err := nodes.Items(jid.MustParse(juliet), jid.MustParse(mercutio), "urn:open")
	if err != nil || !ok || len(items) != 1 || items[0].Attr("name") != "first" {
		t.Errorf("items %v, %v, %v", items, ok, err)
	}
	if _, ok, _ := nodes.Items(jid.MustParse(juliet), jid.MustParse(mercutio), "urn:presence"); ok {
		t.Error("a stranger sees items for contacts")
	}
}

func TestFeaturesAreWhatWorks(t *testing.T) {
	w := newWorld(t)
	has := func(f string) bool { return slices.Contains(w.pep.Module().AccountFeaturesNow(), f) }
	if has("urn:xmpp:pep-vcard-conversion:0") || has("urn:xmpp:bookmarks:1#compat") || has("urn:xmpp:bookmarks-conversion:0") {
		t.Error("what is announced needs modules that are not there")
	}
	w.album()
	w.pep.o.Private = drawer{}
	if !has("urn:xmpp:pep-vcard-conversion:0") || !has("urn:xmpp:bookmarks:1#compat") ||
		!has("urn:xmpp:bookmarks-conversion:0") || !has("http://jabber.org/protocol/pubsub#publish-options") {
		t.Error("something is not announced")
	}
	if all := pubsub.Features(); slices.Contains(all, "http://jabber.org/protocol/pubsub#collections") {
		t.Error("collections are announced")
	}
}
