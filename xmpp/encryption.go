package xmpp

import "strings"

// Encrypted says whether an element of this name is an encrypted message or says that there is one (XEP-0380 §4, table
// 1). The body beside it is what those clients show that cannot read it.
func Encrypted(n Name) bool {
	switch n.Local {
	case "encrypted":
		return n.Space == NSOMEMO || strings.HasPrefix(n.Space, "urn:xmpp:omemo:")
	case "openpgp":
		return n.Space == "urn:xmpp:openpgp:0"
	case "x":
		return n.Space == "jabber:x:encrypted" // XEP-0027
	case "encryption":
		return n.Space == "urn:xmpp:eme:0"
	}
	return n.Space == "urn:xmpp:otr:0"
}
