package doctor

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"jackdaw/config"
)

// invitations examines whether others reach the page that an invitation leads to.
func (e *examination) invitations(ctx context.Context) {
	c := e.Config
	if c == nil || c.Host(e.host) == nil || !c.Modules.Enabled("invitations") {
		return
	}
	if e.Invitations == "" {
		level := Note
		if c.Registration == config.RegistrationInvite {
			level = Warning
		}
		e.add(Finding{Level: level, What: "invitations lead to no page: they are links for clients alone",
			Why: "nobody reaches HTTPS of this server, so that guests find no app and no form, and no password is set by a link",
			Do:  "open listen.tls (\":443\") or listen.https to others, or say in http.url what leads to it"})
		return
	}
	what, err := e.landing(ctx)
	if err == nil {
		e.good(e.Invitations + ": guests reach the page of an invitation")
		return
	}
	e.add(Finding{Level: Wrong, What: fmt.Sprintf("%s: %v", e.Invitations, err), Why: "guests do not get in: " + what,
		Do: "have the proxy pass /invite/ and /assets/ on to listen.https or listen.http (docs/manual.md), or correct " +
			"http.url"})
}

// landing asks for the page without a token, which only the server itself says is gone. It counts as no guess.
func (e *examination) landing(ctx context.Context) (what string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, e.Invitations, nil)
	if err != nil {
		return "", err
	}
	r.Header.Set("Accept", "text/html")
	c := e.client()
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	answer, err := e.do(c, r)
	if err != nil {
		return "the page of an invitation is not reached", err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer)) // whatever it says
	if answer.StatusCode != http.StatusGone {
		return "the page of an invitation is somebody else's", fmt.Errorf("answered by somebody else: %s", answer.Status)
	}
	return "", nil
}
