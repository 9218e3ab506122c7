package face

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jackdaw/config"
	"jackdaw/web/pages"
)

func TestEveryCatalogueHasEveryWord(t *testing.T) {
	for _, gap := range pages.Gaps(files) {
		t.Error(gap)
	}
}

// shown is the page of a host.
func shown(h Host, method, lang string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "https://im.example.org:5284/", nil)
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Accept-Language", lang)
	w := httptest.NewRecorder()
	Handler(pages.New(nil), func(name string) Host {
		if name != "im.example.org" {
			panic(name)
		}
		return h
	}).ServeHTTP(w, r)
	return w
}

func TestAHostSaysHowToGetIn(t *testing.T) {
	for _, c := range []struct {
		registration config.Registration
		lang, want   string
	}{
		{config.RegistrationClosed, "en", "made by the people who run"},
		{config.RegistrationInvite, "de", "auf Einladung"},
		{config.RegistrationOpen, "fr", "indiquez im.example.org comme serveur"},
		{"", "es", "Las cuentas las crean"},
	} {
		w := shown(Host{Domain: "im.example.org", Registration: c.registration}, "GET", c.lang)
		body := w.Body.String()
		if w.Code != http.StatusOK || !strings.Contains(body, c.want) || !strings.Contains(body, "@im.example.org") {
			t.Errorf("%q: %d %s", c.registration, w.Code, body)
		}
	}
	if w := shown(Host{}, "POST", ""); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

func TestContactsAreLinks(t *testing.T) {
	w := shown(Host{Domain: "im.example.org", Contact: config.Contact{
		Admin: []string{"xmpp:boss@im.example.org", "javascript:alert(1)"}, Abuse: []string{"mailto:abuse@im.example.org?subject=x"},
		Status: []string{"https://status.example.net/"}}}, "GET", "")
	for _, want := range []string{
		`<a href="xmpp:boss@im.example.org">boss@im.example.org</a>`, `<dd>javascript:alert(1)</dd>`,
		`<a href="mailto:abuse@im.example.org?subject=x">abuse@im.example.org</a>`,
		`<a href="https://status.example.net/">status.example.net</a>`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in %s", want, w.Body)
		}
	}
}

func TestAHostHasATextOfItsOwn(t *testing.T) {
	text := Parse("\ufeff# Welcome\nThe servers of\r\nthe house <b>Capulet</b>; see https://capulet.example/rules, or ask\n" +
		"xmpp:nurse@im.example.org.\n- one\n- two (mailto:a@b.example)\n\n\njavascript:alert(1) \u202eabc\x00\n#not a heading")
	w := shown(Host{Domain: "im.example.org", Text: text}, "GET", "")
	body := w.Body.String()
	for _, want := range []string{
		"<h2>Welcome</h2>",
		"<p>The servers of the house &lt;b&gt;Capulet&lt;/b&gt;; see <a href=\"https://capulet.example/rules\">capulet.example/rules</a>, or ask " +
			"<a href=\"xmpp:nurse@im.example.org\">nurse@im.example.org</a>.</p>",
		"<ul><li>one</li><li>two (<a href=\"mailto:a@b.example\">a@b.example</a>)</li></ul>",
		"<p>javascript:alert(1) abc #not a heading</p>",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
	if strings.Contains(body, "chat server") {
		t.Error("its own text and that of the program")
	}
}

func TestATextThatIsNoneIsRefused(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"long": strings.Repeat("x", maxText+1), "latin": "caf\xe9"} {
		at := filepath.Join(dir, name)
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(at); err == nil || !strings.Contains(err.Error(), at) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Read(filepath.Join(dir, "none")); err == nil {
		t.Error("a file that is not there")
	}
	if text, err := Read(""); text != nil || err != nil {
		t.Error(text, err)
	}
}

func FuzzText(f *testing.F) {
	for _, seed := range []string{"", "# a\n- b\n- c\n\nd https://e", "-  \n#  \n", "https://", "xmpp:a@b?join;x='\"<>", "\u202e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, b := range Parse(text) {
			for _, spans := range append(b.Items, b.Paragraph) {
				for _, s := range spans {
					if s.Link != "" && pages.SafeURL(string(s.Link)) == "" {
						t.Error(fmt.Sprint(b))
					}
				}
			}
		}
	})
}
