package xmpp

import "testing"

func TestAStanzaIsMadeOfAnElement(t *testing.T) {
	el, err := ParseElement([]byte(`<message xmlns='jabber:client' xmlns:x='urn:x' type='chat' id='1' to='A@b/c' ` +
		`from='' xml:lang='en' x:y='&lt;' z='2'> <body>a</body> <q xmlns='urn:q'><r/></q></message>`))
	if err != nil {
		t.Fatal(err)
	}
	s, err := StanzaOf(el)
	if err != nil {
		t.Fatal(err)
	}
	const want = `<message type='chat' id='1' to='a@b/c' xml:lang='en' xmlns:ns5='urn:x' ns5:y='&lt;' z='2'>` +
		`<body>a</body><q xmlns='urn:q'><r/></q></message>`
	if got := string(s.Append(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, err := StanzaOf(&Element{Name: Name{NSClient, "message"},
		Attrs: []Attr{{Name: Name{Local: "to"}, Value: "@"}}}); err == nil {
		t.Error("an address that is none was taken")
	}
}
