package adhoc

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/admin"
	"jackdaw/config"
	"jackdaw/modules"
	"jackdaw/modules/announcements"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/router/devices"
	"jackdaw/storage/embedded"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// An outlet keeps what a session is given.
type outlet struct {
	mu    sync.Mutex // guards the rest
	got   []xmpp.Stanza
	ended string
	came  chan struct{} // something has
}

func (o *outlet) Send(d router.Delivery) (wake, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.got = append(o.got, d.Stanza.Clone())
	select {
	case o.came <- struct{}{}:
	default:
	}
	return false, true
}

func (o *outlet) Flush()                               {}
func (o *outlet) Prompt() bool                         { return true }
func (o *outlet) Detached() bool                       { return false }
func (o *outlet) Full() bool                           { return false }
func (o *outlet) WaitBelow(context.Context, int) error { return nil }
func (o *outlet) End(condition, _ string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = condition
}

// take returns what has come since the last call.
func (o *outlet) take() []xmpp.Stanza {
	o.mu.Lock()
	defer o.mu.Unlock()
	got := o.got
	o.got = nil
	return got
}

// A server is what the commands run on, with romeo, juliet and the administrator benvolio, who is it by a grant;
// escalus is one by the configuration.
type server struct {
	t       *testing.T
	router  *router.Router
	users   *accounts.Service
	admin   *admin.Service
	cfg     *config.Config
	stopped time.Duration
	had     map[announcements.Kind]bool
	asked   int
}

const host = "example.org"

func at(name string) jid.JID { return jid.MustParse(name + "@" + host) }

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, cfg: config.Default(), had: map[announcements.Kind]bool{}}
	s.cfg.Hosts = []config.Host{{Domain: host, Admins: []string{"escalus@" + host}}, {Domain: "other.example"}}
	if err := s.cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	current := func() *config.Config { return s.cfg }
	store, err := embedded.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s.users, err = accounts.New(t.Context(), store, accounts.Options{Iterations: 4096,
		Admins: []jid.JID{at("escalus")}})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	s.router = router.New(router.Options{Hosts: []string{host, "other.example"}, Users: s.users, Log: log})
	known := devices.New(devices.Options{Store: store.Map(devices.Space), Accounts: s.users, Log: log,
		Lifetime: func() time.Duration { return time.Hour }, Keep: func() time.Duration { return time.Hour },
		Shown: func() bool { return true }})
	set := modules.All(modules.Deps{Router: s.router, Store: store, Accounts: s.users, Devices: known, Config: current,
		Log: log})
	s.admin = admin.New(admin.Options{Accounts: s.users, Config: current, Kept: set, Devices: known, Roster: set.Roster,
		Announcements: set.Announcements, Live: s})
	set.Commands.Add(Commands(s.admin, func() bool { return s.cfg.Modules.Enabled(Name) })...)
	s.router.Use(set.Modules(Module())...)
	t.Cleanup(func() {
		set.Leave()
		set.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"romeo", "juliet", "benvolio", "escalus"} {
		s.must(s.users.Create(t.Context(), at(name), "secret"))
	}
	s.must(s.users.Grant(t.Context(), at("benvolio"), accounts.PermAdmin))
	return s
}

func (s *server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// The running server, as admin.Live.

func (s *server) Sessions() (all []admin.SessionInfo) {
	s.router.EachSession(func(one *router.Session) bool {
		all = append(all, admin.SessionInfo{JID: one.Addr().String(), Address: "192.0.2.7",
			Idle: one.Addr().Resource() == "idle", Since: time.Unix(1e9, 0)})
		return true
	})
	return all
}

func (s *server) SessionsOf(user jid.JID) []admin.SessionInfo {
	return slices.DeleteFunc(s.Sessions(), func(one admin.SessionInfo) bool {
		return !strings.HasPrefix(one.JID, user.String()+"/")
	})
}

func (s *server) Kick(user jid.JID) (n int) {
	for _, one := range s.router.Sessions(user.Bare()) {
		if user.IsBare() || one.Addr() == user {
			one.End("policy-violation", "")
			n++
		}
	}
	return n
}

func (s *server) Peers() admin.PeersInfo        { return admin.PeersInfo{} }
func (s *server) Reload(bool) ([]string, error) { return nil, nil }
func (s *server) Stop(after time.Duration)      { s.stopped = after }

// A client is a session.
type client struct {
	*server
	*outlet
	session *router.Session
}

func (s *server) login(full string) *client {
	s.t.Helper()
	o := &outlet{came: make(chan struct{}, 1)}
	session, err := s.router.Bind(jid.MustParse(full), o)
	s.must(err)
	s.t.Cleanup(func() { s.router.Unbind(session, nil) })
	return &client{s, o, session}
}

// ask sends a request and returns the answer.
func (c *client) ask(to, payload string) xmpp.Stanza {
	c.t.Helper()
	c.asked++
	id := fmt.Sprint("q", c.asked)
	e := &router.Envelope{Stanza: &xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeSet, ID: id, From: c.session.Addr(),
		To: jid.MustParse(to), Payload: []byte(payload)}, Session: c.session, Account: c.session.Bare()}
	c.router.Route(e)
	for { // a write is answered when it is durable
		for _, got := range c.take() {
			if got.ID == id {
				return got
			}
		}
		select {
		case <-c.came:
		case <-time.After(10 * time.Second):
			c.t.Fatalf("no answer to %s", payload)
		}
	}
}

