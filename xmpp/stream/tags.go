package stream

import (
	"bytes"
	"cmp"

	"jackdaw/xmpp"
)

// Places of a namespace declaration, as resolve gives them beside indexes of scratch.binds.
const (
	unbound  = -1
	around   = -2 // the default namespace around an item: declared by the stream header, or by nothing
	builtin  = -3 // the prefix xml
	plain    = -4 // no prefix; never given by resolve
	atHeader = -5 // the first prefix that the stream header declares; those after it come below
)

// openTag handles the start tag that ends at end. Its pieces are in w.tag, w.name and w.attrs.
func (s *Scanner) openTag(b []byte, end int, empty bool) (ItemKind, *SyntaxError) {
	w := s.w
	w.cdata = false
	level := len(w.stack)
	if level >= s.limits.Depth {
		return ItemNone, fail(w.tag, PolicyViolation, "elements nested too deep")
	}
	if w.count++; w.count > s.limits.Elements {
		return ItemNone, fail(w.tag, PolicyViolation, "too many elements")
	}
	mark := len(w.binds)
	if len(w.attrs) > 0 {
		if err := s.attributes(b); err != nil {
			return ItemNone, err
		}
	}
	source := plain
	if level == 0 && s.mode != inContent {
		if err := s.head(b, end); err != nil {
			return ItemNone, err
		}
		switch {
		case w.kind == ItemHeader && empty && s.mode == inWrapper:
			s.phase = ended
			return w.kind, nil
		case w.kind == ItemHeader && empty:
			return ItemNone, fail(w.tag, BadFormat, "stream closed by its own header")
		case w.kind == ItemHeader || empty:
			w.body = span{end, end}
			return w.kind, nil
		case w.kind == ItemElement && w.ncol >= 0:
			_, source = s.resolve(w.prefix(b))
		}
	} else {
		var err *SyntaxError
		if source, err = s.inner(b, level, mark); err != nil {
			return ItemNone, err
		}
	}
	if err := s.fits(end); err != nil {
		return ItemNone, err
	}
	if !empty {
		w.stack = append(w.stack, open{w.name, mark, source})
		return ItemNone, nil
	}
	w.binds = w.binds[:mark]
	if level == w.level {
		w.endChild(end)
	}
	return ItemNone, nil
}

// endChild ends a child of the payload.
func (w *scratch) endChild(end int) {
	if w.dropping {
		w.drop(end)
		return
	}
	w.children[len(w.children)-1].End = end
}

// closeTag handles the end tag that ends at end; its name has been checked.
func (s *Scanner) closeTag(end int) ItemKind {
	w := s.w
	w.cdata = false
	level := len(w.stack) - 1
	if level < 0 {
		return ItemEnd
	}
	w.binds = w.binds[:w.stack[level].mark]
	w.stack = w.stack[:level]
	if level == w.level {
		w.endChild(end)
	}
	if level > 0 || s.mode == inContent {
		return ItemNone
	}
	w.body.b = w.tok - 2 // at "</"
	return w.kind
}

// attributes declares the namespaces of the tag just read, resolves the prefixes of its attributes and refuses doubles.
func (s *Scanner) attributes(b []byte) *SyntaxError {
	w := s.w
	prefixed := 0
	for i := range w.attrs {
		a := &w.attrs[i]
		name := a.name(b)
		for j := range i { // XML 1.0 §3.1; the limit on attributes keeps this cheap
			if o := w.attrs[j].name(b); len(o) == len(name) && o[0] == name[0] && bytes.Equal(o, name) {
				return fail(int(a.at), NotWellFormed, "attribute twice")
			}
		}
		switch {
		case a.colon >= 0 && string(a.prefix(b)) == "xmlns":
			a.declares = true
			if err := s.declare(b, a, a.local(b)); err != nil {
				return err
			}
		case a.colon >= 0:
			prefixed++
		case string(name) == "xmlns":
			a.declares = true
			if err := s.declare(b, a, nil); err != nil {
				return err
			}
		}
	}
	for i := range w.attrs {
		if prefixed == 0 {
			break
		}
		a := &w.attrs[i]
		if a.colon < 0 || a.declares {
			continue
		}
		uri, at := s.resolve(a.prefix(b))
		if a.bind = int32(at); at == unbound {
			return fail(int(a.at), NotWellFormed, "prefix without a namespace")
		}
		for j := range i { // Namespaces in XML 1.0 §6.3
			o := &w.attrs[j]
			if o.colon < 0 || o.declares || !bytes.Equal(o.local(b), a.local(b)) {
				continue
			}
			if other, _ := s.resolve(o.prefix(b)); s.outward(other) == s.outward(uri) {
				return fail(int(a.at), NotWellFormed, "attribute twice")
			}
		}
	}
	return nil
}

