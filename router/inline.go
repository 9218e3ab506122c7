package router

import "jackdaw/xmpp"

// An Inline is what a module does for a session while its resource is bound (XEP-0386 §4.2), before the session is
// given anything.
type Inline struct {
	// Feature is announced as what can be asked for; "" announces nothing.
	Feature string
	// Request is the element by which the client asks for it. Without a name it is done for every session that is bound
	// in this way, after what was asked for.
	Request xmpp.Name
	// Bind does it, and returns what the client is told of it, as XML in its own namespace. The request is nil for an
	// Inline without one. The session is in the table, and has not been told its address yet.
	Bind func(s *Session, request *xmpp.Element) []byte
}

// InlineFeatures are those that a client may ask for while its resource is bound, in the order of modules.
func (r *Router) InlineFeatures() (all []string) {
	for _, m := range r.Modules() {
		for i := range m.Inline {
			if f := m.Inline[i].Feature; f != "" {
				all = append(all, f)
			}
		}
	}
	return all
}

// BindInline does for a session that was just bound what its client asks for, each feature once, and then what is done
// for all. It returns the answers together. A request that no module owns is passed over.
func (r *Router) BindInline(s *Session, requests []*xmpp.Element) (answers []byte) {
	modules := r.Modules()
	for _, m := range modules {
		for i := range m.Inline {
			one := &m.Inline[i]
			for _, q := range requests {
				if one.Request != (xmpp.Name{}) && q.Name == one.Request {
					answers = append(answers, one.Bind(s, q)...)
					break
				}
			}
		}
	}
	for _, m := range modules {
		for i := range m.Inline {
			if one := &m.Inline[i]; one.Request == (xmpp.Name{}) {
				answers = append(answers, one.Bind(s, nil)...)
			}
		}
	}
	return answers
}
