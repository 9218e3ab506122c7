package doctor

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"jackdaw/modules/hostmeta"
	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

// nsXRD is the namespace of host-meta (RFC 6415 §2).
const nsXRD = "http://docs.oasis-open.org/ns/xri/xrd-1.0"

// A link is what host-meta says of one way to connect.
type link struct {
	Rel  string `json:"rel"`
	Href string `json:"href"`
}

// web examines what clients in browsers need: host-meta, and the ways that it names.
func (e *examination) web(ctx context.Context) {
	var links []link
	for _, doc := range []struct {
		name string
		read func([]byte) ([]link, error)
	}{{"host-meta.json", readJRD}, {"host-meta", readXRD}} {
		at := "https://" + e.name + "/.well-known/" + doc.name
		found, err := e.hostMeta(ctx, at, doc.read)
		if err != nil {
			e.add(Finding{Level: Warning, What: at + ": " + err.Error(),
				Why: "clients in browsers find the server by it (XEP-0156)",
				Do: "have the web server of " + e.name + " pass /.well-known/host-meta and host-meta.json on to listen.https " +
					"(docs/manual.md), or let jackdaw have port 443"})
			continue
		}
		e.good(at + " is there, and every page may read it")
		if links == nil {
			links = found
		}
	}
	e.clock("https://"+e.name, e.date)
	e.behindProxy(links != nil)
	for _, l := range links {
		var err error
		switch l.Rel {
		case hostmeta.WebSocket:
			err = e.webSocket(ctx, l.Href)
		case hostmeta.BOSH:
			err = e.bosh(ctx, l.Href)
		default:
			continue
		}
		if err != nil {
			e.add(Finding{Level: Wrong, What: l.Href + ": " + err.Error(),
				Why: "host-meta sends clients in browsers there",
				Do:  "have the proxy pass that path on to listen.https or listen.http (docs/manual.md has the lines)"})
			continue
		}
		e.good(l.Href + " answers")
	}
}

// behindProxy sees whether a proxy that passes requests on is one that the server knows. There is one if the port of
// the web is none of the server's own.
func (e *examination) behindProxy(served bool) {
	c := e.Config
	if c == nil || !served || slices.Contains(Ports(slices.Concat(c.Listen.TLS, c.Listen.HTTPS)), 443) {
		return
	}
	unix := slices.ContainsFunc(c.Listen.HTTP, func(addr string) bool { return strings.HasPrefix(addr, "unix:") })
	if unix || len(c.HTTP.TrustedProxies) > 0 || len(c.ProxyProtocol.From) > 0 {
		return
	}
	e.add(Finding{Level: Warning, What: "a proxy has port 443 of " + e.name + ", and no proxy is trusted",
		Why: "all who come through it count as one: the limits of an address and of failed logins are everybody's together",
		Do: `name its address as the server sees it: http: {trusted_proxies: ["127.0.0.1"]}, and have it set X-Forwarded-For ` +
			`(docs/manual.md)`})
}

// client makes requests by the resolver and the connections of the examination.
func (e *examination) client() *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext:       e.dialName,
		TLSClientConfig:   &tls.Config{RootCAs: e.Roots, Time: e.Now, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: maxAnswer,
	}}
}

// do makes a request. The error says nothing of the address, which stands beside it.
func (e *examination) do(c *http.Client, r *http.Request) (*http.Response, error) {
	answer, err := c.Do(r)
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return answer, err
}

// dialName connects to the first address of a host that lets it.
func (e *examination) dialName(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	ips, err := e.Resolver.LookupNetIP(ctx, "ip", host+".")
	if err != nil {
		return nil, err
	}
	var failed error
	for _, ip := range ips[:min(len(ips), 4)] {
		c, err := e.Dial(ctx, network, net.JoinHostPort(ip.Unmap().String(), port))
		if err == nil {
			return c, nil
		}
		failed = err
	}
	return nil, cmp.Or(failed, error(&net.DNSError{Err: "no address", Name: host, IsNotFound: true}))
}

