package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// An Error is one thing wrong with the configuration.
type Error struct {
	File         string // "" when the configuration did not come from a file
	Line, Column int    // from 1; 0 when the key is not in the file
	Key          string // such as listen.http[0]; "" for the file as a whole
	Problem      string // what is wrong, and what was expected
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File + ":")
		if e.Line > 0 {
			fmt.Fprintf(&b, "%d:%d:", e.Line, e.Column)
		}
		b.WriteByte(' ')
	}
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Problem)
	return b.String()
}

// Errors is everything wrong with a configuration, in the order of the file;
// never empty.
type Errors []*Error

// Error has one line for each.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Load reads a file over the defaults and validates the outcome. What is wrong with
// the file comes back as Errors.
func Load(path string) (*Config, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, b)
}

// Parse is Load for a text that is to be in a file, which need not be there.
func Parse(path string, text []byte) (*Config, error) {
	c, err := parse(path, text)
	if err != nil {
		return nil, err
	}
	if err := c.place(path); err != nil {
		return nil, err
	}
	return c, nil
}

func parse(path string, text []byte) (*Config, error) {
	c := Default()
	d := &decoder{file: path, config: c, places: map[string]place{}, claimed: map[string]string{}}
	d.document(text)
	if len(d.errs) == 0 {
		for _, e := range c.problems() {
			p := d.nearest(e.Key)
			e.File, e.Line, e.Column = path, p.line, p.column
			d.errs = append(d.errs, e)
		}
	}
	if len(d.errs) > 0 {
		slices.SortStableFunc(d.errs, func(a, b *Error) int {
			return (a.Line-b.Line)*10000 + a.Column - b.Column
		})
		return nil, d.errs
	}
	c.Warnings = d.warnings(c)
	return c, nil
}

// A place in the file.
type place struct{ line, column int }

// A decoder puts a syntax tree into a Config and remembers where each value stood.
type decoder struct {
	file   string
	config *Config
	errs   Errors
	places map[string]place // by key, such as listen.http[0]
	// claimed holds under which key a value was given; see limitAliases.
	claimed map[string]string
}

func (d *decoder) document(text []byte) {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")) // YAML 1.2 §5.2: a byte order mark is no content
	f, err := parser.ParseBytes(text, 0)
	if err != nil {
		var y yaml.Error
		if errors.As(err, &y) && y.GetToken() != nil {
			p := y.GetToken().Position
			d.errs = append(d.errs, &Error{File: d.file, Line: p.Line, Column: p.Column, Problem: y.GetMessage()})
			return
		}
		d.errs = append(d.errs, &Error{File: d.file, Problem: err.Error()})
		return
	}
	seen := false
	for _, doc := range f.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if seen {
			d.fail(doc.Body, "", "a second document; expected one")
			return
		}
		seen = true
		d.value(doc.Body, "", reflect.ValueOf(d.config).Elem())
	}
}

func (d *decoder) fail(n ast.Node, key, problem string) {
	p := at(n)
	d.errs = append(d.errs, &Error{File: d.file, Line: p.line, Column: p.column, Key: key, Problem: problem})
}

// at is where a reader looks for the value: a block mapping's own token is the
// colon of its first key, so that key stands for it.
func at(n ast.Node) place {
	switch m := n.(type) {
	case *ast.MappingNode:
		if !m.IsFlowStyle && len(m.Values) > 0 {
			n = m.Values[0].Key
		}
	case *ast.MappingValueNode:
		n = m.Key
	}
	p := n.GetToken().Position
	return place{p.Line, p.Column}
}

// nearest is the place of a key, or of what it is in, if it is not in the file itself.
func (d *decoder) nearest(key string) place {
	for key != "" {
		if p, ok := d.places[key]; ok {
			return p
		}
		i := strings.LastIndexAny(key, ".[")
		key = key[:max(i, 0)]
	}
	return place{}
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	prefixType   = reflect.TypeFor[netip.Prefix]()
	modulesType  = reflect.TypeFor[Modules]()
	limitsType   = reflect.TypeFor[Limits]()
)

// value decodes one node into v, which holds the default. A null leaves it. It
// panics on a field of a type that the decoder does not know.
func (d *decoder) value(n ast.Node, key string, v reflect.Value) {
	if _, ok := d.places[key]; !ok {
		d.places[key] = at(n)
	}
	switch n := n.(type) {
	case *ast.NullNode:
		return
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		d.fail(n, key, "anchors, aliases and tags are not taken; expected the value itself")
		return
	}
	switch {
	case v.Type() == durationType:
		d.duration(n, key, v)
	case v.Type() == prefixType:
		d.prefix(n, key, v)
	case v.Type() == modulesType:
		d.modules(n, key, v.Addr().Interface().(*Modules))
	case v.Kind() == reflect.Struct:
		d.structure(n, key, v)
	case v.Kind() == reflect.Slice:
		d.list(n, key, v)
	case v.Kind() == reflect.Map:
		d.mapping(n, key, v)
	case v.Kind() == reflect.Bool:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			d.expected(n, key, "true or false")
			return
		}
		v.SetBool(b.Value)
	case v.Kind() == reflect.String:
		if s, ok := text(n); ok {
			v.SetString(s)
		} else {
			d.expected(n, key, "a string (put it in quotes)")
		}
	case v.CanInt():
		i, ok := whole(n)
		if !ok || v.OverflowInt(i) {
			d.expected(n, key, "a whole number")
			return
		}
		v.SetInt(i)
	default:
		panic("config: no decoder for " + v.Type().String())
	}
}

