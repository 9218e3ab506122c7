package server

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"jackdaw/admin/console"
	"jackdaw/router/space"
	"jackdaw/server/doctor"
	"jackdaw/storage"
)

// newConsole makes the console, which is reached while web.admin is on, and what it tells of.
func (h *house) newConsole() {
	if h.o.record == nil {
		h.o.record = new(console.Record)
	}
	h.past = &console.History{Messages: h.router.Stats.Routed[0].Load, // messages
		Free:     h.space.Free,
		Sessions: func() int64 { return int64(h.router.SessionCount()) }}
	h.console = console.New(console.Options{Site: h.pages.site, Admin: h.admin, Accounts: h.accounts, Config: h.cfg.Load,
		Facts: facts{h, time.Now()}, Record: h.o.record, Past: h.past, Log: h.o.Log})
}

// observe has the metrics and the console hear how long writes take.
func (h *house) observe() {
	o, ok := h.store.(storage.Observer)
	if !ok {
		return
	}
	o.Observe(func(d time.Duration) {
		h.past.Committed(d)
		if h.metrics != nil {
			h.metrics.commit.Observe(d.Seconds())
		}
	})
}

// facts are what the console tells of the server.
type facts struct {
	h     *house
	since time.Time
}

// About implements console.Facts.
func (f facts) About() console.About {
	a := console.About{Version: f.h.o.Version, Storage: f.h.store.Promise(), Since: f.since}
	if f.h.o.Commit != "" {
		a.Version += " (" + f.h.o.Commit + ")"
	}
	if err := f.h.store.Err(); err != nil {
		a.Broken = err.Error()
	}
	switch f.h.space.Level() {
	case space.Scarce:
		a.Room = "The disk is getting full: files are refused. Make room."
	case space.Low:
		a.Room = "The disk is nearly full: archives pause, and nothing new is published. Make room."
	case space.Out:
		a.Room = "The disk is full but for the last reserve: messages for users who are away are refused. Make room now."
	}
	return a
}

// Certificates implements console.Facts.
func (f facts) Certificates() (all []console.Certificate) {
	for _, c := range f.h.certs.inUse() {
		one := console.Certificate{Host: c.domain, From: c.file, Issuer: c.leaf.Issuer.String(), Names: c.leaf.DNSNames,
			Until: c.leaf.NotAfter}
		for _, ip := range c.leaf.IPAddresses {
			one.Names = append(one.Names, ip.String())
		}
		switch {
		case c.issued:
			one.From = "it came by itself (acme)"
		case c.file == "":
			one.From = "self-signed, of this server's making"
		}
		if n, ok := c.notice(time.Now()); !ok {
			one.Problem, one.Do, one.Refused = n.problem, n.do, n.refused
		}
		all = append(all, one)
	}
	for _, s := range f.h.issued.Status() {
		if s.Problem == "" {
			continue
		}
		one := console.Certificate{Host: s.Name, From: "not obtained (acme)", Until: s.Until, Problem: s.Problem, Do: s.Do}
		if s.Leaf != nil {
			one.From, one.Issuer, one.Names = "not renewed (acme)", s.Leaf.Issuer.String(), s.Leaf.DNSNames
		}
		one.Refused = s.Leaf == nil || time.Now().After(s.Until)
		all = append(all, one)
	}
	return all
}

// maxWalk is how many files Disk looks at.
const maxWalk = 200_000

// Disk implements console.Facts.
func (f facts) Disk(ctx context.Context) console.Disk {
	d := console.Disk{Path: f.h.cfg.Load().Data, Free: f.h.space.Free()}
	entries, err := os.ReadDir(d.Path)
	if err != nil {
		d.Incomplete = true
		return d
	}
	n := 0
	for _, e := range entries {
		part := console.Part{Name: e.Name()}
		err := filepath.WalkDir(filepath.Join(d.Path, e.Name()), func(_ string, one fs.DirEntry, err error) error {
			if err != nil || !one.Type().IsRegular() { // it has gone since
				return nil
			}
			if n++; n > maxWalk || ctx.Err() != nil {
				return errors.New("enough")
			}
			if info, err := one.Info(); err == nil {
				part.Files++
				part.Bytes += info.Size()
			}
			return nil
		})
		d.Incomplete = d.Incomplete || err != nil
		if part.Files > 0 {
			d.Parts = append(d.Parts, part)
		}
	}
	return d
}

// Doctor implements console.Facts.
func (f facts) Doctor(ctx context.Context) (all []console.Finding) {
	cfg := f.h.cfg.Load()
	for _, host := range cfg.Hosts {
		for _, one := range doctor.Examine(ctx, Patient(cfg, host.Domain, os.Getpid())) {
			all = append(all, console.Finding{Level: string(one.Level), Domain: one.Domain, What: visible(one.What),
				Why: visible(one.Why), Do: visible(one.Do)})
		}
	}
	return all
}

// visible is what others said, without what is not to be seen.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
