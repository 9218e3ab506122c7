package config

import (
	"strings"
	"testing"
)

func TestWhoKnowsPasswordsIsChecked(t *testing.T) {
	const ldap = "backend: ldap, ldap: {base: 'dc=a', urls: ["
	for text, want := range map[string]string{
		ldap + "'ldaps://ldap.example.org']}":                                   "",
		ldap + "'ldap://ldap.example.org:390']}":                                "",
		ldap + "'ldap://127.0.0.1'], starttls: false}":                          "",
		ldap + "'ldap://ldap.example.org'], starttls: false}":                   "accounts.ldap.starttls: expected true",
		ldap + "'ldapi:///x']}":                                                 "accounts.ldap.urls[0]: expected ldaps://",
		ldap + "'ldaps://a/dc=b']}":                                             "accounts.ldap.urls[0]: expected ldaps://",
		ldap + "]}":                                                             "accounts.ldap.urls: expected where the directory is",
		ldap + "'ldaps://a'], bind_dn: 'cn=x'}":                                 "accounts.ldap.bind_dn: expected both",
		ldap + "'ldaps://a'], change_password: true}":                           "accounts.ldap.change_password: expected bind_dn",
		ldap + "'ldaps://a'], attribute: 'uid=*)(x'}":                           "accounts.ldap.attribute: expected the name",
		ldap + "'ldaps://a'], filter: ''}":                                      "accounts.ldap.filter: expected a filter",
		"backend: ldap, ldap: {urls: ['ldaps://a']}":                            "accounts.ldap.base: expected where users are",
		"backend: nis":                                                          "accounts.backend: expected one of internal, ldap, http",
		"backend: http, http: {url: 'https://a/x?y=z'}":                         "",
		"backend: http, http: {url: 'http://[::1]:8080/x'}":                     "",
		"backend: http, http: {url: 'http://login.example.org'}":                "accounts.http.url: expected https",
		"backend: http, http: {url: 'https://u:p@a'}":                           "accounts.http.url: expected where the program is",
		"backend: http":                                                         "accounts.http.url: expected where the program is",
		"backend: oauth, oauth: {url: 'https://a/x'}":                           "",
		"backend: oauth, oauth: {url: 'http://127.0.0.1:8080/x', scope: 'a b'}": "",
		"backend: oauth, oauth: {url: 'http://login.example.org'}":              "accounts.oauth.url: expected https: tokens would go",
		"backend: oauth":                                                        "accounts.oauth.url: expected where tokens are introspected",
		"backend: oauth, oauth: {url: 'https://a', client_id: x}":               "accounts.oauth.client_id: expected both",
		"backend: oauth, oauth: {url: 'https://a', username: ''}":               "accounts.oauth.username: expected what has",
		"backend: oauth, oauth: {url: 'https://a', discovery: 'http://a'}":      "accounts.oauth.discovery: expected an address",
		"backend: oauth, oauth: {url: 'https://a', scope: '\"'}":                "accounts.oauth.scope: expected words",
		"cache: 31s": "accounts.cache: expected 0 to 30s",
		"hosts: [example.net], backend: http, http: {url: 'https://a'}":                             "example.net is none of hosts",
		"local: [x], backend: http, http: {url: 'https://a'}":                                       "accounts.local[0]: expected a bare JID",
		"local: [A@Example.org], backend: http, http: {url: 'https://a'}, hosts: [Example.org]":     "",
		"local: [a@example.com], backend: http, http: {url: 'https://a'}, hosts: [example.org]":     "are all kept here",
		"local: [a@example.com], backend: http, http: {url: 'https://a', token_file: /x}, cache: 0": "",
	} {
		c, err := parse("f", []byte("hosts: [{domain: example.org}, {domain: example.com}]\naccounts: {"+text+"}\n"))
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", text, err, want)
		case err == nil && (!c.Accounts.Elsewhere("example.org") || c.Accounts.Elsewhere("example.com") != (len(c.Accounts.Hosts) == 0)):
			t.Errorf("%s: whose accounts are elsewhere is told wrong", text)
		}
	}
}
