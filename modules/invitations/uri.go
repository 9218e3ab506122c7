package invitations

import (
	"errors"
	"net/url"
	"strings"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// Path is what the paths of the pages begin with; the token follows.
const Path = "/invite/"

// uri is what clients take (XEP-0401 §5.1, §5.4; XEP-0445). registers says whether accounts are made now.
func (v *Invitation) uri(token string, registers bool) string {
	if v.Kind == Contact || v.Kind == Account && v.Name == "" && !v.Contact.IsZero() {
		uri := "xmpp:" + address(v.Contact) + "?roster;preauth=" + token
		if v.Kind == Account && registers {
			uri += ";ibr=y"
		}
		return uri
	}
	whose := v.Host
	if v.Name != "" {
		if j, err := jid.New(v.Name, v.Host, ""); err == nil { // always: it was one before
			whose = address(j)
		}
	}
	return "xmpp:" + whose + "?register;preauth=" + token
}

// address is a bare address as a URI has it (RFC 5122 §2.2).
func address(j jid.JID) string {
	return strings.ReplaceAll(url.QueryEscape(j.Local()), "+", "%20") + "@" + j.Domain()
}

// notFoundIsNo is an error of a store, but for that something is not there.
func notFoundIsNo(err error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}
