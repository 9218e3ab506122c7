package server

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"jackdaw/config"
)

// A hostCertificate is what a host is shown with.
type hostCertificate struct {
	domain string
	file   string // "" for one of our own making, or one that came by itself
	issued bool   // it came by itself
	leaf   *x509.Certificate
}

const (
	// expiresSoon is how long before its end a certificate is worth a warning. A program that renews by itself does so
	// at 30 days.
	expiresSoon = 14 * 24 * time.Hour
	// certificatesEvery is how often a running server looks at its certificates.
	certificatesEvery = 12 * time.Hour
)

// A notice is what whoever runs the server should know of a certificate.
type notice struct {
	host, problem, do string
	// refused says that clients and peers refuse the certificate already.
	refused bool
}

func (n notice) String() string { return "certificate of " + n.host + ": " + n.problem + "; " + n.do }

// notice says what is wrong with a certificate at that time; ok is true if nothing is.
func (c hostCertificate) notice(now time.Time) (n notice, ok bool) {
	n = notice{host: c.domain, do: "have it renewed, then run `jackdaw reload`"}
	where := c.file
	if where == "" {
		where, n.do = "self-signed", "run `jackdaw reload`, which makes it anew"
	}
	if c.issued {
		where, n.do = "issued by "+c.leaf.Issuer.CommonName,
			"see in the log why it was not renewed: \"no certificate obtained\""
	}
	name, err := asciiName(c.domain)
	if err == nil {
		err = c.leaf.VerifyHostname(name) // RFC 9525 §6.3
	}
	begin, end := c.leaf.NotBefore.Format(time.DateOnly), c.leaf.NotAfter.Format(time.DateOnly)
	switch {
	case err != nil:
		n.problem, n.refused = fmt.Sprintf("%s is of another name (%v)", where, err), true
		n.do = "name the files of a certificate for " + name + " in hosts[].cert and .key"
	case now.After(c.leaf.NotAfter):
		n.problem, n.refused = fmt.Sprintf("%s expired on %s", where, end), true
	case now.Before(c.leaf.NotBefore):
		n.problem, n.refused = fmt.Sprintf("%s is not valid before %s", where, begin), true
		n.do = "wait, or set the clock of this machine right"
	case now.Add(c.soon(expiresSoon, 5)).After(c.leaf.NotAfter):
		n.problem = fmt.Sprintf("%s ends on %s, in %d days", where, end, int(c.leaf.NotAfter.Sub(now)/(24*time.Hour)))
	default:
		return notice{}, true
	}
	return n, false
}

// soon is so long before the end of a certificate; of one that comes by itself it may be but a part of its lifetime, of
// which a third is left when it is renewed.
func (c hostCertificate) soon(long, part time.Duration) time.Duration {
	if !c.issued {
		return long
	}
	return min(long, c.leaf.NotAfter.Sub(c.leaf.NotBefore)/part)
}

func notices(list []hostCertificate, now time.Time) (all []notice) {
	for _, c := range list {
		if n, ok := c.notice(now); !ok {
			all = append(all, n)
		}
	}
	return all
}

// CheckCertificates reads the certificates that a start would read, and makes none. err is all that a start refuses,
// joined; warnings are what clients refuse or will soon.
func CheckCertificates(cfg *config.Config, now time.Time) (warnings []string, err error) {
	var wrong []error
	var list []hostCertificate
	for _, h := range cfg.Hosts {
		if h.Cert == "" {
			// One that is there already is made anew when its time comes.
			if _, _, _, err := readSelfSigned(cfg.Data, h.Domain); err != nil {
				wrong = append(wrong, err)
			}
			continue
		}
		c, err := loadPair(h)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		list = append(list, hostCertificate{domain: h.Domain, file: h.Cert, leaf: c.Leaf})
	}
	if cfg.ACME.On() {
		_, err := acmeSettings(cfg)
		wrong = append(wrong, err) // it may be nil
	}
	if cfg.Storage.Engine == config.EngineRedis {
		_, err := redisOptions(cfg.Storage.Redis)
		wrong = append(wrong, err) // it may be nil
	}
	for _, n := range notices(list, now) {
		warnings = append(warnings, n.String())
	}
	return warnings, errors.Join(wrong...)
}

// sayCertificates logs what is wrong with the certificates in use, a line for each, and returns the same as text.
func (h *house) sayCertificates() (warnings []string) {
	for _, n := range notices(h.certs.inUse(), time.Now()) {
		log := h.o.Log.Warn
		if n.refused {
			log = h.o.Log.Error
		}
		log("certificate needs attention", "host", n.host, "problem", n.problem, "do", n.do)
		warnings = append(warnings, n.String())
	}
	return warnings
}

// watchCertificates says it again while the server runs, until ctx ends: a server outlives its certificates.
func (h *house) watchCertificates(ctx context.Context) {
	tick, told := time.NewTicker(certificatesEvery), time.NewTicker(tellEvery)
	defer tick.Stop()
	defer told.Stop()
	h.tellAdmins(time.Now())
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.sayCertificates()
		case <-told.C:
			h.tellAdmins(time.Now())
		}
	}
}