func begin(node string) string {
	return `<command xmlns='` + xmpp.NSCommands + `' node='` + spaceOf(node) + `#` + node + `' action='execute'/>`
}

// spaceOf is the namespace of a node and of its forms.
func spaceOf(node string) string {
	if node == "waiting-users" {
		return ownNamespace
	}
	return namespace
}

// fill is a form that was filled in: "name=value" for each value.
func fill(node string, fields []string) string {
	w := xmpp.NewWriter(nil).Start(xmpp.NSDataForms, "x").Attr("type", "submit")
	w.Start("", "field").Attr("var", "FORM_TYPE").Leaf("", "value", spaceOf(node)).End()
	for len(fields) > 0 {
		name, _, _ := strings.Cut(fields[0], "=")
		w.Start("", "field").Attr("var", name)
		for len(fields) > 0 {
			key, value, _ := strings.Cut(fields[0], "=")
			if key != name {
				break
			}
			w.Leaf("", "value", value)
			fields = fields[1:]
		}
		w.End()
	}
	return string(w.End().Bytes())
}

// run runs a command with what is filled in, if its first answer is a form, and returns the last answer.
func (c *client) run(node string, fields ...string) string {
	c.t.Helper()
	got := c.ask(host, begin(node))
	el := got.Child(xmpp.Name{Space: xmpp.NSCommands, Local: "command"})
	if got.Type == xmpp.TypeError || el.Attr("status") != "executing" {
		return string(got.Append(nil))
	}
	got = c.ask(host, `<command xmlns='`+xmpp.NSCommands+`' node='`+el.Attr("node")+`' sessionid='`+el.Attr("sessionid")+`'>`+
		fill(node, fields)+`</command>`)
	return string(got.Append(nil))
}

