package room

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"jackdaw/modules/internal/forms"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Settings are what the owners of a room have chosen (§10.2). The names are those of the stored record.
type Settings struct {
	Name          string  `json:"name,omitempty"`
	Description   string  `json:"description,omitempty"`
	Language      string  `json:"language,omitempty"`
	Password      string  `json:"password,omitempty"` // empty: none
	Persistent    bool    `json:"persistent,omitempty"`
	Public        bool    `json:"public,omitempty"`
	Moderated     bool    `json:"moderated,omitempty"`
	MembersOnly   bool    `json:"members_only,omitempty"`
	NonAnonymous  bool    `json:"non_anonymous,omitempty"` // everybody sees addresses, not moderators only
	ChangeSubject bool    `json:"change_subject,omitempty"`
	AllowInvites  bool    `json:"allow_invites,omitempty"` // members invite others into a members-only room
	Archived      bool    `json:"archived,omitempty"`
	LockedNicks   bool    `json:"locked_nicks,omitempty"` // a user who has registered a nick bears that one
	PM            Role    `json:"pm"`                     // the least that may write to a single occupant; pmNobody
	MaxOccupants  int     `json:"max_occupants,omitempty"`
	History       int     `json:"history"`
	Broadcast     [4]bool `json:"broadcast"`       // by role: presence is shown to others
	GetMemberList [4]bool `json:"get_member_list"` // by role
	VoiceRequests bool    `json:"voice_requests,omitempty"`
	Registrations bool    `json:"registrations,omitempty"`
	Approval      bool    `json:"approval,omitempty"` // admins approve of every registration, see Room.guarded
	// XEP-0444 §2.2; zero values: all that there are.
	ReactionsPerUser int    `json:"reactions_per_user,omitempty"` // of one user to one message
	Reactions        string `json:"reactions,omitempty"`          // those that are allowed, one a line
}

const pmNobody = Moderator + 1

const defaultHistory = 20

// Limits are what the service allows the settings of a room.
type Limits struct {
	Occupants int
	History   int // messages that are shown to those who enter
}

// Defaults are the settings of an instant room (§10.1.2).
func Defaults(l Limits) Settings {
	everybody := [4]bool{Visitor: true, Participant: true, Moderator: true}
	return Settings{Public: true, Archived: true, PM: Visitor, History: min(defaultHistory, l.History),
		VoiceRequests: true, Registrations: true, Broadcast: everybody, GetMemberList: everybody}
}

const (
	prefix     = "muc#roomconfig_"
	maxHistory = "muc#maxhistoryfetch"
	nickLock   = "jackdaw#registered_nicks"
	voiceField = "jackdaw#voice_requests"
	registers  = "jackdaw#registration"
	approves   = "jackdaw#registration_approval"
	// COMPAT(Conversations 2.12): asks for an archive by this name.
	archiveAlias = prefix + "enablearchiving"
)

var pmNames = map[Role]string{Visitor: "anyone", Participant: "participants", Moderator: "moderators", pmNobody: "none"}

func truth(b bool) []string {
	if b {
		return []string{"1"}
	}
	return []string{"0"}
}

