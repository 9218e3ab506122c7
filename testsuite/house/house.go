// Package house reads the sources of the module and says where they break the
// rules of the house: imports that go up, files nobody reads to the end,
// names that say nothing, and a few calls that have no place here.
//
// The rules are those of docs/ARCHITECTURE.md, "The house". It reads syntax only, no types, so that it is
// done in a moment; what needs types is staticcheck's work.
package house

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Module is the path that the imports of this module begin with.
const Module = "jackdaw"

// MaxLines is where a file is two files.
const MaxLines = 800

// A File is one source file.
type File struct {
	Path  string // from the module's root, with slashes
	Lines int

	source []byte
	syntax *ast.File
	fset   *token.FileSet
}

// Test says whether it is compiled into tests only.
func (f *File) Test() bool { return strings.HasSuffix(f.Path, "_test.go") }

// Package is the import path below the module: "xmpp/jid"; "." for the root.
func (f *File) Package() string { return path.Dir(f.Path) }

func (f *File) line(p token.Pos) string {
	return f.Path + ":" + strconv.Itoa(f.fset.Position(p).Line)
}

// Parse reads one file. The path decides which rules hold for it.
func Parse(name string, source []byte) (*File, error) {
	fset := token.NewFileSet()
	syntax, err := parser.ParseFile(fset, name, source, parser.SkipObjectResolution|parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", name, err)
	}
	return &File{Path: name, Lines: bytes.Count(source, []byte("\n")), source: source, syntax: syntax, fset: fset}, nil
}

// Load reads all files of the module at root. Folders with a go.mod of their
// own are other modules.
func Load(root string) ([]*File, error) {
	var files []*File
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == root {
				return nil
			}
			_, modErr := os.Stat(filepath.Join(name, "go.mod"))
			if modErr == nil || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		source, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		f, err := Parse(filepath.ToSlash(rel), source)
		if err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

// A Rule names what it forbids and finds it in a file.
type Rule struct {
	Name string
	Find func(*File) []string
}

// Rules are all of them, where these documents can be cited.
func Rules(docs Documents) []Rule {
	return []Rule{
		{"imports go down only", importsUp},
		{"a file is read to its end", tooLong},
		{"a line is read without moving the window", overlong},
		{"a comment starts with the name it documents", docNames},
		{"what is cited is there", docs.uncited},
		{"nothing runs by being imported", initFuncs},
		{"a package is named by what it does", emptyNames},
		{"XML is read by xmpp/stream", encodingXML},
		{"no test is skipped", skips},
		{"no test sleeps", sleeps},
		{"panic is for mistakes of the program, at start", panics},
		{"what is not done is not announced", leftovers},
		{"what came in stays as it came", envelopes},
	}
}

// Check applies every rule to every file.
func Check(files []*File, docs Documents) []string {
	var found []string
	for _, f := range files {
		for _, r := range Rules(docs) {
			for _, problem := range r.Find(f) {
				found = append(found, problem+" ("+r.Name+")")
			}
		}
	}
	slices.Sort(found)
	return found
}

// storey is how high a package stands; imports go to a lower one, or within
// the same part. 0 is unknown.
//
//	cmd → server → admin → { c2s, s2s, component, calls, modules, portable, storage engines } → web → wire → router →
//	{ storage, config, cluster } → xmpp
func storey(pkg string) int {
	top, rest, _ := strings.Cut(pkg, "/")
	switch top {
	case "testsuite":
		return 10
	case "cmd":
		return 9
	case "server":
		return 8
	case "admin":
		return 7
	case "c2s", "s2s", "component", "calls", "portable":
		return 6
	case "modules":
		if isInner(pkg) {
			return 2 // the thing itself, without the service around it
		}
		return 6
	case "storage":
		if rest != "" {
			return 6 // an engine, or the suite that engines pass
		}
		return 2
	case "web":
		return 5
	case "wire":
		return 4
	case "router":
		return 3
	case "config", "sendmail":
		return 2
	case "cluster":
		if rest == "relay" {
			return 6 // between the router and the links
		}
		return 2 // links included: they know nothing of what they carry
	case "xmpp", "contrib": // vocabulary, and files that the binary has with it
		return 1
	}
	return 0
}

// isInner says whether a package is below a module: modules/muc/room. It sees xmpp and modules/internal, and only its
// module sees it.
func isInner(pkg string) bool {
	return strings.Count(pkg, "/") > 1 && strings.HasPrefix(pkg, "modules/") && !strings.HasPrefix(pkg, "modules/internal/")
}

// part is what may import within itself on the same storey.
func part(pkg string) string {
	top, rest, _ := strings.Cut(pkg, "/")
	switch top {
	case "modules", "storage":
		if rest == "" {
			return top
		}
		name, _, _ := strings.Cut(rest, "/")
		return top + "/" + name
	}
	return top
}

// mayImport says whether the direction is right, for code and for tests.
func mayImport(from, to string, test bool) bool {
	switch {
	case storey(from) == 0 || storey(to) == 0:
		return false // a new folder finds its storey here first
	case part(to) == "testsuite":
		return part(from) == "testsuite"
	case from == "wire" && to == "router":
		return false // where a stanza goes is not the business of a stream; the gate is
	case isInner(to):
		return part(from) == part(to)
	case part(from) == "storage/storetest" && part(to) == "storage":
		return true
	case storey(from) > storey(to):
		return true
	case part(from) == part(to):
		return true
	case strings.HasPrefix(to, "modules/internal/"):
		return strings.HasPrefix(from, "modules")
	case from == "modules": // the ordered list of features
		return strings.HasPrefix(to, "modules/")
	case test:
		// A test may take a real engine or the suite that engines pass.
		return strings.HasPrefix(to, "storage/")
	}
	return false
}

func importsUp(f *File) []string {
	var found []string
	for _, i := range f.syntax.Imports {
		name, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			continue
		}
		to, ours := strings.CutPrefix(name, Module+"/")
		if !ours {
			continue
		}
		if !mayImport(f.Package(), to, f.Test()) {
			found = append(found, fmt.Sprintf("%s: %s must not import %s", f.line(i.Pos()), f.Package(), to))
		}
	}
	return found
}

