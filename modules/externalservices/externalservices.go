// Package externalservices tells the users of a host of services outside XMPP, such as relays for calls, with
// credentials that are made for them (XEP-0215). Whoever has asked is told of changes until its session ends.
//
// It does not know what the services are: whoever makes it says which there are and how credentials come about.
//
// Left out: extended information (§4), which no such service has; names of services for people.
package externalservices

import (
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Name is that of the module.
const Name = "externalservices"

// ns is the namespace of XEP-0215.
const ns = "urn:xmpp:extdisco:2"

// A Service is one that users are told of.
type Service struct {
	Type      string // as registered (§9.3): stun, turn, and stuns and turns for TLS
	Host      string // a name or an address
	Port      int
	Transport string // udp or tcp
	// Sign makes credentials for a user, a bare address; nil: none are needed.
	Sign func(user jid.JID) (Credentials, error)
}

// Credentials are good at a service until they expire.
type Credentials struct {
	Username, Password string
	Expires            time.Time
}

// An id is what tells services apart.
type id struct {
	kind, host, transport string
	port                  int
}

func (s *Service) id() id { return id{s.Type, s.Host, s.Transport, s.Port} }

// Options of New; all are needed.
type Options struct {
	Router *router.Router
	// Services are those of a host; asked with each request.
	Services func(host string) []Service
	// May says whether an account may have credentials.
	May func(user jid.JID) (bool, error)
	Log *slog.Logger
}

// A Module is the module. It is safe for concurrent use.
type Module struct {
	o      Options
	pushes atomic.Int64 // for the ids of requests

	mu    sync.Mutex                          // guards the rest
	asked map[*router.Session]map[string]bool // the types that a session wants to know of; "": all
	told  map[string][]Service                // by host, when somebody was last told
}

// New returns the module.
func New(o Options) *Module {
	return &Module{o: o, asked: map[*router.Session]map[string]bool{}, told: map[string][]Service{}}
}

// Module returns it as plain data.
func (m *Module) Module() router.Module {
	return router.Module{
		Name:     Name,
		Specs:    []router.Spec{{Name: "XEP-0215", Version: "1.0.0", Note: "for users of the host"}},
		Features: []string{ns},
		IQ: []router.IQ{
			{Payload: xmpp.Name{Space: ns, Local: "services"}, Scope: router.Host, Handle: m.services},
			{Payload: xmpp.Name{Space: ns, Local: "credentials"}, Scope: router.Host, Handle: m.credentials},
		},
		Ended: func(s *router.Session, _ *xmpp.Stanza) { m.forget(s) },
	}
}

func (m *Module) forget(s *router.Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.asked, s)
}

// admit refuses whoever is no user of the host, or may have nothing.
func (m *Module) admit(e *router.Envelope) (user jid.JID, ok bool) {
	s := e.Session
	switch {
	case e.Stanza.Type != xmpp.TypeGet:
		e.Refuse(xmpp.BadRequest("expected a request of type get"))
		return user, false
	case s == nil || s.Bare().Domain() != e.Stanza.To.Domain(): // §2: forbidden
		e.Refuse(xmpp.Forbidden("this is for users of " + e.Stanza.To.Domain()))
		return user, false
	}
	switch may, err := m.o.May(s.Bare()); {
	case err != nil:
		m.o.Log.Warn("whether an account may use services cannot be found out", "account", s.Bare(), "error", err)
		e.Refuse(router.Unavailable())
		return user, false
	case !may:
		e.Refuse(xmpp.Forbidden("the account may not use services"))
		return user, false
	}
	return s.Bare(), true
}

// services answers who asks for all, or for those of one type (§3.1, §3.2).
func (m *Module) services(e *router.Envelope) {
	user, ok := m.admit(e)
	if !ok {
		return
	}
	q := e.Stanza.Child(xmpp.Name{Space: ns, Local: "services"})
	if q == nil {
		e.Refuse(xmpp.BadRequest("expected services"))
		return
	}
	kind, host := q.Attr("type"), user.Domain()
	all := m.o.Services(host)
	if kind == "" || slices.ContainsFunc(all, func(s Service) bool { return s.Type == kind }) {
		m.note(e.Session, host, kind, all)
	}
	w := xmpp.NewWriter(nil).Start(ns, "services")
	if kind != "" {
		w.Attr("type", kind)
	}
	for i := range all {
		if kind == "" || kind == all[i].Type {
			m.write(w, user, &all[i], "")
		}
	}
	m.o.Router.Answer(e, w.End().Bytes())
}

