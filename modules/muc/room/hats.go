package room

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"jackdaw/modules/internal/forms"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A Hat is a role of the owners' own making, that users wear in the room (XEP-0317). The names are those of the stored
// record.
type Hat struct {
	URI   string `json:"uri"`
	Title string `json:"title"`
	Hue   string `json:"hue,omitempty"` // an angle in degrees
}

const (
	nsHatForm   = "urn:xmpp:hats:commands"
	maxHats     = 50 // of a room
	maxWorn     = 10 // by a user
	maxHatBytes = 256
)

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
	least      Affiliation
}

// hatCommands are what can be done with hats, and the least affiliation that may do so (XEP-0317 §4).
var hatCommands = []hatCommand{
	{nsHatForm + ":create", "Create or change a hat", []string{hatTitle, hatURI}, Owner},
	{nsHatForm + ":destroy", "Destroy a hat", []string{hatURI}, Owner},
	{nsHatForm + ":list", "List the hats", nil, Unaffiliated},
	{nsHatForm + ":assign", "Give a hat to a user", []string{hatJID, hatURI}, Owner},
	{nsHatForm + ":unassign", "Take a hat from a user", []string{hatJID, hatURI}, Owner},
	{nsHatForm + ":list-assigned", "List who wears which hat", nil, Admin},
}

// appendHats appends what an occupant wears (XEP-0317 §4.1).
func (r *Room) appendHats(dst []byte, o *Occupant) []byte {
	worn := r.People[o.Name].Hats
	if len(worn) == 0 {
		return dst
	}
	w := xmpp.NewWriter(dst).Start(nsHats, "hats")
	for _, h := range r.Hats {
		if slices.Contains(worn, h.URI) {
			w.Start("", "hat").Attr("title", h.Title).Attr("uri", h.URI).AttrIf("hue", h.Hue).End()
		}
	}
	return w.End().Bytes()
}

// hatsHash changes with the list (XEP-0317 §3).
func (r *Room) hatsHash() string {
	if len(r.Hats) == 0 {
		return ""
	}
	h := sha256.New()
	for _, one := range r.Hats {
		h.Write([]byte(strconv.Quote(one.URI) + strconv.Quote(one.Title) + strconv.Quote(one.Hue)))
	}
	return hex.EncodeToString(h.Sum(nil)[:20])
}

// listCommands writes the items of the node of commands (XEP-0050 §2.2), as far as the asker may use them.
func (r *Room) listCommands(who jid.JID, w *xmpp.Writer) {
	rank := r.AffiliationOf(who)
	for _, c := range hatCommands {
		if rank >= c.least {
			w.Start("", "item").Attr("jid", r.Name).Attr("node", c.node).Attr("name", c.name).End()
		}
	}
}

// A HatChange is what a command changes about hats.
type HatChange struct {
	Hats   []Hat   // all that there will be
	People []Known // whose hats change
	uri    string  // of the hat that changes, or its wearers
	listed bool    // the list itself has changed
}

// Command is the answer to a command about hats, and what changes by it, if that is not nil (XEP-0317 §4.2 to §4.7). A
// command is one step, or a form comes before it.
func (r *Room) Command(who jid.JID, el *xmpp.Element) (answer []byte, change *HatChange, bad *xmpp.Error) {
	i := slices.IndexFunc(hatCommands, func(c hatCommand) bool { return c.node == el.Attr("node") })
	if i < 0 {
		return nil, nil, xmpp.ItemNotFound("there is no such command")
	}
	c := hatCommands[i]
	answered := func(status string, form func(w *xmpp.Writer)) []byte {
		session := cmp.Or(el.Attr("sessionid"), NewID())
		w := xmpp.NewWriter(nil).Start(xmpp.NSCommands, "command").Attr("node", c.node).Attr("sessionid", session).
			Attr("status", status)
		if form != nil {
			form(w)
		}
		return w.End().Bytes()
	}
	x := el.Child(forms.Name)
	switch {
	case r.AffiliationOf(who) < c.least:
		return nil, nil, xmpp.Forbidden("this is not for you to do")
	case el.Attr("action") == "cancel":
		return answered("canceled", nil), nil, nil
	case c.fields == nil && c.least == Admin:
		return answered("completed", r.wornForm), nil, nil
	case c.fields == nil:
		return answered("completed", r.hatsForm), nil, nil
	case x == nil:
		return answered("executing", r.askFor(c.name, c.fields).Write), nil, nil
	}
	form, bad := forms.Parse(x)
	if bad != nil {
		return nil, nil, bad
	}
	if form.Kind != forms.Submit || form.Type != nsHatForm {
		return nil, nil, xmpp.BadRequest("this is not the form of the command")
	}
	values := map[string]string{}
	for _, name := range append([]string{hatHue}, c.fields...) {
		if f := form.Field(name); f != nil {
			values[name] = strings.TrimSpace(f.Value())
		}
		if values[name] == "" && name != hatHue || len(values[name]) > maxHatBytes {
			return nil, nil, xmpp.BadRequest(name + " is missing or too long")
		}
	}
	change, bad = r.changeHats(strings.TrimPrefix(c.node, nsHatForm+":"), values)
	if bad != nil {
		return nil, nil, bad
	}
	return answered("completed", nil), change, nil
}