func tooLong(f *File) []string {
	if f.Lines <= MaxLines {
		return nil
	}
	return []string{fmt.Sprintf("%s: %d lines; %d at most: split it", f.Path, f.Lines, MaxLines)}
}

func initFuncs(f *File) []string {
	var found []string
	for _, d := range f.syntax.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			found = append(found, f.line(fn.Pos())+": func init")
		}
	}
	return found
}

var emptyPackageNames = []string{"util", "utils", "common", "helper", "helpers", "types", "manager", "base", "impl", "misc"}

func emptyNames(f *File) []string {
	name := strings.TrimSuffix(f.syntax.Name.Name, "_test")
	if !slices.Contains(emptyPackageNames, name) && !slices.Contains(emptyPackageNames, path.Base(f.Package())) {
		return nil
	}
	return []string{f.line(f.syntax.Name.Pos()) + ": package " + name + " in " + f.Package()}
}

func encodingXML(f *File) []string {
	if f.Test() || strings.HasPrefix(f.Path, "testsuite/") {
		return nil
	}
	for _, i := range f.syntax.Imports {
		if i.Path.Value == `"encoding/xml"` {
			return []string{f.line(i.Pos()) + ": encoding/xml"}
		}
	}
	return nil
}

// calls reports selector calls such as time.Sleep. except, which may be nil, says
// where not to look.
func calls(f *File, except func(*ast.CallExpr) bool, receiver string, names ...string) []string {
	var found []string
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if except != nil && except(call) {
			return false
		}
		for _, name := range names {
			if isCall(call, receiver, name) {
				found = append(found, f.line(n.Pos())+": "+name)
			}
		}
		return true
	})
	return found
}

