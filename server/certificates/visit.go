package certificates

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

const (
	// attemptTime bounds an order with all that belongs to it, pollTime each wait for the authority within it.
	attemptTime = 6 * time.Minute
	pollTime    = 2 * time.Minute
	// pollEvery is how often the authority is asked meanwhile, if it does not say it.
	pollEvery = time.Second
	// windowAgain is when to ask for a window again where the authority does not say it, or could not be asked (RFC 9773
	// §4.3.3), windowNever where it has none.
	windowAgain = 6 * time.Hour
	windowNever = 24 * time.Hour
	// askSoonest and askLatest bound what it says (RFC 9773 §4.3.2).
	askSoonest = time.Minute
	askLatest  = 24 * time.Hour
)

// A visit is what is done under the lock: it is with one authority.
type visit struct {
	*Service
	set    *Settings
	hurry  int32
	way    *way
	client *acme.Client
	// account is nil until somebody needs it.
	account *account
}

func (s *Service) newVisit(set *Settings, hurry int32) *visit {
	v := &visit{Service: s, set: set, hurry: hurry,
		way: &way{next: s.o.Transport, caFile: set.CAFile, directory: set.Directory}}
	v.client = &acme.Client{Directory: set.Directory, HTTPClient: v.way.client(), UserAgent: "jackdaw",
		PollTimeout: pollTime, PollInterval: pollEvery}
	return v
}

// tend does what is due for a name. An error is one of our disk.
func (v *visit) tend(ctx context.Context, name string, h *held) (*held, error) {
	now := time.Now()
	// The window first: it may say that there is no hurry.
	if ask := h.askAt(v.set); !ask.IsZero() && !ask.After(now) {
		h = &held{cert: h.cert, record: h.record}
		h.record.Window = v.askWindow(ctx, name, h)
		if err := v.noteRecord(name, h.record); err != nil {
			return nil, err
		}
	}
	if h.orderAt(v.set).After(time.Now()) && !h.mayHurry(now, v.hurry) {
		return h, nil
	}
	return v.order(ctx, name, h)
}

// askWindow asks when a certificate is to be renewed. Without an answer the window that is known stays.
func (v *visit) askWindow(ctx context.Context, name string, h *held) window {
	w := h.record.Window
	id, err := acme.ARIUniqueIdentifier(h.cert.Leaf)
	if err != nil {
		return window{ID: w.ID, Ask: time.Now().Add(windowNever)}
	}
	if w.ID != id {
		w = window{ID: id}
	}
	ctx, cancel := context.WithTimeout(ctx, pollTime)
	defer cancel()
	v.way.begin()
	info, err := v.renewalInfo(ctx, h.cert.Leaf)
	switch {
	case errors.Is(err, acme.ErrUnsupported):
		return window{ID: id, Ask: time.Now().Add(windowNever)}
	case err != nil:
		v.o.Log.Debug("renewal information not read", "name", name, "error", clean(err.Error()))
		w.Ask = time.Now().Add(windowAgain)
		return w
	}
	next := windowOf(id, info, w)
	v.explain(name, h.cert.Leaf, &next, w.Explanation)
	return next
}

// explain shows the operator where the authority says why it wants a certificate renewed then (RFC 9773 §4.2).
func (v *visit) explain(name string, leaf *x509.Certificate, w *window, before string) {
	if w.Explanation != "" && w.Explanation != before {
		v.o.Log.Info("the authority explains when to renew", "name", name, "read", w.Explanation,
			"renewed", renewal(leaf, w).UTC().Format(time.DateTime))
	}
}

func (v *visit) renewalInfo(ctx context.Context, leaf *x509.Certificate) (info acme.RenewalInfo, err error) {
	defer v.recovered(&err)
	return v.client.GetRenewalInfo(ctx, leaf)
}

// recovered makes an error of a panic: what an authority answers must not end the server. It is to be deferred.
func (v *visit) recovered(err *error) {
	if p := recover(); p != nil {
		v.o.Log.Error("an answer of the certification authority made the server panic",
			"do", "report it as a fault of jackdaw, with this line", "panic", p, "stack", string(debug.Stack()))
		*err = errors.New("the answer of the authority could not be made sense of")
	}
}

// windowOf is what an authority has answered; was is what it had answered before.
func windowOf(id string, info acme.RenewalInfo, was window) window {
	w := window{ID: id, Start: info.SuggestedWindow.Start, End: info.SuggestedWindow.End, Chosen: info.SelectedTime,
		Explanation: clean(info.ExplanationURL)}
	if was.ID == id && was.Start.Equal(w.Start) && was.End.Equal(w.End) {
		w.Chosen = was.Chosen // it would wander with each asking
	}
	wait := windowAgain
	if info.RetryAfter != nil {
		wait = min(max(time.Until(*info.RetryAfter), askSoonest), askLatest)
	}
	w.Ask = time.Now().Add(wait)
	return w
}

