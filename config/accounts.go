package config

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"jackdaw/xmpp/jid"
)

// Accounts says who knows the passwords of accounts.
type Accounts struct {
	Backend string   `yaml:"backend"` // BackendInternal, BackendLDAP, BackendHTTP or BackendOAuth
	Hosts   []string `yaml:"hosts"`   // whose accounts are there; empty: those of all hosts
	Local   []string `yaml:"local"`   // bare JIDs of these hosts whose passwords are kept here all the same
	// Cache is how long a password that the backend has accepted is accepted without asking again.
	Cache time.Duration `yaml:"cache"`
	LDAP  LDAP          `yaml:"ldap"`
	HTTP  AccountsHTTP  `yaml:"http"`
	OAuth OAuth         `yaml:"oauth"`
}

// Who may know passwords.
const (
	BackendInternal = "internal" // this server
	BackendLDAP     = "ldap"
	BackendHTTP     = "http"
	BackendOAuth    = "oauth"
)

// MaxAccountsCache bounds Accounts.Cache: with it, the look at who is logged in and the time of a question, an account
// that was removed elsewhere can do nothing here after a minute.
const MaxAccountsCache = 30 * time.Second

// LDAP is a directory that knows passwords.
type LDAP struct {
	URLs []string `yaml:"urls"` // ldaps://HOST:PORT, or ldap://HOST:PORT for StartTLS; the first that answers is asked
	// StartTLS is without effect for ldaps.
	StartTLS bool   `yaml:"starttls"`
	CAFile   string `yaml:"ca_file"` // PEM; "": the authorities of the system
	// BindDN is who looks for users; "": nobody in particular.
	BindDN           string `yaml:"bind_dn"`
	BindPasswordFile string `yaml:"bind_password_file"`
	Base             string `yaml:"base"`      // below which users are
	Attribute        string `yaml:"attribute"` // that has the user name
	Address          bool   `yaml:"address"`   // Attribute has whole addresses
	Filter           string `yaml:"filter"`    // that an entry must match, besides its name
	// ChangePassword passes changes on (RFC 3062), as BindDN.
	ChangePassword bool `yaml:"change_password"`
}

// AccountsHTTP is a program that knows passwords and is asked by HTTP.
type AccountsHTTP struct {
	URL       string `yaml:"url"`
	TokenFile string `yaml:"token_file"` // what it is shown as Bearer; "": nothing
	CAFile    string `yaml:"ca_file"`    // PEM; "": the authorities of the system
}

// OAuth is an authorization server that knows whose an access token is (RFC 7662).
type OAuth struct {
	URL              string `yaml:"url"`       // of introspection
	ClientID         string `yaml:"client_id"` // who asks; "": nobody in particular
	ClientSecretFile string `yaml:"client_secret_file"`
	CAFile           string `yaml:"ca_file"`   // PEM; "": the authorities of the system
	Scope            string `yaml:"scope"`     // words that a token must all have
	Audience         string `yaml:"audience"`  // that a token must be for; "": any
	Username         string `yaml:"username"`  // the claim that has the user name
	Address          bool   `yaml:"address"`   // Username has whole addresses
	Discovery        string `yaml:"discovery"` // where clients learn how to get a token; "": nowhere
}

func defaultAccounts() Accounts {
	return Accounts{Backend: BackendInternal, Cache: MaxAccountsCache,
		LDAP:  LDAP{StartTLS: true, Attribute: "uid", Filter: "(objectClass=*)"},
		OAuth: OAuth{Username: "username"}}
}

// Elsewhere says whether the backend has accounts of a host.
func (a *Accounts) Elsewhere(host string) bool {
	if a.Backend == BackendInternal {
		return false
	}
	for _, h := range a.Hosts {
		if h == host {
			return true
		}
	}
	return len(a.Hosts) == 0
}

