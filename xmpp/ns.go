package xmpp

// Namespaces of RFC 6120 and RFC 6121.
const (
	NSXML          = "http://www.w3.org/XML/1998/namespace" // what the prefix xml stands for
	NSXMLNS        = "http://www.w3.org/2000/xmlns/"        // what the prefix xmlns stands for
	NSStream       = "http://etherx.jabber.org/streams"     // RFC 6120 §4.8.1, the stream's own
	NSClient       = "jabber:client"                        // RFC 6120 §4.8.2, content namespace of client streams
	NSServer       = "jabber:server"                        // RFC 6120 §4.8.2, content namespace of server streams
	NSTLS          = "urn:ietf:params:xml:ns:xmpp-tls"      // RFC 6120 §5
	NSSASL         = "urn:ietf:params:xml:ns:xmpp-sasl"     // RFC 6120 §6
	NSBind         = "urn:ietf:params:xml:ns:xmpp-bind"     // RFC 6120 §7
	NSSession      = "urn:ietf:params:xml:ns:xmpp-session"  // RFC 3921 §3, kept as an optional feature
	NSStreamErrors = "urn:ietf:params:xml:ns:xmpp-streams"  // RFC 6120 §4.9
	NSStanzaErrors = "urn:ietf:params:xml:ns:xmpp-stanzas"  // RFC 6120 §8.3
	NSRoster       = "jabber:iq:roster"                     // RFC 6121 §2
	NSRosterVer    = "urn:xmpp:features:rosterver"          // RFC 6121 §2.6.1, stream feature
	NSPreApproval  = "urn:xmpp:features:pre-approval"       // RFC 6121 §3.4, stream feature
	NSFraming      = "urn:ietf:params:xml:ns:xmpp-framing"  // RFC 7395, WebSocket
)

// Namespaces of the extensions, each beside its number.
const (
	NSDataForms       = "jabber:x:data"                            // XEP-0004
	NSLast            = "jabber:iq:last"                           // XEP-0012
	NSDiscoInfo       = "http://jabber.org/protocol/disco#info"    // XEP-0030
	NSDiscoItems      = "http://jabber.org/protocol/disco#items"   // XEP-0030
	NSAddress         = "http://jabber.org/protocol/address"       // XEP-0033
	NSMUC             = "http://jabber.org/protocol/muc"           // XEP-0045
	NSMUCUser         = "http://jabber.org/protocol/muc#user"      // XEP-0045
	NSPrivate         = "jabber:iq:private"                        // XEP-0049
	NSCommands        = "http://jabber.org/protocol/commands"      // XEP-0050
	NSVCard           = "vcard-temp"                               // XEP-0054
	NSRSM             = "http://jabber.org/protocol/rsm"           // XEP-0059
	NSPubSub          = "http://jabber.org/protocol/pubsub"        // XEP-0060
	NSPubSubEvent     = "http://jabber.org/protocol/pubsub#event"  // XEP-0060
	NSHeaders         = "http://jabber.org/protocol/shim"          // XEP-0131
	NSOOB             = "jabber:x:oob"                             // XEP-0066
	NSXHTMLIM         = "http://jabber.org/protocol/xhtml-im"      // XEP-0071
	NSRegister        = "jabber:iq:register"                       // XEP-0077
	NSRegisterFeature = "http://jabber.org/features/iq-register"   // XEP-0077, stream feature
	NSChatStates      = "http://jabber.org/protocol/chatstates"    // XEP-0085
	NSVersion         = "jabber:iq:version"                        // XEP-0092
	NSComponentAccept = "jabber:component:accept"                  // XEP-0114
	NSCaps            = "http://jabber.org/protocol/caps"          // XEP-0115
	NSHTTPBind        = "http://jabber.org/protocol/httpbind"      // XEP-0124
	NSVCardUpdate     = "vcard-temp:x:update"                      // XEP-0153
	NSServerInfo      = "http://jabber.org/network/serverinfo"     // XEP-0157, FORM_TYPE of the contact addresses
	NSReceipts        = "urn:xmpp:receipts"                        // XEP-0184
	NSBlocking        = "urn:xmpp:blocking"                        // XEP-0191
	NSBlockingErrors  = "urn:xmpp:blocking:errors"                 // XEP-0191
	NSSM              = "urn:xmpp:sm:3"                            // XEP-0198
	NSPing            = "urn:xmpp:ping"                            // XEP-0199
	NSTime            = "urn:xmpp:time"                            // XEP-0202
	NSDelay           = "urn:xmpp:delay"                           // XEP-0203
	NSBOSH            = "urn:xmpp:xbosh"                           // XEP-0206
	NSDialback        = "jabber:server:dialback"                   // XEP-0220
	NSDialbackFeature = "urn:xmpp:features:dialback"               // XEP-0220, stream feature
	NSCarbons         = "urn:xmpp:carbons:2"                       // XEP-0280
	NSCarbonsRules    = "urn:xmpp:carbons:rules:0"                 // XEP-0280, disco feature
	NSBidi            = "urn:xmpp:bidi"                            // XEP-0288
	NSBidiFeature     = "urn:xmpp:features:bidi"                   // XEP-0288, stream feature
	NSForward         = "urn:xmpp:forward:0"                       // XEP-0297
	NSCorrect         = "urn:xmpp:message-correct:0"               // XEP-0308
	NSMAM             = "urn:xmpp:mam:2"                           // XEP-0313
	NSMarkers         = "urn:xmpp:chat-markers:0"                  // XEP-0333
	NSHints           = "urn:xmpp:hints"                           // XEP-0334
	NSCSI             = "urn:xmpp:csi:0"                           // XEP-0352
	NSStanzaID        = "urn:xmpp:sid:0"                           // XEP-0359
	NSPARS            = "urn:xmpp:pars:0"                          // XEP-0379
	NSOMEMO           = "eu.siacs.conversations.axolotl"           // XEP-0384, the version in use
	NSBind2           = "urn:xmpp:bind:0"                          // XEP-0386
	NSSASL2           = "urn:xmpp:sasl:2"                          // XEP-0388
	NSChannelBinding  = "urn:xmpp:sasl-cb:0"                       // XEP-0440
	NSInvite          = "urn:xmpp:invite"                          // XEP-0401, before the # of its commands
	NSIBRToken        = "urn:xmpp:ibr-token:0"                     // XEP-0445, stream feature
	NSOutage          = "urn:xmpp:sos:0"                           // XEP-0455, FORM_TYPE
	NSStreamLimits    = "urn:xmpp:stream-limits:0"                 // XEP-0478
	NSSASLUpgrade     = "urn:xmpp:sasl:upgrade:0"                  // XEP-0480 §2
	NSScramUpgrade    = "urn:xmpp:scram-upgrade:0"                 // XEP-0480 §3
	NSFAST            = "urn:xmpp:fast:0"                          // XEP-0484
	NSClientAccess    = "urn:xmpp:cam:0"                           // XEP-0494
	NSNoReply         = "urn:xmpp:noreply:0"                       // XEP-0506, disco feature
	NSConfigVersion   = "urn:xmpp:iap:0"                           // XEP-0509
	NSNodes           = "urn:jackdaw:nodes"                        // what only nodes of one server say to each other
	FeatureMsgOffline = "msgoffline"                               // XEP-0160, disco feature (not a namespace)
	ALPNClient        = "xmpp-client"                              // XEP-0368 §4, ALPN of client streams
	ALPNServer        = "xmpp-server"                              // XEP-0368 §4, ALPN of server streams
	NSCapsFeature     = "http://jabber.org/protocol/caps#optimize" // XEP-0115 §8.4, disco feature
)

