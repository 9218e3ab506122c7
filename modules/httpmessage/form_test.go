package httpmessage

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/modules/internal/posting"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// shelves keep files as package upload does.
type shelves struct {
	kept []string // "user name type: data"
	fail error
}

func (s *shelves) keep(_ context.Context, user jid.JID, name, kind string, data []byte) (string, error) {
	if s.fail != nil {
		return "", s.fail
	}
	s.kept = append(s.kept, fmt.Sprintf("%s %s %s: %s", user, name, kind, data))
	return fmt.Sprintf("https://up.example/%d/%s", len(s.kept), name), nil
}

// filing is a house that takes files.
func filing(t testing.TB) (*house, *shelves) {
	h, s := newHouse(t), &shelves{}
	h.o.Upload = s.keep
	return h, s
}

const (
	cat    = "https://a.example/cat.png"
	oobCat = "<x xmlns='jabber:x:oob'><url>" + cat + "</url></x>"
)

// sfs is a file as XEP-0447 has it.
func sfs(attrs, file, url string) string {
	return "<file-sharing xmlns='urn:xmpp:sfs:0' " + attrs + "><file xmlns='urn:xmpp:file:metadata:0'>" + file +
		"</file><sources><url-data xmlns='http://jabber.org/protocol/url-data' target='" + url + "'/></sources></file-sharing>"
}

func fell(namespace, attrs string) string {
	return "<fallback xmlns='urn:xmpp:fallback:0' for='" + namespace + "'><body " + attrs + "/></fallback>"
}

// conveniences are fields in JSON, and what the message has inside.
var conveniences = []struct{ name, fields, want string }{
	{"subject and thread", `"subject": "<S>", "body": "b", "thread": "t"`,
		"<subject>&lt;S&gt;</subject><body>b</body><thread>t</thread>"},
	{"markdown", `"markdown": "# A\n**b** [c](https://d.example) <e>", "body_attributes": {"xml:lang": "en"}`,
		"<body xml:lang='en'>*A*\n*b* c: https://d.example &lt;e&gt;</body>"},
	{"reply", `"reply_to": "m1", "body": "b"`, "<body>b</body><reply xmlns='urn:xmpp:reply:0' id='m1'/>"},
	{"reply to somebody", `"reply_to": {"id": "m1", "to": "BOB@im.example.org/Phone"}, "body": "b"`,
		"<body>b</body><reply xmlns='urn:xmpp:reply:0' to='bob@im.example.org/Phone' id='m1'/>"},
	{"reply with what was said", `"reply_to": {"id": "m1", "quote": "é𝄞\nx\n"}, "body": "b"`,
		"<body>&gt; é𝄞\n&gt; x\nb</body><reply xmlns='urn:xmpp:reply:0' id='m1'/>" + fell("urn:xmpp:reply:0", "start='0' end='9'")},
	{"file alone", `"attachments": [{"url": "` + cat + `", "type": "Image/PNG", "name": "a cat.png", "size": 12}]`,
		"<body>" + cat + "</body>" + sfs("disposition='inline'", "<media-type>image/png</media-type><name>a cat.png</name><size>12</size>", cat) +
			fell("urn:xmpp:sfs:0", "") + oobCat},
	{"file and text", `"body": "é", "subject": "s", "attachments": [{"url": "` + cat + `"}], "extra_elements": "<y xmlns='urn:y'/>"`,
		"<subject>s</subject><body>é\n" + cat + "</body><y xmlns='urn:y'/>" + sfs("disposition='attachment'", "", cat) +
			fell("urn:xmpp:sfs:0", "start='1' end='27'") + oobCat},
	{"file and empty text", `"body": "", "attachments": [{"url": "` + cat + `"}]`,
		"<body>" + cat + "</body>" + sfs("disposition='attachment'", "", cat) + fell("urn:xmpp:sfs:0", "") + oobCat},
	{"two files", `"attachments": [{"url": "` + cat + `"}, {"url": "http://b.example/?a&b"}]`,
		"<body>" + cat + "\nhttp://b.example/?a&amp;b</body>" + sfs("disposition='attachment' id='1'", "", cat) +
			sfs("disposition='attachment' id='2'", "", "http://b.example/?a&amp;b") + fell("urn:xmpp:sfs:0", "") + oobCat +
			"<x xmlns='jabber:x:oob'><url>http://b.example/?a&amp;b</url></x>"},
	{"no files", `"body": "b", "attachments": []`, "<body>b</body>"},
	{"file that comes along", `"attachments": [{"name": "n.txt", "type": "text/plain", "data": "aGVsbG8="}]`,
		"<body>https://up.example/1/n.txt</body>" + sfs("disposition='attachment'", "<media-type>text/plain</media-type><name>n.txt</name>"+
			"<size>5</size><hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=</hash>", "https://up.example/1/n.txt") +
			fell("urn:xmpp:sfs:0", "") + "<x xmlns='jabber:x:oob'><url>https://up.example/1/n.txt</url></x>"},
}

