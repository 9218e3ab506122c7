package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"jackdaw/modules/muc"
	"jackdaw/xmpp/jid"
)

// Rooms is what a Service asks of modules/muc.
type Rooms interface {
	List(domain, after string, limit int) (page []muc.Summary, more bool, err error)
	Show(ctx context.Context, room jid.JID) (muc.Detail, error)
	Exists(room jid.JID) (bool, error)
	Destroy(ctx context.Context, room jid.JID, reason string) error
	Own(ctx context.Context, room, user jid.JID) error
	Loaded(domain string) []muc.Loaded
}

// RoomInfo is what may be shown of a room.
type RoomInfo struct {
	JID       string `json:"jid"`
	Name      string `json:"name"` // as its owners call it; "" if they do not
	Creator   string `json:"creator"`
	Public    bool   `json:"public"` // it is in lists
	Occupants int    `json:"occupants"`

	// Of one room alone, not in a list.
	*RoomDetail
}

// RoomDetail is what is shown of one room beside.
type RoomDetail struct {
	Description  string         `json:"description"`
	Persistent   bool           `json:"persistent"` // it stays when nobody is in it
	Locked       bool           `json:"locked"`     // it waits for its maker to configure it
	MembersOnly  bool           `json:"members_only"`
	Password     bool           `json:"password"` // it has one
	Moderated    bool           `json:"moderated"`
	NonAnonymous bool           `json:"non_anonymous"` // everybody in it sees addresses
	Archived     bool           `json:"archived"`
	Owners       []string       `json:"owners"`
	Admins       []string       `json:"admins"`
	Members      int            `json:"members"`
	Outcasts     int            `json:"outcasts"`
	Inside       []OccupantInfo `json:"inside"`
	Messages     int            `json:"messages"` // in its archive
	Bytes        int64          `json:"bytes"`    // of them
}

// OccupantInfo is somebody in a room.
type OccupantInfo struct {
	Nick        string `json:"nick"`
	JID         string `json:"jid"` // bare
	Role        string `json:"role"`
	Affiliation string `json:"affiliation"`
}

// roomDomains are the domains of rooms of a host, or with "" all; a domain of rooms may be named itself.
func (s *Service) roomDomains(host string) ([]string, error) {
	all := s.o.Config().RoomDomains()
	if host == "" {
		return all, nil
	}
	host, err := domain(host)
	if err != nil {
		return nil, err
	}
	for _, d := range []string{host, "rooms." + host} {
		if slices.Contains(all, d) {
			return []string{d}, nil
		}
	}
	if err := s.served(host); err != nil || len(all) == 0 {
		return nil, fmt.Errorf("%s has no rooms: they are at %s", host, strings.Join(all, ", "))
	}
	return all, nil // a domain that all hosts share
}

// Rooms lists up to limit rooms (at most MaxPage, which 0 means) of a host or a domain of rooms, or with "" of all,
// that come after the address from; "" begins. next is where to go on, "" if there are no more. They have no
// RoomDetail.
func (s *Service) Rooms(host, from string, limit int) (page []RoomInfo, next string, err error) {
	domains, err := s.roomDomains(host)
	if err != nil {
		return nil, "", err
	}
	if limit <= 0 || limit > MaxPage {
		limit = MaxPage
	}
	after := ""
	if from != "" {
		j, err := roomAddress(from)
		if err != nil {
			return nil, "", err
		}
		i := slices.Index(domains, j.Domain())
		if i < 0 {
			return nil, "", fmt.Errorf("%s: %w", from, muc.ErrNoRoom)
		}
		domains, after = domains[i:], j.Local()
	}
	page = []RoomInfo{} // not null in JSON
	for _, d := range domains {
		if len(page) == limit { // there may be none behind, which the next page says
			return page, page[limit-1].JID, nil
		}
		list, more, err := s.o.Rooms.List(d, after, limit-len(page))
		if err != nil {
			return nil, "", err
		}
		for _, r := range list {
			page = append(page, roomInfo(r))
		}
		if more {
			return page, page[len(page)-1].JID, nil
		}
		after = ""
	}
	return page, "", nil
}

func roomInfo(r muc.Summary) RoomInfo {
	return RoomInfo{JID: r.Addr.String(), Name: r.Name, Creator: r.Creator, Public: r.Public, Occupants: r.Occupants}
}

