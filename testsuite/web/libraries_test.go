package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

// strophe logs in, says something to a contact and calls back with what it says then.
const strophe = `const [service, jid, password, contact, done] = arguments
import('/modules/strophe.js/dist/strophe.esm.js').then(({Strophe, $msg, $pres}) => {
	const c = new Strophe.Connection(service)
	let answer = ''
	c.connect(jid, password, (status, why) => {
		if (status === Strophe.Status.CONNECTED) {
			c.addHandler((m) => {
				answer = m.getElementsByTagName('body')[0].textContent
				c.disconnect('')
			}, null, 'message', 'chat')
			c.send($pres())
			c.send($msg({to: contact, type: 'chat'}).c('body').t('from strophe.js'))
		} else if (status === Strophe.Status.DISCONNECTED || status === Strophe.Status.AUTHFAIL || status === Strophe.Status.CONNFAIL)
			done(answer || 'status ' + status + ': ' + why)
	})
}, (e) => done(String(e)))`

func TestStropheLogsIn(t *testing.T) {
	t.Parallel()
	s := openSite(t, "juliet", "romeo")
	r := s.contact(t, "romeo")
	b := openBrowser(t)
	b.open(s.pages + "/blank.html")
	for _, service := range []string{s.websocket(), s.bosh()} {
		done := make(chan string, 1)
		go func() { done <- b.runs(strophe, service, juliet, harness.Password, romeo) }()
		h := r.hears("chat", says("from strophe.js"))
		r.does("say", h.From, "to strophe.js")
		if got := <-done; got != "to strophe.js" {
			t.Errorf("%s: %s", service, got)
		}
	}
}

// An authorization server says whose a token is (RFC 7662), and strophe.js shows one (RFC 7628).
func TestStropheLogsInByAToken(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 10)
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		token := r.PostFormValue("token")
		asked <- strings.Join([]string{r.Method, r.URL.Path, id, secret, token}, " ")
		w.Header().Set("Content-Type", "application/json")
		switch token {
		case "good.token":
			_, _ = io.WriteString(w, `{"active":true,"sub":"juliet","scope":"openid xmpp","token_type":"Bearer"}`)
		case "mail.token":
			_, _ = io.WriteString(w, `{"active":true,"sub":"juliet","scope":"openid mail"}`)
		default:
			_, _ = io.WriteString(w, `{"active":false}`)
		}
	}))
	t.Cleanup(issuer.Close)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := openSiteWith(t, fmt.Sprintf("accounts: {backend: oauth, local: [%s], oauth: {url: %q, client_id: jackdaw, "+
		"client_secret_file: %q, scope: xmpp, username: sub}}", romeo, issuer.URL+"/introspect", secret), "romeo")
	r := s.contact(t, "romeo")
	b := openBrowser(t)
	b.open(s.pages + "/blank.html")
	service := "wss://" + s.HTTPS + "/xmpp-websocket" // tokens are shown over TLS alone
	// It would rather show the token as a password.
	strophe := strings.Replace(strophe, "Connection(service)", "Connection(service, {mechanisms: [Strophe.SASLOAuthBearer]})", 1)
	for _, token := range []string{"bad.token", "mail.token"} {
		if got := b.runs(strophe, service, juliet, token, romeo); !strings.HasPrefix(got, "status") {
			t.Errorf("%s: %s", token, got)
		}
	}
	done := make(chan string, 1)
	go func() { done <- b.runs(strophe, service, juliet, "good.token", romeo) }()
	h := r.hears("chat", says("from strophe.js"))
	r.does("say", h.From, "to strophe.js")
	if got := <-done; got != "to strophe.js" {
		t.Error(got)
	}
	if got := <-asked; got != "POST /introspect jackdaw s3cret bad.token" {
		t.Errorf("asked %q", got)
	}
	if log := s.Log(); !strings.Contains(log, "mechanism=OAUTHBEARER") || strings.Contains(log, "good.token") {
		t.Errorf("the log: %s", log)
	}
}

// visit is what testdata/xmpp.mjs says of one of its two logins.
type visit struct {
	Sent, Heard               []string
	JID, Answer, Token, Error string
}

func TestXMPPJSLogsIn(t *testing.T) {
	t.Parallel()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("node is missing: apt-get install nodejs npm")
	}
	s := openSite(t, "juliet", "romeo")
	for name, service := range map[string]string{"websocket": s.websocket(), "tcp": "xmpp://" + s.C2S, "tls": "xmpps://" + s.C2STLS} {
		t.Run(name, func(t *testing.T) {
			r := s.contact(t, "romeo")
			cmd := exec.Command(node, filepath.Join("testdata", "xmpp.mjs"), service, harness.Domain, "juliet", harness.Password, romeo)
			// The certificate of the server is of its own.
			cmd.Env = append(os.Environ(), "NODE_TLS_REJECT_UNAUTHORIZED=0", "NODE_NO_WARNINGS=1")
			var errs bytes.Buffer
			cmd.Stderr = &errs
			answered := make(chan struct{})
			go func() {
				defer close(answered)
				for _, word := range []string{"from xmpp.js", "from xmpp.js again"} {
					h := r.hears("chat", says(word))
					r.does("say", h.From, "to xmpp.js")
				}
			}()
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, errs.String())
			}
			<-answered
			var visits []visit
			if err := json.Unmarshal(out, &visits); err != nil || len(visits) != 2 {
				t.Fatalf("%v: %s", err, out)
			}
			for _, v := range visits {
				if !strings.HasPrefix(v.JID, juliet+"/") || v.Answer != "to xmpp.js" || v.Error != "" {
					t.Errorf("%+v", v)
				}
			}
			// SASL2 with Bind 2, and then one request by a token (FAST) for the same device; no resource is bound apart.
			first, second := visits[0], visits[1]
			if first.Token != "HT-SHA-256-NONE" || !slices.Contains(second.Sent, "authenticate HT-SHA-256-NONE") ||
				slices.ContainsFunc(second.Sent, func(s string) bool { return strings.HasPrefix(s, "response") }) {
				t.Errorf("no login by token: %s", out)
			}
			for _, v := range visits {
				if !slices.Contains(v.Heard, "success of SASL2") || slices.Contains(v.Sent, "iq") || slices.Contains(v.Sent, "enable") {
					t.Errorf("not all in one request: %s", out)
				}
			}
			if first.JID != second.JID {
				t.Errorf("one device is %s, then %s", first.JID, second.JID)
			}
		})
	}
}
