package pubsub

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	engine "jackdaw/modules/internal/pubsub"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// The people of the tests: juliet and romeo have accounts here and see each other, friar administers the host;
// mercutio is elsewhere.
const (
	domain   = "pubsub.example.org"
	juliet   = "juliet@example.org"
	romeo    = "romeo@example.org"
	mercutio = "mercutio@montague.example"
)

// friends are those of juliet's roster, with their groups.
type friends map[string][]string

func (f friends) Sees(user, other jid.JID) (bool, error) {
	_, known := f[other.String()]
	return user.String() == juliet && known, nil
}

func (f friends) Groups(user, other jid.JID) ([]string, error) {
	if user.String() != juliet {
		return nil, nil
	}
	return f[other.String()], nil
}

type world struct {
	*router.Router
	t       testing.TB
	m       *Service
	store   *moduletest.Store
	remote  *moduletest.Remote
	clients map[string]*moduletest.Client
	creates string // "users" or "anyone"
	limits  Limits
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, Router: moduletest.New("juliet", "romeo", "friar"), store: moduletest.NewStore(),
		remote: &moduletest.Remote{}, clients: map[string]*moduletest.Client{}, creates: "users",
		limits: Limits{Nodes: 200, UserNodes: 20, Items: 10, ItemBytes: 1000, Bytes: 1 << 20, UserBytes: 1 << 17,
			Subscriptions: 100}}
	w.start()
	w.SetRemote(w.remote)
	for _, who := range []string{"juliet", "romeo", "friar"} {
		w.clients[who] = moduletest.Login(t, w.Router, who+"/x")
		w.clients[who].Available(0)
	}
	return w
}

func (w *world) start() {
	w.m = New(Options{Router: w.Router, Contacts: friends{romeo: {"Friends"}, mercutio: nil}, Nodes: w.store.Map("pubsub"),
		Items: w.store.Map("pubsub-items"), Domains: func() []string { return []string{domain} }, Log: moduletest.Discard(),
		Limits: func() Limits { return w.limits },
		Creates: func(host string, who jid.JID) bool {
			return host == "example.org" && (w.creates == "anyone" || who.Domain() == host)
		},
		Administers: func(host string, who jid.JID) bool { return host == "example.org" && who.Local() == "friar" }})
	w.Use(w.m.Module())
}

// ask sends a request, of somebody here by the local part and of others by address, and returns the payload of the
// result, or the error.
func (w *world) ask(who, kind, payload string) string {
	w.t.Helper()
	if strings.Contains(who, "@") {
		w.remote.Sent()
		w.peer(fmt.Sprintf("<iq type='%s' id='ask' from='%s/x' to='%s'>%s</iq>", kind, who, domain, payload))
		for _, x := range w.remote.Sent() {
			if s := moduletest.Parse(w.t, x); s.Kind == xmpp.IQ {
				return told(s)
			}
		}
		w.t.Fatalf("%s got no answer to %s", who, payload)
	}
	c := w.clients[who]
	c.Send(fmt.Sprintf("<iq type='%s' id='ask' to='%s'>%s</iq>", kind, domain, payload))
	for _, d := range c.Deliveries() {
		if d.Stanza.Kind == xmpp.IQ && d.Stanza.ID == "ask" {
			return told(d.Stanza)
		}
	}
	w.t.Fatalf("%s got no answer to %s", who, payload)
	return ""
}

func told(s *xmpp.Stanza) string {
	if s.Type != xmpp.TypeError {
		return string(s.Payload)
	}
	err := s.Err()
	out := string(err.Type) + " " + string(err.Condition)
	if err.App != nil && err.App.Name.Space == engine.NSErrors {
		out += " " + err.App.Name.Local
	}
	return out
}

func (w *world) peer(xml string) {
	s := moduletest.Parse(w.t, xml)
	w.Route(&router.Envelope{Stanza: s, Peer: s.From.Domain()})
}

func (w *world) do(who, payload string) string {
	w.t.Helper()
	got := w.ask(who, "set", payload)
	if got != "" && !strings.HasPrefix(got, "<") {
		w.t.Fatalf("%s: %s: %s", who, payload, got)
	}
	return got
}

