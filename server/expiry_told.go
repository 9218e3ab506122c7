package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"jackdaw/config"
)

const (
	// tellFirst and tellLast are how long before the end of a certificate the administrators of its host are written to.
	tellFirst = 10 * 24 * time.Hour
	tellLast  = 3 * 24 * time.Hour
	// tellEvery is how often somebody looks.
	tellEvery = time.Hour
)

// A telling is what administrators know of a certificate. It is kept, so that a restart tells nobody anything twice.
type telling struct {
	Until time.Time `json:"until"`
	Stage int       `json:"stage"` // how often they were told
}

// A watched is a certificate that is in use, for a host or for a service of it.
type watched struct {
	hostCertificate
	host string // whose administrators look after it
	why  string // it was not renewed; "" if nobody knows
}

// stage is how often administrators should have been told of a certificate by then.
func (c hostCertificate) stage(now time.Time) int {
	left := c.leaf.NotAfter.Sub(now)
	switch {
	case left <= 0:
		return 3
	case left <= c.soon(tellLast, 10):
		return 2
	case left <= c.soon(tellFirst, 5):
		return 1
	}
	return 0
}

// news is what administrators are to be told of a certificate now, and what they know then; "": nothing.
func (s watched) news(known telling, now time.Time) (text string, next telling) {
	next = telling{Until: s.leaf.NotAfter}
	if known.Until.Equal(next.Until) {
		next.Stage = known.Stage
	}
	stage := s.stage(now)
	if stage <= next.Stage {
		return "", next
	}
	next.Stage = stage
	end := s.leaf.NotAfter.UTC().Format("2006-01-02 15:04 UTC")
	text = fmt.Sprintf("The certificate of %s ends on %s: clients and other servers will refuse it then.", s.domain, end)
	if stage == 3 {
		text = fmt.Sprintf("The certificate of %s has ended on %s: clients and other servers refuse it.", s.domain, end)
	}
	switch {
	case s.issued && s.why != "":
		text += " It could not be renewed: " + s.why
	case s.issued:
		text += " It should have been renewed; the log says why it was not."
	case s.file != "":
		text += " Have " + s.file + " renewed, then run `jackdaw reload`."
	default:
		text += " Run `jackdaw reload`, which makes it anew."
	}
	return text, next
}

// certificatesShown are all that are in use, of hosts and of names that have one by themselves.
func (h *house) certificatesShown() (all []watched) {
	cfg, at := h.cfg.Load(), map[string]int{}
	for _, c := range h.certs.inUse() {
		if name, err := asciiName(c.domain); err == nil {
			at[name] = len(all)
		}
		all = append(all, watched{hostCertificate: c, host: c.domain})
	}
	for _, one := range h.issued.Status() {
		i, ok := at[one.Name]
		switch {
		case ok:
		case one.Leaf == nil: // that of the host above is shown
			continue
		default:
			host, _ := under(cfg, one.Name)
			i, all = len(all), append(all, watched{hostCertificate: hostCertificate{domain: one.Name, issued: true,
				leaf: one.Leaf}, host: host})
		}
		if one.Problem != "" {
			all[i].why = one.Problem + "; " + one.Do
		}
	}
	return all
}

// tellAdmins has the administrators of hosts written to about certificates that end soon, once for each time.
func (h *house) tellAdmins(now time.Time) {
	path := filepath.Join(h.cfg.Load().Data, "certs", "told.json")
	known := map[string]telling{}
	if text, err := os.ReadFile(path); err == nil {
		_ = json.Unmarshal(text, &known) // else they are told once more
	} else if !errors.Is(err, os.ErrNotExist) {
		h.o.Log.Warn("read what administrators were told of certificates", "error", err)
	}
	next := map[string]telling{}
	for _, s := range h.certificatesShown() {
		text, t := s.news(known[s.domain], now)
		if text != "" {
			if h.nodes != nil { // each has certificates, or copies of them, of its own
				text = "Node " + h.cfg.Load().Cluster.NodeName() + ": " + text
			}
			h.features.Tell(s.host, s.domain, text)
		}
		if t.Stage > 0 {
			next[s.domain] = t
		}
	}
	if maps.Equal(known, next) {
		return
	}
	text, err := json.Marshal(next)
	if err == nil {
		err = writePrivate(path, text)
	}
	if err != nil {
		h.o.Log.Warn("keep what administrators were told of certificates", "error", err,
			"do", "make "+filepath.Dir(path)+" writable for the user of this server")
	}
}

// under is the host that a name is or is below, the closest one; where there is none it is the first one.
func under(cfg *config.Config, name string) (host string, ok bool) {
	host = cfg.Hosts[0].Domain
	longest := 0
	for _, h := range cfg.Hosts {
		ascii, err := asciiName(h.Domain)
		if err == nil && len(ascii) > longest && isUnder(name, ascii, h.Domain) {
			host, ok, longest = h.Domain, true, len(ascii)
		}
	}
	return host, ok
}