func some(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func rolesOf(set [4]bool) (names []string) {
	for _, r := range [...]Role{Moderator, Participant, Visitor} {
		if set[r] {
			names = append(names, r.String())
		}
	}
	return names
}

// form is what owners fill in (§10.1.3, §10.2).
func (c *Settings) form(room string, owners, admins []string, l Limits) *forms.Form {
	flag := func(name, label string, v bool) forms.Field {
		return forms.Field{Var: name, Type: "boolean", Label: label, Values: truth(v)}
	}
	text := func(name, kind, label, v string) forms.Field {
		return forms.Field{Var: name, Type: kind, Label: label, Values: some(v)}
	}
	roles := []forms.Option{{Label: "Moderators", Value: "moderator"}, {Label: "Participants", Value: "participant"},
		{Label: "Visitors", Value: "visitor"}}
	most := []forms.Option{{Label: "As many as the service allows", Value: "none"}}
	for _, n := range [...]int{10, 20, 50, 100, 200, 500, 1000} {
		if n <= l.Occupants {
			most = append(most, forms.Option{Value: strconv.Itoa(n)})
		}
	}
	occupants := "none"
	if c.MaxOccupants > 0 {
		occupants = strconv.Itoa(c.MaxOccupants)
		if !slices.ContainsFunc(most, func(o forms.Option) bool { return o.Value == occupants }) {
			most = append(most, forms.Option{Value: occupants})
		}
	}
	whois := "moderators"
	if c.NonAnonymous {
		whois = "anyone"
	}
	return &forms.Form{Kind: forms.Ask, Type: nsConfig, Title: "Configuration of " + room, Fields: []forms.Field{
		text(prefix+"roomname", "text-single", "Name", c.Name),
		text(prefix+"roomdesc", "text-single", "Description", c.Description),
		text(prefix+"lang", "text-single", "Language", c.Language),
		flag(prefix+"persistentroom", "The room stays when everybody has left", c.Persistent),
		flag(prefix+"publicroom", "The room is listed", c.Public),
		flag(prefix+"membersonly", "Only members may enter", c.MembersOnly),
		flag(prefix+"moderatedroom", "Only who has voice may speak", c.Moderated),
		flag(prefix+"passwordprotectedroom", "A password is needed to enter", c.Password != ""),
		text(prefix+"roomsecret", "text-private", "Password", c.Password),
		{Var: prefix + "whois", Type: "list-single", Label: "Who sees the addresses of occupants", Values: []string{whois},
			Options: []forms.Option{{Label: "Moderators", Value: "moderators"}, {Label: "Anyone", Value: "anyone"}}},
		flag(prefix+"changesubject", "Participants may change the subject", c.ChangeSubject),
		flag(prefix+"allowinvites", "Members may invite others", c.AllowInvites),
		{Var: prefix + "allowpm", Type: "list-single", Label: "Who may send private messages",
			Values: []string{pmNames[c.PM]},
			Options: []forms.Option{{Label: "Anyone", Value: "anyone"}, {Label: "Who has voice", Value: "participants"},
				{Label: "Moderators", Value: "moderators"}, {Label: "Nobody", Value: "none"}}},
		{Var: prefix + "maxusers", Type: "list-single", Label: "Occupants at most",
			Values: []string{occupants}, Options: most},
		{Var: prefix + "presencebroadcast", Type: "list-multi", Label: "Whose presence is shown",
			Values: rolesOf(c.Broadcast), Options: roles},
		{Var: prefix + "getmemberlist", Type: "list-multi", Label: "Who may see the list of members",
			Values: rolesOf(c.GetMemberList), Options: roles},
		flag(prefix+"enablelogging", "The room keeps an archive of what is said", c.Archived),
		text(maxHistory, "text-single", "Messages that are shown to who enters", strconv.Itoa(c.History)),
		flag(nickLock, "Who has registered a nick bears no other", c.LockedNicks),
		flag(voiceField, "Visitors may ask for voice", c.VoiceRequests),
		flag(registers, "Users may register to become members", c.Registrations),
		flag(approves, "Admins approve of every registration", c.Approval),
		text(reactionsMost, "text-single", "Reactions of one user to a message (0: any number)",
			strconv.Itoa(c.ReactionsPerUser)),
		{Var: reactionsField, Type: "text-multi", Label: "Reactions that are allowed, one a line (none: all)",
			Values: c.allowed()},
		{Var: prefix + "roomadmins", Type: "jid-multi", Label: "Admins", Values: admins},
		{Var: prefix + "roomowners", Type: "jid-multi", Label: "Owners", Values: owners},
	}}
}

const (
	maxText     = 1024 // bytes of a name, description or password
	maxAffected = 1000 // addresses of one form
)

// lists are the addresses that a form names, nil where it does not name any.
type lists struct{ owners, admins []jid.JID }

// read takes over what a submitted form says. What it does not name stays, and fields that are not ours are ignored
// (XEP-0004 §3.2).
func (c *Settings) read(f *forms.Form, l Limits) (out lists, bad *xmpp.Error) {
	protected, secret := c.Password != "", c.Password
	flags := map[string]*bool{
		prefix + "persistentroom": &c.Persistent, prefix + "publicroom": &c.Public, prefix + "membersonly": &c.MembersOnly,
		prefix + "moderatedroom": &c.Moderated, prefix + "passwordprotectedroom": &protected,
		prefix + "changesubject": &c.ChangeSubject, prefix + "allowinvites": &c.AllowInvites,
		prefix + "enablelogging": &c.Archived, archiveAlias: &c.Archived, nickLock: &c.LockedNicks,
		voiceField: &c.VoiceRequests, registers: &c.Registrations, approves: &c.Approval,
	}
	texts := map[string]*string{prefix + "roomname": &c.Name, prefix + "roomdesc": &c.Description,
		prefix + "lang": &c.Language, prefix + "roomsecret": &secret}
	unacceptable := func(f *forms.Field) (lists, *xmpp.Error) {
		return out, xmpp.NotAcceptable("the value of " + f.Var + " is not accepted")
	}
	for i := range f.Fields {
		field := &f.Fields[i]
		v := strings.TrimSpace(field.Value())
		ok := true
		switch name := field.Var; {
		case flags[name] != nil:
			*flags[name], ok = field.Bool()
		case texts[name] != nil:
			*texts[name] = strings.Join(field.Values, "\n")
			ok = len(*texts[name]) <= maxText
		case name == prefix+"whois":
			c.NonAnonymous, ok = v == "anyone", v == "anyone" || v == "moderators"
		case name == prefix+"allowpm":
			ok = false
			for r, s := range pmNames {
				if s == v {
					c.PM, ok = r, true
				}
			}
		case name == prefix+"maxusers":
			if c.MaxOccupants = 0; v != "none" && v != "" {
				n, err := strconv.Atoi(v)
				c.MaxOccupants, ok = min(n, l.Occupants), err == nil && n > 0
			}
		case name == maxHistory:
			n, err := strconv.Atoi(v)
			c.History, ok = min(n, l.History), err == nil && n >= 0
		case name == reactionsMost:
			n, err := strconv.Atoi(cmp.Or(v, "0"))
			c.ReactionsPerUser, ok = min(n, maxReactions), err == nil && n >= 0
		case name == reactionsField:
			c.Reactions, ok = readReactions(field.Values)
		case name == prefix+"presencebroadcast":
			c.Broadcast, ok = readRoles(field.Values)
		case name == prefix+"getmemberlist":
			c.GetMemberList, ok = readRoles(field.Values)
		case name == prefix+"roomadmins":
			out.admins, ok = readAddresses(field.Values)
		case name == prefix+"roomowners":
			out.owners, ok = readAddresses(field.Values)
		}
		if !ok {
			return unacceptable(field)
		}
	}
	switch {
	case !protected:
		c.Password = ""
	case secret == "": // §10.1.3
		return out, xmpp.NotAcceptable("a password is needed for a room that is protected by one")
	default:
		c.Password = secret
	}
	return out, nil
}

func readRoles(values []string) (set [4]bool, ok bool) {
	for _, v := range values {
		r, known := parseRole(v)
		if !known || r == NoRole {
			return set, v == "" || v == "none"
		}
		set[r] = true
	}
	return set, true
}

// readAddresses reads bare addresses; the result is not nil.
func readAddresses(values []string) (list []jid.JID, ok bool) {
	list = []jid.JID{}
	if len(values) > maxAffected {
		return nil, false
	}
	for _, v := range values {
		if v = strings.TrimSpace(v); v == "" {
			continue
		}
		j, err := jid.Parse(v)
		if err != nil || j.Local() == "" {
			return nil, false
		}
		list = append(list, j.Bare())
	}
	return list, true
}

// changed are the status codes by which a change of settings is told (§10.2.1).
func changed(was, is *Settings) (codes []int) {
	privacy := func(was, is bool, on, off int) {
		switch {
		case !was && is:
			codes = append(codes, on)
		case was && !is:
			codes = append(codes, off)
		}
	}
	privacy(was.Archived, is.Archived, 170, 171)
	privacy(was.NonAnonymous, is.NonAnonymous, 172, 173)
	a, b := *was, *is
	a.Archived, a.NonAnonymous = b.Archived, b.NonAnonymous
	if a != b {
		codes = append(codes, 104)
	}
	return codes
}
