package web

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

// finds is sees for a page that a form leads to: the browser may still show the one before, and what is asked of that
// is never answered. So it asks again.
func (b *browser) finds(css, text string) {
	b.t.Helper()
	b.call(http.MethodPost, "/timeouts", map[string]any{"script": 1000})
	defer b.call(http.MethodPost, "/timeouts", map[string]any{"script": harness.Timeout.Milliseconds()})
	reply := ""
	for end := time.Now().Add(harness.Timeout); time.Now().Before(end); {
		reply = b.try(http.MethodPost, "/execute/async", map[string]any{"script": watch, "args": []any{css, text}})
		if strings.HasPrefix(reply, "{") {
			return
		}
	}
	b.t.Fatalf("no page shows %s with %q: %s", css, text, reply)
}

// A look is a size of screen and a colour scheme.
type look struct {
	width  int
	scheme string
}

var looks = []look{{390, "light"}, {390, "dark"}, {1280, "light"}, {1280, "dark"}}

// devtools sends a command of the DevTools protocol.
func (b *browser) devtools(cmd string, params map[string]any) {
	b.t.Helper()
	b.call(http.MethodPost, "/goog/cdp/execute", map[string]any{"cmd": cmd, "params": params})
}

// looksLike has the page be seen so.
func (b *browser) looksLike(l look) {
	b.t.Helper()
	b.devtools("Emulation.setDeviceMetricsOverride", map[string]any{"width": l.width, "height": 900, "deviceScaleFactor": 1,
		"mobile": l.width < 500})
	b.devtools("Emulation.setEmulatedMedia", map[string]any{"features": []any{
		map[string]any{"name": "prefers-color-scheme", "value": l.scheme}}})
}

// wider calls back with what reaches over the edge of the screen, the body's colour and how many stylesheets there are.
const wider = `const done = arguments[0], w = document.documentElement.clientWidth
const over = (e) => e.getBoundingClientRect().right > w + 1
const out = [...document.querySelectorAll('body *')].filter(over).map((e) => e.outerHTML.slice(0, 80))
if (document.documentElement.scrollWidth > w) out.push('the page: ' + document.documentElement.scrollWidth)
done(JSON.stringify({out, ground: getComputedStyle(document.body).backgroundColor, styles: document.styleSheets.length}))`

// visits opens a page in all looks. Nothing may reach over the edge, and the browser must have nothing to complain of:
// a policy that was violated is an error in its console.
func (b *browser) visits(name, url string) {
	b.t.Helper()
	grounds := map[string]bool{}
	for _, l := range looks {
		b.looksLike(l)
		b.open(url)
		b.sees("h1", "")
		var seen struct {
			Out    []string
			Ground string
			Styles int
		}
		if err := json.Unmarshal([]byte(b.runs(wider)), &seen); err != nil {
			b.t.Fatal(err)
		}
		if len(seen.Out) > 0 || seen.Styles != 1 {
			b.t.Errorf("%s, %d pixels: %d stylesheets, over the edge: %q", name, l.width, seen.Styles, seen.Out)
		}
		grounds[seen.Ground] = true
		if said := b.console(); said != "" {
			b.t.Errorf("%s: the browser complains: %s", name, said)
		}
		b.shotWhole(fmt.Sprintf("%s-%d-%s", name, l.width, l.scheme))
	}
	if len(grounds) != 2 {
		b.t.Errorf("%s: light and dark have the grounds %v", name, grounds)
	}
}

// shotWhole is shot of all of the page, where somebody wants pictures.
func (b *browser) shotWhole(name string) {
	b.t.Helper()
	if os.Getenv("WEB_SHOTS") == "" {
		return
	}
	height := b.runs(`arguments[0](String(document.documentElement.scrollHeight))`)
	var n int
	if _, err := fmt.Sscan(height, &n); err != nil {
		b.t.Fatal(err)
	}
	width := b.runs(`arguments[0](String(window.innerWidth))`)
	var w int
	if _, err := fmt.Sscan(width, &w); err != nil {
		b.t.Fatal(err)
	}
	b.devtools("Emulation.setDeviceMetricsOverride", map[string]any{"width": w, "height": min(n, 6000), "deviceScaleFactor": 1,
		"mobile": w < 500})
	b.shot(name)
}

