package commands

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/forms"
	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// order asks for a dish and then for how many of it, and fails for none.
func order(seen *[]string) Command {
	ask := func(fields ...forms.Field) *forms.Form {
		return &forms.Form{Kind: forms.Ask, Type: "urn:order", Fields: fields}
	}
	return Command{Node: "order", Name: "Order", Start: func(*Call) (Reply, *xmpp.Error) {
		return Reply{More: true, Notes: []Note{{"warn", "the kitchen closes"}},
			Form: ask(forms.Field{Var: "dish", Type: "list-single", Required: true, Options: []forms.Option{{Value: "soup"}, {Value: "fish"}}}),
			Next: func(c *Call) (Reply, *xmpp.Error) {
				dish := c.Form.Field("dish").Value()
				return Reply{Form: ask(forms.Field{Var: "hot", Type: "boolean"}, forms.Field{Var: "number", Type: "text-single"}),
					Next: func(c *Call) (Reply, *xmpp.Error) {
						n := c.Form.Field("number").Value()
						if n == "0" {
							return Reply{Notes: []Note{{"error", "nothing ordered"}}}, nil
						}
						*seen = append(*seen, n+" "+dish)
						return Reply{Form: &forms.Form{Kind: forms.Result, Fields: []forms.Field{{Var: "bill", Values: []string{n}}}}}, nil
					}}, nil
			}}, nil
	}}
}

type house struct {
	*router.Router
	t             *testing.T
	c             *Commands
	romeo, juliet *moduletest.Client
	seen          []string
	asked         int
}

func newHouse(t *testing.T) *house {
	h := &house{Router: moduletest.New("romeo", "juliet"), t: t}
	h.c = New(h.Router, order(&h.seen), Command{Node: "secret", Name: "Secret",
		May:   func(who jid.JID, _ string) bool { return who.Local() == "juliet" },
		Start: func(*Call) (Reply, *xmpp.Error) { return Reply{Notes: []Note{{"info", "hush"}}}, nil }},
		Sessions(h.Router))
	h.Use(h.c.Module(), router.Module{Name: "disco"})
	h.romeo, h.juliet = moduletest.Login(t, h.Router, "romeo/orchard"), moduletest.Login(t, h.Router, "juliet/balcony")
	return h
}

// run sends a command with these attributes and this content, and returns the answer.
func (h *house) run(who *moduletest.Client, attrs, content string) *xmpp.Stanza {
	h.t.Helper()
	h.asked++
	who.Send(fmt.Sprintf(`<iq type='set' id='%d' to='example.org'><command xmlns='http://jabber.org/protocol/commands' %s>%s</command></iq>`,
		h.asked, attrs, content))
	got := who.Deliveries()
	if len(got) != 1 || got[0].Stanza.ID != fmt.Sprint(h.asked) {
		h.t.Fatalf("%s: %d answers", attrs, len(got))
	}
	return got[0].Stanza
}

// want compares the <command/> of an answer, with the id of its session as S, which is returned.
func (h *house) want(s *xmpp.Stanza, want string) (id string) {
	h.t.Helper()
	el := s.Child(command)
	if el == nil {
		h.t.Fatalf("no command in %s", s.Append(nil))
	}
	if id = el.Attr("sessionid"); id == "" {
		h.t.Fatalf("no session in %s", s.Append(nil))
	}
	moduletest.Same(h.t, strings.ReplaceAll(string(el.Append(nil)), id, "S"), want)
	return id
}

// refused compares an error: its type, its condition, and that of commands.
func (h *house) refused(s *xmpp.Stanza, want string) {
	h.t.Helper()
	bad := s.Err()
	if bad == nil {
		h.t.Errorf("got %s, want %s", s.Append(nil), want)
		return
	}
	got := string(bad.Type) + " " + string(bad.Condition)
	if bad.App != nil {
		got += " " + bad.App.Name.Local
	}
	if got != want {
		h.t.Errorf("got %s, want %s", got, want)
	}
}

func submit(fields ...string) string {
	x := `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:order</value></field>`
	for _, f := range fields {
		name, value, _ := strings.Cut(f, "=")
		x += `<field var='` + name + `'><value>` + value + `</value></field>`
	}
	return x + `</x>`
}

