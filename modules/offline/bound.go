package offline

import (
	"context"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

// bound forgets what is stored for an account and is in its archive as well: a client that binds its resource with the
// login is told where the archive ends, and reads it there (XEP-0386 §4.2). What is nowhere else is brought as ever,
// and so is everything while another session is being brought it.
func (m *module) bound(s *router.Session, _ *xmpp.Element) []byte {
	name := s.Bare().String()
	sh := m.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	m.recover(sh, name)
	o := sh.owners[name]
	if o != nil && len(o.catching) > 0 {
		return nil
	}
	for after := uint64(0); ; {
		records, _, err := m.store.Page(context.Background(), name, storage.Query{After: after, Limit: pageSize})
		if err != nil {
			m.log.Warn("stored messages are brought that are in the archive too", "owner", name, "error", err)
			return nil
		}
		var archived []uint64
		for i := range records {
			after = records[i].ID
			if o != nil && o.flies(after) {
				continue
			}
			stanza, flags, err := readRecord(records[i].Data)
			if err == nil && flags&settledID != 0 && router.StanzaID(&stanza, name) != 0 {
				archived = append(archived, after)
			}
		}
		if len(archived) > 0 {
			if _, err := m.store.Remove(context.Background(), name, archived...); err != nil {
				m.log.Warn("stored messages are brought that are in the archive too", "owner", name, "error", err)
				return nil
			}
		}
		if len(records) < pageSize {
			return nil
		}
	}
}
