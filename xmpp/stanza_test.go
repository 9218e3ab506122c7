package xmpp

import (
	"errors"
	"strings"
	"testing"
	"time"

	"jackdaw/xmpp/jid"
)

var body = Name{NSClient, "body"}

func TestStanzaIsWrittenWithEscapedHead(t *testing.T) {
	s := Stanza{
		Kind: Message, Type: TypeChat, ID: `a'<&"`, Lang: "en",
		From: jid.MustParse("romeo@example.net/it's"), To: jid.MustParse("juliet@example.com"),
		Attrs: []byte(" x:a='1' xmlns:x='urn:x'"), Payload: []byte("<body>hi</body>"),
	}
	want := `<message type='chat' id='a&apos;&lt;&amp;&quot;' from='romeo@example.net/it&apos;s' to='juliet@example.com'` +
		` xml:lang='en' x:a='1' xmlns:x='urn:x'><body>hi</body></message>`
	if got := string(s.Append(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	parts := s.AppendTail(append(s.AppendHead(nil), s.Payload...))
	if string(parts) != want {
		t.Errorf("head, payload, tail: %s", parts)
	}
	empty := Stanza{Kind: Presence}
	if got := string(empty.Append(nil)); got != "<presence/>" {
		t.Errorf("empty presence: %s", got)
	}
	if got := string(empty.AppendQualified(nil)); got != "<presence xmlns='jabber:client'/>" {
		t.Errorf("qualified presence: %s", got)
	}
}

func TestTypesFollowTheKind(t *testing.T) {
	for _, c := range []struct {
		k    Kind
		attr string
		want Type
	}{
		{Message, "", TypeNormal}, {Message, "normal", TypeNormal}, {Message, "chat", TypeChat},
		{Message, "groupchat", TypeGroupchat}, {Message, "headline", TypeHeadline}, {Message, "error", TypeError},
		{Message, "odd", TypeNormal}, {Message, "get", TypeNormal}, {Message, "probe", TypeNormal},
		{Presence, "", TypeAvailable}, {Presence, "unavailable", TypeUnavailable}, {Presence, "subscribe", TypeSubscribe},
		{Presence, "subscribed", TypeSubscribed}, {Presence, "unsubscribe", TypeUnsubscribe},
		{Presence, "unsubscribed", TypeUnsubscribed}, {Presence, "probe", TypeProbe}, {Presence, "error", TypeError},
		{Presence, "available", TypeInvalid}, {Presence, "chat", TypeInvalid}, {Presence, "get", TypeInvalid},
		{IQ, "get", TypeGet}, {IQ, "set", TypeSet}, {IQ, "result", TypeResult}, {IQ, "error", TypeError},
		{IQ, "", TypeInvalid}, {IQ, "chat", TypeInvalid}, {IQ, "probe", TypeInvalid},
	} {
		if got := TypeOf(c.k, c.attr); got != c.want {
			t.Errorf("%s type=%q: %d, want %d", c.k, c.attr, got, c.want)
		}
		if got := TypeOf(c.k, []byte(c.attr)); got != c.want {
			t.Errorf("%s type=%q as bytes: %d, want %d", c.k, c.attr, got, c.want)
		}
	}
}

func TestChildrenAreFoundWithAndWithoutAnIndex(t *testing.T) {
	payload := `<body>a<b/>c</body> <x xmlns='urn:x' a='/>'><y>1</y></x><p:z xmlns:p="urn:p"/><body>2</body>`
	s := Stanza{Kind: Message, Payload: []byte(payload)}
	indexed := s
	indexed.Children = Index(s.Payload)
	want := []Name{body, {"urn:x", "x"}, {"urn:p", "z"}, body}
	if len(indexed.Children) != len(want) {
		t.Fatalf("index: %v", indexed.Children)
	}
	for i, c := range indexed.Children {
		if c.Name != want[i] {
			t.Errorf("child %d is %v, want %v", i, c.Name, want[i])
		}
	}
	for _, s := range []Stanza{s, indexed, indexed.Clone()} {
		if got := string(s.ChildBytes(Name{"urn:x", "x"})); got != `<x xmlns='urn:x' a='/>'><y>1</y></x>` {
			t.Errorf("bytes of x: %s", got)
		}
		if e := s.Child(Name{"urn:x", "x"}); e == nil || e.ChildLocal("y").Text() != "1" || e.Attr("a") != "/>" {
			t.Errorf("element x: %+v", e)
		}
		if s.Has(Name{"urn:x", "y"}) || !s.Has(Name{"urn:p", "z"}) {
			t.Error("Has is wrong")
		}
		if n, ok := s.First(); !ok || n != body {
			t.Errorf("first: %v", n)
		}
		if got := string(s.Without(body, Name{"urn:p", "z"})); got != ` <x xmlns='urn:x' a='/>'><y>1</y></x>` {
			t.Errorf("without: %s", got)
		}
		if got := s.Without(Name{"urn:q", "q"}); &got[0] != &s.Payload[0] {
			t.Error("nothing to drop, and yet a copy")
		}
		added := s.WithAdded([]byte("<q/>"), []byte("<r/>"))
		if string(added.Payload) != payload+"<q/><r/>" || !added.Has(Name{NSClient, "r"}) || string(s.Payload) != payload {
			t.Errorf("added: %s", added.Payload)
		}
	}
}

func TestCloneOwnsItsMemory(t *testing.T) {
	s := Stanza{Kind: Message, Attrs: []byte(" a='1'"), Payload: []byte("<body/>"), Children: []Child{{body, 0, 7}}}
	c := s.Clone()
	copy(s.Attrs, "xxxxxx")
	copy(s.Payload, "xxxxxxx")
	s.Children[0].End = 0
	if got := string(c.Append(nil)); got != "<message a='1'><body/></message>" || c.Children[0].End != 7 {
		t.Errorf("clone changed: %s", got)
	}
	if e := (&Stanza{Kind: Presence}).Clone(); e.Attrs != nil || e.Payload != nil {
		t.Errorf("clone of nothing: %+v", e)
	}
}

func TestRepliesSwapTheAddresses(t *testing.T) {
	s := Stanza{Kind: IQ, Type: TypeGet, ID: "1", From: jid.MustParse("a@b/c"), To: jid.MustParse("b")}
	r := s.Result(nil)
	if got := string(r.Append(nil)); got != `<iq type='result' id='1' from='b' to='a@b/c'/>` {
		t.Errorf("result: %s", got)
	}
	e := s.ErrorReply(ItemNotFound("no such node"))
	want := `<iq type='error' id='1' from='b' to='a@b/c'><error type='cancel'>` +
		`<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>` +
		`<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>no such node</text></error></iq>`
	if got := string(e.Append(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !s.IsRequest() || r.IsRequest() || e.IsRequest() || s.IsAnswer() || !r.IsAnswer() || !e.IsAnswer() {
		t.Error("requests and answers are mixed up")
	}
}

func TestErrorsAreReadBackAsWritten(t *testing.T) {
	all := []*Error{
		BadRequest("x"), Conflict("x"), FeatureNotImplemented("x"), Forbidden("x"), Gone("xmpp:a@b", "x"),
		InternalServerError("x"), ItemNotFound("x"), JIDMalformed("x"), NotAcceptable("x"), NotAllowed(""),
		NotAuthorized("x"), PolicyViolation("<&>"), RecipientUnavailable("x"), Redirect("xmpp:a@b?x", "x"),
		RegistrationRequired("x"), RemoteServerNotFound("x"), RemoteServerTimeout("x"), ResourceConstraint("x"),
		ServiceUnavailable("x"), SubscriptionRequired("x"), UndefinedCondition("x"), UnexpectedRequest("x"),
		NotAcceptable("x").WithApp(NSBlockingErrors, "blocked").WithType(ErrorCancel),
		{Type: ErrorWait, Condition: CondConflict, By: jid.MustParse("a@b/'")},
	}
	for _, e := range all {
		s := Stanza{Kind: Message, Type: TypeChat}
		r := s.ErrorReply(e)
		got := r.Err()
		if got == nil || got.Type != e.Type || got.Condition != e.Condition || got.Text != e.Text || got.URI != e.URI ||
			got.By != e.By || (got.App == nil) != (e.App == nil) || e.App != nil && got.App.Name != e.App.Name {
			t.Errorf("wrote %+v, read %+v from %s", e, got, r.Payload)
		}
		if !errors.Is(got, e) || errors.Is(got, &Error{}) || e.Error() == "" {
			t.Errorf("%v is not itself", e)
		}
	}
	odd := Stanza{Kind: IQ, Type: TypeError, Payload: []byte(`<error type='?'><strange xmlns='urn:x'/></error>`)}
	if e := odd.Err(); e.Condition != CondUndefinedCondition || e.Type != ErrorCancel || e.App.Name.Local != "strange" {
		t.Errorf("odd error: %+v", e)
	}
	if e := (&Stanza{Kind: IQ, Type: TypeError}).Err(); e == nil || e.Condition != CondUndefinedCondition {
		t.Errorf("no error child: %+v", e)
	}
	if (&Stanza{Kind: IQ, Type: TypeResult}).Err() != nil {
		t.Error("a result has no error")
	}
}

func TestWriterDeclaresNamespacesWhereTheyChange(t *testing.T) {
	var w Writer
	w.Start(NSRoster, "query").Attr("ver", "1'\n").AttrIf("none", "")
	w.Start("", "item").AttrInt("n", -5).Leaf("", "group", "a<b>\r").End()
	w.Start(NSClient, "body").End().Leaf("", "empty", "").Raw([]byte("<raw/>")).Raw(nil).End()
	w.Start(NSClient, "x").Text("").End()
	want := `<query xmlns='jabber:iq:roster' ver='1&apos;&#10;'><item n='-5'><group>a&lt;b&gt;&#13;</group></item>` +
		`<body xmlns='jabber:client'/><empty/><raw/></query><x></x>`
	if got := string(w.Bytes()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTextThatXMLCannotHoldIsReplacedAndTold(t *testing.T) {
	for in, want := range map[string]string{
		"a\x00b": "a\uFFFDb", "\uFFFE": "\uFFFD", "\uFFFF": "\uFFFD", "\xff": "\uFFFD", "\xed\xa0\x80": "\uFFFD\uFFFD\uFFFD",
		"\x1b": "\uFFFD",
	} {
		if ValidText(in) {
			t.Errorf("%q passes for valid", in)
		}
		if got := MendText(in); got != want {
			t.Errorf("%q is mended as %q, want %q", in, got, want)
		}
		if at, want := InvalidAt("ä\n"+in), len("ä\n")+max(strings.IndexByte(in, 0), 0); at != want {
			t.Errorf("in %q the place is %d, want %d", in, at, want)
		}
		if got := string(AppendText(nil, in)); got != want {
			t.Errorf("text %q becomes %q, want %q", in, got, want)
		}
		if got := string(AppendAttr(nil, in)); got != want {
			t.Errorf("attribute %q becomes %q, want %q", in, got, want)
		}
	}
	for _, in := range []string{"", "abc", "ä\t\n\r😀\uFFFD\x7f\u0085"} {
		if !ValidText(in) || MendText(in) != in {
			t.Errorf("%q passes for invalid", in)
		}
	}
	if got := string(AppendAttr(nil, "\t\n\rä<>&'\"")); got != "&#9;&#10;&#13;ä&lt;&gt;&amp;&apos;&quot;" {
		t.Errorf("attribute: %s", got)
	}
	if got := string(AppendText(nil, "\t\n\rä<>&'\"")); got != "\t\n&#13;ä&lt;&gt;&amp;'\"" {
		t.Errorf("text: %q", got)
	}
}

func TestTimesFollowXEP0082(t *testing.T) {
	at := time.Date(2002, 9, 10, 23, 8, 25, 123456789, time.FixedZone("", -6*3600))
	if got := FormatTime(at); got != "2002-09-11T05:08:25.123Z" || string(AppendTime(nil, at)) != got {
		t.Errorf("time: %s", got)
	}
	if got := FormatDate(at); got != "2002-09-11" {
		t.Errorf("date: %s", got)
	}
	if got := FormatZone(at); got != "-06:00" {
		t.Errorf("zone: %s", got)
	}
	for in, want := range map[string]string{
		"2002-09-10T23:08:25Z": "2002-09-10T23:08:25.000Z", "2002-09-10T23:08:25.5-06:00": "2002-09-11T05:08:25.500Z",
		"1969-07-21T02:56:15Z": "1969-07-21T02:56:15.000Z",
	} {
		if got, err := ParseTime(in); err != nil || FormatTime(got) != want {
			t.Errorf("%s: %s, %v", in, FormatTime(got), err)
		}
	}
	for _, in := range []string{"", "2002-09-10", "20020910T23:08:25", "2002-09-10T23:08:25", "2002-09-10T23:08:25,5Z"} {
		if got, err := ParseTime(in); err == nil {
			t.Errorf("%q read as %s", in, got)
		}
	}
}

func TestKindsHaveNames(t *testing.T) {
	for _, k := range []Kind{Message, Presence, IQ} {
		if KindOf(k.String()) != k || KindOf([]byte(k.String())) != k {
			t.Errorf("%s is not itself", k)
		}
	}
	if KindOf("Message") != 0 || Kind(0).String() != "" || Type(200).String() != "" {
		t.Error("what is no kind or type has a name")
	}
	if _, ok := (&Stanza{Kind: IQ}).First(); ok || (&Stanza{Kind: IQ, Payload: []byte("<a")}).Child(body) != nil {
		t.Error("a child out of nothing")
	}
}

func TestWriterStartsAfreshAfterReset(t *testing.T) {
	w := NewWriter([]byte("a"))
	w.Start(NSPing, "ping")
	w.Reset([]byte("b"))
	if got := string(w.Start("", "x").AttrIf("y", "z").End().Bytes()); got != "b<x y='z'/>" {
		t.Errorf("got %s", got)
	}
	defer func() {
		if recover() == nil {
			t.Error("an attribute outside a tag passes")
		}
	}()
	w.Attr("late", "1")
}