// runs are all commands, each filled in well, in an order in which they can be run. What juliet's roster has to do with
// them is set up before.
var runs = []struct {
	node   string
	fields []string
	want   []string // in the last answer
	after  func(s *server) bool
}{
	{"add-user", []string{"accountjid=mercutio@example.org", "password=queen", "password-verify=queen"}, nil,
		func(s *server) bool { return s.users.Verify(context.Background(), at("mercutio"), "queen") == nil }},
	{"change-user-password", []string{"accountjid=mercutio@example.org", "password=mab"}, nil,
		func(s *server) bool { return s.users.Verify(context.Background(), at("mercutio"), "mab") == nil }},
	{"disable-user", []string{"accountjids=mercutio@example.org", "accountjids=romeo@example.org"}, nil,
		func(s *server) bool { return s.disabled("mercutio") && s.disabled("romeo") }},
	{"get-disabled-users-num", nil, []string{"<field var='disabledusersnum'", "<value>2</value>"}, nil},
	{"get-disabled-users-list", []string{"max_items=25"}, []string{"<field var='disableduserjids'",
		"<value>mercutio@example.org</value><value>romeo@example.org</value>"}, nil},
	{"reenable-user", []string{"accountjids=romeo@example.org"}, nil,
		func(s *server) bool { return s.disabled("mercutio") && !s.disabled("romeo") }},
	{"delete-user", []string{"accountjids=mercutio@example.org"}, nil, func(s *server) bool {
		ok, err := s.users.Exists(context.Background(), at("mercutio"))
		return !ok && err == nil
	}},
	{"get-user-roster", []string{"accountjids=juliet@example.org"}, []string{"<value>juliet@example.org</value>",
		"<query xmlns='jabber:iq:roster'><item jid='romeo@example.org' name='Romeo' subscription='none'/></query>"}, nil},
	{"get-user-lastlogin", []string{"accountjids=juliet@example.org", "accountjids=escalus@example.org"},
		[]string{"<field var='lastlogin'", "Z</value>", "escalus@example.org has not logged in yet"}, nil},
	{"user-stats", []string{"accountjid=juliet@example.org"}, []string{"<value>192.0.2.7</value>",
		"<value>balcony</value><value>idle</value>", "<field var='rostersize' type='text-single' label='Contacts'><value>1</value>"}, nil},
	{"get-registered-users-num", nil, []string{"<value>4</value>"}, nil},
	{"get-registered-users-list", []string{"max_items=none"}, []string{"<field var='registereduserjids'",
		"<value>benvolio@example.org</value><value>escalus@example.org</value>"}, nil},
	{"get-online-users-num", nil, []string{"<field var='onlineusersnum'", "<value>3</value>"}, nil},
	{"get-active-users-num", nil, []string{"<field var='activeusersnum'", "<value>2</value>"}, nil},
	{"get-idle-users-num", nil, []string{"<field var='idleusersnum'", "<value>1</value>"}, nil},
	{"get-online-users-list", nil, []string{"<field var='onlineuserjids'",
		"<value>benvolio@example.org</value><value>juliet@example.org</value><value>romeo@example.org</value>"}, nil},
	{"get-active-users", []string{"max_items=25"}, []string{"<field var='activeuserjids'",
		"<value>benvolio@example.org</value><value>juliet@example.org</value></field>"}, nil},
	{"get-idle-users", nil, []string{"<field var='idleuserjids'", "<value>romeo@example.org</value></field>"}, nil},
	{"end-user-session", []string{"accountjids=juliet@example.org/idle"}, nil, nil},
	{"announce", []string{"announcement=It rains", "announcement=on <Friday>"}, []string{"It went to 3 users."}, nil},
	{"set-motd", []string{"motd=The globe open"}, []string{"It went to 0 users by now."}, // nobody has sent presence
		func(s *server) bool { return s.standing(announcements.OfTheDay) == "The globe open" }},
	{"edit-motd", []string{"motd=The globe", "motd=opens"}, nil,
		func(s *server) bool { return s.standing(announcements.OfTheDay) == "The globe\nopens" }},
	{"delete-motd", nil, nil, func(s *server) bool { return s.deleted(announcements.OfTheDay) }},
	{"set-welcome", []string{"welcome=Be welcome"}, nil,
		func(s *server) bool { return s.standing(announcements.Welcome) == "Be welcome" }},
	{"delete-welcome", nil, nil, func(s *server) bool { return s.deleted(announcements.Welcome) }},
	{"shutdown", []string{"delay=90", "announcement=Good night"}, []string{"The announcement went to 3 users.", "The server stops in 90 seconds."},
		func(s *server) bool { return s.stopped == 90*time.Second }},
	{"waiting-users", []string{"accountjids=asks@example.org", "decision=approve"}, nil, func(s *server) bool {
		return s.users.Verify(context.Background(), at("asks"), "secret") == nil
	}},
	// Last, since juliet is an administrator from then on.
	{"edit-admin", []string{"adminjids=benvolio@example.org", "adminjids=escalus@example.org", "adminjids=juliet@example.org"}, nil,
		func(s *server) bool {
			return s.users.Permitted(context.Background(), at("juliet"), accounts.PermAdmin)
		}},
}

func (s *server) standing(k announcements.Kind) string {
	text, err := s.admin.Standing(host, k)
	s.must(err)
	return text
}

// deleted says whether a text was there that is there no more.
func (s *server) deleted(k announcements.Kind) bool {
	had := s.had[k]
	s.had[k] = s.standing(k) != ""
	return had && !s.had[k]
}

func (s *server) disabled(name string) bool {
	a, err := s.users.Get(context.Background(), at(name))
	s.must(err)
	return a.Disabled
}

