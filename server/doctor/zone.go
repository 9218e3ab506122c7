package doctor

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/idna"

	"jackdaw/config"
)

// A Record is one record of the DNS.
type Record struct {
	Owner string `json:"owner"` // whole, without the dot at its end
	Type  string `json:"type"`
	Data  string `json:"data"` // as a zone file has it; "": it is not known here
	Why   string `json:"why"`
	// Optional says that things work without it, and that it is not for everybody.
	Optional bool `json:"optional,omitempty"`
}

// recordTTL is how long others may remember a record, in seconds.
const recordTTL = 3600

// String is the record in the form of a zone file; one that is not known, or is not for everybody, as a comment.
func (r Record) String() string {
	data, comment := r.Data, ""
	if data == "" {
		data = "(the address of this machine as everybody sees it)"
	}
	if r.Optional || r.Data == "" {
		comment = "; "
	}
	return fmt.Sprintf("%s%s. %d IN %s %s", comment, r.Owner, recordTTL, r.Type, data)
}

// Place is what a configuration does not say of where its server is.
type Place struct {
	Machine   string       // its name in the DNS; "": that of the host
	Addresses []netip.Addr // as everybody sees them
	// Authority is who signs the certificates, as it calls itself in CAA records: "letsencrypt.org"; "": not said.
	Authority string
	// Certificate is the one that is shown, if it is known and its key stays.
	Certificate *x509.Certificate
}

// Zone is what the DNS has to say of a host for others to find all that the configuration has it serve. The host is
// one of the configuration's.
func Zone(c *config.Config, host string, at Place) ([]Record, error) {
	name, err := ascii(host)
	if err != nil {
		return nil, err
	}
	z := &zone{config: c, Place: at}
	if z.machine = name; at.Machine != "" {
		if z.machine, err = ascii(at.Machine); err != nil {
			return nil, err
		}
	}
	z.addresses(z.machine, "the machine")
	if z.machine != name {
		z.addresses(name, "the domain itself, for certificates and browsers; leave it as it is if a website is there")
		z.optional()
	}
	z.services(name)
	for _, s := range beneath(c, host) {
		if s.name, err = ascii(s.name); err != nil {
			return nil, err
		}
		z.addresses(s.name, s.why)
		if s.federated {
			z.peers(s.name)
		}
	}
	if at.Authority != "" {
		z.add(Record{Owner: name, Type: "CAA", Data: `0 issue "` + at.Authority + `"`, Optional: false,
			Why: "nobody else may issue certificates for the domain; add the others that do"})
	}
	z.pins()
	return z.records, nil
}

func ascii(domain string) (string, error) {
	name, err := idna.Lookup.ToASCII(strings.TrimSuffix(domain, "."))
	if err != nil {
		return "", fmt.Errorf("%s is no name of the DNS: %w", domain, err)
	}
	return strings.ToLower(name), nil
}

// A zone is being written.
type zone struct {
	Place
	config  *config.Config
	machine string // in the DNS
	records []Record
}

func (z *zone) add(r Record) { z.records = append(z.records, r) }

// optional marks what was added last of one owner.
func (z *zone) optional() {
	owner := z.records[len(z.records)-1].Owner
	for i := range z.records {
		if z.records[i].Owner == owner {
			z.records[i].Optional = true
		}
	}
}

func (z *zone) addresses(name, why string) {
	for _, a := range z.Addresses {
		z.add(addressRecord(name, a, why))
	}
	if len(z.Addresses) == 0 {
		z.add(Record{Owner: name, Type: "A", Why: why})
	}
}

func addressRecord(name string, a netip.Addr, why string) Record {
	kind := "A"
	if a.Unmap().Is6() {
		kind = "AAAA"
	}
	return Record{Owner: name, Type: kind, Data: a.Unmap().String(), Why: why}
}

// The priorities of two ports for the same: the one that is for it alone comes first.
const (
	ownPort    = 5
	sharedPort = 10
)

// services are the records by which clients and peers find a host (RFC 6120 §3.2.1, XEP-0368 §3).
func (z *zone) services(name string) {
	l := &z.config.Listen
	z.service("xmpp-client", name, "clients", Ports(l.C2S), nil)
	z.service("xmpps-client", name, "clients that begin with TLS", Ports(l.C2STLS), Ports(l.TLS))
	z.peers(name)
}

// peers are the records by which other servers find a domain.
func (z *zone) peers(name string) {
	l := &z.config.Listen
	var shared []uint16
	if z.config.Federates() {
		shared = Ports(l.TLS)
	}
	z.service("xmpp-server", name, "other servers", Ports(l.S2S), nil)
	z.service("xmpps-server", name, "other servers that begin with TLS", Ports(l.S2STLS), shared)
}

func (z *zone) service(label, name, who string, own, shared []uint16) {
	owner := "_" + label + "._tcp." + name
	if len(own)+len(shared) == 0 {
		// RFC 6120 §3.2.1, RFC 2782: it is decidedly not there, so that nobody tries.
		z.add(Record{Owner: owner, Type: "SRV", Data: "0 0 0 .", Why: who + " are not served"})
	}
	for _, p := range own {
		z.add(serviceRecord(owner, ownPort, p, z.machine, who))
	}
	for _, p := range shared {
		if !slices.Contains(own, p) {
			z.add(serviceRecord(owner, sharedPort, p, z.machine, who+", where only the web passes"))
		}
	}
}

func serviceRecord(owner string, priority int, port uint16, host, why string) Record {
	return Record{Owner: owner, Type: "SRV", Data: fmt.Sprintf("%d 0 %d %s.", priority, port, host), Why: why}
}

// record is the line to add for a service.
func record(owner string, port uint16, host string) string {
	return serviceRecord(owner, ownPort, port, host, "").String()
}

// A subdomain is one of a host's services with a domain of its own.
type subdomain struct {
	name, why string
	federated bool // users of other servers come to it
}

// beneath are the domains of a host's services that others look up.
func beneath(c *config.Config, host string) (all []subdomain) {
	if c.Modules.Enabled("muc") && c.Federates() {
		domain := cmp.Or(c.Modules.MUC.Domain, "rooms."+host)
		all = append(all, subdomain{domain, "rooms, for users of other servers", true})
	}
	if domain, ok := c.UploadDomain(host); ok && c.Modules.Enabled("upload") {
		all = append(all, subdomain{domain, "files, for the name in the certificate", false})
	}
	return all
}

// pins are what DANE says of the key (RFC 7673 §3), for the ports of the zone. They are of use only where the zone is
// signed, and the key stays when the certificate is renewed.
func (z *zone) pins() {
	if z.Certificate == nil {
		return
	}
	sum := sha256.Sum256(z.Certificate.RawSubjectPublicKeyInfo)
	l := &z.config.Listen
	for _, p := range Ports(slices.Concat(l.C2S, l.C2STLS, l.TLS, l.S2S, l.S2STLS)) {
		z.add(Record{Owner: "_" + strconv.Itoa(int(p)) + "._tcp." + z.machine, Type: "TLSA",
			Data: "3 1 1 " + hex.EncodeToString(sum[:]), Optional: true,
			Why: "only if the zone is signed (DNSSEC), and the key stays when the certificate is renewed"})
	}
}
