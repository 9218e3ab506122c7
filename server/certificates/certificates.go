// Package certificates gets a certificate for each name from a certification authority, and renews it (ACME: RFC 8555).
// It proves names by tls-alpn-01 (RFC 8737) and http-01 (RFC 8555 §8.3), renews when the authority suggests it (RFC
// 9773) or after two thirds of a lifetime, and binds accounts that exist elsewhere (RFC 8555 §7.3.4). The messages
// themselves are acmez's work.
//
// A name is by itself: one that fails waits longer from time to time, and holds up no other. Nothing begins with a
// handshake, and all that is known is in files, so that a restart goes on where the process before it was. Several
// processes on one directory take turns by a lock, and each answers the challenges of all.
//
// Left out: dns-01 and with it wildcards, addresses as names, revocation, rollover of account keys.
package certificates

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// Settings say what is wanted; the zero value wants nothing. They are not changed once given.
type Settings struct {
	Names      []string // in A-labels and lower case, in the order in which they are asked for
	Directory  string   // URL of the authority's (RFC 8555 §7.1.1)
	Email      string   // whom the authority writes to; "": nobody
	CAFile     string   // PEM, who signs the certificate of the directory; "": whom the system trusts
	Profile    string   // of certificates, by a name that the directory knows; "": its default
	Challenges []string // TLSALPN01 and HTTP01 in the order in which they are tried; empty: in this one
	Resolver   string   // for Options.Lookup, which alone reads it
	// KeyID and MACKey are of an account at the authority outside ACME; "" and nil: none.
	KeyID  string
	MACKey []byte
}

// The types of challenges.
const (
	TLSALPN01 = "tls-alpn-01"
	HTTP01    = "http-01"
)

// Options of New.
type Options struct {
	Dir string // is made when something is first kept in it
	Log *slog.Logger
	// Changed is called after each change of what Certificate returns. It must not wait for the service.
	Changed func()
	// Lookup finds the addresses of a name by the resolver of the settings. An error that says that there are none
	// (net.DNSError with IsNotFound) keeps the name from being ordered; any other leaves the question to the authority.
	// Nil: nobody is asked.
	Lookup func(ctx context.Context, resolver, name string) error
	// Transport is for the requests to the authority. Nil: over the network.
	Transport http.RoundTripper
}

// Stats count since the start.
type Stats struct {
	Obtained atomic.Int64 // certificates, renewals as well
	Failed   atomic.Int64 // orders
}

// A Service is safe for concurrent use.
type Service struct {
	Stats Stats

	o        Options
	settings atomic.Pointer[Settings]
	held     atomic.Pointer[map[string]*held] // as last read; never changed
	wake     chan struct{}
	hurry    atomic.Int32 // one of the haste below

	mu   sync.Mutex        // guards said
	said map[string]string // the last problem of a name that was logged
}

// How much of what waits is looked at before its time: nothing, names without a record (at a start), or all that
// failed (somebody has mended something, and wants to see it).
const (
	patient int32 = iota
	hurryMissing
	hurryAll
)

// held is what is known of a name. It is not changed once it can be seen.
type held struct {
	cert   *tls.Certificate // nil: none
	record record
	// files are those that both were read from; nil: one is not there, or was written by this process.
	files [2]os.FileInfo
}

// New returns a service that does nothing before Run.
func New(o Options) *Service {
	if o.Changed == nil {
		o.Changed = func() {}
	}
	s := &Service{o: o, wake: make(chan struct{}, 1), said: map[string]string{}}
	s.settings.Store(&Settings{})
	s.held.Store(&map[string]*held{})
	return s
}

// Configure has other settings hold from now on, and reads what there is of certificates. It does not ask the
// authority, but has Run look again at what had failed; at first only at names that had no record, since a back-off
// outlives restarts.
func (s *Service) Configure(set Settings) error {
	hurry := hurryMissing
	if before := s.settings.Swap(&set); len(before.Names) > 0 {
		hurry = hurryAll
	}
	all, err := s.read(&set)
	if err != nil {
		return err
	}
	s.publish(all)
	s.hurry.Store(hurry)
	select {
	case s.wake <- struct{}{}:
	default: // it is awake already
	}
	return nil
}

// Certificate is the one of a name, which may have expired; nil: there is none. It is not to be changed.
func (s *Service) Certificate(name string) *tls.Certificate {
	if h := (*s.held.Load())[name]; h != nil {
		return h.cert
	}
	return nil
}

// Status is how a name is.
type Status struct {
	Name     string            `json:"name"`
	Leaf     *x509.Certificate `json:"-"` // nil: there is none
	Until    time.Time         `json:"until,omitzero"`
	Next     time.Time         `json:"next,omitzero"`     // time at which something is due
	Failures int               `json:"failures"`          // one after the other
	Problem  string            `json:"problem,omitempty"` // of the last time; "" if it went well
	Do       string            `json:"do,omitempty"`      // how to mend it
}

// Status is that of all names, in the order of the settings.
func (s *Service) Status() (all []Status) {
	set, known := s.settings.Load(), *s.held.Load()
	for _, name := range set.Names {
		one := Status{Name: name}
		if h := known[name]; h != nil {
			one.Failures, one.Problem, one.Do = h.record.Failures, h.record.Problem, h.record.Do
			one.Next = h.next(set)
			if h.cert != nil {
				one.Leaf, one.Until = h.cert.Leaf, h.cert.Leaf.NotAfter
			}
		}
		all = append(all, one)
	}
	return all
}

