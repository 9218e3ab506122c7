package archive

import "jackdaw/xmpp"

// worthKeeping says whether a message belongs into an archive (XEP-0313 §6.1.1). Rooms have their own, errors belong to
// none. A message that only tells a state, or only asks for a receipt, is none to be remembered; the receipt itself is,
// so that all clients know what has arrived.
//
// Hints (XEP-0334) are followed: no-store and no-permanent-store keep a message out, store gets
// one in. Retractions are kept whatever they say: XEP-0424 §6.
func worthKeeping(s *xmpp.Stanza) bool {
	if s.Type == xmpp.TypeError || s.Type == xmpp.TypeGroupchat {
		return false
	}
	children := s.Children
	if children == nil {
		children = xmpp.Index(s.Payload)
	}
	var content, retraction, passing, noStore, store bool
	for _, c := range children {
		switch c.Name.Space {
		case xmpp.NSHints:
			passing = passing || c.Name.Local == "no-permanent-store"
			noStore = noStore || c.Name.Local == "no-store"
			store = store || c.Name.Local == "store"
		case nsRetract:
			retraction = retraction || c.Name.Local == "retract"
		case xmpp.NSReceipts:
			content = content || c.Name.Local == "received"
		case xmpp.NSMarkers:
			content = content || c.Name.Local != "markable"
		case xmpp.NSClient:
			content = content || c.Name.Local != "thread" // XEP-0085 §5.6: goes with a state
		case xmpp.NSChatStates, xmpp.NSStanzaID, xmpp.NSDelay, xmpp.NSAddress, xmpp.NSPubSubEvent:
		default:
			content = true
		}
	}
	switch {
	case retraction:
		return true
	case passing:
		return false
	case s.Type == xmpp.TypeHeadline:
		return store
	}
	return store || content && !noStore
}
