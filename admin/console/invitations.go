package console

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"jackdaw/admin"
)

// hasInvitations says whether people are invited here at all.
func (c *Console) hasInvitations() bool { return c.o.Config().Modules.Enabled("invitations") }

func (c *Console) invitations(v *visit) {
	if !c.hasInvitations() {
		c.o.Site.Error(v.w, v.r, http.StatusNotFound)
		return
	}
	list, err := c.o.Admin.Invitations(v.r.Context(), "")
	if err != nil {
		v.failed("invitations", err)
		return
	}
	v.show("invitations", "Invitations", struct {
		Hosts       []string
		Invitations []admin.InvitationInfo
	}{c.hosts(), list})
}

// changeInvitations makes one, or takes one back.
func (c *Console) changeInvitations(v *visit) {
	ctx, by := v.r.Context(), v.by()
	switch v.field("action") {
	case "invite":
		w := admin.Wish{Host: v.field("host"), Contact: v.field("contact")}
		var err error
		if w.Uses, err = whole(v.field("uses")); err == nil {
			var days int
			days, err = whole(v.field("days"))
			w.Expires = time.Duration(days) * 24 * time.Hour
		}
		if err != nil {
			v.done(err, "", "/invitations", nil)
			return
		}
		made, err := c.o.Admin.Invite(ctx, by, w)
		v.give(made, err, "Whom you give this link can make an account. It is shown only now:", "/invitations", nil)
	case "revoke":
		err := c.o.Admin.RevokeInvitation(ctx, by, v.field("host"), v.field("id"))
		v.done(err, "The link is good for nothing any more.", "/invitations", nil)
	default:
		c.o.Site.Error(v.w, v.r, http.StatusBadRequest)
	}
}

// maxWhole is the largest number that a form takes; what it is for may allow less.
const maxWhole = 10000

// whole reads a number above zero; an empty field is 0, for what is usual.
func whole(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxWhole {
		return 0, errors.New("expected a whole number above zero")
	}
	return n, nil
}

// give shows the link of an invitation on the page that follows, this once.
func (v *visit) give(made admin.InvitationInfo, err error, said, page string, query url.Values) {
	if err != nil {
		v.done(err, "", page, query)
		return
	}
	link := made.URL
	if link == "" { // nobody reaches a page of this server
		link = made.URI
	}
	v.c.sessions.say(v.session, word{Text: said, Link: link})
	v.goTo(page, query)
}
