package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"jackdaw/config"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func sendCommand(s *settings) *cobra.Command {
	var to []string
	var from, where, login string
	var p passwordSource
	var file tokenFile
	var h hookNotice
	c := &cobra.Command{
		Use:   "send {--to JID... | --hook URL} [TEXT]",
		Short: "post a message through the HTTP API",
		Long: "Posts a message through the HTTP API, as any program would. Without TEXT it reads standard\n" +
			"input. More than one --to needs the permission multicast, a --from that is not the\n" +
			"account's own address the permission forge_sender. Characters that a message cannot hold,\n" +
			"such as the colours of a terminal, are replaced.\n\n" +
			"It posts with the token in --token-file or JACKDAW_TOKEN; else it logs in as --user (else\n" +
			"JACKDAW_USER) with the password in JACKDAW_PASSWORD, or from --password-stdin, or asks for it\n" +
			"on the terminal. On a unix socket it needs neither where http.socket_users has its user.\n\n" +
			"It fails if one recipient or more were refused, and says which and why; the others got the\n" +
			"message. With --url it needs no configuration.\n\n" +
			"With --hook it posts to the address of a hook instead (docs/hooks.md), which knows who gets\n" +
			"it: no account, no password and no configuration are needed.",
		Example: "  JACKDAW_PASSWORD=secret jackdaw send --user build@example.org --to team@example.org 'It is green.'",
		Args:    cobra.MaximumNArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if h.where != "" {
				return h.send(s, cmd, args)
			}
			if err := h.unused(cmd); err != nil {
				return err
			}
			if len(to) == 0 {
				return usagef("to whom? Give --to JID, or --hook URL")
			}
			token, err := file.read(cmd)
			if err != nil {
				return err
			}
			if token == "" && login == "" && !p.stdin {
				token = os.Getenv("JACKDAW_TOKEN")
			}
			if login == "" {
				login = os.Getenv("JACKDAW_USER")
			}
			if file == "-" && len(args) == 0 {
				return usagef("standard input cannot hold the token and the text; give TEXT as an argument")
			}
			if p.stdin && len(args) == 0 {
				return usagef("standard input cannot hold the password and the text; give TEXT as an argument")
			}
			target, client, err := s.endpoint(where)
			if err != nil {
				return err
			}
			// On a unix socket the server may know whose process this is (http.socket_users).
			if token == "" && login == "" && (client.Transport == nil || p.stdin) {
				return usagef("as whom? Give --token-file FILE or --user JID, or set JACKDAW_TOKEN or JACKDAW_USER")
			}
			password := os.Getenv("JACKDAW_PASSWORD")
			switch {
			case token != "" || login == "":
			case p.stdin:
				password, err = readPassword(cmd.InOrStdin())
			case password == "":
				password, err = ask(cmd, "Password of "+login+": ")
			}
			if err != nil {
				return err
			}
			text, err := textOf(cmd, args)
			if err != nil {
				return err
			}
			message, err := compose(to, from, text)
			if err != nil {
				return err
			}
			outcome, err := post(cmd.Context(), client, target, credentials{login, password, token}, message)
			if err != nil {
				return err
			}
			err = outcome.tell(cmd.ErrOrStderr())
			return errors.Join(s.print(cmd, outcome, func(io.Writer) error { return nil }), err)
		}),
	}
	c.Flags().StringArrayVar(&to, "to", nil, "`JID` of a recipient; may be given more than once")
	c.Flags().StringVar(&from, "from", "", "send in the name of this `JID`")
	c.Flags().StringVar(&where, "url", "",
		"`URL` to post to, or unix:PATH (default: the first HTTP listener of the configuration); "+
			"without a path: /message")
	c.Flags().StringVar(&login, "user", "", "`JID` to log in as (default: JACKDAW_USER)")
	p.flags(c, false)
	file.flags(c, "token-file", "the token to post with is in `FILE`; - is standard input")
	c.MarkFlagsMutuallyExclusive("token-file", "user")
	c.MarkFlagsMutuallyExclusive("token-file", "password-stdin")
	h.flags(c)
	return c
}

// textOf is the argument, or what is on standard input, as a text that a message can hold.
func textOf(cmd *cobra.Command, args []string) (string, error) {
	if len(args) > 0 {
		return readable(args[0]), nil
	}
	b, err := io.ReadAll(cmd.InOrStdin())
	if err != nil {
		return "", fmt.Errorf("read the text: %w", err)
	}
	return readable(strings.TrimSuffix(string(b), "\n")), nil
}

