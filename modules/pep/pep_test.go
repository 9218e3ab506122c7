package pep

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// contacts holds what is between users: "juliet romeo" → the groups of juliet's roster that romeo is in, with a bool
// for each direction.
type contacts map[string]contact

type contact struct {
	from, to bool // may see the user, may be seen by the user
	groups   []string
}

func (c contacts) list(user jid.JID, want func(contact) bool) (out []jid.JID) {
	for k, v := range c {
		if u, other, _ := strings.Cut(k, " "); u == user.String() && want(v) {
			out = append(out, jid.MustParse(other))
		}
	}
	slices.SortFunc(out, jid.JID.Compare)
	return out
}

func (c contacts) Subscribers(user jid.JID) ([]jid.JID, error) {
	return c.list(user, func(v contact) bool { return v.from }), nil
}

func (c contacts) Subscriptions(user jid.JID) ([]jid.JID, error) {
	return c.list(user, func(v contact) bool { return v.to }), nil
}

func (c contacts) Sees(user, other jid.JID) (bool, error) {
	return c[user.String()+" "+other.String()].from, nil
}

func (c contacts) Groups(user, other jid.JID) ([]string, error) {
	return c[user.String()+" "+other.String()].groups, nil
}

// befriend makes both see each other.
func (c contacts) befriend(a, b string, groups ...string) {
	c[a+" "+b] = contact{from: true, to: true, groups: groups}
	c[b+" "+a] = contact{from: true, to: true}
}

// The people of the tests: juliet is the owner; romeo and, elsewhere, benvolio are contacts, romeo in the group
// Friends; nurse and, elsewhere, mercutio are strangers.
const (
	juliet   = "juliet@example.org"
	romeo    = "romeo@example.org"
	nurse    = "nurse@example.org"
	benvolio = "benvolio@montague.example"
	mercutio = "mercutio@montague.example"
)

type world struct {
	*router.Router
	t        testing.TB
	pep      *PEP
	store    *moduletest.Store
	contacts contacts
	remote   *moduletest.Remote
	blocked  map[string]bool // "juliet@… romeo@…"
	limits   Limits
	full     bool
	held     []string // sent to peers while a contact came
	options  Options
}

func newWorld(t testing.TB) *world {
	w := &world{Router: moduletest.New("juliet", "romeo", "nurse"), t: t, store: moduletest.NewStore(), contacts: contacts{},
		remote: &moduletest.Remote{}, blocked: map[string]bool{}, limits: Limits{Nodes: 20, Items: 10, ItemBytes: 1000}}
	w.contacts.befriend(juliet, romeo, "Friends")
	w.contacts.befriend(juliet, benvolio)
	w.start()
	w.SetRemote(w.remote)
	return w
}

// start plugs the module in, as after a restart on the same store.
func (w *world) start() {
	w.options = Options{Router: w.Router, Contacts: w.contacts, Log: moduletest.Discard(),
		Nodes: w.store.Map("pep"), Items: w.store.Map("pep-items"), Caps: w.store.Map("pep-caps"),
		Blocks: func(user, other jid.JID) bool { return w.blocked[user.String()+" "+other.String()] },
		Verify: func(info *xmpp.Element, hash, ver string) bool { return hash == "sha-1" && verOf(info) == ver },
		Limits: func() Limits { return w.limits }, Full: func() bool { return w.full }}
	w.pep = New(w.options)
	w.Use(w.pep.Module(), presences(w.Router))
}

// presences stands for the module of that name, as far as broadcasts of a session go to the router.
func presences(r *router.Router) router.Module {
	return router.Module{Name: "presence", Leaving: router.Stage{Presence: func(e *router.Envelope) {
		if !e.Stanza.To.IsZero() {
			return
		}
		p := e.Stanza.Clone()
		if e.Stanza.Type == xmpp.TypeUnavailable {
			r.SetPresence(e.Session, nil, 0)
		} else {
			r.SetPresence(e.Session, &p, 0)
		}
		e.Settle(router.Delivered)
	}}}
}

