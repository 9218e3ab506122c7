package config

import (
	"strings"
	"testing"
)

func TestWhatMayBeDelegated(t *testing.T) {
	const begin = "hosts: [{domain: example.org}, {domain: example.net}]\nlisten: {component: ['127.0.0.1:0']}\n" +
		"component:\n  secrets: {a.example.org: x, b.example.org: x}\n  delegations: "
	for given, want := range map[string]string{
		"{a.example.org: {namespaces: {'http://jabber.org/protocol/pubsub': [], 'urn:xmpp:mam:2': [node]}}}":                       "",
		"{a.example.org: {namespaces: {'urn:xmpp:delegation:2:bare:disco#items:*': []}}}":                                          "",
		"{a.example.org: {hosts: [example.org], namespaces: {x: []}}, b.example.org: {hosts: [example.net], namespaces: {x: []}}}": "",
		"{a.example.org: {namespaces: {x: []}}, b.example.org: {hosts: [example.net], namespaces: {x: [y]}}}":                      "has it, too, for example.net",
		"{c.example.org: {namespaces: {x: []}}}":                                                                                   "no component has this domain",
		"{a.example.org: {}}":                                                                                                      "expected what it answers",
		"{a.example.org: {hosts: [elsewhere.example], namespaces: {x: []}}}":                                                       "is not one of hosts",
		"{a.example.org: {namespaces: {'': []}}}":                                                                                  "expected a namespace",
		"{a.example.org: {namespaces: {x: ['a:b']}}}":                                                                              "expected names of attributes",
		"{a.example.org: {namespaces: {'urn:xmpp:delegation:2': []}}}":                                                             "XEP-0355 forbids it",
		"{a.example.org: {namespaces: {'jabber:iq:roster': []}}}":                                                                  "cannot be delegated",
		"{a.example.org: {namespaces: {'urn:ietf:params:xml:ns:xmpp-session': []}}}":                                               "cannot be delegated",
		"{a.example.org: {namespaces: {'http://jabber.org/protocol/disco#info': []}}}":                                             "bare:disco#info:*",
		"{a.example.org: {namespaces: {'jabber:iq:register': [], 'urn:xmpp:blocking': []}}}":                                       "cannot be delegated",
	} {
		_, err := Parse("jackdaw.yaml", []byte(begin+given+"\n"))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", given, err, want)
		}
	}
}
