package adhoc

import (
	"context"
	"fmt"
	"strconv"

	"jackdaw/admin"
	"jackdaw/modules/commands"
	"jackdaw/xmpp"
)

// numbers are the commands that count (§4.13 to §4.17).
func (f *face) numbers() []commands.Command {
	number := func(node, name, field, label string, count func(host string) (int, error)) commands.Command {
		return f.command(node, name, func(c *commands.Call) (commands.Reply, *xmpp.Error) {
			n, err := count(c.Host)
			if err != nil {
				return commands.Reply{}, refuse(err)
			}
			return result(commands.Field{Var: field, Type: "text-single", Label: label, Values: []string{fmt.Sprint(n)}}), nil
		})
	}
	return []commands.Command{
		number("get-registered-users-num", "Count accounts", "registeredusersnum", "Accounts",
			func(host string) (int, error) {
				all, _, err := f.admin.Count(context.Background(), host)
				return all, err
			}),
		number("get-disabled-users-num", "Count disabled accounts", "disabledusersnum", "Disabled accounts",
			func(host string) (int, error) {
				_, disabled, err := f.admin.Count(context.Background(), host)
				return disabled, err
			}),
		number("get-online-users-num", "Count users who are online", "onlineusersnum", "Users online",
			func(host string) (int, error) {
				active, idle, err := f.admin.Present(host)
				return len(active) + len(idle), err
			}),
		number("get-active-users-num", "Count users who are active", "activeusersnum", "Active users",
			func(host string) (int, error) {
				active, _, err := f.admin.Present(host)
				return len(active), err
			}),
		number("get-idle-users-num", "Count users who are idle", "idleusersnum", "Idle users",
			func(host string) (int, error) {
				_, idle, err := f.admin.Present(host)
				return len(idle), err
			}),
	}
}

// lists are the commands that list users (§4.18 to §4.22).
func (f *face) lists() []commands.Command {
	list := func(node, name, field string, get func(host string, limit int) ([]string, bool, error)) commands.Command {
		most := commands.Field{Var: "max_items", Type: "list-single", Label: "How many", Values: []string{"25"}}
		for _, n := range []string{"25", "50", "75", "100", "150", "200"} {
			most.Options = append(most.Options, commands.Option{Label: n, Value: n})
		}
		most.Options = append(most.Options, commands.Option{Label: fmt.Sprint("up to ", admin.MaxPage), Value: "none"})
		return f.command(node, name, asking(name, "In the order of their addresses.",
			func(c *commands.Call) (commands.Reply, *xmpp.Error) {
				limit, err := strconv.Atoi(value(c, "max_items"))
				if err != nil || limit > admin.MaxPage { // "none", or not filled in: as much as one answer may hold
					limit = admin.MaxPage
				}
				users, more, err := get(c.Host, limit)
				if err != nil {
					return commands.Reply{}, refuse(err)
				}
				r := result(commands.Field{Var: field, Type: "jid-multi", Label: name, Values: users})
				if more {
					r.Notes = append(r.Notes, info("There are more."))
				}
				return r, nil
			}, most))
	}
	present := func(pick func(active, idle []string) []string) func(string, int) ([]string, bool, error) {
		return func(host string, limit int) ([]string, bool, error) {
			active, idle, err := f.admin.Present(host)
			all := pick(active, idle)
			return all[:min(limit, len(all))], len(all) > limit, err
		}
	}
	return []commands.Command{
		list("get-registered-users-list", "List accounts", "registereduserjids",
			func(host string, limit int) (all []string, more bool, err error) {
				page, next, err := f.admin.Users(context.Background(), host, "", limit)
				for _, u := range page {
					all = append(all, u.JID)
				}
				return all, next != "", err
			}),
		list("get-disabled-users-list", "List disabled accounts", "disableduserjids",
			func(host string, limit int) ([]string, bool, error) {
				return f.admin.DisabledUsers(context.Background(), host, limit)
			}),
		list("get-online-users-list", "List users who are online", "onlineuserjids",
			present(func(active, idle []string) []string { return merge(active, idle) })),
		list("get-active-users", "List users who are active", "activeuserjids",
			present(func(active, _ []string) []string { return active })),
		list("get-idle-users", "List users who are idle", "idleuserjids",
			present(func(_, idle []string) []string { return idle })),
	}
}

// merge joins two lists that are in order.
func merge(a, b []string) (all []string) {
	for len(a) > 0 && len(b) > 0 {
		if a[0] < b[0] {
			all, a = append(all, a[0]), a[1:]
		} else {
			all, b = append(all, b[0]), b[1:]
		}
	}
	return append(append(all, a...), b...)
}