// names are strings that turn up in nearly every stream; Intern gives them out without an allocation.
var names = func() map[string]string {
	m := make(map[string]string)
	for _, s := range []string{
		NSXML, NSXMLNS, NSStream, NSClient, NSServer, NSTLS, NSSASL, NSBind, NSSession, NSStreamErrors, NSStanzaErrors,
		NSRoster, NSFraming, NSDataForms, NSLast, NSDiscoInfo, NSDiscoItems, NSAddress, NSMUC, NSMUCUser, NSPrivate,
		NSCommands, NSVCard, NSRSM, NSPubSub, NSPubSubEvent, NSOOB, NSXHTMLIM, NSRegister, NSChatStates, NSVersion,
		NSComponentAccept, NSCaps, NSHTTPBind, NSVCardUpdate, NSReceipts, NSBlocking, NSBlockingErrors, NSSM, NSPing,
		NSTime, NSDelay, NSBOSH, NSDialback, NSCarbons, NSCarbonsRules, NSForward, NSCorrect, NSMAM, NSMarkers, NSHints,
		NSCSI, NSStanzaID, NSOMEMO, NSBind2, NSSASL2, NSChannelBinding, NSStreamLimits, NSNoReply,
		"a", "active", "abort", "address", "addresses", "auth", "bind", "block", "blocklist", "body", "c",
		"category", "code", "composing", "data", "delay", "displayed", "enable", "enabled", "encrypted",
		"encryption", "error", "event", "failed", "feature", "field", "fin", "forwarded", "from", "gone", "group",
		"h", "hash", "header", "html", "id", "identity", "inactive", "iq", "item", "items", "iv", "jid", "key",
		"lang", "list", "markable", "max", "message", "mechanism", "name", "no-copy", "no-permanent-store",
		"no-store", "node", "nick", "option", "origin-id", "p", "password", "paused", "payload", "photo", "ping",
		"prefs", "presence", "priority", "private", "publish", "publish-options", "pubsub", "query", "r", "received",
		"replace", "request", "required", "resource", "response", "result", "resume", "resumed", "retract", "rid",
		"sent", "session", "set", "show", "sid", "stamp", "stanza-id", "starttls", "status", "store", "stream",
		"subject", "subscribe", "subscription", "success", "text", "thread", "time", "to", "type", "unblock",
		"unsubscribe", "url", "username", "value", "var", "vCard", "ver", "version", "x", "xml", "xmlns", "1.0",
		"en", "de", "chat", "get",
	} {
		m[s] = s
	}
	return m
}()

// Intern returns b as a string, without an allocation where it is one of the names and namespaces of common use.
func Intern(b []byte) string {
	if s, ok := names[string(b)]; ok {
		return s
	}
	return string(b)
}
