package pubsub

import (
	"slices"
	"strconv"

	"jackdaw/modules/internal/forms"
)

// Access says who may subscribe and retrieve items (§4.5).
type Access byte

// The access models.
const (
	Open Access = iota
	Presence
	Roster
	Authorize
	Whitelist
)

// Publishers says who may publish (§16.4.3, pubsub#publish_model).
type Publishers byte

// The publish models.
const (
	ByPublishers Publishers = iota
	BySubscribers
	ByAnyone
)

// Last says when the last item is sent to whom it is news (§5.5, pubsub#send_last_published_item).
type Last byte

// The moments.
const (
	Never Last = iota
	OnSubscription
	OnPresence // and on subscription
)

// Full says what becomes of a publication for which there is no room (§7.1.2, pubsub#publish_node_full).
type Full byte

// What may be done about a full node.
const (
	DiscardOldest Full = iota
	RetractOldest      // and tell it, if retractions are told
	Reject
)

// A Config is what the owner may say of a node (§16.4.3).
type Config struct {
	Title, Description, Type string
	Access                   Access
	Groups                   []string // for Roster
	Publishers               Publishers
	Last                     Last
	MaxItems                 int // 0: as many as there is room for
	Full                     Full
	Expire                   int64 // seconds after which items are gone; 0: never
	Persist                  bool  // items
	Deliver                  bool  // events at all
	Payloads                 bool  // in events
	TellConfig               bool
	TellDelete               bool
	TellRetract              bool // though the request does not ask for it
	TellSubscription         bool // the owner
	Normal                   bool // events are messages of type normal, not headline
	NamePublisher            bool // in items
}

// How the values are written in forms, in the order of the constants.
var (
	accesses   = []string{"open", "presence", "roster", "authorize", "whitelist"}
	publishers = []string{"publishers", "subscribers", "open"}
	lasts      = []string{"never", "on_sub", "on_sub_and_presence"}
	fulls      = []string{"discard-oldest", "retract-oldest", "reject"}
	kinds      = []string{"headline", "normal"}
	replies    = []string{"none", "publisher"}
)

// A setting is a field of the configuration form.
type setting struct {
	name, kind, label string
	options           []string
	open              bool // the options are the values, and others are taken
	get               func(c *Config) []string
	// set puts the field's value in; false: that is no value for it.
	set func(c *Config, f *forms.Field, l Limits) bool
}

var settings = []setting{
	text("title", "A name for the node", func(c *Config) *string { return &c.Title }),
	text("description", "What the node is for", func(c *Config) *string { return &c.Description }),
	text("type", "The namespace of the payloads", func(c *Config) *string { return &c.Type }),
	oneOf("access_model", "Who may subscribe and retrieve items", accesses, func(c *Config) *Access { return &c.Access }),
	{
		name: "roster_groups_allowed", kind: "list-multi", label: "Groups of the roster that may subscribe", open: true,
		get: func(c *Config) []string { return c.Groups },
		set: func(c *Config, f *forms.Field, _ Limits) bool {
			c.Groups = nil
			for _, g := range f.Values {
				if g == "" || len(g) > maxName || len(c.Groups) >= 100 {
					return false
				}
				c.Groups = append(c.Groups, g)
			}
			slices.Sort(c.Groups)
			return true
		},
	},
	oneOf("publish_model", "Who may publish", publishers, func(c *Config) *Publishers { return &c.Publishers }),
	oneOf("send_last_published_item", "When the last item is sent", lasts, func(c *Config) *Last { return &c.Last }),
	flag("persist_items", "Whether items are kept", func(c *Config) *bool { return &c.Persist }),
	{
		name: "max_items", kind: "text-single", label: "How many items are kept, or max",
		get: func(c *Config) []string {
			if c.MaxItems == 0 {
				return []string{"max"}
			}
			return []string{strconv.Itoa(c.MaxItems)}
		},
		set: func(c *Config, f *forms.Field, l Limits) bool {
			if f.Value() == "max" {
				c.MaxItems = 0
				return true
			}
			n, err := strconv.Atoi(f.Value())
			if err != nil || n < 1 || n > l.Items {
				return false
			}
			if c.MaxItems = n; n == l.Items {
				c.MaxItems = 0
			}
			return true
		},
	},
	oneOf("publish_node_full", "What is done when there is no room", fulls, func(c *Config) *Full { return &c.Full }),
	flag("deliver_notifications", "Whether events are sent", func(c *Config) *bool { return &c.Deliver }),
	flag("deliver_payloads", "Whether events have payloads", func(c *Config) *bool { return &c.Payloads }),
	flag("notify_config", "Whether subscribers are told of a new configuration",
		func(c *Config) *bool { return &c.TellConfig }),
	flag("notify_delete", "Whether subscribers are told of the node's end",
		func(c *Config) *bool { return &c.TellDelete }),
	flag("notify_retract", "Whether subscribers are told of items taken back",
		func(c *Config) *bool { return &c.TellRetract }),
	flag("notify_sub", "Whether the owner is told of subscribers", func(c *Config) *bool { return &c.TellSubscription }),
	choice("notification_type", "The type of the messages that bring events", kinds,
		func(c *Config) *bool { return &c.Normal }),
	choice("itemreply", "Whether items name who has published them", replies,
		func(c *Config) *bool { return &c.NamePublisher }),
	{
		name: "item_expire", kind: "text-single", label: "After how many seconds items are gone, or max",
		get: func(c *Config) []string {
			if c.Expire == 0 {
				return []string{"max"}
			}
			return []string{strconv.FormatInt(c.Expire, 10)}
		},
		set: func(c *Config, f *forms.Field, _ Limits) bool {
			if f.Value() == "max" {
				c.Expire = 0
				return true
			}
			n, err := strconv.ParseInt(f.Value(), 10, 64)
			if err != nil || n < 1 || n > maxExpire {
				return false
			}
			c.Expire = n
			return true
		},
	},
}