// order tries to get a certificate and writes down how it went.
func (v *visit) order(ctx context.Context, name string, h *held) (*held, error) {
	if v.o.Lookup != nil {
		err := v.o.Lookup(ctx, v.set.Resolver, name)
		if ctx.Err() != nil {
			return h, nil
		}
		if notFound(err) {
			return v.missing(name, h)
		}
	}
	if v.account == nil {
		a, err := v.loadAccount(v.set)
		if err != nil {
			return nil, err
		}
		v.account = &a
	}
	now := time.Now()
	if a := v.account; a.Next.After(now) && v.hurry < hurryAll {
		r := h.record
		r.Asked, r.Missing, r.Problem, r.Do, r.Next = v.set.Directory, false, a.Problem, a.Do, a.Next
		return v.keep(name, &held{cert: h.cert, record: r})
	}
	// What is written before cannot be forgotten: a process that ends here, time and again, orders no more often.
	r := h.record
	if r.Asked != v.set.Directory {
		r.Asked, r.Failures, r.NotBefore = v.set.Directory, 0, time.Time{}
	}
	h = &held{cert: h.cert, record: r}
	r.Failures, r.Tried, r.Next, r.Missing = r.Failures+1, now, now.Add(backoff(r.Failures+1)), false
	r.Problem, r.Do, r.Underway = "the server ended meanwhile", "", true
	if err := v.saveRecord(name, r); err != nil {
		return nil, err
	}
	r.Underway = false
	attempt, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	v.way.begin()
	pair, info, err := v.obtain(attempt, name, h)
	if disk := (*diskError)(nil); errors.As(err, &disk) {
		return nil, err
	}
	if ctx.Err() != nil && err != nil { // we end, which is nobody's failure
		r := h.record
		r.Next = time.Now().Add(afterFirst)
		return v.keep(name, &held{cert: h.cert, record: r})
	}
	if err != nil {
		v.Stats.Failed.Add(1)
		r.Next = time.Now().Add(backoff(r.Failures))
		var at *accountError
		if errors.As(err, &at) { // it would be the same for every name
			r.Failures, r.Next = h.record.Failures, v.account.Next
		}
		r.Problem, r.Do = describe(err, name)
		r.NotBefore = v.way.retryAt
		return v.keep(name, &held{cert: h.cert, record: r})
	}
	c, err := tls.X509KeyPair(pair, pair)
	if err != nil {
		return nil, err // it was read before
	}
	if err := writeFile(v.path(name+".pem"), pair); err != nil {
		return nil, err
	}
	v.Stats.Obtained.Add(1)
	r = record{Directory: v.set.Directory, Asked: v.set.Directory, Tried: now,
		Next: time.Now().Add(min(atLeastApart, lifetime(c.Leaf)/3))}
	if id, err := acme.ARIUniqueIdentifier(c.Leaf); err == nil && info != nil && info.HasWindow() {
		r.Window = windowOf(id, *info, window{})
		v.explain(name, c.Leaf, &r.Window, h.record.Window.Explanation)
	}
	next := &held{cert: &c, record: r}
	v.publish(with(*v.held.Load(), name, next))
	v.o.Log.Info("certificate obtained", "name", name, "issuer", c.Leaf.Issuer.String(),
		"until", c.Leaf.NotAfter.UTC().Format(time.DateTime),
		"renewed", renewal(c.Leaf, &r.Window).UTC().Format(time.DateTime))
	return v.keep(name, next)
}

// missing notes a name without addresses: the authority would only say the same, and count it.
func (v *visit) missing(name string, h *held) (*held, error) {
	r := h.record
	r.Asked, r.Missing, r.Tried, r.Next = v.set.Directory, true, time.Now(), time.Now().Add(missingWait)
	r.Problem = "the DNS has no address for it"
	r.Do = "add an A or AAAA record for " + name + ", or name it in acme.except"
	return v.keep(name, &held{cert: h.cert, record: r})
}

// keep writes a record and logs a problem that is new.
func (v *visit) keep(name string, h *held) (*held, error) {
	if err := v.saveRecord(name, h.record); err != nil {
		return nil, err
	}
	r := &h.record
	v.mu.Lock()
	again := v.said[name] == r.Problem
	v.said[name] = r.Problem
	v.mu.Unlock()
	if r.Problem == "" {
		return h, nil
	}
	log := v.o.Log.Warn
	// A service of a host that has its certificate need not have one, too.
	if _, above, _ := strings.Cut(name, "."); r.Missing && slices.Contains(v.set.Names, above) {
		log = v.o.Log.Info
	}
	if !again || !r.Missing {
		log("no certificate obtained", "name", name, "problem", r.Problem, "do", r.Do,
			"next", h.orderAt(v.set).UTC().Format(time.DateTime))
	}
	return h, nil
}

