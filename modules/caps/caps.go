// Package caps tells clients, before they ask, what the host can do: the verification string of XEP-0115 §5.1 over the
// host's answer to disco#info, as a stream feature (§6.3). Package disco answers for the node that it names.
//
// What clients say of themselves travels in their presence, untouched; package pep asks what it stands for, and Verify
// says whether an answer is to be believed of others (§5.4). A client may say it with its first presence and with
// changes alone (§8.4): what it has said is added to the others. Left out: taking it out of presence for those who know
// it, which the latest presence of several, all that an inactive client is given, would lack.
package caps

import (
	"cmp"
	"crypto"
	"crypto/sha1"
	_ "crypto/sha256" // for Verify
	_ "crypto/sha512" // for Verify
	"encoding/base64"
	"slices"
	"strings"
	"sync"

	"jackdaw/router"
	"jackdaw/xmpp"
)

// Node names this software (XEP-0115 §4, the attribute node).
const Node = "urn:x-jackdaw:server"

// New returns the module, which must come before those that act on presence. info is the host's answer to disco#info
// without a node. It may change when what version returns does, which can be compared; the feature is offered to each
// stream that has logged in, and the hash of an answer of fifty lines would be a fortieth of the login.
func New(info func(host string) *xmpp.Element, version func() any) router.Module {
	known := memo{make: func(host string) string {
		var w xmpp.Writer
		w.Start(xmpp.NSCaps, "c").Attr("hash", "sha-1").Attr("node", Node).Attr("ver", Ver(info(host))).End()
		return string(w.Bytes())
	}}
	return router.Module{
		Name:            "caps",
		Needs:           []string{"disco"}, // they are the hash of what it says
		Specs:           []router.Spec{{Name: "XEP-0115", Version: "1.6.0", Note: "nothing is taken out of presence"}},
		Features:        []string{xmpp.NSCaps, xmpp.NSCaps + "#optimize"}, // §7
		Leaving:         router.Stage{Presence: complete},
		StreamFeatureOf: func(host string) string { return known.of(host, version()) },
	}
}

// A memo remembers the feature of each host.
type memo struct {
	make func(host string) string

	mu      sync.Mutex // guards the rest
	version any
	by      map[string]string
}

func (m *memo) of(host string, version any) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.by == nil || m.version != version {
		m.by, m.version = map[string]string{}, version
	}
	feature, ok := m.by[host]
	if !ok {
		feature = m.make(host)
		m.by[host] = feature
	}
	return feature
}

var name = xmpp.Name{Space: xmpp.NSCaps, Local: "c"}

// complete adds what a client has said of itself with its last presence to one that says nothing (§8.4).
func complete(e *router.Envelope) {
	last := e.Session.Presence()
	if last == nil || e.Stanza.Type != xmpp.TypeAvailable || !e.Stanza.To.IsZero() || e.Stanza.Has(name) {
		return
	}
	if c := last.ChildBytes(name); c != nil {
		s := e.Stanza.WithAdded(c)
		e.Replace(&s)
	}
}

// Ver is the verification string of an answer to disco#info: a <query/> with
// identities, features and forms (XEP-0115 §5.1). SHA-1 is what all must support
// (§9.1); where it is weak is said in §9.2.
func Ver(query *xmpp.Element) string {
	sum := sha1.Sum([]byte(text(gather(query))))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Verify says whether an answer to disco#info is the one that ver stands for, by an algorithm of the IANA registry
// (XEP-0115 §5.4). An answer that names something twice is ill-formed and never is.
func Verify(query *xmpp.Element, hash, ver string) bool {
	var h crypto.Hash
	switch strings.ToLower(hash) {
	case "sha-1":
		h = crypto.SHA1
	case "sha-256":
		h = crypto.SHA256
	case "sha-384":
		h = crypto.SHA384
	case "sha-512":
		h = crypto.SHA512
	default: // §5.4, 2
		return false
	}
	identities, features, forms := gather(query)
	if twice(identities) || twice(features) { // §5.4, 3.3 and 3.4
		return false
	}
	for i := 1; i < len(forms); i++ { // §5.4, 3.5
		if forms[i].kind == forms[i-1].kind {
			return false
		}
	}
	sum := h.New()
	sum.Write([]byte(text(identities, features, forms)))
	return base64.StdEncoding.EncodeToString(sum.Sum(nil)) == ver
}

func twice(sorted []string) bool { return len(slices.Compact(slices.Clone(sorted))) < len(sorted) }

// gather reads an answer, in the order that the string has.
func gather(query *xmpp.Element) (identities, features []string, forms []form) {
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
	return identities, features, forms
}

// text is what the hash is made of.
func text(identities, features []string, forms []form) string {
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
	return s.String()
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
