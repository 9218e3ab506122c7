package jid

import "strings"

var unescape = strings.NewReplacer(`\20`, " ", `\22`, `"`, `\26`, "&", `\27`, "'", `\2f`, "/", `\3a`, ":", `\3c`, "<",
	`\3e`, ">",
	`\40`, "@", `\5c`, `\`)

// Unescaped is the local part as people read it (XEP-0106 §4.3). It is for display alone: it is no part of an address.
func (j JID) Unescaped() string { return unescape.Replace(j.Local()) }
