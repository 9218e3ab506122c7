// Package pages is what all pages for browsers share: a layout, one stylesheet, headers that let a browser load and run
// nothing of others, the visitor's language, pages for errors, and QR codes. A feature brings its own templates and
// words as a Book.
//
// Pages are html/template (contextual escaping) and work without any script; nothing is loaded from elsewhere.
//
// Left out: what is on the pages, who may see them, and sessions, which are the business of whoever has a Book.
package pages

import (
	"bytes"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"path"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxPage is how many bytes a page may have; more is a fault of whoever fills it.
const maxPage = 8 << 20

// A Site is what all pages share. It is safe for concurrent use.
type Site struct {
	log    *slog.Logger
	errors *Book

	mu       sync.Mutex // guards what words is made of
	embedded map[string]map[string]string
	added    map[string]map[string]string
	words    atomic.Pointer[words]
}

// New returns a site that speaks the languages of its catalogues. A nil log is nobody's.
func New(log *slog.Logger) *Site {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Site{log: log, embedded: map[string]map[string]string{}}
	s.errors = s.NewBook(own, nil)
	return s
}

// A Book is the pages of one feature.
type Book struct {
	site  *Site
	pages map[string]*template.Template
}

// NewBook reads the pages of a feature: each templates/NAME.html is a page, which defines "title" and "main"; those
// whose name begins with "_" are there for all of them (embed takes them with all:templates). Words are in
// languages/TAG.json, whose keys begin with the feature's name. The page sees a *Page; funcs, which may be nil, are
// there as well. It panics if something is wrong with the files, which belong to the program.
func (s *Site) NewBook(files fs.FS, funcs template.FuncMap) *Book {
	b := &Book{site: s, pages: map[string]*template.Template{}}
	if err := b.read(files, funcs); err != nil {
		panic("pages: " + err.Error())
	}
	return b
}

func (b *Book) read(files fs.FS, funcs template.FuncMap) error {
	words, err := catalogues(files)
	if err != nil {
		return err
	}
	if err := b.site.learn(words); err != nil {
		return err
	}
	layout, err := template.New("layout.html").Funcs(funcs).ParseFS(own, "templates/layout.html")
	if err != nil {
		return err
	}
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(path.Base(name), "_") {
			if layout, err = layout.ParseFS(files, name); err != nil {
				return err
			}
		}
	}
	for _, name := range names {
		page := strings.TrimSuffix(path.Base(name), ".html")
		if page == "layout" || strings.HasPrefix(page, "_") {
			continue
		}
		t, err := layout.Clone()
		if err != nil {
			return err
		}
		if b.pages[page], err = t.ParseFS(files, name); err != nil {
			return err
		}
	}
	return nil
}

// A View is a page to be shown.
type View struct {
	Name   string        // of the page
	Status int           // 0: 200
	Keep   time.Duration // how long browsers and proxies may keep it; 0: it is private, nobody may
	Lang   string        // "": that of the visitor
	Data   any           // what the template finds as .Data
}

// A Page is what a template sees.
type Page struct {
	Lang string // for the attribute lang
	Dir  string // ltr or rtl
	Data any

	words []map[string]string // the visitor's language, then English
}

// Style is the address of the stylesheet.
func (*Page) Style() string { return style.path }

// Icon is that of the icon.
func (*Page) Icon() string { return icon.path }

// T is the text for a key in the visitor's language. Names in braces are replaced, as pairs of name and value say.
func (p *Page) T(key string, pairs ...any) string {
	for _, w := range p.words {
		if text, ok := w[key]; ok {
			return fill(text, pairs)
		}
	}
	return key
}

// placeholder is a name in braces.
var placeholder = regexp.MustCompile(`\{[a-z]+\}`)

func fill(text string, pairs []any) string {
	if len(pairs) == 0 {
		return text
	}
	return placeholder.ReplaceAllStringFunc(text, func(name string) string {
		for i := 0; i+1 < len(pairs); i += 2 {
			if pairs[i] == name[1:len(name)-1] {
				return fmt.Sprint(pairs[i+1])
			}
		}
		return name
	})
}

// Write answers with a page.
func (b *Book) Write(w http.ResponseWriter, r *http.Request, v View) {
	html, page, err := b.render(r, v)
	if err != nil {
		b.site.log.Error("make a page", "page", v.Name, "error", err, "do", "report it as a fault of jackdaw")
		http.Error(w, "Internal server error.", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	SetHeaders(h)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", page.Lang)
	h.Add("Vary", "Accept-Language")
	if v.Keep > 0 {
		h.Set("Cache-Control", fmt.Sprintf("public, max-age=%d", v.Keep/time.Second))
	}
	if v.Status != 0 {
		w.WriteHeader(v.Status)
	}
	_, _ = w.Write(html) // whoever asked has gone
}

func (b *Book) render(r *http.Request, v View) ([]byte, *Page, error) {
	t := b.pages[v.Name]
	if t == nil {
		return nil, nil, fmt.Errorf("no page %q", v.Name)
	}
	page := b.site.page(r, v.Lang)
	page.Data = v.Data
	out := &bounded{}
	err := t.ExecuteTemplate(out, "layout.html", page)
	return out.Bytes(), page, err
}

// A bounded buffer takes no more than a page may have.
type bounded struct{ bytes.Buffer }

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxPage {
		return 0, fmt.Errorf("a page of more than %d bytes", maxPage)
	}
	return b.Buffer.Write(p)
}

// Text is a key in the visitor's language, for what is said outside of a template.
func (s *Site) Text(r *http.Request, key string, pairs ...any) string {
	return s.page(r, "").T(key, pairs...)
}
