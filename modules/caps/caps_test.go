package caps

import (
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp"
)

// The two examples of XEP-0115 §5.2 and §5.3.
const (
	exodus = `<query xmlns='http://jabber.org/protocol/disco#info'>
  <feature var='http://jabber.org/protocol/muc'/>
  <feature var='http://jabber.org/protocol/disco#items'/>
  <identity category='client' name='Exodus 0.9.1' type='pc'/>
  <feature var='http://jabber.org/protocol/disco#info'/>
  <feature var='http://jabber.org/protocol/caps'/>
</query>`
	exodusVer = "QgayPKawpkPSDYmwT/WM94uAlu0="
	psi       = `<query xmlns='http://jabber.org/protocol/disco#info' node='http://psi-im.org#q07IKJEyjvHSyhy//CH0CxmKi8w='>
  <identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>
  <identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/>
  <feature var='http://jabber.org/protocol/caps'/>
  <feature var='http://jabber.org/protocol/disco#info'/>
  <feature var='http://jabber.org/protocol/disco#items'/>
  <feature var='http://jabber.org/protocol/muc'/>
  <x xmlns='jabber:x:data' type='result'>
    <field var='software_version'><value>0.11</value></field>
    <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>
    <field var='ip_version' type='text-multi'><value>ipv6</value><value>ipv4</value></field>
    <field var='os'><value>Mac</value></field>
    <field var='os_version'><value>10.5.1</value></field>
    <field var='software'><value>Psi</value></field>
  </x>
</query>`
	psiVer = "q07IKJEyjvHSyhy//CH0CxmKi8w="
)

func parse(t *testing.T, xml string) *xmpp.Element {
	t.Helper()
	e, err := xmpp.ParseElement([]byte(xml))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestVerificationStringIsThatOfTheExamples(t *testing.T) {
	if got := Ver(parse(t, exodus)); got != exodusVer {
		t.Errorf("simple example: %s, want %s", got, exodusVer)
	}
	if got := Ver(parse(t, psi)); got != psiVer {
		t.Errorf("complex example: %s, want %s", got, psiVer)
	}
}

func TestFormsWithoutHiddenFormTypeAreIgnored(t *testing.T) {
	e := parse(t, exodus)
	for _, x := range []string{
		`<x xmlns='jabber:x:data'><field var='os'><value>Mac</value></field></x>`,
		`<x xmlns='jabber:x:data'><field var='FORM_TYPE'><value>urn:a</value></field></x>`,
	} {
		e.Content = append(e.Content, xmpp.Node{Elem: parse(t, x)})
	}
	if got := Ver(e); got != exodusVer {
		t.Errorf("with two forms to ignore: %s, want %s", got, exodusVer)
	}
}

func TestStreamFeatureCarriesTheStringOfTheHost(t *testing.T) {
	answers, version := map[string]string{"a.example": exodus, "b.example": psi}, 1
	asked := 0
	m := New(func(host string) *xmpp.Element {
		asked++
		return parse(t, answers[host])
	}, func() any { return version })
	offers := func(host, ver string) {
		t.Helper()
		moduletest.Same(t, m.StreamFeatureOf(host),
			`<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='`+Node+`' ver='`+ver+`'/>`)
	}
	for range 2 {
		offers("a.example", exodusVer)
		offers("b.example", psiVer)
	}
	if asked != 2 {
		t.Errorf("asked %d times for what has not changed", asked)
	}
	answers["a.example"] = psi
	version++
	offers("a.example", psiVer)
}

func TestAnswerIsVerifiedByTheHashItClaims(t *testing.T) {
	for _, row := range []struct {
		what, answer, hash, ver string
		want                    bool
	}{
		{"the simple example", exodus, "sha-1", exodusVer, true},
		{"the complex example", psi, "SHA-1", psiVer, true},
		{"another string", exodus, "sha-1", psiVer, false},
		{"another algorithm", exodus, "sha-256", exodusVer, false},
		{"SHA-256", exodus, "sha-256", "Wr6IGEKhx6b9627gBmi/cCmpxXBc/GYq5zWuYfWGWoc=", true},
		{"an algorithm that nobody knows", exodus, "md2", exodusVer, false},
	} {
		if got := Verify(parse(t, row.answer), row.hash, row.ver); got != row.want {
			t.Errorf("%s: %v", row.what, got)
		}
	}
}

func TestAnswerThatNamesSomethingTwiceIsIllFormed(t *testing.T) {
	for what, twice := range map[string]string{
		"feature":  `<feature xmlns='http://jabber.org/protocol/disco#info' var='http://jabber.org/protocol/muc'/>`,
		"identity": `<identity xmlns='http://jabber.org/protocol/disco#info' category='client' name='Exodus 0.9.1' type='pc'/>`,
	} {
		e := parse(t, exodus)
		e.Content = append(e.Content, xmpp.Node{Elem: parse(t, twice)})
		if Verify(e, "sha-1", Ver(e)) {
			t.Errorf("a %s that is named twice is believed (XEP-0115 §5.4)", what)
		}
	}
	e := parse(t, psi)
	e.Content = append(e.Content, e.Content[len(e.Content)-2])
	if Verify(e, "sha-1", Ver(e)) {
		t.Error("a form that comes twice is believed (XEP-0115 §5.4)")
	}
}

// XEP-0115 §8.4: a client says what it can do with its first presence, and when that changes.
func TestWhatAClientCanDoIsAddedToPresenceThatDoesNotSaySo(t *testing.T) {
	const (
		one   = `<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='1'/>`
		other = `<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='2'/>`
		none  = `<show>away</show>`
	)
	r := moduletest.New("romeo")
	var sent string
	r.Use(New(func(string) *xmpp.Element { return nil }, func() any { return nil }), router.Module{Name: "presence",
		Leaving: router.Stage{Presence: func(e *router.Envelope) {
			sent = string(e.Stanza.Payload)
			if e.Stanza.To.IsZero() {
				p := e.Stanza.Clone()
				if p.Type == xmpp.TypeAvailable {
					r.SetPresence(e.Session, &p, 0)
				} else {
					r.SetPresence(e.Session, nil, 0)
				}
			}
			e.Settle(router.Delivered)
		}}})
	romeo := moduletest.Login(t, r, "romeo/orchard")
	for i, step := range []struct{ attrs, said, sent string }{
		{"", none, none}, // nothing has been said yet
		{"", one, one},
		{"", none, none + one},
		{"", "", one},
		{" to='juliet@example.org'", none, none}, // for its recipient alone
		{"", other, other},
		{"", none, none + other},
		{" type='unavailable'", none, none},
		{"", none, none}, // anew
	} {
		romeo.Send(`<presence` + step.attrs + `>` + step.said + `</presence>`)
		if sent != step.sent {
			t.Errorf("step %d: others see %s, want %s", i, sent, step.sent)
		}
	}
}
