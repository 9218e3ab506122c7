package ldap

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/go-ldap/ldap/v3"

	"jackdaw/config"
	"jackdaw/router/accounts"
	"jackdaw/router/accounts/ldap/ldaptest"
	"jackdaw/xmpp/jid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// settings are those of a company whose group may chat.
func settings(d *ldaptest.Directory) config.LDAP {
	o := config.Default().Accounts.LDAP
	o.URLs, o.CAFile, o.Base = []string{d.URL}, d.CAFile, ldaptest.People
	o.BindDN, o.BindPasswordFile = ldaptest.Admin, d.PasswordFile
	o.Filter = "(memberOf=" + ldaptest.Group + ")"
	return o
}

func directory(t *testing.T, o config.LDAP) *Directory {
	t.Helper()
	d, err := New(o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func user(t *testing.T, local string) jid.JID {
	t.Helper()
	j, err := jid.New(local, "example.org", "")
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// within is a context as long as a question may take.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestADirectory has one slapd answer all that is asked of a directory which is there.
func TestADirectory(t *testing.T) {
	s := ldaptest.Start(t)
	s.Add("romeo", "wherefore", true)
	s.Add("Juliet", "balcony", true) // a directory is not strict about letter case
	s.Add("tybalt", "cats", false)
	s.Add("a*b", "star", true)
	s.Add("o'neill(x)", "odd", true)
	s.Add("zoe,o=x", "comma", true)

	t.Run("a password is right, or not", func(t *testing.T) {
		d := directory(t, settings(s))
		for _, c := range []struct {
			user, password string
			want           error
		}{
			{"romeo", "wherefore", nil},
			{"juliet", "balcony", nil},
			{"JULIET", "balcony", nil},
			{"o'neill(x)", "odd", accounts.ErrNotAuthorized}, // no address can have this name
			{"a*b", "star", nil},
			{"zoe,o=x", "comma", nil},
			{"romeo", "Wherefore", accounts.ErrNotAuthorized},
			{"romeo", "", accounts.ErrNotAuthorized},
			{"romeo", "balcony", accounts.ErrNotAuthorized},
			{"tybalt", "cats", accounts.ErrNotAuthorized}, // he is not in the group
			{"nobody", "wherefore", accounts.ErrNotAuthorized},
			{"r*", "wherefore", accounts.ErrNotAuthorized},
			{"*", "wherefore", accounts.ErrNotAuthorized},
			{"romeo)(uid=*", "wherefore", accounts.ErrNotAuthorized},
			{"romeo,ou=people", "wherefore", accounts.ErrNotAuthorized},
			{`ro\6deo`, "wherefore", accounts.ErrNotAuthorized},
			{strings.Repeat("x", 1023), "wherefore", accounts.ErrNotAuthorized},
			{"romeo", strings.Repeat("x", 1024), accounts.ErrNotAuthorized},
		} {
			j, err := jid.New(c.user, "example.org", "")
			if err != nil {
				continue // it comes no further than SASL
			}
			if err := d.Check(within(t), j, c.password); !errors.Is(err, c.want) {
				t.Errorf("%.30s with %.20q: %v, want %v", c.user, c.password, err, c.want)
			}
		}
	})
	t.Run("who may log in is told of many", func(t *testing.T) {
		d := directory(t, settings(s))
		var ask []jid.JID
		for _, name := range []string{"tybalt", "romeo", "nobody", "juliet", "a*b", "*"} {
			ask = append(ask, user(t, name))
		}
		known, err := d.Known(within(t), ask)
		if want := []jid.JID{ask[1], ask[3], ask[4]}; err != nil || !slices.Equal(known, want) {
			t.Errorf("%v, %v, want %v", known, err, want)
		}
		s.Chats("romeo", false)
		if known, err := d.Known(within(t), ask); err != nil || slices.Contains(known, ask[1]) {
			t.Errorf("who has left the group is known: %v, %v", known, err)
		}
		if err := d.Check(within(t), ask[1], "wherefore"); !errors.Is(err, accounts.ErrNotAuthorized) {
			t.Errorf("who has left the group logs in: %v", err)
		}
		s.Chats("romeo", true)
	})
	t.Run("a user with two entries is nobody, and others are well", func(t *testing.T) {
		c := s.Connect()
		defer c.Close()
		twin := "cn=twin," + ldaptest.People
		r := ldap.NewAddRequest(twin, nil)
		for name, value := range map[string]string{"objectClass": "inetOrgPerson", "uid": "romeo", "cn": "twin", "sn": "x",
			"userPassword": "wherefore"} {
			r.Attribute(name, []string{value})
		}
		if err := c.Add(r); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := c.Del(ldap.NewDelRequest(twin, nil)); err != nil {
				t.Error(err)
			}
		}()
		o := settings(s)
		o.Filter = "(objectClass=*)"
		d := directory(t, o)
		if err := d.Check(within(t), user(t, "romeo"), "wherefore"); !errors.Is(err, accounts.ErrNotAuthorized) {
			t.Errorf("%v, want not authorized", err)
		}
		ask := []jid.JID{user(t, "romeo"), user(t, "juliet")}
		if known, err := d.Known(within(t), ask); err != nil || !slices.Equal(known, ask[1:]) {
			t.Errorf("known: %v, %v", known, err)
		}
	})
	t.Run("whole addresses", func(t *testing.T) {
		o := settings(s)
		o.Attribute, o.Address = "mail", true
		d := directory(t, o)
		if err := d.Check(within(t), user(t, "romeo"), "wherefore"); err != nil {
			t.Error(err)
		}
		other := jid.MustParse("romeo@example.net")
		if err := d.Check(within(t), other, "wherefore"); !errors.Is(err, accounts.ErrNotAuthorized) {
			t.Errorf("of another host: %v", err)
		}
	})
	t.Run("the certificate must be one that is trusted, in both ways", func(t *testing.T) {
		for _, url := range []string{s.URL, s.TLS} {
			o := settings(s)
			o.URLs = []string{url}
			if err := directory(t, o).Check(within(t), user(t, "romeo"), "wherefore"); err != nil {
				t.Errorf("%s: %v", url, err)
			}
			o.CAFile = s.OtherCAFile
			bad := directory(t, o).Check(within(t), user(t, "romeo"), "wherefore")
			o.CAFile = ""
			unknown := directory(t, o).Check(within(t), user(t, "romeo"), "wherefore")
			o.CAFile, o.URLs = s.CAFile, []string{strings.Replace(url, "127.0.0.1", "localhost", 1)}
			name := directory(t, o).Check(within(t), user(t, "romeo"), "wherefore")
			for _, err := range []error{bad, unknown, name} {
				if err == nil || errors.Is(err, accounts.ErrNotAuthorized) || errors.Is(err, accounts.ErrStrange) ||
					!strings.Contains(err.Error(), "certificate") {
					t.Errorf("%s with a certificate that is not trusted: %v", url, err)
				}
			}
		}
	})
	t.Run("who looks must be let in, and see the base", func(t *testing.T) {
		o := settings(s)
		o.BindPasswordFile = filepath.Join(t.TempDir(), "wrong")
		if err := os.WriteFile(o.BindPasswordFile, []byte("wrong"), 0o600); err != nil {
			t.Fatal(err)
		}
		err := directory(t, o).Check(within(t), user(t, "romeo"), "wherefore")
		if err == nil || errors.Is(err, accounts.ErrNotAuthorized) || errors.Is(err, accounts.ErrStrange) {
			t.Errorf("with a wrong password of its own: %v", err)
		}
		o = settings(s)
		o.Base = "ou=nowhere," + ldaptest.Base
		if _, err := directory(t, o).Known(within(t), []jid.JID{user(t, "romeo")}); !errors.Is(err, accounts.ErrStrange) {
			t.Errorf("below what is not there: %v, which must not look as if nobody were known", err)
		}
		o = settings(s)
		o.BindDN, o.BindPasswordFile = "", "" // nobody may read this directory
		if known, err := directory(t, o).Known(within(t), []jid.JID{user(t, "romeo")}); !errors.Is(err, accounts.ErrStrange) {
			t.Errorf("as nobody: %v, %v", known, err)
		}
	})
	t.Run("a password is passed on, or refused", func(t *testing.T) {
		romeo := user(t, "romeo")
		if err := directory(t, settings(s)).SetPassword(within(t), romeo, "new"); !errors.Is(err, accounts.ErrElsewhere) {
			t.Errorf("without change_password: %v", err)
		}
		o := settings(s)
		o.ChangePassword = true
		d := directory(t, o)
		if err := d.SetPassword(within(t), romeo, "a new one"); err != nil {
			t.Fatal(err)
		}
		if err := d.Check(within(t), romeo, "a new one"); err != nil {
			t.Errorf("the new password: %v", err)
		}
		if err := d.Check(within(t), romeo, "wherefore"); !errors.Is(err, accounts.ErrNotAuthorized) {
			t.Errorf("the old one: %v", err)
		}
		if err := d.SetPassword(within(t), user(t, "tybalt"), "x"); !errors.Is(err, accounts.ErrNotFound) {
			t.Errorf("of somebody else: %v", err)
		}
		if err := d.SetPassword(within(t), romeo, "wherefore"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("the second server is asked while the first is away", func(t *testing.T) {
		o := settings(s)
		o.URLs = []string{"ldap://" + silent(t, false), s.URL}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // half of it for the first
		defer cancel()
		if err := directory(t, o).Check(ctx, user(t, "romeo"), "wherefore"); err != nil {
			t.Error(err)
		}
	})
	t.Run("away", func(t *testing.T) {
		s.Stop()
		defer s.Run()
		err := directory(t, settings(s)).Check(within(t), user(t, "romeo"), "wherefore")
		if err == nil || errors.Is(err, accounts.ErrNotAuthorized) || !strings.Contains(err.Error(), s.URL) {
			t.Errorf("%v, want an error that names the server", err)
		}
	})
}

// silent is a server that takes connections and says nothing, or too much.
func silent(t *testing.T, chatters bool) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			if chatters { // the header of an LDAP message of 1 GiB, and more and more of it
				go func() {
					if _, err := c.Write([]byte{0x30, 0x84, 0x40, 0, 0, 0, 0x04, 0x84, 0x3f, 0xff, 0xff, 0xf0}); err != nil {
						return
					}
					for {
						if _, err := c.Write(make([]byte, 64<<10)); err != nil {
							return
						}
					}
				}()
			}
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

func TestADirectoryThatIsSilentOrNeverEndsIsLeft(t *testing.T) {
	for _, chatters := range []bool{false, true} {
		o := config.Default().Accounts.LDAP
		o.URLs, o.StartTLS, o.Base = []string{"ldap://" + silent(t, chatters)}, false, "dc=example"
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if chatters {
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), time.Minute) // its bytes are what ends it
		}
		err := directory(t, o).Check(ctx, user(t, "romeo"), "x")
		if cancel(); err == nil || errors.Is(err, accounts.ErrNotAuthorized) || errors.Is(err, accounts.ErrStrange) {
			t.Errorf("chatters %v: %v", chatters, err)
		}
	}
}

func TestWhatTheConfigurationSaysWrongIsNamed(t *testing.T) {
	good := config.Default().Accounts.LDAP
	good.URLs, good.Base = []string{"ldaps://ldap.example.org"}, "dc=example,dc=org"
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for key, change := range map[string]func(*config.LDAP){
		"filter":             func(o *config.LDAP) { o.Filter = "(memberOf=" },
		"base":               func(o *config.LDAP) { o.Base = "example.org" },
		"bind_dn":            func(o *config.LDAP) { o.BindDN = "me@example.org" },
		"bind_password_file": func(o *config.LDAP) { o.BindDN, o.BindPasswordFile = "cn=x", empty },
		"ca_file":            func(o *config.LDAP) { o.CAFile = empty },
	} {
		o := good
		change(&o)
		if _, err := New(o, nil); err == nil || !strings.Contains(err.Error(), "accounts.ldap."+key) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// BenchmarkCheck is a login: a connection with StartTLS, a bind, a search and a bind as the user.
func BenchmarkCheck(b *testing.B) {
	s := ldaptest.Start(b)
	s.Add("romeo", "wherefore", true)
	d, err := New(settings(s), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	romeo := jid.MustParse("romeo@example.org")
	for b.Loop() {
		if err := d.Check(b.Context(), romeo, "wherefore"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkKnown is the look at a hundred who are logged in.
func BenchmarkKnown(b *testing.B) {
	s := ldaptest.Start(b)
	var users []jid.JID
	for i := range accounts.MaxKnown {
		name := "u" + strconv.Itoa(i)
		s.Add(name, "x", true)
		users = append(users, jid.MustParse(name+"@example.org"))
	}
	d, err := New(settings(s), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if known, err := d.Known(b.Context(), users); err != nil || len(known) != len(users) {
			b.Fatal(len(known), err)
		}
	}
}