// messages are those that somebody here has got since the last call or request.
func (w *world) messages(who string) (all []string) {
	for _, d := range w.clients[who].Deliveries() {
		if d.Stanza.Kind == xmpp.Message {
			all = append(all, string(d.Stanza.Payload))
		}
	}
	return all
}

func asked(inner string) string {
	return "<pubsub xmlns='http://jabber.org/protocol/pubsub'>" + inner + "</pubsub>"
}

func owned(inner string) string {
	return "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'>" + inner + "</pubsub>"
}

func form(kind string, fields ...string) string {
	x := "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#" + kind + "</value></field>"
	for i := 0; i < len(fields); i += 2 {
		x += "<field var='pubsub#" + fields[i] + "'><value>" + fields[i+1] + "</value></field>"
	}
	return x + "</x>"
}

func create(node string, options ...string) string {
	return asked("<create node='" + node + "'/><configure>" + form("node_config", options...) + "</configure>")
}

func publish(node, id string) string {
	return asked("<publish node='" + node + "'><item id='" + id + "'><t xmlns='urn:t'>" + id + "</t></item></publish>")
}

func subscribe(node, who string) string {
	return asked("<subscribe node='" + node + "' jid='" + who + "'/>")
}

func info(node string) string {
	return "<query xmlns='http://jabber.org/protocol/disco#info' node='" + node + "'/>"
}

func TestWhoMayMakeNodes(t *testing.T) {
	for _, row := range []struct{ creates, who, want string }{
		{"users", "juliet", ""}, {"users", mercutio, "auth forbidden"}, {"anyone", mercutio, ""}, {"anyone", "romeo", ""},
	} {
		w := newWorld(t)
		w.creates = row.creates
		if got := w.ask(row.who, "set", asked("<create node='n'/>")); got != row.want {
			t.Errorf("%s, of %s: %q", row.who, row.creates, got)
		}
		want := row.want
		if want != "" { // §7.1.3.3: and so is whoever publishes
			want = "cancel item-not-found"
		}
		if got := w.ask(row.who, "set", publish("auto", "1")); (want == "") != strings.HasPrefix(got, "<") || want != "" && got != want {
			t.Errorf("%s, of %s, publishes: %q", row.who, row.creates, got)
		}
		owns := "auth forbidden"
		if row.want == "" {
			owns = ""
		} else {
			w.do("juliet", asked("<create node='n'/>"))
		}
		if got := w.ask(row.who, "set", owned("<delete node='n'/>")); got != owns {
			t.Errorf("%s, of %s, deletes: %q", row.who, row.creates, got)
		}
	}
}

func TestAdministratorsKeepOrder(t *testing.T) {
	w := newWorld(t)
	w.do("juliet", create("n", "access_model", "whitelist"))
	w.do("juliet", publish("n", "1"))
	if got := w.ask("friar", "get", asked("<items node='n'/>")); got != "cancel not-allowed closed-node" {
		t.Errorf("what is closed is read: %s", got)
	}
	if got := w.ask("friar", "set", publish("n", "2")); got != "auth forbidden" {
		t.Errorf("published: %s", got)
	}
	w.do("friar", asked("<retract node='n'><item id='1'/></retract>"))
	if got := w.ask("friar", "get", owned("<affiliations node='n'/>")); !strings.Contains(got, juliet) || strings.Contains(got, "friar") {
		t.Errorf("affiliations: %s", got)
	}
	w.do("friar", owned("<delete node='n'/>"))
	if got := w.ask("juliet", "get", info("n")); got != "cancel item-not-found" {
		t.Errorf("it is still there: %s", got)
	}
}

// Presence and rosters are those of the owners that are here.
func TestAccessModelsAskTheOwnersRosters(t *testing.T) {
	for _, row := range []struct{ owner, model, who, want string }{
		{"juliet", "presence", "romeo", "<"}, {"juliet", "presence", mercutio, "<"},
		{"juliet", "presence", "friar", "auth not-authorized presence-subscription-required"},
		{"juliet", "roster", "romeo", "<"}, {"juliet", "roster", mercutio, "auth not-authorized not-in-roster-group"},
		{"romeo", "presence", "juliet", "auth not-authorized presence-subscription-required"},
		{mercutio, "presence", "romeo", "auth not-authorized presence-subscription-required"},
		{mercutio, "roster", "romeo", "auth not-authorized presence-subscription-required"},
	} {
		w := newWorld(t)
		w.creates = "anyone"
		w.do(row.owner, create("n", "access_model", row.model, "roster_groups_allowed", "Friends"))
		for _, request := range []string{"<items node='n'/>", "<subscribe node='n' jid='" + strings.TrimSuffix(row.who, "@example.org") + "'/>"} {
			kind := "get"
			if strings.HasPrefix(request, "<subscribe") {
				kind = "set"
				if !strings.Contains(row.who, "@") {
					request = "<subscribe node='n' jid='" + row.who + "@example.org'/>"
				}
			}
			if got := w.ask(row.who, kind, asked(request)); !strings.HasPrefix(got, row.want) {
				t.Errorf("%s, %s of %s: %s", row.who, row.model, row.owner, got)
			}
		}
	}
}