func TestJSONSaysWhatPeopleMean(t *testing.T) {
	for _, row := range conveniences {
		for path, who := range map[string][2]string{"/message": {"andy", "andy"}, gatewayPath: {"gate", "gate"}} {
			h, _ := filing(t)
			w := h.do(call{path: path, user: who[0] + "@" + host, headers: []string{jsonType}, body: `{"to": "bob@im.example.org", ` + row.fields + `}`})
			got := h.stored("bob@" + host)
			if w.Code != 200 || len(got) != 1 {
				t.Fatalf("%s: answer %d %s, bob has %q", row.name, w.Code, w.Body, got)
			}
			moduletest.Same(t, got[0], "<message from='"+who[1]+"@im.example.org' to='bob@im.example.org' type='chat'>"+row.want+"</message>")
		}
	}
}

func TestAFileGoesToMany(t *testing.T) {
	h, s := filing(t)
	body := `{"to": ["bob@im.example.org", "skel@im.example.org"], "attachments": [{"name": "n", "data": "aGVsbG8="}]}`
	for range 2 { // the second is a repetition
		if w := h.do(call{headers: []string{jsonType, "Idempotency-Key: k"}, body: body}); w.Code != 200 {
			t.Fatalf("answer %d %s", w.Code, w.Body)
		}
	}
	if len(s.kept) != 1 || s.kept[0] != "andy@im.example.org n text/plain; charset=utf-8: hello" {
		t.Errorf("kept %q", s.kept)
	}
	for _, user := range []string{"bob", "skel"} {
		if got := h.stored(user + "@" + host); len(got) != 1 || !strings.Contains(got[0], "<url>https://up.example/1/n</url>") {
			t.Errorf("%s has %q", user, got)
		}
	}
}

