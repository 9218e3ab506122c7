package portable

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strconv"

	"jackdaw/router/accounts"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// ExportOptions of Export.
type ExportOptions struct {
	// Hosts are those to write. Only, if there are any, are the only accounts and domains of them.
	Hosts    []string
	Only     []jid.JID
	Progress func(Progress)
}

// exporter is one run.
type exporter struct {
	*Server
	o        ExportOptions
	out      *bufio.Writer
	progress Progress
}

// Export writes all of the accounts, in the order of their names. What was acknowledged before the turn of an account
// came is in it; what happens meanwhile may be.
func Export(ctx context.Context, s *Server, file io.Writer, o ExportOptions) error {
	ex := &exporter{Server: s, o: o, out: bufio.NewWriterSize(file, 64<<10)}
	ex.print("<?xml version='1.0' encoding='UTF-8'?>\n<server-data xmlns='" + NSPie + "'>\n")
	for _, host := range slices.Sorted(slices.Values(o.Hosts)) {
		if err := ex.host(ctx, host); err != nil {
			return err
		}
	}
	ex.print("</server-data>\n")
	return ex.out.Flush()
}

func (ex *exporter) print(s string) { _, _ = ex.out.WriteString(s) } // Flush returns the error

func (ex *exporter) put(b []byte) error {
	_, err := ex.out.Write(b)
	if ex.progress.Things++; ex.o.Progress != nil {
		ex.o.Progress(ex.progress)
	}
	return err
}

func (ex *exporter) host(ctx context.Context, host string) error {
	whole := len(ex.o.Only) == 0 || slices.ContainsFunc(ex.o.Only, func(j jid.JID) bool { return j.String() == host })
	ex.print("<host jid='" + string(xmpp.AppendAttr(nil, host)) + "'>\n")
	err := ex.Accounts.Each(ctx, host, func(user jid.JID) error {
		if whole || slices.Contains(ex.o.Only, user) {
			return ex.user(ctx, user)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range ex.Parts {
		if p.ExportHost != nil && whole {
			if err := p.ExportHost(ctx, host, ex.put); err != nil {
				return err
			}
		}
	}
	ex.print("</host>\n")
	return nil
}

func (ex *exporter) user(ctx context.Context, user jid.JID) error {
	a, err := ex.Accounts.Whole(ctx, user)
	if errors.Is(err, accounts.ErrNotFound) {
		return nil // removed meanwhile
	}
	if err != nil {
		return err
	}
	ex.progress.Now = user.String()
	ex.print("<user name='" + string(xmpp.AppendAttr(nil, user.Local())) + "'>")
	if err := ex.put(account(a)); err != nil {
		return err
	}
	for _, p := range ex.Parts {
		if p.Export == nil {
			continue
		}
		if err := p.Export(ctx, user, ex.put); err != nil {
			return err
		}
	}
	ex.print("</user>\n")
	ex.progress.Accounts++
	if ex.o.Progress != nil {
		ex.o.Progress(ex.progress)
	}
	return nil
}

// account writes what an account is without what modules keep.
func account(a storage.Account) []byte {
	w := xmpp.NewWriter(nil)
	for i, c := range a.Credentials {
		// One of each mechanism; a second form of the password is of a client that prepares it in another way.
		if slices.ContainsFunc(a.Credentials[:i], func(o storage.Credential) bool { return o.Hash == c.Hash }) {
			continue
		}
		keys(w, NSScram, "scram-credentials", c)
	}
	w.Start(NS, "account")
	if a.Disabled {
		w.Attr("disabled", "true")
	}
	w.Attr("created", xmpp.FormatTime(a.Created))
	if !a.Changed.IsZero() {
		w.Attr("password-set", xmpp.FormatTime(a.Changed))
	}
	for _, p := range a.Permissions {
		w.Leaf("", "permission", p)
	}
	for i, c := range a.Credentials {
		if slices.ContainsFunc(a.Credentials[:i], func(o storage.Credential) bool { return o.Hash == c.Hash }) {
			keys(w, "", "other-form", c)
		}
	}
	return w.End().Bytes()
}

func keys(w *xmpp.Writer, space, local string, c storage.Credential) {
	text := base64.StdEncoding.EncodeToString
	w.Start(space, local).Attr("mechanism", "SCRAM-"+c.Hash)
	w.Leaf("", "iter-count", strconv.Itoa(c.Iterations)).Leaf("", "salt", text(c.Salt))
	w.Leaf("", "server-key", text(c.ServerKey)).Leaf("", "stored-key", text(c.StoredKey)).End()
}
