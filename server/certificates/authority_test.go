package certificates

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// authority is a certification authority in memory: a transport, so that it lives in a bubble of synctest.
type authority struct {
	t   testing.TB
	url string

	mu       sync.Mutex // guards the rest
	clients  []*Service // that answer challenges
	lifetime time.Duration
	bound    bool // external accounts only
	ari      *window
	after    time.Duration // of each certificate the window begins, and lasts two days; 0: it is that of ari
	retry    string        // Retry-After of ARI
	closed   map[string]bool
	stuck    bool // proofs stay pending
	// first is asked before anything else; true: it has answered.
	first func(path string, w http.ResponseWriter, payload []byte) bool
	// signs makes what becomes of a request; nil: as it should be.
	signs func(leaf *x509.Certificate) (public any)

	key      *ecdsa.PrivateKey
	root     *x509.Certificate
	serial   int64
	orders   []made
	tried    []string // challenges, as TYPE NAME
	accounts int
	asked    int // for windows
	requests int
}

type made struct {
	name, replaces string
	at             time.Time
	valid          bool
	token          string
	chain          []byte
}

var authorities int

func newAuthority(t testing.TB) *authority {
	t.Helper()
	authorities++ // acmez remembers directories by their address
	a := &authority{t: t, url: fmt.Sprintf("https://ca%d.example", authorities), lifetime: 90 * 24 * time.Hour, closed: map[string]bool{}}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now(), NotAfter: time.Now().Add(1000 * 24 * time.Hour),
		SubjectKeyId: []byte{1, 2, 3}}
	der, err := x509.CreateCertificate(rand.Reader, root, root, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.root, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

// see gives what is counted, which others go on with.
func (a *authority) see(n *int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return *n
}

func (a *authority) directory() string { return a.url + "/dir" }

func (a *authority) challenges() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.tried)
}

// replaced are the certificates that orders were to replace.
func (a *authority) replaced() (ids []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, o := range a.orders {
		ids = append(ids, o.replaces)
	}
	return ids
}

func (a *authority) ordered(name string) (at []time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, o := range a.orders {
		if o.name == name {
			at = append(at, o.at)
		}
	}
	return at
}

func problem(w http.ResponseWriter, status int, kind, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(acme.Problem{Type: acme.ProblemTypeNamespace + kind, Detail: detail, Status: status})
}

func (a *authority) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Context().Err() != nil {
		return nil, r.Context().Err()
	}
	w := httptest.NewRecorder()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests++
	a.answer(w, r)
	return w.Result(), nil
}

// payload is that of a JWS, whose signature nobody checks here.
func payload(r *http.Request) (protected, body []byte) {
	var jws struct{ Protected, Payload string }
	if r.Body == nil || json.NewDecoder(r.Body).Decode(&jws) != nil {
		return nil, nil
	}
	protected, _ = base64.RawURLEncoding.DecodeString(jws.Protected)
	body, _ = base64.RawURLEncoding.DecodeString(jws.Payload)
	return protected, body
}

