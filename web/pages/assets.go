package pages

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"regexp"
)

// PathAssets is what the addresses of the stylesheet and the icon begin with.
const PathAssets = "/assets/"

//go:embed assets templates languages
var own embed.FS

// asked is a template that asks for a word.
var asked = regexp.MustCompile(`\.T "([^"]+)"`)

// An asset is a file that never changes: another version has another name.
type asset struct {
	path, kind string
	content    []byte
}

var (
	style = newAsset("style.css", "text/css; charset=utf-8")
	icon  = newAsset("icon.svg", "image/svg+xml")
)

// newAsset panics if the file is not there.
func newAsset(name, kind string) asset {
	b, err := own.ReadFile("assets/" + name)
	if err != nil {
		panic("pages: " + err.Error())
	}
	sum := sha256.Sum256(b)
	ext := path.Ext(name)
	name = name[:len(name)-len(ext)] + "-" + hex.EncodeToString(sum[:8]) + ext
	return asset{path: PathAssets + name, kind: kind, content: b}
}

// Assets answers below PathAssets.
func (s *Site) Assets(w http.ResponseWriter, r *http.Request) {
	for _, a := range []*asset{&style, &icon} {
		if r.URL.Path != a.path {
			continue
		}
		if !s.Methods(w, r, http.MethodGet, http.MethodHead) {
			return
		}
		SetHeaders(w.Header())
		w.Header().Set("Content-Type", a.kind)
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		_, _ = w.Write(a.content) // whoever asked has gone
		return
	}
	s.Error(w, r, http.StatusNotFound)
}
