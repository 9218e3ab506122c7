// Command leave writes what jackal keeps of its users in the format of XEP-0227, for `jackdaw import`: their keys,
// contacts with requests that wait, cards, private data, block lists, messages that wait, and archives. It reads by
// jackal's own packages, which is why it is in a module of its own, where jackal is a dependency.
//
//	go run ./leave -config /etc/jackal/config.yaml -domain example.org > jackal.xml
//
// jackal has to be stopped. Its users are those of all its hosts; -domain says of which they are to be. What it keeps in
// PostgreSQL is left out: its packages list no users, and here they are found as the file of BoltDB has them.
package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"hash"
	"io"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	kitlog "github.com/go-kit/log"
	"github.com/jackal-xmpp/stravaganza"
	"github.com/kkyr/fig"
	"github.com/ortuman/jackal/pkg/auth/pepper"
	archivemodel "github.com/ortuman/jackal/pkg/model/archive"
	usermodel "github.com/ortuman/jackal/pkg/model/user"
	"github.com/ortuman/jackal/pkg/storage/boltdb"
	"go.etcd.io/bbolt"
)

const (
	nsPie   = "urn:xmpp:pie:0"
	nsScram = nsPie + "#scram"
	nsMAM   = nsPie + "#mam"
	stamp   = "2006-01-02T15:04:05.000000Z"
)

// config is what is needed of jackal's.
type config struct {
	Peppers pepper.Config `fig:"peppers"`
	Storage struct {
		Type   string        `fig:"type" default:"boltdb"`
		BoltDB boltdb.Config `fig:"boltdb"`
	} `fig:"storage"`
	Hosts []struct {
		Domain string `fig:"domain"`
	} `fig:"hosts"`
}

func main() {
	file := flag.String("config", "config.yaml", "the configuration `FILE` of jackal")
	domain := flag.String("domain", "", "the `DOMAIN` of the users; without it that of the only host")
	flag.Parse()
	log.SetFlags(0)
	log.SetPrefix("leave: ")
	out := bufio.NewWriter(os.Stdout)
	if err := leave(out, *file, *domain); err != nil {
		log.Fatal(err)
	}
	if err := out.Flush(); err != nil {
		log.Fatal(err)
	}
}

func leave(out io.Writer, file, domain string) error {
	var c config
	if err := fig.Load(&c, fig.File(filepath.Base(file)), fig.Dirs(filepath.Dir(file)), fig.UseEnv("jackal")); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	if c.Storage.Type != "boltdb" {
		return fmt.Errorf("storage.type is %s: only boltdb is read", c.Storage.Type)
	}
	if domain == "" && len(c.Hosts) == 1 {
		domain = c.Hosts[0].Domain
	}
	if domain == "" {
		return errors.New("say of which domain the users are: -domain example.org")
	}
	peppers, err := pepper.NewKeys(c.Peppers)
	if err != nil {
		return err
	}
	people, err := users(c.Storage.BoltDB.Path)
	if err != nil {
		return err
	}
	rep := boltdb.New(c.Storage.BoltDB, kitlog.NewNopLogger())
	ctx := context.Background()
	if err := rep.Start(ctx); err != nil {
		return err
	}
	defer rep.Stop(ctx) // it was only read
	w := &writer{out: out, rep: rep, domain: domain, peppers: peppers}
	w.print("<server-data xmlns='" + nsPie + "'><host jid='" + escape(domain) + "'>\n")
	for _, p := range people {
		w.print("<user name='" + escape(p.name) + "'>")
		if err := w.user(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		w.print("</user>\n")
	}
	w.print("</host></server-data>\n")
	return w.err
}

// A person is a user, with the namespaces of the private data.
type person struct {
	name    string
	private []string
}

// users are those whom the file has, which jackal's packages ask for one by one alone.
func users(path string) (all []person, err error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w (is jackal stopped?)", path, err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
			user, ok := strings.CutPrefix(string(name), "user:")
			if !ok {
				return nil
			}
			p := person{name: user}
			if b := tx.Bucket([]byte("prv:" + user)); b != nil {
				if err := b.ForEach(func(k, _ []byte) error {
					p.private = append(p.private, string(k))
					return nil
				}); err != nil {
					return err
				}
			}
			all = append(all, p)
			return nil
		})
	})
	return all, err
}

// A writer writes one user after the other.
type writer struct {
	out     io.Writer
	rep     *boltdb.Repository
	domain  string
	peppers *pepper.Keys
	err     error // the first one
}

func (w *writer) print(s string) {
	if w.err == nil {
		_, w.err = io.WriteString(w.out, s)
	}
}

// element writes an element, and says its namespace if it does not.
func (w *writer) element(e stravaganza.Element, space string) {
	if e.Attribute("xmlns") == "" {
		e = stravaganza.NewBuilderFromElement(e).WithAttribute("xmlns", space).Build()
	}
	if w.err == nil {
		w.err = e.ToXML(w.out, true)
	}
}

func (w *writer) user(ctx context.Context, p person) error {
	u, err := w.rep.FetchUser(ctx, p.name)
	if err == nil && u.GetScram() != nil {
		err = w.keys(u.Scram)
	}
	if err != nil {
		return err
	}
	for _, part := range []func(context.Context, person) error{w.roster, w.card, w.privates, w.blocked, w.archive, w.offline} {
		if err := cmp.Or(part(ctx, p), w.err); err != nil {
			return err
		}
	}
	return nil
}

