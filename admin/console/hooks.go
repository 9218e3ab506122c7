package console

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"jackdaw/admin"
	"jackdaw/modules/hooks"
)

// hasHooks says whether there can be any.
func (c *Console) hasHooks() bool { return c.o.Config().Modules.Enabled(hooks.Name) }

func (c *Console) hooks(v *visit) {
	if !c.hasHooks() {
		c.o.Site.Error(v.w, v.r, http.StatusNotFound)
		return
	}
	list, err := c.o.Admin.Hooks(v.r.Context())
	if err != nil {
		v.failed("hooks", err)
		return
	}
	v.show("hooks", "Hooks", struct {
		Host  string
		Kinds []string
		Hooks []admin.HookInfo
	}{c.o.Config().Hosts[0].Domain, hooks.Kinds(), list})
}

func (c *Console) hook(v *visit) {
	h, err := c.o.Admin.Hook(v.r.Context(), v.asked("name"))
	switch {
	case errors.Is(err, hooks.ErrNoHook):
		c.o.Site.Error(v.w, v.r, http.StatusNotFound)
	case err != nil:
		v.failed("hook", err)
	default:
		v.show("hook", "Hook "+h.Name, struct {
			admin.HookInfo
			Kinds []string
		}{h, hooks.Kinds()})
	}
}

// settingsOf are those of a hook in a form, and their names.
func settingsOf(v *visit) (admin.HookSettings, []string) {
	return admin.HookSettings{
		To:   strings.FieldsFunc(v.field("to"), func(r rune) bool { return r == ' ' || r == ',' }),
		As:   v.field("as"),
		Nick: v.field("nick"),
		Kind: v.field("kind"),
	}, []string{"to", "as", "nick", "kind"}
}

// addHook makes one, whose address is shown on the page that follows, this once.
func (c *Console) addHook(v *visit) {
	w := admin.HookWish{Name: v.field("name"), Owner: v.field("owner")}
	w.HookSettings, _ = settingsOf(v)
	made, err := c.o.Admin.AddHook(v.r.Context(), v.by(), w)
	v.giveHook(made, err, "/hooks", nil)
}

// giveHook shows the address of a hook on its page, this once; after an error there is the page before.
func (v *visit) giveHook(made admin.HookInfo, err error, page string, query url.Values) {
	if err != nil {
		v.done(err, "", page, query)
		return
	}
	v.c.sessions.say(v.session, word{Text: "Programs post at this address. It is shown only now:", Link: made.URL})
	v.goTo("/hook", url.Values{"name": {made.Name}})
}

// changeHook does what a form on the page of a hook asks for.
func (c *Console) changeHook(v *visit) {
	ctx, by, name := v.r.Context(), v.by(), v.field("name")
	query := url.Values{"name": {name}}
	switch v.field("action") {
	case "change":
		w := admin.HookWish{Name: name}
		w.HookSettings, w.Fields = settingsOf(v)
		_, err := c.o.Admin.ChangeHook(ctx, by, w)
		v.done(err, "The hook is changed.", "/hook", query)
	case "test":
		r, err := c.o.Admin.TestHook(ctx, by, name)
		if err == nil && r.Outcome != hooks.Outcomes[hooks.Sent] {
			err = errors.New("nobody got it: " + r.Reason)
		}
		var who []string
		for _, one := range r.Recipients {
			text := one.JID + " " + one.Outcome
			if one.Reason != "" {
				text += " (" + one.Reason + ")"
			}
			who = append(who, text)
		}
		v.done(err, "“hook works” was sent: "+strings.Join(who, ", ")+".", "/hook", query)
	case "rotate":
		made, err := c.o.Admin.RotateHook(ctx, by, name, 24*time.Hour)
		v.giveHook(made, err, "/hook", query)
	case "remove":
		if err := c.o.Admin.RemoveHook(ctx, by, name); err != nil {
			v.done(err, "", "/hook", query)
			return
		}
		v.done(nil, "The hook "+name+" is removed: its address is good for nothing.", "/hooks", nil)
	default:
		c.o.Site.Error(v.w, v.r, http.StatusBadRequest)
	}
}
