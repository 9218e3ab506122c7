// Package supply makes servers with as many accounts, contacts and archived messages as a measurement wants, by
// `jackdaw import` (XEP-0227), and says how long one takes from exec to the first login.
package supply

import (
	"bufio"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"strings"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/load/stage"
)

// A Store is what a server has before anybody comes.
type Store struct {
	Accounts int
	Archived int // messages, shared by a hundred of the accounts
	Contacts int // of each account, mutual; even, and fewer than the accounts
}

// owners are the accounts that share the archived messages.
func (w Store) owners() int { return max(1, min(w.Accounts, 100)) }

// User is the name of an account, from 0 on.
func User(i int) string { return fmt.Sprintf("u%d", i) }

// Serve starts a server with such a store. Its password is harness.Password, for all accounts.
func Serve(s *stage.Stage, w Store, o harness.Options) *harness.Server {
	o.Fast = true
	server := harness.Start(s, o)
	server.Stop()
	fill(s, server, w)
	server.Launch()
	return server
}

// FirstLogin stops a server and returns how long it takes from exec to a login, in milliseconds.
func FirstLogin(s *stage.Stage, server *harness.Server) float64 {
	server.Stop()
	began := time.Now()
	server.Launch()
	c, err := harness.Connect(server.C2STLS, User(0), "first")
	took := time.Since(began)
	if err != nil {
		s.Fatal(err)
	}
	c.Close()
	return took.Seconds() * 1000
}

// fill imports what a store is to have. The accounts without messages come first and, where that works, in memory: each
// waits for the disk three times, which for a million takes longer than everything else.
func fill(s *stage.Stage, server *harness.Server, w Store) {
	const atOnce = 1_000_000 // messages in a file
	each := w.Archived / w.owners()
	data := filepath.Join(server.Dir, "data")
	if rest := w.Accounts - w.owners(); rest > 0 {
		took := data
		dir, err := os.MkdirTemp("/dev/shm", "supply-")
		if err == nil {
			defer os.RemoveAll(dir)
			took = filepath.Join(dir, "data")
			err = os.Rename(data, data+".first") // made by the first start
			if err == nil {
				err = os.CopyFS(took, os.DirFS(data+".first"))
			}
		}
		if err != nil {
			s.Logf("importing on the disk: %v", err)
		}
		bring(s, server, took, w, span{w.owners(), rest, 0})
		if took != data {
			if err := os.CopyFS(data, os.DirFS(took)); err != nil {
				s.Fatal(err)
			}
		}
	}
	for first, step := 0, min(w.owners(), max(1, atOnce/max(1, each))); first < w.owners(); first += step {
		bring(s, server, data, w, span{first, min(step, w.owners()-first), each})
	}
}

// A span is n accounts from first on, with as many archived messages each.
type span struct{ first, n, each int }

// bring imports some accounts.
func bring(s *stage.Stage, server *harness.Server, data string, w Store, some span) {
	name := filepath.Join(server.Dir, "import.xml")
	if err := write(name, w, some); err != nil {
		s.Fatal(err)
	}
	began := time.Now()
	server.Command("", "import", "--data", data, name)
	s.Logf("imported %d accounts with %d messages each in %.1f s", some.n, some.each, time.Since(began).Seconds())
	if err := os.Remove(name); err != nil {
		s.Fatal(err)
	}
}

// keys are those of harness.Password for SCRAM (RFC 5802 §3), the same for all accounts: deriving them a million times
// would take hours. There are keys of both hashes, as of a password that was set here: who has but one of them is on a
// list that is read at the start.
func keys() (string, error) {
	var all strings.Builder
	for mechanism, h := range map[string]func() hash.Hash{"SCRAM-SHA-1": sha1.New, "SCRAM-SHA-256": sha256.New} {
		salt, iterations := []byte("salt of jackdaw"), 4096
		salted, err := pbkdf2.Key(h, harness.Password, salt, iterations, h().Size())
		if err != nil {
			return "", err
		}
		mac := func(text string) []byte {
			m := hmac.New(h, salted)
			m.Write([]byte(text))
			return m.Sum(nil)
		}
		stored := h()
		stored.Write(mac("Client Key"))
		b64 := base64.StdEncoding.EncodeToString
		fmt.Fprintf(&all, "<scram-credentials xmlns='urn:xmpp:pie:0#scram' mechanism='%s'><iter-count>%d</iter-count>"+
			"<salt>%s</salt><server-key>%s</server-key><stored-key>%s</stored-key></scram-credentials>",
			mechanism, iterations, b64(salt), b64(mac("Server Key")), b64(stored.Sum(nil)))
	}
	return all.String(), nil
}

// write makes a file of XEP-0227 with some accounts.
func write(name string, w Store, some span) error {
	scram, err := keys()
	if err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	out := bufio.NewWriterSize(f, 1<<20)
	fmt.Fprintf(out, "<server-data xmlns='urn:xmpp:pie:0'><host jid='%s'>", harness.Domain)
	at, text := time.Now().Add(-24*time.Hour*20), strings.Repeat("so shaken as we are, so wan with care ", 3)
	for a := some.first; a < some.first+some.n; a++ {
		fmt.Fprintf(out, "<user name='%s'>%s", User(a), scram)
		if w.Contacts > 0 {
			fmt.Fprint(out, "<query xmlns='jabber:iq:roster'>")
			for d := 1; d <= w.Contacts/2; d++ {
				for _, c := range []int{(a + d) % w.Accounts, (a - d + w.Accounts) % w.Accounts} {
					fmt.Fprintf(out, "<item jid='%s@%s' name='Contact %d' subscription='both'><group>Friends</group></item>",
						User(c), harness.Domain, c)
				}
			}
			fmt.Fprint(out, "</query>")
		}
		if some.each > 0 {
			fmt.Fprint(out, "<archive xmlns='urn:xmpp:pie:0#mam'>")
		}
		for i := range some.each {
			fmt.Fprintf(out, "<result xmlns='urn:xmpp:mam:2' id='%d-%d'><forwarded xmlns='urn:xmpp:forward:0'>"+
				"<delay xmlns='urn:xmpp:delay' stamp='%s'/><message xmlns='jabber:client' type='chat' id='m%d' "+
				"from='c%d@example.org/x' to='%s@%s'><body>%d %s</body></message></forwarded></result>\n", a, i,
				at.Add(time.Duration(i)*time.Second).UTC().Format(time.RFC3339), i, i%50, User(a), harness.Domain, i, text)
		}
		if some.each > 0 {
			fmt.Fprint(out, "</archive>")
		}
		fmt.Fprint(out, "</user>\n")
	}
	fmt.Fprint(out, "</host></server-data>\n")
	if err := out.Flush(); err != nil {
		return err
	}
	return f.Close()
}
