package server

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"jackdaw/portable"
)

// elsewhere are the spaces that no module has, and why what is there is not exported.
var elsewhere = map[string]string{
	"map accounts":    "secrets of this server; the accounts themselves are exported",
	"map s2s":         "a secret of this server (dialback)",
	"map upload":      "a secret of this server (slots)",
	"log outbox":      "stanzas on their way to peers, which this server has promised to deliver",
	"log httpmessage": "answers of the last day to posts that may be repeated here",
}

// TestEverySpaceIsExportedOrSaysWhyNot finds the spaces by their names in the source, wherever they are opened.
func TestEverySpaceIsExportedOrSaysWhyNot(t *testing.T) {
	said := map[string]bool{}
	for space := range elsewhere {
		said[space] = true
	}
	o, store, err := openAdmin(t.Context(), controlConfig(t), true)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for _, p := range o.Kept.Portable() {
		if len(p.Spaces) == 0 || (p.Stays == "") == (p.Export == nil && p.ExportHost == nil) {
			t.Errorf("%v: neither exported nor said why not, or both", p.Spaces)
		}
		for _, space := range p.Spaces {
			if said[space] {
				t.Errorf("%q is spoken of twice", space)
			}
			said[space] = true
		}
	}
	said["log upload"] = true // of a module that is made in this package, and has it in its Portable
	constants := map[string]string{"answerSpace": "httpmessage", "secretSpace": "accounts", "devices.Space": "devices",
		"known.Space": "devices", "tokens.Space": "tokens"}
	opened := regexp.MustCompile(`[^s]\.(Map|Log)\(("[a-z0-9-]+"|[A-Za-z.]*Space)\)`)
	found := map[string]bool{}
	for _, dir := range []string{"admin", "c2s", "component", "modules", "portable", "router", "s2s", "server", "web"} {
		err := filepath.WalkDir(filepath.Join("..", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
				strings.Contains(path, "moduletest") {
				return err
			}
			source, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range opened.FindAllStringSubmatch(string(source), -1) {
				name := strings.Trim(m[2], `"`)
				if name == m[2] {
					if name = constants[name]; name == "" {
						t.Errorf("%s opens the space %s: say above what that is", path, m[2])
					}
				}
				space := strings.ToLower(m[1]) + " " + name
				if found[space] = true; !said[space] {
					t.Errorf("%s keeps something in the space %q, of which nothing says how it is exported, or why not: "+
						"router.Module.Portable", path, space)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for space := range said {
		if !found[space] {
			t.Errorf("nothing opens the space %q", space)
		}
	}
}

func everything(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("testdata/everything.xml")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// tags has a line for each tag, to be compared.
func tags(s string) []string { return strings.Split(strings.ReplaceAll(s, "><", ">\n<"), "\n") }

func compared(t *testing.T, got, want string) {
	t.Helper()
	g, w := tags(got), tags(want)
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("line %d:\ngot  %.2000q\nwant %.2000q", i, g[min(i, len(g)):min(i+3, len(g))], w[min(i, len(w)):min(i+3, len(w))])
		}
	}
}

func exported(t *testing.T, c *Client, only ...string) string {
	t.Helper()
	var b bytes.Buffer
	if err := c.Export(t.Context(), only, &b, nil); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestWhatIsExportedComesBackEqual(t *testing.T) {
	want := everything(t)
	bothWays(t, func(t *testing.T, c *Client) {
		dry, err := c.Import(t.Context(), strings.NewReader(want), true, nil)
		if err != nil || dry.Accounts.Came != 2 || len(dry.Lost) > 0 {
			t.Fatalf("dry: %+v, %v", dry, err)
		}
		if list, err := c.Users(t.Context(), ""); err != nil || len(list) > 0 {
			t.Fatalf("after a dry run there is %v, %v", list, err)
		}
		first, err := c.Import(t.Context(), strings.NewReader(want), false, nil)
		if err != nil || first.Accounts.Came != 2 || len(first.Lost) > 0 {
			t.Fatalf("first: %+v, %v", first, err)
		}
		compared(t, exported(t, c), want)
		// A dry run says what one does that is not.
		dry, err = c.Import(t.Context(), strings.NewReader(want), true, nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := c.Import(t.Context(), strings.NewReader(want), false, nil)
		if err != nil || again.Accounts.There != 2 || len(again.Lost) > 0 {
			t.Fatalf("again: %+v, %v", again, err)
		}
		for i, one := range again.Things {
			if one.Came > 0 {
				t.Errorf("came twice: %+v", one)
			}
			if dry.Things[i] != one {
				t.Errorf("a dry run said %+v, and then it was %+v", dry.Things[i], one)
			}
		}
		compared(t, exported(t, c), want)
		if got := exported(t, c, "romeo@localhost"); !strings.Contains(got, "'romeo'") || strings.Contains(got, "'juliet'>") {
			t.Errorf("only romeo: %s", got)
		}
	})
}

func TestAnImportThatWasCutOffIsRunAgain(t *testing.T) {
	want := everything(t)
	cfg := controlConfig(t)
	c := client(t, cfg)
	for _, at := range []string{"</archive>", "id='2' from", "</offline-messages>", "kept:at='1704164645678002'", "</user>\n<room "} {
		report, err := c.Import(t.Context(), strings.NewReader(want[:strings.Index(want, at)]), false, nil)
		if err == nil || !strings.Contains(err.Error(), "cut off") || report == nil || len(report.Lost) > 0 {
			t.Fatalf("%s: %+v, %v", at, report, err)
		}
		if err := c.AddUser(t.Context(), "romeo@localhost", "mine"); err == nil || !strings.Contains(err.Error(), "import") {
			t.Fatalf("somebody else gets what has come: %v", err)
		}
	}
	report, err := c.Import(t.Context(), strings.NewReader(want), false, nil)
	if err != nil || len(report.Lost) > 0 || report.Accounts.Came != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	compared(t, exported(t, c), want)
}

func TestWhatHasComeOfAnAccountThatDidNotArriveCanBeRemoved(t *testing.T) {
	want := everything(t)
	c := client(t, controlConfig(t))
	if _, err := c.Import(t.Context(), strings.NewReader(want[:strings.LastIndex(want, "</user>")]), false, nil); err == nil {
		t.Fatal("it was cut off")
	}
	if err := c.DeleteUser(t.Context(), "romeo@localhost"); err != nil {
		t.Fatal(err)
	}
	if err := c.AddUser(t.Context(), "romeo@localhost", "x"); err != nil {
		t.Fatal(err)
	}
	if got := exported(t, c, "romeo@localhost"); strings.Contains(got, "Montague") || strings.Contains(got, "Wherefore") {
		t.Errorf("left: %s", got)
	}
	if err := c.DeleteUser(t.Context(), "mercutio@localhost"); err == nil {
		t.Error("an account that was never there was removed")
	}
}

func TestWhatCannotComeIsSaidAndTheRestComes(t *testing.T) {
	cfg := controlConfig(t)
	cfg.Limits.VCardBytes = 30
	c := client(t, cfg)
	const file = `<server-data xmlns='urn:xmpp:pie:0'><host jid='elsewhere.example'><user name='a'/></host>
<host jid='localhost'><user name='a b'/><user name='romeo' password='p&#xe4;ss'>
<scram-credentials xmlns='urn:xmpp:pie:0#scram' mechanism='SCRAM-MD5'/>
<query xmlns='jabber:iq:roster' ver='1'><item jid='@'/><item jid='juliet@localhost' subscription='both'/>x</query>
<vCard xmlns='vcard-temp'><FN>much too long for this server</FN></vCard>
<query xmlns='jabber:iq:privacy'><default name='d'/><list name='d'><item type='jid' value='tybalt@localhost' action='deny'/>
<item type='group' value='x' action='deny'/><item action='allow'/></list></query>
<archive xmlns='urn:xmpp:pie:0#mam'><result xmlns='urn:xmpp:mam:2' id='x'/></archive>
<archive xmlns='urn:xmpp:pie:0#mam'><result xmlns='urn:xmpp:mam:2' id='x'><forwarded xmlns='urn:xmpp:forward:0'>
<delay xmlns='urn:xmpp:delay' stamp='2999-01-01T00:00:00Z'/><message xmlns='jabber:client'/></forwarded></result></archive>
<what xmlns='urn:example:what'><deep/></what></user><user name='nurse'/></host>
<lost xmlns='urn:x-jackdaw:portable:0' what='tables' why='nothing reads it' where='sr_group' times='3'/></server-data>`
	report, err := c.Import(t.Context(), strings.NewReader(file), false, nil)
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for _, l := range report.Lost {
		said.WriteString(l.What + ": " + l.Why + " " + l.Where + strings.Repeat("!", l.Times-1) + "\n")
	}
	for _, want := range []string{"elsewhere.example is not served here", "the name is not allowed a b@localhost",
		`"SCRAM-MD5"`, "address of a contact", "limits.vcard_bytes", "not about messages of an address",
		"archived message that is none", "has not come yet", "<what> of urn:example:what", "set new ones with `jackdaw user passwd` nurse@",
		"tables: nothing reads it sr_group!!\n"} {
		if !strings.Contains(strings.ReplaceAll(said.String(), "MD5", `"SCRAM-MD5"`), want) {
			t.Errorf("not said: %s in\n%s", want, said.String())
		}
	}
	got := exported(t, c)
	for _, want := range []string{"<item jid='juliet@localhost' subscription='both'/>", "<item jid='tybalt@localhost'/>",
		"mechanism='SCRAM-SHA-256'", "name='nurse'"} {
		if !strings.Contains(got, want) {
			t.Errorf("did not come: %s in %s", want, got)
		}
	}
}

// TestHistoryComesBeforeNothingThatIsHere: an account that has written here already gets what is newer than that.
func TestWhatIsOlderThanWhatIsHereHasNoPlace(t *testing.T) {
	c := client(t, controlConfig(t))
	one := func(id, stamp string) string {
		return `<server-data xmlns='urn:xmpp:pie:0'><host jid='localhost'><user name='romeo' password='x'>
<archive xmlns='urn:xmpp:pie:0#mam'><result xmlns='urn:xmpp:mam:2' id='` + id + `'><forwarded xmlns='urn:xmpp:forward:0'>
<delay xmlns='urn:xmpp:delay' stamp='` + stamp + `'/><message xmlns='jabber:client' from='a@b'><body>x</body></message>
</forwarded></result></archive></user></host></server-data>`
	}
	for i, x := range []struct{ id, stamp, want string }{{"b", "2024-01-02T00:00:00Z", "came"}, {"a", "2024-01-01T00:00:00Z", "lost"},
		{"c", "2024-01-02T00:00:00Z", "there"}, {"d", "2024-01-03T00:00:00Z", "came"}} {
		dry, err := c.Import(t.Context(), strings.NewReader(one(x.id, x.stamp)), true, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.Import(t.Context(), strings.NewReader(one(x.id, x.stamp)), false, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(dry.Things, r.Things) {
			t.Errorf("%d: a dry run said %v, and then it was %v", i, dry.Things, r.Things)
		}
		n := slices.IndexFunc(r.Things, func(c portable.Count) bool { return c.What == "archived messages" })
		if got := map[string]int{"came": r.Things[n].Came, "lost": r.Things[n].Lost, "there": r.Things[n].There}; got[x.want] != 1 {
			t.Errorf("%d: %v, want %s", i, got, x.want)
		}
	}
}

func TestABrokenReaderIsSaidAndTheReportComes(t *testing.T) {
	bothWays(t, func(t *testing.T, c *Client) {
		in, out := io.Pipe()
		go func() {
			_, _ = io.WriteString(out, `<server-data xmlns='urn:xmpp:pie:0'><host jid='localhost'><user name='a' password='b'/>`)
			_ = out.CloseWithError(os.ErrPermission)
		}()
		report, err := c.Import(t.Context(), in, false, nil)
		if err == nil || err.Error() != os.ErrPermission.Error() || report == nil || report.Accounts.Came != 1 {
			t.Errorf("%+v, %v", report, err)
		}
	})
}