func (a *authority) answer(w http.ResponseWriter, r *http.Request) {
	_, body := payload(r)
	w.Header().Set("Replay-Nonce", fmt.Sprintf("nonce-%d", a.requests))
	if a.first != nil && a.first(r.URL.Path, w, body) {
		return
	}
	reply := func(status int, location string, v any) {
		w.Header().Set("Content-Type", "application/json")
		if location != "" {
			w.Header().Set("Location", a.url+location)
		}
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(v); err != nil {
			a.t.Error(err)
		}
	}
	part := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	n := 0
	if len(part) > 1 {
		_, _ = fmt.Sscan(part[1], &n)
	}
	if n >= len(a.orders) && n > 0 {
		http.NotFound(w, r)
		return
	}
	switch part[0] {
	case "dir":
		dir := map[string]any{"newNonce": a.url + "/nonce", "newAccount": a.url + "/account", "newOrder": a.url + "/order",
			"meta": map[string]any{"termsOfService": "https://ca.example/terms", "profiles": map[string]string{"short": "six days"}}}
		if a.ari != nil {
			dir["renewalInfo"] = a.url + "/ari"
		}
		reply(200, "", dir)
	case "nonce":
	case "account":
		var in struct{ ExternalAccountBinding json.RawMessage }
		if err := json.Unmarshal(body, &in); err != nil {
			a.t.Error(err)
		}
		if a.bound && len(in.ExternalAccountBinding) == 0 {
			problem(w, 403, "externalAccountRequired", "bind it")
			return
		}
		a.accounts++
		reply(201, "/accounts/1", map[string]any{"status": "valid"})
	case "order":
		var in struct {
			Identifiers []acme.Identifier
			Replaces    string
		}
		if err := json.Unmarshal(body, &in); err != nil || len(in.Identifiers) != 1 {
			a.t.Errorf("an order: %s, %v", body, err)
			return
		}
		a.orders = append(a.orders, made{name: in.Identifiers[0].Value, replaces: in.Replaces, at: time.Now()})
		n := len(a.orders) - 1
		reply(201, fmt.Sprint("/orders/", n), a.order(n))
	case "orders":
		reply(200, "", a.order(n))
	case "authz":
		o := a.orders[n]
		status := acme.StatusPending
		if o.valid {
			status = acme.StatusValid
		} else if o.token == "bad" {
			status = acme.StatusInvalid
		}
		c := func(kind string) acme.Challenge {
			one := acme.Challenge{Type: kind, URL: fmt.Sprint(a.url, "/", kind, "/", n), Token: fmt.Sprint("token", n), Status: status}
			if status == acme.StatusInvalid {
				one.Error = &acme.Problem{Type: acme.ProblemTypeConnection, Detail: "connection refused", Status: 400}
			}
			return one
		}
		reply(200, "", acme.Authorization{Status: status, Identifier: acme.Identifier{Type: "dns", Value: o.name},
			Challenges: []acme.Challenge{c("dns-01"), c(HTTP01), c(TLSALPN01)}})
	case HTTP01, TLSALPN01:
		a.tried = append(a.tried, part[0]+" "+a.orders[n].name)
		if a.stuck {
			reply(200, "", acme.Challenge{Type: part[0], Status: acme.StatusProcessing})
			return
		}
		a.orders[n].valid = !a.closed[part[0]] && a.proved(part[0], n)
		if !a.orders[n].valid {
			a.orders[n].token = "bad"
		}
		reply(200, "", acme.Challenge{Type: part[0], Status: acme.StatusProcessing})
	case "finalize":
		var in struct{ CSR string }
		if err := json.Unmarshal(body, &in); err != nil {
			a.t.Error(err)
		}
		a.sign(n, in.CSR)
		reply(200, fmt.Sprint("/orders/", n), a.order(n))
	case "cert":
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		_, _ = w.Write(a.orders[n].chain)
	case "ari":
		a.asked++
		if a.retry != "" {
			w.Header().Set("Retry-After", a.retry)
		}
		reply(200, "", map[string]any{"suggestedWindow": map[string]any{"start": a.ari.Start, "end": a.ari.End},
			"explanationURL": a.ari.Explanation})
	default:
		http.NotFound(w, r)
	}
}

func (a *authority) order(n int) map[string]any {
	o := a.orders[n]
	v := map[string]any{"status": "pending", "identifiers": []acme.Identifier{{Type: "dns", Value: o.name}},
		"authorizations": []string{fmt.Sprint(a.url, "/authz/", n)}, "finalize": fmt.Sprint(a.url, "/finalize/", n)}
	if o.chain != nil {
		v["status"], v["certificate"] = "valid", fmt.Sprint(a.url, "/cert/", n)
	}
	return v
}

// proved looks for the answer at any of the clients.
func (a *authority) proved(kind string, n int) bool {
	for _, s := range a.clients {
		switch kind {
		case HTTP01:
			w := httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequest("GET", PathChallenge+fmt.Sprint("token", n), nil))
			if w.Code == 200 && strings.HasPrefix(w.Body.String(), fmt.Sprint("token", n, ".")) {
				return true
			}
		case TLSALPN01:
			c, err := s.TLS().GetCertificate(&tls.ClientHelloInfo{ServerName: a.orders[n].name, SupportedProtos: []string{ALPN}})
			if err == nil && a.proves(c.Leaf, a.orders[n].name) {
				return true
			}
		}
	}
	return false
}

// proves checks the form of RFC 8737 §3.
func (a *authority) proves(leaf *x509.Certificate, name string) bool {
	for _, e := range leaf.Extensions {
		var sum []byte
		if e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}) {
			rest, err := asn1.Unmarshal(e.Value, &sum)
			return err == nil && len(rest) == 0 && e.Critical && len(sum) == sha256.Size && len(leaf.DNSNames) == 1 &&
				leaf.DNSNames[0] == name
		}
	}
	return false
}

func (a *authority) sign(n int, text string) {
	der, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		a.t.Error(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil || csr.CheckSignature() != nil {
		a.t.Error("a request that is none", err)
		return
	}
	a.serial++
	leaf := &x509.Certificate{SerialNumber: big.NewInt(1000 + a.serial), DNSNames: csr.DNSNames, NotBefore: time.Now(),
		NotAfter: time.Now().Add(a.lifetime), AuthorityKeyId: []byte{1, 2, 3}}
	if a.after > 0 {
		a.ari.Start, a.ari.End = time.Now().Add(a.after), time.Now().Add(a.after+2*day)
	}
	public := csr.PublicKey
	if a.signs != nil {
		if other := a.signs(leaf); other != nil {
			public = other
		}
	}
	signed, err := x509.CreateCertificate(rand.Reader, leaf, a.root, public, a.key)
	if err != nil {
		a.t.Error(err)
	}
	var out bytes.Buffer
	for _, der := range [][]byte{signed, a.root.Raw} {
		if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			a.t.Error(err)
		}
	}
	a.orders[n].chain = out.Bytes()
}
