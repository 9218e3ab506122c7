// Package face is the page at / of each host: what this server is, how to get in, where to change a password, and whom
// to write to. An administrator may put a text of their own in front, for each host by a file.
package face

import (
	"embed"
	"html/template"
	"net/http"
	"strings"
	"time"

	"jackdaw/config"
	"jackdaw/web/pages"
)

//go:embed templates languages
var files embed.FS

// keep is how long browsers keep the page; what is on it changes with a reload of the configuration.
const keep = 5 * time.Minute

// A Host is what is told of one.
type Host struct {
	Domain       string
	Text         []Block // of its own; empty: the text of the program
	Registration config.Registration
	Register     string // the path of the page where anybody may; it is there as Registration says
	Contact      config.Contact
}

// A Contact is one way to write to somebody.
type Contact struct {
	Role string // a key of the words
	Link template.URL
	Text string
}

// view is what the template sees.
type view struct {
	Host
	Contacts []Contact
	Apps     []app
}

// An app is a client that beginners get along with.
type app struct{ Name, Where, URL string }

// apps are those that are kept well and free; none of them is ours.
var apps = []app{
	{"Conversations", "Android", "https://conversations.im/"},
	{"Monal", "iPhone, iPad, Mac", "https://monal-im.org/"},
	{"Gajim", "Windows, Linux", "https://gajim.org/"},
	{"Dino", "Linux", "https://dino.im/"},
}

// Handler answers at /. find returns the host that a request names, in lower case and without a port, or the one that
// is meant where it names none of ours.
func Handler(site *pages.Site, find func(name string) Host) http.Handler {
	book := site.NewBook(files, nil)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !site.Methods(w, r, http.MethodGet, http.MethodHead) {
			return
		}
		v := view{Host: find(pages.HostOf(r)), Apps: apps}
		v.Contacts = contacts(v.Contact)
		book.Write(w, r, pages.View{Name: "face", Keep: keep, Data: v})
	})
}

// contacts has those first whom most people look for.
func contacts(c config.Contact) (list []Contact) {
	for _, role := range []struct {
		key  string
		uris []string
	}{
		{"face.support", c.Support}, {"face.admin", c.Admin}, {"face.abuse", c.Abuse}, {"face.security", c.Security},
		{"face.status", c.Status}, {"face.feedback", c.Feedback}, {"face.sales", c.Sales},
	} {
		for _, uri := range role.uris {
			list = append(list, Contact{role.key, pages.SafeURL(uri), spoken(uri)})
		}
	}
	return list
}

// spoken is a URI as one says it.
func spoken(uri string) string {
	for _, scheme := range []string{"mailto:", "xmpp:", "tel:"} {
		if rest, ok := strings.CutPrefix(uri, scheme); ok {
			rest, _, _ = strings.Cut(rest, "?")
			return rest
		}
	}
	return strings.TrimSuffix(strings.TrimPrefix(uri, "https://"), "/")
}
