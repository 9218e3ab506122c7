package main

import (
	"bufio"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/load/stage"
)

// A store is what a server has before anybody comes.
type store struct{ accounts, archived int }

// owners are the accounts that share the archived messages.
func (w store) owners() int { return max(1, min(w.accounts, 100)) }

func user(i int) string { return fmt.Sprintf("u%d", i) }

// config lets everybody write to everybody.
const config = "log: {level: warn}\nmodules: {strangers: {recipients: 0}}\n"

// serve starts a server with such a store, which `jackdaw import` fills (XEP-0227).
func serve(s *stage.Stage, p plan, w store) *harness.Server {
	server := harness.Start(s, harness.Options{Program: p.program, Fast: true, Config: config})
	server.Stop()
	fill(s, server, w)
	server.Launch()
	return server
}

// fill imports what a store is to have. The accounts without messages come first and, where that works, in memory: each
// waits for the disk three times, which for a million takes longer than everything else.
func fill(s *stage.Stage, server *harness.Server, w store) {
	const atOnce = 1_000_000 // messages in a file
	each := w.archived / w.owners()
	data := filepath.Join(server.Dir, "data")
	if rest := w.accounts - w.owners(); rest > 0 {
		took := data
		dir, err := os.MkdirTemp("/dev/shm", "growth-")
		if err == nil {
			defer os.RemoveAll(dir)
			took = filepath.Join(dir, "data")
			err = os.Rename(data, data+".first") // made by the first start
			if err == nil {
				err = os.CopyFS(took, os.DirFS(data+".first"))
			}
		}
		if err != nil {
			s.Logf("growth: importing on the disk: %v", err)
		}
		bring(s, server, took, w.owners(), rest, 0)
		if took != data {
			if err := os.CopyFS(data, os.DirFS(took)); err != nil {
				s.Fatal(err)
			}
		}
	}
	for first, step := 0, min(w.owners(), max(1, atOnce/max(1, each))); first < w.owners(); first += step {
		bring(s, server, data, first, min(step, w.owners()-first), each)
	}
}

// bring imports n accounts from first on, with as many messages each.
func bring(s *stage.Stage, server *harness.Server, data string, first, n, each int) {
	name := filepath.Join(server.Dir, "import.xml")
	if err := write(name, first, n, each); err != nil {
		s.Fatal(err)
	}
	began := time.Now()
	server.Command("", "import", "--data", data, name)
	s.Logf("growth: imported %d accounts with %d messages each in %.1f s", n, each, time.Since(began).Seconds())
	if err := os.Remove(name); err != nil {
		s.Fatal(err)
	}
}

// keys are those of harness.Password for SCRAM-SHA-1 (RFC 5802 §3), the same for all accounts: deriving them a million
// times would take hours.
func keys() (string, error) {
	salt, iterations := []byte("growth of jackdaw"), 4096
	salted, err := pbkdf2.Key(sha1.New, harness.Password, salt, iterations, sha1.Size)
	if err != nil {
		return "", err
	}
	mac := func(text string) []byte {
		h := hmac.New(sha1.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha1.Sum(mac("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("<scram-credentials xmlns='urn:xmpp:pie:0#scram' mechanism='SCRAM-SHA-1'><iter-count>%d</iter-count>"+
		"<salt>%s</salt><server-key>%s</server-key><stored-key>%s</stored-key></scram-credentials>",
		iterations, b64(salt), b64(mac("Server Key")), b64(stored[:])), nil
}

// write makes a file of XEP-0227 with n accounts from first on, with as many archived messages each.
func write(name string, first, n, each int) error {
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
	for a := first; a < first+n; a++ {
		fmt.Fprintf(out, "<user name='%s'>%s", user(a), scram)
		if each > 0 {
			fmt.Fprint(out, "<archive xmlns='urn:xmpp:pie:0#mam'>")
		}
		for i := range each {
			fmt.Fprintf(out, "<result xmlns='urn:xmpp:mam:2' id='%d-%d'><forwarded xmlns='urn:xmpp:forward:0'>"+
				"<delay xmlns='urn:xmpp:delay' stamp='%s'/><message xmlns='jabber:client' type='chat' id='m%d' "+
				"from='c%d@example.org/x' to='%s@%s'><body>%d %s</body></message></forwarded></result>\n", a, i,
				at.Add(time.Duration(i)*time.Second).UTC().Format(time.RFC3339), i, i%50, user(a), harness.Domain, i, text)
		}
		if each > 0 {
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