// client is one that takes no password to where a redirection leads.
func client() *http.Client {
	return &http.Client{
		Timeout:       60 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// endpoint is where to post, and the client that gets there.
func (s *settings) endpoint(where string) (string, *http.Client, error) {
	client := client()
	if path, ok := strings.CutPrefix(where, "unix:"); ok {
		if path == "" {
			return "", nil, usagef("--url unix: needs a PATH")
		}
		return overSocket(client, path, "localhost"), client, nil
	}
	if where != "" {
		u, err := url.Parse(where)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return "", nil, usagef("%q: expected a URL such as https://im.example.org:5284/message, "+
				"or unix:PATH", where)
		}
		if u.Path == "" || u.Path == "/" {
			u.Path = "/message"
		}
		return u.String(), client, nil
	}
	cfg, _, err := s.load()
	if err != nil {
		return "", nil, err
	}
	return endpointOf(cfg, client)
}

// overSocket has the client use a unix socket, and is what to post to there.
func overSocket(client *http.Client, path, host string) string {
	client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	return "http://" + host + "/message"
}

func endpointOf(cfg *config.Config, client *http.Client) (string, *http.Client, error) {
	for _, addr := range cfg.Listen.HTTP {
		if path, ok := strings.CutPrefix(addr, "unix:"); ok {
			return overSocket(client, path, cfg.Hosts[0].Domain), client, nil
		}
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			continue // the configuration was checked
		}
		if host == "" || net.ParseIP(host).IsUnspecified() {
			host = "127.0.0.1"
		}
		return "http://" + net.JoinHostPort(host, port) + "/message", client, nil
	}
	return "", nil, usagef("the configuration has no plain HTTP listener here; say where with --url, " +
		"such as https://im.example.org:5284/message")
}

// readable is what a program has printed as a text that XML can hold: without the byte order mark before it, and with
// replacement characters for those that cannot be in a message, such as the colours of a terminal.
func readable(text string) string { return xmpp.MendText(strings.TrimPrefix(text, "\ufeff")) }

// compose writes the stanza.
func compose(to []string, from, text string) (string, error) {
	addresses := to
	if from != "" {
		addresses = append([]string{from}, to...)
	}
	for _, a := range addresses {
		if _, err := jid.Parse(a); err != nil {
			return "", usagef("%q is no address", a)
		}
	}
	if text == "" {
		return "", usagef("there is no text to send")
	}
	var b strings.Builder
	b.WriteString("<message type='chat'")
	if from != "" {
		b.WriteString(" from='" + html.EscapeString(from) + "'")
	}
	if len(to) == 1 {
		b.WriteString(" to='" + html.EscapeString(to[0]) + "'>")
	} else {
		b.WriteString(" to='multicast'><addresses>")
		for _, a := range to {
			b.WriteString("<address jid='" + html.EscapeString(a) + "'/>")
		}
		b.WriteString("</addresses>")
	}
	b.WriteString("<body>" + html.EscapeString(text) + "</body></message>")
	return b.String(), nil
}

// maxReport bounds the answer that is read: 10,000 recipients with the longest of addresses.
const maxReport = 64 << 20

// A report is what the server says of a post: modules/httpmessage's, or problem details (RFC 9457).
type report struct {
	ID         string      `json:"id"`
	Accepted   int         `json:"accepted"`
	Recipients []recipient `json:"recipients"`
	Detail     string      `json:"detail,omitempty"`
}

type recipient struct {
	JID     string `json:"jid"`
	Outcome string `json:"outcome"`
	Reason  string `json:"reason,omitempty"`
}

// credentials are a token, or else a login, or none.
type credentials struct{ user, password, token string }

func (c credentials) set(r *http.Request) {
	switch {
	case c.token != "":
		r.Header.Set("Authorization", "Bearer "+c.token)
	case c.user != "":
		r.SetBasicAuth(c.user, c.password)
	}
}

// post returns what became of the message; the error is what kept it from being posted at all.
func post(ctx context.Context, client *http.Client, where string, by credentials, message string) (report, error) {
	var out report
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, where, strings.NewReader(message))
	if err != nil {
		return out, usagef("%v", err)
	}
	by.set(r)
	r.Header.Set("Content-Type", "application/xml")
	r.Header.Set("Accept", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		return out, fmt.Errorf("post the message: %w; is the server running?", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxReport))
	if err != nil && resp.StatusCode == http.StatusOK {
		return out, fmt.Errorf("read the answer: %w", err)
	}
	if json.Unmarshal(b, &out) != nil { // not ours: a proxy, or another program
		out.Detail, _, _ = strings.Cut(strings.TrimSpace(string(b)), "\n")
	}
	switch {
	case resp.StatusCode == http.StatusOK, len(out.Recipients) > 0:
		return out, nil
	case out.Detail == "":
		return out, errors.New(resp.Status)
	}
	return out, fmt.Errorf("%s: %s", resp.Status, out.Detail)
}

// tell names the recipients who did not get the message. The error says how many.
func (r report) tell(errOut io.Writer) error {
	refused := 0
	for _, one := range r.Recipients {
		switch one.Outcome {
		case "delivered", "stored", "queued":
			continue
		}
		refused++
		fmt.Fprintf(errOut, "%s: %s\n", printable(one.JID), printable(cmp.Or(one.Reason, one.Outcome)))
	}
	if refused == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d recipients were refused, the lines above say why", refused, len(r.Recipients))
}
