// Package caps tells clients, before they ask, what the host can do: the
// verification string of XEP-0115 §5.1 over the host's answer to disco#info, as a
// stream feature (§6.3). Package disco answers for the node that it names.
//
// What clients say of themselves travels in their presence, untouched. Left
// out: caps optimisation (§8.4), and reading the capabilities of others, which
// nothing here needs.
package caps

import (
	"cmp"
	"crypto/sha1"
	"encoding/base64"
	"slices"
	"strings"

	"jackdaw/router"
	"jackdaw/xmpp"
)

// Node names this software (XEP-0115 §4, the attribute node).
const Node = "urn:x-jackdaw:server"

// New returns the module. info is the host's answer to disco#info without a node; it
// is asked for each stream that has logged in, so that it may change.
func New(info func(host string) *xmpp.Element) router.Module {
	return router.Module{
		Name:     "caps",
		Specs:    []router.Spec{{Name: "XEP-0115", Version: "1.6.0", Note: "without caps optimisation"}},
		Features: []string{xmpp.NSCaps},
		StreamFeatureOf: func(host string) string {
			var w xmpp.Writer
			w.Start(xmpp.NSCaps, "c").Attr("hash", "sha-1").Attr("node", Node).Attr("ver", Ver(info(host))).End()
			return string(w.Bytes())
		},
	}
}

// Ver is the verification string of an answer to disco#info: a <query/> with
// identities, features and forms (XEP-0115 §5.1). SHA-1 is what all must support
// (§9.1); where it is weak is said in §9.2.
func Ver(query *xmpp.Element) string {
	var identities, features []string
	var forms []form
	for _, c := range query.Children() {
		switch {
		case c.Name == xmpp.Name{Space: xmpp.NSDiscoInfo, Local: "identity"}:
			identities = append(identities, strings.Join([]string{c.Attr("category"), c.Attr("type"),
				c.AttrNS(xmpp.NSXML, "lang"), c.Attr("name")}, "/"))
		case c.Name == xmpp.Name{Space: xmpp.NSDiscoInfo, Local: "feature"}:
			features = append(features, c.Attr("var"))
		case c.Name == xmpp.Name{Space: xmpp.NSDataForms, Local: "x"}:
			if f := readForm(c); f.kind != "" {
				forms = append(forms, f)
			}
		}
	}
	// Go compares strings by their bytes, which is the collation i;octet.
	slices.Sort(identities)
	slices.Sort(features)
	slices.SortStableFunc(forms, func(a, b form) int { return strings.Compare(a.kind, b.kind) })

	var s strings.Builder
	add := func(parts ...string) {
		for _, p := range parts {
			s.WriteString(p)
			s.WriteByte('<')
		}
	}
	add(identities...)
	add(features...)
	for _, f := range forms {
		add(f.kind)
		for _, field := range f.fields {
			add(field.name)
			add(field.values...)
		}
	}
	sum := sha1.Sum([]byte(s.String()))
	return base64.StdEncoding.EncodeToString(sum[:])
}

type form struct {
	kind   string // its FORM_TYPE, empty if it has none and is ignored (§5.4, 3.6)
	fields []field
}

type field struct {
	name   string
	values []string
}

func readForm(x *xmpp.Element) form {
	var out form
	for _, c := range x.Children() {
		if c.Name.Local != "field" {
			continue
		}
		f := field{name: c.Attr("var")}
		for _, v := range c.Children() {
			if v.Name.Local == "value" {
				f.values = append(f.values, v.Text())
			}
		}
		if f.name == "FORM_TYPE" {
			if c.Attr("type") == "hidden" && len(f.values) > 0 {
				out.kind = f.values[0]
			}
			continue
		}
		slices.Sort(f.values)
		out.fields = append(out.fields, f)
	}
	slices.SortStableFunc(out.fields, func(a, b field) int { return cmp.Compare(a.name, b.name) })
	return out
}