// obtain has the whole conversation about one certificate. pair is its key and chain as PEM.
func (v *visit) obtain(ctx context.Context, name string, h *held) (pair []byte, info *acme.RenewalInfo, err error) {
	defer v.recovered(&err)
	who, err := v.registered(ctx)
	if err != nil {
		return nil, nil, err
	}
	order, err := v.newOrder(ctx, who, name, h)
	if gone := (acme.Problem{}); errors.As(err, &gone) && gone.Type == acme.ProblemTypeAccountDoesNotExist {
		// The authority has forgotten us, as one does that was set up anew.
		v.account.Location = ""
		if who, err = v.registered(ctx); err == nil {
			order, err = v.newOrder(ctx, who, name, h)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	if len(order.Authorizations) > 10 {
		return nil, nil, errors.New("the authority asks for more proofs than there are names")
	}
	for _, url := range order.Authorizations {
		if err := v.prove(ctx, who, url, name, h.record.Failures); err != nil {
			return nil, nil, err
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	csr, err := request(name, key)
	if err != nil {
		return nil, nil, err
	}
	if order, err = v.client.FinalizeOrder(ctx, who, order, csr); err != nil {
		return nil, nil, err
	}
	chains, err := v.client.GetCertificateChain(ctx, who, order.Certificate)
	if err != nil {
		return nil, nil, err
	}
	pair, err = checked(chains[0].ChainPEM, key, name, time.Now())
	return pair, chains[0].RenewalInfo, err
}

// newOrder begins an order. It says which certificate it replaces, which takes it out of rate limits (RFC 9773 §5).
func (v *visit) newOrder(ctx context.Context, who acme.Account, name string, h *held) (acme.Order, error) {
	order := acme.Order{Identifiers: []acme.Identifier{{Type: "dns", Value: name}}, Profile: v.set.Profile}
	if h.cert != nil && h.record.from(v.set) && h.record.Window.of(h.cert.Leaf) &&
		!h.record.Window.Chosen.IsZero() {
		order.Replaces = h.record.Window.ID
	}
	made, err := v.client.NewOrder(ctx, who, order)
	// An authority that knows nothing of that certificate, or of one that came after it, is asked without.
	var p acme.Problem
	if order.Replaces != "" && errors.As(err, &p) && p.Status < 500 && p.Type != acme.ProblemTypeRateLimited &&
		p.Type != acme.ProblemTypeAccountDoesNotExist {
		order.Replaces = ""
		made, err = v.client.NewOrder(ctx, who, order)
	}
	return made, err
}

// registered is our account at the authority, made if need be. Its errors are accountErrors.
func (v *visit) registered(ctx context.Context) (acme.Account, error) {
	a := v.account
	who, err := v.register(ctx, a)
	if err == nil {
		if a.Failures > 0 {
			a.Failures, a.Next, a.Problem, a.Do = 0, time.Time{}, "", ""
			err = v.saveAccount(*a)
		}
		if err != nil {
			return who, &diskError{err}
		}
		return who, nil
	}
	if disk := (*diskError)(nil); errors.As(err, &disk) || ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return who, err
	}
	err = &accountError{err}
	a.Failures++
	a.Next = time.Now().Add(backoff(a.Failures))
	if v.way.retryAt.After(a.Next) {
		a.Next = v.way.retryAt
	}
	a.Problem, a.Do = describe(err, "")
	if disk := v.saveAccount(*a); disk != nil {
		return who, &diskError{disk}
	}
	return who, err
}

func (v *visit) register(ctx context.Context, a *account) (who acme.Account, err error) {
	who = acme.Account{TermsOfServiceAgreed: true, Location: a.Location, PrivateKey: a.key}
	if v.set.Email != "" {
		who.Contact = []string{"mailto:" + v.set.Email}
	}
	if _, err := v.client.GetDirectory(ctx); err != nil {
		return who, fmt.Errorf("read the directory: %w", err)
	}
	if a.Location != "" && a.Email == v.set.Email {
		return who, nil
	}
	if a.Location != "" { // another address to write to
		if _, err := v.client.UpdateAccount(ctx, who); err != nil {
			return who, fmt.Errorf("change the address of the account: %w", err)
		}
		a.Email = v.set.Email
		return who, diskErr(v.saveAccount(*a))
	}
	if a.key == nil { // kept first: an account whose key is lost could never be used again
		if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return who, err
		}
		if err := v.saveAccount(*a); err != nil {
			return who, &diskError{err}
		}
		who.PrivateKey = a.key
	}
	if v.set.KeyID != "" {
		eab := acme.EAB{KeyID: v.set.KeyID, MACKey: macKey(v.set.MACKey)}
		if err := who.SetExternalAccountBinding(ctx, v.client, eab); err != nil {
			return who, fmt.Errorf("bind the account: %w", err)
		}
	}
	made, err := v.client.NewAccount(ctx, who) // RFC 8555 §7.3.1: one that is there is found by its key
	if err != nil {
		return who, fmt.Errorf("make an account: %w", err)
	}
	if made.Location == "" {
		return who, errors.New("make an account: the authority does not say where it is")
	}
	a.Location, a.Email = made.Location, v.set.Email
	who.Location = made.Location
	v.o.Log.Info("account made at the certification authority", "directory", v.set.Directory,
		"account", clean(a.Location))
	return who, diskErr(v.saveAccount(*a))
}
