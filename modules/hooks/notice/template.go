package notice

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
	"time"
)

// Bounds of a template, so that none can take the server's memory or time, whatever it is given: what it is, what it
// writes, how often its loops turn and how long it takes, and the pieces that its functions work on.
const (
	MaxTemplate   = 8 << 10
	maxFilled     = 64 << 10
	maxTurns      = 20_000
	maxFillTime   = 250 * time.Millisecond
	maxPiece      = 8 << 10
	maxFormat     = 1 << 10
	tickFunction  = "tick" // of which templates know nothing
	errTooMuch    = "it makes too much"
	errTooLong    = "it takes too long"
	errBadElement = "it uses %s, which is not allowed here"
)

// ParseTemplate reads a template of text/template for the JSON of a request. There are no define, template, block and
// call. Beside the functions of Go there are default, join, lower and upper. The error says what is wrong.
func ParseTemplate(source string) (*template.Template, error) {
	if len(source) > MaxTemplate {
		return nil, fmt.Errorf("the template is longer than %d bytes", MaxTemplate)
	}
	t, err := template.New("template").Funcs(new(filling).functions()).Parse(source)
	if err != nil {
		return nil, err
	}
	if t.Tree == nil || t.Root == nil || len(t.Root.Nodes) == 0 || len(t.Templates()) > 1 {
		return nil, errors.New("the template is empty, or uses define or block, which is not allowed here")
	}
	if err := guard(t.Root); err != nil {
		return nil, err
	}
	return t, nil
}

// Fill executes a template on what ParseJSON has returned. The error is one line.
func Fill(source string, data any) (string, error) {
	t, err := ParseTemplate(source)
	if err != nil {
		return "", err
	}
	f := &filling{until: time.Now().Add(maxFillTime)}
	if err := t.Funcs(f.functions()).Execute(f, native(data)); err != nil {
		var inner template.ExecError
		if errors.As(err, &inner) && inner.Unwrap() != nil {
			err = inner.Unwrap()
		}
		return "", errors.New(shorten(strings.Join(strings.Fields(clean(err.Error())), " "), maxTitle))
	}
	// What is not there is nothing, and not the word that Go has for it.
	return strings.TrimSpace(strings.ReplaceAll(f.out.String(), "<no value>", "")), nil
}

// native has numbers as Go has them, so that templates can compare them.
func native(v any) any {
	switch v := v.(type) {
	case Object:
		m := make(map[string]any, len(v))
		for name, one := range v {
			m[name] = native(one)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, one := range v {
			l[i] = native(one)
		}
		return l
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return int(n)
		}
		f, _ := strconv.ParseFloat(v.String(), 64) // what is out of range is infinite
		return f
	}
	return v
}

// guard refuses what must not be in a template, and has each turn of a loop counted.
func guard(n parse.Node) error {
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return nil
		}
		for _, one := range n.Nodes {
			if err := guard(one); err != nil {
				return err
			}
		}
	case *parse.ActionNode:
		return guard(n.Pipe)
	case *parse.IfNode:
		return guardBranch(&n.BranchNode)
	case *parse.WithNode:
		return guardBranch(&n.BranchNode)
	case *parse.RangeNode:
		if err := guardBranch(&n.BranchNode); err != nil {
			return err
		}
		tick, err := template.New("tick").Funcs(new(filling).functions()).Parse("{{" + tickFunction + "}}")
		if err != nil {
			return err
		}
		n.List.Nodes = append([]parse.Node{tick.Root.Nodes[0]}, n.List.Nodes...)
	case *parse.PipeNode:
		if n == nil {
			return nil
		}
		for _, c := range n.Cmds {
			for _, a := range c.Args {
				if err := guard(a); err != nil {
					return err
				}
			}
		}
	case *parse.ChainNode:
		return guard(n.Node)
	case *parse.TemplateNode:
		return fmt.Errorf(errBadElement, "template")
	case *parse.IdentifierNode:
		switch n.Ident {
		case "call", tickFunction:
			return fmt.Errorf(errBadElement, n.Ident)
		}
	}
	return nil
}

func guardBranch(b *parse.BranchNode) error {
	if err := guard(b.Pipe); err != nil {
		return err
	}
	if err := guard(b.List); err != nil {
		return err
	}
	return guard(b.ElseList)
}

