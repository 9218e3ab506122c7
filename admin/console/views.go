package console

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"jackdaw/admin"
	"jackdaw/router/accounts"
)

// A figure is a number of the overview, and how it was during the last day.
type figure struct {
	Name, Value, Unit string
	Plot              template.HTML
}

func (c *Console) overview(v *visit) {
	list, err := c.o.Admin.Sessions()
	if err != nil {
		v.failed("overview", err)
		return
	}
	peers, err := c.o.Admin.Peers()
	if err != nil {
		v.failed("overview", err)
		return
	}
	past := c.o.Past.Samples()
	last, day := Sample{}, 0.0
	if len(past) > 0 {
		last = past[len(past)-1]
	}
	for _, s := range past {
		day += float64(s.Messages)
	}
	waiting := 0
	for _, q := range peers.Queues {
		waiting += q.Stanzas
	}
	free := c.o.Past.Free()
	shown := size(free)
	if free == 0 {
		shown = "not known"
	}
	v.show("overview", "Overview", struct {
		About        About
		Figures      []figure
		Links        int
		Waiting      int
		Certificates []Certificate
		Minutes      int
		Asking       int // accounts that wait for approval
	}{
		Asking: c.waiting(v.r.Context()),
		About:  c.o.Facts.About(),
		Figures: []figure{
			{"Messages", fmt.Sprintf("%.0f", day), "in the last day",
				plot(past, func(s Sample) float32 { return s.Messages }, false, "Messages a minute during the last day")},
			{"Sessions", fmt.Sprint(len(list)), "now",
				plot(past, func(s Sample) float32 { return s.Sessions }, false, "Sessions during the last day")},
			{"Time until durable", fmt.Sprintf("%.1f ms", last.Durable*1000), "the slowest write of the last minute",
				plot(past, func(s Sample) float32 { return s.Durable }, false, "Slowest writes during the last day")},
			{"Disk", shown, "free",
				plot(past, func(s Sample) float32 { return s.Free }, true, "Free room on the disk during the last day")},
		},
		Links: len(peers.Links), Waiting: waiting, Minutes: len(past),
		Certificates: slices.DeleteFunc(c.o.Facts.Certificates(), func(one Certificate) bool {
			return one.Problem == ""
		}),
	})
}

// searchTime bounds a search among accounts.
const searchTime = 5 * time.Second

// found are the accounts of a host in whose address a text is, from one on.
func (c *Console) found(ctx context.Context, host, text, from string) (page []admin.UserInfo, next string, err error) {
	if text == "" {
		return c.o.Admin.Users(ctx, host, from, perPage)
	}
	ctx, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	text = strings.ToLower(text)
	for {
		list, on, err := c.o.Admin.Users(ctx, host, from, admin.MaxPage)
		if err != nil {
			return nil, "", err
		}
		for _, u := range list {
			if !strings.Contains(u.JID, text) {
				continue
			}
			if len(page) == perPage {
				return page, page[perPage-1].JID, nil
			}
			page = append(page, u)
		}
		if on == "" {
			return page, "", nil
		}
		from = on
	}
}

func (c *Console) accounts(v *visit) {
	host, text, from := v.asked("host"), v.asked("q"), v.asked("from")
	hosts := c.hosts()
	list, next, err := c.found(v.r.Context(), host, text, from)
	wrong := ""
	if err != nil {
		wrong = sentence(err)
	}
	if next != "" {
		next = Path + "/accounts?" + url.Values{"host": {host}, "q": {text}, "from": {next}}.Encode()
	}
	v.show("accounts", "Accounts", struct {
		Host, Text, Next, Wrong string
		Hosts                   []string
		Users                   []admin.UserInfo
		First                   bool
	}{host, text, next, wrong, hosts, list, from == ""})
}

// addAccount makes one.
func (c *Console) addAccount(v *visit) {
	address := v.field("address")
	if !strings.Contains(address, "@") {
		address += "@" + v.host()
	}
	err := c.o.Admin.AddUser(v.r.Context(), v.by(), address, v.r.PostForm.Get("password"))
	if err != nil {
		v.done(err, "", "/accounts", nil)
		return
	}
	v.done(nil, "The account "+address+" is made.", "/account", url.Values{"jid": {address}})
}