// keys are made of what jackal has kept, which is the salted password (RFC 5802 §3); the pepper is part of the salt that
// clients are told.
func (w *writer) keys(s *usermodel.Scram) error {
	salt, err := base64.RawURLEncoding.DecodeString(s.Salt)
	if err != nil {
		return err
	}
	salt = append(salt, w.peppers.GetKey(s.PepperId)...)
	for _, k := range []struct {
		mechanism, salted string
		hash              func() hash.Hash
	}{{"SCRAM-SHA-1", s.Sha1, sha1.New}, {"SCRAM-SHA-256", s.Sha256, sha256.New}, {"SCRAM-SHA-512", s.Sha512, sha512.New}} {
		salted, err := base64.RawURLEncoding.DecodeString(k.salted)
		if err != nil {
			return err
		}
		if len(salted) == 0 {
			continue
		}
		of := func(key []byte, what string) []byte {
			m := hmac.New(k.hash, key)
			m.Write([]byte(what))
			return m.Sum(nil)
		}
		stored := k.hash()
		stored.Write(of(salted, "Client Key"))
		text := base64.StdEncoding.EncodeToString
		w.print("<scram-credentials xmlns='" + nsScram + "' mechanism='" + k.mechanism + "'><iter-count>" +
			strconv.FormatInt(s.IterationCount, 10) + "</iter-count><salt>" + text(salt) + "</salt><server-key>" +
			text(of(salted, "Server Key")) + "</server-key><stored-key>" + text(stored.Sum(nil)) +
			"</stored-key></scram-credentials>")
	}
	return nil
}

func (w *writer) roster(ctx context.Context, p person) error {
	items, err := w.rep.FetchRosterItems(ctx, p.name)
	if err != nil {
		return err
	}
	w.print("<query xmlns='jabber:iq:roster'>")
	for _, i := range items {
		w.print("<item jid='" + escape(i.Jid) + "' subscription='" + escape(i.Subscription) + "'")
		if i.Name != "" {
			w.print(" name='" + escape(i.Name) + "'")
		}
		if i.Ask {
			w.print(" ask='subscribe'")
		}
		w.print(">")
		for _, g := range i.Groups {
			w.print("<group>" + escape(g) + "</group>")
		}
		w.print("</item>")
	}
	w.print("</query>")
	requests, err := w.rep.FetchRosterNotifications(ctx, p.name)
	if err != nil {
		return err
	}
	for _, r := range requests {
		w.print("<presence xmlns='jabber:client' type='subscribe' from='" + escape(r.Jid) + "' to='" +
			escape(p.name+"@"+w.domain) + "'/>")
	}
	return nil
}

func (w *writer) card(ctx context.Context, p person) error {
	card, err := w.rep.FetchVCard(ctx, p.name)
	if err == nil && card != nil {
		w.element(card, "vcard-temp")
	}
	return err
}

func (w *writer) privates(ctx context.Context, p person) error {
	if len(p.private) == 0 {
		return nil
	}
	w.print("<query xmlns='jabber:iq:private'>")
	for _, space := range p.private {
		e, err := w.rep.FetchPrivate(ctx, space, p.name)
		if err != nil {
			return err
		}
		if e != nil {
			w.element(e, space)
		}
	}
	w.print("</query>")
	return nil
}

func (w *writer) blocked(ctx context.Context, p person) error {
	items, err := w.rep.FetchBlockListItems(ctx, p.name)
	if err != nil || len(items) == 0 {
		return err
	}
	w.print("<blocklist xmlns='urn:xmpp:blocking'>")
	for _, i := range items {
		w.print("<item jid='" + escape(i.Jid) + "'/>")
	}
	w.print("</blocklist>")
	return nil
}

// archive writes the messages in the order of their time: the file has them in that of their numbers as text. jackal
// bounds how many an archive has, so one is held in memory.
func (w *writer) archive(ctx context.Context, p person) error {
	list, err := w.rep.FetchArchiveMessages(ctx, &archivemodel.Filters{}, p.name+"@"+w.domain)
	if err != nil || len(list) == 0 {
		return err
	}
	slices.SortStableFunc(list, func(a, b *archivemodel.Message) int {
		return a.Stamp.AsTime().Compare(b.Stamp.AsTime())
	})
	w.print("<archive xmlns='" + nsMAM + "'>")
	for _, m := range list {
		message, err := stravaganza.NewBuilderFromProto(m.Message).BuildMessage()
		if err != nil {
			return err
		}
		w.print("<result xmlns='urn:xmpp:mam:2' id='" + escape(m.Id) + "'><forwarded xmlns='urn:xmpp:forward:0'>" +
			"<delay xmlns='urn:xmpp:delay' stamp='" + m.Stamp.AsTime().UTC().Format(stamp) + "'/>")
		w.element(message, "jabber:client")
		w.print("</forwarded></result>")
	}
	w.print("</archive>")
	return nil
}

func (w *writer) offline(ctx context.Context, p person) error {
	list, err := w.rep.FetchOfflineMessages(ctx, p.name)
	if err != nil || len(list) == 0 {
		return err
	}
	w.print("<offline-messages>")
	for _, m := range list {
		w.element(m, "jabber:client")
	}
	w.print("</offline-messages>")
	return nil
}

var escapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&apos;", `"`, "&quot;")

func escape(s string) string { return escapes.Replace(s) }
