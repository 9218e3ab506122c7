package httpmessage

import (
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
)

const (
	formType  = "Content-Type: application/x-www-form-urlencoded"
	multiType = "Content-Type: multipart/form-data; boundary="
)

// parts is a form of parts: a head line and a text in turn.
func parts(boundary string, list ...string) string {
	var b strings.Builder
	for i := 0; i < len(list); i += 2 {
		b.WriteString("--" + boundary + "\r\nContent-Disposition: form-data; " + list[i] + "\r\n\r\n" + list[i+1] + "\r\n")
	}
	return b.String() + "--" + boundary + "--\r\n"
}

// goodForms are what bob gets of a form.
var goodForms = []struct{ name, kind, body, want string }{
	{"text", formType, "to=bob%40im.example.org&body=a+%26+b%0D%0Ac", "<body>a &amp; b\nc</body>"},
	{"a name alone", formType + "; charset=utf-8", "body=yo&to=bob&", "<body>yo</body>"},
	{"a line end behind", formType, "to=bob&body=yo\r\n", "<body>yo</body>"},
	{"empty", formType, "to=bob", ""},
	{"all fields", formType, "to=bob&subject=s&thread=t&markdown=**b**&reply_to=m1&reply_to.to=bob%40im.example.org&reply_to.quote=q%0D%0Ar" +
		"&body_attributes.xml%3Alang=en&message_attributes.id=i&extra_elements=%3Cy+xmlns%3D'urn:y'/%3E",
		"<subject>s</subject><body xml:lang='en'>&gt; q\n&gt; r\n*b*</body><thread>t</thread><reply xmlns='urn:xmpp:reply:0' to='bob@im.example.org' id='m1'/>" +
			fell("urn:xmpp:reply:0", "start='0' end='8'") + "<y xmlns='urn:y'/>"},
	{"address of a file", formType, "to=bob&attachments=https%3A%2F%2Fa.example%2Fcat.png",
		"<body>" + cat + "</body>" + sfs("disposition='attachment'", "", cat) + fell("urn:xmpp:sfs:0", "") + oobCat},
	{"parts", multiType + "X", parts("X", `name="to"`, "bob@im.example.org", `name="body"`, "é\r\nb"), "<body>é\nb</body>"},
	{"a part with a type", multiType + `"X Y"`, parts("X Y", "name=to", "bob", "name=body\r\nContent-Type: text/plain; charset=utf-8", "yo"), "<body>yo</body>"},
	{"a file", multiType + "X", parts("X", "name=to", "bob", `name="f"; filename="../n.txt"`+"\r\nContent-Type: text/plain", "hello"),
		"<body>https://up.example/1/n.txt</body>" + sfs("disposition='attachment'", "<media-type>text/plain</media-type><name>n.txt</name>"+
			"<size>5</size><hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=</hash>", "https://up.example/1/n.txt") +
			fell("urn:xmpp:sfs:0", "") + "<x xmlns='jabber:x:oob'><url>https://up.example/1/n.txt</url></x>"},
	{"no file chosen", multiType + "X", parts("X", "name=to", "bob", "name=body", "yo", `name="attachments"; filename=""`, ""), "<body>yo</body>"},
	{"XML of curl's type", formType, toBob, "<body>yo</body>"},
	{"XML behind space", formType, "\xEF\xBB\xBF \n" + toBob, "<body>yo</body>"},
	{"XML with to in it", formType, strings.Replace(toBob, "yo", "a&amp;to=b", 1), "<body>a&amp;to=b</body>"},
	{"XML said to be parts", multiType + "X", toBob, "<body>yo</body>"},
}

func TestAFormBecomesAMessage(t *testing.T) {
	for _, row := range goodForms {
		h, _ := filing(t)
		w := h.do(call{headers: []string{row.kind}, body: row.body})
		got := h.stored("bob@" + host)
		if w.Code != 200 || w.Body.String() != "OK\n" || len(got) != 1 {
			t.Errorf("%s: answer %d %s, bob has %q", row.name, w.Code, w.Body, got)
			continue
		}
		attrs := " type='chat'"
		if strings.HasPrefix(row.name, "XML") {
			attrs = ""
		} else if strings.Contains(row.body, "message_attributes") {
			attrs += " id='i'"
		}
		moduletest.Same(t, got[0], "<message from='andy@im.example.org' to='bob@im.example.org'"+attrs+">"+row.want+"</message>")
	}
}

