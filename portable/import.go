package portable

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// writesAtOnce is how many writes are on their way before one waits.
const writesAtOnce = 1000

// ImportOptions of Import.
type ImportOptions struct {
	Dry bool // only say what would come
	// Beside says that another node reports what is wrong with the file itself.
	Beside bool
	// Progress is called often, with what is worth showing now and then.
	Progress func(Progress)
}

// importer is one run.
type importer struct {
	*Server
	o        ImportOptions
	in       *scanner
	report   Report
	progress Progress
	users    map[xmpp.Name]router.Section
	hosts    map[xmpp.Name]router.Section
	writes   []*storage.Pending
}

// Import reads a file, one that includes no others, and stores what is in it. An error of the file or of storage ends
// it, and the report says what had come by then.
func Import(ctx context.Context, s *Server, file io.Reader, o ImportOptions) (*Report, error) {
	im := &importer{Server: s, o: o, in: newScanner(file), users: map[xmpp.Name]router.Section{},
		hosts: map[xmpp.Name]router.Section{}}
	im.report.Dry, im.report.Accounts.What = o.Dry, "accounts"
	for _, p := range s.Parts {
		for _, section := range p.Import {
			im.users[section.Name] = section
		}
		for _, section := range p.ImportHost {
			im.hosts[section.Name] = section
		}
	}
	err := im.run(ctx)
	im.report.sort()
	return &im.report, err
}

func (im *importer) run(ctx context.Context) error {
	t, err := im.in.next()
	if err != nil {
		return err
	}
	if t.name != serverData {
		return im.in.fail("the file begins with <%.40s>, and not with <server-data> of XEP-0227", t.name.Local)
	}
	err = im.children(func(t token) error {
		if t.name == hostName {
			return im.host(ctx, t)
		}
		if t.name == lostName {
			times, _ := strconv.Atoi(attr(t, "times")) // 0 counts as once
			if !im.o.Beside {
				im.report.loseTimes(clip(attr(t, "what")), clip(attr(t, "where")), attr(t, "why"), min(max(times, 1), 1e9))
			}
			return im.in.skip()
		}
		return im.unknownOf(t, "the server")
	})
	if err != nil {
		return err
	}
	if _, err = im.in.next(); errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// children calls f with the start tag of each child of the element that was begun last; f reads it to its end.
func (im *importer) children(f func(t token) error) error {
	for {
		t, err := im.in.next()
		switch {
		case err != nil:
			return err
		case t.kind == endTag:
			return nil
		case t.kind == startTag:
			if err := f(t); err != nil {
				return err
			}
		}
	}
}

func attr(t token, local string) string {
	for _, a := range t.at {
		if a.Name == (xmpp.Name{Local: local}) {
			return a.Value
		}
	}
	return ""
}

// unknown passes over an element that nobody reads (§4).
func (im *importer) unknown(t token, where string) error {
	im.report.lose("elements", where, "nothing here reads <"+clip(t.name.Local)+"> of "+clip(t.name.Space))
	return im.in.skip()
}

// unknownOf is unknown of what is no account's.
func (im *importer) unknownOf(t token, where string) error {
	if im.o.Beside {
		return im.in.skip()
	}
	return im.unknown(t, where)
}

func clip(s string) string { return s[:min(len(s), 100)] }

func (im *importer) host(ctx context.Context, t token) error {
	domain, err := jid.Parse(attr(t, "jid"))
	switch {
	case im.o.Beside && (err != nil || !im.Served(domain.String())):
		return im.in.skip()
	case err != nil || domain.Local() != "" || domain.Resource() != "":
		im.report.lose("hosts", clip(attr(t, "jid")), "the address of a host is none")
		return im.in.skip()
	case !im.Served(domain.Domain()):
		im.report.lose("hosts", domain.Domain(), domain.Domain()+" is not served here: add it to hosts in the configuration")
		return im.in.skip()
	}
	return im.children(func(t token) error {
		if t.name == userName {
			return im.user(ctx, t, domain.Domain())
		}
		if section, ok := im.hosts[t.name]; ok {
			if err := im.section(ctx, section, domain, t); err != nil {
				return err
			}
			return im.await(ctx)
		}
		return im.unknownOf(t, domain.Domain())
	})
}

// An arrival is an account that is being imported.
type arrival struct {
	user     jid.JID
	there    bool // had been here before
	password string
	account  storage.Account
}

func (im *importer) user(ctx context.Context, t token, domain string) error {
	who := clip(attr(t, "name")) + "@" + domain
	lose := func(why string) {
		im.report.Accounts.Lost++
		im.report.lose("accounts", who, why)
	}
	user, err := jid.New(attr(t, "name"), domain, "")
	wrong := err != nil || user.Local() == ""
	if wrong && im.o.Beside || !wrong && im.Home != nil && !im.Home(user) {
		return im.in.skip()
	}
	if wrong {
		lose("the name is not allowed")
		return im.in.skip()
	}
	a := &arrival{user: user, password: attr(t, "password")}
	if a.there, err = im.Accounts.Exists(ctx, user); err != nil {
		return err
	}
	if !a.there && !im.o.Dry {
		if err := im.Accounts.Await(ctx, user); err != nil {
			return err
		}
	}
	im.progress.Now = user.String()
	places := map[xmpp.Name]*uint64{}
	err = im.children(func(t token) error {
		switch section, ok := im.users[t.name]; {
		case t.name == scramName:
			return im.keys(a, t)
		case t.name == ownName:
			return im.own(a, t)
		case ok:
			if places[t.name] == nil {
				places[t.name] = new(uint64)
			}
			return im.sectionAt(ctx, section, user, t, places[t.name])
		}
		return im.unknown(t, user.String())
	})
	if err != nil {
		return err
	}
	if err := im.await(ctx); err != nil {
		return err
	}
	im.progress.Accounts++
	switch {
	case a.there:
		im.report.Accounts.There++
		return nil
	case a.password == "" && len(a.account.Credentials) == 0:
		im.report.lose("passwords", who, "the file has none that can be used: set new ones with `jackdaw user passwd`")
	}
	if !im.o.Dry {
		err := im.Accounts.Restore(ctx, user, a.account, a.password)
		switch {
		case errors.Is(err, accounts.ErrExists):
			im.report.Accounts.There++
			return nil
		case errors.Is(err, accounts.ErrPassword), errors.Is(err, accounts.ErrUser):
			im.report.lose("passwords", who, err.Error())
			err = im.Accounts.Restore(ctx, user, a.account, "")
		}
		if err != nil {
			return err
		}
	}
	im.report.Accounts.Came++
	return nil
}

// keys reads <scram-credentials/>.
func (im *importer) keys(a *arrival, t token) error {
	el, err := im.in.element(t)
	if err == nil {
		im.credential(a, el)
	}
	return err
}

// credential takes the keys of one mechanism, if they are of use.
func (im *importer) credential(a *arrival, el *xmpp.Element) {
	decode := func(local string) []byte {
		c := el.ChildLocal(local)
		if c == nil {
			return nil
		}
		b, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(c.Text())) // what is wrong is too short
		return b
	}
	c := storage.Credential{Hash: strings.TrimPrefix(el.Attr("mechanism"), "SCRAM-"), Salt: decode("salt"),
		StoredKey: decode("stored-key"), ServerKey: decode("server-key")}
	// COMPAT(ejabberd 23.01): it encodes what it has stored in that form already.
	if twice(&c.StoredKey) {
		twice(&c.ServerKey)
		twice(&c.Salt)
	}
	if n := el.ChildLocal("iter-count"); n != nil {
		c.Iterations, _ = strconv.Atoi(strings.TrimSpace(n.Text())) // 0 is refused
	}
	if len(a.account.Credentials) >= 10 {
		return
	}
	sound, wrong := accounts.Sound([]storage.Credential{c})
	for _, why := range wrong {
		im.report.lose("passwords", a.user.String(), why.Error())
	}
	a.account.Credentials = append(a.account.Credentials, sound...)
}

