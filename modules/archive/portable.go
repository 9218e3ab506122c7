package archive

import (
	"context"
	"errors"
	"strconv"
	"time"

	"jackdaw/modules/internal/mam"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// nsPieMAM is that of archives in exports (XEP-0227 §4.11).
const nsPieMAM = mam.NSPie

func (a *Archive) portable() []router.Portable {
	return []router.Portable{{
		Spaces: []string{"log archive"},
		Export: a.exported,
		Import: []router.Section{{Name: xmpp.Name{Space: nsPieMAM, Local: "archive"}, What: "archived messages", Depth: 1,
			Import: a.imported}},
	}, {
		Spaces: []string{"map archive-prefs"},
		Export: a.exportPrefs,
		Import: []router.Section{
			{Name: xmpp.Name{Space: xmpp.NSMAM, Local: "prefs"}, What: "preferences of archives", Import: a.importPrefs},
			{Name: keepName, What: "times for which messages stay", Import: a.importKeep},
		},
	}, {
		Spaces: []string{"log archive-index", "map archive-index"},
		Stays:  "it is made of the archive",
	}}
}

func (a *Archive) exported(ctx context.Context, user jid.JID, put func([]byte) error) error {
	return mam.Export(ctx, a.o.Messages, user.String(), false, put, func(id uint64, err error) {
		a.o.Log.Warn("a message is not exported", "owner", user, "id", id, "error", err)
	})
}

func (a *Archive) imported(ctx context.Context, in *router.Incoming) error {
	s, id, ok := mam.Imported(in)
	if !ok {
		return nil
	}
	with := s.From
	if s.From.IsZero() || s.From.MatchesBare(in.User) {
		if with = s.To; with.IsZero() {
			with = in.User
		}
	}
	owner := in.User.String()
	a.search.grown(owner)
	return in.Append(ctx, a.o.Messages, owner, storage.Record{ID: id, Peer: with.Bare().String(),
		Data: mam.AppendMessage(nil, a.clean(s, owner))})
}

// keepName is ours: how long an administrator has messages of the user stay, in seconds.
var keepName = xmpp.Name{Space: router.NSPortable, Local: "keep"}

func (a *Archive) importKeep(ctx context.Context, in *router.Incoming) error {
	seconds, err := strconv.ParseInt(in.Element.Text(), 10, 64)
	if err != nil || seconds < 0 || seconds > int64(MaxKeep/time.Second) {
		in.Refuse("a time for which messages stay is none")
		return nil
	}
	switch _, own, err := a.KeepOf(ctx, in.User); {
	case err != nil:
		return err
	case own:
		in.Had++
		return nil
	case in.Dry:
		in.Take(nil)
		return nil
	}
	in.Take(nil)
	return a.SetKeep(ctx, in.User, time.Duration(seconds)*time.Second, true)
}

func (a *Archive) exportPrefs(ctx context.Context, user jid.JID, put func([]byte) error) error {
	keep, own, err := a.KeepOf(ctx, user)
	if err == nil && own {
		w := xmpp.NewWriter(nil).Leaf(keepName.Space, keepName.Local, strconv.FormatInt(int64(keep/time.Second), 10))
		err = put(w.Bytes())
	}
	if err != nil {
		return err
	}
	_, err = a.o.Prefs.Get(ctx, user.String(), prefsKey)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	p, err := a.prefs.Get(user.String())
	if err != nil {
		return err
	}
	return put(p.payload())
}

func (a *Archive) importPrefs(ctx context.Context, in *router.Incoming) error {
	p, bad := parsePrefs(in.Element)
	if bad != nil {
		in.Refuse("%s", bad.Text)
		return nil
	}
	switch _, err := a.o.Prefs.Get(ctx, in.User.String(), prefsKey); {
	case err == nil:
		in.Had++
		return nil
	case !errors.Is(err, storage.ErrNotFound):
		return err
	case in.Dry:
		in.Take(nil)
		return nil
	}
	pending, err := a.prefs.set(in.User.String(), p)
	if err != nil {
		return err
	}
	in.Take(pending)
	return nil
}
