package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"testing"
	"time"
)

var now = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// authority issues certificates in memory.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var serial int64

// issue completes a template and has it signed; by nil, by itself.
func issue(t *testing.T, by *authority, c *x509.Certificate) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial++
	c.SerialNumber = big.NewInt(serial)
	if c.Subject.CommonName == "" {
		c.Subject.CommonName = big.NewInt(serial).String()
	}
	if c.NotBefore.IsZero() {
		c.NotBefore, c.NotAfter = now.Add(-time.Hour), now.Add(time.Hour)
	}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{made, key}
}

func newRoot(t *testing.T) *authority { return newCA(t, nil, &x509.Certificate{}) }

func newCA(t *testing.T, by *authority, c *x509.Certificate) *authority {
	c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	return issue(t, by, c)
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// leaf issues a certificate with a dNSName for servers.
func (a *authority) leaf(t *testing.T, names ...string) *x509.Certificate {
	t.Helper()
	return issue(t, a, &x509.Certificate{DNSNames: names,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}).cert
}

// general is one GeneralName in DER.
type general []byte

func marshal(v any) []byte {
	b, err := asn1.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func context(tag int, compound bool, content []byte) general {
	return marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: compound, Bytes: content})
}

func other(oid asn1.ObjectIdentifier, value []byte) general {
	return context(tagOtherName, true, append(marshal(oid), context(0, true, value)...))
}

var (
	oidXMPPAddr = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 5}
	oidSRVName  = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 7}
	oidUPN      = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3}
)

func text(tag int, s string) []byte { return marshal(asn1.RawValue{Tag: tag, Bytes: []byte(s)}) }

func xmppAddr(s string) general { return other(oidXMPPAddr, text(asn1.TagUTF8String, s)) }
func srvName(s string) general  { return other(oidSRVName, text(asn1.TagIA5String, s)) }
func dnsName(s string) general  { return context(tagDNSName, false, []byte(s)) }
func ipName(s string) general {
	ip := net.ParseIP(s)
	if v4 := ip.To4(); v4 != nil {
		ip = v4
	}
	return context(tagIPAddress, false, ip)
}

func sequence(names ...general) []byte {
	var all []byte
	for _, n := range names {
		all = append(all, n...)
	}
	return marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: all})
}

// named is a template whose alternative names are given in DER.
func named(critical bool, names ...general) *x509.Certificate {
	return &x509.Certificate{ExtraExtensions: []pkix.Extension{{Id: oidAltName, Critical: critical,
		Value: sequence(names...)}}}
}
