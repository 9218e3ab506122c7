package scenes

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

// announced are the features by which clients and servers find what docs/xeps.md lists, as its specification says.
var announced = map[string][]string{
	"XEP-0012": {"jabber:iq:last"},
	"XEP-0030": {"http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items"},
	"XEP-0033": {"http://jabber.org/protocol/address"},
	"XEP-0045": {"http://jabber.org/protocol/muc", "http://jabber.org/protocol/muc#stable_id", "muc_rooms"},
	"XEP-0049": {"jabber:iq:private"},
	"XEP-0050": {"http://jabber.org/protocol/commands"},
	"XEP-0054": {"vcard-temp"},
	"XEP-0055": {"jabber:iq:search"},
	"XEP-0059": {"http://jabber.org/protocol/rsm"},
	"XEP-0060": {"http://jabber.org/protocol/pubsub"},
	"XEP-0065": {"http://jabber.org/protocol/bytestreams"},
	"XEP-0077": {"jabber:iq:register"},
	"XEP-0092": {"jabber:iq:version"},
	"XEP-0115": {"http://jabber.org/protocol/caps", "http://jabber.org/protocol/caps#optimize"},
	"XEP-0131": {"http://jabber.org/protocol/shim"},
	"XEP-0160": {"msgoffline"},
	"XEP-0191": {"urn:xmpp:blocking"},
	"XEP-0199": {"urn:xmpp:ping"},
	"XEP-0202": {"urn:xmpp:time"},
	"XEP-0215": {"urn:xmpp:extdisco:2"},
	"XEP-0280": {"urn:xmpp:carbons:2"},
	"XEP-0292": {"urn:ietf:params:xml:ns:vcard-4.0"},
	"XEP-0313": {"urn:xmpp:mam:2", "urn:xmpp:mam:2#extended", "urn:xmpp:mam:2#groupchat-field"},
	"XEP-0355": {"urn:xmpp:delegation:2"},
	"XEP-0357": {"urn:xmpp:push:0"},
	"XEP-0359": {"urn:xmpp:sid:0"},
	"XEP-0363": {"urn:xmpp:http:upload:0", "urn:xmpp:http:upload:purpose:0#message", "urn:xmpp:http:upload:purpose:0#ephemeral"},
	"XEP-0377": {"urn:xmpp:reporting:1"},
	"XEP-0398": {"urn:xmpp:pep-vcard-conversion:0"},
	"XEP-0402": {"urn:xmpp:bookmarks:1#compat", "urn:xmpp:bookmarks:1#compat-pep"},
	"XEP-0411": {"urn:xmpp:bookmarks-conversion:0"},
	"XEP-0421": {"urn:xmpp:occupant-id:0"},
	"XEP-0424": {"urn:xmpp:message-retract:1", "urn:xmpp:message-retract:1#tombstone"},
	"XEP-0431": {"urn:xmpp:fulltext:0"},
	"XEP-0433": {"urn:xmpp:channel-search:0:search"},
	"XEP-0485": {"urn:xmpp:serverinfo:0"},
	"XEP-0490": {"urn:xmpp:mds:server-assist:0"},
	"XEP-0494": {"urn:xmpp:cam:0"},
	"XEP-0506": {"urn:xmpp:noreply:0"},
}

// otherwise are those of the list that a service, an account or a host says nothing of in disco#info, and why.
var otherwise = map[string][]string{
	"it is a feature of streams": {"XEP-0114", "XEP-0178", "XEP-0185", "XEP-0198", "XEP-0220", "XEP-0288", "XEP-0352", "XEP-0386",
		"XEP-0388", "XEP-0440", "XEP-0474", "XEP-0478", "XEP-0480", "XEP-0484", "XEP-0509", "XEP-0515", "XEP-0379", "XEP-0401", "XEP-0445"},
	"it is found by DNS or HTTP": {"XEP-0124", "XEP-0156", "XEP-0206", "XEP-0368", "XEP-0487"},
	"it is a format, or a profile of another specification": {"XEP-0048", "XEP-0066", "XEP-0082", "XEP-0084", "XEP-0128", "XEP-0153",
		"XEP-0157", "XEP-0163", "XEP-0203", "XEP-0222", "XEP-0223", "XEP-0227", "XEP-0249", "XEP-0277", "XEP-0297", "XEP-0393", "XEP-0428",
		"XEP-0447", "XEP-0455", "XEP-0461", "XEP-0472"},
	"clients announce it":                      {"XEP-0085", "XEP-0184", "XEP-0333", "XEP-0334"},
	"each room says it, or its occupants":      {"XEP-0317", "XEP-0410", "XEP-0425", "XEP-0444", "XEP-0463", "XEP-0486"},
	"the answer to mam says it":                {"XEP-0441", "XEP-0442"},
	"the service tells components":             {"XEP-0356"},
	"the commands of XEP-0050 say what it has": {"XEP-0133"},
}

