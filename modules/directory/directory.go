// Package directory lets the users of a host find each other by name (XEP-0055): in a company, where everybody may know
// who is there. It is off unless the configuration turns it on, since elsewhere nobody may.
//
// Found is who has an account at the host that is asked, by the user name and by what the vCard says, for users of that
// host alone. What is in vCards is read again once in a while, not for each search.
//
// Left out: fields beyond those of the specification, and pages, which it does not know; who looks for too little is
// told to say more.
package directory

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/text/cases"

	"jackdaw/modules/internal/forms"
	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	nsSearch = "jabber:iq:search"
	// most is how many entries one answer has.
	most = 100
	// maxWanted is how many bytes of a field are compared.
	maxWanted = 256
	// maxKept is how many bytes of a field of a vCard are remembered.
	maxKept = 128
	// freshFor is how long what was read of a host is searched.
	freshFor = time.Minute
	// searches is how many an account has at once, and searchEvery when it has another one.
	searches    = 20
	searchEvery = 3 * time.Second
	// maxAskers bounds the accounts whose searches are counted.
	maxAskers = 10000
)

var query = xmpp.Name{Space: nsSearch, Local: "query"}

// Cards has the vCards of users.
type Cards interface {
	// Card is that of a user, nil if there is none that can be read.
	Card(ctx context.Context, user jid.JID) (*xmpp.Element, error)
}

// Options of New; all are needed.
type Options struct {
	Router *router.Router
	Cards  Cards
	// Accounts lists those of a host.
	Accounts func(ctx context.Context, host string) ([]accounts.Account, error)
	Log      *slog.Logger
}

// An entry is one user, with what can be searched for, by field.
type entry struct {
	jid    string
	fields [len(names)]string
	folded [len(names) + 1]string // the same as they are compared, and the user name
}

// names are the fields of the specification, and labels how forms call them.
var (
	names  = [...]string{"first", "last", "nick", "email"}
	labels = [...]string{"Given name", "Family name", "Nickname", "Email address"}
)

// A listing is what was read of a host. Immutable.
type listing struct {
	read    time.Time
	entries []entry
}

type directory struct {
	Options
	mu     sync.Mutex // guards the rest
	hosts  map[string]*listing
	askers map[jid.JID]*asker
}

// An asker is how many searches an account had left when it last searched.
type asker struct {
	left float64
	at   time.Time
}

// Of makes the module of a server.
func Of(p parts.Parts, cards Cards) router.Module {
	return New(Options{Router: p.Router, Cards: cards, Accounts: p.Accounts.List, Log: p.Log})
}

// New returns the module.
func New(o Options) router.Module {
	d := &directory{Options: o, hosts: map[string]*listing{}, askers: map[jid.JID]*asker{}}
	return router.Module{
		Name:     "directory",
		Needs:    []string{"vcard"},
		Specs:    []router.Spec{{Name: "XEP-0055", Version: "1.3", Note: "off by default; the users of a host"}},
		Features: []string{nsSearch},
		IQ:       []router.IQ{{Payload: query, Scope: router.Host, Handle: d.handle}},
		Removed:  d.removed,
	}
}

// removed forgets what was read of a host whose account is gone.
func (d *directory) removed(user jid.JID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.hosts, user.Domain())
	delete(d.askers, user)
	return nil
}

func (d *directory) handle(e *router.Envelope) {
	host := e.Stanza.To.Domain()
	el := e.Stanza.Child(query)
	switch {
	case el == nil:
		e.Refuse(xmpp.BadRequest(""))
	case e.Session == nil || e.Session.Bare().Domain() != host:
		e.Refuse(xmpp.Forbidden("the directory is for users of this host"))
	case e.Stanza.Type == xmpp.TypeGet:
		d.Router.Answer(e, fields())
	default:
		d.search(e, el, host)
	}
}

// fields says what can be searched for (§2.1, §3).
func fields() []byte {
	form := forms.Form{Kind: forms.Ask, Type: nsSearch, Title: "Users of this server"}
	w := xmpp.NewWriter(nil).Start(nsSearch, "query")
	w.Leaf("", "instructions", "Say what a name, nickname or address begins with or contains, in one field or several.")
	for i, name := range names {
		w.Start("", name).End()
		form.Fields = append(form.Fields, forms.Field{Var: name, Type: "text-single", Label: labels[i]})
	}
	form.Write(w)
	return w.End().Bytes()
}

func (d *directory) search(e *router.Envelope, el *xmpp.Element, host string) {
	wanted, withForm, bad := read(el)
	if bad != nil {
		e.Refuse(bad)
		return
	}
	if !d.may(e.Session.Bare(), time.Now()) {
		e.Refuse(xmpp.ResourceConstraint("too many searches; wait a moment").WithType(xmpp.ErrorWait))
		return
	}
	l, err := d.listed(host)
	if err != nil {
		d.Log.Warn("the directory cannot be read", "host", host, "error", err)
		e.Refuse(router.Unavailable())
		return
	}
	var found []entry
	for i := range l.entries {
		if !l.entries[i].matches(wanted) {
			continue
		}
		if len(found) == most {
			e.Refuse(xmpp.NotAcceptable("this is said of too many; say more"))
			return
		}
		found = append(found, l.entries[i])
	}
	d.Router.Answer(e, write(found, withForm))
}

