package server

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"jackdaw/config"
	"jackdaw/server/certificates"
	"jackdaw/web"
	"jackdaw/wire"
	"jackdaw/wire/front"
)

// newIssued makes the service that gets certificates by itself; it does so after Run.
func (h *house) newIssued(cfg *config.Config) error {
	h.issued = certificates.New(certificates.Options{Dir: filepath.Join(cfg.Data, "certs", "acme"), Log: h.o.Log,
		Lookup: lookupName})
	set, err := acmeSettings(cfg)
	if err != nil {
		return err
	}
	if err := h.issued.Configure(set); err != nil {
		return err
	}
	h.certs.issued = h.issued
	return nil
}

// acmeSettings is what the configuration says; it wants nothing where that is off.
func acmeSettings(cfg *config.Config) (set certificates.Settings, err error) {
	a := &cfg.ACME
	if !a.On() {
		return set, nil
	}
	set = certificates.Settings{Names: issuedNames(cfg), Directory: a.Directory, Email: a.Email, CAFile: a.CAFile,
		Profile: a.Profile, Resolver: a.Resolver, Challenges: challenges(&cfg.Listen), KeyID: a.ExternalAccount.KeyID}
	if set.MACKey, err = a.ExternalAccount.MACKey(); err != nil {
		return certificates.Settings{}, err
	}
	return set, set.Check()
}

// issuedNames are those that get a certificate of their own: of each host that names none, of its services, and where
// HTTP is reached.
func issuedNames(cfg *config.Config) (names []string) {
	except := map[string]bool{}
	for _, domain := range cfg.ACME.Except {
		if name, err := asciiName(domain); err == nil {
			except[name] = true
		}
	}
	for _, h := range cfg.Hosts {
		if name, err := asciiName(h.Domain); err == nil && h.Cert != "" { // and what its services show is its own, too
			except[name] = true
		}
	}
	add := func(domain string) {
		name, err := asciiName(domain)
		if err == nil && !except[name] && mayBePublic(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, h := range cfg.Hosts {
		if name, err := asciiName(h.Domain); h.Cert != "" || err != nil || !mayBePublic(name) {
			continue
		}
		add(h.Domain)
		for _, domain := range cfg.RoomDomains() {
			if above, _ := under(cfg, domain); cfg.Modules.Enabled("muc") && above == h.Domain {
				add(domain)
			}
		}
		if domain, ok := cfg.UploadDomain(h.Domain); ok && cfg.Modules.Enabled("upload") {
			add(domain)
		}
		if domain := config.PubSubName + "." + h.Domain; cfg.Modules.Enabled("pubsub") &&
			slices.Contains(cfg.PubSubDomains(), domain) {
			add(domain)
		}
		if _, taken := cfg.Component.Secrets["multicast."+h.Domain]; !taken && cfg.Modules.Enabled("multicast") {
			add("multicast." + h.Domain)
		}
	}
	if u, err := url.Parse(cfg.HTTP.URL); err == nil && u.Scheme == "https" {
		if above, own := under(cfg, u.Hostname()); !own || cfg.Host(above).Cert == "" {
			add(u.Hostname())
		}
	}
	if c := &cfg.Calls; c.Enabled && c.Host != "" {
		if above, own := under(cfg, c.Host); !own || cfg.Host(above).Cert == "" {
			add(c.Host)
		}
	}
	return names
}

// isUnder says whether a name, in either form, is a domain or below it.
func isUnder(name string, domain ...string) bool {
	return slices.ContainsFunc(domain, func(d string) bool { return name == d || strings.HasSuffix(name, "."+d) })
}

// mayBePublic says whether an authority could know a name at all (RFC 6761, RFC 6762, RFC 7686).
func mayBePublic(name string) bool {
	if _, literal := address(name); literal || !strings.Contains(name, ".") {
		return false
	}
	for _, inner := range []string{"localhost", "local", "onion", "invalid"} {
		if strings.HasSuffix(name, "."+inner) {
			return false
		}
	}
	return true
}

// challenges are those that can be answered, first what an authority reaches without anybody's help.
func challenges(l *config.Listen) (order []string) {
	overTLS, overHTTP := slices.Concat(l.TLS, l.HTTPS, l.C2STLS), slices.Concat(l.ACME, l.HTTP)
	on := func(port string) func(addr string) bool {
		return func(addr string) bool { return strings.HasSuffix(addr, ":"+port) }
	}
	if len(overTLS) > 0 {
		order = append(order, certificates.TLSALPN01)
	}
	// Whoever redirects to HTTPS leads the authority there, too.
	if len(overHTTP)+len(l.HTTPS)+len(l.TLS) > 0 {
		order = append(order, certificates.HTTP01)
	}
	if !slices.ContainsFunc(overTLS, on("443")) && slices.ContainsFunc(overHTTP, on("80")) {
		slices.Reverse(order)
	}
	return order
}

// lookupName finds the addresses of a name, by the name server at an address, "" for those of the system.
func lookupName(ctx context.Context, at, name string) error {
	resolver := net.DefaultResolver
	if at != "" {
		resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, at)
		}}
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_, err := resolver.LookupNetIP(ctx, "ip", name+".") // as it stands, below no domain of this machine
	return err
}

// challengeProtocol is that of those who look for the answer to a challenge on the port that all share: the handshake
// is the answer (RFC 8737 §3).
func (h *house) challengeProtocol() *front.Protocol {
	return &front.Protocol{Names: []string{certificates.ALPN}, TLS: h.issued.TLS(), Take: func(e wire.Entry) bool {
		_ = e.TLS.Close() // nothing more is to be said
		e.Pass.Leave()
		return true
	}}
}

// serveACME answers challenges over plain HTTP, and sends people on to HTTPS, until the listener is closed.
func (h *house) serveACME(ln net.Listener) {
	s := &http.Server{Handler: web.Closing(http.HandlerFunc(h.proveOrLead)), ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 10 * time.Second, MaxHeaderBytes: 8 << 10}
	h.logged("acme", s.Serve(ln))
	_ = s.Close() // requests that are under way have their times
}

func (h *house) proveOrLead(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, certificates.PathChallenge) {
		h.issued.ServeHTTP(w, r)
		return
	}
	cfg := h.cfg.Load()
	name := strings.ToLower(r.Host)
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	for _, one := range cfg.Hosts {
		ascii, err := asciiName(one.Domain)
		at := publicURL(cfg, one.Domain, &cfg.Listen)
		u, bad := url.Parse(at)
		if err != nil || bad != nil || u.Scheme != "https" || name != ascii && name != u.Hostname() {
			continue
		}
		http.Redirect(w, r, at+r.URL.RequestURI(), http.StatusPermanentRedirect)
		return
	}
	http.NotFound(w, r)
}
