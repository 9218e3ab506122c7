package pubsub

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/modules/internal/rsm"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// serviceName is where the tests have a service that is nobody's account.
const serviceName = "pubsub.example.org"

// society is a Profile that is told who is who. romeo owns the service.
type society struct {
	groups    map[string][]string // of those who see the owner's presence, by local part
	blocked   map[string]bool     // likewise
	wants     map[string][]string // who gets events of a node without having subscribed, "user/resource"
	resources map[string][]string // where a subscriber wants events, by local part
	standard  Config
	broken    error // of what Sees and Groups say
	shared    bool  // nobody owns all of the service; romeo and these make nodes
	makers    map[string]bool
}

func (p *society) Owns(_, entity jid.JID) bool { return !p.shared && entity.Local() == "romeo" }

func (p *society) Creates(_, entity jid.JID) bool {
	return entity.Local() == "romeo" || p.shared && p.makers[entity.Local()]
}

func (p *society) Sees(_, entity jid.JID) (bool, error) {
	_, sees := p.groups[entity.Local()]
	return sees, p.broken
}

func (p *society) Groups(_, entity jid.JID) ([]string, error) {
	return p.groups[entity.Local()], p.broken
}

func (p *society) Blocks(_, entity jid.JID) bool { return p.blocked[entity.Local()] }

func (p *society) Default(string) Config { return p.standard }

func (p *society) Implicit(_ jid.JID, node string, f func(full jid.JID)) {
	for _, who := range p.wants[node] {
		f(at(who))
	}
}

func (p *society) Resources(_, subscriber jid.JID, _ string) (all []jid.JID) {
	for _, r := range p.resources[subscriber.Local()] {
		all = append(all, at(subscriber.Local()+"/"+r))
	}
	return all
}

// at is the address of "user" or "user/resource".
func at(who string) jid.JID {
	local, resource, full := strings.Cut(who, "/")
	if full {
		resource = "/" + resource
	}
	return jid.MustParse(local + "@" + moduletest.Host + resource)
}

// world is a service with clients around it.
type world struct {
	*society
	*router.Router
	t       testing.TB
	g       *Engine
	store   *moduletest.Store
	limits  Limits
	full    bool
	clients map[string]*moduletest.Client
	mail    []string // messages to the service
	options Options
}

// newWorld has juliet, in the group Lovers, and mercutio, who both see the owner's presence, and the strangers nurse,
// paris and tybalt.
func newWorld(t testing.TB) *world { return newWorldOf(t, false) }

// newWorldOf is a world whose service is romeo's, or one that many share and in which romeo makes the nodes.
func newWorldOf(t testing.TB, shared bool) *world {
	people := []string{"romeo", "juliet", "mercutio", "nurse", "paris", "tybalt"}
	w := &world{t: t, Router: moduletest.New(people...), store: moduletest.NewStore(),
		clients: map[string]*moduletest.Client{},
		limits:  Limits{Nodes: 10, Items: 5, ItemBytes: 200},
		society: &society{groups: map[string][]string{"juliet": {"Lovers"}, "mercutio": nil}, blocked: map[string]bool{},
			wants: map[string][]string{}, resources: map[string][]string{},
			shared: shared, makers: map[string]bool{},
			standard: Config{Persist: true, Deliver: true, Payloads: true, TellDelete: true, Last: OnSubscription}}}
	if shared {
		w.limits.Nodes, w.limits.UserNodes = 1000, 10
	}
	w.options = Options{Shared: shared, Router: w.Router, Nodes: w.store.Map("nodes"), Items: w.store.Map("items"), Profile: w.society,
		Limits: func() Limits { return w.limits }, Full: func() bool { return w.full }, Log: moduletest.Discard()}
	w.start()
	for _, name := range people {
		c := moduletest.Login(t, w.Router, name+"/x")
		c.Available(0)
		w.clients[name] = c
	}
	return w
}

// start makes the engine, as after a restart on the same store.
func (w *world) start() {
	w.g = New(w.options)
	w.Use(router.Module{Name: "service", Service: &router.Service{Domains: func() []string { return []string{serviceName} },
		Handle: func(e *router.Envelope) {
			if e.Stanza.Kind == xmpp.IQ {
				w.g.Handle(e)
				return
			}
			w.mail = append(w.mail, string(e.Stanza.Append(nil)))
			e.Settle(router.Delivered)
		}}})
}

