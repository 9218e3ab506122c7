package room

import "jackdaw/xmpp"

// Names of elements that mean something to a room. The first of them are the room's own to say (§17.3).
var (
	JoinName     = xmpp.Name{Space: xmpp.NSMUC, Local: "x"}
	UserName     = xmpp.Name{Space: xmpp.NSMUCUser, Local: "x"}
	OccupantName = xmpp.Name{Space: nsOccupant, Local: "occupant-id"}
	hatsName     = xmpp.Name{Space: nsHats, Local: "hats"}

	BodyName     = xmpp.Name{Space: xmpp.NSClient, Local: "body"}
	SubjectName  = xmpp.Name{Space: xmpp.NSClient, Local: "subject"}
	threadName   = xmpp.Name{Space: xmpp.NSClient, Local: "thread"}
	inviteName   = xmpp.Name{Space: xmpp.NSMUCUser, Local: "invite"}
	CardName     = xmpp.Name{Space: xmpp.NSVCard, Local: "vCard"}
	PingName     = xmpp.Name{Space: xmpp.NSPing, Local: "ping"}
	delayName    = xmpp.Name{Space: xmpp.NSDelay, Local: "delay"}
	stanzaIDName = xmpp.Name{Space: xmpp.NSStanzaID, Local: "stanza-id"}
	storeHint    = xmpp.Name{Space: xmpp.NSHints, Local: "store"}
	noStoreHint  = xmpp.Name{Space: xmpp.NSHints, Local: "no-store"}

	AdminQuery   = xmpp.Name{Space: nsAdmin, Local: "query"}
	OwnerQuery   = xmpp.Name{Space: nsOwner, Local: "query"}
	CommandName  = xmpp.Name{Space: xmpp.NSCommands, Local: "command"}
	ModerateName = xmpp.Name{Space: nsModerate, Local: "moderate"}
	RetractName  = xmpp.Name{Space: nsRetract, Local: "retract"}

	FastenedName    = xmpp.Name{Space: nsFasten, Local: "apply-to"}
	OldModerateName = xmpp.Name{Space: nsOldModerate, Local: "moderate"}
	OldRetractName  = xmpp.Name{Space: nsOldRetract, Local: "retract"}
)

const (
	nsOwner    = "http://jabber.org/protocol/muc#owner"
	nsAdmin    = "http://jabber.org/protocol/muc#admin"
	nsInfo     = "http://jabber.org/protocol/muc#roominfo"
	nsConfig   = "http://jabber.org/protocol/muc#roomconfig"
	nsOccupant = "urn:xmpp:occupant-id:0"
	nsHats     = "urn:xmpp:hats:0"
	nsSelfPing = "http://jabber.org/protocol/muc#self-ping-optimization"
	nsModerate = "urn:xmpp:message-moderate:1"
	nsRetract  = "urn:xmpp:message-retract:1"
	// COMPAT(slixmpp 1.8): knows version 0.2 of XEP-0425 alone, which fastens what it says to the message (XEP-0422).
	nsOldModerate = "urn:xmpp:message-moderate:0"
	nsOldRetract  = "urn:xmpp:message-retract:0"
	nsFasten      = "urn:xmpp:fasten:0"

	// NSStableID is the feature of a service whose rooms keep the ids of messages (§18.4).
	NSStableID = "http://jabber.org/protocol/muc#stable_id"
	// NSOccupant is the feature of XEP-0421.
	NSOccupant = nsOccupant
	// NSRequest is the type of the form of §7.13, NSRegister that of §7.10 and §9.9.
	NSRequest  = "http://jabber.org/protocol/muc#request"
	NSRegister = "http://jabber.org/protocol/muc#register"
)

// cut returns the payload without the children of these names, always a copy.
func cut(s *xmpp.Stanza, names ...xmpp.Name) []byte {
	p := s.Without(names...)
	return append(make([]byte, 0, len(p)+256), p...)
}