func (c *Console) account(v *visit) {
	ctx, address := v.r.Context(), v.asked("jid")
	user, err := c.o.Admin.User(ctx, address)
	if errors.Is(err, accounts.ErrNotFound) || errors.Is(err, accounts.ErrUser) {
		c.o.Site.Error(v.w, v.r, 404)
		return
	}
	var devices []admin.DeviceInfo
	var list []admin.SessionInfo
	if err == nil {
		devices, err = c.o.Admin.UserDevices(ctx, address)
	}
	if err == nil {
		list, err = c.o.Admin.SessionsOf(address)
	}
	var tokens []admin.TokenInfo
	if err == nil {
		tokens, err = c.o.Admin.Tokens(ctx, address)
	}
	if err != nil {
		v.failed("account", err)
		return
	}
	own, granted := false, false
	for _, r := range user.Rights {
		own = own || r.Permission == string(accounts.PermAdmin)
		granted = granted || r.Permission == string(accounts.PermAdmin) && r.Source == accounts.SourceGrant
	}
	v.show("account", user.JID, struct {
		admin.UserInfo
		Devices         []admin.DeviceInfo
		Tokens          []admin.TokenInfo
		List            []admin.SessionInfo
		IsAdmin, Grants bool
		Self, Invites   bool
	}{user, devices, tokens, list, own, granted, user.JID == v.session.user.String(), c.hasInvitations()})
}

// changeAccount does what a form on the page of an account asks for.
func (c *Console) changeAccount(v *visit) {
	ctx, by, address := v.r.Context(), v.by(), v.field("jid")
	query := url.Values{"jid": {address}}
	action := v.field("action")
	if address == v.session.user.String() && (action == "disable" || action == "remove" || action == "revoke-admin") {
		v.done(errors.New("that would lock you out; let another administrator do it"), "", "/account", query)
		return
	}
	perm := []string{string(accounts.PermAdmin)}
	switch action {
	case "disable":
		v.done(c.o.Admin.Disable(ctx, by, address), "The account is disabled, and its sessions have ended.", "/account",
			query)
	case "enable":
		v.done(c.o.Admin.Enable(ctx, by, address), "The account may log in again.", "/account", query)
	case "password":
		err := c.o.Admin.SetPassword(ctx, by, address, v.r.PostForm.Get("password"))
		if err == nil && address == v.session.user.String() { // it has ended this session, too
			v.goTo("/login", nil)
			return
		}
		v.done(err, "The new password is set, and the sessions of the account have ended.", "/account", query)
	case "reset":
		made, err := c.o.Admin.Invite(ctx, by, admin.Wish{Reset: address})
		v.give(made, err, "By this link the user sets a new password. It is shown only now:", "/account", query)
	case "kick":
		n, err := c.o.Admin.Kick(by, address)
		v.done(err, count(n, "session has", "sessions have")+" ended.", "/account", query)
	case "revoke-device":
		knows, err := c.o.Admin.RevokeDevice(ctx, by, address, v.field("device"))
		said := "The device is logged out."
		if knows {
			said += " It has logged in with the password, and may do so again: set a new one to keep it out."
		}
		v.done(err, said, "/account", query)
	case "make-token":
		c.makeToken(v, address)
	case "revoke-token":
		c.revokeToken(v, address)
	case "grant-admin":
		v.done(c.o.Admin.Grant(ctx, by, address, perm), "The account is an administrator's now.", "/account", query)
	case "revoke-admin":
		v.done(c.o.Admin.Revoke(ctx, by, address, perm), "The account is no administrator's any more.", "/account", query)
	case "remove":
		if v.field("again") != address {
			v.done(errors.New("nothing is removed: type the address of the account to confirm"), "", "/account", query)
			return
		}
		if err := c.o.Admin.DeleteUser(ctx, by, address); err != nil {
			v.done(err, "", "/account", query)
			return
		}
		v.done(nil, "The account "+address+" and all that was kept of it is removed.", "/accounts", nil)
	default:
		c.o.Site.Error(v.w, v.r, 400)
	}
}

