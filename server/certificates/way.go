package certificates

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/mholt/acmez/v3/acme"
)

const (
	// requestTime bounds one request, maxAnswer its answer, maxRequests those of one attempt.
	requestTime = 30 * time.Second
	maxAnswer   = 1 << 20
	maxRequests = 300
)

// A way is that to the authority, within limits, whatever it answers. One attempt uses it at a time.
type way struct {
	next      http.RoundTripper // nil: over the network
	caFile    string
	directory string

	left    int
	retryAt time.Time // as the last error said; zero: it did not
}

// begin begins an attempt.
func (w *way) begin() { w.left, w.retryAt = maxRequests, time.Time{} }

func (w *way) client() *http.Client {
	follow := func(_ *http.Request, via []*http.Request) error {
		if len(via) > 3 {
			return errors.New("too many redirections")
		}
		return nil
	}
	return &http.Client{Transport: w, Timeout: requestTime, CheckRedirect: follow}
}

var (
	errTooMany = fmt.Errorf("gave up after %d requests", maxRequests)
	errTooLong = fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
)

// RoundTrip sends a request, of which each attempt has so many.
func (w *way) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.left--; w.left < 0 {
		return nil, errTooMany
	}
	if r.URL.Scheme != "https" && !strings.HasPrefix(w.directory, "http:") {
		return nil, fmt.Errorf("the authority leads to %s, which is not https", clean(r.URL.String()))
	}
	if w.next == nil {
		next, err := w.dialer()
		if err != nil {
			return nil, err
		}
		w.next = next
	}
	res, err := w.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 400 {
		w.retryAt = retryAt(res.Header.Get("Retry-After"), time.Now())
	}
	res.Body = &bounded{ReadCloser: res.Body, left: maxAnswer}
	return res, nil
}

// dialer reaches the network.
func (w *way) dialer() (http.RoundTripper, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxResponseHeaderBytes = 64 << 10
	t.IdleConnTimeout = 10 * time.Second
	roots, err := rootsOf(w.caFile)
	if err != nil {
		return nil, err
	}
	t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return t, nil
}

// rootsOf reads whom to trust; nil: whom the system trusts.
func rootsOf(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read acme.ca_file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("acme.ca_file: no certificate in %s", file)
	}
	return roots, nil
}

// Check says what would keep an authority from being asked at all.
func (set *Settings) Check() error {
	_, err := rootsOf(set.CAFile)
	return err
}

// retryAt reads Retry-After (RFC 9110 §10.2.3); zero: there is none, or none that makes sense.
func retryAt(s string, now time.Time) time.Time {
	if s == "" {
		return time.Time{}
	}
	at, err := http.ParseTime(s)
	if n, bad := strconv.ParseUint(s, 10, 31); bad == nil {
		at, err = now.Add(time.Duration(n)*time.Second), nil
	}
	if err != nil || !at.After(now) {
		return time.Time{}
	}
	if last := now.Add(longestRetry); at.After(last) {
		return last
	}
	return at
}

// bounded fails where an answer becomes too long.
type bounded struct {
	io.ReadCloser
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	if len(p) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= n
	return n, err
}

// An accountError is one that has nothing to do with the name.
type accountError struct{ error }

func (e *accountError) Unwrap() error { return e.error }

// A diskError is one of ours.
type diskError struct{ error }

func (e *diskError) Unwrap() error { return e.error }

func diskErr(err error) error {
	if err == nil {
		return nil
	}
	return &diskError{err}
}

// A proofError says by which challenge the authority did not find the name ours.
type proofError struct {
	by string
	error
}

func (e *proofError) Unwrap() error { return e.error }

// clean makes a text of the authority's fit for the log and for people: not too long, and of one line.
func clean(s string) string {
	const most = 300
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > most { // the reason is often at the end
		s = strings.ToValidUTF8(s[:most/2], "") + " … " + strings.ToValidUTF8(s[len(s)-most/2:], "")
	}
	return s
}

// describe says what went wrong, and what somebody can do.
func describe(err error, name string) (problem, do string) {
	p, ok := problemOf(err)
	if !ok {
		problem = clean(err.Error())
		if errors.As(err, new(*accountError)) {
			return "the authority cannot be reached or used: " + problem,
				"look at acme.directory, and at the way from this machine to it"
		}
		return problem, "it is tried again; if this stays, ask the authority"
	}
	kind := strings.TrimPrefix(p.Type, acme.ProblemTypeNamespace)
	problem = clean(fmt.Sprintf("%s (%s)", p.Detail, kind))
	port := "port 443 or 80"
	var proof *proofError
	if errors.As(err, &proof) {
		port = map[string]string{TLSALPN01: "port 443", HTTP01: "port 80"}[proof.by]
		problem = proof.by + ": " + problem
	}
	reach := fmt.Sprintf("%s of %s must lead to this server, from everywhere: look at its A and AAAA records, the "+
		"firewall and what stands before it", port, name)
	switch p.Type {
	case acme.ProblemTypeDNS:
		do = "add an A or AAAA record for " + name + ", or name it in acme.except"
	case acme.ProblemTypeConnection, acme.ProblemTypeTLS, acme.ProblemTypeUnauthorized, acme.ProblemTypeIncorrectResponse:
		do = reach
		if proof == nil {
			do = "look at the account at the authority"
		}
	case acme.ProblemTypeCAA:
		do = "have a CAA record of " + name + " name this authority"
	case acme.ProblemTypeRateLimited:
		do = "wait; it is tried again when the authority takes orders"
	case acme.ProblemTypeExternalAccountRequired:
		do = "set acme.external_account to what the authority has given you"
	case acme.ProblemTypeUserActionRequired:
		do = "read " + clean(p.Instance)
	case acme.ProblemTypeInvalidContact, acme.ProblemTypeUnsupportedContact:
		do = "correct acme.email"
	case acme.ProblemTypeRejectedIdentifier, acme.ProblemTypeUnsupportedIdentifier:
		do = "name it in acme.except: the authority gives no certificate for it"
	default:
		do = "it is tried again; if this stays, ask the authority"
	}
	return problem, do
}

// problemOf finds what the authority said (RFC 8555 §6.7).
func problemOf(err error) (acme.Problem, bool) {
	var p acme.Problem
	var at *acme.Problem
	if errors.As(err, &p) {
		return p, true
	}
	if errors.As(err, &at) && at != nil {
		return *at, true
	}
	return p, false
}
