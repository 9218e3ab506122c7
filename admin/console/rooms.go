package console

import (
	"errors"
	"net/http"
	"net/url"

	"jackdaw/admin"
	"jackdaw/modules/muc"
	"jackdaw/xmpp/jid"
)

// hasRooms says whether there are rooms at all.
func (c *Console) hasRooms() bool { return len(c.o.Config().RoomDomains()) > 0 }

func (c *Console) rooms(v *visit) {
	from := v.asked("from")
	list, next, err := c.o.Admin.Rooms("", from, perPage)
	wrong := ""
	if err != nil {
		wrong = sentence(err)
	}
	if next != "" {
		next = Path + "/rooms?" + url.Values{"from": {next}}.Encode()
	}
	v.show("rooms", "Rooms", struct {
		Next, Wrong string
		First       bool
		Rooms       []admin.RoomInfo
	}{next, wrong, from == "", list})
}

func (c *Console) room(v *visit) {
	j, err := jid.Parse(v.asked("jid"))
	named := err == nil && j.Local() != "" && j.IsBare()
	r, err := c.o.Admin.Room(v.r.Context(), v.asked("jid"))
	switch {
	case !named, errors.Is(err, muc.ErrNoRoom):
		c.o.Site.Error(v.w, v.r, http.StatusNotFound)
	case err != nil:
		v.failed("room", err)
	default:
		v.show("room", r.JID, r)
	}
}

// changeRoom does what a form on the page of a room asks for.
func (c *Console) changeRoom(v *visit) {
	ctx, by, address := v.r.Context(), v.by(), v.field("jid")
	query := url.Values{"jid": {address}}
	switch v.field("action") {
	case "own":
		v.done(c.o.Admin.OwnRoom(ctx, by, address, v.field("owner")), "The room has another owner.", "/room", query)
	case "destroy":
		if v.field("again") != address {
			v.done(errors.New("nothing is removed: type the address of the room to confirm"), "", "/room", query)
			return
		}
		if err := c.o.Admin.DestroyRoom(ctx, by, address, v.field("reason")); err != nil {
			v.done(err, "", "/room", query)
			return
		}
		v.done(nil, "The room "+address+" and all that was kept of it is removed.", "/rooms", nil)
	default:
		c.o.Site.Error(v.w, v.r, http.StatusBadRequest)
	}
}
