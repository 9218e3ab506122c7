package c2s

import (
	"encoding/base64"
	"slices"
	"strconv"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

// upgradeName is the task by which a client gives us keys of a hash (XEP-0480 §2.1).
func upgradeName(h sasl.Hash) string { return "UPGR-" + string(sasl.Scram(h, false)) }

// upgrade has a client that asks for it provide keys which its account lacks, before the login is over (XEP-0480 §3).
// last goes with the first <continue/>, and what is returned with the success. ok is false where the attempt has failed
// and the client has been told.
//
// Only who has proved to know the password may do it: what the client gives us cannot be checked against it.
func (g *greeting) upgrade(user jid.JID, tasks []string, last []byte) (rest []byte, ok bool, err error) {
	if g.how != sasl.Plain && g.how.Hash() == 0 || len(tasks) == 0 {
		return last, true, nil
	}
	ctx, cancel := g.srv.within(g.srv.limits().AuthTime)
	defer cancel()
	held, err := g.srv.accounts.Keyring(ctx, user)
	if err != nil {
		return nil, false, g.declined(sasl.TemporaryAuthFailure, user.Local())
	}
	for _, h := range [...]sasl.Hash{sasl.SHA256, sasl.SHA512} {
		name := upgradeName(h)
		if held.Has(h) || !slices.Contains(tasks, name) {
			continue
		}
		g.out = append(g.out, "<continue xmlns='"+xmpp.NSSASL2+"'>"...)
		if last != nil {
			g.out = append(g.out, "<additional-data>"...)
			g.out = append(base64.StdEncoding.AppendEncode(g.out, last), "</additional-data>"...)
			last = nil
		}
		g.out = append(g.out, "<tasks><task>"+name+"</task></tasks></continue>"...)
		next, err := g.step("next", user.Local())
		switch {
		case err != nil || next == nil:
			return nil, false, err
		case next.Attr("task") != name: // XEP-0388 §2.6.3: one of those that were offered
			return nil, false, g.declined(sasl.MalformedRequest, user.Local())
		}
		salt, iterations := g.srv.accounts.NewSalt()
		g.out = append(g.out, "<task-data xmlns='"+xmpp.NSSASL2+"'><salt xmlns='"+xmpp.NSScramUpgrade+"' iterations='"...)
		g.out = append(strconv.AppendInt(g.out, int64(iterations), 10), "'>"...)
		g.out = append(base64.StdEncoding.AppendEncode(g.out, salt), "</salt></task-data>"...)
		data, err := g.step("task-data", user.Local())
		if err != nil || data == nil {
			return nil, false, err
		}
		hash := data.Child(xmpp.Name{Space: xmpp.NSScramUpgrade, Local: "hash"})
		if hash == nil {
			return nil, false, g.declined(sasl.MalformedRequest, user.Local())
		}
		salted, right := decode(hash.Text())
		if !right || len(salted) != h.Size() {
			return nil, false, g.declined(sasl.IncorrectEncoding, user.Local())
		}
		if err := g.srv.accounts.AddKeys(ctx, user, held, sasl.SaltedKeys(h, salted, salt, iterations)); err != nil {
			return nil, false, g.declined(sasl.TemporaryAuthFailure, user.Local())
		}
	}
	return last, true, nil
}
