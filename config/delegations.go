package config

import (
	"slices"
	"strings"
)

// A Delegation is which requests to some hosts, and to the accounts there, a component answers (XEP-0355).
type Delegation struct {
	Hosts []string `yaml:"hosts"` // empty: all hosts
	// Namespaces are those of the payloads. A payload is the component's if it has all these attributes.
	Namespaces map[string][]string `yaml:"namespaces"`
}

// Of says whether it holds for a host.
func (d *Delegation) Of(host string) bool { return len(d.Hosts) == 0 || slices.Contains(d.Hosts, host) }

// undelegated are the namespaces that are never a component's, with the reason.
var undelegated = map[string]string{
	"urn:xmpp:delegation:2": "XEP-0355 forbids it",
	"urn:xmpp:privilege:2":  "it says what components may do",
	// Streams begin and end with these; some come with passwords.
	"urn:ietf:params:xml:ns:xmpp-sasl":    isStreams,
	"urn:ietf:params:xml:ns:xmpp-bind":    isStreams,
	"urn:ietf:params:xml:ns:xmpp-session": isStreams,
	"urn:xmpp:sasl:2":                     isStreams,
	"urn:xmpp:bind:0":                     isStreams,
	"urn:xmpp:sm:3":                       isStreams,
	"urn:xmpp:fast:0":                     isStreams,
	"jabber:iq:auth":                      isStreams,
	// This server acts on what they set, and goes on to do so.
	"jabber:iq:roster":   "this server decides by it who sees whom",
	"urn:xmpp:blocking":  "this server enforces it",
	"urn:xmpp:carbons:2": "this server makes the copies",
	"urn:xmpp:cam:0":     "this server keeps the devices and tokens",
	// Passwords are in them.
	"jabber:iq:register":                  "this server keeps the accounts",
	"http://jabber.org/protocol/commands": "administration is in it",
	// What a component says of itself is put into the server's answers.
	"http://jabber.org/protocol/disco#info":  isDisco,
	"http://jabber.org/protocol/disco#items": isDisco,
}

const (
	isStreams = "streams are this server's"
	isDisco   = "features of a component are announced without; for nodes of accounts there is " +
		"urn:xmpp:delegation:2:bare:disco#info:* and urn:xmpp:delegation:2:bare:disco#items:*"
)

func (c *Config) checkDelegations(k *checker) {
	if len(c.Component.Delegations) > 0 {
		c.Component.Delegations = byDomain(k, "component.delegations", c.Component.Delegations)
	}
	for domain, d := range c.Component.Delegations {
		key := "component.delegations[" + domain + "]"
		if _, ok := c.Component.Secrets[domain]; !ok {
			k.add(key, "no component has this domain; expected one of component.secrets")
		}
		k.domains(key+".hosts", d.Hosts)
		for _, h := range d.Hosts {
			if c.Host(h) == nil {
				k.add(key+".hosts", "%s is not one of hosts", h)
			}
		}
		if len(d.Namespaces) == 0 {
			k.add(key+".namespaces", "expected what it answers, such as {\"http://jabber.org/protocol/pubsub\": []}")
		}
		for ns, attributes := range d.Namespaces {
			c.checkDelegated(k, key+".namespaces["+ns+"]", domain, ns, attributes)
		}
	}
}

// checkDelegated checks one namespace of a component.
func (c *Config) checkDelegated(k *checker, key, domain, ns string, attributes []string) {
	if why, never := undelegated[ns]; never {
		k.add(key, "this namespace cannot be delegated: %s", why)
	}
	if ns == "" || strings.ContainsAny(ns, " \t\r\n") {
		k.add(key, "expected a namespace, such as http://jabber.org/protocol/pubsub")
	}
	for _, a := range attributes {
		if a == "" || strings.ContainsAny(a, " \t\r\n:='\"<>&/") {
			k.add(key, "expected names of attributes, such as node, found %q", a)
		}
	}
	for other, d := range c.Component.Delegations {
		if _, both := d.Namespaces[ns]; !both || other <= domain {
			continue
		}
		mine := c.Component.Delegations[domain]
		for _, h := range c.Hosts {
			if d.Of(h.Domain) && mine.Of(h.Domain) {
				k.add(key, "%s has it, too, for %s; expected one component", other, h.Domain)
			}
		}
	}
}
