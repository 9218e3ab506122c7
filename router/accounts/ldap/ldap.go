// Package ldap has an LDAP directory (RFC 4511) say whose passwords are right: it looks for the entry of a user and
// binds as it.
//
// Each question has a connection of its own, protected by TLS unless the directory is on this machine, and bounded in
// time and bytes. A user name comes into filters and names escaped (RFC 4515, RFC 4514), and the entry that is found
// must have that very name, by the rules for addresses, and be the only one.
//
// Left out: binding as the user without looking first, since nobody could see then that a user has been removed;
// referrals; SASL.
package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"jackdaw/config"
	"jackdaw/router/accounts"
	"jackdaw/xmpp/jid"
)

// maxAnswer bounds the bytes that a directory may send in one connection.
const maxAnswer = 4 << 20

// A Directory is an accounts.Backend.
type Directory struct {
	o        config.LDAP
	servers  []server
	password string // of o.BindDN
	log      *slog.Logger
}

// A server is one of several that have the same directory.
type server struct {
	name   string // as in the configuration
	addr   string
	direct bool        // TLS from the first byte
	tls    *tls.Config // nil: none, on loopback
}

// New returns the directory that the configuration describes, which must be valid. It reads the files that are named
// there and asks nobody.
func New(o config.LDAP, log *slog.Logger) (*Directory, error) {
	d := &Directory{o: o, log: log}
	if _, err := ldap.CompileFilter(o.Filter); err != nil {
		return nil, fmt.Errorf("accounts.ldap.filter: %w; expected one as (memberOf=cn=chat,dc=example,dc=org)", err)
	}
	for key, dn := range map[string]string{"base": o.Base, "bind_dn": o.BindDN} {
		if _, err := ldap.ParseDN(dn); err != nil {
			return nil, fmt.Errorf("accounts.ldap.%s: %w; expected a name as ou=people,dc=example,dc=org", key, err)
		}
	}
	var err error
	if d.password, err = config.ReadSecret("accounts.ldap.bind_password_file", o.BindPasswordFile); err != nil {
		return nil, err
	}
	if o.BindDN != "" && d.password == "" { // RFC 4513 §5.1.2: the directory would take us for nobody
		return nil, errors.New("accounts.ldap.bind_password_file: the file is empty; expected the password of bind_dn")
	}
	roots, err := config.ReadRoots("accounts.ldap.ca_file", o.CAFile)
	if err != nil {
		return nil, err
	}
	for _, s := range o.URLs {
		u, err := url.Parse(s)
		if err != nil {
			return nil, fmt.Errorf("accounts.ldap.urls: %w", err)
		}
		one := server{name: s, direct: u.Scheme == "ldaps"}
		port := u.Port()
		if port == "" {
			port = map[bool]string{true: "636", false: "389"}[one.direct]
		}
		one.addr = net.JoinHostPort(u.Hostname(), port)
		if one.direct || o.StartTLS {
			one.tls = &tls.Config{ServerName: u.Hostname(), RootCAs: roots, MinVersion: tls.VersionTLS12}
		}
		d.servers = append(d.servers, one)
	}
	return d, nil
}

// String names the directory.
func (d *Directory) String() string { return "the directory at " + strings.Join(d.o.URLs, ", ") }

// open connects with the first server that answers, as BindDN. done must be called.
func (d *Directory) open(ctx context.Context) (c *ldap.Conn, done func(), err error) {
	var tried []error
	for i := range d.servers {
		c, done, err := d.connect(ctx, &d.servers[i], len(d.servers)-i)
		if err == nil {
			return c, done, nil
		}
		tried = append(tried, fmt.Errorf("%s: %w", d.servers[i].name, err))
	}
	return nil, nil, errors.Join(tried...)
}

// connect takes no more than its share of the time, so that some is left for the servers behind it.
func (d *Directory) connect(ctx context.Context, s *server, left int) (c *ldap.Conn, done func(), err error) {
	end, ok := ctx.Deadline()
	if !ok {
		end = time.Now().Add(time.Minute)
	}
	share, cancel := context.WithTimeout(ctx, time.Until(end)/time.Duration(left))
	defer cancel()
	raw, err := new(net.Dialer).DialContext(share, "tcp", s.addr)
	if err != nil {
		return nil, nil, err
	}
	conn := net.Conn(&bounded{Conn: raw, left: maxAnswer})
	until, _ := share.Deadline()
	_ = raw.SetDeadline(until) // an error shows at the next read
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	if s.direct {
		over := tls.Client(conn, s.tls)
		if err := over.HandshakeContext(share); err != nil {
			stop()
			raw.Close()
			return nil, nil, fmt.Errorf("TLS: %w", err)
		}
		conn = over
	}
	c = ldap.NewConn(conn, s.direct)
	c.Start()
	done = func() {
		stop()
		c.Close() // there is nothing left to lose
	}
	if s.tls != nil && !s.direct {
		if err := c.StartTLS(s.tls); err != nil {
			done()
			return nil, nil, fmt.Errorf("StartTLS: %w", err)
		}
	}
	if d.o.BindDN != "" {
		if err := c.Bind(d.o.BindDN, d.password); err != nil {
			done()
			return nil, nil, fmt.Errorf("bind as accounts.ldap.bind_dn: %w", err)
		}
	}
	_ = raw.SetDeadline(end)
	return c, done, nil
}

