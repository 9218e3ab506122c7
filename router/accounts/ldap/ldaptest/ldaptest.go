// Package ldaptest runs OpenLDAP's slapd, as installed (Debian: apt install slapd), for tests: with an empty directory,
// a certification authority and free ports of its own on loopback.
package ldaptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// What is in the directory from the start, beside the people that Add makes.
const (
	Base     = "dc=example,dc=org"
	People   = "ou=people," + Base
	Group    = "cn=chat,ou=groups," + Base // who may chat
	Admin    = "cn=admin," + Base
	Password = "the admin's own"
)

// A Directory is a running slapd.
type Directory struct {
	URL          string // ldap://, with StartTLS
	TLS          string // ldaps://
	CAFile       string // of who has signed its certificate
	OtherCAFile  string // of somebody else
	PasswordFile string // of Admin

	t     testing.TB
	dir   string
	slapd *exec.Cmd
}

const conf = `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
TLSCertificateFile %[1]s/cert.pem
TLSCertificateKeyFile %[1]s/key.pem
pidfile %[1]s/slapd.pid
database mdb
suffix "` + Base + `"
rootdn "` + Admin + `"
rootpw "` + Password + `"
directory %[1]s/db
dbnosync
overlay memberof
access to attrs=userPassword by anonymous auth by * none
access to * by users read by anonymous auth
`

// Start runs slapd until the test ends. It fails the test where it is not installed.
func Start(t testing.TB) *Directory {
	t.Helper()
	d := &Directory{t: t, dir: t.TempDir()}
	d.CAFile, d.OtherCAFile = filepath.Join(d.dir, "ca.pem"), filepath.Join(d.dir, "other.pem")
	d.PasswordFile = filepath.Join(d.dir, "password")
	d.certify(d.OtherCAFile)
	d.certify(d.CAFile)
	for name, text := range map[string]string{"password": Password + "\n", "slapd.conf": fmt.Sprintf(conf, d.dir)} {
		d.must(os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600))
	}
	d.must(os.Mkdir(filepath.Join(d.dir, "db"), 0o700))
	d.URL, d.TLS = "ldap://"+port(t), "ldaps://"+port(t)
	d.Run()
	t.Cleanup(d.Stop)
	c := d.Connect()
	defer c.Close()
	add := func(dn string, attributes map[string][]string) {
		r := ldap.NewAddRequest(dn, nil)
		for name, values := range attributes {
			r.Attribute(name, values)
		}
		d.must(c.Add(r))
	}
	add(Base, map[string][]string{"objectClass": {"dcObject", "organization"}, "dc": {"example"}, "o": {"Example"}})
	add(People, map[string][]string{"objectClass": {"organizationalUnit"}, "ou": {"people"}})
	add("ou=groups,"+Base, map[string][]string{"objectClass": {"organizationalUnit"}, "ou": {"groups"}})
	add(Group, map[string][]string{"objectClass": {"groupOfNames"}, "cn": {"chat"}, "member": {Admin}})
	return d
}

func (d *Directory) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// port is a free address of loopback.
func port(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// certify makes an authority, and what it signs for slapd.
func (d *Directory) certify(caFile string) {
	d.t.Helper()
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		d.must(err)
		return k
	}
	write := func(file, kind string, der []byte) {
		d.must(os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of a test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}
	caKey, ownKey := key(), key()
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	d.must(err)
	write(caFile, "CERTIFICATE", der)
	der, err = x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(2),
		Subject: pkix.Name{CommonName: "slapd"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, ca, ownKey.Public(), caKey)
	d.must(err)
	write(filepath.Join(d.dir, "cert.pem"), "CERTIFICATE", der)
	der, err = x509.MarshalPKCS8PrivateKey(ownKey)
	d.must(err)
	write(filepath.Join(d.dir, "key.pem"), "PRIVATE KEY", der)
}

// Run starts slapd, with what was in the directory when it was stopped.
func (d *Directory) Run() {
	d.t.Helper()
	// AppArmor, where it is in force, keeps the installed one from files of tests.
	program := filepath.Join(d.dir, "slapd")
	if _, err := os.Stat(program); err != nil {
		in, err := os.Open("/usr/sbin/slapd")
		if err != nil {
			d.t.Fatalf("%v; install it: apt install slapd", err)
		}
		defer in.Close()
		out, err := os.OpenFile(program, os.O_CREATE|os.O_WRONLY, 0o700)
		d.must(err)
		_, err = io.Copy(out, in)
		d.must(err)
		d.must(out.Close())
	}
	d.slapd = exec.Command(program, "-d", "0", "-f", filepath.Join(d.dir, "slapd.conf"), "-h", d.URL+" "+d.TLS)
	d.must(d.slapd.Start())
	for end := time.Now().Add(10 * time.Second); ; {
		c, err := net.Dial("tcp", d.URL[len("ldap://"):])
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			d.t.Fatalf("slapd does not start: %v", err)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// Stop ends slapd.
func (d *Directory) Stop() {
	if d.slapd == nil {
		return
	}
	_ = d.slapd.Process.Signal(os.Interrupt) // it may be gone
	_ = d.slapd.Wait()                       // by the signal
	d.slapd = nil
}

// Connect is a connection as Admin; the caller closes it.
func (d *Directory) Connect() *ldap.Conn {
	d.t.Helper()
	c, err := ldap.DialURL(d.URL)
	d.must(err)
	d.must(c.Bind(Admin, Password))
	return c
}

// DN is the entry of a person.
func DN(uid string) string { return "uid=" + ldap.EscapeDN(uid) + "," + People }

// Add makes a person, in the group or not.
func (d *Directory) Add(uid, password string, chats bool) {
	d.t.Helper()
	c := d.Connect()
	defer c.Close()
	r := ldap.NewAddRequest(DN(uid), nil)
	r.Attribute("objectClass", []string{"inetOrgPerson"})
	for name, value := range map[string]string{"uid": uid, "cn": uid, "sn": uid, "mail": uid + "@example.org",
		"userPassword": password} {
		r.Attribute(name, []string{value})
	}
	d.must(c.Add(r))
	if chats {
		d.Chats(uid, true)
	}
}

// Chats puts a person into the group, or takes it out.
func (d *Directory) Chats(uid string, chats bool) {
	d.t.Helper()
	c := d.Connect()
	defer c.Close()
	r := ldap.NewModifyRequest(Group, nil)
	if chats {
		r.Add("member", []string{DN(uid)})
	} else {
		r.Delete("member", []string{DN(uid)})
	}
	d.must(c.Modify(r))
}