// declare puts a namespace declaration into force (Namespaces in XML 1.0 §3).
func (s *Scanner) declare(b []byte, a *attr, prefix []byte) *SyntaxError {
	w := s.w
	if len(w.binds) >= s.limits.Declarations {
		return fail(int(a.at), PolicyViolation, "too many namespace declarations")
	}
	uri := w.intern(w.value(b, a))
	switch {
	case string(prefix) == "xmlns" || uri == xmpp.NSXMLNS:
		return fail(int(a.at), NotWellFormed, "the prefix xmlns cannot be declared")
	case (string(prefix) == "xml") != (uri == xmpp.NSXML):
		return fail(int(a.at), NotWellFormed, "the prefix xml cannot be declared anew")
	case len(prefix) > 0 && uri == "":
		return fail(int(a.at), NotWellFormed, "a prefix cannot be undeclared")
	}
	w.binds = append(w.binds, binding{w.intern(prefix), uri})
	return nil
}

// resolve returns the namespace of a prefix, or of none, and where it was declared.
func (s *Scanner) resolve(prefix []byte) (string, int) {
	w := s.w
	for i := len(w.binds) - 1; i >= 0; i-- {
		if w.binds[i].prefix == string(prefix) {
			return w.binds[i].uri, i
		}
	}
	if len(prefix) == 0 {
		return s.implied, around
	}
	for i, o := range s.outer {
		if o.prefix == string(prefix) {
			return o.uri, atHeader - i
		}
	}
	if string(prefix) == "xml" {
		return xmpp.NSXML, builtin
	}
	return "", unbound
}

// prefix is that of the element just read, nil without one.
func (w *scratch) prefix(b []byte) []byte {
	if w.ncol < 0 {
		return nil
	}
	return b[w.name.a:w.ncol]
}

func (w *scratch) local(b []byte) []byte { return b[max(w.name.a, w.ncol+1):w.name.b] }

// contentSpace reports whether uri stands for the content namespace: that of the stream, or that in which payloads have
// it.
func (s *Scanner) contentSpace(uri string) bool { return uri == xmpp.NSClient || uri == s.content }

