// Package commands lets users do things with their host that have no protocol of their own, by forms that any client
// shows (XEP-0050): the list of commands, their sessions and their stages. What the commands do is in files beside,
// each of which makes a Command; others are added by whoever assembles the server.
//
// Texts are in English, and say so: who asks for another language gets them too, since clients name the language of
// their user in every request, and a form that is read with effort is better than none (§3.7). Only what is no
// language is refused. Commands of rooms are a room's own.
package commands

import (
	"regexp"
	"slices"
	"strings"

	"jackdaw/modules/internal/forms"
	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A Command is something that can be done with a host.
type Command struct {
	Node, Name string
	// May says who sees the command and may run it, by bare address; nil: the users of the host.
	May func(who jid.JID, host string) bool
	// Start is the first step. It gets no form.
	Start Step
}

// Forms, for those who make commands from outside of the modules.
type (
	Form   = forms.Form
	Field  = forms.Field
	Option = forms.Option
)

// The types of a form that commands show.
const (
	Ask    = forms.Ask
	Result = forms.Result
)

// A Call is one request of somebody who may run the command.
type Call struct {
	From jid.JID // full, or that of a peer's entity
	Host string
	// Form is what was filled in; its fields fit those that were asked for. It is nil for Start.
	Form *forms.Form
}

// A Step does a part of a command, and says what comes then. It is not run again unless the user goes back. An
// error leaves the session where it was, so that the user can try again.
type Step func(c *Call) (Reply, *xmpp.Error)

// A Reply is what a step says.
type Reply struct {
	Notes []Note
	// Form is to be filled in for Next, or a result.
	Form *forms.Form
	// Next takes the form; nil: the command is complete.
	Next Step
	// More says that Next has something to ask too.
	More bool
}

// A Note is said beside a form, or instead of one. Kind is info, warn or error (§4.3); a command that has failed says
// at least one error (§3.6).
type Note struct{ Kind, Text string }

// Users is May of a command for the users of the host.
func Users(who jid.JID, host string) bool { return who.Local() != "" && who.Domain() == host }

func (c *Command) may(who jid.JID, host string) bool {
	if c.May == nil {
		return Users(who, host)
	}
	return c.May(who, host)
}

// Commands are those of all hosts. They are safe for concurrent use.
type Commands struct {
	parts.Switch
	router   *router.Router
	all      []Command // in the order of the list
	sessions *sessions
}

// Of makes the commands of a server, with these of other modules behind.
func Of(p parts.Parts, others ...Command) *Commands {
	c := New(p.Router, append([]Command{Sessions(p.Router)}, others...)...)
	c.Switch = p.Switch("commands")
	return c
}

// New returns these commands; no two have the same node.
func New(r *router.Router, all ...Command) *Commands {
	return &Commands{router: r, all: all, sessions: newSessions()}
}

// Add puts commands at the end of the list, before anything is served. It panics when a node is there already.
func (c *Commands) Add(all ...Command) {
	for _, one := range all {
		if c.find(one.Node) != nil {
			panic("two commands have the node " + one.Node)
		}
		c.all = append(c.all, one)
	}
}

var command = xmpp.Name{Space: xmpp.NSCommands, Local: "command"}

// Module returns the module.
func (c *Commands) Module() router.Module {
	return router.Module{
		Name:     "commands",
		Needs:    []string{"disco"},
		Specs:    []router.Spec{{Name: "XEP-0050", Version: "1.3.0", Note: "texts are in English"}},
		Features: []string{xmpp.NSCommands}, // §2.1
		IQ:       []router.IQ{{Payload: command, Scope: router.Host, Handle: c.run}},
		Ended:    func(s *router.Session, _ *xmpp.Stanza) { c.sessions.drop(s.Addr()) },
	}
}

// Info is the answer to disco#info about a node (§2.2), nil and nil if it is none of commands.
func (c *Commands) Info(host string, asker jid.JID, node string) (*xmpp.Element, *xmpp.Error) {
	if !c.On() {
		return nil, nil
	}
	kind, name := "command-list", "Commands"
	if node != xmpp.NSCommands {
		one := c.find(node)
		switch {
		case one == nil:
			return nil, nil
		case !one.may(asker.Bare(), host):
			return nil, forbidden()
		}
		kind, name = "command-node", one.Name
	}
	return element(xmpp.NSDiscoInfo, "query", nil,
		element(xmpp.NSDiscoInfo, "identity", []string{"category", "automation", "type", kind, "name", name}),
		element(xmpp.NSDiscoInfo, "feature", []string{"var", xmpp.NSCommands}),
		element(xmpp.NSDiscoInfo, "feature", []string{"var", xmpp.NSDataForms})), nil
}

// Items are those of a node: the commands that the asker may run (§2.2), none of a command; ok is false if it is no
// node of commands.
func (c *Commands) Items(host string, asker jid.JID, node string) (items []*xmpp.Element, ok bool, bad *xmpp.Error) {
	if !c.On() {
		return nil, false, nil
	}
	if node != xmpp.NSCommands {
		one := c.find(node)
		if one != nil && !one.may(asker.Bare(), host) {
			return nil, true, forbidden()
		}
		return nil, one != nil, nil
	}
	for i := range c.all {
		if one := &c.all[i]; one.may(asker.Bare(), host) {
			attrs := []string{"jid", host, "node", one.Node, "name", one.Name}
			items = append(items, element(xmpp.NSDiscoItems, "item", attrs))
		}
	}
	return items, true, nil
}

// element makes one; attrs are names and values by turns.
func element(space, local string, attrs []string, children ...*xmpp.Element) *xmpp.Element {
	el := &xmpp.Element{Name: xmpp.Name{Space: space, Local: local}}
	for i := 0; i < len(attrs); i += 2 {
		el.Attrs = append(el.Attrs, xmpp.Attr{Name: xmpp.Name{Local: attrs[i]}, Value: attrs[i+1]})
	}
	for _, c := range children {
		el.Content = append(el.Content, xmpp.Node{Elem: c})
	}
	return el
}

func (c *Commands) find(node string) *Command {
	if i := slices.IndexFunc(c.all, func(one Command) bool { return one.Node == node }); i >= 0 {
		return &c.all[i]
	}
	return nil
}

func forbidden() *xmpp.Error { // §4.4: of type cancel
	return xmpp.Forbidden("this command is not for you").WithType(xmpp.ErrorCancel)
}

// wrong is an error with a condition of commands (§4.4).
func wrong(condition, text string) *xmpp.Error {
	return xmpp.BadRequest(text).WithApp(xmpp.NSCommands, condition)
}

// language is a tag that is well-formed enough (RFC 5646 §2.1).
var language = regexp.MustCompile(`^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*$`)

// run answers a request (§2.4).
func (c *Commands) run(e *router.Envelope) {
	if e.Stanza.Type != xmpp.TypeSet {
		e.Refuse(xmpp.BadRequest("a command is run by a request of type set"))
		return
	}
	el := e.Stanza.Child(command)
	if el == nil {
		e.Refuse(xmpp.BadRequest(""))
		return
	}
	answer, bad := c.answer(e.Stanza.From, e.Stanza.To.Domain(), el)
	if bad != nil {
		e.Refuse(bad)
		return
	}
	c.router.Answer(e, answer)
}

func (c *Commands) answer(from jid.JID, host string, el *xmpp.Element) ([]byte, *xmpp.Error) {
	one := c.find(el.Attr("node"))
	action := el.Attr("action")
	if action == "" {
		action = "execute" // §4.1
	}
	lang := el.AttrNS(xmpp.NSXML, "lang")
	switch {
	case el.Attr("node") == "": // §4.1
		return nil, xmpp.BadRequest("a command has a node")
	case one == nil:
		return nil, xmpp.ItemNotFound("there is no such command")
	case !one.may(from.Bare(), host):
		return nil, forbidden()
	case !slices.Contains([]string{"execute", "cancel", "prev", "next", "complete"}, action):
		return nil, wrong("malformed-action", "there is no such action")
	case lang != "" && !language.MatchString(lang):
		return nil, wrong("bad-locale", "this is no language")
	}
	call := &Call{From: from, Host: host}
	if el.HasAttr("sessionid") {
		return c.sessions.resume(call, one, el.Attr("sessionid"), func(s *session) ([]byte, bool, *xmpp.Error) {
			return s.act(call, action, el)
		})
	}
	switch {
	case action != "execute": // there is no stage yet
		return nil, wrong("bad-action", "the command has not begun")
	case el.Child(forms.Name) != nil: // §3.5.1: a form answers one
		return nil, wrong("bad-payload", "no form has been asked for yet")
	}
	first, bad := one.Start(call)
	if bad != nil {
		return nil, bad
	}
	if first.Next == nil {
		// Nothing goes on, so nothing is kept: the id is only that of this answer.
		return first.write(one.Node, c.sessions.name(from, host, one.Node), 0), nil
	}
	s, bad := c.sessions.begin(call, one, first)
	if bad != nil {
		return nil, bad
	}
	return first.write(one.Node, s.id, 0), nil
}

// act does what is asked for in a session, under its lock. over says that the session ends.
func (s *session) act(call *Call, action string, el *xmpp.Element) (answer []byte, over bool, bad *xmpp.Error) {
	now := &s.stages[len(s.stages)-1]
	onward := "complete"
	if now.More {
		onward = "next"
	}
	if action == "execute" {
		action = onward // §3.4: as <actions/> have said
	}
	switch action {
	case "cancel": // §2.4.3
		w := xmpp.NewWriter(nil).Start(xmpp.NSCommands, "command").Attr("xml:lang", "en").Attr("sessionid", s.id)
		return w.Attr("node", s.node).Attr("status", "canceled").End().Bytes(), true, nil
	case "prev":
		if len(s.stages) == 1 {
			return nil, false, wrong("bad-action", "this is the first form")
		}
		s.stages = s.stages[:len(s.stages)-1]
		return s.stages[len(s.stages)-1].write(s.node, s.id, len(s.stages)-1), false, nil
	case onward:
	default:
		return nil, false, wrong("bad-action", "the form offers no such action")
	}
	if call.Form, bad = filled(now.Form, el.Child(forms.Name)); bad != nil {
		return nil, false, bad
	}
	reply, bad := now.Next(call)
	if bad != nil {
		return nil, false, bad
	}
	answer = reply.write(s.node, s.id, len(s.stages))
	if reply.Next == nil {
		return answer, true, nil
	}
	if len(s.stages) == maxStages {
		return nil, true, xmpp.ResourceConstraint("the command has too many stages")
	}
	s.stages = append(s.stages, reply)
	return answer, false, nil
}

// filled reads a form that answers another; asked may be nil, for none. A cancelled form counts as submitted (§3.5.1).
func filled(asked *forms.Form, x *xmpp.Element) (*forms.Form, *xmpp.Error) {
	bad := func(text string) (*forms.Form, *xmpp.Error) { return nil, wrong("bad-payload", text) }
	if asked == nil {
		return nil, nil
	}
	got := &forms.Form{Kind: forms.Submit}
	if x != nil {
		var err *xmpp.Error
		if got, err = forms.Parse(x); err != nil {
			return nil, err.WithApp(xmpp.NSCommands, "bad-payload")
		}
	}
	switch {
	case got.Kind != forms.Submit && got.Kind != forms.Cancel:
		return bad("the form is not filled in")
	case got.Type != "" && got.Type != asked.Type: // XEP-0068 §3.1; it may be left out
		return bad("this is not the form of the command")
	}
	for i := range asked.Fields {
		want := &asked.Fields[i]
		f := got.Field(want.Var)
		if f == nil || len(f.Values) == 0 || len(f.Values) == 1 && f.Values[0] == "" {
			if want.Required {
				return bad("this field is needed: " + want.Name())
			}
			continue
		}
		many := strings.HasSuffix(want.Type, "-multi")
		_, isBool := f.Bool()
		switch {
		case len(f.Values) > 1 && !many:
			return bad("this field takes one value: " + want.Name())
		case want.Type == "boolean" && !isBool:
			return bad("this field is yes or no: " + want.Name())
		case strings.HasPrefix(want.Type, "list-") && !want.Open && !want.Offers(f.Values):
			return bad("this field takes what is offered only: " + want.Name())
		}
	}
	return got, nil
}

// write writes the answer of a step; before says how many stages can be gone back.
func (r *Reply) write(node, session string, before int) []byte {
	w := xmpp.NewWriter(nil).Start(xmpp.NSCommands, "command").Attr("xml:lang", "en").Attr("sessionid", session)
	w.Attr("node", node)
	if r.Next == nil {
		w.Attr("status", "completed")
	} else {
		w.Attr("status", "executing")
		onward := "complete"
		if r.More {
			onward = "next"
		}
		w.Start("", "actions").Attr("execute", onward) // §3.4: one of those that are allowed
		if before > 0 {
			w.Start("", "prev").End()
		}
		w.Start("", onward).End().End()
	}
	for _, n := range r.Notes {
		w.Start("", "note").Attr("type", n.Kind).Text(n.Text).End()
	}
	if r.Form != nil {
		r.Form.Write(w)
	}
	return w.End().Bytes()
}
