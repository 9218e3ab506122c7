package doctor

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
)

// A caa is one record of who may issue certificates (RFC 8659 §4.1).
type caa struct {
	critical   bool
	tag, value string
}

func readCAA(b []byte) (c caa, err error) {
	if len(b) < 2 || b[1] == 0 || len(b) < 2+int(b[1]) {
		return c, errors.New("a record of CAA is cut")
	}
	at := 2 + int(b[1])
	for _, r := range b[2:at] { // RFC 8659 §4.1
		if r < '0' || r > '9' && r < 'A' || r > 'Z' && r < 'a' || r > 'z' {
			return c, errors.New("a record of CAA is damaged")
		}
	}
	return caa{critical: b[0]&0x80 != 0, tag: strings.ToLower(string(b[2:at])), value: string(b[at:])}, nil
}

// issuer is the authority that a record names; "" means that none may issue (RFC 8659 §4.2). Its parameters say more
// than can be known here.
func (c caa) issuer() string {
	name, _, _ := strings.Cut(c.value, ";")
	return strings.ToLower(strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' { // it is going to be shown
			return '?'
		}
		return r
	}, name)))
}

// authorities examines whether the DNS lets the authority issue certificates that come by themselves.
func (e *examination) authorities(ctx context.Context) {
	c := e.Config
	if c == nil || !c.ACME.On() || c.Host(e.host) == nil || c.Host(e.host).Cert != "" {
		return
	}
	ctx, cancel := e.within(ctx)
	defer cancel()
	names, err := e.identities(ctx)
	if err != nil {
		e.add(Finding{Level: Note, What: "who may issue certificates (CAA) is not looked at: " + err.Error(),
			Do: "see whether the authority of acme.directory is reached: curl " + c.ACME.Directory})
		return
	}
	if len(names) == 0 { // the authority heeds no such record, or does not say its name
		return
	}
	domains := []string{e.name}
	for _, s := range beneath(c, e.host) {
		if name, err := ascii(s.name); err == nil {
			domains = append(domains, name)
		}
	}
	seen := map[string]bool{}
	for _, domain := range domains {
		if slices.Contains(c.ACME.Except, domain) {
			continue
		}
		owner, records, err := e.climb(ctx, domain)
		if err != nil {
			e.add(Finding{Level: Warning, What: "the DNS does not say who may issue certificates for " + domain +
				" (CAA): " + err.Error(), Why: "an authority that hears no answer issues none (RFC 8659 §6.3)",
				Do: "see to the name servers of " + domain})
			continue
		}
		if owner != "" && !seen[owner] {
			seen[owner] = true
			e.permitted(owner, records, names)
		}
	}
}

// identities are the names by which records of CAA may name the authority (RFC 8555 §7.1.1).
func (e *examination) identities(ctx context.Context) ([]string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, e.Config.ACME.Directory, nil)
	if err != nil {
		return nil, err
	}
	c := e.client()
	if file := e.Config.ACME.CAFile; file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		c.Transport.(*http.Transport).TLSClientConfig.RootCAs = pool
	}
	answer, err := e.do(c, r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, errors.New(answer.Status)
	}
	var doc struct {
		Meta struct {
			CAAIdentities []string `json:"caaIdentities"`
		} `json:"meta"`
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(&doc); err != nil {
		return nil, fmt.Errorf("the directory is no JSON: %w", err)
	}
	return doc.Meta.CAAIdentities, nil
}

// climb finds the records that count for a domain: those of the domain, or of the closest above that has any (RFC 8659
// §3).
func (e *examination) climb(ctx context.Context, domain string) (owner string, records []caa, err error) {
	for name := domain; strings.Contains(name, "."); _, name, _ = strings.Cut(name, ".") {
		a, err := e.Ask(ctx, name, uint16(typeCAA))
		if err != nil {
			return name, nil, err
		}
		for _, b := range a.Records {
			c, err := readCAA(b)
			if err != nil {
				return name, nil, err
			}
			records = append(records, c)
		}
		if len(records) > 0 {
			return name, records, nil
		}
	}
	return "", nil, nil
}

// permitted says whether records of CAA let an authority of these names issue a certificate.
func (e *examination) permitted(owner string, records []caa, names []string) {
	add := "add the record: " + Record{Owner: owner, Type: "CAA", Data: `0 issue "` + names[0] + `"`}.String()
	var others []string
	for _, r := range records {
		switch {
		case r.tag == "issue" && slices.Contains(names, r.issuer()):
			e.good("CAA of " + owner + " lets " + r.issuer() + " issue certificates")
			return
		case r.tag == "issue" && r.issuer() == "":
			others = append(others, "nobody")
		case r.tag == "issue":
			others = append(others, r.issuer())
		case r.critical && r.tag != "issuewild" && r.tag != "iodef" && r.tag != "issuemail": // RFC 8659 §4.1
			e.add(Finding{Level: Wrong, What: fmt.Sprintf("CAA of %s has the critical tag %.40q", owner, r.tag),
				Why: "an authority that does not know it issues no certificate", Do: "remove that record"})
			return
		}
	}
	if len(others) == 0 {
		e.good("CAA of " + owner + " lets every authority issue certificates")
		return
	}
	e.add(Finding{Level: Wrong, What: fmt.Sprintf("CAA of %s lets %.200s issue certificates, and not %s", owner,
		strings.Join(others, ", "), names[0]),
		Why: "the certificate comes from there, and is refused now or when it is renewed", Do: add})
}
