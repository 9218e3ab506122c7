package house

import (
	"go/ast"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// docNames finds doc comments that start with something else than the name they document. An article may stand before
// it. In a group each name answers for its own comment; the one over the group is free. Functions of tests are
// sentences already, so that theirs say why instead; so does what begins with COMPAT(PROGRAM).
func docNames(f *File) []string {
	var found []string
	check := func(doc *ast.CommentGroup, names ...string) {
		text := doc.Text()
		if text == "" || strings.HasPrefix(text, "COMPAT(") || slices.Contains(names, "_") {
			return
		}
		for _, article := range []string{"A ", "An ", "The "} {
			text = strings.TrimPrefix(text, article)
		}
		for _, name := range names {
			if rest, ok := strings.CutPrefix(text, name); ok && !startsWord(rest) {
				return
			}
		}
		found = append(found, f.line(doc.Pos())+": the comment of "+names[0]+" starts with another word")
	}
	if name := f.syntax.Name.Name; name == "main" {
		check(f.syntax.Doc, "Command "+path.Base(f.Package()))
	} else {
		check(f.syntax.Doc, "Package "+name, "Package "+strings.TrimSuffix(name, "_test"))
	}
	for _, d := range f.syntax.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if !f.Test() || d.Recv != nil || !isTestFunc(d.Name.Name) {
				check(d.Doc, d.Name.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				doc, names := specOf(s)
				if d.Lparen == token.NoPos {
					doc = d.Doc
				}
				if len(names) > 0 {
					check(doc, names...)
				}
			}
		}
	}
	return found
}

// specOf is what stands over a type, a constant or a variable, and its names; none for an import.
func specOf(s ast.Spec) (doc *ast.CommentGroup, names []string) {
	switch s := s.(type) {
	case *ast.TypeSpec:
		return s.Doc, []string{s.Name.Name}
	case *ast.ValueSpec:
		for _, id := range s.Names {
			names = append(names, id.Name)
		}
		return s.Doc, names
	}
	return nil, nil
}

func startsWord(s string) bool { return regexp.MustCompile(`^\w`).MatchString(s) }

func isTestFunc(name string) bool {
	return regexp.MustCompile(`^(Test|Benchmark|Fuzz|Example)([A-Z_0-9]|$)`).MatchString(name)
}

// A Document is a page or file that may be cited.
type Document struct {
	Text     string
	Sections []string // their titles
}

// Documents are all of them, by their path from the module's root.
type Documents map[string]Document

// ReadDocuments reads what is there to be cited: all files of docs and contrib, and the pages at the root.
func ReadDocuments(root string) (Documents, error) {
	all := Documents{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		switch top, _, below := strings.Cut(rel, "/"); {
		case d.IsDir() && rel != "." && top != "docs" && top != "contrib":
			return filepath.SkipDir
		case d.IsDir() || !below && path.Ext(rel) != ".md":
			return nil
		}
		text, err := os.ReadFile(name)
		all.Add(rel, string(text))
		return err
	})
	return all, err
}

// Add takes a document up.
func (d Documents) Add(name, text string) {
	one := Document{Text: text}
	for line := range strings.Lines(text) {
		if title := strings.TrimLeft(line, "#"); title != line {
			one.Sections = append(one.Sections, strings.TrimSpace(title))
		}
	}
	d[name] = one
}

// citation is the name of a page, or of a file below docs or contrib, and maybe a section after it: by its number, or
// by its title.
var citation = regexp.MustCompile(`((?:docs|contrib)/[\w./-]*\w|[\w./-]*\w\.md)\b(?:,? (?:§(\d+)|"([^"]+)"))?`)

// missing are the documents and sections that a text cites and that are not there. Names are from the root, or in a
// document from beside it.
func (d Documents) missing(from, text string) []string {
	var found []string
	text = strings.Join(strings.Fields(text), " ")
	for _, m := range citation.FindAllStringSubmatch(text, -1) {
		name, number, title := m[1], m[2], m[3]
		page, ok := d[name]
		if !ok {
			page, ok = d[path.Join(path.Dir(from), name)]
		}
		has := func(section string) bool {
			return section == title || number != "" && strings.HasPrefix(section, number+". ")
		}
		switch {
		case !ok && !d.folder(name):
			found = append(found, name+" is cited and not there")
		case number+title != "" && !slices.ContainsFunc(page.Sections, has):
			found = append(found, name+" is cited for a section that it does not have: "+number+title)
		}
	}
	return found
}

// folder says whether the name is that of a folder with documents.
func (d Documents) folder(name string) bool {
	for one := range d {
		if strings.HasPrefix(one, name+"/") {
			return true
		}
	}
	return false
}

// uncited is the rule for comments.
func (d Documents) uncited(f *File) []string {
	var found []string
	for _, group := range f.syntax.Comments {
		for _, problem := range d.missing(f.Path, group.Text()) {
			found = append(found, f.line(group.Pos())+": "+problem)
		}
	}
	return found
}

// Check finds what documents cite of each other and is not there.
func (d Documents) Check() []string {
	var found []string
	for name, one := range d {
		for _, problem := range d.missing(name, one.Text) {
			found = append(found, name+": "+problem)
		}
	}
	slices.Sort(found)
	return found
}
