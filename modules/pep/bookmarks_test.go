package pep

import (
	"slices"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func bookmarkXML(room, inner string) string {
	return pubsubXML("<publish node='urn:xmpp:bookmarks:1'><item id='" + room + "'>" + inner + "</item></publish>" +
		optionsXML("publish-options", "publish-options", "persist_items", "true", "max_items", "max", "send_last_published_item", "never", "access_model", "whitelist"))
}

func listXML(inner string) string {
	return pubsubXML("<publish node='storage:bookmarks'><item id='current'><storage xmlns='storage:bookmarks'>" + inner + "</storage></item></publish>" +
		optionsXML("publish-options", "publish-options", "persist_items", "true", "access_model", "whitelist"))
}

// list is what clients of XEP-0048 see of juliet's bookmarks.
func (w *world) list() string {
	w.t.Helper()
	b := w.last(nodeOldBookmarks)
	if b == nil {
		return ""
	}
	return moduletest.Canonical(w.t, string(b))
}

func (w *world) wantList(want string) {
	w.t.Helper()
	moduletest.Same(w.t, w.list(), "<storage xmlns='storage:bookmarks'>"+want+"</storage>")
	all, ok, err := w.pep.Conferences(jid.MustParse(juliet)) // as private storage shows them
	if err != nil || !ok {
		w.t.Fatalf("no bookmarks: %v", err)
	}
	el := &xmpp.Element{Name: xmpp.Name{Space: nsStorage, Local: "storage"}}
	old, err := xmpp.ParseElement([]byte("<storage xmlns='storage:bookmarks'>" + want + "</storage>"))
	if err != nil {
		w.t.Fatal(err)
	}
	old.Content = slices.DeleteFunc(old.Content, func(n xmpp.Node) bool { return n.Elem.Name.Local == "url" })
	for _, c := range all {
		el.Content = append(el.Content, xmpp.Node{Elem: c})
	}
	moduletest.Same(w.t, string(el.Append(nil)), string(old.Append(nil)))
}

func set(w *world, list string) {
	w.t.Helper()
	el, err := xmpp.ParseElement([]byte("<storage xmlns='storage:bookmarks'>" + list + "</storage>"))
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.pep.SetConferences(nil, jid.MustParse(juliet), el.Children(), nil); err != nil {
		w.t.Fatal(err)
	}
}

func TestBookmarksAreTheSameForClientsOfAllAges(t *testing.T) {
	w := newWorld(t)
	desk, phone, old := w.login("juliet/desk"), w.login("juliet/phone", nodeBookmarks), w.login("juliet/old", nodeOldBookmarks)
	const ext = "<extensions><s xmlns='urn:client'/></extensions>"
	w.want(desk, "set", "", bookmarkXML("a@rooms", "<conference xmlns='urn:xmpp:bookmarks:1' name='A' autojoin='true'><nick>J</nick>"+ext+"</conference>"), published(nodeBookmarks, "a@rooms"))
	w.wantList("<conference jid='a@rooms' name='A' autojoin='true'><nick>J</nick>" + ext + "</conference>")
	w.got(phone, "juliet@example.org/phone|items urn:xmpp:bookmarks:1 a@rooms: addresses")
	w.got(old, "juliet@example.org/old|items storage:bookmarks current:")

	// A client of XEP-0049 or XEP-0048 that knows nothing of extensions adds a room.
	const two = "<conference jid='a@rooms' name='A' autojoin='true'><nick>J</nick></conference><conference jid='b@rooms' name='B'/>"
	set(w, two)
	w.got(phone, "juliet@example.org/phone|items urn:xmpp:bookmarks:1 b@rooms:") // of what is unchanged nobody hears
	w.wantList("<conference jid='a@rooms' name='A' autojoin='true'><nick>J</nick>" + ext + "</conference><conference jid='b@rooms' name='B'/>")
	old.Received()

	const third = "<url name='W' url='https://example.org/'/><conference jid='b@rooms' name='Bee'><minimize xmlns='urn:gajim'>1</minimize></conference>"
	w.want(desk, "set", "", listXML(third), published(nodeOldBookmarks, "current"))
	w.got(phone, "juliet@example.org/phone|items urn:xmpp:bookmarks:1 -a@rooms", "juliet@example.org/phone|items urn:xmpp:bookmarks:1 b@rooms:")
	w.want(desk, "get", "", pubsubXML("<items node='urn:xmpp:bookmarks:1'/>"),
		pubsubXML("<items node='urn:xmpp:bookmarks:1'><item id='b@rooms'><conference xmlns='urn:xmpp:bookmarks:1' name='Bee'><extensions><minimize xmlns='urn:gajim'>1</minimize></extensions></conference></item></items>"))

	w.want(desk, "set", "", pubsubXML("<retract node='urn:xmpp:bookmarks:1' notify='1'><item id='b@rooms'/><item id='b@rooms'/></retract>"), "ok")
	w.wantList("<url name='W' url='https://example.org/'/>")                               // bookmarks of pages stay
	w.got(phone, "juliet@example.org/phone|items urn:xmpp:bookmarks:1 -b@rooms addresses") // once
}

func TestOfTwoBookmarksOfOneRoomTheLaterOneIsKept(t *testing.T) {
	w := newWorld(t)
	const pair = "<conference jid='a@rooms' name='Old'/><conference jid='b@rooms' name='B'/><conference jid='A@rooms' name='New'/>"
	const kept = "<conference jid='b@rooms' name='B'/><conference jid='a@rooms' name='New'/>"
	set(w, pair)
	w.wantList(kept)
	desk := w.login("juliet/desk")
	w.want(desk, "set", "", pubsubXML("<retract node='urn:xmpp:bookmarks:1'><item id='a@rooms'/></retract>"), "ok")
	w.want(desk, "set", "", listXML(pair), published(nodeOldBookmarks, "current"))
	w.want(desk, "get", "", pubsubXML("<items node='urn:xmpp:bookmarks:1'><item id='a@rooms'/></items>"),
		pubsubXML("<items node='urn:xmpp:bookmarks:1'><item id='a@rooms'><conference xmlns='urn:xmpp:bookmarks:1' name='New'/>"+
			"</item></items>"))
}

func TestBookmarksArePrivateThoughTheClientDoesNotSaySo(t *testing.T) {
	w := newWorld(t)
	desk, orchard := w.login("juliet/desk"), w.login("romeo/orchard", nodeBookmarks, nodeOldBookmarks)
	w.want(desk, "set", "", pubsubXML("<publish node='urn:xmpp:bookmarks:1'><item id='a@rooms'><conference xmlns='urn:xmpp:bookmarks:1'/></item></publish>"), published(nodeBookmarks, "a@rooms"))
	w.got(orchard)
	for _, node := range []string{nodeBookmarks, nodeOldBookmarks} {
		w.want(orchard, "get", juliet, pubsubXML("<items node='"+node+"'/>"), closed)
	}
}

// drawer holds what users have in private storage.
type drawer map[string]string

func (drawer) On() bool { return true }

func (d drawer) Conferences(user jid.JID) ([]*xmpp.Element, error) {
	el, err := xmpp.ParseElement([]byte("<storage xmlns='storage:bookmarks'>" + d[user.String()] + "</storage>"))
	if err != nil {
		return nil, err
	}
	return el.Children(), nil
}

func TestBookmarksFromBeforeThereWereNodesAreTakenOver(t *testing.T) {
	w := newWorld(t)
	w.pep.o.Private = drawer{juliet: "<conference jid='a@rooms' name='A'/>"}
	desk := w.login("juliet/desk")
	w.want(desk, "get", "", pubsubXML("<items node='urn:xmpp:bookmarks:1'/>"),
		pubsubXML("<items node='urn:xmpp:bookmarks:1'><item id='a@rooms'><conference xmlns='urn:xmpp:bookmarks:1' name='A'/></item></items>"))
	w.want(desk, "set", "", pubsubXML("<retract node='urn:xmpp:bookmarks:1'><item id='a@rooms'/></retract>"), "ok")
	w.want(desk, "get", "", pubsubXML("<items node='urn:xmpp:bookmarks:1'/>"), pubsubXML("<items node='urn:xmpp:bookmarks:1'/>"))

	orchard := w.login("romeo/orchard")
	w.want(orchard, "get", "", pubsubXML("<items node='urn:xmpp:bookmarks:1'/>"), noSuch) // who has none
}

func TestMessageNotesOnTheSideWhatWasDisplayed(t *testing.T) {
	w := newWorld(t)
	desk, phone, orchard := w.login("juliet/desk"), w.login("juliet/phone", nodeDisplayed), w.login("romeo/orchard", nodeDisplayed)
	const mark = "<displayed xmlns='urn:xmpp:chat-markers:0' id='m'/>"
	const note = "<displayed xmlns='urn:xmpp:mds:displayed:0'><stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.org' id='7'/></displayed>"
	desk.Send("<message to='romeo@example.org' type='chat'>" + mark + note + "</message>")
	orchard.Want("<message from='juliet@example.org/desk' to='romeo@example.org' type='chat'>" + mark + "</message>")
	w.got(phone, "juliet@example.org/phone|items urn:xmpp:mds:displayed:0 romeo@example.org:")
	w.want(desk, "get", "", pubsubXML("<items node='urn:xmpp:mds:displayed:0'/>"), pubsubXML("<items node='urn:xmpp:mds:displayed:0'><item id='romeo@example.org'>"+note+"</item></items>"))
	w.want(orchard, "get", juliet, pubsubXML("<items node='urn:xmpp:mds:displayed:0'/>"), closed)

	desk.Send("<message to='romeo@example.org' type='chat'>" + mark + "<displayed xmlns='urn:xmpp:mds:displayed:0'/></message>") // says nothing
	orchard.Want("<message from='juliet@example.org/desk' to='romeo@example.org' type='chat'>" + mark + "</message>")
	w.got(phone)
	if strings.Contains(string(w.last(nodeDisplayed)), "'8'") {
		t.Error("something was noted")
	}
}

func TestAcknowledgementOfAMessageWaitsForItsNote(t *testing.T) {
	w := newWorld(t)
	desk := w.login("juliet/desk")
	w.store.Hold()
	e := desk.SendDurable("<message to='romeo@example.org' type='headline'><body>x</body><displayed xmlns='urn:xmpp:mds:displayed:0'><stanza-id xmlns='urn:xmpp:sid:0' by='a' id='7'/></displayed></message>")
	if len(e.Pendings) == 0 {
		t.Error("the message is acknowledged before the note is durable")
	}
	w.store.Release(nil)
}