// verOf stands for the verification string of XEP-0115.
func verOf(info *xmpp.Element) string {
	sum := sha1.Sum(info.Append(nil))
	return base64.StdEncoding.EncodeToString(sum[:8])
}

func disco(nodes ...string) (info, ver string) {
	info = "<query xmlns='http://jabber.org/protocol/disco#info'><identity category='client' type='pc'/>"
	for _, n := range nodes {
		info += "<feature var='" + n + "+notify'/>"
	}
	info += "</query>"
	el, err := xmpp.ParseElement([]byte(info))
	if err != nil {
		panic(err)
	}
	return info, verOf(el)
}

// capsOf is what presence says of a client that wants these nodes.
func capsOf(nodes ...string) string {
	_, ver := disco(nodes...)
	return "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:client' ver='" + ver + "'/>"
}

// login has a session become available that wants these nodes; it answers what it is asked, and leaves what it was
// sent.
func (w *world) login(address string, nodes ...string) *moduletest.Client {
	w.t.Helper()
	c := moduletest.Login(w.t, w.Router, address)
	w.appear(c, nodes...)
	return c
}

// appear shows presence and answers the question for the capabilities, if there is one.
func (w *world) appear(c *moduletest.Client, nodes ...string) {
	w.t.Helper()
	c.Received()
	c.Send("<presence>" + capsOf(nodes...) + "</presence>")
	info, _ := disco(nodes...)
	got := c.Deliveries()
	if len(got) == 1 && got[0].Stanza.Kind == xmpp.IQ {
		q := got[0].Stanza
		c.Send(fmt.Sprintf("<iq type='result' id='%s' to='%s'>%s</iq>", q.ID, q.From, info))
		return
	}
	if len(got) > 0 {
		w.t.Fatalf("%s is not asked, but sent %d stanzas", c.Addr(), len(got))
	}
}

// peer brings a stanza of another server.
func (w *world) peer(xml string) *router.Envelope {
	s := moduletest.Parse(w.t, xml)
	e := &router.Envelope{Stanza: s, Peer: s.From.Domain()}
	w.Route(e)
	return e
}

// come has a contact on another server become available towards juliet.
func (w *world) come(full string, nodes ...string) {
	w.t.Helper()
	w.remote.Sent()
	w.held = nil
	w.peer("<presence from='" + full + "' to='" + juliet + "'>" + capsOf(nodes...) + "</presence>")
	info, _ := disco(nodes...)
	w.held = w.remote.Sent()
	if len(w.held) == 1 && strings.HasPrefix(w.held[0], "<iq") {
		q := moduletest.Parse(w.t, w.held[0])
		w.held = nil
		w.peer(fmt.Sprintf("<iq type='result' id='%s' from='%s' to='%s'>%s</iq>", q.ID, full, q.From, info))
	}
}

// do sends a request of a session and returns the answer without its head: "ok", the payload, or "type condition
// pubsub-condition".
func (w *world) do(c *moduletest.Client, kind, to, payload string) string {
	w.t.Helper()
	at := ""
	if to != "" {
		at = " to='" + to + "'"
	}
	before := c.Deliveries()
	_ = before
	c.Send("<iq type='" + kind + "' id='do'" + at + ">" + payload + "</iq>")
	var events []string
	answer := "nothing"
	for _, d := range c.Deliveries() {
		if d.Stanza.Kind == xmpp.IQ && d.Stanza.ID == "do" {
			answer = outcome(w.t, d.Stanza)
			continue
		}
		events = append(events, string(d.Stanza.Append(nil)))
	}
	if len(events) > 0 {
		w.t.Logf("%s also got %s", c.Addr(), strings.Join(events, "\n"))
	}
	return answer
}

func outcome(t testing.TB, s *xmpp.Stanza) string {
	switch {
	case s.Type == xmpp.TypeError:
		err := s.Err()
		out := string(err.Type) + " " + string(err.Condition)
		if err.App != nil {
			out += " " + err.App.Name.Local
			if f := err.App.Attr("feature"); f != "" {
				out += " " + f
			}
		}
		return out
	case len(s.Payload) == 0:
		return "ok"
	}
	return moduletest.Canonical(t, string(s.Payload))
}