// told is how an error is written in the tables: its type, its condition and that of the specification.
func told(err *xmpp.Error) string {
	s := string(err.Type) + " " + string(err.Condition)
	if err.App != nil && err.App.Name.Space == NSErrors {
		s += " " + err.App.Name.Local
		if f := err.App.Attr("feature"); f != "" {
			s += " " + f
		}
	}
	return s
}

// ask sends a request and returns the payload of the result, or the error as told writes it. Events stay unread.
func (w *world) ask(who, kind, payload string) string {
	w.t.Helper()
	c := w.clients[who]
	c.Send(fmt.Sprintf(`<iq type='%s' id='ask' to='%s'>%s</iq>`, kind, serviceName, payload))
	var answer *xmpp.Stanza
	for _, d := range c.Deliveries() {
		if d.Stanza.Kind == xmpp.IQ && d.Stanza.ID == "ask" {
			answer = d.Stanza
		}
	}
	switch {
	case answer == nil:
		w.t.Fatalf("%s got no answer to %s", who, payload)
	case answer.Type == xmpp.TypeError:
		return told(answer.Err())
	}
	return string(answer.Payload)
}

// do is ask for a set that must work.
func (w *world) do(who, payload string) string {
	w.t.Helper()
	got := w.ask(who, "set", payload)
	if got != "" && !strings.HasPrefix(got, "<") {
		w.t.Fatalf("%s: %s: %s", who, payload, got)
	}
	return got
}

// asked and askedOwner wrap what is asked of nodes.
func asked(inner string) string {
	return `<pubsub xmlns='` + xmpp.NSPubSub + `'>` + inner + `</pubsub>`
}

func askedOwner(inner string) string {
	return `<pubsub xmlns='` + NSOwner + `'>` + inner + `</pubsub>`
}

func submission(kind string, fields ...string) string {
	x := `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>` + prefix + kind + `</value></field>`
	for i := 0; i < len(fields); i += 2 {
		x += `<field var='pubsub#` + fields[i] + `'><value>` + fields[i+1] + `</value></field>`
	}
	return x + `</x>`
}

// quietly subscribes without wanting events.
func quietly(node, who string) string {
	return asked(`<subscribe node='` + node + `' jid='` + at(who).String() + `'/><options>` + submission("subscribe_options", "deliver", "0") + `</options>`)
}

// create makes a node with these options, names and values by turns.
func (w *world) create(node string, options ...string) {
	w.t.Helper()
	w.do("romeo", asked(`<create node='`+node+`'/><configure>`+submission("node_config", options...)+`</configure>`))
}

func (w *world) configure(node string, options ...string) string {
	w.t.Helper()
	return w.ask("romeo", "set", askedOwner(`<configure node='`+node+`'>`+submission("node_config", options...)+`</configure>`))
}

func publication(node string, ids ...string) string {
	s := `<publish node='` + node + `'>`
	for _, id := range ids {
		s += `<item id='` + id + `'><t xmlns='urn:t'>` + id + `</t></item>`
	}
	return asked(s + `</publish>`)
}

func (w *world) publish(node string, ids ...string) {
	w.t.Helper()
	w.do("romeo", publication(node, ids...))
}

func subscribing(node, who string) string {
	return asked(`<subscribe node='` + node + `' jid='` + at(who).String() + `'/>`)
}

func (w *world) affiliate(node, who, affiliation string) {
	w.t.Helper()
	w.do("romeo", askedOwner(`<affiliations node='`+node+`'><affiliation jid='`+at(who).String()+`' affiliation='`+affiliation+`'/></affiliations>`))
}

// events returns what somebody got since the last call, or request: the payloads of messages from the service, without
// their namespaces.
func (w *world) events(who string) string {
	var all []string
	for _, d := range w.clients[who].Deliveries() {
		if s := d.Stanza; s.Kind == xmpp.Message && s.From.String() == serviceName {
			all = append(all, plain(string(s.Payload)))
		}
	}
	return strings.Join(all, " | ")
}