func TestStrangersSubscribeHearAndBounce(t *testing.T) {
	w := newWorld(t)
	w.do("juliet", create("n"))
	w.do(mercutio, subscribe("n", mercutio))
	w.remote.Sent()
	w.do("juliet", publish("n", "1"))
	sent := w.remote.Sent()
	if len(sent) != 1 || !strings.Contains(sent[0], "<item ") || !strings.Contains(sent[0], "publisher='"+juliet+"'") {
		t.Fatalf("sent: %v", sent)
	}
	event := moduletest.Parse(t, sent[0])
	w.peer("<message type='error' id='" + event.ID + "' from='" + mercutio + "' to='" + domain + "'><error type='cancel'>" +
		"<gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
	w.do("juliet", publish("n", "2"))
	if sent := w.remote.Sent(); len(sent) > 0 {
		t.Errorf("after a bounce: %v", sent)
	}
}

func TestTheServiceSaysWhatItIsAndHas(t *testing.T) {
	w := newWorld(t)
	got := w.ask(mercutio, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>")
	for _, want := range []string{"category='pubsub' type='service'", "#access-roster'", "#get-pending'", "'urn:xmpp:mam:2'", "#leased-subscription'", "'http://jabber.org/protocol/rsm'"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
	for _, none := range []string{"#collections'", "#presence-subscribe", "#filtered-notifications", "#auto-subscribe", "#pep"} {
		if strings.Contains(got, none) {
			t.Errorf("%s is announced", none)
		}
	}
	for i := range 5 {
		w.do("juliet", create(fmt.Sprint("n", i), "title", "T"))
	}
	w.do("juliet", create("secret", "access_model", "whitelist"))
	w.do("juliet", publish("n1", "first"))
	w.do("juliet", publish("n1", "second"))
	list := func(who, node, set string) string {
		return w.ask(who, "get", "<query xmlns='http://jabber.org/protocol/disco#items'"+node+">"+set+"</query>")
	}
	if got := list("romeo", "", ""); strings.Count(got, "<item ") != 5 || !strings.Contains(got, "name='T'") || strings.Contains(got, "rsm") {
		t.Errorf("nodes: %s", got)
	}
	page := func(inner string) string { return "<set xmlns='http://jabber.org/protocol/rsm'>" + inner + "</set>" }
	for set, want := range map[string]string{
		"<max>2</max>": "n0 n1 6", "<max>2</max><after>n1</after>": "n2 n3 6", "<max>2</max><before/>": "n4 secret 6", "<max>0</max>": "6",
		"<max>1</max><index>3</index>": "n3 6", "<max>2</max><after>none</after>": "item-not-found",
	} {
		got := list("juliet", "", page(set))
		if el, err := xmpp.ParseElement([]byte(got)); err == nil {
			var all []string
			for _, it := range el.Children() {
				if it.Name.Local == "item" {
					all = append(all, it.Attr("node"))
				}
			}
			got = strings.Join(append(all, el.Child(xmpp.Name{Space: xmpp.NSRSM, Local: "set"}).ChildLocal("count").Text()), " ")
		}
		if got != want && !strings.HasSuffix(got, want) {
			t.Errorf("page %s: %s, want %s", set, got, want)
		}
	}
	if got := list("romeo", " node='n1'", page("<max>1</max><before/>")); strings.Count(got, "<item ") != 1 || !strings.Contains(got, "name='second'") {
		t.Errorf("items: %s", got)
	}
	for _, node := range []string{"secret", "none"} {
		if got := list("romeo", " node='"+node+"'", ""); got != "cancel item-not-found" {
			t.Errorf("items of %s: %s", node, got)
		}
	}
	if got := w.ask("romeo", "get", info("n1")); !strings.Contains(got, "type='leaf'") || !strings.Contains(got, "<value>"+juliet+"</value>") {
		t.Errorf("a node: %s", got)
	}
	if got := w.ask("romeo", "get", "<ping xmlns='urn:xmpp:ping'/>"); got != "" {
		t.Errorf("ping: %s", got)
	}
}

func TestWhatIsNotForTheServiceIsRefused(t *testing.T) {
	w := newWorld(t)
	w.do("juliet", create("n"))
	for _, row := range []struct{ kind, payload, want string }{
		{"get", "<query xmlns='jabber:iq:unknown'/>", "cancel service-unavailable"},
		{"set", "<query xmlns='http://jabber.org/protocol/disco#info'/>", "cancel service-unavailable"},
		{"set", "<query xmlns='urn:xmpp:mam:2'/>", "cancel item-not-found"},
		{"set", "<command xmlns='http://jabber.org/protocol/commands' node='other'/>", "cancel item-not-found"},
		{"set", "<command xmlns='http://jabber.org/protocol/commands' node='" + getPending + "' action='dance'/>", "modify bad-request"},
		{"set", "<command xmlns='http://jabber.org/protocol/commands' node='" + getPending + "'>" + form("subscribe_authorization") + "</command>", "modify bad-request"},
		{"set", "<command xmlns='http://jabber.org/protocol/commands' node='" + getPending + "'>" + form("subscribe_authorization", "node", "n") + "</command>", "auth forbidden"},
		{"set", "<command xmlns='http://jabber.org/protocol/commands' node='" + getPending + "'>" + form("subscribe_authorization", "node", "none") + "</command>", "cancel item-not-found"},
	} {
		if got := w.ask("romeo", row.kind, row.payload); got != row.want {
			t.Errorf("%s: %q, want %q", row.payload, got, row.want)
		}
	}
	// Somebody in the name of an account, without its session, such as a post over HTTP.
	e := &router.Envelope{Account: jid.MustParse(romeo), Stanza: moduletest.Parse(t, "<iq type='set' id='f' from='"+juliet+"' to='"+domain+"'>"+owned("<delete node='n'/>")+"</iq>")}
	w.Route(e)
	if got := w.ask("juliet", "get", info("n")); !strings.HasPrefix(got, "<") {
		t.Errorf("deleted in the name of its owner: %s", got)
	}
}

func TestOwnersFindAndAnswerThoseWhoWait(t *testing.T) {
	w := newWorld(t)
	w.do("juliet", create("n", "access_model", "authorize"))
	w.do("juliet", publish("n", "1"))
	w.do("romeo", subscribe("n", romeo))
	if got := w.messages("juliet"); len(got) != 1 || !strings.Contains(got[0], "subscribe_authorization") {
		t.Fatalf("asked: %v", got)
	}
	command := func(inner string) string {
		return "<command xmlns='http://jabber.org/protocol/commands' node='" + getPending + "'" + inner + "</command>"
	}
	got := w.do("juliet", command(">"))
	if !strings.Contains(got, "status='executing'") || !strings.Contains(got, "<option><value>n</value></option>") {
		t.Errorf("the form: %s", got)
	}
	c := w.clients["juliet"]
	c.Send("<iq type='set' id='again' to='" + domain + "'>" + command(">"+form("subscribe_authorization", "node", "n")) + "</iq>")
	answer, request := "", 0
	for _, d := range c.Deliveries() {
		if d.Stanza.Kind == xmpp.IQ {
			answer = string(d.Stanza.Payload)
		} else if strings.Contains(string(d.Stanza.Payload), romeo) {
			request++
		}
	}
	if request != 1 || !strings.Contains(answer, "status='completed'") {
		t.Errorf("%d requests, then %s", request, answer)
	}
	if got := w.do("juliet", command(" action='cancel'>")); !strings.Contains(got, "status='canceled'") {
		t.Errorf("cancelled: %s", got)
	}
	if got := w.do("romeo", command(">")); strings.Contains(got, "<option>") {
		t.Errorf("who owns nothing is shown %s", got)
	}
	c.Send("<message to='" + domain + "'>" + form("subscribe_authorization", "node", "n", "subscriber_jid", romeo, "allow", "true") + "</message>")
	if got := w.messages("romeo"); len(got) != 2 || !strings.Contains(got[0], "subscription='subscribed'") || !strings.Contains(got[1], "<item ") {
		t.Errorf("approved: %v", got)
	}
	c.Deliveries()
	c.Send("<message id='m' to='" + domain + "'>" + form("subscribe_authorization", "node", "n", "subscriber_jid", romeo, "allow", "true") + "</message>")
	if got := c.Deliveries(); len(got) != 1 || got[0].Stanza.Type != xmpp.TypeError {
		t.Errorf("approved twice: %v", got)
	}
}

func TestANodeIsItsArchive(t *testing.T) {
	w := newWorld(t)
	w.do("juliet", create("n", "access_model", "whitelist"))
	w.do("juliet", create("bell", "persist_items", "0"))
	for i := range 5 {
		w.do("juliet", publish("n", fmt.Sprint(i)))
	}
	query := func(who, node, inner string) (results []string, fin string) {
		c := w.clients[who]
		c.Deliveries()
		c.Take()
		c.Send("<iq type='set' id='q' to='" + domain + "'><query xmlns='urn:xmpp:mam:2' queryid='x' node='" + node + "'>" + inner + "</query></iq>")
		for {
			c.Wait(1)
			c.Deliveries()
			for _, d := range c.Take() {
				if d.Stanza.Kind == xmpp.IQ {
					return results, told(d.Stanza)
				}
				results = append(results, string(d.Stanza.Payload))
			}
		}
	}
	results, fin := query("juliet", "n", "<set xmlns='http://jabber.org/protocol/rsm'><max>2</max><before/></set>")
	if len(results) != 2 || !strings.Contains(results[1], "id='4'") || !strings.Contains(results[0], "#event'") || strings.Contains(fin, "complete") {
		t.Errorf("the last two: %v, %s", results, fin)
	}
	results, fin = query("juliet", "n", "")
	if len(results) != 5 || !strings.Contains(fin, "complete='true'") || !strings.Contains(fin, "<count>5</count>") {
		t.Errorf("all: %d, %s", len(results), fin)
	}
	with := "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field><field var='with'><value>" + romeo + "</value></field></x>"
	if results, fin = query("juliet", "n", with); len(results) != 0 || !strings.HasPrefix(fin, "<") {
		t.Errorf("what romeo has published: %v, %s", results, fin)
	}
	for _, row := range []struct{ who, node, want string }{
		{"romeo", "n", "cancel not-allowed closed-node"}, {"romeo", "none", "cancel item-not-found"}, {"juliet", "bell", "cancel feature-not-implemented unsupported"},
	} {
		if _, fin := query(row.who, row.node, ""); fin != row.want {
			t.Errorf("%s asks for %s: %s", row.who, row.node, fin)
		}
	}
	if got := w.ask("juliet", "get", "<metadata xmlns='urn:xmpp:mam:2' node='n'/>"); strings.Count(got, "timestamp=") != 2 {
		t.Errorf("metadata: %s", got)
	}
	if got := w.ask("juliet", "get", "<query xmlns='urn:xmpp:mam:2' node='n'/>"); !strings.Contains(got, "var='start'") {
		t.Errorf("the form: %s", got)
	}
}

func TestNodesGoIntoAnotherServer(t *testing.T) {
	w := newWorld(t)
	w.do("juliet", create("n", "title", "T", "access_model", "authorize"))
	w.do("juliet", owned("<affiliations node='n'><affiliation jid='"+romeo+"' affiliation='owner'/><affiliation jid='"+mercutio+"' affiliation='publisher'/></affiliations>"))
	w.do(mercutio, subscribe("n", mercutio))
	w.do("juliet", publish("n", "1"))
	w.do("romeo", publish("n", "2"))
	host, _ := jid.New("", "example.org", "")
	var xml strings.Builder
	out := w.m.Module().Portable[0]
	if err := out.ExportHost(t.Context(), "example.org", func(b []byte) error { xml.Write(b); return nil }); err != nil {
		t.Fatal(err)
	}
	to := newWorld(t)
	el, err := xmpp.ParseElement([]byte("<host xmlns='urn:xmpp:pie:0'>" + xml.String() + "</host>"))
	if err != nil {
		t.Fatal(err)
	}
	in := &router.Incoming{User: host}
	for range 2 { // the second time changes nothing
		for _, section := range to.m.Module().Portable[0].ImportHost {
			for _, child := range el.Children() {
				if child.Name != section.Name {
					continue
				}
				for _, one := range child.Children() {
					in.Within, in.Element = []*xmpp.Element{child}, one
					if section.Depth == 1 {
						if err := section.Import(t.Context(), in); err != nil {
							t.Fatal(err)
						}
						continue
					}
					for _, item := range one.Children() {
						in.Within, in.Element = []*xmpp.Element{child, one}, item
						if err := section.Import(t.Context(), in); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		}
	}
	if len(in.Lost) > 0 || in.Came == 0 || in.User != host {
		t.Errorf("%d came, lost: %q", in.Came, in.Lost)
	}
	for _, request := range []struct{ kind, payload string }{
		{"get", owned("<affiliations node='n'/>")}, {"get", owned("<subscriptions node='n'/>")}, {"get", owned("<configure node='n'/>")},
		{"get", asked("<items node='n'/>")}, {"get", info("n")},
	} {
		was, is := w.ask("romeo", request.kind, request.payload), to.ask("romeo", request.kind, request.payload)
		if was != is || !strings.HasPrefix(is, "<") {
			t.Errorf("%s\nwas %s\nis  %s", request.payload, was, is)
		}
	}
}

// A host's users leave nothing when their accounts are removed.
func TestAccountsThatAreRemovedLeaveTheService(t *testing.T) {
	w := newWorld(t)
	w.do("juliet", create("hers"))
	w.do("romeo", create("his"))
	w.do("romeo", subscribe("hers", romeo))
	if err := w.m.Module().Removed(jid.MustParse(romeo)); err != nil {
		t.Fatal(err)
	}
	if got := w.ask("juliet", "get", info("his")); got != "cancel item-not-found" {
		t.Errorf("his node: %s", got)
	}
	if got := w.ask("juliet", "get", owned("<subscriptions node='hers'/>")); strings.Contains(got, romeo) {
		t.Errorf("his subscription: %s", got)
	}
	entries, _, err := w.store.Map("pubsub").List(t.Context(), domain)
	if err != nil || slices.ContainsFunc(entries, func(e storage.Entry) bool { return strings.Contains(e.Key, "romeo") }) {
		t.Errorf("%v, %v", entries, err)
	}
}

// What a host publishes of itself is the service's own, and nobody else's node is taken for it.
func TestAHostHasNodesOfItsOwn(t *testing.T) {
	w := newWorld(t)
	put := func(node, text string) error {
		return w.m.Publish(t.Context(), "example.org", node, "current", []byte("<t xmlns='urn:t'>"+text+"</t>"))
	}
	if err := put("own", "1"); err != nil {
		t.Fatal(err)
	}
	w.do("romeo", subscribe("own", romeo))
	w.messages("romeo")
	if err := put("own", "1"); err != nil || len(w.messages("romeo")) != 0 {
		t.Errorf("the same again: %v", err)
	}
	if err := put("own", "2"); err != nil || len(w.messages("romeo")) != 1 {
		t.Errorf("something else: %v", err)
	}
	if got := w.ask(mercutio, "get", asked("<items node='own'/>")); strings.Count(got, "<item ") != 1 || !strings.Contains(got, ">2</t>") {
		t.Errorf("items: %s", got)
	}
	if got := w.ask("romeo", "set", owned("<delete node='own'/>")); got != "auth forbidden" {
		t.Errorf("deleted by a user: %s", got)
	}
	w.do("juliet", create("hers"))
	if err := put("hers", "1"); err == nil {
		t.Error("it is published in a node of somebody else's")
	}
	for node, left := range map[string]bool{"own": false, "hers": true, "none": false} {
		if err := w.m.Withdraw(t.Context(), "example.org", node); err != nil {
			t.Error(err)
		}
		if got := w.ask("juliet", "get", info(node)); strings.HasPrefix(got, "<") != left {
			t.Errorf("%s: %s", node, got)
		}
	}
	if err := w.m.Publish(t.Context(), "other.example", "own", "1", nil); err != nil {
		t.Errorf("a host without a service: %v", err)
	}
}
