package outgoing

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"jackdaw/router/gate"
)

const (
	// Timeout bounds one try, from the look-up of the name to the last byte of the answer.
	Timeout = 10 * time.Second
	// MaxAnswer is how many bytes of the body of an answer are read, and maxHead of its head.
	MaxAnswer = 64 << 10
	maxHead   = 32 << 10
)

// ErrLong is the error of an answer with more than MaxAnswer bytes.
var ErrLong = fmt.Errorf("the answer has more than %d bytes", MaxAnswer)

// ErrNotPublic is the error of a request that only goes to public addresses and would have gone to another.
var ErrNotPublic = errors.New("the address is not a public one")

// A Client makes requests. It follows no redirect, uses no proxy, and decompresses nothing.
type Client struct {
	http *http.Client
}

// NewClient returns one with at most so many connections to a host. With public, it goes to public addresses alone:
// that is decided on the very address that a connection is made to, whatever the name says next.
func NewClient(connections int, public bool) *Client {
	dialer := &net.Dialer{Timeout: Timeout}
	if public {
		dialer.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error {
			if at, err := netip.ParseAddrPort(address); err != nil || !gate.Public(at.Addr()) {
				return ErrNotPublic
			}
			return nil
		}
	}
	return &Client{http: &http.Client{Timeout: Timeout,
		Transport: &http.Transport{DialContext: dialer.DialContext, MaxConnsPerHost: connections,
			MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: Timeout,
			MaxResponseHeaderBytes: maxHead, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// Close ends connections that are not in use.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// A Request is a body of JSON for a program.
type Request struct {
	URL  string
	Body []byte
	// Key is the Idempotency-Key: the same request may come again if its answer was lost.
	Key string
	// Secret, if not empty, signs the body together with the time: X-Jackdaw-Signature.
	Secret string
}

// An Answer to a request.
type Answer struct {
	Status int
	Type   string // of the body, as Content-Type says it
	Body   []byte // at most MaxAnswer bytes
}

// Do makes one try. An answer of any status is no error. Where the head of one came and the body did not, there are
// both: an error, which is ErrLong if the body has no end in sight, and the answer without it. No error holds the URL,
// which may have a password in it.
func (c *Client) Do(ctx context.Context, r Request) (Answer, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return Answer{}, errors.New("not a URL")
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Idempotency-Key", r.Key)
	if r.Secret != "" {
		q.Header.Set("X-Jackdaw-Signature", Signature(r.Secret, time.Now(), r.Body))
	}
	w, err := c.http.Do(q)
	if err != nil {
		return Answer{}, bare(err)
	}
	defer func() { _ = w.Body.Close() }()
	a := Answer{Status: w.StatusCode, Type: w.Header.Get("Content-Type")}
	body, err := io.ReadAll(io.LimitReader(w.Body, MaxAnswer+1))
	switch {
	case err != nil:
		return a, bare(err)
	case len(body) > MaxAnswer:
		return a, ErrLong
	}
	a.Body = body
	return a, nil
}

// bare is an error without the URL.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// Taken says what a status means to whoever queued the request: it was taken, or another try would fare no better
// (final), or it is to be repeated.
func Taken(status int) (taken, final bool) {
	switch {
	case status >= 200 && status < 300:
		return true, false
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests:
		return false, false
	default:
		return false, status >= 400 && status < 500
	}
}

// StatusError is the error of an answer that took nothing.
func StatusError(status int) error {
	return errors.New(strconv.Itoa(status) + " " + http.StatusText(status))
}

// Signature is the value of X-Jackdaw-Signature: the seconds since 1970, and the HMAC-SHA-256 of them, a dot and the
// body.
func Signature(secret string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}
