package c2s

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"hash"
	"slices"
	"strconv"
	"strings"
	"testing"

	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

// keep takes from an account all keys but those of a hash, as an older version made it.
func (h *house) keep(user string, of sasl.Hash) {
	h.t.Helper()
	if _, err := h.users.Modify(context.Background(), user+"@"+host, func(a *storage.Account) error {
		other := func(c storage.Credential) bool { return c.Hash != of.String() }
		a.Credentials = slices.DeleteFunc(slices.Clone(a.Credentials), other)
		return nil
	}); err != nil {
		h.t.Fatal(err)
	}
}

// upgradeOf does a task that was offered, with a password, and returns what comes of it.
func (c *client) upgradeOf(name, password string) *xmpp.Element {
	c.t.Helper()
	c.send("<next xmlns='urn:xmpp:sasl:2' task='" + name + "'/>")
	el, err := xmpp.ParseElement([]byte(c.expect("<task-data")))
	if err != nil {
		c.t.Fatal(err)
	}
	salt := el.Child(xmpp.Name{Space: xmpp.NSScramUpgrade, Local: "salt"})
	n, err := strconv.Atoi(salt.Attr("iterations"))
	if err != nil {
		c.t.Fatal(err)
	}
	f, size := func() hash.Hash { return sha256.New() }, 32
	if strings.HasSuffix(name, "512") {
		f, size = sha512.New, 64
	}
	key, err := pbkdf2.Key(f, password, unbase64(c.t, salt.Text()), n, size)
	if err != nil {
		c.t.Fatal(err)
	}
	c.send("<task-data xmlns='urn:xmpp:sasl:2'><hash xmlns='urn:xmpp:scram-upgrade:0'>" +
		base64.StdEncoding.EncodeToString(key) + "</hash></task-data>")
	if el, err = xmpp.ParseElement([]byte(c.read())); err != nil {
		c.t.Fatal(err)
	}
	return el
}

func upgrades(names ...string) (out string) {
	for _, n := range names {
		out += "<upgrade xmlns='urn:xmpp:sasl:upgrade:0'>" + n + "</upgrade>"
	}
	return out
}

func TestOldAccountGetsStrongerKeysFromItsClient(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	h.keep("romeo", sasl.SHA1)
	cred := sasl.Credentials{User: "romeo", Password: password}
	c, _ := h.secure("romeo")
	el := c.auth2(sasl.ScramSHA1, cred, bind2+upgrades("UPGR-SCRAM-SHA-512", "UPGR-SCRAM-SHA-256", "UPGR-NO"))
	if got := string(el.Append(nil)); el.Name.Local != "continue" || !strings.Contains(got, "<tasks><task>UPGR-SCRAM-SHA-256</task></tasks>") {
		t.Fatalf("got %s", got)
	}
	el = c.upgradeOf("UPGR-SCRAM-SHA-256", password)
	if got := string(el.Append(nil)); !strings.Contains(got, "<tasks><task>UPGR-SCRAM-SHA-512</task></tasks>") || el.ChildLocal("additional-data") != nil {
		t.Fatalf("got %s", got)
	}
	el = c.upgradeOf("UPGR-SCRAM-SHA-512", password)
	if got := string(el.Append(nil)); el.Name.Local != "success" || el.ChildLocal("additional-data") != nil || !strings.Contains(got, "romeo@example.org/Test/") {
		t.Fatalf("got %s", got)
	}
	c.expect("features")
	c.ping()
	c.close()
	for _, m := range []sasl.Mechanism{sasl.ScramSHA512, sasl.ScramSHA256, sasl.ScramSHA1} {
		c, f := h.secure("romeo")
		// What there is already is not asked for again.
		if el := c.auth2(m, cred, upgrades("UPGR-SCRAM-SHA-512")); el.Name.Local != "success" || strings.Contains(f, "UPGR-") {
			t.Errorf("%s: %s after %s", m, el.Append(nil), f)
		}
		c.close()
	}
}

func TestUpgradeThatGoesWrongChangesNothing(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	h.keep("romeo", sasl.SHA1)
	cred := sasl.Credentials{User: "romeo", Password: password}
	const task = "<task-data xmlns='urn:xmpp:sasl:2'>"
	for _, a := range []struct {
		name, first, second string
		want                string // "" for a stream error
	}{
		{"another task", "<next xmlns='urn:xmpp:sasl:2' task='UPGR-SCRAM-SHA-512'/>", "", "malformed-request"},
		{"no task", "<response xmlns='urn:xmpp:sasl:2'/>", "", ""},
		{"a stanza", "<iq type='get' id='x'/>", "", ""},
		{"abort", "<abort xmlns='urn:xmpp:sasl:2'/>", "", "aborted"},
		{"another login", "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'/>", "", ""},
		{"no data", "next", task + "</task-data>", "malformed-request"},
		{"short", "next", task + "<hash xmlns='urn:xmpp:scram-upgrade:0'>AAAA</hash></task-data>", "incorrect-encoding"},
		{"no base64", "next", task + "<hash xmlns='urn:xmpp:scram-upgrade:0'>?</hash></task-data>", "incorrect-encoding"},
		{"abort later", "next", "<abort xmlns='urn:xmpp:sasl:2'/>", "aborted"},
		{"login in between", "next", "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'/>", ""},
	} {
		c, _ := h.secure("romeo")
		if el := c.auth2(sasl.ScramSHA1, cred, bind2+upgrades("UPGR-SCRAM-SHA-256")); el.Name.Local != "continue" {
			t.Fatalf("%s: %s", a.name, el.Append(nil))
		}
		if a.first == "next" {
			c.send("<next xmlns='urn:xmpp:sasl:2' task='UPGR-SCRAM-SHA-256'/>").expect("<task-data")
			c.send(a.second)
		} else {
			c.send(a.first)
		}
		if a.want == "" {
			c.expect(xmpp.NSStreamErrors)
		} else {
			c.expect("<failure xmlns='urn:xmpp:sasl:2'>", "<"+a.want+" ")
			// The stream is as it was.
			if el := c.auth2(sasl.ScramSHA1, cred, ""); el.Name.Local != "success" {
				t.Errorf("%s: then %s", a.name, el.Append(nil))
			}
		}
		c.close()
	}
	if n := h.router.SessionCount(); n != 0 {
		t.Errorf("%d sessions", n)
	}
	held, err := h.accounts.Keyring(context.Background(), jid.MustParse("romeo@"+host))
	if err != nil || held.Has(sasl.SHA256) || held.Has(sasl.SHA512) {
		t.Errorf("%+v, %v", held, err)
	}
}