// badFields are fields with what is wrong with them; the line ends where another may go on.
var badFields = []struct{ fields, line string }{
	{`"body": 1`, "body must be a string."},
	{`"markdown": {}`, "markdown must be a string."},
	{`"markdown": "a", "body": "b"`, "markdown: there is a body as well."},
	{`"markdown": "a\u0001"`, "markdown: it holds a character that XML does not allow, U+0001 at line 1, column 2 of the text."},
	{`"subject": null`, "subject must be a string."},
	{`"subject": "\u0000"`, "subject: it holds a character that XML does not allow, U+0000 at line 1, column 1 of the text."},
	{`"thread": ["a"]`, "thread must be a string."},
	{`"thread": "\ufffe"`, "thread: it holds a character that XML does not allow, U+FFFE at line 1, column 1 of the text."},
	{`"reply_to": 1`, "reply_to must be the id of a message or an object."},
	{`"reply_to": ["a"]`, "reply_to must be the id of a message or an object."},
	{`"reply_to": ""`, "reply_to.id must be the id of a message."},
	{`"reply_to": {}`, "reply_to.id must be the id of a message."},
	{`"reply_to": {"id": 1}`, "reply_to.id must be a string."},
	{`"reply_to": {"id": "\u0000"}`, "reply_to.id must be the id of a message."},
	{`"reply_to": {"id": "a", "to": 1}`, "reply_to.to must be a string."},
	{`"reply_to": {"id": "a", "to": "@"}`, `reply_to.to is "@", which is not an address.`},
	{`"reply_to": {"id": "a", "quote": 1}`, "reply_to.quote must be a string."},
	{`"reply_to": {"id": "a", "quote": "b"}`, "reply_to.quote: there is no body."},
	{`"reply_to": {"id": "a", "quote": "\u0000"}, "body": "b"`, "reply_to.quote: it holds a character that XML does not allow, U+0000 at line 1, column 1 of the text."},
	{`"reply_to": {"id": "a", "id": "b"}`, `JSON parsing failed: "id" is there twice.`},
	{`"reply_to": {"idea": "a"}`, `"idea" is not a field of reply_to.`},
	{`"attachments": "a"`, "attachments must be an array of objects."},
	{`"attachments": {"url": "` + cat + `"}`, "attachments must be an array of objects."},
	{`"attachments": ["` + cat + `"]`, "attachments must be an array of objects."},
	{`"attachments": [{}]`, "attachments[0].url or data is missing."},
	{`"attachments": [{"url": "` + cat + `"}, {"url": 1}]`, "attachments[1].url must be a string."},
	{`"attachments": [{"url": "javascript:alert(1)"}]`, `attachments[0].url is "javascript:alert(1)", which is no address that begins with https:// or http://.`},
	{`"attachments": [{"url": "https:///x"}]`, `attachments[0].url is "https:///x", which is no address`},
	{`"attachments": [{"url": "https://a.example/a b"}]`, `attachments[0].url is "https://a.example/a b", which is no address`},
	{`"attachments": [{"url": "https://a.example/\n"}]`, `attachments[0].url is "https://a.example/\n", which is no address`},
	{`"attachments": [{"url": "https://a.example/` + strings.Repeat("x", maxURL) + `"}]`, "attachments[0].url is "},
	{`"attachments": [{"url": "` + cat + `", "data": "aGk="}]`, "attachments[0].url: there is data as well."},
	{`"attachments": [{"name": 1}]`, "attachments[0].name must be a string."},
	{`"attachments": [{"name": "a\nb", "url": "` + cat + `"}]`, "attachments[0].name must be at most 255 bytes, without control characters."},
	{`"attachments": [{"name": "` + strings.Repeat("n", 256) + `", "url": "` + cat + `"}]`, "attachments[0].name must be at most 255 bytes, without control characters."},
	{`"attachments": [{"type": 1}]`, "attachments[0].type must be a string."},
	{`"attachments": [{"type": "png", "url": "` + cat + `"}]`, `attachments[0].type is "png", which is no media type.`},
	{`"attachments": [{"size": "1"}]`, "attachments[0].size must be a number of bytes."},
	{`"attachments": [{"size": -1}]`, "attachments[0].size must be a number of bytes."},
	{`"attachments": [{"size": 1.5}]`, "attachments[0].size must be a number of bytes."},
	{`"attachments": [{"size": 1e30}]`, "attachments[0].size must be a number of bytes."},
	{`"attachments": [{"size": null}]`, "attachments[0].size must be a number of bytes."},
	{`"attachments": [{"data": 1}]`, "attachments[0].data must be a string."},
	{`"attachments": [{"name": "a", "data": "%"}]`, "attachments[0].data is not base64 (RFC 4648 §4)."},
	{`"attachments": [{"name": "a", "data": ""}]`, "attachments[0].data is empty."},
	{`"attachments": [{"data": "aGk="}]`, "attachments[0].name is missing."},
	{`"attachments": [{"href": "a"}]`, `attachments[0]."href" is not a field of an attachment.`},
	{`"attachments": [` + strings.Repeat(`{"url": "`+cat+`"},`, 10) + `{"url": "` + cat + `"}]`, "attachments: 10 are allowed."},
	{`"attachments": [{"url": "` + cat + `"}`, "JSON parsing failed: "},
}

