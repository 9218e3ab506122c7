package stream

import "jackdaw/xmpp"

// An Unwrapper reads a document whose root wraps elements that come and go on their own, as <body/> does in BOSH
// (XEP-0124 §6). It is for one document: first Open, then Content.
type Unwrapper struct{ s Scanner }

// wrapper is what is known of the root.
type wrapper struct {
	name  xmpp.Name
	attrs []xmpp.Attr
}

// NewUnwrapper returns an Unwrapper for documents of this root. Limits are those of each element in it, and of the
// root's start tag.
func NewUnwrapper(root xmpp.Name, l Limits) *Unwrapper {
	return &Unwrapper{Scanner{limits: l.orDefault(), mode: inWrapper, wrapper: &wrapper{name: root}}}
}

// Open reads the start tag of the root, and what XML allows before it, at the beginning of b. n is its length, 0 if b
// ends before it does. An error is a *SyntaxError.
func (u *Unwrapper) Open(b []byte) (attrs []xmpp.Attr, n int, err error) {
	item, n, err := u.s.Scan(b)
	if err != nil || item == ItemNone {
		return nil, 0, err
	}
	return u.s.wrapper.attrs, n, nil
}

// Content reads the rest of the document, from behind the start tag. It appends to dst the elements that it wraps, each
// of them self-contained where the default namespace is jabber:client, and says how many there are; more than most are
// refused, as is text between them. An error is a *SyntaxError.
//
// COMPAT: an element that declares no namespace has that of the root. Clients that leave it out mean jabber:client, and
// as long as the default namespace is the root's own, it is read so.
func (u *Unwrapper) Content(dst, b []byte, l Limits, most int) (content []byte, count int, err error) {
	s := &u.s
	s.SetLimits(l)
	defer u.Close()
	for s.phase != ended {
		item, n, err := s.Scan(b)
		if err != nil {
			return nil, 0, err
		}
		switch item {
		case ItemElement:
			if count++; count > most {
				return nil, 0, s.refuse(b, fail(0, PolicyViolation, "too many elements"))
			}
			_, raw := s.Element()
			dst = append(dst, raw...)
		case ItemNone:
			return nil, 0, s.refuse(b, fail(len(b), NotWellFormed, "end inside the document"))
		}
		b = b[n:]
	}
	for i, c := range b {
		if class[c]&isSpace == 0 {
			return nil, 0, s.refuse(b, trailer(b, i))
		}
	}
	return dst, count, nil
}

// Close lets go of what reading needed, for whoever does not come to Content.
func (u *Unwrapper) Close() {
	u.s.scratch().state = between
	u.s.Release()
}

// wrapperHead reads the start tag of a document that is a wrapper.
func (s *Scanner) wrapperHead(b []byte, name xmpp.Name) *SyntaxError {
	w := s.w
	if name != s.wrapper.name {
		return fail(w.tag, InvalidNamespace, "another root element than expected")
	}
	s.content = xmpp.NSClient
	outer := 0
	for _, d := range w.binds {
		if outer += len(d.prefix) + len(d.uri); outer > maxOuter {
			return fail(w.tag, PolicyViolation, "namespace declarations longer than allowed")
		}
		switch {
		case d.prefix != "":
			s.outer = append(s.outer, d)
		case d.uri == name.Space:
			s.implied = xmpp.NSClient
		default:
			s.implied = d.uri
		}
	}
	for i := range w.attrs {
		a := &w.attrs[i]
		if a.declares {
			continue
		}
		n := xmpp.Name{Local: string(a.name(b))}
		if a.colon >= 0 {
			n.Local = string(a.local(b))
			n.Space, _ = s.resolve(a.prefix(b))
		}
		s.wrapper.attrs = append(s.wrapper.attrs, xmpp.Attr{Name: n, Value: string(w.value(b, a))})
	}
	s.rootName = string(b[w.name.a:w.name.b])
	s.phase = underway
	w.kind = ItemHeader
	return nil
}