func TestEachCommandIsForAdministrators(t *testing.T) {
	s := newServer(t)
	benvolio, juliet := s.login("benvolio@example.org/a"), s.login("juliet@example.org/balcony")
	idle := s.login("juliet@example.org/idle")
	s.login("romeo@example.org/idle")
	juliet.ask("juliet@example.org", `<query xmlns='jabber:iq:roster'><item jid='romeo@example.org' name='Romeo'/></query>`)

	var nodes []string
	for _, run := range runs {
		nodes = append(nodes, run.node)
		if run.node == "waiting-users" {
			s.apply("asks")
		}
		// Nobody else, before or in the midst of it; an account of the same name elsewhere is not one of ours.
		if got := juliet.run(run.node, run.fields...); !strings.Contains(got, "<forbidden ") {
			t.Errorf("%s by a user: %s", run.node, got)
		}
		for _, from := range []string{"benvolio@peer.example/a", "peer.example", "escalus@peer.example"} {
			e := &router.Envelope{Stanza: &xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeSet, ID: "r", From: jid.MustParse(from),
				To: jid.MustParse(host), Payload: []byte(begin(run.node))}, Peer: "peer.example", Quiet: true}
			s.router.Route(e)
			if e.Err == nil || e.Err.Condition != xmpp.CondForbidden {
				t.Errorf("%s by %s: %v", run.node, from, e.Err)
			}
		}
		if run.after != nil && run.after(s) {
			t.Errorf("%s was done for others", run.node)
		}
		got := benvolio.run(run.node, run.fields...)
		for _, want := range append(run.want, "status='completed'") {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %s has no %s", run.node, got, want)
			}
		}
		if run.after != nil && !run.after(s) {
			t.Errorf("%s has done nothing: %s", run.node, got)
		}
	}
	if idle.ended == "" || juliet.ended != "" {
		t.Errorf("sessions ended: %q, %q", idle.ended, juliet.ended)
	}

	var announced []string
	for _, c := range Commands(s.admin, func() bool { return true }) {
		_, node, _ := strings.Cut(c.Node, "#")
		announced = append(announced, node)
	}
	slices.Sort(nodes)
	slices.Sort(announced)
	if !slices.Equal(nodes, announced) {
		t.Errorf("commands %q, tried %q", announced, nodes)
	}
}

func TestOnlyAdministratorsSeeTheCommands(t *testing.T) {
	s := newServer(t)
	list := func(who string) int {
		c := s.login(who)
		e := &router.Envelope{Stanza: &xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeGet, ID: "l", From: c.session.Addr(),
			To:      jid.MustParse(host),
			Payload: []byte(`<query xmlns='` + xmpp.NSDiscoItems + `' node='` + xmpp.NSCommands + `'/>`)}, Session: c.session, Account: c.session.Bare()}
		s.router.Route(e)
		got := c.take()
		items := string(got[len(got)-1].Payload)
		return strings.Count(items, namespace+"#") + strings.Count(items, ownNamespace+"#")
	}
	for who, want := range map[string]int{"benvolio@example.org/a": len(runs), "escalus@example.org/a": len(runs), "juliet@example.org/a": 0} {
		if got := list(who); got != want {
			t.Errorf("%s sees %d commands, want %d", who, got, want)
		}
	}
	s.cfg.Modules.Off = map[string]bool{Name: true}
	if got := list("benvolio@example.org/b"); got != 0 {
		t.Errorf("%d commands though they are off", got)
	}
	s.cfg.Modules.Off = nil
	// Nobody is an administrator by the name of a host that is served no more.
	s.cfg.Hosts = s.cfg.Hosts[1:]
	if s.admin.Administers(t.Context(), at("benvolio")) {
		t.Error("an administrator of a host that is gone")
	}
}

