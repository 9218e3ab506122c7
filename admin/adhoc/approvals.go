package adhoc

import (
	"context"
	"fmt"
	"time"

	"jackdaw/modules/commands"
	"jackdaw/xmpp"
)

// The decisions about an account that waits for approval.
const (
	approve = "approve"
	refused = "refuse"
)

// approvals is the command by which an administrator decides who of those that have registered may have an account.
func (f *face) approvals() []commands.Command {
	return []commands.Command{{Node: ownNamespace + "#waiting-users", Name: "Approve accounts", May: f.may,
		Start: f.waiting}}
}

// waiting shows who waits.
func (f *face) waiting(c *commands.Call) (commands.Reply, *xmpp.Error) {
	list, err := f.admin.Waiting(context.Background(), c.Host)
	if err != nil {
		return commands.Reply{}, refuse(err)
	}
	if len(list) == 0 {
		return done(info("Nobody waits for approval.")), nil
	}
	who := commands.Field{Var: "accountjids", Type: "list-multi", Label: "Accounts", Required: true}
	for _, one := range list[:min(len(list), maxNamed)] {
		label := fmt.Sprintf("%s, since %s", one.JID, one.Asked.UTC().Format(time.DateTime))
		if one.Address != "" {
			label += ", from " + one.Address
		}
		who.Options = append(who.Options, commands.Option{Label: label, Value: one.JID})
	}
	what := commands.Field{Var: "decision", Type: "list-single", Label: "Decision", Values: []string{approve},
		Options: []commands.Option{{Label: "Approve: they can log in", Value: approve},
			{Label: "Refuse: the accounts are removed", Value: refused}}}
	shown := form("Accounts that wait for approval", "They have registered, and nobody can use them yet.", who, what)
	shown.Type = ownNamespace
	return commands.Reply{Form: shown, Next: f.decide}, nil
}

// decide does what the form says.
func (f *face) decide(c *commands.Call) (commands.Reply, *xmpp.Error) {
	do := f.admin.Approve
	switch value(c, "decision") {
	case approve:
	case refused:
		do = f.admin.Refuse
	default:
		return commands.Reply{}, xmpp.BadRequest("approve or refuse")
	}
	return f.all(func(c *commands.Call, user string) error { return do(context.Background(), by(c), user) })(c)
}