func (d *decoder) expected(n ast.Node, key, what string) {
	d.fail(n, key, "expected "+what+", found "+describe(n))
}

// pairs returns the keys and values of a mapping; ok is false when it was none,
// which has been reported.
func (d *decoder) pairs(n ast.Node, key string) (pairs []*ast.MappingValueNode, ok bool) {
	switch m := n.(type) {
	case *ast.MappingNode:
		pairs = m.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{m}
	default:
		d.expected(n, key, "keys and values")
		return nil, false
	}
	seen := map[string]bool{}
	for i, p := range pairs {
		name := p.Key.GetToken().Value
		if seen[name] {
			d.fail(p.Key, join(key, name), "given twice")
			pairs = slices.Delete(slices.Clone(pairs), i, i+1)
			break
		}
		seen[name] = true
	}
	return pairs, true
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

func (d *decoder) structure(n ast.Node, key string, v reflect.Value) {
	pairs, ok := d.pairs(n, key)
	if !ok {
		return
	}
	fields := map[string]int{}
	var names []string
	for i := range v.NumField() {
		if name := v.Type().Field(i).Tag.Get("yaml"); name != "-" {
			fields[name] = i
			names = append(names, name)
		}
	}
	for _, p := range pairs {
		name := p.Key.GetToken().Value
		if target, ok := limitAliases[name]; ok && v.Type() == limitsType {
			d.alias(p, join(key, name), target)
			continue
		}
		i, ok := fields[name]
		if !ok {
			d.fail(p.Key, join(key, name), "unknown key; expected one of "+strings.Join(names, ", "))
			continue
		}
		if where := join(key, name); d.claim(p, where, where) {
			d.value(p.Value, where, v.Field(i))
		}
	}
}

// alias decodes a limits key that is another name for target.
func (d *decoder) alias(p *ast.MappingValueNode, key, target string) {
	if d.claim(p, key, target) {
		d.value(p.Value, key, reflect.ValueOf(d.config.aliased(target)).Elem())
	}
}

// claim remembers where the value of target stands, and refuses a second
// name for it, whichever comes first in the file.
func (d *decoder) claim(p *ast.MappingValueNode, key, target string) bool {
	if other, ok := d.claimed[target]; ok {
		d.fail(p.Key, key, "given also as "+other+"; expected one of the two")
		return false
	}
	d.claimed[target] = key
	d.places[target] = at(p.Value)
	return true
}

func (d *decoder) list(n ast.Node, key string, v reflect.Value) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		d.expected(n, key, "a list")
		return
	}
	out := reflect.MakeSlice(v.Type(), len(s.Values), len(s.Values))
	for i, item := range s.Values {
		where := key + "[" + strconv.Itoa(i) + "]"
		if item.Type() == ast.NullType {
			d.fail(item, where, "an empty entry; expected a value")
			continue
		}
		d.value(item, where, out.Index(i))
	}
	v.Set(out)
}

// mapping decodes a map by names that are not keys of ours.
func (d *decoder) mapping(n ast.Node, key string, v reflect.Value) {
	pairs, ok := d.pairs(n, key)
	if !ok {
		return
	}
	out := reflect.MakeMap(v.Type())
	for _, p := range pairs {
		name := p.Key.GetToken().Value
		// Domains hold dots, so the path in brackets cannot be mistaken.
		where := key + "[" + name + "]"
		one := reflect.New(v.Type().Elem()).Elem()
		if s, ok := text(p.Value); one.Kind() != reflect.String {
			d.value(p.Value, where, one)
		} else if ok {
			one.SetString(s)
		} else {
			d.expected(p.Value, join(key, name), "a string")
			continue
		}
		d.places[where] = at(p.Value)
		out.SetMapIndex(reflect.ValueOf(name), one)
	}
	v.Set(out)
}

func (d *decoder) modules(n ast.Node, key string, m *Modules) {
	pairs, ok := d.pairs(n, key)
	if !ok {
		return
	}
	m.Off = maps.Clone(offByDefault)
	for _, p := range pairs {
		name := p.Key.GetToken().Value
		where := join(key, name)
		on, isSwitch := p.Value.(*ast.BoolNode)
		switch {
		case !slices.Contains(moduleNames, name):
			d.fail(p.Key, where, "unknown module; expected "+expectedModules())
		case isSwitch:
			d.places[where] = at(p.Value)
			m.Off[name] = !on.Value
		case p.Value.Type() != ast.NullType:
			d.module(p.Value, where, name, m)
		}
	}
}