func TestAFormWithSeveralRecipientsIsAMulticast(t *testing.T) {
	h := newHouse(t)
	c := call{headers: []string{formType}, body: "to=bob&to=skel%40im.example.org&to=bob&body=yo"}
	if w := h.do(c); w.Code != 200 || len(h.stored("bob@"+host)) != 1 || len(h.stored("skel@"+host)) != 1 {
		t.Errorf("answer %d %s", w.Code, w.Body)
	}
	c.user = "skel@" + host
	if w := h.do(c); w.Code != 403 || w.Body.String() != multicastLine {
		t.Errorf("without the permission: %d %s", w.Code, w.Body)
	}
}

// badParts are forms that are refused; a line without a full stop may go on.
var badParts = []struct{ name, kind, body, line string }{
	{"no recipient", formType, "body=yo", "XML parsing failed: "},
	{"nothing", formType, "", "XML parsing failed: "},
	{"words", formType, "yo", "XML parsing failed: "},
	{"JSON of curl's type", formType, `{"to": "bob"}`, "XML parsing failed: text outside the root element at line 1, column 1"},
	{"empty recipient", formType, "to=", "the message has no recipient: 'to' is missing."},
	{"no address", formType, "to=%40", `'to' is "@", which is not an address.`},
	{"bad escape", formType, "to=bob&body=%zz", `form parsing failed: invalid URL escape "%zz".`},
	{"bad escape of a name", formType, "to=bob&%z=a", `form parsing failed: invalid URL escape "%z".`},
	{"not UTF-8", formType, "to=bob&body=%ff", `form parsing failed: "body" is not UTF-8.`},
	{"name not UTF-8", formType, "to=bob&%ff=a", `form parsing failed: "` + "\uFFFD" + `" is not UTF-8.`},
	{"unknown field", formType, "to=bob&text=yo", `"text" is not a field of a message.`},
	{"unknown member", formType, "to=bob&reply_to.x=yo", `"reply_to.x" is not a field of a message.`},
	{"no member", formType, "to=bob&message_attributes=yo", `"message_attributes" is not a field of a message.`},
	{"twice", formType, "to=bob&body=a&body=b", `form parsing failed: "body" is there twice.`},
	{"member twice", formType, "to=bob&body_attributes.a=a&body_attributes.a=b", `form parsing failed: "body_attributes.a" is there twice.`},
	{"NUL", formType, "to=bob&body=%00", "body: it holds a character that XML does not allow, U+0000 at line 1, column 1 of the text."},
	{"sender", formType, "to=bob&message_attributes.from=x%40y", `message_attributes: "from" is not allowed here.`},
	{"file that is none", formType, "to=bob&attachments=x", `attachments[0].url is "x", which is no address that begins with https:// or http://.`},
	{"too many files", formType, "to=bob" + strings.Repeat("&attachments=https%3A%2F%2Fa.example", 11), "attachments: 10 are allowed."},
	{"quote without id", formType, "to=bob&body=b&reply_to.quote=q", "reply_to.id must be the id of a message."},
	{"no boundary", "Content-Type: multipart/form-data", parts("X", "name=to", "bob"), "form parsing failed: Content-Type names no boundary."},
	{"another boundary", multiType + "Y", parts("X", "name=to", "bob"), "form parsing failed: it is not made of parts that end with the boundary."},
	{"cut off", multiType + "X", strings.TrimSuffix(parts("X", "name=to", "bob"), "--X--\r\n"), "form parsing failed: it is not made of parts that end with the boundary."},
	{"empty parts", multiType + "X", "", "form parsing failed: it is not made of parts that end with the boundary."},
	{"parts without recipient", multiType + "X", parts("X", "name=body", "yo"), "the message has no recipient: to is missing."},
	{"a part without a name", multiType + "X", parts("X", "x=y", "yo"), `"" is not a field of a message.`},
	{"an empty file", multiType + "X", parts("X", "name=to", "bob", "name=f; filename=n", ""), "attachments[0].data is empty."},
	{"a file of a bad type", multiType + "X", parts("X", "name=to", "bob", "name=f; filename=n\r\nContent-Type: png", "x"), `attachments[0].type is "png", which is no media type.`},
	{"many parts", multiType + "X", parts("X", strings.Split(strings.Repeat("name=to|bob|", maxParts+1), "|")[:2*maxParts+2]...), "form parsing failed: it has more than 1000 parts."},
}

