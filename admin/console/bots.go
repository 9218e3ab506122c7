package console

import (
	"net/http"
	"net/url"
	"strings"

	"jackdaw/admin"
)

// hasBots says whether there can be any.
func (c *Console) hasBots() bool { return c.o.Config().Modules.Enabled("bots") }

func (c *Console) bots(v *visit) {
	if !c.hasBots() {
		c.o.Site.Error(v.w, v.r, http.StatusNotFound)
		return
	}
	list, err := c.o.Admin.Bots(v.r.Context())
	if err != nil {
		v.failed("bots", err)
		return
	}
	v.show("bots", "Bots", struct {
		Host string
		Bots []admin.BotInfo
	}{c.o.Config().Hosts[0].Domain, list})
}

func (c *Console) bot(v *visit) {
	address := v.asked("jid")
	list, err := c.o.Admin.BotLog(v.r.Context(), address)
	if err != nil {
		c.o.Site.Error(v.w, v.r, http.StatusNotFound)
		return
	}
	v.show("bot", address, struct {
		JID string
		Log []admin.DeliveryInfo
	}{address, list})
}

// changeBots adds one.
func (c *Console) changeBots(v *visit) {
	o := admin.BotOrder{JID: v.field("jid"), URL: v.field("url"), Secret: v.r.PostForm.Get("secret"),
		Rooms: strings.Fields(v.field("rooms")), Nick: v.field("nick"),
		Trigger:   strings.TrimLeft(v.r.PostForm.Get("trigger"), " "),
		Encrypted: v.field("encrypted") != "", Composing: v.field("composing") != ""}
	v.done(c.o.Admin.AddBot(v.r.Context(), v.by(), o), "The program answers for the account from now on.", "/bots", nil)
}

// changeBot does what a form on the page of a bot asks for.
func (c *Console) changeBot(v *visit) {
	ctx, address := v.r.Context(), v.field("jid")
	query := url.Values{"jid": {address}}
	switch v.field("action") {
	case "test":
		t, err := c.o.Admin.TestBot(ctx, address, v.field("text"))
		if err != nil {
			v.done(err, "", "/bot", query)
			return
		}
		v.c.sessions.say(v.session, trial(t))
		v.goTo("/bot", query)
	case "remove":
		if err := c.o.Admin.RemoveBot(ctx, v.by(), address); err != nil {
			v.done(err, "", "/bot", query)
			return
		}
		v.done(nil, address+" is an account like others now.", "/bots", nil)
	default:
		c.o.Site.Error(v.w, v.r, http.StatusBadRequest)
	}
}

// trial says how a test went.
func trial(t admin.TrialInfo) word {
	switch {
	case t.Error != "":
		return word{Bad: true, Text: "The test failed: " + t.Error + "."}
	case len(t.Texts) == 0:
		return word{Text: "The program took it and has nothing to say."}
	}
	return word{Text: "The program would say: " + strings.Join(t.Texts, " / ")}
}
