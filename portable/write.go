package portable

import (
	"bufio"
	"io"
	"strconv"

	"jackdaw/xmpp"
)

// A writer writes tokens as XML that is the same for the same tokens: namespaces are declared where they change, and
// only attributes have prefixes.
type writer struct {
	out    *bufio.Writer
	spaces []string // default namespace within each open element
	names  []string
	tag    bool // the last start tag has no '>' yet
	buf    []byte
	err    error
}

func newWriter(out io.Writer) *writer { return &writer{out: bufio.NewWriterSize(out, 64<<10)} }

func (w *writer) raw(b []byte) {
	if w.err == nil {
		_, w.err = w.out.Write(b)
	}
}

func (w *writer) closeTag() {
	if w.tag {
		w.tag = false
		w.raw([]byte{'>'})
	}
}

// start opens an element.
func (w *writer) start(name xmpp.Name, attrs ...xmpp.Attr) {
	w.closeTag()
	in := ""
	if n := len(w.spaces); n > 0 {
		in = w.spaces[n-1]
	}
	local := name.Local
	b := append(w.buf[:0], '<')
	if name.Space == xmpp.NSXML { // it cannot be the default namespace
		local = "xml:" + local
	}
	b = append(b, local...)
	if name.Space != in && name.Space != xmpp.NSXML {
		in = name.Space
		b = append(append(append(b, " xmlns='"...), xmpp.AppendAttr(nil, in)...), '\'')
	}
	for i, a := range attrs {
		b = append(b, ' ')
		switch a.Name.Space {
		case "":
		case xmpp.NSXML:
			b = append(b, "xml:"...)
		default:
			prefix := append([]byte("ns"), strconv.Itoa(i)...)
			b = append(append(append(b, "xmlns:"...), prefix...), "='"...)
			b = append(append(xmpp.AppendAttr(b, a.Name.Space), "' "...), prefix...)
			b = append(b, ':')
		}
		b = append(append(b, a.Name.Local...), "='"...)
		b = append(xmpp.AppendAttr(b, a.Value), '\'')
	}
	w.raw(b)
	w.buf, w.tag = b, true
	w.spaces, w.names = append(w.spaces, in), append(w.names, local)
}

func (w *writer) end() {
	n := len(w.names) - 1
	if w.tag {
		w.tag = false
		w.raw([]byte("/>"))
	} else {
		w.raw(append(append(append(w.buf[:0], "</"...), w.names[n]...), '>'))
	}
	w.spaces, w.names = w.spaces[:n], w.names[:n]
}

func (w *writer) text(s string) {
	if s != "" {
		w.closeTag()
		w.buf = xmpp.AppendText(w.buf[:0], s)
		w.raw(w.buf)
	}
}

// token writes what a scanner has read.
func (w *writer) token(t token) {
	switch t.kind {
	case startTag:
		w.start(t.name, t.at...)
	case endTag:
		w.end()
	case charData:
		w.text(t.text)
	}
}

// flush ends the writing and returns the first error of all.
func (w *writer) flush() error {
	w.closeTag()
	if w.err == nil {
		w.err = w.out.Flush()
	}
	return w.err
}
