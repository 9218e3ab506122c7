package server

import (
	"context"

	"jackdaw/admin"
)

// A roomOrder names a room, and what is to become of it.
type roomOrder admin.RoomRequest

// rooms answers with all rooms, as listUsers does with accounts.
func (c *Control) rooms(_ context.Context, in name) ([]admin.RoomInfo, error) {
	all := []admin.RoomInfo{} // not null in JSON
	for from := ""; ; {
		page, next, err := c.Admin.Rooms(in.Name, from, 0)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if next == "" {
			return all, nil
		}
		from = next
	}
}

func (c *Control) room(ctx context.Context, in roomOrder) (admin.RoomInfo, error) {
	return c.Admin.Room(ctx, in.Room)
}

func (c *Control) destroyRoom(ctx context.Context, in roomOrder) (nothing, error) {
	return nothing{}, c.Admin.DestroyRoom(ctx, by(ctx), in.Room, in.Reason)
}

func (c *Control) ownRoom(ctx context.Context, in roomOrder) (nothing, error) {
	return nothing{}, c.Admin.OwnRoom(ctx, by(ctx), in.Room, in.Owner)
}

// Rooms lists the rooms of a host or a domain of rooms, or with "" all.
func (c *Client) Rooms(ctx context.Context, host string) ([]admin.RoomInfo, error) {
	return call[[]admin.RoomInfo](ctx, c, "rooms", name{host})
}

// Room shows one room.
func (c *Client) Room(ctx context.Context, room string) (admin.RoomInfo, error) {
	return call[admin.RoomInfo](ctx, c, "rooms.show", roomOrder{Room: room})
}

// DestroyRoom ends a room and deletes all that is kept of it.
func (c *Client) DestroyRoom(ctx context.Context, room, reason string) error {
	return do(ctx, c, "rooms.destroy", roomOrder{Room: room, Reason: reason})
}

// OwnRoom makes a user an owner of a room.
func (c *Client) OwnRoom(ctx context.Context, room, owner string) error {
	return do(ctx, c, "rooms.own", roomOrder{Room: room, Owner: owner})
}
