package stream

import (
	"bytes"
	"slices"

	"jackdaw/xmpp"
)

// need is a namespace declaration that an element at the top of a payload has to gain.
type need struct {
	child       int // index into scratch.tagEnds
	prefix, uri string
}

type change uint8

const (
	cdataSection change = iota // becomes escaped text
	cut                        // goes away
	declare                    // a declaration is put in
	escaped                    // '>' becomes a reference
	renamed                    // the value of a declaration becomes jabber:client
)

// edit is one change on the way from the bytes received to a self-contained payload.
type edit struct {
	a, b int // the bytes it replaces
	what change
	need int // of a declare
	grow int // once applied: by how much the text has grown
}

// lean notes that the element read just now uses a prefix; where it is declared outside the payload, the child of the
// payload that holds the element will declare it.
func (w *scratch) lean(prefix []byte, uri string, at int) {
	if at == builtin || at >= w.outside {
		return
	}
	child := len(w.tagEnds) - 1
	for i := len(w.needs) - 1; i >= 0 && w.needs[i].child == child; i-- {
		if w.needs[i].prefix == string(prefix) {
			return
		}
	}
	w.needs = append(w.needs, need{child, w.intern(prefix), uri})
	w.made += declarationLen(prefix, uri)
}

// alien reports whether uri is the content namespace of another kind of stream. An element of it at the top of a
// payload would become content when the payload leaves on such a stream, having been looked at as something else here.
func (s *Scanner) alien(uri string) bool {
	return (uri == xmpp.NSServer || uri == xmpp.NSComponentAccept) && uri != s.content
}

// drop leaves the child of the payload out that ends at end.
func (w *scratch) drop(end int) {
	n := len(w.children) - 1
	w.edits = append(w.edits[:w.dropEdits], edit{a: w.children[n].Start, b: end, what: cut})
	for len(w.needs) > 0 && w.needs[len(w.needs)-1].child == n {
		w.needs = w.needs[:len(w.needs)-1]
	}
	w.children, w.tagEnds = w.children[:n], w.tagEnds[:n]
	w.dropping = false
	w.cdata = true // the text around it meets
}

// fits refuses an item of which more is made than may be received; size is how much of it there is so far. Whatever
// adds to w.made is followed by it before long, so that what is noted is bounded, too.
//
// Beside what contained makes of the item this counts what its elements take when each is parsed and written again
// (xmpp.Element): with the names of namespaces that they do not share with their parents, and with characters escaped
// that need not be.
func (s *Scanner) fits(size int) *SyntaxError {
	if w := s.w; w.made > 0 && size+w.made > s.limits.Bytes {
		return fail(w.tag, PolicyViolation, "larger than allowed once its prefixes and characters are written out")
	}
	return nil
}

// declarationLen is the length of what appendDeclaration appends.
func declarationLen(prefix []byte, uri string) int {
	n := len(" xmlns=''") + xmpp.AttrLen(uri)
	if len(prefix) > 0 {
		n += 1 + len(prefix)
	}
	return n
}

// outward is the name by which a payload may mention a namespace. The content namespace of a stream of peers or
// components (XEP-0114) means nothing outside it: there its elements are those of jabber:client.
func (s *Scanner) outward(uri string) string {
	if uri == s.content && uri != "" {
		return xmpp.NSClient
	}
	return uri
}

// leanAttr does the same for a prefixed attribute, the i-th of its tag.
func (s *Scanner) leanAttr(b []byte, i int) {
	w := s.w
	a := &w.attrs[i]
	if a.bind == builtin {
		return
	}
	uri, at := s.resolve(a.prefix(b))
	uri = s.outward(uri)
	for j := range i {
		if o := &w.attrs[j]; o.colon >= 0 && !o.declares && bytes.Equal(o.prefix(b), a.prefix(b)) {
			w.made += len(writtenPrefix)
			return
		}
	}
	w.made += declarationLen([]byte(writtenPrefix), uri) + len(writtenPrefix)
	w.lean(a.prefix(b), uri, at)
}

// writtenPrefix is as long as a prefix becomes that xmpp.Element makes.
const writtenPrefix = "ns999"

// finish fills the results of an item that is complete in b.
func (s *Scanner) finish(b []byte, item ItemKind) {
	w := s.w
	switch item {
	case ItemStanza:
		w.stanza.Payload = w.contained(b, w.body)
		w.stanza.Children = nil
		if len(w.children) > 0 {
			w.stanza.Children = w.children
		}
	case ItemElement:
		w.raw = w.contained(b, span{w.start, w.pos})
	case ItemEnd:
		s.phase = ended
	}
}

// contained returns part of b as a payload that stands on its own: the bytes themselves, or a copy with all edits made.
// Children become relative to it.
func (w *scratch) contained(b []byte, part span) []byte {
	if len(w.needs) == 0 && len(w.edits) == 0 {
		for i := range w.children {
			w.children[i].Start -= part.a
			w.children[i].End -= part.a
		}
		if part.a == part.b {
			return nil
		}
		return b[part.a:part.b:part.b]
	}
	for i, n := range w.needs {
		at := w.tagEnds[n.child]
		w.edits = append(w.edits, edit{a: at, b: at, what: declare, need: i})
	}
	slices.SortStableFunc(w.edits, func(x, y edit) int { return x.a - y.a })
	out, last := w.rewritten[:0], part.a
	for i := range w.edits {
		e := &w.edits[i]
		out = append(out, b[last:e.a]...)
		was := len(out)
		switch e.what {
		case cdataSection:
			out = appendCDATA(out, b[e.a:e.b])
		case escaped:
			out = append(out, "&gt;"...)
		case renamed:
			out = append(out, xmpp.NSClient...)
		case declare:
			out = appendDeclaration(out, w.needs[e.need].prefix, w.needs[e.need].uri)
		}
		last = e.b
		e.grow = len(out) - was - (e.b - e.a)
	}
	out = append(out, b[last:part.b]...)
	w.rewritten = out
	w.shift(part.a)
	return out
}

// shift moves the children to where the edits have put them.
func (w *scratch) shift(from int) {
	next, delta := 0, -from
	place := func(at int) int {
		for ; next < len(w.edits) && w.edits[next].a < at; next++ {
			delta += w.edits[next].grow
		}
		return at + delta
	}
	for i := range w.children {
		w.children[i].Start = place(w.children[i].Start)
		w.children[i].End = place(w.children[i].End)
	}
}

// cdataLen is the length of what appendCDATA appends.
func cdataLen(section []byte) int {
	n := len(section) - len("<![CDATA[]]>")
	for _, c := range [...]struct {
		b    byte
		more int
	}{{'<', len("lt;")}, {'>', len("gt;")}, {'&', len("amp;")}} {
		n += c.more * bytes.Count(section[len("<![CDATA["):len(section)-len("]]>")], []byte{c.b})
	}
	return n
}

// appendCDATA appends a whole CDATA section as the text it stands for.
func appendCDATA(dst, section []byte) []byte {
	text := section[len("<![CDATA[") : len(section)-len("]]>")]
	for len(text) > 0 {
		k := bytes.IndexAny(text, "<>&")
		if k < 0 {
			break
		}
		dst = append(dst, text[:k]...)
		dst = xmpp.AppendText(dst, string(text[k:k+1]))
		text = text[k+1:]
	}
	return append(dst, text...)
}