// hostMeta reads one of the two documents and the links in it.
func (e *examination) hostMeta(ctx context.Context, at string, read func([]byte) ([]link, error)) ([]link, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Origin", origin)
	answer, err := e.do(e.client(), r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if e.date == "" {
		e.date = answer.Header.Get("Date")
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	switch {
	case err != nil:
		return nil, err
	case answer.StatusCode != http.StatusOK:
		return nil, errors.New(answer.Status)
	case answer.Header.Get("Access-Control-Allow-Origin") != "*": // XEP-0156 §4.3
		return nil, errors.New("pages of other origins may not read it: the header Access-Control-Allow-Origin is not *")
	}
	return read(body)
}

func readJRD(b []byte) ([]link, error) {
	var doc struct {
		Links []link `json:"links"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("it is no JSON: %w", err)
	}
	return doc.Links, nil
}

func readXRD(b []byte) (links []link, err error) {
	var s stream.Scanner
	if _, err := s.Frame(b); err != nil {
		return nil, fmt.Errorf("it is no XML: %w", err)
	}
	_, raw := s.Element()
	root, err := xmpp.ParseElement(raw)
	if err != nil || root.Name != (xmpp.Name{Space: nsXRD, Local: "XRD"}) {
		return nil, errors.New("it is no XRD")
	}
	for _, c := range root.Children() {
		if c.Name.Local == "Link" {
			links = append(links, link{c.Attr("rel"), c.Attr("href")})
		}
	}
	return links, nil
}

// webSocket goes as far as the answer to the upgrade (RFC 7395 §3.1, RFC 6455 §4.1).
func (e *examination) webSocket(ctx context.Context, at string) error {
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "wss" || u.Host == "" {
		return errors.New("no URL of the form wss://HOST/PATH")
	}
	u.Scheme = "https"
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	var key [16]byte
	rand.Read(key[:]) // never returns an error
	for name, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket",
		"Sec-WebSocket-Version": "13", "Sec-WebSocket-Protocol": "xmpp",
		"Sec-WebSocket-Key": base64.StdEncoding.EncodeToString(key[:])} {
		r.Header.Set(name, value)
	}
	c := e.client()
	c.Transport.(*http.Transport).ForceAttemptHTTP2 = false // an upgrade is one of HTTP/1.1
	answer, err := e.do(c, r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode != http.StatusSwitchingProtocols:
		return fmt.Errorf("%s in place of a WebSocket", answer.Status)
	case !strings.EqualFold(answer.Header.Get("Sec-WebSocket-Protocol"), "xmpp"):
		return errors.New("a WebSocket, and not one for XMPP")
	}
	return nil
}

// bosh opens a session and ends it (XEP-0124 §7, §13).
func (e *examination) bosh(ctx context.Context, at string) error {
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return errors.New("no URL of the form https://HOST/PATH")
	}
	const rid = 1 << 20
	begin, err := e.postBody(ctx, at, "<body xmlns='"+xmpp.NSHTTPBind+"' rid='"+strconv.Itoa(rid)+"' to='"+
		string(xmpp.AppendAttr(nil, e.Domain))+"' ver='1.6' wait='1' hold='1' xml:lang='en' xmpp:version='1.0' xmlns:xmpp='"+
		xmpp.NSBOSH+"'/>")
	if err != nil {
		return err
	}
	if begin.Attr("type") == "terminate" {
		return errors.New("the session is refused: " + begin.Attr("condition"))
	}
	_, err = e.postBody(ctx, at, "<body xmlns='"+xmpp.NSHTTPBind+"' rid='"+strconv.Itoa(rid+1)+"' type='terminate' sid='"+
		string(xmpp.AppendAttr(nil, begin.Attr("sid")))+"'/>")
	return err
}

// postBody sends one body and reads the other.
func (e *examination) postBody(ctx context.Context, at, body string) (*xmpp.Element, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "text/xml; charset=utf-8")
	answer, err := e.do(e.client(), r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, errors.New(answer.Status)
	}
	var s stream.Scanner
	if _, err := s.Frame(bytes.TrimSpace(b)); err != nil {
		return nil, errors.New("the answer is not one of BOSH")
	}
	_, raw := s.Element()
	el, err := xmpp.ParseElement(raw)
	if err != nil || el.Name != (xmpp.Name{Space: xmpp.NSHTTPBind, Local: "body"}) {
		return nil, errors.New("the answer is not one of BOSH")
	}
	return el, nil
}
