// Package forms reads and writes Data Forms (XEP-0004) and their FORM_TYPE (XEP-0068), for every
// module that talks in them. Left out: reported items, media, and pages.
package forms

import (
	"slices"

	"jackdaw/xmpp"
)

// Name is that of the element.
var Name = xmpp.Name{Space: xmpp.NSDataForms, Local: "x"}

// The types of a form (XEP-0004 §3.1).
const (
	Ask    = "form"
	Submit = "submit"
	Cancel = "cancel"
	Result = "result"
)

// A Form is a set of fields under a type of its own.
type Form struct {
	Kind  string // Ask, Submit, Cancel or Result
	Type  string // FORM_TYPE; empty for none
	Title string
	// Instructions say how to fill it in.
	Instructions string
	Fields       []Field
	// More is XML behind the fields, in namespaces of its own.
	More []byte
}

// A Field of a form. In a submission only Var and Values are filled in.
type Field struct {
	Var, Type, Label string
	Required         bool
	Values           []string
	Options          []Option
	// Open says that a list takes values that are not among the options (XEP-0122 §3.2.2).
	Open bool
}

// An Option of a list.
type Option struct{ Label, Value string }

// Value is the first value, empty where there is none.
func (f *Field) Value() string {
	if len(f.Values) == 0 {
		return ""
	}
	return f.Values[0]
}

// Bool reads a boolean (§3.3); ok is false where it is none.
func (f *Field) Bool() (value, ok bool) {
	switch f.Value() {
	case "1", "true":
		return true, true
	case "0", "false":
		return false, true
	}
	return false, false
}

// Name is what people know the field by.
func (f *Field) Name() string {
	if f.Label != "" {
		return f.Label
	}
	return f.Var
}

// Offers says whether all of the values are among the options.
func (f *Field) Offers(values []string) bool {
	for _, v := range values {
		if !slices.ContainsFunc(f.Options, func(o Option) bool { return o.Value == v }) {
			return false
		}
	}
	return true
}

// Field returns the field of this name, or nil.
func (f *Form) Field(name string) *Field {
	if i := slices.IndexFunc(f.Fields, func(x Field) bool { return x.Var == name }); i >= 0 {
		return &f.Fields[i]
	}
	return nil
}

// Parse reads an <x/>. Fields without a name, which only decorate, are left out; one that comes twice is an error.
func Parse(x *xmpp.Element) (*Form, *xmpp.Error) { return read(x, x.Attr("type")) }

// ParseOptions is Parse for options that go along with a request, which can only be submitted: some clients leave the
// type out, though §3.2 asks for it.
func ParseOptions(x *xmpp.Element) (*Form, *xmpp.Error) {
	if !x.HasAttr("type") {
		return read(x, Submit)
	}
	return Parse(x)
}

func read(x *xmpp.Element, kind string) (*Form, *xmpp.Error) {
	f := &Form{Kind: kind}
	switch f.Kind {
	case Ask, Submit, Cancel, Result:
	default:
		return nil, xmpp.BadRequest("a form without a type")
	}
	typed := false
	for _, c := range x.Children() {
		if c.Name.Space != xmpp.NSDataForms {
			continue
		}
		switch c.Name.Local {
		case "title":
			f.Title = c.Text()
		case "instructions":
			f.Instructions = c.Text()
		case "field":
			field := parseField(c)
			switch {
			case field.Var == "FORM_TYPE" && !typed:
				f.Type, typed = field.Value(), true
			case field.Var == "FORM_TYPE", field.Var != "" && f.Field(field.Var) != nil:
				return nil, xmpp.BadRequest("a field comes twice")
			case field.Var != "":
				f.Fields = append(f.Fields, field)
			}
		}
	}
	return f, nil
}

func parseField(el *xmpp.Element) Field {
	f := Field{Var: el.Attr("var"), Type: el.Attr("type"), Label: el.Attr("label")}
	for _, c := range el.Children() {
		if c.Name.Space != xmpp.NSDataForms {
			continue
		}
		switch c.Name.Local {
		case "value":
			f.Values = append(f.Values, c.Text())
		case "required":
			f.Required = true
		case "option":
			o := Option{Label: c.Attr("label")}
			if v := c.ChildLocal("value"); v != nil {
				o.Value = v.Text()
			}
			f.Options = append(f.Options, o)
		}
	}
	return f
}

// Write adds the <x/>.
func (f *Form) Write(w *xmpp.Writer) {
	w.Start(xmpp.NSDataForms, "x").Attr("type", f.Kind)
	if f.Title != "" {
		w.Leaf("", "title", f.Title)
	}
	if f.Instructions != "" {
		w.Leaf("", "instructions", f.Instructions)
	}
	if f.Type != "" {
		w.Start("", "field").Attr("var", "FORM_TYPE").Attr("type", "hidden").Leaf("", "value", f.Type).End()
	}
	for i := range f.Fields {
		f.Fields[i].write(w)
	}
	w.Raw(f.More).End()
}

func (f *Field) write(w *xmpp.Writer) {
	w.Start("", "field").AttrIf("var", f.Var).AttrIf("type", f.Type).AttrIf("label", f.Label)
	if f.Open {
		w.Start("http://jabber.org/protocol/xdata-validate", "validate").Attr("datatype", "xs:string").
			Start("", "open").End().End()
	}
	if f.Required {
		w.Start("", "required").End()
	}
	for _, v := range f.Values {
		w.Leaf("", "value", v)
	}
	for _, o := range f.Options {
		w.Start("", "option").AttrIf("label", o.Label).Leaf("", "value", o.Value).End()
	}
	w.End()
}
