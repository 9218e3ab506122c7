package console

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"jackdaw/admin"
	"jackdaw/config"
)

// maxDecided is how many accounts one form decides about.
const maxDecided = 200

// hasApprovals says whether the page has something to do: while accounts are made that way, and while some wait.
func (c *Console) hasApprovals(ctx context.Context) bool {
	return c.o.Config().Registration == config.RegistrationApprove || c.waiting(ctx) > 0
}

// waiting is how many accounts wait for approval; none where storage cannot tell, which the page says.
func (c *Console) waiting(ctx context.Context) int {
	list, err := c.o.Admin.Waiting(ctx, "")
	if err != nil {
		return 0
	}
	return len(list)
}

func (c *Console) approvals(v *visit) {
	list, err := c.o.Admin.Waiting(v.r.Context(), "")
	if err != nil {
		v.failed("approvals", err)
		return
	}
	v.show("approvals", "Approvals", struct {
		Waiting []admin.ApplicationInfo
		More    int
		On      bool
		Age     int // days
	}{list[:min(len(list), maxDecided)], max(len(list)-maxDecided, 0),
		c.o.Config().Registration == config.RegistrationApprove, int(c.o.Config().Limits.ApprovalAge.Hours() / 24)})
}

// decide approves or refuses the accounts that were chosen.
func (c *Console) decide(v *visit) {
	do, said := c.o.Admin.Approve, "may log in now"
	switch v.field("action") {
	case "approve":
	case "refuse":
		do, said = c.o.Admin.Refuse, "is refused, and removed"
	default:
		c.o.Site.Error(v.w, v.r, http.StatusBadRequest)
		return
	}
	users := v.r.PostForm["jid"]
	if len(users) == 0 || len(users) > maxDecided {
		v.done(errors.New("nothing is decided: choose accounts first"), "", "/approvals", nil)
		return
	}
	var errs []string
	for _, user := range users {
		if err := do(v.r.Context(), v.by(), user); err != nil {
			errs = append(errs, err.Error())
		}
	}
	var err error
	if len(errs) > 0 {
		err = errors.New(strings.Join(errs, "; "))
	}
	one := users[0] + " " + said + "."
	if len(users) > 1 {
		one = count(len(users), "account", "accounts") + ": each " + said + "."
	}
	v.done(err, one, "/approvals", nil)
}
