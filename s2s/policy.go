package s2s

import (
	"jackdaw/config"
	"jackdaw/s2s/outbox"
)

// policy is the configuration in the form in which it is asked. Immutable.
type policy struct {
	from *config.Config
	config.S2S
	limits      config.Limits
	queues      outbox.Limits
	preauth     int // bytes of an element before authentication
	allow, deny map[string]bool
	plain       map[string]bool
	certificate map[string]bool
}

// policy is the one in force.
func (s *Server) policy() *policy {
	c := s.o.Settings()
	if p := s.rules.Load(); p != nil && p.from == c {
		return p
	}
	p := &policy{from: c, S2S: c.S2S, limits: c.Limits, preauth: c.C2S.MaxStanzaPreauth,
		allow: set(c.S2S.Allow), deny: set(c.S2S.Deny), plain: set(c.S2S.AllowPlaintext),
		certificate: set(c.S2S.RequireCertificate)}
	l := &p.limits
	p.queues = outbox.Limits{Stanzas: l.PeerStanzas, Bytes: l.PeerBytes, Account: l.PeerAccountBytes,
		Memory: l.PeerTotalBytes, Dials: l.PeerDials, BackoffMin: l.PeerBackoffMin, BackoffMax: l.PeerBackoffMax,
		Age: l.PeerAge}
	s.rules.Store(p)
	return p
}

func set(list []string) map[string]bool {
	m := make(map[string]bool, len(list))
	for _, v := range list {
		m[v] = true
	}
	return m
}

// admits says whether there is anything to exchange with a domain at all. Deny wins.
func (p *policy) admits(domain string) bool {
	return !p.deny[domain] && (len(p.allow) == 0 || p.allow[domain])
}

// needsTLS says whether a stream to or from the domain must be encrypted.
func (p *policy) needsTLS(domain string) bool { return p.RequireTLS && !p.plain[domain] }

// needsCertificate says whether nothing but a valid certificate proves the domain.
func (p *policy) needsCertificate(domain string) bool { return !p.Dialback || p.certificate[domain] }
