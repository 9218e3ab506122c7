package doctor

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// expiresSoon is how long before its end a certificate is worth a word.
const expiresSoon = 14 * 24 * time.Hour

// certificate says what others think of a certificate for the domain (RFC 9525 §6.3). Servers that know dialback accept
// a peer without a valid one; clients do not.
func (e *examination) certificate(chain []*x509.Certificate, at string, lenient bool) bool {
	leaf, now := chain[0], e.Now()
	if problem, do := e.refusal(chain, now); problem != "" {
		level, why := Wrong, "others cannot know that it is "+e.name
		if lenient {
			level, why = Warning, why+", and only servers that ask back (dialback) let it in"
		}
		e.add(Finding{Level: level, What: "the certificate at " + at + " " + problem, Why: why, Do: do})
		return lenient
	}
	if left := leaf.NotAfter.Sub(now); left < expiresSoon {
		days := int(left / (24 * time.Hour))
		e.add(Finding{Level: Warning, What: fmt.Sprintf("the certificate at %s ends in %d days", at, days),
			Why: "then nobody connects any more", Do: "have it renewed, then run `jackdaw reload`"})
	}
	return true
}

// day is a date for people.
const day = "2006-01-02"

// refusal says why others refuse a certificate, and what to do; "" if they do not.
func (e *examination) refusal(chain []*x509.Certificate, now time.Time) (problem, do string) {
	leaf := chain[0]
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	renew := "have a certificate for " + e.name + " made, and name it in hosts[].cert and .key"
	if e.Config != nil && e.Config.ACME.On() {
		renew = "see why none has come for it: the log says `no certificate obtained`"
	}
	_, err := leaf.Verify(x509.VerifyOptions{DNSName: e.name, Roots: e.Roots, Intermediates: intermediates,
		CurrentTime: now})
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	invalid, _ := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case err == nil:
		return "", ""
	case now.After(leaf.NotAfter):
		return "ended on " + leaf.NotAfter.UTC().Format(day), "have it renewed, then run `jackdaw reload`"
	case now.Before(leaf.NotBefore):
		return "begins only on " + leaf.NotBefore.UTC().Format(day),
			"see whether the clock of this machine is right (timedatectl); else have it made anew"
	case leaf.VerifyHostname(e.name) != nil:
		return "is for " + named(leaf) + " and not for " + e.name, renew
	case bytes.Equal(leaf.RawIssuer, leaf.RawSubject):
		return "is signed by itself", renew + ", by an authority that others trust"
	case unknown && len(chain) == 1:
		return "comes alone, and leads to no authority: it was issued by " + leaf.Issuer.String(),
			"put the whole chain into the file of the certificate, the domain's own first (fullchain.pem of certbot)"
	case unknown:
		return "is of an authority that this machine does not trust: " + last(chain).Issuer.String(),
			renew + ", by an authority that others trust"
	case invalid.Reason == x509.IncompatibleUsage:
		return "is not for servers (its purposes leave serverAuth out)", renew + ", with the purpose serverAuth"
	}
	return "is not accepted: " + err.Error(), renew
}

// An Issued certificate comes by itself (ACME), or should.
type Issued struct {
	Name    string
	Problem string // of the last attempt; "" if it went well
	Do      string // how to mend it
	Next    time.Time
}

// issued names what no certificate has come for.
func (e *examination) issued() {
	for _, c := range e.Issued {
		if c.Problem == "" {
			continue
		}
		what := "no certificate has come for " + c.Name + ": " + c.Problem
		if !c.Next.IsZero() {
			what += ", next attempt at " + c.Next.UTC().Format("2006-01-02 15:04 MST")
		}
		e.add(Finding{Level: Warning, What: what, Why: "what is shown under that name is not accepted, now or soon",
			Do: cmp.Or(c.Do, "see the log, or name it in acme.except if it needs none")})
	}
}

func last(chain []*x509.Certificate) *x509.Certificate { return chain[len(chain)-1] }

// named are the names in a certificate, the first few of them.
func named(c *x509.Certificate) string {
	names := slices.Clone(c.DNSNames)
	if len(names) == 0 {
		return "no name"
	}
	if len(names) > 5 {
		names = append(names[:5], "more")
	}
	return strings.Join(names, ", ")
}