var declarations = strings.NewReplacer(` xmlns='`+xmpp.NSPubSubEvent+`'`, "", ` xmlns='`+xmpp.NSPubSub+`'`, "", ` xmlns='`+NSOwner+`'`, "", ` xmlns='urn:t'`, "")

// plain leaves out what goes without saying, such as the id of a subscription that is an address's first.
func plain(xml string) string { return strings.ReplaceAll(declarations.Replace(xml), ` subid='1'`, "") }

// items are the ids in a node as its owner is shown them.
func (w *world) items(node string) string {
	w.t.Helper()
	got := w.ask("romeo", "get", asked(`<items node='`+node+`'/>`))
	el, err := xmpp.ParseElement([]byte(got))
	if err != nil {
		w.t.Fatalf("items of %s: %s", node, got)
	}
	var ids []string
	for _, it := range el.ChildLocal("items").Children() {
		ids = append(ids, it.Attr("id"))
	}
	return strings.Join(ids, " ")
}

// short says of an answer what the tables of rights say.
func short(answer string) string {
	switch {
	case strings.Contains(answer, "subscription='pending'"):
		return "pending"
	case answer == "" || strings.HasPrefix(answer, "<"):
		return "ok"
	case strings.HasSuffix(answer, "presence-subscription-required"):
		return "presence"
	case strings.HasSuffix(answer, "not-in-roster-group"):
		return "group"
	case strings.HasSuffix(answer, "not-subscribed"):
		return "unsubscribed"
	case strings.HasSuffix(answer, "closed-node"):
		return "closed"
	}
	return answer[strings.Index(answer, " ")+1:]
}

// roles are those of the columns in the tables of rights: who asks, and with which affiliation.
var roles = []struct{ name, who, affiliation string }{
	{"owner", "romeo", ""}, {"friend", "mercutio", ""}, {"in the group", "juliet", ""}, {"stranger", "nurse", ""},
	{"member", "paris", "member"}, {"publisher", "paris", "publisher"}, {"publish-only", "paris", "publish-only"}, {"outcast", "paris", "outcast"},
}

var accessModels = []string{"open", "presence", "roster", "authorize", "whitelist"}

// rights asks the same of a node of each model in each role, and compares with a table: a line for each model.
func rights(t *testing.T, models []string, option, payload, table string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(table), "\n")
	if len(lines) != len(models) {
		t.Fatalf("%d lines for %d models", len(lines), len(models))
	}
	for i, line := range lines {
		cells := strings.Fields(line)
		if cells[0] != models[i] || len(cells) != len(roles)+1 {
			t.Fatalf("line %d is %q", i, line)
		}
		for both := range 2 * len(roles) { // of a service that is somebody's, and of one that many share
			k, shared := both/2, both%2 == 1
			role := roles[k]
			w := newWorldOf(t, shared)
			w.create("n", option, models[i], "roster_groups_allowed", "Lovers")
			w.publish("n", "1")
			if role.affiliation != "" {
				w.affiliate("n", role.who, role.affiliation)
			}
			kind := "set"
			if strings.Contains(payload, "<items") {
				kind = "get"
			}
			answer := w.ask(role.who, kind, strings.ReplaceAll(payload, "ME", at(role.who).String()))
			if got := short(answer); got != cells[k+1] {
				t.Errorf("%s, %s, shared %t: %s, want %s", models[i], role.name, shared, got, cells[k+1])
			}
		}
	}
}

// XEP-0060 §4.5 and §6.1.3; §4.1, table 1, for the affiliations.
func TestWhoMaySubscribeByAccessModel(t *testing.T) {
	rights(t, accessModels, "access_model", asked(`<subscribe node='n' jid='ME'/>`), `
		open      ok ok      ok      ok       ok ok forbidden forbidden
		presence  ok ok      ok      presence ok ok forbidden forbidden
		roster    ok group   ok      presence ok ok forbidden forbidden
		authorize ok pending pending pending  ok ok forbidden forbidden
		whitelist ok closed  closed  closed   ok ok forbidden forbidden`)
}

// XEP-0060 §6.5.9.
func TestWhoMayRetrieveItemsByAccessModel(t *testing.T) {
	rights(t, accessModels, "access_model", asked(`<items node='n'/>`), `
		open      ok ok           ok           ok           ok ok forbidden forbidden
		presence  ok ok           ok           presence     ok ok forbidden forbidden
		roster    ok group        ok           presence     ok ok forbidden forbidden
		authorize ok unsubscribed unsubscribed unsubscribed ok ok forbidden forbidden
		whitelist ok closed       closed       closed       ok ok forbidden forbidden`)
}