// A filling is one execution of a template.
type filling struct {
	out   strings.Builder
	turns int
	until time.Time
}

// Write implements io.Writer.
func (f *filling) Write(b []byte) (int, error) {
	if f.out.Len()+len(b) > maxFilled {
		return 0, errors.New(errTooMuch)
	}
	return f.out.Write(b)
}

var _ io.Writer = (*filling)(nil)

func (f *filling) tick() (string, error) {
	if f.turns++; f.turns > maxTurns {
		return "", errors.New(errTooLong)
	}
	return "", f.inTime()
}

func (f *filling) inTime() error {
	if time.Now().After(f.until) {
		return errors.New(errTooLong)
	}
	return nil
}

// functions are those that make texts, each of pieces that are bounded.
func (f *filling) functions() template.FuncMap {
	each := func(do func(s string) string) func(v any) (string, error) {
		return func(v any) (string, error) { return do(piece(v)), f.inTime() }
	}
	all := func(do func(list ...any) string) func(list ...any) (string, error) {
		return func(list ...any) (string, error) {
			if len(list) > 100 {
				return "", errors.New(errTooMuch)
			}
			for i := range list {
				list[i] = bounded(list[i])
			}
			return bound(do(list...)), f.inTime()
		}
	}
	return template.FuncMap{
		tickFunction: f.tick,
		"print":      all(fmt.Sprint), "println": all(fmt.Sprintln),
		"printf": func(format string, list ...any) (string, error) {
			if len(format) > maxFormat || wide.MatchString(format) {
				return "", errors.New("printf: the format is too long, or has too wide a field")
			}
			return all(func(list ...any) string { return fmt.Sprintf(format, list...) })(list...)
		},
		"html": all(template.HTMLEscaper), "js": all(template.JSEscaper), "urlquery": all(template.URLQueryEscaper),
		"lower": each(strings.ToLower), "upper": each(strings.ToUpper),
		"default": func(instead, v any) any {
			if s, ok := v.(string); v == nil || ok && s == "" {
				return instead
			}
			return v
		},
		"join": func(between string, v any) (string, error) {
			list, ok := v.([]any)
			if !ok {
				return piece(v), f.inTime()
			}
			var b strings.Builder
			for i, one := range list {
				if i > 0 {
					b.WriteString(bound(between))
				}
				if b.WriteString(piece(one)); b.Len() > maxPiece {
					break
				}
			}
			return bound(b.String()), f.inTime()
		},
	}
}

// wide matches formats that make much of little: with a width of their own, or arguments that are asked for by number.
var wide = regexp.MustCompile(`[*\[]|[0-9]{3}`)

// bounded is a value for fmt: numbers and the like as they are, all else as a text that is bounded.
func bounded(v any) any {
	switch v.(type) {
	case nil, bool, int, float64:
		return v
	}
	return piece(v)
}

// piece is a value as a text, bounded.
func piece(v any) string {
	switch v := v.(type) {
	case string:
		return bound(v)
	case nil:
		return ""
	case bool, int, float64:
		return fmt.Sprint(v)
	}
	l := limited{left: maxPiece}
	_ = json.NewEncoder(&l).Encode(shallow(v, 2)) // it ends where there is enough
	return strings.TrimSuffix(l.String(), "\n")
}

// shallow is a value without what is deep or much in it.
func shallow(v any, depth int) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for name, one := range v {
			if len(m) == 20 || depth == 0 {
				break
			}
			m[bound(name)] = shallow(one, depth-1)
		}
		return m
	case []any:
		var l []any
		for _, one := range v {
			if len(l) == 20 || depth == 0 {
				break
			}
			l = append(l, shallow(one, depth-1))
		}
		return l
	case string:
		return shorten(v, 500)
	}
	return v
}

type limited struct {
	strings.Builder
	left int
}

// Write implements io.Writer.
func (l *limited) Write(b []byte) (int, error) {
	n := min(len(b), l.left)
	l.left -= n
	l.Builder.Write(b[:n])
	if n < len(b) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

func bound(s string) string {
	if len(s) <= maxPiece {
		return s
	}
	return strings.ToValidUTF8(s[:maxPiece], "")
}
