package server

import (
	"cmp"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"jackdaw/c2s"
	"jackdaw/modules/httpmessage"
	"jackdaw/portable"
	"jackdaw/router"
	"jackdaw/s2s"
	"jackdaw/web/bosh"
)

var update = flag.Bool("update", false, "write docs/xeps.md anew")

const specsFile = "../docs/xeps.md"

// titles of what the modules name, as the specifications have them.
var titles = map[string]string{
	"RFC 6120": "XMPP: Core",
	"RFC 6121": "XMPP: Instant Messaging and Presence",
	"RFC 5802": "Salted Challenge Response Authentication Mechanism (SCRAM)",
	"RFC 7395": "An XMPP Subprotocol for WebSocket",
	"RFC 7628": "SASL mechanisms for OAuth",
	"RFC 7677": "SCRAM-SHA-256 and SCRAM-SHA-256-PLUS",
	"XEP-0065": "SOCKS5 Bytestreams",
	"XEP-0066": "Out of Band Data",
	"XEP-0393": "Message Styling",
	"XEP-0428": "Fallback Indication",
	"XEP-0447": "Stateless file sharing",
	"XEP-0461": "Message Replies",
	"XEP-0114": "Jabber Component Protocol",
	"XEP-0178": "Best Practices for Use of SASL EXTERNAL with Certificates",
	"XEP-0185": "Dialback Key Generation and Validation",
	"XEP-0198": "Stream Management",
	"XEP-0199": "XMPP Ping",
	"XEP-0220": "Server Dialback",
	"XEP-0227": "Portable Import/Export Format for XMPP-IM Servers",
	"XEP-0288": "Bidirectional Server-to-Server Connections",
	"XEP-0352": "Client State Indication",
	"XEP-0368": "SRV records for XMPP over TLS",
	"XEP-0379": "Pre-Authenticated Roster Subscription",
	"XEP-0386": "Bind 2",
	"XEP-0401": "Ad-hoc Account Invitation Generation",
	"XEP-0445": "Pre-Authenticated In-Band Registration",
	"XEP-0388": "Extensible SASL Profile",
	"XEP-0440": "SASL Channel-Binding Type Capability",
	"XEP-0474": "SASL SCRAM Downgrade Protection",
	"XEP-0480": "SASL Upgrade Tasks",
	"XEP-0484": "Fast Authentication Streamlining Tokens",
	"XEP-0494": "Client Access Management",
	"XEP-0509": "Initial Authentication Pipelining",
	"XEP-0515": "TLS Channel-Binding Downgrade Protection",
	"XEP-0478": "Stream Limits Advertisement",
	"XEP-0012": "Last Activity",
	"XEP-0030": "Service Discovery",
	"XEP-0033": "Extended Stanza Addressing",
	"XEP-0045": "Multi-User Chat",
	"XEP-0048": "Bookmarks",
	"XEP-0049": "Private XML Storage",
	"XEP-0050": "Ad-Hoc Commands",
	"XEP-0054": "vcard-temp",
	"XEP-0055": "Jabber Search",
	"XEP-0455": "Service Outage Status",
	"XEP-0433": "Extended Channel Search",
	"XEP-0059": "Result Set Management",
	"XEP-0060": "Publish-Subscribe",
	"XEP-0077": "In-Band Registration",
	"XEP-0082": "XMPP Date and Time Profiles",
	"XEP-0084": "User Avatar",
	"XEP-0085": "Chat State Notifications",
	"XEP-0092": "Software Version",
	"XEP-0115": "Entity Capabilities",
	"XEP-0124": "Bidirectional-streams Over Synchronous HTTP (BOSH)",
	"XEP-0128": "Service Discovery Extensions",
	"XEP-0133": "Service Administration",
	"XEP-0153": "vCard-Based Avatars",
	"XEP-0156": "Discovering Alternative XMPP Connection Methods",
	"XEP-0157": "Contact Addresses for XMPP Services",
	"XEP-0160": "Best Practices for Handling Offline Messages",
	"XEP-0163": "Personal Eventing Protocol",
	"XEP-0184": "Message Delivery Receipts",
	"XEP-0215": "External Service Discovery",
	"XEP-0191": "Blocking Command",
	"XEP-0202": "Entity Time",
	"XEP-0203": "Delayed Delivery",
	"XEP-0206": "XMPP Over BOSH",
	"XEP-0222": "Persistent Storage of Public Data via PubSub",
	"XEP-0223": "Persistent Storage of Private Data via PubSub",
	"XEP-0237": "Roster Versioning",
	"XEP-0131": "Stanza Headers and Internet Metadata",
	"XEP-0249": "Direct MUC Invitations",
	"XEP-0277": "Microblogging over XMPP",
	"XEP-0280": "Message Carbons",
	"XEP-0292": "vCard4 Over XMPP",
	"XEP-0297": "Stanza Forwarding",
	"XEP-0313": "Message Archive Management",
	"XEP-0442": "Pubsub Message Archive Management",
	"XEP-0472": "Pubsub Social Feed",
	"XEP-0485": "PubSub Server Information",
	"XEP-0317": "Hats",
	"XEP-0333": "Displayed Markers",
	"XEP-0334": "Message Processing Hints",
	"XEP-0355": "Namespace Delegation",
	"XEP-0356": "Privileged Entity",
	"XEP-0357": "Push Notifications",
	"XEP-0359": "Unique and Stable Stanza IDs",
	"XEP-0398": "User Avatar to vCard-Based Avatars Conversion",
	"XEP-0402": "PEP Native Bookmarks",
	"XEP-0411": "Bookmarks Conversion",
	"XEP-0363": "HTTP File Upload",
	"XEP-0377": "Blocking Command Reports",
	"XEP-0410": "MUC Self-Ping (Schrödinger's Chat)",
	"XEP-0421": "Occupant identifiers for semi-anonymous MUCs",
	"XEP-0424": "Message Retraction",
	"XEP-0425": "Moderated Message Retraction",
	"XEP-0431": "Full Text Search in MAM",
	"XEP-0441": "Message Archive Management Preferences",
	"XEP-0444": "Message Reactions",
	"XEP-0463": "MUC Affiliations Versioning",
	"XEP-0486": "MUC Avatars",
	"XEP-0487": "Host Meta 2 - One Method To Rule Them All",
	"XEP-0490": "Message Displayed Synchronization",
	"XEP-0506": "No-reply JIDs",
}

