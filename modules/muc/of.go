package muc

import (
	"context"

	"jackdaw/modules/internal/parts"
	"jackdaw/router/accounts"
	"jackdaw/xmpp/jid"
)

// Of makes the rooms of a server.
func Of(p parts.Parts, banned func(who jid.JID) bool) *Rooms {
	return New(Options{Banned: banned, Router: p.Router, Rooms: p.Store.Map("rooms"), Archive: p.Store.Log("rooms"),
		Full: p.Space.Low, Log: p.Log,
		Domains: func() []string { return p.Config().RoomDomains() },
		Hosts: func() (all []string) {
			for _, h := range p.Config().Hosts {
				all = append(all, h.Domain)
			}
			return all
		},
		Limits: func() Limits {
			c := p.Config()
			l := &c.Limits
			return Limits{Occupants: l.RoomOccupants, RoomsPerUser: l.RoomsPerUser, MessageRate: l.RoomMessageRate,
				History: l.RoomHistory, Page: l.ArchivePage, Keep: c.Modules.MUC.Keep,
				OpenNewRooms: c.Modules.MUC.OpenNewRooms, HistoryBytes: int64(l.RoomHistoryBytes),
				Memory: int64(l.RoomHistoryMemory), ArchiveBytes: int64(l.RoomArchiveBytes),
				MadeBytes: int64(l.RoomsArchiveBytes)}
		},
		Exempt: func(user jid.JID) bool {
			r, err := p.Accounts.Rights(context.Background(), user)
			return err == nil && r.Has(accounts.PermAdmin)
		}})
}
