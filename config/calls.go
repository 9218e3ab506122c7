package config

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// Calls sets up what clients need so that calls between them connect: a relay of our own (STUN, RFC 8489; TURN, RFC
// 8656), and services elsewhere that they are told of (XEP-0215).
type Calls struct {
	Enabled bool `yaml:"enabled"` // the relay
	// Listen are addresses, HOST:PORT or :PORT, that take UDP and TCP each.
	Listen []string `yaml:"listen"`
	Ports  Ports    `yaml:"ports"` // of UDP, for what is relayed
	// Addresses are those at which everybody reaches this machine, one of IPv4 and one of IPv6 at most; empty: those of
	// its interfaces, else what Stun says.
	Addresses []string `yaml:"addresses"`
	// Stun is a server, HOST:PORT, that is asked which address this machine is seen with; empty: none.
	Stun string `yaml:"stun"`
	// Host is a name that leads to this machine, for TURN over TLS; empty: the host of the user.
	Host string `yaml:"host"`

	Allocations        int `yaml:"allocations"`         // at a time, of one account
	AddressAllocations int `yaml:"address_allocations"` // at a time, from one address
	Rate               int `yaml:"rate"`                // bytes a second of one allocation, each way

	External []ExternalService `yaml:"external"`
}

// An ExternalService is one elsewhere.
type ExternalService struct {
	Type      string `yaml:"type"` // stun, stuns, turn or turns
	Host      string `yaml:"host"` // a name or an address
	Port      int    `yaml:"port"`
	Transport string `yaml:"transport"` // udp or tcp
	// Secret is the one shared with a relay (static-auth-secret of coturn); "file:PATH" reads it from a file; empty:
	// whoever comes may use it.
	Secret string `yaml:"secret"`
}

// SharedSecret returns the secret, without the newline at a file's end.
func (s ExternalService) SharedSecret() (string, error) {
	path, isFile := strings.CutPrefix(s.Secret, "file:")
	if !isFile {
		return s.Secret, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the secret of calls.external at %s: %w", s.Host, err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// Ports are those from First to Last.
type Ports struct {
	First int `yaml:"first"`
	Last  int `yaml:"last"`
}

// Len is how many there are.
func (p Ports) Len() int { return p.Last - p.First + 1 }

func defaultCalls() Calls {
	return Calls{Listen: []string{":3478"}, Ports: Ports{49160, 49360}, Allocations: 10, AddressAllocations: 50,
		Rate: 2 << 20}
}

func (c *Config) checkCalls(k *checker) {
	s := &c.Calls
	if s.Enabled && len(s.Listen) == 0 {
		k.add("calls.listen", "expected an address such as :3478, or calls.enabled: false")
	}
	for i, addr := range s.Listen {
		k.hostPort(fmt.Sprintf("calls.listen[%d]", i), addr)
	}
	if s.Ports.First < 1024 || s.Ports.Last > 65535 || s.Ports.Len() < 2 {
		k.add("calls.ports", "expected first and last of 1024 to 65535, at least two ports, found %d to %d", s.Ports.First,
			s.Ports.Last)
	}
	seen := map[bool]bool{} // whether it is of IPv4
	for i, text := range s.Addresses {
		key := fmt.Sprintf("calls.addresses[%d]", i)
		a, err := netip.ParseAddr(text)
		switch {
		case err != nil || a.Zone() != "" || a.IsUnspecified() || a.Is4In6():
			k.add(key, "expected an address such as 192.0.2.7 or 2001:db8::7, found %q", text)
		case seen[a.Is4()]:
			k.add(key, "expected one address of IPv4 and one of IPv6 at most")
		}
		seen[a.Is4()] = true
	}
	if s.Stun != "" {
		k.hostPort("calls.stun", s.Stun)
	}
	if s.Host != "" {
		if d, ok := k.domain("calls.host", s.Host); ok {
			s.Host = d
		}
	}
	k.atLeast("calls.allocations", int64(s.Allocations), 1)
	k.atLeast("calls.address_allocations", int64(s.AddressAllocations), 1)
	k.atLeast("calls.rate", int64(s.Rate), 16<<10)
	for i, e := range s.External {
		key := fmt.Sprintf("calls.external[%d]", i)
		k.oneOf(key+".type", e.Type, "stun", "stuns", "turn", "turns")
		k.oneOf(key+".transport", e.Transport, "udp", "tcp")
		if e.Host == "" {
			k.add(key+".host", "expected a name or an address")
		}
		if e.Port < 1 || e.Port > 65535 {
			k.add(key+".port", "expected 1 to 65535, found %d", e.Port)
		}
		if e.Secret == "file:" {
			k.add(key+".secret", "expected a secret, or file:PATH of one")
		}
	}
}

// Bytestreams sets up the proxy for files between clients (XEP-0065).
type Bytestreams struct {
	Listen []string `yaml:"listen"` // HOST:PORT or :PORT
	// Host is what clients are told to connect to; empty: the host of the user.
	Host     string `yaml:"host"`
	MaxBytes int64  `yaml:"max_bytes"` // of one stream, each way
	Rate     int    `yaml:"rate"`      // bytes a second of an account, by all its streams
}

// ProxyDomain is that of the proxy for files between clients of a host; ok is false where the domain is somebody
// else's.
func (c *Config) ProxyDomain(host string) (domain string, ok bool) {
	domain = "proxy." + host
	_, taken := c.Component.Secrets[domain]
	return domain, !taken && domain != c.Modules.MUC.Domain && c.Host(domain) == nil
}

func (c *Config) checkBytestreams(k *checker) {
	b := &c.Modules.Bytestreams
	for i, addr := range b.Listen {
		k.hostPort(fmt.Sprintf("modules.bytestreams.listen[%d]", i), addr)
	}
	if c.Modules.Enabled("bytestreams") && len(b.Listen) == 0 {
		k.add("modules.bytestreams.listen", "expected an address such as :7777")
	}
	k.atLeast("modules.bytestreams.max_bytes", b.MaxBytes, 1)
	k.atLeast("modules.bytestreams.rate", int64(b.Rate), 16<<10)
}
