package server

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"jackdaw/config"
	"jackdaw/router"
	"jackdaw/xmpp/stream"
)

// reload takes up the configuration and the certificates as the files are now. A host that has accounts or sessions
// goes only with dropHost: a slip in the file must not lock its users out.
func (h *house) reload(dropHost bool) (warnings []string, err error) {
	h.reloads.Lock()
	defer h.reloads.Unlock()
	cfg, err := h.o.Load()
	if err != nil {
		return nil, err
	}
	notes := config.KeepRunning(h.cfg.Load(), cfg)
	options, err := AccountOptions(cfg, h.o.Log)
	if err != nil {
		return nil, err
	}
	dropped, err := h.dropped(cfg, dropHost)
	if err != nil {
		return nil, err
	}
	issued, err := acmeSettings(cfg)
	if err != nil {
		return nil, err
	}
	if err := h.certs.Reload(cfg); err != nil {
		return nil, err
	}
	if err := h.issued.Configure(issued); err != nil {
		return nil, err
	}
	if err := h.accounts.SetOptions(options); err != nil {
		return nil, err
	}
	h.router.SetHosts(domains(cfg))
	h.router.SetMaxSessions(cfg.Limits.ResourcesPerAccount)
	h.clients.SetOptions(cfg.C2S, cfg.Limits)
	h.posts.Configure(postSettings(cfg))
	h.cfg.Store(cfg)
	h.lookForCalls()
	h.router.Use(h.modules()...) // as the configuration now in force says
	h.features.Reloaded()
	h.programs.Reload()
	if h.o.Level != nil {
		h.o.Level.Set(logLevel(cfg))
	}
	for _, s := range dropped {
		s.End(string(stream.HostGone), "")
	}
	h.sayWhereFilesAre()
	warnings = append(slices.Clone(cfg.Warnings), notes...)
	for _, w := range warnings {
		h.o.Log.Warn("configuration", "note", w)
	}
	warnings = append(warnings, h.readPages(cfg)...)
	warnings = append(warnings, h.sayCertificates()...)
	warnings = append(warnings, h.sayAdmins(context.Background())...)
	h.sayCertificatesInUse()
	h.o.Log.Info("configuration reloaded")
	return warnings, nil
}

// logLevel is that of a checked configuration.
func logLevel(cfg *config.Config) slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
		return slog.LevelInfo
	}
	return level
}

// dropped are the sessions of hosts that next has no more. It refuses a host with accounts or sessions, unless anyway.
func (h *house) dropped(next *config.Config, anyway bool) (sessions []*router.Session, err error) {
	live := map[string]int{}
	h.router.EachSession(func(s *router.Session) bool {
		if domain := s.Bare().Domain(); next.Host(domain) == nil {
			sessions = append(sessions, s)
			live[domain]++
		}
		return true
	})
	if anyway {
		return sessions, nil
	}
	const enough = 1000 // nobody needs to know how many more there are
	var lost []string
	for _, old := range h.cfg.Load().Hosts {
		if next.Host(old.Domain) != nil {
			continue
		}
		accounts, err := h.store.Accounts().List(context.Background(), old.Domain, "", enough)
		if err != nil {
			return nil, fmt.Errorf("look for accounts of %s: %w", old.Domain, err)
		}
		if len(accounts)+live[old.Domain] == 0 {
			continue
		}
		more := ""
		if len(accounts) == enough {
			more = " or more"
		}
		lost = append(lost, fmt.Sprintf("%s (accounts: %d%s, sessions: %d)", old.Domain,
			len(accounts), more, live[old.Domain]))
	}
	if lost == nil {
		return sessions, nil
	}
	return nil, fmt.Errorf("the configuration no longer serves %s; nothing was changed: put it back under hosts, "+
		"or run `jackdaw reload --drop-host` if that is what you want", strings.Join(lost, ", "))
}