func TestThePagesOfTheServerInABrowser(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Users: []string{"admin", "romeo", "juliet", "clock", strings.Repeat("a-very-long-name-", 12)},
		Federate: true, S2S: `resolve: {"nowhere.example": "127.0.0.1:1"}`, Config: "registration: approve\n",
		HTTP: "url: https://files.example"})
	romeo, err := harness.Connect(s.C2STLS, "romeo", `&lt;b&gt;"balcony"&lt;/b&gt; `+strings.Repeat("long", 40))
	if err != nil {
		t.Fatal(err)
	}
	defer romeo.Close()
	for _, stanza := range []string{"<presence/>", "<message to='mercutio@nowhere.example'><body>lost?</body></message>",
		"<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'><item jid='spam@nowhere.example'>" +
			"<report xmlns='urn:xmpp:reporting:1' reason='urn:xmpp:reporting:spam'><text>&lt;script&gt;</text></report></item></block></iq>"} {
		if err := romeo.Send(stanza); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := romeo.Until(func(el string) bool { return harness.Attr(el, "id") == "b" }); err != nil {
		t.Fatal(err)
	}
	fill(t, s, romeo)
	r, err := http.NewRequest("POST", "http://"+s.HTTP+"/message", strings.NewReader("<message to='juliet@localhost'><body>yo</body></message>"))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("romeo@"+s.Domain, harness.Password)
	if resp, err := http.DefaultClient.Do(r); err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", resp, err)
	}

	b := openBrowser(t)
	at := "https://" + s.HTTPS
	b.visits("face", at+"/")
	b.open(at + "/admin/accounts")
	b.sees("h1", "Administration") // and no accounts
	b.visits("login", at+"/admin/login")
	b.types("#name", "admin")
	b.types("#password", "wrong"+enter)
	b.finds(".notice.bad", "That did not work")
	if said := b.console(); !strings.Contains(said, "403") || strings.Count(said, "\n") != 1 {
		t.Errorf("a wrong password: %s", said)
	}
	b.types("#password", harness.Password+enter)
	b.finds(".bar", "admin@localhost")
	for _, page := range []string{"", "accounts", "account?jid=romeo@localhost", "approvals", "invitations",
		"sessions", "rooms", "room?jid=" + theRoom, "bots", "bot?jid=clock@localhost", "announcements", "uploads", "upload?jid=romeo@localhost", "peers", "posts", "reports", "certificates", "storage", "doctor", "log"} {
		name, _, _ := strings.Cut(page, "@")
		b.visits(strings.NewReplacer("?", "-", "=", "-").Replace("console "+name), strings.TrimRight(at+"/admin/"+page, "/"))
	}

	b.visits("register", at+"/register")

	// What it shows, and what it does.
	b.looksLike(looks[2])
	b.open(at + "/admin/sessions")
	b.sees("td", `romeo@localhost/<b>"balcony"</b>`)
	b.open(at + "/admin/peers")
	b.sees("td", "nowhere.example")
	b.open(at + "/admin/posts")
	b.sees("td", "juliet@localhost")
	b.open(at + "/admin/reports")
	b.sees("td", "spam@nowhere.example")
	b.open(at + "/admin/rooms")
	b.clicks("td a", theRoom)
	b.finds("h1", theRoom)
	b.sees("dd", evil)
	b.sees("td", evil) // the nick
	b.types("#owner", "juliet@localhost"+enter)
	b.finds(".notice.good", "has another owner")
	b.open(at + "/admin/bots")
	b.clicks("td a", "clock@localhost")
	b.finds("h1", "clock@localhost")
	b.clicks("button[value=test]", "")
	b.finds(".notice.good", `The program would say: `+evil)
	b.clicks("button[value=remove]", "")
	b.finds(".notice.good", "an account like others")
	b.types("#jid", "clock@localhost")
	b.types("#url", "ftp://localhost"+enter)
	b.finds(".notice.bad", "The URL: expected one of http or https")
	b.open(at + "/admin/upload?jid=romeo@localhost")
	b.sees("td", "{{.}}.txt") // of what looks like a path the end is kept
	b.clicks("button[value=remove]", "")
	b.finds(".notice.good", "1 file is removed")
	b.open(at + "/admin/announcements")
	b.sees("td", evil)
	b.clicks("button[value=withdraw]", "")
	b.finds(".notice.good", "Nobody gets it any more")
	b.types("#text", evil)
	b.clicks("button[value=announce]", "")
	b.finds(".notice.good", "It went to 1 user at once")
	b.types("#welcome", evil)
	b.clicks("form.card:last-of-type button[value=set]", "")
	b.finds("textarea", evil)
	b.open(at + "/admin")
	b.clicks(".notice a", "Approvals")
	b.finds("h1", "Approvals")
	b.clicks("label", "benvolio@localhost")
	b.clicks("button[value=approve]", "")
	b.finds(".notice.good", "benvolio@localhost may log in now")
	b.clicks("label", "mercutio@localhost")
	b.clicks("button[value=refuse]", "")
	b.finds(".notice.good", "mercutio@localhost is refused")
	b.open(at + "/admin/account?jid=juliet@localhost")
	b.clicks("button[value=disable]", "")
	b.finds(".notice.good", "The account is disabled")
	b.clicks("button[value=enable]", "")
	b.finds(".notice.good", "may log in again")
	b.open(at + "/admin/account?jid=romeo@localhost")
	b.clicks("button[value=kick]", "")
	b.finds(".notice.good", "1 session has ended")
	b.types("#label", "backup")
	b.clicks("button[value=make-token]", "")
	b.finds(".notice.good", "shown only now")
	b.finds("code.copy", "jdt")
	b.shotWhole("console token")
	b.sees("td", "backup")
	b.clicks("button[value=revoke-token]", "")
	b.finds(".notice.good", "revoked")
	b.types("#password", "another-horse"+enter)
	b.finds(".notice.good", "The new password is set")
	if _, err := harness.Connect(s.C2STLS, "romeo", "garden"); err == nil {
		t.Error("the old password is good")
	}
	b.types("#again", "romeo@localhost")
	b.clicks("button[value=remove]", "")
	b.finds(".notice.good", "is removed")
	b.clicks(".bar button", "Log out")
	b.finds("h1", "Administration")
	if said := b.console(); said != "" {
		t.Errorf("the browser complains: %s", said)
	}
}