// roomAddress reads the address of a room.
func roomAddress(s string) (jid.JID, error) {
	j, err := jid.Parse(s)
	if err != nil || j.Local() == "" || !j.IsBare() {
		return jid.JID{}, fmt.Errorf("%q: expected the address of a room, such as garden@rooms.example.org", s)
	}
	return j, nil
}

// room reads the address of a room here.
func (s *Service) room(address string) (jid.JID, error) {
	j, err := roomAddress(address)
	if err == nil && !slices.Contains(s.o.Config().RoomDomains(), j.Domain()) {
		err = fmt.Errorf("%s: %w: rooms are at %s", j, muc.ErrNoRoom, strings.Join(s.o.Config().RoomDomains(), ", "))
	}
	return j, err
}

// Room shows one room. Errors: muc.ErrNoRoom.
func (s *Service) Room(ctx context.Context, address string) (RoomInfo, error) {
	j, err := s.room(address)
	if err != nil {
		return RoomInfo{}, err
	}
	var there RoomInfo
	if passed, err := s.pass(ctx, Command, j, "rooms.show", RoomRequest{Room: address}, &there); passed {
		return there, err
	}
	d, err := s.o.Rooms.Show(ctx, j)
	if err != nil {
		return RoomInfo{}, about(j, err)
	}
	r := roomInfo(d.Summary)
	r.RoomDetail = &RoomDetail{Description: d.Description, Persistent: d.Persistent, Locked: d.Locked,
		MembersOnly: d.MembersOnly, Password: d.Password, Moderated: d.Moderated, NonAnonymous: d.NonAnonymous,
		Archived: d.Archived, Owners: append([]string{}, d.Owners...), Admins: append([]string{}, d.Admins...),
		Members: d.Members, Outcasts: d.Outcasts, Inside: []OccupantInfo{}, Messages: d.ArchivedRecords,
		Bytes: d.ArchivedBytes}
	for _, o := range d.Inside {
		r.Inside = append(r.Inside, OccupantInfo{Nick: o.Nick, JID: o.User, Role: o.Role, Affiliation: o.Affiliation})
	}
	return r, nil
}

func about(j jid.JID, err error) error {
	if errors.Is(err, muc.ErrNoRoom) {
		return fmt.Errorf("%s: %w", j, err)
	}
	return err
}

// DestroyRoom ends a room and deletes all that is kept of it; who is in it sees the reason, which may be "". Errors:
// muc.ErrNoRoom.
func (s *Service) DestroyRoom(ctx context.Context, by By, address, reason string) error {
	j, err := s.room(address)
	if err != nil {
		return err
	}
	if passed, err := s.pass(ctx, by, j, "rooms.destroy", RoomRequest{Room: address, Reason: reason}, nil); passed {
		return err
	}
	return s.said(about(j, s.o.Rooms.Destroy(ctx, j, reason)), by, "room destroyed", "room", j)
}

// OwnRoom makes a user, of any server, an owner of a room. Errors: muc.ErrNoRoom.
func (s *Service) OwnRoom(ctx context.Context, by By, address, owner string) error {
	j, err := s.room(address)
	if err != nil {
		return err
	}
	who, err := user(owner)
	if err != nil {
		return err
	}
	if s.o.Config().Host(who.Domain()) != nil {
		if _, err := s.o.Accounts.Get(ctx, who); err != nil {
			return err
		}
	}
	if passed, err := s.pass(ctx, by, j, "rooms.own", RoomRequest{Room: address, Owner: owner}, nil); passed {
		return err
	}
	return s.said(about(j, s.o.Rooms.Own(ctx, j, who)), by, "owner of a room added", "room", j, "owner", who)
}

// RoomsElsewhere lists the rooms of a domain in the memory of all other nodes that answer.
func (s *Service) RoomsElsewhere(domain string) (all []muc.Loaded) {
	for _, there := range look[[]muc.Loaded](context.Background(), s, "node.rooms", NameRequest{domain}) {
		all = append(all, there...)
	}
	return all
}

// RoomsHere lists the rooms of a domain in the memory of this node.
func (s *Service) RoomsHere(domain string) ([]muc.Loaded, error) {
	if s.o.Rooms == nil {
		return nil, ErrNotRunning
	}
	return s.o.Rooms.Loaded(domain), nil
}
