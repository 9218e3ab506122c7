package pep

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"jackdaw/modules/internal/pubsub"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

var tempCard = xmpp.Name{Space: xmpp.NSVCard, Local: "vCard"}

func cardXML(t testing.TB, name xmpp.Name, inner string) *xmpp.Element {
	t.Helper()
	el, err := xmpp.ParseElement([]byte("<" + name.Local + " xmlns='" + name.Space + "'>" + inner + "</" + name.Local + ">"))
	if err != nil {
		t.Fatal(err)
	}
	return el
}

// inner is what is in a card, as it is written in these tests.
func inner(el *xmpp.Element) string {
	s := string(el.Append(nil))
	return s[strings.Index(s, ">")+1 : max(strings.LastIndex(s, "</"), strings.Index(s, ">")+1)]
}

// sameInBoth is what both kinds of vCards say, in the words of each.
var sameInBoth = []struct{ temp, four string }{
	{"<FN>Juliet</FN>", "<fn><text>Juliet</text></fn>"},
	{"<N><FAMILY>Capulet</FAMILY><GIVEN>Juliet</GIVEN><MIDDLE>M</MIDDLE><PREFIX>Lady</PREFIX><SUFFIX>Jr</SUFFIX></N>",
		"<n><surname>Capulet</surname><given>Juliet</given><additional>M</additional><prefix>Lady</prefix><suffix>Jr</suffix></n>"},
	{"<NICKNAME>Jule</NICKNAME>", "<nickname><text>Jule</text></nickname>"},
	{"<BDAY>1580-07-31</BDAY>", "<bday><date>1580-07-31</date></bday>"},
	{"<BDAY>1580-07-31T10:00:00Z</BDAY>", "<bday><date-time>1580-07-31T10:00:00Z</date-time></bday>"},
	{"<BDAY>Lammas eve</BDAY>", "<bday><text>Lammas eve</text></bday>"},
	{"<ADR><HOME/><PREF/><POBOX>1</POBOX><EXTADD>2</EXTADD><STREET>Via Cappello</STREET><LOCALITY>Verona</LOCALITY><REGION>VR</REGION><PCODE>37121</PCODE><CTRY>Italy</CTRY></ADR>",
		"<adr><parameters><type><text>home</text></type><pref><integer>1</integer></pref></parameters><pobox>1</pobox><ext>2</ext><street>Via Cappello</street>" +
			"<locality>Verona</locality><region>VR</region><code>37121</code><country>Italy</country></adr>"},
	{"<TEL><WORK/><FAX/><NUMBER>+39-045</NUMBER></TEL>",
		"<tel><parameters><type><text>work</text><text>fax</text></type></parameters><uri>tel:+39-045</uri></tel>"},
	{"<TEL><NUMBER>ask the nurse</NUMBER></TEL>", "<tel><text>ask the nurse</text></tel>"},
	{"<EMAIL><HOME/><USERID>j@example.org</USERID></EMAIL>", "<email><parameters><type><text>home</text></type></parameters><text>j@example.org</text></email>"},
	{"<JABBERID>juliet@example.org</JABBERID>", "<impp><uri>xmpp:juliet@example.org</uri></impp>"},
	{"<TITLE>Lady</TITLE>", "<title><text>Lady</text></title>"},
	{"<ROLE>Heroine</ROLE>", "<role><text>Heroine</text></role>"},
	{"<ORG><ORGNAME>Capulet</ORGNAME><ORGUNIT>Balcony</ORGUNIT></ORG>", "<org><text>Capulet</text><text>Balcony</text></org>"},
	{"<URL>https://example.org/</URL>", "<url><uri>https://example.org/</uri></url>"},
	{"<DESC>A &lt;rose&gt;</DESC>", "<note><text>A &lt;rose&gt;</text></note>"},
}

func TestCardsOfBothKindsSayTheSame(t *testing.T) {
	for _, row := range sameInBoth {
		temp, four := cardXML(t, tempCard, row.temp), cardXML(t, fourCard, row.four)
		made := cardXML(t, fourCard, "")
		if toFour(made, nil, temp); inner(made) != row.four {
			t.Errorf("%s\nbecomes %s\nwant    %s", row.temp, inner(made), row.four)
		}
		made = cardXML(t, tempCard, "")
		if toTemp(made, nil, four); inner(made) != row.temp {
			t.Errorf("%s\nbecomes %s\nwant    %s", row.four, inner(made), row.temp)
		}
	}
}