var number = regexp.MustCompile(`^(?:RFC \d{4}|XEP-\d{4})`)

type row struct {
	router.Spec
	module string
}

// assembled is a house that listens nowhere, on a store of its own.
func assembled(t *testing.T) *house {
	t.Helper()
	cfg := controlConfig(t)
	store, err := OpenStore(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	h, err := assemble(t.Context(), store, cfg, nil, RunOptions{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.stop()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// specs are those of all parts of a house.
func specs(t *testing.T) []row {
	t.Helper()
	h := assembled(t)
	all := append(h.modules(), router.Module{Name: "c2s", Specs: c2s.Specs}, router.Module{Name: "s2s", Specs: s2s.Specs},
		router.Module{Name: "bosh", Specs: bosh.Specs}, router.Module{Name: "portable", Specs: portable.Specs},
		router.Module{Name: "httpmessage", Specs: httpmessage.Specs})
	var rows []row
	for _, m := range all {
		for _, s := range m.Specs {
			rows = append(rows, row{s, m.Name})
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.Name, b.Name) }) // RFC before XEP
	return rows
}

// write makes the page.
func write(rows []row) string {
	var b strings.Builder
	b.WriteString("# What is implemented\n\n" +
		"Made of what each part says of itself; `go test ./server -update` writes it anew. What addresses and\n" +
		"routing implement is said in the comments of the packages `xmpp/…` and `router`.\n\n" +
		"| specification | title | version | part | left out, or done elsewhere |\n|---|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | `%s` | %s |\n", r.Name, titles[number.FindString(r.Name)], r.Version, r.module, r.Note)
	}
	return b.String()
}

func TestThePageOfSpecificationsIsFresh(t *testing.T) {
	want := write(specs(t))
	if *update {
		if err := os.WriteFile(specsFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(specsFile)
	if err != nil {
		t.Fatalf("%v: run go test ./server -update", err)
	}
	if string(got) != want {
		t.Errorf("docs/xeps.md is stale: run go test ./server -update")
	}
}

func TestEverySpecificationIsNamedInFull(t *testing.T) {
	for _, r := range specs(t) {
		n := number.FindString(r.Name)
		if titles[n] == "" {
			t.Errorf("%s of %s has no title in this test", r.Name, r.module)
		}
		if strings.HasPrefix(n, "XEP") && r.Version == "" {
			t.Errorf("%s of %s names no version", r.Name, r.module)
		}
		if strings.ContainsAny(r.Name+r.Version+r.Note, "|\n") {
			t.Errorf("%s of %s would break the table", r.Name, r.module)
		}
	}
}