// inner handles an element below the top, or anywhere in content. Declarations from mark on are its own. It says where
// the namespace of the element was found.
func (s *Scanner) inner(b []byte, level, mark int) (source int, err *SyntaxError) {
	w := s.w
	child := level == w.level
	above := plain
	if level > 0 {
		above = w.stack[level-1].source
	}
	if w.ncol < 0 && !child && !w.foreign && len(w.attrs) == 0 && above == plain {
		return plain, nil
	}
	source = plain
	if child {
		w.tagEnds = append(w.tagEnds, w.name.b)
	}
	if w.ncol >= 0 || child || w.foreign || above != plain {
		prefix := w.prefix(b)
		uri, at := s.resolve(prefix)
		if at == unbound {
			return plain, fail(w.tag, NotWellFormed, "prefix without a namespace")
		}
		if w.ncol >= 0 {
			source = at
		}
		if !child && source != above && at < mark && at != builtin {
			w.made += declarationLen(nil, s.outward(uri))
		}
		if w.ncol >= 0 || w.foreign {
			w.lean(prefix, s.outward(uri), at)
		}
		if child {
			switch {
			case s.contentSpace(uri):
				uri = xmpp.NSClient
			case s.alien(uri):
				w.dropping, w.dropEdits = true, len(w.edits)
			}
			c := w.addChild(w.tag)
			c.Name.Local, c.Name.Space = w.intern(w.local(b)), uri
		}
	}
	for i := range w.attrs {
		a := &w.attrs[i]
		switch {
		case a.declares:
			// The content namespace is called otherwise on other streams: leave it unnamed.
			var prefix []byte
			if a.colon >= 0 {
				prefix = a.local(b)
			}
			uri, _ := s.resolve(prefix)
			switch {
			case child && a.colon < 0 && s.contentSpace(uri):
				w.edits = append(w.edits, edit{a: int(a.at) - 1, b: int(a.to) + 1, what: cut})
			case s.outward(uri) != uri:
				w.edits = append(w.edits, edit{a: int(a.from), b: int(a.to), what: renamed})
				w.made += max(0, len(xmpp.NSClient)-int(a.to-a.from))
			}
		case a.colon >= 0:
			s.leanAttr(b, i)
		}
	}
	return source, nil
}

// head handles the start tag of an item.
func (s *Scanner) head(b []byte, end int) *SyntaxError {
	w := s.w
	w.start = w.tag
	prefix := w.prefix(b)
	uri, at := s.resolve(prefix)
	if at == unbound {
		return fail(w.tag, NotWellFormed, "prefix without a namespace")
	}
	local := w.intern(w.local(b))
	switch {
	case s.mode == inStream && s.phase == beforeHeader:
		return s.streamHeader(b, uri, local, prefix)
	case s.mode == inWrapper && s.phase == beforeHeader:
		return s.wrapperHead(b, xmpp.Name{Space: uri, Local: local})
	}
	if uri == xmpp.NSStream && local == "stream" {
		return fail(w.tag, BadFormat, "stream header inside a stream")
	}
	if s.bare && (uri == "" || uri == xmpp.NSClient) {
		s.content = uri
	}
	outside, _ := s.resolve(nil)
	w.foreign = outside != s.content
	w.body = span{end, end}
	if kind := xmpp.KindOf(local); kind != 0 && uri == s.content && s.mode != inWrapper {
		w.kind, w.level, w.outside = ItemStanza, 1, len(w.binds)
		s.stanzaHead(b, kind)
		return nil
	}
	w.kind = ItemElement
	w.elemName = xmpp.Name{Space: uri, Local: local}
	if uri == s.content {
		w.elemName.Space = xmpp.NSClient
	}
	w.tagEnds = append(w.tagEnds, w.name.b)
	w.foreign = s.implied != s.content
	if w.ncol >= 0 || w.foreign {
		w.lean(prefix, uri, at)
	}
	for i := range w.attrs {
		if a := &w.attrs[i]; a.colon >= 0 && !a.declares {
			s.leanAttr(b, i)
		}
	}
	return nil
}

// stanzaHead reads the attributes of a stanza's start tag (RFC 6120 §8.1).
func (s *Scanner) stanzaHead(b []byte, kind xmpp.Kind) {
	w := s.w
	st := &w.stanza
	*st = xmpp.Stanza{Kind: kind}
	w.headAttrs = w.headAttrs[:0]
	typ, spoken := "", false
	for i := range w.attrs {
		a := &w.attrs[i]
		if a.declares {
			continue
		}
		switch string(a.name(b)) {
		case "to":
			var ok bool
			st.To, ok = w.address(w.value(b, a))
			w.badTo = !ok
		case "from":
			var ok bool
			st.From, ok = w.address(w.value(b, a))
			w.badFrom = !ok
		case "id":
			st.ID = string(w.value(b, a))
		case "type":
			typ = w.intern(w.value(b, a))
		case "xml:lang":
			st.Lang, spoken = w.intern(w.value(b, a)), true
		default:
			s.keepAttr(b, i)
		}
	}
	st.Type = xmpp.TypeOf(kind, typ)
	if !spoken { // RFC 6120 §4.7.4: then it is in the language of its stream, which ends here
		st.Lang = s.language()
	}
	if len(w.headAttrs) > 0 {
		st.Attrs = w.headAttrs
	}
}

