package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// origin is a page of somebody else.
const origin = "https://elsewhere.invalid"

// files examines whether clients can put files where the server sends them (XEP-0363), from pages as well.
func (e *examination) files(ctx context.Context) {
	c := e.Config
	switch {
	case c == nil:
		return
	case e.Files == "":
		if _, ok := c.UploadDomain(e.Domain); ok && c.Modules.Enabled("upload") {
			e.add(Finding{Level: Warning, What: "users cannot send files", Why: "no listener is known that their clients reach",
				Do: "open listen.tls (\":443\") or listen.https to others, or say in http.url what leads to it"})
		}
		return
	}
	proxy := "have the proxy pass " + e.Files + " on as it is, with PUT and OPTIONS (docs/manual.md), or correct " +
		"http.url and modules.upload.url"
	at := strings.TrimRight(e.Files, "/") + "/doctor/doctor.txt" // no slot has that name
	answer, err := e.request(ctx, http.MethodPut, at, strings.NewReader("doctor"), 6)
	switch {
	case err != nil:
		e.add(Finding{Level: Wrong, What: e.Files + ": " + err.Error(), Why: "clients put files there", Do: proxy})
		return
	// The server refuses what it has not promised to take; whoever else answers says something else.
	case answer.StatusCode != http.StatusUnauthorized && answer.StatusCode != http.StatusForbidden &&
		answer.StatusCode != http.StatusNotFound || answer.Header.Get("Access-Control-Allow-Origin") != "*":
		e.add(Finding{Level: Wrong, What: fmt.Sprintf("%s: PUT is answered by somebody else: %s", e.Files, answer.Status),
			Why: "clients put files there", Do: proxy})
		return
	}
	answer, err = e.request(ctx, http.MethodOptions, at, nil, 0)
	if err != nil || answer.Header.Get("Access-Control-Allow-Origin") != "*" ||
		!strings.Contains(answer.Header.Get("Access-Control-Allow-Methods"), http.MethodPut) {
		e.add(Finding{Level: Warning, What: e.Files + ": pages may not put files there (CORS)",
			Why: "clients in browsers ask first (OPTIONS)", Do: proxy})
		return
	}
	answer, err = e.request(ctx, http.MethodPut, at, unsent{}, c.Modules.Upload.MaxSize)
	if err == nil && answer.StatusCode == http.StatusRequestEntityTooLarge {
		e.add(Finding{Level: Warning,
			What: fmt.Sprintf("%s: a file of %d bytes, which is announced, is too large for the proxy",
				e.Files, c.Modules.Upload.MaxSize), Why: "clients fail with files that they may send",
			Do: "let the proxy take as much (client_max_body_size of nginx), or lower modules.upload.max_size"})
		return
	}
	e.good(e.Files + ": clients can put files there")
}

// unsent is the body of a request that is to be answered by its head.
type unsent struct{}

var errUnsent = errors.New("the body is not sent")

func (unsent) Read([]byte) (int, error) { return 0, errUnsent }

// request returns the head of the answer.
func (e *examination) request(ctx context.Context, method, at string, body io.Reader, size int64) (*http.Response,
	error) {
	r, err := http.NewRequestWithContext(ctx, method, at, body)
	if err != nil {
		return nil, err
	}
	r.ContentLength = size
	r.Header.Set("Origin", origin)
	if method == http.MethodOptions {
		r.Header.Set("Access-Control-Request-Method", http.MethodPut)
	}
	c := e.client()
	if body != nil {
		r.Header.Set("Expect", "100-continue")
		t := c.Transport.(*http.Transport)
		t.ForceAttemptHTTP2 = false // only HTTP/1.1 waits for the word
		t.ExpectContinueTimeout = patience / 4
	}
	answer, err := e.do(c, r)
	if err != nil {
		return nil, err
	}
	return answer, answer.Body.Close()
}

// oddTime is how far two clocks are apart that are not both right.
const oddTime = 2 * time.Minute

// clock compares the time here with that of an answer, where it has one.
func (e *examination) clock(whose, date string) {
	then, err := http.ParseTime(date)
	if err != nil {
		return
	}
	off := e.Now().Sub(then).Round(time.Second)
	if off.Abs() < oddTime {
		return
	}
	ahead := "ahead of"
	if off < 0 {
		ahead = "behind"
	}
	e.add(Finding{Level: Warning, What: fmt.Sprintf("the clock of this machine is %s %s that of %s", off.Abs(), ahead,
		whose),
		Why: "certificates, tokens and the times of messages depend on it",
		Do:  "see which of them is right, and have it kept: timedatectl set-ntp true"})
}
