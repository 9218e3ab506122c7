// Package tokens has the tokens of programs (router/tokens) move with their accounts: what is kept of one, which is a
// digest, goes into exports and comes out of them, so that programs need not be visited when a host moves to another
// server.
//
// Left out: how often and when tokens were used, which begins anew.
package tokens

import (
	"context"
	"encoding/base64"
	"errors"
	"net/netip"
	"strconv"
	"time"

	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	known "jackdaw/router/tokens"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Name is that of the module.
const Name = "tokens"

// Known are the tokens that the server knows: router/tokens.
type Known interface {
	Kept(ctx context.Context, owner jid.JID) ([]known.Kept, error)
	Restore(ctx context.Context, k known.Kept, dry bool) (came bool, pendings []*storage.Pending, err error)
}

// Options of New; all are needed.
type Options struct {
	Known Known
}

type module struct{ Options }

// Of makes the module of a server. It opens the space, so that what users have there is counted.
func Of(p parts.Parts) router.Module {
	p.Store.Map(known.Space)
	return New(Options{Known: p.Tokens})
}

// New returns the module.
func New(o Options) router.Module {
	m := &module{o}
	return router.Module{Name: Name, Portable: []router.Portable{{
		Spaces: []string{"map " + known.Space},
		Export: m.exported,
		Import: []router.Section{{Name: tokensName, What: "tokens", Depth: 1, Import: m.imported}},
	}}}
}

// tokensName is ours: XEP-0227 has no place for tokens.
var tokensName = xmpp.Name{Space: router.NSPortable, Local: "tokens"}

func (m *module) exported(ctx context.Context, user jid.JID, put func([]byte) error) error {
	list, err := m.Known.Kept(ctx, user)
	if err != nil || len(list) == 0 {
		return err
	}
	w := xmpp.NewWriter(nil).Start(tokensName.Space, tokensName.Local)
	for _, k := range list {
		w.Start("", "token").Attr("sha256", base64.StdEncoding.EncodeToString(k.SHA256[:])).Attr("kind", string(k.Kind)).
			Attr("created", xmpp.FormatTime(k.Created))
		for _, a := range [...][2]string{{"label", k.Label}, {"hook", k.Hook}, {"successor", k.Successor}} {
			if a[1] != "" {
				w.Attr(a[0], a[1])
			}
		}
		if !k.Expires.IsZero() {
			w.Attr("expires", xmpp.FormatTime(k.Expires))
		}
		w.Attr("every", k.Rate.Every.String()).Attr("burst", strconv.Itoa(k.Rate.Burst))
		if k.MaxBytes > 0 {
			w.Attr("max-bytes", strconv.Itoa(k.MaxBytes))
		}
		for _, s := range k.Scopes.List() {
			w.Start("", "scope").Text(s).End()
		}
		for _, p := range k.CIDRs {
			w.Start("", "network").Text(p.String()).End()
		}
		w.End()
	}
	return put(w.End().Bytes())
}

func (m *module) imported(ctx context.Context, in *router.Incoming) error {
	k, err := read(in.Element)
	if err != nil {
		in.Refuse("a token cannot be read: %v", err)
		return nil
	}
	k.Owner = in.User
	came, pendings, err := m.Known.Restore(ctx, k, in.Dry)
	var bad known.Refused
	switch {
	case errors.As(err, &bad):
		in.Refuse("%v", bad)
		return nil
	case err != nil:
		return err
	case !came:
		in.Had++
		return nil
	}
	in.Take(nil)
	in.Writes = append(in.Writes, pendings...)
	return nil
}

// read reads what exported has written.
func read(el *xmpp.Element) (k known.Kept, err error) {
	sum, err := base64.StdEncoding.DecodeString(el.Attr("sha256"))
	if err != nil || len(sum) != len(k.SHA256) || el.Name.Local != "token" {
		return k, errors.New("it has no SHA-256")
	}
	copy(k.SHA256[:], sum)
	k.Kind, k.Hook = known.Kind(el.Attr("kind")), el.Attr("hook")
	k.Label, k.Successor = el.Attr("label"), el.Attr("successor")
	if k.Created, err = xmpp.ParseTime(el.Attr("created")); err != nil {
		return k, err
	}
	if s := el.Attr("expires"); s != "" {
		if k.Expires, err = xmpp.ParseTime(s); err != nil {
			return k, err
		}
	}
	if k.Rate.Every, err = time.ParseDuration(el.Attr("every")); err != nil {
		return k, err
	}
	if k.Rate.Burst, err = strconv.Atoi(el.Attr("burst")); err != nil {
		return k, err
	}
	if s := el.Attr("max-bytes"); s != "" {
		if k.MaxBytes, err = strconv.Atoi(s); err != nil {
			return k, err
		}
	}
	var scopes []string
	for _, c := range el.Children() {
		switch c.Name.Local {
		case "scope":
			scopes = append(scopes, c.Text())
		case "network":
			p, err := netip.ParsePrefix(c.Text())
			if err != nil {
				return k, err
			}
			k.CIDRs = append(k.CIDRs, p.Masked())
		}
	}
	k.Scopes, err = known.ParseScopes(scopes...)
	return k, err
}