// keepAttr copies an attribute of the head as written, and declares its prefix behind it unless an earlier one did.
func (s *Scanner) keepAttr(b []byte, i int) {
	w := s.w
	a := &w.attrs[i]
	w.headAttrs = append(w.headAttrs, ' ')
	w.headAttrs = append(w.headAttrs, a.name(b)...)
	w.headAttrs = append(w.headAttrs, '=')
	w.headAttrs = append(w.headAttrs, b[a.from-1:a.to+1]...)
	if a.colon < 0 || a.bind == builtin {
		return
	}
	for j := range i {
		if o := &w.attrs[j]; o.colon >= 0 && !o.declares && bytes.Equal(o.prefix(b), a.prefix(b)) {
			return
		}
	}
	uri, at := s.resolve(a.prefix(b))
	if at <= atHeader {
		w.made += declarationLen(a.prefix(b), s.outward(uri))
	}
	w.headAttrs = appendDeclaration(w.headAttrs, string(a.prefix(b)), s.outward(uri))
}

func appendDeclaration(dst []byte, prefix, uri string) []byte {
	dst = append(dst, " xmlns"...)
	if prefix != "" {
		dst = append(dst, ':')
		dst = append(dst, prefix...)
	}
	dst = append(dst, '=', '\'')
	return append(xmpp.AppendAttr(dst, uri), '\'')
}

// streamHeader reads the start tag of the stream (RFC 6120 §4.7).
func (s *Scanner) streamHeader(b []byte, uri, local string, prefix []byte) *SyntaxError {
	w := s.w
	switch {
	case uri != xmpp.NSStream:
		return fail(w.tag, InvalidNamespace, "root element outside the stream namespace") // RFC 6120 §4.9.3.10
	case local != "stream":
		return fail(w.tag, BadFormat, "root element other than 'stream'")
	}
	h := Header{Prefix: string(prefix)}
	outer := 0
	for _, d := range w.binds {
		if outer += len(d.prefix) + len(d.uri); outer > maxOuter {
			return fail(w.tag, PolicyViolation, "namespace declarations longer than allowed")
		}
		if d.prefix == "" {
			h.Content = d.uri
			continue
		}
		h.Dialback = h.Dialback || d.uri == xmpp.NSDialback
		s.outer = append(s.outer, d)
	}
	if h.Content == "" {
		return fail(w.tag, InvalidNamespace, "no content namespace")
	}
	for i := range w.attrs {
		a := &w.attrs[i]
		if a.declares {
			continue
		}
		var ok bool
		switch v := w.value(b, a); string(a.name(b)) {
		case "to":
			h.To, ok = w.address(v)
			h.BadTo = !ok
		case "from":
			h.From, ok = w.address(v)
			h.BadFrom = !ok
		case "id":
			h.ID = string(v)
		case "version":
			h.Version = w.intern(v)
		case "xml:lang":
			if len(v) <= maxLang {
				h.Lang = w.intern(v)
			}
		}
	}
	s.header = &h
	s.content, s.implied = h.Content, h.Content
	if len(prefix) == 0 { // the stanzas say it themselves (RFC 6120 §4.8.2)
		s.header.Content = cmp.Or(s.expected, xmpp.NSClient)
		s.content, s.implied = s.header.Content, xmpp.NSStream
	}
	s.rootName = string(b[w.name.a:w.name.b])
	s.phase = underway
	w.kind = ItemHeader
	return nil
}