func (c *Console) allSessions(v *visit) {
	list, err := c.o.Admin.Sessions()
	if err != nil {
		v.failed("sessions", err)
		return
	}
	text, from := strings.ToLower(v.asked("q")), v.asked("from")
	all := len(list)
	list = slices.DeleteFunc(list, func(s admin.SessionInfo) bool {
		return s.JID <= from || text != "" && !strings.Contains(strings.ToLower(s.JID+" "+s.Address+" "+s.Client), text)
	})
	next := ""
	if len(list) > perPage {
		list = list[:perPage]
		next = Path + "/sessions?" + url.Values{"q": {text}, "from": {list[perPage-1].JID}}.Encode()
	}
	v.show("sessions", "Sessions", struct {
		Text, Next string
		All        int
		List       []admin.SessionInfo
	}{text, next, all, list})
}

// endSession ends one.
func (c *Console) endSession(v *visit) {
	n, err := c.o.Admin.Kick(v.by(), v.field("jid"))
	v.done(err, count(n, "session has", "sessions have")+" ended.", "/sessions", nil)
}

func (c *Console) peers(v *visit) {
	p, err := c.o.Admin.Peers()
	if err != nil {
		v.failed("peers", err)
		return
	}
	const most = 500
	cutOff := len(p.Links) > most || len(p.Queues) > most
	p.Links, p.Queues = p.Links[:min(len(p.Links), most)], p.Queues[:min(len(p.Queues), most)]
	v.show("peers", "Other servers", struct {
		admin.PeersInfo
		Cut bool
	}{p, cutOff})
}

func (c *Console) posts(v *visit) {
	text := strings.ToLower(v.asked("q"))
	list := slices.DeleteFunc(c.o.Record.Posts(), func(p Post) bool {
		return text != "" && !strings.Contains(strings.ToLower(p.Account+" "+p.Sender+" "+p.To()), text)
	})
	v.show("posts", "Posts", struct {
		Text  string
		Posts []Post
		Cut   bool
	}{text, list[:min(len(list), 4*perPage)], len(list) > 4*perPage})
}

// To are all recipients that the log names.
func (p Post) To() string {
	return strings.Join(strings.Fields(p.Delivered+" "+p.Stored+" "+p.Queued+" "+p.Refused), " ")
}

func (c *Console) reports(v *visit) {
	v.show("reports", "Reports of spam and abuse", c.o.Record.Reports())
}

func (c *Console) certificates(v *visit) {
	v.show("certificates", "Certificates", c.o.Facts.Certificates())
}

func (c *Console) storage(v *visit) {
	ctx, cancel := context.WithTimeout(v.r.Context(), searchTime)
	defer cancel()
	v.show("storage", "Storage", struct {
		About About
		Disk  Disk
	}{c.o.Facts.About(), c.o.Facts.Disk(ctx)})
}

func (c *Console) showDoctor(v *visit) {
	found, at, running := c.doctor.last()
	v.show("doctor", "Doctor", struct {
		Found   []Finding
		At      time.Time
		Running bool
	}{found, at, running})
}

// runDoctor has the doctor look; the page says when he is done.
func (c *Console) runDoctor(v *visit) {
	if c.doctor.begin() {
		c.running.Go(func() {
			ctx, cancel := context.WithTimeout(c.ctx, doctorTime)
			defer cancel()
			var found []Finding
			defer func() {
				if x := recover(); x != nil {
					c.o.Log.Error("panic of the doctor", "do", "report it as a fault of jackdaw, with this line", "panic", x,
						"stack", string(debug.Stack()))
				}
				c.doctor.end(found, c.o.Now())
			}()
			found = c.o.Facts.Doctor(ctx)
		})
	}
	v.goTo("/doctor", nil)
}

func (c *Console) log(v *visit) {
	text, level := strings.ToLower(v.asked("q")), v.asked("level")
	list := slices.DeleteFunc(c.o.Record.Lines(), func(l Line) bool {
		return level == "warn" && l.Level == "info" || level == "error" && l.Level != "error" ||
			text != "" && !strings.Contains(strings.ToLower(l.Text), text)
	})
	v.show("log", "Log", struct {
		Text, Level string
		Lines       []Line
	}{text, level, list})
}