const (
	// lookAgain is how long Run waits at most: another process may have written something.
	lookAgain = time.Hour
	// otherWorks is how long it waits while another process has the lock.
	otherWorks = 2 * time.Second
	// diskWait is how long it waits after an error of the disk.
	diskWait = 10 * time.Minute
)

// Run orders and renews until ctx ends.
func (s *Service) Run(ctx context.Context) {
	for {
		wait := s.pass(ctx)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-s.wake:
			timer.Stop()
		}
	}
}

// pass does what is due and says when to look again.
func (s *Service) pass(ctx context.Context) time.Duration {
	set := s.settings.Load()
	if len(set.Names) == 0 || set.Directory == "" {
		return lookAgain
	}
	hurry := s.hurry.Swap(patient)
	all, err := s.read(set)
	if err != nil {
		return s.broken(err)
	}
	s.publish(all)
	if len(due(set, all, hurry)) == 0 {
		return untilNext(set, all)
	}
	unlock, err := lock(s.o.Dir)
	if errors.Is(err, errLocked) {
		s.hurry.CompareAndSwap(patient, hurry)
		return otherWorks
	}
	if err != nil {
		return s.broken(err)
	}
	defer unlock()
	// Nobody else is asking, so what is there was left by a process that was killed.
	if err := os.RemoveAll(s.path(challengesDir)); err != nil {
		return s.broken(err)
	}
	// Another process may have been here between the reading and the lock.
	if all, err = s.read(set); err != nil {
		return s.broken(err)
	}
	s.publish(all)
	visit := s.newVisit(set, hurry)
	for _, name := range due(set, all, hurry) {
		if ctx.Err() != nil || s.settings.Load() != set {
			return 0 // Run ends, or begins anew
		}
		h, err := visit.tend(ctx, name, all[name])
		if err != nil {
			return s.broken(err)
		}
		all = with(all, name, h)
		s.publish(all)
	}
	return untilNext(set, all)
}

func (s *Service) broken(err error) time.Duration {
	s.o.Log.Error("certificates cannot be kept", "error", err, "do",
		"make "+s.o.Dir+" readable and writable for the user of this server, with room on its disk")
	return diskWait
}

// due are the names that something is to be done for, now.
func due(set *Settings, all map[string]*held, hurry int32) (names []string) {
	now := time.Now()
	for _, name := range set.Names {
		h := all[name]
		if !h.next(set).After(now) || h.mayHurry(now, hurry) {
			names = append(names, name)
		}
	}
	return names
}

// untilNext is the time until something is due, within bounds.
func untilNext(set *Settings, all map[string]*held) time.Duration {
	wait := lookAgain
	for _, name := range set.Names {
		wait = min(wait, time.Until(all[name].next(set)))
		if r := &all[name].record; r.Underway && time.Since(r.Tried) < attemptTime { // with another process
			wait = min(wait, otherWorks)
		}
	}
	return max(wait, time.Second)
}

// with returns a copy with one name changed.
func with(all map[string]*held, name string, h *held) map[string]*held {
	next := make(map[string]*held, len(all))
	for n, one := range all {
		next[n] = one
	}
	next[name] = h
	return next
}

// publish lets others see what is known, and tells them if a certificate is another one.
func (s *Service) publish(all map[string]*held) {
	before := *s.held.Swap(&all)
	changed := len(before) != len(all)
	for name, h := range all {
		b := before[name]
		changed = changed || b == nil || !sameCertificate(b.cert, h.cert)
	}
	if changed {
		s.o.Changed()
	}
}

func sameCertificate(a, b *tls.Certificate) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Leaf.Equal(b.Leaf)
}

// read reads what is known of all names.
func (s *Service) read(set *Settings) (map[string]*held, error) {
	all := make(map[string]*held, len(set.Names))
	for _, name := range set.Names {
		h := (*s.held.Load())[name]
		files := s.files(name)
		if h != nil && sameFile(h.files[0], files[0]) && sameFile(h.files[1], files[1]) {
			all[name] = h
			continue
		}
		h, err := s.load(name)
		if err != nil {
			return nil, err
		}
		h.files = files // as they were before the reading: if they have changed since, they are read again
		// What has not changed stays the same in memory: others remember things of it.
		if b := (*s.held.Load())[name]; b != nil && b.cert != nil && sameCertificate(b.cert, h.cert) {
			h.cert = b.cert
		}
		all[name] = h
	}
	return all, nil
}

// files are those of a name, nil where one is not there.
func (s *Service) files(name string) (both [2]os.FileInfo) {
	for i, suffix := range []string{".json", ".pem"} {
		if info, err := os.Stat(s.path(name + suffix)); err == nil { // whoever reads it finds out
			both[i] = info
		}
	}
	return both
}

// sameFile says whether a file is there and has not been replaced.
func sameFile(a, b os.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.ModTime().Equal(b.ModTime())
}

func (s *Service) path(parts ...string) string {
	return filepath.Join(append([]string{s.o.Dir}, parts...)...)
}

// notFound says whether a name is known to have no addresses.
func notFound(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}
