package house

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A box of the drawing is a package, or several that stand for one place.
func box(pkg string) string {
	switch top, rest, _ := strings.Cut(pkg, "/"); {
	case top == "xmpp":
		return "xmpp"
	case top == "modules" && strings.HasPrefix(rest, "internal/"):
		return "modules/internal"
	case top == "modules" && strings.Contains(rest, "/"):
		return "modules/NAME/PART"
	case top == "modules" && rest != "":
		return "modules/NAME"
	}
	return pkg
}

// Drawing draws who imports whom, the highest first, as an indented block of text. Tests, and packages for tests, are
// left out.
func Drawing(files []*File) string {
	imports := map[string]map[string]bool{}
	for _, f := range files {
		from := box(f.Package())
		if f.Test() || strings.HasPrefix(from, "testsuite") || strings.HasSuffix(f.Package(), "test") {
			continue
		}
		if imports[from] == nil {
			imports[from] = map[string]bool{}
		}
		for _, i := range f.syntax.Imports {
			name, _ := strconv.Unquote(i.Path.Value) // the parser has seen to it
			if to, ours := strings.CutPrefix(name, Module+"/"); ours && box(to) != from {
				imports[from][box(to)] = true
			}
		}
	}
	down := func(a, b string) int { return cmp.Or(cmp.Compare(storey(b), storey(a)), cmp.Compare(a, b)) }
	var b strings.Builder
	for _, from := range slices.SortedFunc(maps.Keys(imports), down) {
		line := "    " + from + strings.Repeat(" ", max(1, 18-len(from))) + "→"
		for _, to := range slices.SortedFunc(maps.Keys(imports[from]), down) {
			if len(line)+1+len(to) > MaxColumns {
				b.WriteString(line + "\n")
				line = strings.Repeat(" ", 4+18) + " "
			}
			line += " " + to
		}
		b.WriteString(strings.TrimRight(line, " →") + "\n")
	}
	return b.String()
}
