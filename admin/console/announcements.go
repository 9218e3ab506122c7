package console

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"jackdaw/admin"
	"jackdaw/modules/announcements"
)

// hasAnnouncements says whether there are any here.
func (c *Console) hasAnnouncements() bool { return c.o.Config().Modules.Enabled("announcements") }

// hosts are those that are served, in the order of the configuration.
func (c *Console) hosts() (all []string) {
	for _, h := range c.o.Config().Hosts {
		all = append(all, h.Domain)
	}
	return all
}

// A text is one that stands until it is taken back.
type text struct {
	Kind              announcements.Kind
	Name, About, Text string
}

// standing are those that a host may have.
var standing = []text{
	{Kind: announcements.OfTheDay, Name: "Message of the day",
		About: "Each user gets it once: at once if online, else at the next login."},
	{Kind: announcements.Welcome, Name: "Welcome", About: "Each new account gets it at its first login."},
}

func (c *Console) announcements(v *visit) {
	if !c.hasAnnouncements() {
		c.o.Site.Error(v.w, v.r, http.StatusNotFound)
		return
	}
	host := v.asked("host")
	if !slices.Contains(c.hosts(), host) {
		host = v.host()
	}
	kept, err := c.o.Admin.KeptAnnouncements("")
	var texts []text
	for _, t := range standing {
		if err == nil {
			t.Text, err = c.o.Admin.Standing(host, t.Kind)
		}
		texts = append(texts, t)
	}
	if err != nil {
		v.failed("announcements", err)
		return
	}
	v.show("announcements", "Announcements", struct {
		Host  string
		Hosts []string
		Kept  []admin.AnnouncementInfo
		Texts []text
	}{host, c.hosts(), kept, texts})
}

// announce does what a form on the page of announcements asks for.
func (c *Console) announce(v *visit) {
	ctx, by, host := v.r.Context(), v.by(), v.field("host")
	words := strings.ReplaceAll(v.field("text"), "\r\n", "\n") // as forms write line ends
	query := url.Values{"host": {host}}
	switch action := v.field("action"); action {
	case "announce":
		days, err := whole(v.field("days"))
		reached := 0
		if err == nil {
			reached, err = c.o.Admin.Announce(ctx, by, host, words, time.Duration(days)*24*time.Hour)
		}
		v.done(err, "It went to "+count(reached, "user", "users")+" at once.", "/announcements", query)
	case "withdraw":
		err := c.o.Admin.WithdrawAnnouncement(ctx, by, host, v.field("id"))
		v.done(err, "Nobody gets it any more.", "/announcements", query)
	case "set", "delete":
		said := "The text is set."
		if action == "delete" {
			words, said = "", "The text is taken back."
		}
		kind := announcements.Kind(v.field("kind"))
		if !slices.ContainsFunc(standing, func(t text) bool { return t.Kind == kind }) {
			c.o.Site.Error(v.w, v.r, http.StatusBadRequest)
			return
		}
		_, err := c.o.Admin.Stand(ctx, by, host, kind, words, v.field("edit") != "")
		v.done(err, said, "/announcements", query)
	default:
		c.o.Site.Error(v.w, v.r, http.StatusBadRequest)
	}
}
