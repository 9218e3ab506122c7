package c2s

import (
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"jackdaw/router/devices"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
	"jackdaw/xmpp/stream"
)

// A request is what <authenticate/> asks for beside the login itself (XEP-0388 §2.3). What it does not know is passed
// over: a client asks for more than there is, and sees by the answer what it got.
type request struct {
	agent   devices.Agent
	began   time.Time // before anything was proved
	resume  *resumption
	bind    *binding
	version *string // of the features that the client believes are offered (XEP-0509 §2.2)
	upgrade []string
	fast    *fastRequest
	token   sasl.Mechanism // that a token is to be made for; "": none
}

type resumption struct {
	id string
	h  uint32
}

// A binding is a request for a resource (XEP-0386 §4.2).
type binding struct {
	tag      string
	sm       *xmpp.Element // <enable/>; nil: not asked for
	inactive bool
	features []*xmpp.Element // for others than us
}

// maxTag is how many bytes of a tag are taken for a resource: it is the name of a program.
const maxTag = 64

// parseRequest reads <authenticate/>; tokens may be asked for these mechanisms. ok says that there is nothing in it
// that cannot be meant.
func parseRequest(el *xmpp.Element, tokens []sasl.Mechanism) (q request, ok bool) {
	q.began = time.Now()
	seen := map[xmpp.Name]bool{}
	for _, c := range el.Children() {
		if c.Name == (xmpp.Name{Space: xmpp.NSSASLUpgrade, Local: "upgrade"}) { // XEP-0480 §2.2: any number of them
			q.upgrade = append(q.upgrade, c.Text())
			continue
		}
		if seen[c.Name] {
			return q, false
		}
		seen[c.Name] = true
		switch c.Name {
		case xmpp.Name{Space: xmpp.NSSASL2, Local: "user-agent"}:
			q.agent.ID = strings.ToLower(c.Attr("id"))
			if c.HasAttr("id") && !isUUID(q.agent.ID) { // XEP-0388 §2.3
				return q, false
			}
			if s := c.ChildLocal("software"); s != nil {
				q.agent.Software = s.Text()
			}
			if d := c.ChildLocal("device"); d != nil {
				q.agent.Device = d.Text()
			}
		case xmpp.Name{Space: xmpp.NSSM, Local: "resume"}:
			h, err := wire.Height(c.Append(nil))
			if err != nil || c.Attr("previd") == "" {
				return q, false
			}
			q.resume = &resumption{c.Attr("previd"), h}
		case xmpp.Name{Space: xmpp.NSBind2, Local: "bind"}:
			if q.bind, ok = parseBind(c); !ok {
				return q, false
			}
		case xmpp.Name{Space: xmpp.NSConfigVersion, Local: "config-version"}:
			v := c.Attr("value")
			q.version = &v
		case xmpp.Name{Space: xmpp.NSFAST, Local: "fast"}:
			if q.fast, ok = parseFast(c); !ok {
				return q, false
			}
		case xmpp.Name{Space: xmpp.NSFAST, Local: "request-token"}:
			if len(tokens) == 0 {
				continue // not offered, so not known
			}
			if q.token = sasl.Mechanism(c.Attr("mechanism")); !slices.Contains(tokens, q.token) { // XEP-0484 §3.2
				return q, false
			}
		}
	}
	// XEP-0484 §4.1: a token is an installation's.
	return q, q.fast == nil && q.token == "" || q.agent.ID != ""
}

func parseBind(el *xmpp.Element) (b *binding, ok bool) {
	b = &binding{}
	seen := map[xmpp.Name]bool{}
	for _, c := range el.Children() {
		if seen[c.Name] {
			return nil, false
		}
		seen[c.Name] = true
		switch c.Name {
		case xmpp.Name{Space: xmpp.NSBind2, Local: "tag"}:
			b.tag = c.Text()
		case xmpp.Name{Space: xmpp.NSSM, Local: "enable"}:
			b.sm = c
		case xmpp.Name{Space: xmpp.NSCSI, Local: "inactive"}:
			b.inactive = true
		case xmpp.Name{Space: xmpp.NSCSI, Local: "active"}:
		default:
			b.features = append(b.features, c)
		}
	}
	both := seen[xmpp.Name{Space: xmpp.NSCSI, Local: "inactive"}] && seen[xmpp.Name{Space: xmpp.NSCSI, Local: "active"}]
	return b, !both
}

// isUUID says that s has the form of a UUID, in lower case.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		}
	}
	return true
}

// resource chooses one (XEP-0386 §4.2.1): the tag, and a part that stays the same for an installation of a client and
// does not tell its id. A client that has none gets another part each time, and one whose tag cannot be in a resource
// goes without.
func (g *greeting) resource(tag, agent string) (jid.JID, error) {
	part := wire.NewID()
	if agent != "" {
		sum := g.srv.accounts.Derive("resource", g.user.String(), tag, agent)
		part = base64.RawURLEncoding.EncodeToString(sum[:12])
	}
	if tag != "" && len(tag) <= maxTag {
		if full, err := g.user.WithResource(tag + "/" + part); err == nil {
			return full, nil
		}
	}
	return g.user.WithResource(part)
}

// deviceOf is the device of a login, "" for one that does not say which it is.
func deviceOf(user jid.JID, q *request) string {
	if q.agent.ID == "" {
		return ""
	}
	return devices.ID(user, q.agent.ID)
}

// bindInline makes a session with what else the client has asked for, and returns <bound/> (XEP-0386 §4.2).
func (g *greeting) bindInline(q *request) (answer []byte, err error) {
	full, err := g.resource(q.bind.tag, q.agent.ID)
	if err != nil {
		return nil, err
	}
	w := wishes{device: deviceOf(g.user, q), inactive: q.bind.inactive}
	if q.bind.sm != nil {
		w.sm = newManagement(g.srv.resumeWindow(q.bind.sm))
	}
	if err := g.bind(full, w); err != nil {
		return nil, err
	}
	g.stillActive()
	g.replaceOthers()
	answer = append(answer, "<bound xmlns='"+xmpp.NSBind2+"'>"...)
	answer = append(answer, g.srv.router.BindInline(g.s.rs, q.bind.features)...)
	if w.sm != nil {
		answer = append(answer, w.sm.enabled(g.srv.location)...)
	}
	g.sayLogin()
	return append(answer, "</bound>"...), nil
}

// replaceOthers ends what sessions the same installation of a client has left (XEP-0386 §4.2).
func (g *greeting) replaceOthers() {
	if g.s.device == "" {
		return
	}
	for _, other := range g.srv.router.Sessions(g.user) {
		if other != g.s.rs && other.Connection().Device == g.s.device {
			other.End(string(stream.Conflict), "replaced by a new session")
		}
	}
}

// appendInline announces what can be asked for with the login.
func (g *greeting) appendInline(f []byte) []byte {
	f = append(f, "<inline><bind xmlns='"+xmpp.NSBind2+"'><inline>"...)
	for _, name := range append(g.srv.router.InlineFeatures(), xmpp.NSCSI, xmpp.NSSM) {
		f = append(f, "<feature var='"...)
		f = append(xmpp.AppendAttr(f, name), "'/>"...)
	}
	f = append(f, "</inline></bind>"...)
	if g.srv.settings().ResumeWindow >= time.Second {
		f = append(f, "<sm xmlns='"+xmpp.NSSM+"'/>"...) // XEP-0198 §9.2
	}
	return append(g.appendFast(f), "</inline>"...)
}