// want is do with the answer compared.
func (w *world) want(c *moduletest.Client, kind, to, payload, want string) {
	w.t.Helper()
	if strings.HasPrefix(want, "<") {
		want = moduletest.Canonical(w.t, want)
	}
	if got := w.do(c, kind, to, payload); got != want {
		w.t.Fatalf("%s asks %s\ngot  %s\nwant %s", c.Addr(), payload, got, want)
	}
}

func pubsubXML(inner string) string {
	return "<pubsub xmlns='http://jabber.org/protocol/pubsub'>" + inner + "</pubsub>"
}

func ownerXML(inner string) string {
	return "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'>" + inner + "</pubsub>"
}

// publishXML publishes an item <t xmlns='urn:t'>text</t>, with options as name and value by turns.
func publishXML(node, id, text string, options ...string) string {
	at := ""
	if id != "" {
		at = " id='" + id + "'"
	}
	return pubsubXML("<publish node='" + node + "'><item" + at + "><t xmlns='urn:t'>" + text + "</t></item></publish>" +
		optionsXML("publish-options", "publish-options", options...))
}

func optionsXML(element, kind string, options ...string) string {
	if len(options) == 0 {
		return ""
	}
	return "<" + element + ">" + formXML(kind, options...) + "</" + element + ">"
}

func formXML(kind string, options ...string) string {
	x := "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#" + kind + "</value></field>"
	for i := 0; i < len(options); i += 2 {
		x += "<field var='pubsub#" + options[i] + "'><value>" + options[i+1] + "</value></field>"
	}
	return x + "</x>"
}

func itemXML(id, text string) string {
	return "<item id='" + id + "'><t xmlns='urn:t'>" + text + "</t></item>"
}

func published(node, id string) string {
	return pubsubXML("<publish node='" + node + "'><item id='" + id + "'/></publish>")
}

// events are the messages among what came, each as "to|payload", with delays and reply addresses only named.
func events(t testing.TB, stanzas []string) (out []string) {
	for _, x := range stanzas {
		s := moduletest.Parse(t, x)
		if s.Kind != xmpp.Message {
			continue
		}
		if s.ID == "" {
			t.Errorf("an event without an id: %s", x)
		}
		text := s.To.String() + "|"
		for _, c := range xmpp.Index(s.Payload) {
			switch c.Name.Local {
			case "event":
				el, err := xmpp.ParseElement(s.Payload[c.Start:c.End])
				if err != nil {
					t.Fatal(err)
				}
				for _, inner := range el.Children() {
					text += brief(inner)
				}
			default:
				text += " " + c.Name.Local
			}
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}

// brief writes an element of an event shortly: items urn:n [a:text -b], delete urn:n.
func brief(el *xmpp.Element) string {
	out := el.Name.Local + " " + el.Attr("node")
	if el.Name.Local == "subscription" {
		return out + " " + el.Attr("jid") + " " + el.Attr("subscription")
	}
	for _, it := range el.Children() {
		switch it.Name.Local {
		case "item":
			out += " " + it.Attr("id") + ":"
			for _, p := range it.Children() {
				out += p.Text()
			}
			if by := it.Attr("publisher"); by != "" {
				out += " by " + by
			}
		case "retract":
			out += " -" + it.Attr("id")
		}
	}
	return out
}

// got compares the events that came to a session since the last call.
func (w *world) got(c *moduletest.Client, want ...string) {
	w.t.Helper()
	if got := events(w.t, c.Received()); !slices.Equal(got, want) {
		w.t.Fatalf("%s got\n  %s\nwant\n  %s", c.Addr(), strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// sent compares the events that went to other servers since the last call.
func (w *world) sent(want ...string) {
	w.t.Helper()
	all := append(w.held, w.remote.Sent()...)
	w.held = nil
	if got := events(w.t, all); !slices.Equal(got, want) {
		w.t.Fatalf("peers got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}
