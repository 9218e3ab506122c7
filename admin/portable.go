package admin

import (
	"context"
	"fmt"
	"io"

	"jackdaw/portable"
	"jackdaw/xmpp/jid"
)

func (s *Service) portable() *portable.Server {
	return &portable.Server{Accounts: s.o.Accounts, Parts: s.o.Kept.Portable(),
		Served: func(domain string) bool { return s.o.Config().Host(domain) != nil },
		Home:   s.o.Accounts.IsHome}
}

// Export writes accounts with all that is kept of them (XEP-0227): those named, each an account or a domain, or all. A
// domain comes with its rooms.
func (s *Service) Export(ctx context.Context, by By, only []string, out io.Writer,
	progress func(portable.Progress)) error {
	o := portable.ExportOptions{Progress: progress}
	hosts := map[string]bool{}
	for _, name := range only {
		j, err := jid.Parse(name)
		switch {
		case err != nil || j.Resource() != "":
			return fmt.Errorf("%q is neither an account nor a domain", name)
		case j.Local() == "":
			err = s.served(j.Domain())
		default:
			_, err = s.o.Accounts.Get(ctx, j)
		}
		if err != nil {
			return err
		}
		hosts[j.Domain()] = true
		o.Only = append(o.Only, j)
	}
	if len(only) == 0 {
		for _, h := range s.o.Config().Hosts {
			hosts[h.Domain] = true
		}
	}
	for host := range hosts {
		o.Hosts = append(o.Hosts, host)
	}
	return s.said(portable.Export(ctx, s.portable(), out, o), by, "accounts exported", "only", only)
}

// Import reads a file of XEP-0227, one that includes no others, and stores what is in it beside what is there; with dry
// it only says what it would do. The report is never nil. Where there are several nodes each stores what is at home
// there: the file goes to all of them.
func (s *Service) Import(ctx context.Context, by By, file io.Reader, dry bool, progress func(portable.Progress)) (
	*portable.Report, error) {
	o := portable.ImportOptions{Dry: dry, Progress: progress}
	if s.o.Elsewhere == nil {
		return s.imported(ctx, by, file, o)
	}
	in, done := s.o.Elsewhere.Import(ctx, by, file, dry)
	report, err := s.imported(ctx, by, in, o)
	others, failed := done(err)
	for _, there := range others {
		report.Merge(there)
	}
	if err == nil { // else the others say no more than that the file ends
		err = failed
	}
	return report, err
}

// ImportHere is Import of what is at home at this node, for another one that reports what is wrong with the file.
func (s *Service) ImportHere(ctx context.Context, by By, file io.Reader, dry bool) (*portable.Report, error) {
	return s.imported(ctx, by, file, portable.ImportOptions{Dry: dry, Beside: true})
}

func (s *Service) imported(ctx context.Context, by By, file io.Reader, o portable.ImportOptions) (
	*portable.Report, error) {
	report, err := portable.Import(ctx, s.portable(), file, o)
	if o.Dry {
		return report, err
	}
	return report, s.said(err, by, "accounts imported", "new", report.Accounts.Came, "there", report.Accounts.There)
}
