package stream

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"jackdaw/xmpp"
)

// bombs are small items of which a rewrite, or a tree that is written again, would make something large. L is a
// namespace as long as most of the limit, Q one of quotes, which take six bytes each when they are written.
var bombs = map[string]string{
	"prefix of the head":            "<message xmlns:a='L'>" + strings.Repeat("<a:x/>", 900) + "</message>",
	"prefix of the head, in quotes": "<message xmlns:a='Q'>" + strings.Repeat("<a:x/>", 9) + "</message>",
	"default of the head":           "<c:message xmlns:c='jabber:client' xmlns='L'>" + strings.Repeat("<x/>", 900) + "</c:message>",
	"attributes of the head":        "<message xmlns:a='L'>" + strings.Repeat("<x a:k=''/>", 900) + "</message>",
	"one prefix for many siblings":  "<message><p xmlns:a='L'>" + strings.Repeat("<a:x/>", 900) + "</p></message>",
	"many defaults":                 "<message><a:p xmlns:a='urn:a' xmlns='L'>" + strings.Repeat("<x/>", 900) + "</a:p></message>",
	"a default below prefixes":      "<message><p xmlns:a='urn:a' xmlns='L'><a:q>" + strings.Repeat("<x/>", 900) + "</a:q></p></message>",
	"two in turn":                   "<message><p xmlns:a='L'>" + strings.Repeat("<a:x><q><a:y/></q></a:x>", 300) + "</p></message>",
	"attributes of siblings":        "<message><p xmlns:a='L'>" + strings.Repeat("<x a:k=''/>", 900) + "</p></message>",
	"attributes of one element":     "<message><p xmlns:a='L' xmlns:b='L'><x a:k='' b:l=''/></p></message>",
	"an element at the top":         "<a:p xmlns:a='urn:a' xmlns='L'>" + strings.Repeat("<x/>", 900) + "</a:p>",
	"apostrophes in a value":        `<message><x a="` + strings.Repeat("'", 9000) + `"/></message>`,
	"quotes in a value":             "<message><x a='" + strings.Repeat(`"`, 9000) + "'/></message>",
	"angles in a value":             "<message><x a='" + strings.Repeat(">", 9000) + "'/></message>",
	"angles in the head":            "<message id='" + strings.Repeat(">", 9000) + "'/>",
	"angles in text":                "<message><x>" + strings.Repeat(">", 9000) + "</x></message>",
	"a section of ampersands":       "<message><x><![CDATA[" + strings.Repeat("&", 9000) + "]]></x></message>",
	"angles behind a section":       "<message><x><![CDATA[]]>" + strings.Repeat(">", 9000) + "</x></message>",
}

func bomb(text string) string {
	return strings.NewReplacer("L", "urn:"+strings.Repeat("l", 5000), "Q", strings.Repeat(`"`, 1500)).Replace(text)
}

func TestWhatIsMadeOfAnItemCountsAgainstItsLimit(t *testing.T) {
	l := Limits{Bytes: 16 << 10}
	for name, text := range bombs {
		text = bomb(text)
		if len(text) > l.Bytes {
			t.Fatalf("%s: the input alone has %d bytes", name, len(text))
		}
		for content, head := range map[string]string{xmpp.NSClient: header,
			xmpp.NSServer: strings.Replace(header, xmpp.NSClient, xmpp.NSServer, 1)} {
			in := strings.Replace(text, xmpp.NSClient, content, 1)
			got := items(t, l, head+in)
			if len(got) != 2 || !strings.HasPrefix(got[1], "policy-violation: larger than allowed once") {
				t.Errorf("%s: %.200q", name, got[1:])
			}
		}
		if strings.HasPrefix(text, "<a:p") {
			continue
		}
		if _, err := ParseStanza([]byte(strings.Replace(text, "<message", "<message xmlns='jabber:client'", 1)), l); err == nil {
			t.Errorf("%s: taken as a document", name)
		}
		inside := text[strings.Index(text, ">")+1:]
		if strings.HasPrefix(text, "<message>") {
			if _, err := ParseContent([]byte(strings.TrimSuffix(inside, "</message>")), l); err == nil {
				t.Errorf("%s: taken as content", name)
			}
		}
	}
}

func TestNamespacesOfAStreamHeaderAreBounded(t *testing.T) {
	head := func(n int) string {
		return strings.Replace(header, " to=", fmt.Sprintf(" xmlns:a='urn:%s' to=", strings.Repeat("l", n)), 1)
	}
	if got := items(t, Limits{}, head(5000)); !strings.HasPrefix(got[0], "policy-violation: ") {
		t.Errorf("%.200q", got)
	}
	// What it may declare, each stanza has to pay for.
	l := Limits{Bytes: 24 << 10}
	got := items(t, l, head(3000)+"<message>"+strings.Repeat("<a:x/>", 5)+"</message><message>"+strings.Repeat("<a:x/>", 9)+"</message>")
	if len(got) != 3 || !strings.HasPrefix(got[1], "stanza") || !strings.HasPrefix(got[2], "policy-violation: ") {
		t.Errorf("%.200q", got)
	}
	got = items(t, l, strings.Replace(head(1000), " to=", " xmlns:b='urn:"+strings.Repeat("m", 1000)+"' to=", 1)+
		"<message><b:y>"+strings.Repeat("<a:x/>", 30)+"</b:y></message>")
	if len(got) != 2 || !strings.HasPrefix(got[1], "policy-violation: ") {
		t.Errorf("%.200q", got)
	}
}

func TestWhatIsRefusedForWhatItWouldBecomeIsNotMade(t *testing.T) {
	text := []byte("<message xmlns:a='" + strings.Repeat("l", 200<<10) + "'><body>x</body>" + strings.Repeat("<a:x/>", 4000) + "</message>")
	s := started(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, _, err := s.Scan(text); err == nil {
		t.Error("taken")
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 2<<20 {
		t.Errorf("%d bytes allocated for %d", got, len(text))
	}
}

func TestOrdinaryPrefixesCostWhatTheyTake(t *testing.T) {
	in := "<message xmlns:a='urn:a'><a:x>it's >" + `<y b="it's"/></a:x><p xmlns:b='urn:b'><b:q b:k=''><b:r/></b:q></p></message>`
	if got := items(t, Limits{Bytes: 2 * len(in)}, header+in); len(got) != 2 || !strings.HasPrefix(got[1], "stanza") {
		t.Errorf("%q", got)
	}
}