const (
	first = `<command xmlns='http://jabber.org/protocol/commands' xml:lang='en' sessionid='S' node='order' status='executing'><actions execute='next'><next/></actions>
		<note type='warn'>the kitchen closes</note><x xmlns='jabber:x:data' type='form'><field var='FORM_TYPE' type='hidden'><value>urn:order</value></field>
		<field var='dish' type='list-single'><required/><option><value>soup</value></option><option><value>fish</value></option></field></x></command>`
	second = `<command xmlns='http://jabber.org/protocol/commands' xml:lang='en' sessionid='S' node='order' status='executing'><actions execute='complete'><prev/><complete/></actions>
		<x xmlns='jabber:x:data' type='form'><field var='FORM_TYPE' type='hidden'><value>urn:order</value></field><field var='hot' type='boolean'/><field var='number' type='text-single'/></x></command>`
	last = `<command xmlns='http://jabber.org/protocol/commands' xml:lang='en' sessionid='S' node='order' status='completed'>
		<x xmlns='jabber:x:data' type='result'><field var='bill'><value>2</value></field></x></command>`
)

func TestACommandIsDoneInStages(t *testing.T) {
	h := newHouse(t)
	id := h.want(h.run(h.romeo, `node='order' action='execute' xml:lang='de-AT'`, ""), first)
	at := `node='order' sessionid='` + id + `' action='`
	h.refused(h.run(h.romeo, at+`prev'`, ""), "modify bad-request bad-action")
	h.refused(h.run(h.romeo, at+`complete'`, submit("dish=fish")), "modify bad-request bad-action")
	h.want(h.run(h.romeo, at+`next'`, submit("dish=fish")), second)
	h.refused(h.run(h.romeo, at+`next'`, submit("number=2")), "modify bad-request bad-action")
	h.want(h.run(h.romeo, at+`prev'`, ""), first)
	h.want(h.run(h.romeo, `node='order' sessionid='`+id+`'`, submit("dish=soup")), second) // as <actions/> have said
	h.want(h.run(h.romeo, at+`execute'`, submit("number=2", "hot=1")), last)
	if fmt.Sprint(h.seen) != "[2 soup]" {
		t.Errorf("done: %q", h.seen)
	}
	h.refused(h.run(h.romeo, at+`complete'`, submit("number=2")), "cancel not-allowed session-expired")
	if h.c.sessions.all != 0 || len(h.c.sessions.by) != 0 {
		t.Errorf("%d sessions are kept", h.c.sessions.all)
	}
}

func TestACommandThatFailsSaysAnError(t *testing.T) {
	h := newHouse(t)
	id := h.want(h.run(h.romeo, `node='order'`, ""), first)
	h.want(h.run(h.romeo, `node='order' sessionid='`+id+`'`, submit("dish=soup")), second)
	h.want(h.run(h.romeo, `node='order' sessionid='`+id+`'`, submit("number=0")), `<command xmlns='http://jabber.org/protocol/commands'
		xml:lang='en' sessionid='S' node='order' status='completed'><note type='error'>nothing ordered</note></command>`)
}

func TestACommandCanBeCancelled(t *testing.T) {
	h := newHouse(t)
	id := h.want(h.run(h.romeo, `node='order'`, ""), first)
	at := `node='order' sessionid='` + id + `'`
	h.want(h.run(h.romeo, at+` action='cancel'`, ""),
		`<command xmlns='http://jabber.org/protocol/commands' xml:lang='en' sessionid='S' node='order' status='canceled'/>`)
	h.refused(h.run(h.romeo, at+` action='cancel'`, ""), "cancel not-allowed session-expired")
}