func TestAFieldThatIsWrongIsNamed(t *testing.T) {
	h, s := filing(t)
	for _, row := range badFields {
		w := h.do(call{headers: []string{jsonType}, body: `{"to": "bob@im.example.org", ` + row.fields + `}`})
		got := strings.TrimSuffix(w.Body.String(), "\n")
		want := "Bad request: " + row.line
		if w.Code != 400 || got != want && (strings.HasSuffix(row.line, ".") || !strings.HasPrefix(got, want)) {
			t.Errorf("%.80s: answer %d %q, want %q", row.fields, w.Code, got, want)
		}
	}
	h.nothingStored()
	if len(s.kept) > 0 {
		t.Errorf("kept %q", s.kept)
	}
}

func TestAFileIsNotKeptForAMessageThatIsRefused(t *testing.T) {
	h, s := filing(t)
	file := `"attachments": [{"name": "n", "data": "aGVsbG8="}]`
	for name, c := range map[string]struct {
		call
		code int
	}{
		"nowhere":           {call{body: `{"to": "bob@nowhere", ` + file + `}`}, 403},
		"many, not allowed": {call{user: "skel@" + host, body: `{"to": ["bob@` + host + `"], ` + file + `}`}, 403},
		"dry":               {call{path: "/message?dry_run=1", body: `{"to": "bob@` + host + `", ` + file + `}`}, 200},
		"no account":        {call{path: gatewayPath + "/t", user: "robot", body: `{"to": "bob@` + host + `", ` + file + `}`}, 403},
		"too much": {call{body: `{"to": "bob@` + host + `", "body": "` + strings.Repeat("x", DefaultMaxBody-500) + `", ` + file + `}`},
			400},
	} {
		c.headers = []string{jsonType}
		if w := h.do(c.call); w.Code != c.code {
			t.Errorf("%s: answer %d %s", name, w.Code, w.Body)
		}
	}
	h.o.Upload = nil
	if w := h.do(call{headers: []string{jsonType}, body: `{"to": "bob@` + host + `", ` + file + `}`}); w.Code != 403 {
		t.Errorf("where no files are taken: %d %s", w.Code, w.Body)
	}
	h.nothingStored()
	if len(s.kept) > 0 {
		t.Errorf("kept %q", s.kept)
	}
}

func TestAFileThatIsNotKeptStopsTheMessage(t *testing.T) {
	h, s := filing(t)
	c := call{headers: []string{jsonType, "Idempotency-Key: k"}, body: `{"to": "bob@` + host + `", "attachments": [{"name": "n", "data": "aGVsbG8="}]}`}
	for _, one := range []struct {
		fail   error
		code   int
		text   string
		second string
	}{
		{&posting.Refusal{Status: 429, Retry: 9, Text: "Too many requests: no more files."}, 429, "Too many requests: no more files.\n", "9"},
		{&posting.Refusal{Status: 413, Text: "Request entity too large."}, 413, "Request entity too large.\n", ""},
		{storage.ErrUnavailable, 503, unavailable().text + "\n", "5"},
	} {
		s.fail = one.fail
		if w := h.do(c); w.Code != one.code || w.Body.String() != one.text || w.Header().Get("Retry-After") != one.second {
			t.Errorf("%v: answer %d %s %q", one.fail, w.Code, w.Body, w.Header())
		}
	}
	h.nothingStored()
	s.fail = nil
	if w := h.do(c); w.Code != http.StatusOK || len(h.stored("bob@"+host)) != 1 {
		t.Errorf("later: %d %s", w.Code, w.Body)
	}
}

func TestADraftCanHaveFiles(t *testing.T) {
	h, s := filing(t)
	d := drafted("bob@" + host)
	d.Attachments = []posting.Attachment{{URL: cat}, {Name: "n", Data: []byte("hello")}}
	_, err := h.Post(t.Context(), d)
	must(t, err)
	got := h.stored("bob@" + host)[0]
	if !strings.Contains(got, "<body>down\n"+cat+"\nhttps://up.example/1/n</body>") || len(s.kept) != 1 || d.Attachments[1].URL != "" {
		t.Errorf("got %s, kept %q", got, s.kept)
	}
	d.Attachments = []posting.Attachment{{}}
	var refused *posting.Refusal
	if _, err := h.Post(t.Context(), d); !errors.As(err, &refused) || refused.Text != "Bad request: attachments[0].url or data is missing." {
		t.Errorf("without one: %v", err)
	}
}
