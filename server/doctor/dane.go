package doctor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// A tlsa is what the DNS says of a key or a certificate (RFC 6698 §2.1).
type tlsa struct {
	usage, selector, matching byte
	data                      []byte
}

func readTLSA(b []byte) (t tlsa, err error) {
	if len(b) < 4 {
		return t, errors.New("a record of TLSA is cut")
	}
	return tlsa{b[0], b[1], b[2], b[3:]}, nil
}

// matches says whether the record is of a certificate.
func (t tlsa) matches(c *x509.Certificate) bool {
	of := c.Raw
	switch t.selector {
	case 0:
	case 1:
		of = c.RawSubjectPublicKeyInfo
	default:
		return false
	}
	switch t.matching {
	case 0:
		return bytes.Equal(of, t.data)
	case 1:
		sum := sha256.Sum256(of)
		return bytes.Equal(sum[:], t.data)
	case 2:
		sum := sha512.Sum512(of)
		return bytes.Equal(sum[:], t.data)
	}
	return false
}

// holds says whether a server that shows this chain is the one that the record means: 1 and 3 are of its own
// certificate, 0 and 2 of one above (RFC 6698 §2.1.1).
func (t tlsa) holds(chain []*x509.Certificate) bool {
	switch t.usage {
	case 1, 3:
		return t.matches(chain[0])
	case 0, 2:
		for _, c := range chain[1:] {
			if t.matches(c) {
				return true
			}
		}
	}
	return false
}

// pinnedTime is how long the DNS has for such a record.
const pinnedTime = 2 * time.Second

// pinned examines what the DNS says of the key that a target shows (RFC 7673 §3).
func (e *examination) pinned(ctx context.Context, s service, t target, chain []*x509.Certificate) {
	owner := "_" + strconv.Itoa(int(t.port)) + "._tcp." + t.host
	ctx, cancel := context.WithTimeout(ctx, pinnedTime) // the connection has to end in its time
	defer cancel()
	a, err := e.Ask(ctx, owner, uint16(typeTLSA))
	if err != nil || len(a.Records) == 0 {
		return // nearly nobody has one, and many name servers of routers do not know the type
	}
	const keep = "have the records of TLSA changed before the certificate is (docs/manual.md), or remove them"
	for _, b := range a.Records {
		r, err := readTLSA(b)
		if err != nil || !r.holds(chain) {
			continue
		}
		if !a.Signed {
			e.add(Finding{Level: Note, What: owner + " has the TLSA of what is shown there, and its zone is not signed, " +
				"as far as the name server of this machine says", Why: "without a signature nobody heeds it (RFC 6698 §4.1)",
				Do: "have the zone signed (DNSSEC), or look from a machine whose resolver checks signatures"})
			return
		}
		e.good(owner + ": the signed TLSA is that of the certificate shown")
		return
	}
	level, why := Wrong, s.who+" that heed it (DANE) refuse what is shown"
	if !a.Signed {
		level, why = Warning, why+"; without a signed zone, as far as it is seen from here, they do not heed it yet"
	}
	e.add(Finding{Level: level, Why: why, Do: keep,
		What: fmt.Sprintf("none of the records TLSA of %s is of the certificate shown there", owner)})
}