func TestTheConsoleOnThisMachineNeedsNoTLS(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Users: []string{"admin"}})
	b := openBrowser(t)
	b.open("http://" + s.HTTP + "/admin")
	b.types("#name", "admin@localhost")
	b.types("#password", harness.Password+enter)
	b.finds(".bar", "admin@localhost")
	b.clicks(".bar a", "Accounts")
	b.finds("td", "admin@localhost")
}

// evil is what users put into every field that is theirs.
const evil = `"'><script>document.title='evil'</script><img src=x onerror="document.title='evil'">{{.}}`

// theRoom is one of romeo's.
const theRoom = "garden@rooms.localhost"

// fill has the pages of the console show something of users: a room, a file, an announcement, and who waits for
// approval.
func fill(t *testing.T, s *harness.Server, romeo *harness.Client) {
	t.Helper()
	text := html.EscapeString(evil)
	ask := func(id, to, payload string) string {
		got, err := romeo.Ask(id, "<iq type='set' id='"+id+"' to='"+to+"'>"+payload+"</iq>")
		if err != nil || harness.Attr(got, "type") != "result" {
			t.Fatalf("%s: %s, %v", id, got, err)
		}
		return got
	}
	if err := romeo.Send("<presence to='" + theRoom + "/" + text + "'><x xmlns='http://jabber.org/protocol/muc'/></presence>"); err != nil {
		t.Fatal(err)
	}
	field := func(name, value string) string {
		return "<field var='muc#roomconfig_" + name + "'><value>" + value + "</value></field>"
	}
	ask("room", theRoom, "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>"+
		"<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>"+field("roomname", text)+
		field("roomdesc", text)+field("persistentroom", "1")+field("publicroom", "1")+"</x></query>")
	slot, err := romeo.Ask("slot", "<iq type='get' id='slot' to='upload.localhost'><request xmlns='urn:xmpp:http:upload:0' "+
		"filename='"+text+".txt' size='4' content-type='text/plain'/></iq>")
	put := harness.Attr(slot[max(strings.Index(slot, "<put"), 0):], "url")
	if err != nil || put == "" {
		t.Fatalf("no slot: %s, %v", slot, err)
	}
	r, err := http.NewRequest(http.MethodPut, put, strings.NewReader("evil"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "text/plain")
	for _, h := range regexp.MustCompile(`<header name='([^']*)'>([^<]*)<`).FindAllStringSubmatch(slot, -1) {
		r.Header.Set(h[1], h[2])
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.HTTPS)
		}}}
	defer client.CloseIdleConnections()
	if resp, err := client.Do(r); err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("the file: %v, %v", resp, err)
	}
	s.Command(evil, "announce", "--days", "3", "--host", "localhost")
	program := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, evil)
	}))
	t.Cleanup(program.Close)
	s.Command("", "bot", "add", "clock@localhost", "--url", program.URL+"/"+strings.Repeat("long", 40), "--room", theRoom, "--nick", "clock")
	if err := romeo.Send("<message type='chat' id='" + text + "' to='clock@localhost'><body>What time is it?</body></message>"); err != nil {
		t.Fatal(err)
	}
	s.Command("", "invite", "--contact", "romeo@localhost", "--uses", "3")
	for _, name := range []string{"benvolio", "mercutio", "tybalt-" + strings.Repeat("of-a-long-name-", 8)} {
		form := url.Values{"name": {name}, "password": {harness.Password}, "again": {harness.Password}}
		if resp, err := http.PostForm("http://"+s.HTTP+"/register", form); err != nil || resp.Body.Close() != nil ||
			resp.StatusCode != http.StatusOK {
			t.Fatalf("%s registers: %v, %v", name, resp, err)
		}
	}
}