func text(name, label string, of func(*Config) *string) setting {
	return setting{
		name: name, kind: "text-single", label: label,
		get: func(c *Config) []string {
			if v := *of(c); v != "" {
				return []string{v}
			}
			return nil
		},
		set: func(c *Config, f *forms.Field, _ Limits) bool {
			*of(c) = f.Value()
			return len(f.Value()) <= maxName
		},
	}
}

func flag(name, label string, of func(*Config) *bool) setting {
	return setting{
		name: name, kind: "boolean", label: label,
		get: func(c *Config) []string {
			if *of(c) {
				return []string{"1"}
			}
			return []string{"0"}
		},
		set: func(c *Config, f *forms.Field, _ Limits) (ok bool) {
			*of(c), ok = f.Bool()
			return ok
		},
	}
}

func oneOf[T ~byte](name, label string, values []string, of func(*Config) *T) setting {
	return setting{
		name: name, kind: "list-single", label: label, options: values,
		get: func(c *Config) []string { return values[*of(c) : *of(c)+1] },
		set: func(c *Config, f *forms.Field, _ Limits) bool {
			i := slices.Index(values, f.Value())
			*of(c) = T(max(i, 0))
			return i >= 0
		},
	}
}

// choice is a list of two.
func choice(name, label string, values []string, of func(*Config) *bool) setting {
	return setting{
		name: name, kind: "list-single", label: label, options: values,
		get: func(c *Config) []string {
			if *of(c) {
				return values[1:]
			}
			return values[:1]
		},
		set: func(c *Config, f *forms.Field, _ Limits) bool {
			i := slices.Index(values, f.Value())
			*of(c) = i == 1
			return i >= 0
		},
	}
}

func settingOf(field string) *setting {
	for i := range settings {
		if field == "pubsub#"+settings[i].name {
			return &settings[i]
		}
	}
	return nil
}

// form writes the configuration as one to fill in, or as a result.
func (c *Config) form(kind, formType string) *forms.Form {
	f := &forms.Form{Kind: kind, Type: prefix + formType}
	for _, s := range settings {
		field := forms.Field{Var: "pubsub#" + s.name, Values: s.get(c)}
		if kind != forms.Submit {
			field.Type, field.Label = s.kind, s.label
		}
		if kind == forms.Ask {
			options := s.options
			if field.Open = s.open; s.open {
				options = field.Values
			}
			for _, o := range options {
				field.Options = append(field.Options, forms.Option{Value: o})
			}
		}
		f.Fields = append(f.Fields, field)
	}
	return f
}

// change puts what a submission says into the configuration. Fields of the specification that are not known here
// change nothing; the name of one whose value makes no sense is returned.
func (c *Config) change(f *forms.Form, l Limits) (bad string) {
	for i := range f.Fields {
		field := &f.Fields[i]
		if s := settingOf(field.Var); s != nil && !s.set(c, field, l) {
			return field.Var
		}
	}
	return ""
}

// meets says whether all that the options ask for is so, as far as there is room; what is not known never is (§7.1.5).
func (c *Config) meets(f *forms.Form, l Limits) bool {
	for i := range f.Fields {
		field := capped(f.Fields[i], l)
		s := settingOf(field.Var)
		wanted := *c
		if s == nil || !s.set(&wanted, &field, l) || !slices.Equal(s.get(&wanted), s.get(c)) {
			return false
		}
	}
	return true
}

// apply makes all that the options ask for so, as far as there is room, for a node that is about to be made; the name
// of one that is not known, or whose value makes no sense, is returned.
func (c *Config) apply(f *forms.Form, l Limits) (bad string) {
	for i := range f.Fields {
		field := capped(f.Fields[i], l)
		if s := settingOf(field.Var); s == nil || !s.set(c, &field, l) {
			return field.Var
		}
	}
	return ""
}

// capped is an option of a publication that asks for the most there is where it asks for more. Clients do not know the
// limits before there is a node, and would give up.
func capped(f forms.Field, l Limits) forms.Field {
	n, err := strconv.ParseInt(f.Value(), 10, 64)
	if err == nil && (f.Var == "pubsub#max_items" && n > int64(l.Items) || f.Var == "pubsub#item_expire" &&
		n > maxExpire) {
		f.Values = []string{"max"}
	}
	return f
}

// room is how many items the node keeps.
func (c *Config) room(l Limits) int {
	if c.MaxItems == 0 {
		return l.Items
	}
	return min(c.MaxItems, l.Items)
}
