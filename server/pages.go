package server

import (
	"net/http"
	"strings"
	"sync/atomic"

	"jackdaw/config"
	"jackdaw/web/face"
	"jackdaw/web/landing"
	"jackdaw/web/pages"
	"jackdaw/xmpp/jid"
)

// leaves are the pages that browsers see.
type leaves struct {
	site   *pages.Site
	face   http.Handler
	invite http.Handler
	texts  atomic.Pointer[map[string][]face.Block] // those of hosts, by domain
}

func (h *house) newPages() {
	h.pages = &leaves{site: pages.New(h.o.Log)}
	h.pages.face = face.Handler(h.pages.site, h.faceOf)
	h.pages.invite = landing.Handler(h.pages.site, desk{h})
	h.readPages(h.cfg.Load())
}

// readPages reads what administrators have written for pages. Where that fails, what there was stays, and a warning
// says so: nobody should be kept from chatting by a page.
func (h *house) readPages(cfg *config.Config) (warnings []string) {
	warn := func(key string, err error) {
		warnings = append(warnings, key+": "+err.Error())
		h.o.Log.Warn("page not taken up", "key", key, "error", err, "do", "mend the file, then run `jackdaw reload`")
	}
	if err := h.pages.site.Load(cfg.Web.Languages); err != nil {
		warn("web.languages", err)
	}
	texts := map[string][]face.Block{}
	for _, host := range cfg.Hosts {
		text, err := face.Read(host.Page)
		if err != nil {
			warn("hosts: "+host.Domain+": page", err)
			if old := h.pages.texts.Load(); old != nil {
				text = (*old)[host.Domain]
			}
		}
		texts[host.Domain] = text
	}
	h.pages.texts.Store(&texts)
	return warnings
}

// hostOf is the host that has this name, the one that a name such as upload.example.org belongs to, or the first.
func (h *house) hostOf(name string) *config.Host {
	cfg := h.cfg.Load()
	if j, err := jid.Parse(name); err == nil && j.IsDomain() {
		name = j.Domain()
	}
	host := &cfg.Hosts[0]
	for i := range cfg.Hosts {
		if one := &cfg.Hosts[i]; name == one.Domain || host.Domain != name && strings.HasSuffix(name, "."+one.Domain) {
			host = one
		}
	}
	return host
}

// faceOf is what is told of hostOf.
func (h *house) faceOf(name string) face.Host {
	host := h.hostOf(name)
	f := face.Host{Domain: host.Domain, Registration: h.features.Registration.Policy(host.Domain),
		Register: landing.PathRegister, Contact: host.Contact}
	f.Text = (*h.pages.texts.Load())[host.Domain]
	return f
}

// page answers what is for browsers, and says false where that is somebody else's: the APIs have their own answers, to
// browsers as to all.
func (h *house) page(w http.ResponseWriter, r *http.Request) bool {
	path := r.URL.Path
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case path == "/" && reads:
		h.pages.face.ServeHTTP(w, r)
	case strings.HasPrefix(path, landing.Path) && h.cfg.Load().Modules.Enabled("invitations"):
		h.pages.invite.ServeHTTP(w, r)
	case path == landing.PathRegister && h.mayRegister(r):
		h.pages.invite.ServeHTTP(w, r)
	case strings.HasPrefix(path, pages.PathAssets):
		h.pages.site.Assets(w, r)
	case reads && pages.Wanted(r) && path != "/message" && !strings.HasPrefix(path, "/api/"):
		h.pages.site.Error(w, r, http.StatusNotFound)
	default:
		return false
	}
	return true
}

// mayRegister says whether anybody may, without an invitation.
func (h *house) mayRegister(r *http.Request) bool {
	may, _ := h.features.Registration.ByAnybody(h.hostOf(pages.HostOf(r)).Domain)
	return may
}
