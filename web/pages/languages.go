package pages

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/text/language"
)

// English is the language that has every word.
const English = "en"

// maxCatalogue is how many bytes a catalogue may have.
const maxCatalogue = 1 << 20

// maxAccept is how much of Accept-Language is looked at.
const maxAccept = 200

// words are all catalogues.
type words struct {
	names   []string // English first
	matcher language.Matcher
	texts   []map[string]string
}

// catalogues reads languages/*.json: an object whose values are texts. The name of a file is a tag of BCP 47.
func catalogues(files fs.FS) (map[string]map[string]string, error) {
	names, err := fs.Glob(files, "languages/*.json")
	if err != nil {
		return nil, err
	}
	all := map[string]map[string]string{}
	for _, name := range names {
		tag, err := language.Parse(strings.TrimSuffix(path.Base(name), ".json"))
		if err != nil {
			return nil, fmt.Errorf("%s: its name is no language, such as nl.json or pt-BR.json: %w", path.Base(name), err)
		}
		f, err := files.Open(name)
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(io.LimitReader(f, maxCatalogue+1))
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		if len(b) > maxCatalogue {
			return nil, fmt.Errorf("%s: more than %d bytes", path.Base(name), maxCatalogue)
		}
		texts := map[string]string{}
		if err := json.Unmarshal(b, &texts); err != nil {
			return nil, fmt.Errorf("%s: expected an object of JSON whose values are texts: %w", path.Base(name), err)
		}
		all[tag.String()] = texts
	}
	return all, nil
}

// learn adds the words of a book. A key has one book.
func (s *Site) learn(more map[string]map[string]string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for tag, texts := range more {
		have := s.embedded[tag]
		if have == nil {
			have = map[string]string{}
			s.embedded[tag] = have
		}
		for key, text := range texts {
			if _, taken := have[key]; taken {
				return fmt.Errorf("the word %q in %s is there twice", key, tag)
			}
			have[key] = text
		}
	}
	return s.publish()
}

// Load reads the catalogues in a directory, which go before those of the program: other languages, or other words in
// one that there is. "" takes all of them away. On an error nothing has changed.
func (s *Site) Load(dir string) error {
	added := map[string]map[string]string{}
	if dir != "" {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("%s is no directory", dir)
		}
		if err != nil {
			return err
		}
		if added, err = catalogues(inFolder{os.DirFS(dir)}); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.added = added
	return s.publish()
}

// inFolder has the files of a directory as if they were in the folder languages.
type inFolder struct{ fs.FS }

// Open implements fs.FS.
func (f inFolder) Open(name string) (fs.File, error) {
	if name == "languages" {
		return f.FS.Open(".")
	}
	return f.FS.Open(strings.TrimPrefix(name, "languages/"))
}

// publish makes what visitors are served from. The caller holds s.mu.
func (s *Site) publish() error {
	all := map[string]map[string]string{English: {}}
	for _, source := range []map[string]map[string]string{s.embedded, s.added} {
		for tag, texts := range source {
			if all[tag] == nil {
				all[tag] = map[string]string{}
			}
			maps.Copy(all[tag], texts)
		}
	}
	w := &words{names: []string{English}}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if name != English {
			w.names = append(w.names, name)
		}
	}
	var tags []language.Tag
	for _, name := range w.names {
		tag, err := language.Parse(name)
		if err != nil {
			return err
		}
		tags = append(tags, tag)
		w.texts = append(w.texts, all[name])
	}
	w.matcher = language.NewMatcher(tags)
	s.words.Store(w)
	return nil
}

// page chooses the language (RFC 9110 §12.5.4).
func (s *Site) page(r *http.Request, lang string) *Page {
	w := s.words.Load()
	if lang == "" {
		lang = strings.Join(r.Header.Values("Accept-Language"), ",")
		if len(lang) > maxAccept {
			lang = lang[:max(strings.LastIndexByte(lang[:maxAccept], ','), 0)]
		}
	}
	_, i := language.MatchStrings(w.matcher, lang)
	p := &Page{Lang: w.names[i], Dir: "ltr", words: []map[string]string{w.texts[i], w.texts[0]}}
	if tag, err := language.Parse(p.Lang); err == nil {
		switch script, _ := tag.Script(); script.String() {
		case "Arab", "Hebr", "Thaa", "Syrc", "Nkoo", "Adlm", "Rohg":
			p.Dir = "rtl"
		}
	}
	return p
}

// Gaps says what is wrong with the words of a book: a key that one language has and another has not, names in braces
// that differ, a text that is empty, a key that a template asks for and nobody has. It is for tests.
func Gaps(files fs.FS) (gaps []string) {
	all, err := catalogues(files)
	if err != nil {
		return []string{err.Error()}
	}
	for _, lang := range []string{English, "de", "fr", "es"} {
		if all[lang] == nil {
			gaps = append(gaps, lang+" is missing")
		}
	}
	known := map[string]string{}
	for _, lang := range slices.Sorted(maps.Keys(all)) {
		maps.Copy(known, all[lang])
	}
	for _, lang := range slices.Sorted(maps.Keys(all)) {
		for _, key := range slices.Sorted(maps.Keys(known)) {
			text, ok := all[lang][key]
			if !ok || strings.TrimSpace(text) == "" {
				gaps = append(gaps, lang+" has no word for "+key)
				continue
			}
			if named(text) != named(all[English][key]) {
				gaps = append(gaps, lang+" has other names in "+key+" than English")
			}
		}
	}
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		return append(gaps, err.Error())
	}
	for _, name := range names {
		b, err := fs.ReadFile(files, name)
		if err != nil {
			return append(gaps, err.Error())
		}
		for _, m := range asked.FindAllSubmatch(b, -1) {
			if _, ok := known[string(m[1])]; !ok {
				gaps = append(gaps, name+" asks for "+string(m[1])+", which nobody has")
			}
		}
	}
	return gaps
}

// named are the names in braces, sorted.
func named(text string) string {
	found := placeholder.FindAllString(text, -1)
	slices.Sort(found)
	return strings.Join(slices.Compact(found), " ")
}
