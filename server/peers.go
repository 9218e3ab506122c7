package server

import (
	"strings"

	"jackdaw/admin"
	"jackdaw/s2s"
)

// resolve is where the configuration says that a domain is found, instead of DNS.
func (h *house) resolve(domain string) (addr string, ok bool) {
	addr, ok = h.cfg.Load().S2S.Resolve[domain]
	return addr, ok
}

// peers is what `jackdaw s2s` shows.
func (h *house) peers() (p admin.PeersInfo) {
	for _, c := range h.programs.Links() {
		if !h.router.Here(c.Domain) { // it is connected to its home, which knows it
			continue
		}
		if !c.Connected {
			p.Queues = append(p.Queues, admin.QueueInfo{Remote: c.Domain, State: "away", Error: c.LastError})
			continue
		}
		p.Links = append(p.Links, admin.LinkInfo{Direction: "component", Remote: c.Domain, Authenticated: "secret",
			Address: c.Address, Since: c.Since, In: c.In, Out: c.Out})
	}
	if h.peering == nil {
		return p
	}
	for _, l := range h.peering.Links() {
		p.Links = append(p.Links, linkInfo(l))
	}
	for _, q := range h.peering.Queues() {
		p.Queues = append(p.Queues, admin.QueueInfo{Local: q.Local, Remote: q.Remote, State: q.State.String(),
			Stanzas: q.Waiting, Bytes: q.WaitingBytes, Unacked: q.Unacked, Error: q.LastError, Next: q.Next})
	}
	return p
}

func linkInfo(l s2s.Link) admin.LinkInfo {
	i := admin.LinkInfo{Direction: l.Direction, Address: l.Address, Since: l.Since, In: l.StanzasIn, Out: l.StanzasOut}
	if l.TLS != "" {
		i.TLS = l.TLS + " " + l.Cipher
	}
	var local, remote, by []string
	for _, pair := range l.Pairs {
		local, remote, by = also(local, pair.Local), also(remote, pair.Remote), also(by, pair.By)
	}
	i.Local, i.Remote, i.Authenticated = strings.Join(local, ","), strings.Join(remote, ","), strings.Join(by, ",")
	for _, extra := range []struct {
		on   bool
		name string
	}{{l.DirectTLS, "direct"}, {l.Managed, "sm"}, {l.Bidirectional, "bidi"}} {
		if extra.on {
			i.Extras = append(i.Extras, extra.name)
		}
	}
	if l.Certificate != "" {
		i.Extras = append(i.Extras, "certificate: "+l.Certificate)
	}
	return i
}

func also(list []string, one string) []string {
	for _, s := range list {
		if s == one {
			return list
		}
	}
	return append(list, one)
}
