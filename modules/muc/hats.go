package muc

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"jackdaw/modules/internal/forms"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A hat is a role of the owners' own making, that users wear in the room (XEP-0317).
type hat struct {
	URI   string `json:"uri"`
	Title string `json:"title"`
	Hue   string `json:"hue,omitempty"` // an angle in degrees
}

const (
	nsCommands  = "http://jabber.org/protocol/commands"
	nsHatForm   = "urn:xmpp:hats:commands"
	hatsKey     = "hats"
	maxHats     = 50 // of a room
	maxWorn     = 10 // by a user
	maxHatBytes = 256
)

var commandName = xmpp.Name{Space: nsCommands, Local: "command"}

// Fields of the forms.
const (
	hatURI   = "hats#uri"
	hatTitle = "hats#title"
	hatHue   = "hats#hue"
	hatJID   = "hats#jid"
)

// A hatCommand is something that can be done with hats.
type hatCommand struct {
	node, name string
	fields     []string // that must be filled in
	least      affiliation
}

// hatCommands are what owners may do with hats (§4), and who may see what.
var hatCommands = []hatCommand{
	{nsHatForm + ":create", "Create or change a hat", []string{hatTitle, hatURI}, owner},
	{nsHatForm + ":destroy", "Destroy a hat", []string{hatURI}, owner},
	{nsHatForm + ":list", "List the hats", nil, unaffiliated},
	{nsHatForm + ":assign", "Give a hat to a user", []string{hatJID, hatURI}, owner},
	{nsHatForm + ":unassign", "Take a hat from a user", []string{hatJID, hatURI}, owner},
	{nsHatForm + ":list-assigned", "List who wears which hat", nil, admin},
}

// appendHats appends what an occupant wears (§4.1).
func (r *room) appendHats(dst []byte, o *occupant) []byte {
	worn := r.people[o.name].Hats
	if len(worn) == 0 {
		return dst
	}
	w := xmpp.NewWriter(dst).Start(nsHats, "hats")
	for _, h := range r.hats {
		if slices.Contains(worn, h.URI) {
			w.Start("", "hat").Attr("title", h.Title).Attr("uri", h.URI).AttrIf("hue", h.Hue).End()
		}
	}
	return w.End().Bytes()
}

// hatsHash changes with the list (§3).
func (r *room) hatsHash() string {
	if len(r.hats) == 0 {
		return ""
	}
	h := sha256.New()
	for _, one := range r.hats {
		h.Write([]byte(strconv.Quote(one.URI) + strconv.Quote(one.Title) + strconv.Quote(one.Hue)))
	}
	return hex.EncodeToString(h.Sum(nil)[:20])
}

// listCommands are the items of the node of commands (XEP-0050 §2.2), as far as the asker may use them.
func (r *room) listCommands(e *router.Envelope, w *xmpp.Writer) {
	rank := r.affiliationOf(e.Stanza.From)
	for _, c := range hatCommands {
		if rank >= c.least {
			w.Start("", "item").Attr("jid", r.name).Attr("node", c.node).Attr("name", c.name).End()
		}
	}
}

// command carries out what is said about hats (§4.2 to §4.7), in one step or with a form before it. It is called with order held.
func (r *room) command(e *router.Envelope, el *xmpp.Element) {
	i := slices.IndexFunc(hatCommands, func(c hatCommand) bool { return c.node == el.Attr("node") })
	if i < 0 {
		r.m.refuse(e, xmpp.ItemNotFound("there is no such command"))
		return
	}
	c := hatCommands[i]
	rank := r.affiliationOf(e.Stanza.From)
	answer := func(status string, form func(w *xmpp.Writer), p *storage.Pending) {
		session := cmp.Or(el.Attr("sessionid"), newID())
		w := xmpp.NewWriter(nil).Start(nsCommands, "command").Attr("node", c.node).Attr("sessionid", session).Attr("status", status)
		if form != nil {
			form(w)
		}
		r.m.o.Router.AnswerAfter(e, p, w.End().Bytes())
	}
	x := el.Child(forms.Name)
	switch {
	case rank < c.least:
		r.m.refuse(e, xmpp.Forbidden("this is not for you to do"))
	case el.Attr("action") == "cancel":
		answer("canceled", nil, nil)
	case c.fields == nil && c.least == admin:
		answer("completed", r.wornForm, nil)
	case c.fields == nil:
		answer("completed", r.hatsForm, nil)
	case x == nil:
		answer("executing", r.askFor(c.name, c.fields).Write, nil)
	default:
		form, bad := forms.Parse(x)
		if bad == nil && (form.Kind != forms.Submit || form.Type != nsHatForm) {
			bad = xmpp.BadRequest("this is not the form of the command")
		}
		values := map[string]string{}
		for _, name := range append([]string{hatHue}, c.fields...) {
			if bad != nil {
				break
			}
			if f := form.Field(name); f != nil {
				values[name] = strings.TrimSpace(f.Value())
			}
			if values[name] == "" && name != hatHue || len(values[name]) > maxHatBytes {
				bad = xmpp.BadRequest(name + " is missing or too long")
			}
		}
		var pending *storage.Pending
		if bad == nil {
			pending, bad = r.changeHats(e, strings.TrimPrefix(c.node, nsHatForm+":"), values)
		}
		if bad != nil {
			r.m.refuse(e, bad)
			return
		}
		answer("completed", nil, pending)
	}
}