// bounded is a connection over which no more than so many bytes come.
type bounded struct {
	net.Conn
	left int // read by one goroutine at a time
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("the directory sends too much")
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// value is what the attribute has that names a user.
func (d *Directory) value(user jid.JID) string {
	if d.o.Address {
		return user.Bare().String()
	}
	return user.Local()
}

// users are the addresses at a host that an entry has the names of.
func (d *Directory) users(e *ldap.Entry, host string) (all []jid.JID) {
	for _, v := range e.GetAttributeValues(d.o.Attribute) {
		user, err := jid.New(v, host, "")
		if d.o.Address {
			user, err = jid.Parse(v)
		}
		if err == nil && user.Local() != "" {
			all = append(all, user.Bare())
		}
	}
	return all
}

// search finds entries of users of one host that may log in, by their addresses; nil for a user with several.
func (d *Directory) search(c *ldap.Conn, users []jid.JID) (map[jid.JID]*ldap.Entry, error) {
	var names strings.Builder
	wanted := make(map[jid.JID]bool, len(users))
	for _, user := range users {
		wanted[user.Bare()] = true
		names.WriteString("(" + d.o.Attribute + "=" + ldap.EscapeFilter(d.value(user)) + ")")
	}
	most := 4 * len(users)
	found := make(map[jid.JID]*ldap.Entry, len(users))
	if len(users) == 0 {
		return found, nil
	}
	answer, err := c.Search(ldap.NewSearchRequest(d.o.Base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, most, 0,
		false, "(&"+d.o.Filter+"(|"+names.String()+"))", []string{d.o.Attribute}, nil))
	if err != nil {
		// A base that is not there, or may not be seen, must not look like a directory without users.
		return nil, strange(fmt.Errorf("search below %s: %w", d.o.Base, err))
	}
	for _, e := range answer.Entries {
		for _, user := range d.users(e, users[0].Domain()) {
			other, twice := found[user]
			switch {
			case !wanted[user]: // the directory compares names as it likes
			case !twice || other == e:
				found[user] = e
			default:
				found[user] = nil
				d.log.Warn("two entries of the directory have the name of one user, who cannot log in", "account", user,
					"entry", e.DN, "do", "see to it that accounts.ldap.filter matches one of them")
			}
		}
	}
	return found, nil
}

// Check implements accounts.Backend.
func (d *Directory) Check(ctx context.Context, user jid.JID, password string) error {
	if password == "" { // RFC 4513 §5.1.2: a directory may say yes to it, to nobody
		return accounts.ErrNotAuthorized
	}
	c, done, err := d.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	found, err := d.search(c, []jid.JID{user})
	if err != nil {
		return err
	}
	e := found[user.Bare()]
	// Who is not there costs as much as who is: a bind that fails.
	dn := d.o.Attribute + "=" + ldap.EscapeDN(d.value(user)) + "," + d.o.Base
	if e != nil {
		dn = e.DN
	}
	switch err := c.Bind(dn, password); {
	case err == nil && e != nil:
		return nil
	case err == nil, refused(err):
		return accounts.ErrNotAuthorized
	default:
		return strange(fmt.Errorf("bind as %s: %w", dn, err))
	}
}

// refused says whether a directory has refused a password, or the user who has it.
func refused(err error) bool {
	return ldap.IsErrorAnyOf(err, ldap.LDAPResultInvalidCredentials, ldap.LDAPResultInappropriateAuthentication,
		ldap.LDAPResultNoSuchObject, ldap.LDAPResultInsufficientAccessRights, ldap.LDAPResultUnwillingToPerform,
		ldap.LDAPResultConstraintViolation, ldap.LDAPResultInvalidDNSyntax, ldap.LDAPResultInvalidAttributeSyntax,
		ldap.LDAPResultNamingViolation)
}

// strange tells an answer that is of no use from none.
func strange(err error) error {
	var e *ldap.Error
	if errors.As(err, &e) && e.ResultCode < ldap.ErrorNetwork &&
		!ldap.IsErrorAnyOf(err, ldap.LDAPResultBusy, ldap.LDAPResultUnavailable) {
		return fmt.Errorf("%w: %w", accounts.ErrStrange, err)
	}
	return err
}

// Known implements accounts.Backend.
func (d *Directory) Known(ctx context.Context, users []jid.JID) ([]jid.JID, error) {
	c, done, err := d.open(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	found, err := d.search(c, users)
	if err != nil {
		return nil, err
	}
	var known []jid.JID
	for _, user := range users {
		if found[user.Bare()] != nil {
			known = append(known, user)
		}
	}
	return known, nil
}

// SetPassword implements accounts.Backend (RFC 3062).
func (d *Directory) SetPassword(ctx context.Context, user jid.JID, password string) error {
	if !d.o.ChangePassword {
		return accounts.ErrElsewhere
	}
	c, done, err := d.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	found, err := d.search(c, []jid.JID{user})
	if err != nil {
		return err
	}
	e := found[user.Bare()]
	if e == nil {
		return accounts.ErrNotFound
	}
	_, err = c.PasswordModify(ldap.NewPasswordModifyRequest(e.DN, "", password))
	if ldap.IsErrorAnyOf(err, ldap.LDAPResultConstraintViolation) { // such as too short, for the directory
		return fmt.Errorf("%w by %s: %w", accounts.ErrPassword, d, err)
	}
	if err != nil {
		return strange(fmt.Errorf("set the password of %s: %w", e.DN, err))
	}
	return nil
}
