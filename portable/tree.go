package portable

import "jackdaw/xmpp"

// element writes a tree.
func (w *writer) element(e *xmpp.Element) {
	w.start(e.Name, e.Attrs...)
	for _, n := range e.Content {
		if n.Elem != nil {
			w.element(n.Elem)
		} else {
			w.text(n.Text)
		}
	}
	w.end()
}