func TestNothingOfACardIsLostThatOnlyOneKindKnows(t *testing.T) {
	const photo, key = "<PHOTO><TYPE>image/png</TYPE><BINVAL>aGk=</BINVAL></PHOTO>", "<key><uri>https://example.org/key</uri></key>"
	for name, row := range map[string]struct {
		up                   bool
		card, was, now, want string
	}{
		"the photo": {false, photo + "<FN>J</FN>", "<fn><text>J</text></fn>", "<fn><text>Juliet</text></fn>", photo + "<FN>Juliet</FN>"},
		"parameters of what stays": {true, "<email><parameters><altid><text>1</text></altid></parameters><text>a@b</text></email>" + key,
			"<EMAIL><USERID>a@b</USERID></EMAIL>", "<EMAIL><USERID>a@b</USERID></EMAIL><EMAIL><USERID>c@d</USERID></EMAIL>",
			"<email><parameters><altid><text>1</text></altid></parameters><text>a@b</text></email>" + key + "<email><text>c@d</text></email>"},
		"types that vCard4 has no more": {false, "<TEL><MSG/><NUMBER>1</NUMBER></TEL>", "<tel><uri>tel:1</uri></tel>",
			"<tel><uri>tel:1</uri></tel><tel><uri>tel:2</uri></tel>", "<TEL><MSG/><NUMBER>1</NUMBER></TEL><TEL><NUMBER>2</NUMBER></TEL>"},
		"what vcard-temp has no place for": {true, "<nickname><text>J</text></nickname><nickname><text>Jule</text></nickname>",
			"<NICKNAME>J</NICKNAME>", "<NICKNAME>Jay</NICKNAME>", "<nickname><text>Jule</text></nickname><nickname><text>Jay</text></nickname>"},
		"addresses of other services": {true, "<impp><uri>sip:j@example.org</uri></impp>", "", "<JABBERID>j@example.org</JABBERID>",
			"<impp><uri>sip:j@example.org</uri></impp><impp><uri>xmpp:j@example.org</uri></impp>"},
		"what was not touched, though they differ": {true, "<fn><text>Four</text></fn>", "<FN>Temp</FN>", "<FN>Temp</FN><ROLE>x</ROLE>",
			"<fn><text>Four</text></fn><role><text>x</text></role>"},
		"what the first vCard4 does not say": {false, "<URL>https://example.org/</URL>", "", "<fn><text>J</text></fn>", "<URL>https://example.org/</URL><FN>J</FN>"},
		"a note by its other name":           {false, "<NOTE>n</NOTE>", "", "<note><text>n</text></note>", "<NOTE>n</NOTE>"},
		"but what the owner takes out goes":  {true, "<fn><text>J</text></fn><url><text>u</text></url>", "<FN>J</FN><URL>u</URL>", "<FN>J</FN>", "<fn><text>J</text></fn>"},
		"also from the other":                {false, "<FN>J</FN><URL>u</URL>", "<fn><text>J</text></fn><url><uri>u</uri></url>", "<fn><text>J</text></fn>", "<FN>J</FN>"},
		"the preferred is the one that shows": {false, "", "", "<title><text>a</text></title><title><parameters><pref>1</pref></parameters><text>b</text></title>",
			"<TITLE>b</TITLE>"},
	} {
		do, own, others := toTemp, tempCard, fourCard
		if row.up {
			do, own, others = toFour, fourCard, tempCard
		}
		card := cardXML(t, own, row.card)
		changed := do(card, cardXML(t, others, row.was), cardXML(t, others, row.now))
		if got := inner(card); got != row.want || changed != (row.card != row.want) {
			t.Errorf("%s: %v\ngot  %s\nwant %s", name, changed, got, row.want)
		}
	}
}

func TestCardsStayTheSameWhateverIsWrittenWhere(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		pick := func(temp bool) string {
			var out string
			for i, row := range sameInBoth {
				again := strings.HasPrefix(row.temp, "<BDAY>") && strings.Contains(strings.ToLower(out), "bday") // of which vcard-temp has one
				if again || !rapid.Bool().Draw(rt, fmt.Sprint("property ", i)) {
					continue
				}
				if out += row.four; temp {
					out = strings.TrimSuffix(out, row.four) + row.temp
				}
			}
			return out
		}
		temp, four := cardXML(t, tempCard, ""), cardXML(t, fourCard, "")
		for range rapid.IntRange(1, 6).Draw(rt, "writes") {
			if rapid.Bool().Draw(rt, "temp") {
				now := cardXML(t, tempCard, pick(true))
				toFour(four, temp, now)
				temp = now
			} else {
				now := cardXML(t, fourCard, pick(false))
				toTemp(temp, four, now)
				four = now
			}
			for i := range properties {
				p := &properties[i]
				a, b := keys(p.inTemp(temp)), keys(p.inFour(four))
				if p.many && !slices.Equal(a, b) || !p.many && len(b) > 0 && !slices.Contains(a, b[0]) {
					rt.Fatalf("%s is %v in one and %v in the other", p.temp, a, b)
				}
			}
		}
	})
}