// module decodes a mapping of settings, of which enabled is every module's.
func (d *decoder) module(n ast.Node, key, name string, m *Modules) {
	pairs, ok := d.pairs(n, key)
	if !ok {
		return
	}
	d.places[key] = at(n)
	var rest []*ast.MappingValueNode
	for _, p := range pairs {
		if p.Key.GetToken().Value != "enabled" {
			rest = append(rest, p)
			continue
		}
		on := true
		d.value(p.Value, join(key, "enabled"), reflect.ValueOf(&on).Elem())
		m.Off[name] = !on
	}
	if len(rest) == 0 {
		return
	}
	settings := m.settings(name)
	if settings == nil {
		d.fail(rest[0].Key, join(key, rest[0].Key.GetToken().Value), "unknown key; expected enabled")
		return
	}
	d.structure(ast.Mapping(n.GetToken(), false, rest...), key, reflect.ValueOf(settings).Elem())
}

func (d *decoder) duration(n ast.Node, key string, v reflect.Value) {
	const want = "a duration such as 30s, 10m or 30d"
	s, ok := text(n)
	if !ok {
		if i, isWhole := whole(n); isWhole && i == 0 {
			v.SetInt(0)
			return
		}
		d.expected(n, key, want)
		return
	}
	t, err := ParseDuration(s)
	if err != nil {
		d.expected(n, key, want)
		return
	}
	v.SetInt(int64(t))
}

// ParseDuration reads a time as the configuration has it: time.ParseDuration, and days ("30d") on their own.
func ParseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(s)
}

func (d *decoder) prefix(n ast.Node, key string, v reflect.Value) {
	s, ok := text(n)
	p, err := netip.ParsePrefix(s)
	if err != nil {
		if a, addrErr := netip.ParseAddr(s); addrErr == nil && a.Zone() == "" {
			p, err = a.Prefix(a.BitLen())
		}
	}
	if !ok || err != nil {
		d.expected(n, key, "an address or a network such as 10.0.0.0/8")
		return
	}
	v.Set(reflect.ValueOf(p.Masked()))
}

// text is the value of a string, quoted or not.
func text(n ast.Node) (string, bool) {
	switch s := n.(type) {
	case *ast.StringNode:
		return s.Value, true
	case *ast.LiteralNode:
		return s.Value.Value, true
	}
	return "", false
}

// whole is the value of an integer.
func whole(n ast.Node) (int64, bool) {
	i, ok := n.(*ast.IntegerNode)
	if !ok {
		return 0, false
	}
	switch x := i.Value.(type) {
	case int64:
		return x, true
	case uint64:
		return int64(x), x <= math.MaxInt64
	}
	return 0, false
}

func describe(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys and values"
	case *ast.SequenceNode:
		return "a list"
	}
	if s, ok := text(n); ok {
		return strconv.Quote(s)
	}
	return n.GetToken().Value
}

// warnings names what the file says and this version does nothing with.
func (d *decoder) warnings(c *Config) []string {
	var out []string
	warn := func(key, what string) {
		p := d.nearest(key)
		out = append(out, fmt.Sprintf("%s:%d:%d: %s: %s", filepath.Base(d.file), p.line, p.column, key, what))
	}
	if c.Modules.Off["stanzaid"] && !c.Modules.Off["archive"] {
		warn("modules.stanzaid", "the archive goes with it and is off, too")
	}
	if c.Modules.Off["blocking"] && !c.Modules.Off["reports"] {
		warn("modules.blocking", "reports go with it and are off, too")
	}
	if c.ACME.On() && !slices.ContainsFunc(c.Hosts, func(h Host) bool { return h.Cert == "" }) {
		warn("acme", "no certificate is asked for, since each host names its own")
	}
	proxies := &c.ProxyProtocol
	switch {
	case len(proxies.Listeners) > 0 && len(proxies.From) == 0:
		warn("proxy_protocol.listeners", "no proxy is trusted, so no header is read; name the proxies in proxy_protocol.from")
	case len(proxies.Listeners) == 0 && len(proxies.From) > 0:
		warn("proxy_protocol.from", "no header is read; name the listeners that the proxies connect to in "+
			"proxy_protocol.listeners")
	}
	for i, p := range proxies.From {
		if p.Bits() == 0 {
			warn(fmt.Sprintf("proxy_protocol.from[%d]", i), "everybody may say from which address they come")
		}
	}
	for i, name := range proxies.Listeners {
		for _, l := range c.Listen.kinds() {
			if l.name == name && !slices.ContainsFunc(l.addrs, overTCP) {
				warn(fmt.Sprintf("proxy_protocol.listeners[%d]", i),
					"listen."+name+" has no address that a proxy could connect to over TCP")
			}
		}
	}
	c.socketWarnings(warn)
	return out
}

// overTCP says whether an address of Listen is one of TCP.
func overTCP(addr string) bool { return !strings.HasPrefix(addr, "unix:") }