func TestWhatCannotBeDoneIsRefused(t *testing.T) {
	s := newServer(t)
	c := s.login("benvolio@example.org/a")
	s.login("romeo@example.org/a")
	many := make([]string, maxNamed+1)
	for i := range many {
		many[i] = "accountjids=romeo@example.org"
	}
	for _, test := range []struct {
		node   string
		fields []string
		want   string
	}{
		{"add-user", []string{"accountjid=romeo@example.org", "password=x", "password-verify=x"}, "<conflict "},
		{"add-user", []string{"accountjid=tybalt@example.org", "password=x", "password-verify=y"}, "<not-acceptable "},
		{"add-user", []string{"accountjid=tybalt@example.org"}, "<bad-payload "},
		{"add-user", []string{"accountjid=tybalt@elsewhere.example", "password=x", "password-verify=x"}, "is not served here"},
		{"add-user", []string{"accountjid=tybalt@example.org/x", "password=x", "password-verify=x"}, "<jid-malformed "},
		{"delete-user", []string{"accountjids=nobody@example.org"}, "<item-not-found "},
		{"delete-user", []string{"accountjids=benvolio@example.org"}, "<not-allowed "},
		{"disable-user", []string{"accountjids=romeo@example.org", "accountjids=BENVOLIO@example.org"}, "<not-allowed "},
		{"disable-user", many, "at most 100 accounts"},
		{"disable-user", []string{"accountjids=nobody@example.org", "accountjids=romeo@example.org"},
			"<note type='error'>nobody@example.org: there is no such account"},
		{"end-user-session", []string{"accountjids=juliet@example.org"}, "juliet@example.org is not connected"},
		{"change-user-password", []string{"accountjid=nobody@example.org", "password=x"}, "<item-not-found "},
		{"get-user-roster", []string{"accountjids=romeo@example.org", "accountjids=juliet@example.org"}, "one account at a time"},
		{"get-user-roster", []string{"accountjids=nobody@example.org"}, "<item-not-found "},
		{"get-user-lastlogin", []string{"accountjids=juliet@example.org"}, "juliet@example.org has not logged in yet"},
		{"user-stats", []string{"accountjid=nobody@example.org"}, "<item-not-found "},
		{"edit-admin", []string{"adminjids=nobody@example.org"}, "<item-not-found "},
		{"edit-admin", []string{"adminjids=benvolio@example.org"}, "hosts[].admins"},
		{"shutdown", []string{"delay=0"}, "<bad-payload "},
		{"get-user-password", nil, "<item-not-found "},
		{"restart", nil, "<item-not-found "},
	} {
		if got := c.run(test.node, test.fields...); !strings.Contains(got, test.want) {
			t.Errorf("%s %q: got %s, want %s", test.node, test.fields, got, test.want)
		}
	}
	if !s.users.Permitted(t.Context(), at("escalus"), accounts.PermAdmin) || s.disabled("benvolio") || s.stopped != 0 {
		t.Error("something was done all the same")
	}
}

func TestAnAdministratorDecidesWhoMayHaveAnAccount(t *testing.T) {
	s := newServer(t)
	c := s.login("benvolio@example.org/a")
	if got := c.run("waiting-users"); !strings.Contains(got, "Nobody waits for approval.") {
		t.Error(got)
	}
	for _, name := range []string{"one", "two", "three"} {
		s.apply(name)
	}
	shown := c.ask(host, begin("waiting-users"))
	if got := string(shown.Append(nil)); strings.Count(got, "<option label=") != 5 ||
		!strings.Contains(got, "from 192.0.2.7") {
		t.Error(got)
	}
	for _, step := range []struct {
		fields []string
		want   string
	}{
		{[]string{"accountjids=romeo@example.org", "decision=refuse"}, "this field takes what is offered only"},
		{[]string{"accountjids=one@example.org", "decision=perhaps"}, "this field takes what is offered only"},
		{[]string{"decision=approve"}, "<bad-payload "},
		{[]string{"accountjids=one@example.org", "accountjids=two@example.org", "decision=refuse"}, "status='completed'"},
		{[]string{"accountjids=three@example.org", "decision=approve"}, "status='completed'"},
		{[]string{"accountjids=three@example.org", "decision=approve"}, "Nobody waits"},
	} {
		if got := c.run("waiting-users", step.fields...); !strings.Contains(got, step.want) {
			t.Errorf("%q: %s", step.fields, got)
		}
	}
	for name, want := range map[string]bool{"one": false, "two": false, "three": true, "romeo": true} {
		if got, err := s.users.Exists(t.Context(), at(name)); got != want || err != nil {
			t.Errorf("%s exists: %v, %v", name, got, err)
		}
	}
}

// apply has an account wait for approval.
func (s *server) apply(name string) {
	s.must(s.users.Apply(s.t.Context(), at(name), "secret", accounts.Source{Addr: netip.MustParseAddr("192.0.2.7")},
		accounts.Bounds{Host: 10, Address: 10}))
}