// note remembers that a session wants to be told of changes. A session has a few types at most: those that there are.
func (m *Module) note(s *router.Session, host, kind string, all []Service) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.asked[s] == nil {
		m.asked[s] = map[string]bool{}
	}
	m.asked[s][kind] = true
	if m.told[host] == nil {
		m.told[host] = all
	}
}

// write writes a service with fresh credentials; action is what became of it, if it is pushed.
func (m *Module) write(w *xmpp.Writer, user jid.JID, s *Service, action string) {
	w.Start("", "service")
	if action != "" {
		w.Attr("action", action)
	}
	w.Attr("type", s.Type).Attr("host", s.Host).Attr("port", strconv.Itoa(s.Port)).Attr("transport", s.Transport)
	if s.Sign != nil && action != "delete" {
		w.Attr("restricted", "true")
		// A user without credentials is told of the service all the same; a request for them says why there are none.
		if c, err := s.Sign(user); err == nil {
			sign(w, c)
		} else {
			m.o.Log.Warn("no credentials for a service", "account", user, "service", s.Host, "error", err)
		}
	}
	w.End()
}

func sign(w *xmpp.Writer, c Credentials) {
	w.Attr("username", c.Username).Attr("password", c.Password).Attr("expires", xmpp.FormatTime(c.Expires))
}

// credentials answers who asks for those at a service that he knows (§3.3).
func (m *Module) credentials(e *router.Envelope) {
	user, ok := m.admit(e)
	if !ok {
		return
	}
	q := e.Stanza.Child(xmpp.Name{Space: ns, Local: "credentials"})
	var wanted *xmpp.Element
	if q != nil {
		wanted = q.Child(xmpp.Name{Space: ns, Local: "service"})
	}
	if wanted == nil || wanted.Attr("host") == "" || wanted.Attr("type") == "" {
		e.Refuse(xmpp.BadRequest("expected a service with host and type"))
		return
	}
	w, found := xmpp.NewWriter(nil).Start(ns, "credentials"), false
	for _, s := range m.o.Services(user.Domain()) {
		port := wanted.Attr("port")
		if s.Host != wanted.Attr("host") || s.Type != wanted.Attr("type") || s.Sign == nil ||
			port != "" && port != strconv.Itoa(s.Port) {
			continue
		}
		c, err := s.Sign(user)
		if err != nil {
			m.o.Log.Warn("no credentials for a service", "account", user, "service", s.Host, "error", err)
			continue
		}
		found = true
		w.Start("", "service").Attr("type", s.Type).Attr("host", s.Host).Attr("port", strconv.Itoa(s.Port)).
			Attr("transport", s.Transport)
		sign(w, c)
		w.End()
	}
	if !found {
		e.Refuse(xmpp.ItemNotFound("there are no credentials at such a service"))
		return
	}
	m.o.Router.Answer(e, w.End().Bytes())
}

// Changed tells those who have asked what became of the services since (§3.2, Services Push).
func (m *Module) Changed() {
	m.mu.Lock()
	was, now := m.told, map[string][]Service{}
	for host := range was {
		now[host] = m.o.Services(host)
	}
	m.told = now
	asked := make(map[*router.Session][]string, len(m.asked))
	for s, kinds := range m.asked {
		for kind := range kinds {
			asked[s] = append(asked[s], kind)
		}
	}
	m.mu.Unlock()
	batch := new(router.Batch)
	for s, kinds := range asked {
		host := s.Bare().Domain()
		if slices.Contains(kinds, "") { // who knows all is told all, once
			kinds = []string{""}
		}
		for _, kind := range kinds {
			m.push(batch, s, kind, was[host], now[host])
		}
	}
	batch.Flush()
}

// push tells one session of the services that went and came.
func (m *Module) push(batch *router.Batch, to *router.Session, kind string, was, now []Service) {
	w, any := xmpp.NewWriter(nil).Start(ns, "services"), false
	if kind != "" {
		w.Attr("type", kind)
	}
	changed := func(list, other []Service, action string) {
		for i := range list {
			s := &list[i]
			if (kind == "" || kind == s.Type) &&
				!slices.ContainsFunc(other, func(o Service) bool { return o.id() == s.id() }) {
				any = true
				m.write(w, to.Bare(), s, action)
			}
		}
	}
	changed(was, now, "delete")
	changed(now, was, "add")
	if !any {
		return
	}
	from, err := jid.New("", to.Bare().Domain(), "")
	if err != nil {
		return // it is a host
	}
	to.Send(batch, router.Delivery{Copy: true, Stanza: &xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeSet, From: from,
		To: to.Addr(), ID: "services-" + strconv.FormatInt(m.pushes.Add(1), 10), Payload: w.End().Bytes()}})
}
