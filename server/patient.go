package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"jackdaw/config"
	"jackdaw/router/accounts"
	"jackdaw/router/gate"
	"jackdaw/server/certificates"
	"jackdaw/server/doctor"
	"jackdaw/storage/redis"
	"jackdaw/web/landing"
	"jackdaw/xmpp/jid"
)

// Patient is all that package doctor can be told of a host of the configuration, on the machine of its server. pid is
// that of the running server; 0: none runs. It reads files that only the server's user may read, and makes none.
func Patient(cfg *config.Config, host string, pid int) doctor.Options {
	o := doctor.Options{Domain: host, Config: cfg, Files: filesAt(cfg, host, &cfg.Listen),
		Machine: &doctor.Machine{PID: pid, Addresses: gate.Addresses()}}
	if _, ok := cfg.UploadDomain(host); !ok || !cfg.Modules.Enabled("upload") {
		o.Files = ""
	}
	if at := publicURL(cfg, host, &cfg.Listen); at != "" {
		o.Invitations = at + landing.Path
	}
	came := issuedHere(cfg)
	for _, one := range came.Status() {
		if above, _ := under(cfg, one.Name); above == host {
			o.Issued = append(o.Issued, doctor.Issued{Name: one.Name, Problem: one.Problem, Do: one.Do, Next: one.Next})
		}
	}
	if h := cfg.Host(host); h != nil {
		o.Certificate = shown(cfg, h)
		if name, err := asciiName(host); err == nil && h.Cert == "" && came.Certificate(name) != nil {
			o.Certificate = came.Certificate(name)
		}
	}
	o.Machine.Storage = func(ctx context.Context) (found []doctor.Finding) {
		if cfg.Storage.Engine == config.EngineRedis {
			found = redisFindings(ctx, cfg)
		}
		return append(found, bucketFindings(ctx, cfg)...)
	}
	if cfg.Accounts.Elsewhere(host) {
		o.Machine.Accounts = func(ctx context.Context) []doctor.Finding { return accountFindings(ctx, cfg, host) }
	}
	return o
}

// issuedHere is what has come by itself, as the files say; it asks nobody for more.
func issuedHere(cfg *config.Config) *certificates.Service {
	s := certificates.New(certificates.Options{Dir: filepath.Join(cfg.Data, "certs", "acme"),
		Log: slog.New(slog.DiscardHandler)})
	if set, err := acmeSettings(cfg); err == nil {
		_ = s.Configure(set) // what cannot be read is looked at anyway, as others are shown it
	}
	return s
}

// shown is the certificate of a host, nil where there is none that can be read.
func shown(cfg *config.Config, h *config.Host) *tls.Certificate {
	if h.Cert == "" {
		_, _, c, err := readSelfSigned(cfg.Data, h.Domain)
		if err != nil {
			return nil // what the server shows is looked at anyway
		}
		return c
	}
	c, err := loadPair(*h)
	if err != nil {
		return nil // likewise
	}
	return c
}

// redisFindings are what Redis says of itself.
func redisFindings(ctx context.Context, cfg *config.Config) (found []doctor.Finding) {
	var promise string
	var weak []redis.Weakness
	o, err := redisOptions(cfg.Storage.Redis)
	if err == nil {
		promise, weak, err = redis.Inspect(ctx, o)
	}
	if err != nil {
		return []doctor.Finding{{Level: doctor.Wrong, What: err.Error(), Why: "all that is kept is there",
			Do: "start Redis, or correct storage.redis in the configuration"}}
	}
	for _, w := range weak {
		found = append(found, doctor.Finding{Level: doctor.Warning, What: w.What, Why: w.Why, Do: w.Do})
	}
	if len(found) == 0 {
		found = append(found, doctor.Finding{Level: doctor.Good, What: promise})
	}
	return found
}

// nobodyKnown is a user name, and a token, that nobody has.
const nobodyKnown = "nobody-a-question-of-jackdaw-doctor"

// accountFindings are what comes of a question to who keeps the passwords of a host: for a user who is none, or a
// token.
func accountFindings(ctx context.Context, cfg *config.Config, host string) []doctor.Finding {
	key := "accounts." + cfg.Accounts.Backend
	wrong := func(err error) []doctor.Finding {
		return []doctor.Finding{{Level: doctor.Wrong, What: err.Error(),
			Why: "nobody logs in whose password is kept there",
			Do:  "see to it that it answers, and that " + key + " in the configuration says how to ask it"}}
	}
	e, err := accountsElsewhere(&cfg.Accounts, slog.New(slog.DiscardHandler))
	if err != nil {
		return wrong(err)
	}
	nobody, err := jid.New(nobodyKnown, host, "")
	if err != nil {
		return wrong(err)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second) // as the server waits
	defer cancel()
	began, known := time.Now(), false
	if b, ok := e.Backend.(accounts.Bearers); ok {
		_, _, err = b.Whose(ctx, host, nobodyKnown)
		if known = err == nil; errors.Is(err, accounts.ErrNotAuthorized) {
			err = nil
		}
	} else {
		var list []jid.JID
		list, err = e.Backend.Known(ctx, []jid.JID{nobody})
		known = len(list) > 0
	}
	switch {
	case err != nil:
		return wrong(fmt.Errorf("%s: %w", e.Backend, err))
	case known:
		return []doctor.Finding{{Level: doctor.Wrong, What: e.Backend.String() + " lets in anybody, it seems",
			Why: "it knows " + nobodyKnown + ", which nobody is", Do: "correct it, or " + key + " in the configuration"}}
	}
	return []doctor.Finding{{Level: doctor.Good,
		What: fmt.Sprintf("%s answers after %s", e.Backend, time.Since(began).Round(time.Millisecond))}}
}

// RunningPID is the process of the server that runs on a data directory, 0 if none does.
func RunningPID(ctx context.Context, data string) (pid int, err error) {
	c, err := dialControl(ctx, data)
	if errors.Is(err, errNoServer) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer c.Close()
	raw, ok := c.(syscall.Conn)
	if !ok {
		return 0, os.ErrInvalid // it is one
	}
	conn, err := raw.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		var peer *syscall.Ucred
		if peer, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); failed == nil {
			pid = int(peer.Pid)
		}
	})
	return pid, errors.Join(err, failed)
}
