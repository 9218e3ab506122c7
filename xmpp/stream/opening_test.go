package stream

import "testing"

// A scanner that reads what another has written of its header goes on as that one would.
func TestAnOpeningStandsForTheHeader(t *testing.T) {
	for _, c := range []struct{ header, then, want string }{
		{"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='example.org' " +
			"from='romeo@example.org' version='1.0' xml:lang='de' id='a&amp;b'>", "<message><body>x</body></message>", "</stream:stream>"},
		{"<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams' xmlns:p='urn:p&apos;' to='example.org'>",
			"<p:x p:y='1'/>", "</s:stream>"},
		{"<stream xmlns='http://etherx.jabber.org/streams' to='example.org'>", "<message xmlns='jabber:client'/>", "</stream>"},
		{"<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='a.example.org'>",
			"<handshake>x</handshake>", "</stream:stream>"},
	} {
		var a, b Scanner
		if item, n, err := a.Scan([]byte(c.header)); item != ItemHeader || n != len(c.header) || err != nil {
			t.Fatal(item, n, err)
		}
		opening := a.AppendOpening(nil)
		if item, n, err := b.Scan(opening); item != ItemHeader || n != len(opening) || err != nil {
			t.Fatalf("%s: %v, %d, %v", opening, item, n, err)
		}
		if *a.Header() != *b.Header() {
			t.Errorf("%+v became %+v", a.Header(), b.Header())
		}
		itemA, _, errA := a.Scan([]byte(c.then))
		itemB, _, errB := b.Scan([]byte(c.then))
		if itemA != itemB || itemA == ItemNone || errA != nil || errB != nil {
			t.Errorf("%s: %v, %v and %v, %v", c.then, itemA, errA, itemB, errB)
		}
		if itemA == ItemElement {
			nameA, rawA := a.Element()
			if nameB, rawB := b.Element(); nameA != nameB || string(rawA) != string(rawB) {
				t.Errorf("%v %s and %v %s", nameA, rawA, nameB, rawB)
			}
		} else if x, y := string(a.Stanza().Append(nil)), string(b.Stanza().Append(nil)); x != y {
			t.Errorf("%s and %s", x, y)
		}
		if item, _, err := b.Scan([]byte(c.want)); item != ItemEnd || err != nil {
			t.Errorf("%s: %v, %v", c.want, item, err)
		}
	}
}
