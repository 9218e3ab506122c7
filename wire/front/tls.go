package front

import "crypto/tls"

// config is what TLS begins with: by what the client asks for, each protocol's own takes over.
func (s *Server) config() *tls.Config {
	all := []string{}
	own := map[string]*tls.Config{} // by name
	for _, p := range s.Protocols() {
		c := p.TLS.Clone()
		c.NextProtos = p.Names
		if !c.SessionTicketsDisabled {
			// Keys of its own: a ticket of one protocol is none for another. crypto/tls would use those of the configuration
			// that it began with, for all.
			c.WrapSession, c.UnwrapSession = p.TLS.EncryptTicket, p.TLS.DecryptTicket
		}
		for _, name := range p.Names {
			own[name] = c
		}
		all = append(all, p.Names...)
	}
	// Without ALPN it may become anything. Certificates are asked for, as of peers, and no tickets are given, since a
	// peer must not bring the proof of another day (s2s).
	unnamed := s.o.Clients.TLS.Clone()
	unnamed.NextProtos = nil
	unnamed.SessionTicketsDisabled = true
	if s.o.Peers != nil {
		unnamed.ClientAuth = s.o.Peers.TLS.ClientAuth
	}
	// RFC 7301 §3.2: whoever asks for none of ours gets no_application_protocol.
	foreign := s.o.Clients.TLS.Clone()
	foreign.NextProtos = all

	choose := func(h *tls.ClientHelloInfo) *tls.Config {
		for _, name := range h.SupportedProtos { // what the client likes best comes first
			if c := own[name]; c != nil {
				return c
			}
		}
		if len(h.SupportedProtos) > 0 {
			return foreign
		}
		return unnamed
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			c := choose(h)
			if c.GetConfigForClient != nil { // crypto/tls asks but once
				if other, err := c.GetConfigForClient(h); other != nil || err != nil {
					return other, err
				}
			}
			return c, nil
		},
	}
}
