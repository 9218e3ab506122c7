package config

import (
	"encoding/base64"
	"fmt"
	"net/mail"
	"net/url"
	"os"
	"strings"
)

// LetsEncrypt is the directory of the authority that is asked if no other is named.
const LetsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

// ACME has certificates come by themselves (RFC 8555), for hosts that name none.
type ACME struct {
	// Email or Agree turn it on, and accept the terms of service of the authority.
	Email     string `yaml:"email"` // the authority may write there; some do before a certificate ends
	Agree     bool   `yaml:"agree"`
	Directory string `yaml:"directory"` // URL
	// CAFile has in PEM who signs the certificate of the directory itself; empty: whom the system trusts.
	CAFile          string          `yaml:"ca_file"`
	ExternalAccount ExternalAccount `yaml:"external_account"`
	Profile         string          `yaml:"profile"` // of certificates, as the authority names them; empty: its default
	Except          []string        `yaml:"except"`  // names that get none, normalised by Validate
	// Resolver is the server of the DNS, as HOST:PORT, that is asked whether a name has a record; empty: that of the
	// system.
	Resolver string `yaml:"resolver"`
}

// ExternalAccount is one that exists at the authority outside ACME (RFC 8555 §7.3.4).
type ExternalAccount struct {
	KeyID      string `yaml:"key_id"`
	MACKeyFile string `yaml:"mac_key_file"` // the key as base64url
}

// On says whether certificates are asked for.
func (a ACME) On() bool { return a.Email != "" || a.Agree }

// MACKey reads the key; nil: there is no external account.
func (e ExternalAccount) MACKey() ([]byte, error) {
	if e.MACKeyFile == "" {
		return nil, nil
	}
	b, err := os.ReadFile(e.MACKeyFile)
	if err != nil {
		return nil, fmt.Errorf("read acme.external_account.mac_key_file: %w", err)
	}
	// Authorities show it with and without padding, and in either alphabet.
	text := strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(strings.TrimSpace(string(b)), "="))
	key, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(key) == 0 {
		return nil, fmt.Errorf("acme.external_account.mac_key_file: expected a key as base64url in %s", e.MACKeyFile)
	}
	return key, nil
}

func (c *Config) checkACME(k *checker) {
	a := &c.ACME
	if a.Email != "" {
		if m, err := mail.ParseAddress(a.Email); err != nil || m.Address != a.Email {
			k.add("acme.email", "expected an address such as admin@example.org, found %q", a.Email)
		}
	}
	u, err := url.Parse(a.Directory)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !Loopback(u.Host)) {
		k.add("acme.directory", "expected the https URL of an authority, such as %s, found %q", LetsEncrypt, a.Directory)
	}
	if e := a.ExternalAccount; (e.KeyID == "") != (e.MACKeyFile == "") {
		k.add("acme.external_account", "expected key_id and mac_key_file, both or neither")
	}
	k.domains("acme.except", a.Except)
	if a.Resolver != "" {
		k.hostPort("acme.resolver", a.Resolver)
	}
}