// read is what is searched for, by field, as it is compared.
func read(el *xmpp.Element) (wanted [len(names)]string, withForm bool, bad *xmpp.Error) {
	get := func(name string) string {
		if c := el.ChildLocal(name); c != nil {
			return c.Text()
		}
		return ""
	}
	if x := el.Child(forms.Name); x != nil {
		form, bad := forms.Parse(x)
		switch {
		case bad != nil:
			return wanted, true, bad
		case form.Kind != forms.Submit || form.Type != "" && form.Type != nsSearch:
			return wanted, true, xmpp.BadRequest("this is not the form of the directory")
		}
		withForm = true
		get = func(name string) string {
			if f := form.Field(name); f != nil {
				return f.Value()
			}
			return ""
		}
	}
	some := false
	for i, name := range names {
		s := get(name)
		if len(s) > maxWanted {
			return wanted, withForm, xmpp.NotAcceptable("too long")
		}
		wanted[i] = fold(s)
		some = some || wanted[i] != ""
	}
	if !some {
		return wanted, withForm, xmpp.NotAcceptable("say something that is searched for")
	}
	return wanted, withForm, nil
}

// fold is a text as it is compared: without capitals, and with one space between words.
func fold(s string) string { return strings.Join(strings.Fields(cases.Fold().String(s)), " ") }

// matches says whether an entry contains all that is searched for. A nickname may be the user name.
func (one *entry) matches(wanted [len(names)]string) bool {
	for k, want := range wanted {
		user := one.folded[len(names)]
		if !strings.Contains(one.folded[k], want) && (names[k] != "nick" || !strings.Contains(user, want)) {
			return false
		}
	}
	return true
}

// write is the answer, in the words of the request (§2.1, §3).
func write(found []entry, withForm bool) []byte {
	w := xmpp.NewWriter(nil).Start(nsSearch, "query")
	if !withForm {
		for _, one := range found {
			w.Start("", "item").Attr("jid", one.jid)
			for i, name := range names {
				w.Leaf("", name, one.fields[i])
			}
			w.End()
		}
		return w.End().Bytes()
	}
	w.Start("jabber:x:data", "x").Attr("type", "result")
	w.Start("", "field").Attr("type", "hidden").Attr("var", "FORM_TYPE").Leaf("", "value", nsSearch).End()
	w.Start("", "reported")
	w.Start("", "field").Attr("var", "jid").Attr("type", "jid-single").Attr("label", "Address").End()
	for i, name := range names {
		w.Start("", "field").Attr("var", name).Attr("type", "text-single").Attr("label", labels[i]).End()
	}
	w.End()
	for _, one := range found {
		w.Start("", "item").Start("", "field").Attr("var", "jid").Leaf("", "value", one.jid).End()
		for i, name := range names {
			w.Start("", "field").Attr("var", name).Leaf("", "value", one.fields[i]).End()
		}
		w.End()
	}
	return w.End().End().Bytes()
}

// listed is what there is to find at a host.
func (d *directory) listed(host string) (*listing, error) {
	d.mu.Lock()
	defer d.mu.Unlock() // who else searches meanwhile waits for the same
	if l := d.hosts[host]; l != nil && time.Since(l.read) < freshFor {
		return l, nil
	}
	ctx := context.Background()
	all, err := d.Accounts(ctx, host)
	if err != nil {
		return nil, err
	}
	l := &listing{read: time.Now()}
	for _, a := range all {
		if !a.Active() {
			continue
		}
		card, err := d.Cards.Card(ctx, a.User)
		if err != nil {
			return nil, err
		}
		one := entry{jid: a.User.String()}
		for i, s := range said(card) {
			one.fields[i], one.folded[i] = s, fold(s)
		}
		one.folded[len(names)] = fold(a.User.Local())
		l.entries = append(l.entries, one)
	}
	slices.SortFunc(l.entries, func(a, b entry) int { return strings.Compare(a.jid, b.jid) })
	d.hosts[host] = l
	return l, nil
}

// said is what a vCard says (XEP-0054 §2), by field; card may be nil.
func said(card *xmpp.Element) (fields [len(names)]string) {
	if card == nil {
		return fields
	}
	text := func(path ...string) string {
		el := card
		for _, name := range path {
			if el = el.ChildLocal(name); el == nil {
				return ""
			}
		}
		return cut(strings.Join(strings.Fields(el.Text()), " "))
	}
	fields = [...]string{text("N", "GIVEN"), text("N", "FAMILY"), text("NICKNAME"), text("EMAIL", "USERID")}
	if full := text("FN"); fields[0] == "" && fields[1] == "" && full != "" { // clients often say no more than that
		fields[0], fields[1] = full, ""
		if i := strings.LastIndexByte(full, ' '); i > 0 {
			fields[0], fields[1] = full[:i], full[i+1:]
		}
	}
	return fields
}

// cut is as much of a text as is kept.
func cut(s string) string {
	if len(s) <= maxKept {
		return s
	}
	return strings.ToValidUTF8(s[:maxKept], "")
}

// may counts a search.
func (d *directory) may(who jid.JID, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.askers[who]
	if a == nil {
		if len(d.askers) >= maxAskers {
			clear(d.askers)
		}
		a = &asker{left: searches, at: now}
		d.askers[who] = a
	}
	a.left = min(searches, a.left+float64(now.Sub(a.at))/float64(searchEvery))
	a.at = now
	if a.left < 1 {
		return false
	}
	a.left--
	return true
}