func TestWhatMakesNoSenseIsRefused(t *testing.T) {
	h := newHouse(t)
	id := h.want(h.run(h.romeo, `node='order'`, ""), first)
	at := `node='order' sessionid='` + id + `'`
	for _, test := range []struct{ attrs, content, want string }{
		{``, ``, "modify bad-request"},
		{`node='none'`, ``, "cancel item-not-found"},
		{`node='secret'`, ``, "cancel forbidden"},
		{`node='order' action='explode'`, ``, "modify bad-request malformed-action"},
		{at + ` action='Next'`, ``, "modify bad-request malformed-action"},
		{`node='order' action='next'`, ``, "modify bad-request bad-action"},
		{`node='order' action='cancel'`, ``, "modify bad-request bad-action"},
		{`node='order' xml:lang='not a language'`, ``, "modify bad-request bad-locale"},
		{`node='order'`, submit("dish=fish"), "modify bad-request bad-payload"},
		{at, ``, "modify bad-request bad-payload"},
		{at, submit("dish=goose"), "modify bad-request bad-payload"},
		{at, submit("dish="), "modify bad-request bad-payload"},
		{at, strings.Replace(submit("dish=fish"), "submit", "form", 1), "modify bad-request bad-payload"},
		{at, strings.Replace(submit("dish=fish"), "submit", "", 1), "modify bad-request bad-payload"},
		{at, strings.Replace(submit("dish=fish"), "urn:order", "urn:other", 1), "modify bad-request bad-payload"},
		{at, submit("dish=fish", "dish=soup"), "modify bad-request bad-payload"},
		{at, strings.Replace(submit("dish=fish"), "fish</value>", "fish</value><value>soup</value>", 1), "modify bad-request bad-payload"},
		{`node='order' sessionid=''`, ``, "modify bad-request bad-sessionid"},
		{`node='order' sessionid='` + strings.Repeat("A", len(id)) + `'`, ``, "modify bad-request bad-sessionid"},
		{`node='sessions' sessionid='` + id + `'`, ``, "modify bad-request bad-sessionid"},
	} {
		h.refused(h.run(h.romeo, test.attrs, test.content), test.want)
	}
	h.refused(h.run(h.juliet, at, submit("dish=fish")), "modify bad-request bad-sessionid") // it is romeo's
	phone := moduletest.Login(t, h.Router, "romeo/phone")
	h.refused(h.run(phone, at, submit("dish=fish")), "modify bad-request bad-sessionid")
	h.want(h.run(h.romeo, at, strings.Replace(submit("dish=fish"), "submit", "cancel", 1)), second) // §3.5.1
	h.refused(h.run(h.romeo, at, submit("hot=maybe")), "modify bad-request bad-payload")

	h.romeo.Send(`<iq type='get' id='g' to='example.org'><command xmlns='http://jabber.org/protocol/commands' node='order'/></iq>`)
	h.refused(h.romeo.Deliveries()[0].Stanza, "modify bad-request")
}

func TestOnlyUsersOfTheHostRunCommands(t *testing.T) {
	h := newHouse(t)
	for _, from := range []jid.JID{jid.MustParse("tybalt@other.example/x"), jid.MustParse("example.org")} {
		el, err := xmpp.ParseElement([]byte(`<command xmlns='http://jabber.org/protocol/commands' node='order'/>`))
		if err != nil {
			t.Fatal(err)
		}
		if _, bad := h.c.answer(from, "example.org", el); bad == nil || bad.Condition != xmpp.CondForbidden {
			t.Errorf("%s: %v", from, bad)
		}
	}
}

func TestSessionsThatWaitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		var ids []string
		for range maxEach + 1 {
			ids = append(ids, h.want(h.run(h.romeo, `node='order'`, ""), first))
		}
		try := func(id, want string) {
			t.Helper()
			got := h.run(h.romeo, `node='order' sessionid='`+id+`'`, submit("dish=fish"))
			if want != "" {
				h.refused(got, want)
				return
			}
			h.want(got, second)
		}
		try(ids[0], "cancel not-allowed session-expired")
		time.Sleep(lifetime - time.Second)
		try(ids[1], "")
		time.Sleep(time.Second)
		try(ids[2], "cancel not-allowed session-expired")
		if h.c.sessions.all != 1 {
			t.Errorf("%d sessions are kept, not the one that was answered", h.c.sessions.all)
		}

		// All others together leave no room, until theirs have waited too long.
		h.c.sessions.all += maxAll - 1
		h.refused(h.run(h.juliet, `node='order'`, ""), "wait resource-constraint")
		time.Sleep(lifetime)
		h.want(h.run(h.juliet, `node='order'`, ""), first)
		h.c.sessions.all -= maxAll - 1

		h.juliet.Logout()
		if h.c.sessions.all != 0 || len(h.c.sessions.by) != 0 {
			t.Errorf("%d sessions are kept, though she has left", h.c.sessions.all)
		}
	})
}