var infoFeature = regexp.MustCompile(`<feature var='([^']*)'`)

// TestTheListOfSpecificationsIsTrue holds docs/xeps.md against what a server with all of it says of itself: nothing is
// announced that is not on the list, and what the list claims is announced.
func TestTheListOfSpecificationsIsTrue(t *testing.T) {
	page, err := os.ReadFile("../../docs/xeps.md")
	if err != nil {
		t.Fatal(err)
	}
	claimed := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\| (XEP-\d{4})`).FindAllStringSubmatch(string(page), -1) {
		claimed[m[1]] = true
	}
	why := map[string]string{}
	for reason, list := range otherwise {
		for _, xep := range list {
			why[xep] = reason
		}
	}
	for xep := range claimed {
		if (announced[xep] == nil) == (why[xep] == "") {
			t.Errorf("docs/xeps.md claims %s: name its features, or why it has none, here", xep)
		}
	}
	s := harness.Start(t, harness.Options{Users: []string{"romeo"}, Config: "calls: {enabled: true, addresses: [\"192.0.2.7\"], listen: [\"" +
		harness.Everywhere(t) + "\"]}\nmodules:\n  archive: {search: true}\n  bytestreams: {enabled: true, listen: [\"" + harness.Everywhere(t) + "\"]}\n" +
		"  directory: true\n  serverinfo: true\n  upload: {url: \"https://localhost/upload\"}\n"})
	c, err := harness.Connect(s.C2STLS, "romeo", "desk")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	asks := 0
	ask := func(to, what string) string {
		t.Helper()
		asks++
		id := fmt.Sprint("ask-", asks)
		got, err := c.Ask(id, "<iq type='get' id='"+id+"' to='"+to+"'><query xmlns='http://jabber.org/protocol/disco#"+what+"'/></iq>")
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	places := []string{harness.Domain, "romeo@" + harness.Domain}
	for _, m := range regexp.MustCompile(`<item jid='([^']*)'`).FindAllStringSubmatch(ask(harness.Domain, "items"), -1) {
		places = append(places, m[1])
	}
	has := map[string]string{}
	for _, place := range places {
		for _, m := range infoFeature.FindAllStringSubmatch(ask(place, "info"), -1) {
			has[m[1]] = place
		}
	}
	owner := map[string]string{}
	for xep, features := range announced {
		for _, f := range features {
			owner[f] = xep
			if !claimed[xep] {
				t.Errorf("%s is not on the list", xep)
			}
			if has[f] == "" {
				t.Errorf("docs/xeps.md claims %s, and nobody announces %s", xep, f)
			}
		}
	}
	for f, place := range has {
		if owner[f] == "" && !strings.HasPrefix(f, "http://jabber.org/protocol/pubsub#") {
			t.Errorf("%s announces %s, which no specification of docs/xeps.md has", place, f)
		}
	}
}

// TestTheReadmeSaysWhatWasMeasured: the comparison with peers is that of docs/performance.md, and each specification
// that the page names is on the list.
func TestTheReadmeSaysWhatWasMeasured(t *testing.T) {
	read := func(path string) string {
		b, err := os.ReadFile("../../" + path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	readme, measured, list := read("README.md"), read("docs/performance.md"), read("docs/xeps.md")
	for _, xep := range regexp.MustCompile(`XEP-\d{4}`).FindAllString(readme, -1) {
		if !strings.Contains(list, "| "+xep) {
			t.Errorf("README.md names %s, which docs/xeps.md does not", xep)
		}
	}
	var rows [][]string // of the measurements, as the README writes numbers
	fraction := regexp.MustCompile(`\d+\.\d+`)
	for line := range strings.Lines(measured) {
		var row []string
		for _, cell := range strings.Split(line, "|") {
			first, _, _ := strings.Cut(strings.NewReplacer("*", "", " ²", "", " ¹", "").Replace(cell), ";")
			row = append(row, strings.TrimSpace(fraction.ReplaceAllStringFunc(first, func(n string) string {
				var f float64
				if _, err := fmt.Sscan(n, &f); err != nil {
					t.Fatal(err)
				}
				return fmt.Sprintf("%.0f", f)
			})))
		}
		rows = append(rows, row)
	}
	_, table, ok := strings.Cut(readme, "| | Prosody")
	if !ok {
		t.Fatal("README.md has no comparison")
	}
	compared := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) < 6 || strings.Contains(line, "---") {
			continue
		}
		compared++
		if !slices.ContainsFunc(rows, func(row []string) bool {
			for _, cell := range cells[2:5] {
				if !slices.Contains(row, strings.TrimSpace(cell)) {
					return false
				}
			}
			return true
		}) {
			t.Errorf("README.md compares what docs/performance.md has not: %s", line)
		}
	}
	if compared < 5 {
		t.Errorf("%d rows are compared", compared)
	}
}