// twice takes a second layer of Base64 off a key, if there is one: no key of ours is text.
func twice(key *[]byte) bool {
	b, err := base64.StdEncoding.DecodeString(string(*key))
	if err != nil || len(*key) < 24 {
		return false
	}
	*key = b
	return true
}

// own reads what we say of an account beside the format.
func (im *importer) own(a *arrival, t token) error {
	el, err := im.in.element(t)
	if err != nil {
		return err
	}
	a.account.Disabled = el.Attr("disabled") == "true"
	if at, err := xmpp.ParseTime(el.Attr("created")); err == nil && at.Before(time.Now()) {
		a.account.Created = at
	}
	if at, err := xmpp.ParseTime(el.Attr("password-set")); err == nil && at.Before(time.Now()) {
		a.account.Changed = at
	}
	for _, c := range el.Children() {
		switch c.Name {
		case xmpp.Name{Space: NS, Local: "other-form"}:
			im.credential(a, c)
			continue
		case xmpp.Name{Space: NS, Local: "permission"}:
		default:
			continue
		}
		p, err := accounts.ParsePermission(c.Text())
		if err != nil {
			im.report.lose("permissions", a.user.String(), err.Error())
			continue
		}
		a.account.Permissions = append(a.account.Permissions, string(p))
	}
	return nil
}

func (im *importer) section(ctx context.Context, s router.Section, of jid.JID, t token) error {
	return im.sectionAt(ctx, s, of, t, new(uint64))
}

func (im *importer) sectionAt(ctx context.Context, s router.Section, of jid.JID, t token, last *uint64) error {
	var within []*xmpp.Element
	var walk func(t token, depth int) error
	walk = func(t token, depth int) error {
		if depth > 0 {
			within = append(within, &xmpp.Element{Name: t.name, Attrs: t.at})
			defer func() { within = within[:len(within)-1] }()
			return im.children(func(t token) error { return walk(t, depth-1) })
		}
		el, err := im.in.element(t)
		if err != nil {
			return err
		}
		in := router.NewIncoming(of, el, slices.Clone(within), im.o.Dry, last)
		if err := s.Import(ctx, in); err != nil {
			return err
		}
		c := im.report.count(s.What)
		c.Came, c.There, c.Lost = c.Came+in.Came, c.There+in.Had, c.Lost+len(in.Lost)
		for _, why := range in.Lost {
			im.report.lose(s.What, of.String(), why)
		}
		if im.writes = append(im.writes, in.Writes...); len(im.writes) >= writesAtOnce {
			if err := im.await(ctx); err != nil {
				return err
			}
		}
		if im.progress.Things++; im.o.Progress != nil {
			im.o.Progress(im.progress)
		}
		return nil
	}
	return walk(t, s.Depth)
}

// await waits until what was written is durable.
func (im *importer) await(ctx context.Context) error {
	for _, p := range im.writes {
		if err := p.Wait(ctx); err != nil {
			return err
		}
	}
	clear(im.writes)
	im.writes = im.writes[:0]
	return nil
}