func TestDiscoveryListsWhatOneMayRun(t *testing.T) {
	h := newHouse(t)
	list := func(who *moduletest.Client, want string) {
		t.Helper()
		items, ok, bad := h.c.Items("example.org", who.Addr(), xmpp.NSCommands)
		got := ""
		for _, i := range items {
			got += i.Attr("jid") + " " + i.Attr("node") + " " + i.Attr("name") + ";"
		}
		if !ok || bad != nil || got != want {
			t.Errorf("%s is listed %q, %v", who.Addr(), got, bad)
		}
	}
	list(h.romeo, "example.org order Order;example.org sessions Your sessions;")
	list(h.juliet, "example.org order Order;example.org secret Secret;example.org sessions Your sessions;")
	info := func(node, want string) {
		t.Helper()
		q, bad := h.c.Info("example.org", h.romeo.Addr(), node)
		if bad != nil {
			t.Fatal(bad)
		}
		moduletest.Same(t, string(q.Append(nil)), `<query xmlns='http://jabber.org/protocol/disco#info'>`+want+
			`<feature var='http://jabber.org/protocol/commands'/><feature var='jabber:x:data'/></query>`)
	}
	info(xmpp.NSCommands, `<identity category='automation' type='command-list' name='Commands'/>`)
	info("order", `<identity category='automation' type='command-node' name='Order'/>`)
	if _, bad := h.c.Info("example.org", h.romeo.Addr(), "secret"); bad == nil || bad.Condition != xmpp.CondForbidden {
		t.Errorf("info of a secret: %v", bad)
	}
	if _, ok, bad := h.c.Items("example.org", h.romeo.Addr(), "secret"); !ok || bad == nil || bad.Condition != xmpp.CondForbidden {
		t.Errorf("items of a secret: %v", bad)
	}
	if q, bad := h.c.Info("example.org", h.romeo.Addr(), "other"); q != nil || bad != nil {
		t.Error("a node of others has info")
	}
	if items, ok, bad := h.c.Items("example.org", h.romeo.Addr(), "order"); len(items) != 0 || !ok || bad != nil {
		t.Error("a command has items")
	}
	if _, ok, _ := h.c.Items("example.org", h.romeo.Addr(), "other"); ok {
		t.Error("a node of others has items")
	}
	h.c.Switch = func() bool { return false }
	if q, _ := h.c.Info("example.org", h.romeo.Addr(), "order"); q != nil {
		t.Error("commands that are off have info")
	}
	if _, ok, _ := h.c.Items("example.org", h.romeo.Addr(), "order"); ok {
		t.Error("commands that are off have items")
	}
}

func TestAUserEndsSessionsElsewhere(t *testing.T) {
	h := newHouse(t)
	h.want(h.run(h.romeo, `node='sessions'`, ""), `<command xmlns='http://jabber.org/protocol/commands' xml:lang='en' sessionid='S'
		node='sessions' status='completed'><note type='info'>This is your only session.</note></command>`)
	phone, tablet := moduletest.Login(t, h.Router, "romeo/phone"), moduletest.Login(t, h.Router, "romeo/tablet")
	tablet.Available(0)
	phone.Out.Detach()
	id := h.want(h.run(h.romeo, `node='sessions'`, ""), `<command xmlns='http://jabber.org/protocol/commands' xml:lang='en' sessionid='S'
		node='sessions' status='executing'><actions execute='complete'><complete/></actions><x xmlns='jabber:x:data' type='form'><title>Your sessions</title>
		<instructions>Choose which of your other sessions end. A client may log in again by itself: to keep it out, change your password.</instructions>
		<field var='FORM_TYPE' type='hidden'><value>sessions</value></field><field var='end' type='list-multi' label='Sessions to end'>
		<option label='phone, connection lost'><value>phone</value></option><option label='tablet'><value>tablet</value></option></field></x></command>`)
	at, form := `node='sessions' sessionid='`+id+`'`, strings.ReplaceAll(submit("end=tablet"), "urn:order", "sessions")
	h.refused(h.run(h.romeo, at, strings.ReplaceAll(form, "tablet", "orchard")), "modify bad-request bad-payload")
	h.want(h.run(h.romeo, at, form), `<command xmlns='http://jabber.org/protocol/commands' xml:lang='en' sessionid='S'
		node='sessions' status='completed'><note type='info'>1 session has ended.</note></command>`)
	if tablet.Out.Ended() != "policy-violation" || phone.Out.Ended() != "" || h.romeo.Out.Ended() != "" || h.juliet.Out.Ended() != "" {
		t.Errorf("ended: tablet %q, phone %q", tablet.Out.Ended(), phone.Out.Ended())
	}
}