func FuzzCardsOfOthersDoNoHarm(f *testing.F) {
	for _, row := range sameInBoth {
		f.Add(row.temp, row.four)
	}
	f.Fuzz(func(t *testing.T, temp, four string) {
		a, err := xmpp.ParseElement([]byte("<vCard xmlns='vcard-temp'>" + temp + "</vCard>"))
		b, bad := xmpp.ParseElement([]byte("<vcard xmlns='" + nsCard + "'>" + four + "</vcard>"))
		if err != nil || bad != nil {
			return
		}
		made := &xmpp.Element{Name: fourCard}
		toFour(made, nil, a)
		toTemp(a, nil, b)
		toFour(b, nil, a)
		for _, el := range []*xmpp.Element{made, a, b} {
			if _, err := xmpp.ParseElement(el.Append(nil)); err != nil {
				t.Errorf("%s: %v", el.Append(nil), err)
			}
		}
	})
}

func cardPublication(text string, options ...string) string {
	return pubsubXML("<publish node='urn:xmpp:vcard4'><item id='mine'><vcard xmlns='" + nsCard + "'>" + text + "</vcard></item></publish>" +
		optionsXML("publish-options", "publish-options", options...))
}

func TestOpenCardIsTheSameInBothPlaces(t *testing.T) {
	w := newWorld(t)
	cards := w.album()
	desk := w.login("juliet/desk")
	user := jid.MustParse(juliet)
	said := func(text string) string {
		return pubsubXML("<items node='urn:xmpp:vcard4'>" + text + "</items>")
	}
	// The owner writes a vcard-temp, and there is no node yet.
	first := cardXML(t, tempCard, "<FN>J</FN><URL>u</URL>")
	w.pep.PhotoChanged(nil, PhotoChange{User: user, Card: first}, nil)
	cards[juliet] = photo{card: first}
	nurse := w.login("nurse/home")
	w.want(nurse, "get", juliet, pubsubXML("<items node='urn:xmpp:vcard4'/>"),
		said("<item id='current'><vcard xmlns='"+nsCard+"'><fn><text>J</text></fn><url><uri>u</uri></url></vcard></item>"))
	// Then a vCard4, which says less; and something of its own.
	w.want(desk, "set", "", cardPublication("<fn><text>Juliet</text></fn><kind><text>individual</text></kind>", "access_model", "open"),
		pubsubXML("<publish node='urn:xmpp:vcard4'><item id='mine'/></publish>"))
	if got := inner(cards[juliet].card); got != "<FN>Juliet</FN>" {
		t.Errorf("the vCard says %s", got)
	}
	// And a vcard-temp again.
	was := cards[juliet].card
	w.pep.PhotoChanged(nil, PhotoChange{User: user, Card: cardXML(t, tempCard, "<FN>Juliet</FN><ROLE>Heroine</ROLE>"), Was: was}, nil)
	w.want(nurse, "get", juliet, pubsubXML("<items node='urn:xmpp:vcard4'/>"),
		said("<item id='mine'><vcard xmlns='"+nsCard+"'><fn><text>Juliet</text></fn><kind><text>individual</text></kind><role><text>Heroine</text></role></vcard></item>"))
}

func TestCardForContactsStaysWhereItIs(t *testing.T) {
	w := newWorld(t)
	cards := w.album()
	desk := w.login("juliet/desk")
	user := jid.MustParse(juliet)
	w.want(desk, "set", "", cardPublication("<fn><text>Secret</text></fn>"), pubsubXML("<publish node='urn:xmpp:vcard4'><item id='mine'/></publish>"))
	if cards[juliet].card != nil {
		t.Errorf("the vCard says %s", inner(cards[juliet].card))
	}
	w.pep.PhotoChanged(nil, PhotoChange{User: user, Card: cardXML(t, tempCard, "<FN>J</FN>")}, nil)
	it, c, err := w.pep.engine.Item(user, nodeCard, "")
	if err != nil || it == nil || c.Access != pubsub.Presence || !strings.Contains(string(it.Payload), "Secret") {
		t.Errorf("%+v, %v, %v", it, c.Access, err)
	}
}

func TestCardThatIsNoneIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	cards := w.album()
	desk := w.login("juliet/desk")
	w.want(desk, "set", "", publishXML("urn:xmpp:vcard4", "mine", "x", "access_model", "open"), published("urn:xmpp:vcard4", "mine"))
	w.pep.PhotoChanged(nil, PhotoChange{User: jid.MustParse(juliet), Card: cardXML(t, tempCard, "<FN>J</FN>")}, nil)
	w.want(desk, "get", "", pubsubXML("<items node='urn:xmpp:vcard4'/>"), pubsubXML("<items node='urn:xmpp:vcard4'>"+itemXML("mine", "x")+"</items>"))
	if cards[juliet].card != nil {
		t.Errorf("the vCard says %s", inner(cards[juliet].card))
	}
}
