package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"strings"

	"jackdaw/config"
	"jackdaw/router/accounts"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// FirstStart says on w what to do next when the store holds no account yet, and nothing
// otherwise. Without a configuration file (configPath is "") it also creates admin@localhost
// with a random password, which is shown this once, and says how to post a message to it
// with curl. httpAddr is where the plain HTTP listener accepts, "" for nowhere.
//
// It goes by the accounts and not by the directory, so that a first start that ended
// early, on a port that was taken say, is made up for by the next.
func FirstStart(ctx context.Context, store storage.Engine, users *accounts.Service, cfg *config.Config,
	configPath, httpAddr string, w io.Writer) error {
	some, err := store.Accounts().List(ctx, "", "", 1)
	if err != nil {
		return fmt.Errorf("look for accounts: %w", err)
	}
	if len(some) > 0 {
		return nil
	}
	if configPath != "" && cfg.Accounts.Elsewhere(cfg.Hosts[0].Domain) {
		fmt.Fprintf(w, "jackdaw: there is no account yet; each is made when its user logs in first (accounts.backend)\n")
		return nil
	}
	if configPath != "" {
		// A message for the administrator; there is nothing to do if it cannot be written.
		fmt.Fprintf(w, "jackdaw: there is no account yet; to add one: jackdaw --config %s user add YOU@%s\n",
			shellQuote(configPath), cfg.Hosts[0].Domain)
		return nil
	}
	admin, err := jid.New("admin", cfg.Hosts[0].Domain, "")
	if err != nil {
		return fmt.Errorf("create the first account: %w", err)
	}
	password := rand.Text() // 128 bits or more
	if err := users.Create(ctx, admin, password); err != nil {
		return fmt.Errorf("create the first account: %w", err)
	}
	if err := users.Grant(ctx, admin, accounts.PermAdmin); err != nil {
		return fmt.Errorf("create the first account: %w", err)
	}
	fmt.Fprintf(w, "jackdaw: created %s with the password %s (shown only now)\n", admin, password)
	if httpAddr == "" {
		return nil
	}
	fmt.Fprintf(w, "jackdaw: log in with a client, or post a message to it:\n\n%s\n\n",
		curlLine(httpAddr, admin, password))
	return nil
}

// curlLine can be pasted into a shell as it is.
func curlLine(httpAddr string, user jid.JID, password string) string {
	where := "http://" + httpAddr + "/message"
	if path, ok := strings.CutPrefix(httpAddr, "unix:"); ok {
		where = "--unix-socket " + shellQuote(path) + " http://localhost/message"
	} else if host, port, err := net.SplitHostPort(httpAddr); err == nil &&
		(host == "" || net.ParseIP(host).IsUnspecified()) {
		where = "http://" + net.JoinHostPort("127.0.0.1", port) + "/message"
	}
	return fmt.Sprintf("curl %s -u %s --data-binary %s", where, shellQuote(user.String()+":"+password),
		shellQuote(`<message to="`+user.String()+`"><body>yo</body></message>`))
}

// shellQuote makes one word of s for a POSIX shell.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			strings.ContainsRune("@%+=:,./-_", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