func (r *Room) askFor(title string, fields []string) *forms.Form {
	labels := map[string]string{hatTitle: "Title", hatURI: "URI", hatJID: "User"}
	f := &forms.Form{Kind: forms.Ask, Type: nsHatForm, Title: title}
	creates := slices.Contains(fields, hatTitle)
	for _, name := range fields {
		field := forms.Field{Var: name, Type: "text-single", Label: labels[name], Required: true}
		switch {
		case name == hatJID:
			field.Type = "jid-single"
		case name == hatURI && !creates:
			field.Type, field.Label = "list-single", "Hat"
			for _, h := range r.Hats {
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

func (r *Room) hatsForm(w *xmpp.Writer) {
	var rows [][]string
	for _, h := range r.Hats {
		rows = append(rows, []string{h.Title, h.URI, h.Hue})
	}
	table(w, []string{hatTitle, hatURI, hatHue}, rows)
}

func (r *Room) wornForm(w *xmpp.Writer) {
	var rows [][]string
	for name, p := range r.People {
		for _, h := range r.Hats {
			if slices.Contains(p.Hats, h.URI) {
				rows = append(rows, []string{name, h.URI, h.Title, h.Hue})
			}
		}
	}
	slices.SortFunc(rows, slices.Compare)
	table(w, []string{hatJID, hatURI, hatTitle, hatHue}, rows)
}

func (r *Room) changeHats(what string, values map[string]string) (*HatChange, *xmpp.Error) {
	uri := values[hatURI]
	at := slices.IndexFunc(r.Hats, func(h Hat) bool { return h.URI == uri })
	if at < 0 && what != "create" {
		return nil, xmpp.ItemNotFound("there is no such hat")
	}
	c := &HatChange{Hats: slices.Clone(r.Hats), uri: uri, listed: what == "create" || what == "destroy"}
	switch what {
	case "create":
		if hue := values[hatHue]; hue != "" {
			if angle, err := strconv.ParseFloat(hue, 64); err != nil || !(angle >= 0 && angle <= 360) {
				return nil, xmpp.NotAcceptable("the hue is an angle between 0 and 360")
			}
		}
		h := Hat{URI: uri, Title: values[hatTitle], Hue: values[hatHue]}
		switch {
		case at >= 0:
			c.Hats[at] = h
		case len(c.Hats) >= maxHats:
			return nil, xmpp.ResourceConstraint("there are too many hats")
		default:
			c.Hats = append(c.Hats, h)
		}
	case "destroy":
		c.Hats = slices.Delete(c.Hats, at, at+1)
		for name, p := range r.People {
			if slices.Contains(p.Hats, uri) {
				c.People = append(c.People, Known{name, p.without(uri)})
			}
		}
	default:
		user, err := jid.Parse(values[hatJID])
		if err != nil || user.Local() == "" {
			return nil, xmpp.JIDMalformed("this is not the address of a user")
		}
		name := user.Bare().String()
		p := r.People[name].without(uri)
		if what == "assign" {
			switch {
			case p.Affiliation == Outcast:
				return nil, xmpp.NotAllowed("this user is banned")
			case len(p.Hats) >= maxWorn:
				return nil, xmpp.ResourceConstraint("this user wears too many hats")
			}
			if bad := r.mayKnow(name); bad != nil {
				return nil, bad
			}
			p.Hats = append(p.Hats, uri)
		}
		c.People = []Known{{name, p}}
	}
	return c, nil
}

// SetHats lets a change of hats take effect.
func (r *Room) SetHats(fx *Effects, c *HatChange) {
	r.Hats = c.Hats
	touched := map[string]bool{}
	for _, k := range c.People {
		r.Learn(k)
		touched[k.User] = true
	}
	for _, o := range r.occupants {
		if touched[o.Name] || slices.Contains(r.People[o.Name].Hats, c.uri) {
			r.refresh(fx, o, o.Role, notice{})
		}
	}
	if c.listed {
		r.notify(fx, 104)
	}
}

// without is the same person without a hat.
func (p Person) without(uri string) Person {
	p.Hats = slices.DeleteFunc(slices.Clone(p.Hats), func(h string) bool { return h == uri })
	return p
}