func isCall(call *ast.CallExpr, receiver, name string) bool {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == receiver
}

func skips(f *File) []string {
	var found []string
	for _, r := range []string{"t", "b", "f", "tb"} {
		found = append(found, calls(f, nil, r, "Skip", "Skipf", "SkipNow")...)
	}
	return found
}

func sleeps(f *File) []string {
	if !f.Test() && !strings.HasPrefix(f.Path, "testsuite/") {
		return nil
	}
	// In a bubble of testing/synctest a sleep moves the clock and takes no time.
	bubble := func(c *ast.CallExpr) bool { return isCall(c, "synctest", "Test") }
	return calls(f, bubble, "time", "Sleep")
}

// panics looks at the packages a stanza passes through. There a panic may stand only in a
// constructor (New…), in Must…, and in what says in its comment that it panics.
func panics(f *File) []string {
	if f.Test() || strings.HasPrefix(f.Path, "testsuite/") || f.Package() == "storage/storetest" {
		return nil
	}
	var found []string
	for _, d := range f.syntax.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		name := strings.ToLower(fn.Name.Name)
		if strings.HasPrefix(name, "new") || strings.HasPrefix(name, "must") || strings.Contains(fn.Doc.Text(), "panic") {
			continue
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if id, ok := call.Fun.(*ast.Ident); ok && id.Name == "panic" {
					found = append(found, f.line(n.Pos())+": panic in "+fn.Name.Name+
						", whose comment does not say when it panics")
				}
			}
			return true
		})
	}
	return found
}

// leftovers finds what its author meant to come back to.
func leftovers(f *File) []string {
	var found []string
	for _, group := range f.syntax.Comments {
		for _, c := range group.List {
			for _, word := range []string{"TODO", "FIXME", "XXX"} {
				if strings.Contains(c.Text, word) {
					found = append(found, f.line(c.Pos())+": "+word)
				}
			}
		}
	}
	return found
}

// envelopes finds who writes in an envelope that it was handed, rather than by the methods of router.Fate. A function
// that calls Reset makes an envelope anew; tests set up what they like.
func envelopes(f *File) []string {
	if f.Test() || f.Package() == "router" {
		return nil
	}
	var found []string
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		var params *ast.FieldList
		var body *ast.BlockStmt
		switch fn := n.(type) {
		case *ast.FuncDecl:
			params, body = fn.Type.Params, fn.Body
		case *ast.FuncLit:
			params, body = fn.Type.Params, fn.Body
		}
		for _, name := range envelopesAmong(params) {
			found = append(found, f.written(name, body)...)
		}
		return true
	})
	return found
}

// envelopesAmong are the names of the parameters that are envelopes.
func envelopesAmong(params *ast.FieldList) (names []string) {
	if params == nil {
		return nil
	}
	for _, p := range params.List {
		star, _ := p.Type.(*ast.StarExpr)
		if star == nil {
			continue
		}
		if sel, ok := star.X.(*ast.SelectorExpr); !ok || sel.Sel.Name != "Envelope" {
			continue
		}
		for _, name := range p.Names {
			names = append(names, name.Name)
		}
	}
	return names
}

// written finds where a function assigns to fields of a parameter, unless it resets that.
func (f *File) written(param string, body *ast.BlockStmt) (found []string) {
	reset := false
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			reset = reset || isCall(n, param, "Reset")
		case *ast.AssignStmt:
			for _, left := range n.Lhs {
				sel, _ := left.(*ast.SelectorExpr)
				if sel == nil {
					continue
				}
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == param {
					found = append(found, f.line(left.Pos())+": assigns to "+param+"."+sel.Sel.Name)
				}
			}
		}
		return true
	})
	if reset {
		return nil
	}
	return found
}