// ReadSecret returns what is in the file that a key names, without the newline at its end; "" for no file.
func ReadSecret(key, file string) (string, error) {
	if file == "" {
		return "", nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", key, err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// ReadRoots reads who signs certificates from the PEM file that a key names; nil for no file: the system's.
func ReadRoots(key, file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s: there is no certificate in %s; expected one as PEM", key, file)
	}
	return roots, nil
}

func (c *Config) checkAccounts(k *checker) {
	a := &c.Accounts
	k.oneOf("accounts.backend", a.Backend, BackendInternal, BackendLDAP, BackendHTTP, BackendOAuth)
	k.domains("accounts.hosts", a.Hosts)
	for i, h := range a.Hosts {
		if c.Host(h) == nil {
			k.add(fmt.Sprintf("accounts.hosts[%d]", i), "%s is none of hosts", h)
		}
	}
	k.bareJIDs("accounts.local", a.Local, false)
	if a.Backend != BackendInternal {
		for i, s := range a.Local {
			if j, err := jid.Parse(s); err == nil && !a.Elsewhere(j.Domain()) {
				k.add(fmt.Sprintf("accounts.local[%d]", i), "the accounts of %s are all kept here", j.Domain())
			}
		}
	}
	if a.Cache < 0 || a.Cache > MaxAccountsCache {
		k.add("accounts.cache", "expected 0 to %s, found %s", MaxAccountsCache, a.Cache)
	}
	a.LDAP.check(k, a.Backend == BackendLDAP)
	a.HTTP.check(k, a.Backend == BackendHTTP)
	a.OAuth.check(k, a.Backend == BackendOAuth)
}

func (l *LDAP) check(k *checker, used bool) {
	for i, s := range l.URLs {
		key := fmt.Sprintf("accounts.ldap.urls[%d]", i)
		u, err := url.Parse(s)
		switch {
		case err != nil || u.Scheme != "ldap" && u.Scheme != "ldaps" || u.Hostname() == "" || u.User != nil ||
			u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
			k.add(key, "expected ldaps://HOST:PORT, or ldap://HOST:PORT for StartTLS, found %q", s)
		case u.Scheme == "ldap" && !l.StartTLS && !Loopback(net.JoinHostPort(u.Hostname(), "389")):
			k.add("accounts.ldap.starttls", "expected true, since passwords would go to %s in the clear", u.Host)
		}
	}
	for _, one := range []struct{ key, value, example string }{
		{"base", l.Base, "where users are, such as ou=people,dc=example,dc=org"},
		{"attribute", l.Attribute, "the attribute that has the user name, such as uid"},
		{"filter", l.Filter, "a filter such as (memberOf=cn=chat,ou=groups,dc=example,dc=org)"},
	} {
		if used && one.value == "" {
			k.add("accounts.ldap."+one.key, "expected %s", one.example)
		}
	}
	if strings.ContainsFunc(l.Attribute, func(r rune) bool {
		return r != '-' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) { // RFC 4512 §2.5: a name or a number
		k.add("accounts.ldap.attribute", "expected the name of an attribute, found %q", l.Attribute)
	}
	if used && len(l.URLs) == 0 {
		k.add("accounts.ldap.urls", "expected where the directory is, such as [ldaps://ldap.example.org]")
	}
	if (l.BindDN == "") != (l.BindPasswordFile == "") {
		k.add("accounts.ldap.bind_dn", "expected both bind_dn and bind_password_file, or neither")
	}
	if l.ChangePassword && l.BindDN == "" {
		k.add("accounts.ldap.change_password", "expected bind_dn, too: who may set passwords")
	}
}

func (h *AccountsHTTP) check(k *checker, used bool) {
	k.asked("accounts.http.url", h.URL, used, "where the program is, such as https://login.example.org/xmpp", "passwords")
}

func (o *OAuth) check(k *checker, used bool) {
	k.asked("accounts.oauth.url", o.URL, used,
		"where tokens are introspected (RFC 7662), such as https://login.example.org/oauth2/introspect", "tokens")
	if (o.ClientID == "") != (o.ClientSecretFile == "") {
		k.add("accounts.oauth.client_id", "expected both client_id and client_secret_file, or neither")
	}
	if used && o.Username == "" {
		k.add("accounts.oauth.username", "expected what has the user name in an answer, such as username or sub")
	}
	if u, err := url.Parse(o.Discovery); o.Discovery != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		k.add("accounts.oauth.discovery",
			"expected an address such as https://login.example.org/.well-known/openid-configuration")
	}
	bad := func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' } // RFC 6749 §3.3
	if strings.ContainsFunc(o.Scope, bad) {
		k.add("accounts.oauth.scope", "expected words, found %q", o.Scope)
	}
}

// asked checks the address of whom is asked about accounts: by HTTPS, or on this machine.
func (k *checker) asked(key, address string, used bool, expected, secrets string) {
	u, err := url.Parse(address)
	switch {
	case address == "" && !used:
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http":
		k.add(key, "expected %s", expected)
	case u.Scheme == "http" && !Loopback(net.JoinHostPort(u.Hostname(), "80")):
		k.add(key, "expected https: %s would go to %s in the clear", secrets, u.Host)
	}
}
