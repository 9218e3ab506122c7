package room

import (
	"slices"

	"jackdaw/modules/internal/forms"
	"jackdaw/xmpp"
)

// unbounded are the limits where settings are only written down.
var unbounded = Limits{Occupants: 1 << 30, History: 1 << 30}

// Submission is a form that has all of the settings, as an owner would send it, but for who is owner and admin.
func (c *Settings) Submission() *forms.Form {
	f := c.form("", nil, nil, unbounded)
	f.Kind, f.Title = forms.Submit, ""
	f.Fields = slices.DeleteFunc(f.Fields, func(x forms.Field) bool {
		return x.Var == prefix+"roomadmins" || x.Var == prefix+"roomowners"
	})
	for i := range f.Fields {
		f.Fields[i] = forms.Field{Var: f.Fields[i].Var, Values: f.Fields[i].Values}
	}
	return f
}

// Take puts what a form says into the settings, as far as it makes sense here; the rest is returned, by name.
func (c *Settings) Take(x *xmpp.Element, l Limits) (bad []string) {
	f, refused := forms.ParseOptions(x)
	if refused != nil {
		return []string{"form"}
	}
	// A password is set by two fields.
	together := &forms.Form{Kind: forms.Submit}
	for _, field := range f.Fields {
		if field.Var == prefix+"passwordprotectedroom" || field.Var == prefix+"roomsecret" {
			together.Fields = append(together.Fields, field)
			continue
		}
		if _, refused := c.read(&forms.Form{Kind: forms.Submit, Fields: []forms.Field{field}}, l); refused != nil {
			bad = append(bad, field.Var)
		}
	}
	if len(together.Fields) > 0 {
		if _, refused := c.read(together, l); refused != nil {
			bad = append(bad, prefix+"roomsecret")
		}
	}
	return bad
}

// AffiliationNamed is the one of this name; ok is false if there is none.
func AffiliationNamed(name string) (a Affiliation, ok bool) { return parseAffiliation(name) }
