package sendmail

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// patience bounds one post.
const patience = 60 * time.Second

// A Letter is a text for one recipient, as it is posted and as it is kept.
type Letter struct {
	// Key has the server take it once, however often it is posted.
	Key     string    `json:"key"`
	To      string    `json:"to"`
	Body    string    `json:"body"`
	Nick    string    `json:"nick,omitempty"`
	Written time.Time `json:"written"`
}

// Letters are those of a mail: one for each recipient, since a copy for many needs a permission.
func Letters(m *Mail, to []string, nick string) []Letter {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	all := make([]Letter, len(to))
	for i, one := range to {
		all[i] = Letter{Key: "mail-" + hex.EncodeToString(id[:]) + "-" + strconv.Itoa(i), To: one, Body: m.Body(), Nick: nick,
			Written: time.Now().UTC()}
	}
	return all
}

// A Poster posts letters to a server.
type Poster struct {
	Client *http.Client
	URL    string // of POST /message
	Token  string // "": the socket says who we are
}

// TokenIn reads a token from a file; "" where no file is named.
func TokenIn(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", &Failure{ExitUnavailable, err}
	}
	return strings.TrimSpace(string(b)), nil
}

// Post posts one letter. Its errors are Failures: with ExitTemporary the server may take it later.
func (p *Poster) Post(ctx context.Context, l Letter) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	what := map[string]any{"to": l.To, "body": l.Body}
	if l.Nick != "" {
		what["extra_elements"] = "<nick xmlns='http://jabber.org/protocol/nick'>" + html.EscapeString(l.Nick) + "</nick>"
	}
	b, err := json.Marshal(what)
	if err != nil {
		return failure(ExitData, "%w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL, bytes.NewReader(b))
	if err != nil {
		return failure(ExitUnavailable, "%w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", l.Key)
	if p.Token != "" {
		r.Header.Set("Authorization", "Bearer "+p.Token)
	}
	answer, err := p.Client.Do(r)
	if err != nil {
		return failure(ExitTemporary, "the server cannot be reached: %w", err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 4<<10)) // only to be shown
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	err = fmt.Errorf("%s: %s: %s", l.To, answer.Status, line)
	switch c := answer.StatusCode; {
	case c >= 200 && c < 300:
		return nil
	case c >= 500, c == http.StatusRequestTimeout, c == http.StatusConflict, c == http.StatusTooEarly,
		c == http.StatusTooManyRequests:
		return &Failure{ExitTemporary, err}
	case c == http.StatusBadRequest, c == http.StatusRequestEntityTooLarge, c == http.StatusUnprocessableEntity:
		return &Failure{ExitData, err}
	}
	return &Failure{ExitUnavailable, err}
}

// Send posts letters, what the spool keeps before them, and keeps those that the server cannot take now; spool may be
// nil. The error joins those of the letters, the worst code first in line: see Code.
func Send(ctx context.Context, p *Poster, spool *Spool, letters []Letter) error {
	var errs []error
	late := error(nil) // what comes behind something that waits has to wait, too
	if spool != nil {
		unlock, err := spool.lock(ctx)
		if err != nil {
			late = err
		} else {
			defer unlock()
			errs, late = spool.flush(ctx, p)
		}
	}
	for _, l := range letters {
		err := late
		if err == nil {
			err = p.Post(ctx, l)
		}
		if Code(err) == ExitTemporary && spool != nil {
			if kept := spool.keep(l); kept != nil {
				err = failure(ExitTemporary, "%w; and it is not kept: %w", err, kept)
			} else {
				late, err = err, failure(ExitTemporary, "kept for later: %w", err)
			}
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Code is with which code to end after an error: that of what is lost before that of what waits; 0 for nil.
func Code(err error) int {
	if err == nil {
		return 0
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		code := 0
		for _, one := range joined.Unwrap() {
			if c := Code(one); code == 0 || c != ExitTemporary {
				code = c
			}
		}
		return code
	}
	var f *Failure
	if errors.As(err, &f) {
		return f.Code
	}
	return ExitTemporary
}
