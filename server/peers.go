package server

// peers is what `jackdaw s2s` shows.
func (h *house) peers() (p PeersInfo) {
	for _, c := range h.programs.Links() {
		if !c.Connected {
			p.Queues = append(p.Queues, QueueInfo{Remote: c.Domain, State: "away", Error: c.LastError})
			continue
		}
		p.Links = append(p.Links, LinkInfo{Direction: "component", Remote: c.Domain, Authenticated: "secret",
			Address: c.Address, Since: c.Since, In: c.In, Out: c.Out})
	}
	return p
}
