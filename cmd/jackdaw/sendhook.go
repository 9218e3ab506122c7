package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// ownKind is the kind of what is posted to a hook: modules/hooks/notice has its members.
const ownKind = "notice"

// A hookNotice is what is posted to a hook.
type hookNotice struct {
	where, title, level, state, key, link, source string
}

// hookFlagNames are the flags that make sense with --hook alone.
var hookFlagNames = [...]string{"title", "level", "state", "key", "link", "source"}

func (h *hookNotice) flags(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&h.where, "hook", "", "`URL` of a hook, or @FILE with it: others may see the arguments of commands")
	flags.StringVar(&h.title, "title", "", "first line of the message; with --hook, like those that follow")
	flags.StringVar(&h.level, "level", "", "debug, info, notice, warning, error, critical, or what monitors call them")
	flags.StringVar(&h.state, "state", "", "firing or resolved, or PROBLEM, RECOVERY and what else Nagios and Icinga say")
	flags.StringVar(&h.key, "key", "", "what belongs together: the end of trouble answers its begin")
	flags.StringVar(&h.link, "link", "", "`URL` to look at")
	flags.StringVar(&h.source, "source", "", "what it comes from, such as a host")
}

// unused refuses flags that would be lost without --hook.
func (h *hookNotice) unused(cmd *cobra.Command) error {
	for _, name := range hookFlagNames {
		if cmd.Flags().Changed(name) {
			return usagef("--%s needs --hook", name)
		}
	}
	return nil
}

// target is where to post. Errors name the flag and not the address, which is a secret.
func (h *hookNotice) target() (string, error) {
	where := h.where
	if file, ok := strings.CutPrefix(where, "@"); ok {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		where = strings.TrimSpace(string(b))
	}
	u, err := url.Parse(where)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", usagef("--hook: expected what `jackdaw hook add` prints, such as https://im.example.org/hooks/TOKEN")
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), ""
	if !strings.HasSuffix(u.Path, "/"+ownKind) {
		u.Path += "/" + ownKind
	}
	return u.String(), nil
}

// hookAnswer is what a hook says.
type hookAnswer struct {
	Status string `json:"status"`
	ID     string `json:"id,omitempty"`
	Reason string `json:"reason,omitempty"`
}

func (h *hookNotice) send(s *settings, cmd *cobra.Command, args []string) error {
	for _, name := range [...]string{"to", "from", "user", "url", "password-stdin", "token-file"} {
		if cmd.Flags().Changed(name) {
			return usagef("--%s and --hook exclude each other: the hook says who gets what", name)
		}
	}
	target, err := h.target()
	if err != nil {
		return err
	}
	text := ""
	if len(args) > 0 || h.title == "" {
		if text, err = textOf(cmd, args); err != nil {
			return err
		}
	}
	if text == "" && h.title == "" {
		return usagef("there is no text to send")
	}
	body, err := json.Marshal(map[string]string{"title": readable(h.title), "text": text, "level": h.level,
		"state": h.state, "key": h.key, "link": h.link, "source": readable(h.source)})
	if err != nil {
		return err
	}
	answer, err := h.post(cmd, target, body)
	if err != nil {
		return err
	}
	return s.print(cmd, answer, func(io.Writer) error { return nil })
}

func (h *hookNotice) post(cmd *cobra.Command, target string, body []byte) (hookAnswer, error) {
	var answer hookAnswer
	r, err := http.NewRequestWithContext(cmd.Context(), http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return answer, usagef("--hook: no address to post to")
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := client().Do(r)
	if err != nil {
		var u *url.Error // it holds the address
		if errors.As(err, &u) {
			err = u.Err
		}
		return answer, fmt.Errorf("post to the hook: %w; is the server running?", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxReport))
	if err != nil && resp.StatusCode == http.StatusOK {
		return answer, fmt.Errorf("read the answer: %w", err)
	}
	if json.Unmarshal(b, &answer) != nil { // not ours: a proxy, or another program
		answer.Reason, _, _ = strings.Cut(strings.TrimSpace(string(b)), "\n")
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		return answer, nil
	case answer.Reason == "":
		return answer, errors.New(resp.Status)
	}
	return answer, fmt.Errorf("%s: %s", resp.Status, printable(answer.Reason))
}
