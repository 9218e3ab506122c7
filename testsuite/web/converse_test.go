package web

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

const (
	juliet = "juliet@" + harness.Domain
	romeo  = "romeo@" + harness.Domain
	room   = "balcony@rooms." + harness.Domain
	enter  = "\uE007" // the key, to WebDriver
)

// Juliet sits at Converse.js, Romeo is a client of slixmpp, which they have never used before.
func TestAConversationWithConverse(t *testing.T) {
	for _, way := range []harness.Way{harness.WebSocket, harness.BOSH} {
		t.Run(string(way), func(t *testing.T) {
			t.Parallel()
			s := openSite(t, "juliet", "romeo")
			at := url.Values{"rooms": {"rooms." + harness.Domain}}
			if way == harness.BOSH {
				at.Set("bosh", s.bosh())
			} else {
				at.Set("websocket", s.websocket())
			}
			converse(t, s, s.pages+"/converse.html?"+at.Encode())
		})
	}
}

// forget deletes all that pages of this origin have kept.
const forget = `const done = arguments[0]
localStorage.clear()
sessionStorage.clear()
indexedDB.databases().then((all) => Promise.all(all.map(({name}) => new Promise((gone) => {
	indexedDB.deleteDatabase(name).onsuccess = gone
})))).then(() => done(''), (e) => done(String(e)))`

const compose = "textarea.chat-textarea"

func converse(t *testing.T, s *site, page string) {
	r := s.contact(t, "romeo")
	b := openBrowser(t)
	logIn := func() {
		t.Helper()
		b.types("#converse-login input[name=jid]", juliet)
		b.types("#converse-login input[name=password]", harness.Password)
		b.clicks("#converse-login button[type=submit]", "")
	}
	b.open(page)
	b.sees("#converse-login input[name=password]", "")
	b.shot("before the login")
	logIn()
	b.sees("converse-roster", "")
	b.shot("logged in")

	// She adds Romeo, who agrees and adds her; each sees that the other is there.
	b.clicks("#converse-roster .dropdown-toggle", "")
	b.clicks("#converse-roster .add-contact", "")
	b.types("converse-add-contact-modal input[name=jid]", romeo)
	b.types("converse-add-contact-modal input[name=name]", "Romeo"+enter)
	r.hears("presence", func(h heard) bool { return strings.HasPrefix(h.From, juliet+"/") && h.Show == "available" })
	b.sees(".contact-name--online", "Romeo")
	b.shot("roster")

	// A chat.
	b.clicks("a.open-chat[data-jid='"+romeo+"']", "")
	b.types(compose, "wherefore art thou?"+enter)
	if h := r.hears("chat", says("wherefore art thou?")); !strings.HasPrefix(h.From, juliet+"/") {
		t.Errorf("what she says comes from %s", h.From)
	}
	r.does("say", juliet, "I know not how to tell thee")
	b.sees(".chat-msg__text", "I know not how to tell thee")
	b.shot("chat")

	// A picture, which goes over HTTP to the server and as a link to Romeo.
	picture, err := filepath.Abs("testdata/picture.png")
	if err != nil {
		t.Fatal(err)
	}
	b.sees("converse-chat-toolbar [title='Choose a file to send']", "")
	b.chooses("converse-chat-toolbar input.fileupload", picture)
	sent := r.hears("chat", func(h heard) bool { return strings.HasSuffix(h.URL, "/picture.png") })
	if sent.Body != sent.URL {
		t.Errorf("the picture is %+v", sent)
	}
	resp, err := http.Get(sent.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := os.ReadFile(picture); string(got) != string(want) || resp.Header.Get("Content-Type") != "image/png" {
		t.Errorf("%s is %d bytes of %s, want %d", sent.URL, len(got), resp.Header.Get("Content-Type"), len(want))
	}
	b.sees("img.chat-image[src='"+sent.URL+"']", "")
	b.shot("picture")

	// A room of Romeo's.
	r.does("make_room", "romeo")
	r.hears("made", func(heard) bool { return true })
	b.clicks("converse-rooms-list .dropdown-toggle", "")
	b.clicks(".show-add-muc-modal", "")
	b.types("converse-add-muc-modal input[name=chatroom]", "balcony"+enter)
	b.sees("converse-muc .chat-head", "balcony")
	r.hears("occupant", func(h heard) bool { return h.From == room+"/juliet" })
	b.types("converse-muc "+compose, "good night"+enter)
	r.hears("groupchat", says("good night"))
	r.does("say_in_room", "sleep dwell upon thine eyes")
	b.sees("converse-muc .chat-msg__text", "sleep dwell upon thine eyes")
	b.shot("room")

	// After a reload she need not log in: over BOSH the session goes on by its sid, over WebSocket by stream management,
	// after a login with the keys that Converse.js has kept.
	b.open(page)
	b.sees(".contact-name--online", "Romeo")
	b.clicks("a.open-chat[data-jid='"+romeo+"']", "")
	b.sees(".chat-msg__text", "wherefore art thou?")
	r.does("say", juliet, "my name is hateful to myself")
	b.sees(".chat-msg__text", "my name is hateful to myself")
	b.shot("reloaded")

	// Another computer knows nothing: what it shows is from the server.
	b.open(s.pages + "/picture.png")
	b.runs(forget)
	b.open(page)
	logIn()
	b.sees(".contact-name--online", "Romeo")
	b.clicks("a.open-chat[data-jid='"+romeo+"']", "")
	b.sees(".chat-msg__text", "wherefore art thou?")
	b.sees(".chat-msg__text", "I know not how to tell thee")
	b.sees(".chat-msg__text", "my name is hateful to myself")
	b.sees("img.chat-image[src='"+sent.URL+"']", "")
	b.shot("history")
	b.clicks("a.open-room, converse-rooms-list .list-item", "balcony")
	b.sees("converse-muc .chat-msg__text", "good night")
	b.sees("converse-muc .chat-msg__text", "sleep dwell upon thine eyes")
	b.shot("history of the room")
}