func TestAFormThatIsWrongIsNamed(t *testing.T) {
	h, s := filing(t)
	for _, row := range badParts {
		w := h.do(call{headers: []string{row.kind}, body: row.body})
		got, want := strings.TrimSuffix(w.Body.String(), "\n"), "Bad request: "+row.line
		if w.Code != 400 || got != want && (strings.HasSuffix(row.line, ".") || !strings.HasPrefix(got, want)) {
			t.Errorf("%s: answer %d %q, want %q", row.name, w.Code, got, want)
		}
	}
	if w := h.do(call{headers: []string{formType}, body: `{"to": "bob"}`}); !strings.HasSuffix(w.Body.String(), ". JSON needs the header Content-Type: application/json.\n") {
		t.Errorf("JSON of curl's type: %s", w.Body)
	}
	h.nothingStored()
	if len(s.kept) > 0 {
		t.Errorf("kept %q", s.kept)
	}
}

func TestTheGatewayTakesNoForms(t *testing.T) {
	h := newHouse(t)
	for _, kind := range []string{formType, multiType + "X"} {
		if w := h.do(call{path: gatewayPath, user: "gate", headers: []string{kind}, body: "to=bob&body=yo"}); w.Code != 415 {
			t.Errorf("%s: %d %s", kind, w.Code, w.Body)
		}
	}
}

func TestAFormOfAnotherSiteIsRefused(t *testing.T) {
	h := newHouse(t)
	for header, code := range map[string]int{
		"Sec-Fetch-Site: cross-site": 403, "Sec-Fetch-Site: same-site": 403, "Origin: https://evil.example": 403, "Origin: null": 403,
		"Sec-Fetch-Site: same-origin": 200, "Sec-Fetch-Site: none": 200, "Origin: http://" + host + ":5280": 200,
	} {
		if w := h.do(call{headers: []string{formType, header}, body: "to=bob&body=yo"}); w.Code != code {
			t.Errorf("%s: %d %s", header, w.Code, w.Body)
		}
	}
	if got := h.stored("bob@" + host); len(got) != 3 {
		t.Errorf("bob has %q", got)
	}
}

func TestARepeatedFormMayHaveAnotherBoundary(t *testing.T) {
	h, s := filing(t)
	for _, c := range []struct {
		boundary, text string
		code           int
	}{{"----a", "yo", 200}, {"----bcd", "yo", 200}, {"----a", "hi", 422}} {
		body := parts(c.boundary, "name=to", "bob", "name=body", c.text, "name=f; filename=n", "hello")
		if w := h.do(call{headers: []string{multiType + c.boundary, "Idempotency-Key: k"}, body: body}); w.Code != c.code {
			t.Errorf("%s: %d %s", c.boundary, w.Code, w.Body)
		}
	}
	if got := h.stored("bob@" + host); len(got) != 1 || len(s.kept) != 1 {
		t.Errorf("bob has %q, kept %q", got, s.kept)
	}
}

func FuzzPostForm(f *testing.F) {
	var seeds []string
	for _, row := range goodForms {
		if strings.HasPrefix(row.kind, formType) {
			seeds = append(seeds, row.body)
		}
	}
	for _, row := range badParts {
		if strings.HasPrefix(row.kind, formType) {
			seeds = append(seeds, row.body)
		}
	}
	fuzz(f, formType, seeds)
}

func FuzzPostMultipart(f *testing.F) {
	var seeds []string
	for _, row := range goodForms {
		if row.kind == multiType+"X" {
			seeds = append(seeds, row.body)
		}
	}
	for _, row := range badParts {
		if row.kind == multiType+"X" && row.name != "many parts" {
			seeds = append(seeds, row.body)
		}
	}
	fuzz(f, multiType+"X", seeds)
}