func (r *room) askFor(title string, fields []string) *forms.Form {
	f := &forms.Form{Kind: forms.Ask, Type: nsHatForm, Title: title}
	creates := slices.Contains(fields, hatTitle)
	for _, name := range fields {
		field := forms.Field{Var: name, Type: "text-single", Label: map[string]string{hatTitle: "Title", hatURI: "URI", hatJID: "User"}[name], Required: true}
		switch {
		case name == hatJID:
			field.Type = "jid-single"
		case name == hatURI && !creates:
			field.Type, field.Label = "list-single", "Hat"
			for _, h := range r.hats {
				field.Options = append(field.Options, forms.Option{Label: h.Title, Value: h.URI})
			}
		}
		f.Fields = append(f.Fields, field)
	}
	if creates {
		f.Fields = append(f.Fields, forms.Field{Var: hatHue, Type: "text-single", Label: "Hue"})
	}
	return f
}

// table writes a form with one item for each row.
func table(w *xmpp.Writer, names []string, rows [][]string) {
	w.Start(xmpp.NSDataForms, "x").Attr("type", forms.Result)
	w.Start("", "reported")
	for _, name := range names {
		w.Start("", "field").Attr("var", name).End()
	}
	w.End()
	for _, row := range rows {
		w.Start("", "item")
		for i, name := range names {
			w.Start("", "field").Attr("var", name).Leaf("", "value", row[i]).End()
		}
		w.End()
	}
	w.End()
}

func (r *room) hatsForm(w *xmpp.Writer) {
	var rows [][]string
	for _, h := range r.hats {
		rows = append(rows, []string{h.Title, h.URI, h.Hue})
	}
	table(w, []string{hatTitle, hatURI, hatHue}, rows)
}

func (r *room) wornForm(w *xmpp.Writer) {
	var rows [][]string
	for name, p := range r.people {
		for _, h := range r.hats {
			if slices.Contains(p.Hats, h.URI) {
				rows = append(rows, []string{name, h.URI, h.Title, h.Hue})
			}
		}
	}
	slices.SortFunc(rows, slices.Compare)
	table(w, []string{hatJID, hatURI, hatTitle, hatHue}, rows)
}

// changeHats stores a change and lets it take effect.
func (r *room) changeHats(e *router.Envelope, what string, values map[string]string) (*storage.Pending, *xmpp.Error) {
	uri := values[hatURI]
	at := slices.IndexFunc(r.hats, func(h hat) bool { return h.URI == uri })
	if at < 0 && what != "create" {
		return nil, xmpp.ItemNotFound("there is no such hat")
	}
	hats, people := slices.Clone(r.hats), map[string]person{}
	switch what {
	case "create":
		if hue := values[hatHue]; hue != "" {
			if angle, err := strconv.ParseFloat(hue, 64); err != nil || !(angle >= 0 && angle <= 360) {
				return nil, xmpp.NotAcceptable("the hue is an angle between 0 and 360")
			}
		}
		h := hat{URI: uri, Title: values[hatTitle], Hue: values[hatHue]}
		switch {
		case at >= 0:
			hats[at] = h
		case len(hats) >= maxHats:
			return nil, xmpp.ResourceConstraint("there are too many hats")
		default:
			hats = append(hats, h)
		}
	case "destroy":
		hats = slices.Delete(hats, at, at+1)
		for name, p := range r.people {
			if slices.Contains(p.Hats, uri) {
				people[name] = p.without(uri)
			}
		}
	default:
		user, err := jid.Parse(values[hatJID])
		if err != nil || user.Local() == "" {
			return nil, xmpp.JIDMalformed("this is not the address of a user")
		}
		name := user.Bare().String()
		p := r.people[name].without(uri)
		if what == "assign" {
			switch {
			case p.Affiliation == outcast:
				return nil, xmpp.NotAllowed("this user is banned")
			case len(p.Hats) >= maxWorn:
				return nil, xmpp.ResourceConstraint("this user wears too many hats")
			}
			p.Hats = append(p.Hats, uri)
		}
		people[name] = p
	}
	changes := []storage.Change{{Key: hatsKey, Value: encode(hats)}}
	for name, p := range people {
		changes = append(changes, personChange(name, p))
		if r.conf.Persistent && !r.locked {
			if err := r.m.index(name, r.name, !p.empty()); err != nil {
				return nil, r.m.fault(err)
			}
		}
	}
	pending, err := r.store(changes...)
	if err != nil {
		return nil, r.m.fault(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	listed := what == "create" || what == "destroy"
	was := r.people
	r.hats = hats
	p := r.post(e.Batch)
	for _, o := range r.occupants {
		_, touched := people[o.name]
		if touched || slices.Contains(was[o.name].Hats, uri) {
			if touched {
				r.setPerson(o.name, people[o.name])
			}
			p.refresh(o, o.role, notice{})
		}
	}
	for name, one := range people {
		r.setPerson(name, one)
	}
	if listed {
		r.notify(e.Batch, 104)
	}
	return pending, nil
}

// without is the same person without a hat.
func (p person) without(uri string) person {
	p.Hats = slices.DeleteFunc(slices.Clone(p.Hats), func(h string) bool { return h == uri })
	return p
}