// XEP-0060 §4.1, table 1, and pubsub#publish_model: nobody of these has subscribed.
func TestWhoMayPublishByPublishModel(t *testing.T) {
	rights(t, publishers, "publish_model", publication("n", "2"), `
		publishers  ok forbidden forbidden forbidden forbidden ok ok forbidden
		subscribers ok forbidden forbidden forbidden forbidden ok ok forbidden
		open        ok ok        ok        ok        ok        ok ok forbidden`)
	w := newWorld(t)
	w.create("n", "publish_model", "subscribers")
	w.do("nurse", subscribing("n", "nurse"))
	w.do("nurse", publication("n", "1"))
}

// XEP-0060 §4.1, table 1, with its note: what others have published is for publishers and owners to take back.
func TestWhoMayRetractByPublishModel(t *testing.T) {
	retract := asked(`<retract node='n'><item id='1'/></retract>`)
	rights(t, publishers, "publish_model", retract, `
		publishers  ok forbidden forbidden forbidden forbidden ok forbidden forbidden
		subscribers ok forbidden forbidden forbidden forbidden ok forbidden forbidden
		open        ok forbidden forbidden forbidden forbidden ok forbidden forbidden`)
	w := newWorld(t)
	w.create("n", "publish_model", "open")
	w.do("nurse", publication("n", "2"))
	w.do("nurse", asked(`<retract node='n'><item id='2'/></retract>`))
	if got := w.items("n"); got != "" {
		t.Errorf("what its publisher took back is still there: %s", got)
	}
}

// Whether somebody sees the owner is not known while the rosters cannot be read: nobody gets anything by that.
func TestRightsThatCannotBeKnownAreAReasonToWait(t *testing.T) {
	for _, model := range []string{"presence", "roster"} {
		w := newWorld(t)
		w.create("n", "access_model", model, "roster_groups_allowed", "Lovers")
		w.wants["n"] = []string{"juliet/x"}
		w.broken = errors.New("no rosters")
		for kind, payload := range map[string]string{"set": subscribing("n", "juliet"), "get": asked(`<items node='n'/>`)} {
			if got := w.ask("juliet", kind, payload); got != told(router.Unavailable()) {
				t.Errorf("%s: %s: %s", model, payload, got)
			}
		}
		w.publish("n", "1")
		if got := w.events("juliet"); got != "" {
			t.Errorf("%s: she got %s", model, got)
		}
	}
}

func TestNodesAreSeenByThoseWhoMaySubscribe(t *testing.T) {
	w := newWorld(t)
	for _, model := range accessModels {
		w.create(model, "access_model", model, "roster_groups_allowed", "Lovers", "title", "T")
		w.publish(model, "1")
	}
	w.create("outcast")
	w.affiliate("outcast", "paris", "outcast")
	service := jid.MustParse(serviceName)
	for who, want := range map[string]string{
		"romeo":    "authorize open outcast presence roster whitelist",
		"juliet":   "authorize open outcast presence roster",
		"mercutio": "authorize open outcast presence",
		"nurse":    "authorize open outcast",
		"paris":    "authorize open",
	} {
		all, _, _, err := w.g.Visible(service, at(who), rsm.All())
		var names []string
		for _, d := range all {
			names = append(names, d.Attr("node"))
		}
		if got := strings.Join(names, " "); err != nil || got != want {
			t.Errorf("%s sees %s, %v; want %s", who, got, err, want)
		}
		for _, node := range append(slices.Clone(accessModels), "outcast", "none") {
			m, err := w.g.Info(service, at(who), node)
			if err != nil || (m != nil) != slices.Contains(names, node) {
				t.Errorf("%s asks about %s: %v, %v", who, node, m, err)
			}
			_, _, ok, _, err := w.g.Contents(service, at(who), node, rsm.All())
			if may := slices.Contains(names, node) && (node != "authorize" || who == "romeo"); err != nil || ok != may {
				t.Errorf("%s asks for the items of %s: %t, %v", who, node, ok, err)
			}
		}
	}
}
