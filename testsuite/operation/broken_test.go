package operation

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jackdaw/config"
	"jackdaw/server/doctor"
	"jackdaw/testsuite/peers"
)

// A fault is one thing that is wrong with a ward.
type fault struct {
	name  string
	spoil func(*testing.T, *ward)
	level doctor.Level
	want  []string // each in the one line
}

// faultsOfTheDNS are those of records.
var faultsOfTheDNS = []fault{
	{"no record for direct TLS", func(_ *testing.T, w *ward) { delete(w.zone.services, "_xmpps-client._tcp.chat.example.") },
		doctor.Warning, []string{"_xmpps-client._tcp.chat.example. 3600 IN SRV 5 0 5223 chat.example."}},
	{"no record for direct TLS on two ports", func(_ *testing.T, w *ward) {
		delete(w.zone.services, "_xmpps-client._tcp.chat.example.")
		w.options.Config.HTTP.URL, w.options.Config.Listen.TLS = "https://im.chat.example", []string{":443"}
	}, doctor.Warning, []string{"SRV 5 0 5223 im.chat.example. and _xmpps-client._tcp.chat.example. 3600 IN SRV 10 0 443 im."}},
	{"another port than the usual one, without a record", func(_ *testing.T, w *ward) {
		delete(w.zone.services, "_xmpp-client._tcp.chat.example.")
		w.options.Config.Listen.C2S = []string{":15222"}
	}, doctor.Wrong, []string{"listens on 15222", "IN SRV 5 0 15222 chat.example."}},
	{"another port than the one listened on", func(_ *testing.T, w *ward) {
		w.options.Config.Listen.C2STLS = []string{":15223"}
	}, doctor.Warning, []string{"names port 5223", "listens on 15223"}},
	{"a record that says no", func(_ *testing.T, w *ward) {
		w.zone.services["_xmpp-server._tcp.chat.example."] = srv(".", 0)
	}, doctor.Wrong, []string{"says that there is no such service", "change the record", "5269"}},
	{"an address for a name", func(_ *testing.T, w *ward) {
		w.zone.services["_xmpp-server._tcp.chat.example."] = srv("192.0.2.1.", 5269)
	}, doctor.Wrong, []string{"names an address, 192.0.2.1"}},
	{"a target without address", func(_ *testing.T, w *ward) {
		w.zone.services["_xmpp-server._tcp.chat.example."] = srv("gone.example.", 5269)
	}, doctor.Wrong, []string{"gone.example has no address", "gone.example. 3600 IN A 192.0.2.1"}},
	{"an alias", func(_ *testing.T, w *ward) {
		w.zone.services["_xmpp-client._tcp.chat.example."] = srv("www.chat.example.", 5222)
		w.zone.hosts["www.chat.example."] = "192.0.2.1"
		w.zone.aliases = map[string]string{"www.chat.example.": "im.chat.example."}
	}, doctor.Warning, []string{"which is an alias of im.chat.example;"}},
	{"a DNS that does not answer", func(_ *testing.T, w *ward) { w.zone.broken = "_xmpp-client._tcp.chat.example." },
		doctor.Wrong, []string{"does not answer for _xmpp-client._tcp.chat.example", "name servers"}},
	{"rooms that nobody finds", func(_ *testing.T, w *ward) {
		delete(w.zone.services, "_xmpp-server._tcp.rooms.chat.example.")
	}, doctor.Wrong, []string{"no record _xmpp-server._tcp.rooms.chat.example, and rooms.chat.example has no address",
		"_xmpp-server._tcp.rooms.chat.example. 3600 IN SRV 5 0 5269 chat.example."}},
	{"the address of another machine", func(_ *testing.T, w *ward) {
		w.zone.services["_xmpp-client._tcp.chat.example."] = srv("old.chat.example.", 5222)
		w.zone.hosts["old.chat.example."] = "198.51.100.9"
		w.places["198.51.100.9:5222"] = w.server.C2S
	}, doctor.Warning, []string{"old.chat.example has the address 198.51.100.9, and this machine has 192.0.2.1",
		"old.chat.example. 3600 IN A 192.0.2.1"}},
}

// at puts a small server of the test's in the place of one of the ward's.
func (w *ward) at(t *testing.T, port string, serve func(net.Conn)) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(time.Minute))
				serve(c)
			}()
		}
	}()
	w.places["192.0.2.1:"+port] = l.Addr().String()
}

// shows has the port for clients with direct TLS show another certificate. What is said goes on to the server.
func (w *ward) shows(t *testing.T, c *tls.Config) {
	w.at(t, "5223", func(near net.Conn) {
		c.NextProtos = []string{"xmpp-client"}
		client := tls.Server(near, c)
		if client.Handshake() != nil {
			return // the doctor has seen enough
		}
		far, err := tls.Dial("tcp", w.server.C2STLS, &tls.Config{InsecureSkipVerify: true, ServerName: "chat.example",
			NextProtos: c.NextProtos})
		if err != nil {
			return
		}
		defer far.Close()
		go io.Copy(far, client) // both end with the connection
		io.Copy(client, far)
	})
}

func pair(t *testing.T, c peers.Certificate) tls.Certificate {
	t.Helper()
	p, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// certified is a fault of a certificate.
func certified(name string, make func(*testing.T, *ward) peers.Certificate, want ...string) fault {
	return fault{name, func(t *testing.T, w *ward) {
		w.shows(t, &tls.Config{Certificates: []tls.Certificate{pair(t, make(t, w))}})
	}, doctor.Wrong, append(want, "the certificate at im.chat.example:5223 ")}
}

// lasting is a certificate that counts.
func (w *ward) lasting() peers.Certificate {
	return w.authority.IssueFor([]string{"chat.example"}, x509.ExtKeyUsageServerAuth)
}

// joined is a certificate with another one behind it.
func joined(t *testing.T, c peers.Certificate, above string) peers.Certificate {
	t.Helper()
	var both []byte
	for _, file := range []string{c.Cert, above} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, b...)
	}
	c.Cert = filepath.Join(t.TempDir(), "chain.pem")
	if err := os.WriteFile(c.Cert, both, 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

func flawed(f peers.Flaw) func(*testing.T, *ward) peers.Certificate {
	return func(_ *testing.T, w *ward) peers.Certificate { return w.authority.Issue("chat.example", f) }
}

// faultsOfTLS are those of certificates and of what is said before and behind TLS.
var faultsOfTLS = []fault{
	certified("a certificate that has ended", flawed(peers.Expired), "ended on ", "jackdaw reload"),
	certified("a certificate of another name", flawed(peers.OtherName), "is for other.example and not for chat.example",
		"have a certificate for chat.example made"),
	certified("a certificate signed by itself", flawed(peers.SelfSigned), "is signed by itself", "hosts[].cert"),
	certified("a certificate of an unknown authority", func(t *testing.T, _ *ward) peers.Certificate {
		return peers.NewAuthority(t).Issue("chat.example", peers.None)
	}, "comes alone, and leads to no authority", "whole chain"),
	certified("a certificate that is not for servers", func(_ *testing.T, w *ward) peers.Certificate {
		return w.authority.IssueFor([]string{"chat.example"}, x509.ExtKeyUsageClientAuth)
	}, "is not for servers", "serverAuth"),
	certified("a certificate of an unknown authority, with its chain", func(t *testing.T, w *ward) peers.Certificate {
		other := peers.NewAuthority(t)
		c := other.Issue("chat.example", peers.None)
		return joined(t, c, other.File)
	}, "is of an authority that this machine does not trust", "hosts[].cert"),
	{"a clock that is wrong", func(_ *testing.T, w *ward) {
		w.options.Now = func() time.Time { return time.Now().Add(-10 * time.Minute) }
	}, doctor.Warning, []string{"the clock of this machine is ", "behind that of https://chat.example", "timedatectl"}},
	{"TLS of the last decade", func(t *testing.T, w *ward) {
		w.shows(t, &tls.Config{Certificates: []tls.Certificate{pair(t, w.lasting())},
			MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	}, doctor.Wrong, []string{"speaks TLS 1.1 at most", "TLS 1.2 and 1.3"}},
	{"STARTTLS where TLS begins at once", func(_ *testing.T, w *ward) {
		w.places["192.0.2.1:5223"] = w.server.C2S
	}, doctor.Wrong, []string{"TLS fails", "TLS from the first byte"}},
	{"STARTTLS is taken away on the way", func(t *testing.T, w *ward) {
		w.at(t, "5222", says(header+"<stream:features/>"))
	}, doctor.Wrong, []string{"im.chat.example:5222 (192.0.2.1): STARTTLS is not offered", "listen.c2s"}},
	{"another program has the port", func(t *testing.T, w *ward) {
		w.at(t, "5222", says("SSH-2.0-OpenSSH_9.2p1\r\n"))
	}, doctor.Wrong, []string{"speaks no XMPP", "something else listens there"}},
	{"the domain is not served there", func(t *testing.T, w *ward) {
		w.at(t, "5222", says(header+"<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"))
	}, doctor.Wrong, []string{"the stream is refused: host-unknown"}},
	{"a closed port", func(_ *testing.T, w *ward) { delete(w.places, "192.0.2.1:5222") },
		doctor.Wrong, []string{"im.chat.example:5222 (192.0.2.1) is not reached: connection refused", "firewall"}},
	{"logins in the clear", func(t *testing.T, w *ward) {
		w.at(t, "5222", func(near net.Conn) { w.tamper(near, "</starttls>", "</starttls>"+mechanisms) })
	}, doctor.Warning, []string{"logins are offered before TLS", "c2s.require_tls: true"}},
}

const (
	header = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' " +
		"id='1' from='chat.example' version='1.0'>"
	mechanisms = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"
)

// says answers whoever comes with one text, and goes.
func says(text string) func(net.Conn) {
	return func(c net.Conn) {
		io.WriteString(c, text) // a doctor that has gone needs no answer
		io.Copy(io.Discard, c)
	}
}

// tamper passes a stream on to the server for clients, with a change in what comes first.
func (w *ward) tamper(near net.Conn, old, new string) {
	far, err := net.Dial("tcp", w.server.C2S)
	if err != nil {
		return
	}
	defer far.Close()
	go io.Copy(far, near) // both end with the connection
	var said strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(said.String(), "</stream:features>") {
		n, err := far.Read(buf)
		said.Write(buf[:n])
		if err != nil {
			return
		}
	}
	io.WriteString(near, strings.Replace(said.String(), old, new, 1)) // likewise
	io.Copy(near, far)
}

// behind puts a proxy for the web before the server.
func (w *ward) behind(t *testing.T, change func(out http.ResponseWriter, r *http.Request, pass http.Handler)) {
	t.Helper()
	to := &url.URL{Scheme: "https", Host: w.server.HTTPS}
	pass := &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0),
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host },
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		change(out, r, pass)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair(t, w.lasting())}}
	s.StartTLS()
	t.Cleanup(s.Close)
	w.places["192.0.2.1:443"] = s.Listener.Addr().String()
}

// proxied is a fault of a proxy that gets one path wrong.
func proxied(name, path, method string, level doctor.Level, wrong http.HandlerFunc, want ...string) fault {
	return fault{name, func(t *testing.T, w *ward) {
		w.behind(t, func(out http.ResponseWriter, r *http.Request, pass http.Handler) {
			if r.URL.Path == path && (method == "" || r.Method == method) {
				wrong(out, r)
				return
			}
			pass.ServeHTTP(out, r)
		})
	}, level, want}
}

func status(code int) http.HandlerFunc {
	return func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(code) }
}

const aFile = "/upload/doctor/doctor.txt"

// faultsOfTheWeb are those of proxies and websites.
var faultsOfTheWeb = []fault{
	proxied("a website without host-meta", "/.well-known/host-meta", "", doctor.Warning, status(404),
		"host-meta: 404 Not Found", "pass /.well-known/host-meta and host-meta.json on"),
	proxied("host-meta that pages may not read", "/.well-known/host-meta.json", "", doctor.Warning,
		func(out http.ResponseWriter, _ *http.Request) { io.WriteString(out, "{}") }, "Access-Control-Allow-Origin is not *"),
	proxied("a proxy that passes no WebSocket", "/xmpp-websocket", "", doctor.Wrong, status(400),
		"wss://chat.example/xmpp-websocket: 400 Bad Request in place of a WebSocket", "have the proxy pass that path on"),
	proxied("a proxy without BOSH", "/http-bind", "", doctor.Wrong, status(502), "http-bind: 502 Bad Gateway"),
	proxied("a proxy that takes no PUT", aFile, http.MethodPut, doctor.Wrong, status(405),
		"https://chat.example/upload: PUT is answered by somebody else: 405", "with PUT and OPTIONS"),
	proxied("a proxy that answers the questions of pages itself", aFile, http.MethodOptions, doctor.Warning, status(204),
		"pages may not put files there (CORS)"),
	{"a proxy for small files only", func(t *testing.T, w *ward) {
		w.behind(t, func(out http.ResponseWriter, r *http.Request, pass http.Handler) {
			if r.ContentLength > 1<<20 {
				out.WriteHeader(http.StatusRequestEntityTooLarge)
				return
			}
			pass.ServeHTTP(out, r)
		})
	}, doctor.Warning, []string{"104857600 bytes", "client_max_body_size"}},
	{"a proxy that is not trusted", func(t *testing.T, w *ward) {
		w.behind(t, func(out http.ResponseWriter, r *http.Request, pass http.Handler) { pass.ServeHTTP(out, r) })
		w.options.Config.Listen.HTTPS, w.options.Config.Listen.HTTP = nil, []string{"127.0.0.1:5280"}
	}, doctor.Warning, []string{"no proxy is trusted", "trusted_proxies", "X-Forwarded-For"}},
	proxied("a proxy that has invitations go to a website", "/invite/", "", doctor.Wrong, status(404),
		"https://chat.example/invite/: answered by somebody else: 404", "have the proxy pass /invite/ and /assets/ on"),
	proxied("a website that moves invitations", "/invite/", "", doctor.Wrong, func(out http.ResponseWriter, r *http.Request) {
		http.Redirect(out, r, "https://www.chat.example/", http.StatusMovedPermanently)
	}, "answered by somebody else: 301"),
	{"invitations lead to no page", func(_ *testing.T, w *ward) {
		w.options.Invitations, w.options.Config.Registration = "", config.RegistrationInvite
	}, doctor.Warning, []string{"invitations lead to no page", "listen.https", "http.url"}},
	{"files have no way", func(_ *testing.T, w *ward) { w.options.Files = "" }, doctor.Warning,
		[]string{"users cannot send files", "listen.https"}},
}

// faultsOfIssuing are those of certificates that come by themselves.
var faultsOfIssuing = []fault{
	{"a name without a record", func(_ *testing.T, w *ward) {
		w.options.Issued = []doctor.Issued{{Name: "chat.example"}, {Name: "upload.chat.example", Do: "add a record",
			Problem: "the DNS has no address for it"}}
	}, doctor.Warning, []string{"no certificate has come for upload.chat.example: the DNS has no address", "do: add a record"}},
}

// faultsOfTheMachine are those that only the machine itself knows.
var faultsOfTheMachine = []fault{
	{"no server", func(_ *testing.T, w *ward) { w.options.Machine.PID = 0 }, doctor.Wrong,
		[]string{"no server runs on /var/lib/jackdaw", "systemctl start jackdaw"}},
	{"few descriptors", func(_ *testing.T, w *ward) {
		w.options.Machine.Descriptors = func(int) (int, int, error) { return 20, 256, nil }
	}, doctor.Warning, []string{"256 files open", "LimitNOFILE"}},
	{"descriptors that run out", func(_ *testing.T, w *ward) {
		w.options.Machine.Descriptors = func(int) (int, int, error) { return 60000, 65536, nil }
	}, doctor.Warning, []string{"60000 of 65536", "LimitNOFILE"}},
	{"a disk that is full", func(_ *testing.T, w *ward) {
		w.options.Machine.Disk = func(string) (doctor.Room, error) {
			return doctor.Room{Free: 100 << 20,
				All: 100 << 30}, nil
		}
	}, doctor.Wrong, []string{"100 MiB of 102400 free", "modules.archive.keep"}},
	{"a disk that fills", func(_ *testing.T, w *ward) {
		w.options.Machine.Disk = func(string) (doctor.Room, error) {
			return doctor.Room{Free: 500 << 20,
				All: 100 << 30}, nil
		}
	}, doctor.Warning, []string{"500 MiB of 102400 free"}},
	{"a disk without room for files", func(_ *testing.T, w *ward) {
		w.options.Machine.Disk = func(string) (doctor.Room, error) {
			return doctor.Room{Free: 50 << 30, All: 100 << 30, Files: 1000, FilesFree: 3}, nil
		}
	}, doctor.Warning, []string{"room for 3 more files"}},
	{"a clock that nobody keeps", func(_ *testing.T, w *ward) {
		w.options.Machine.Clock = func() (bool, error) { return false, nil }
	}, doctor.Warning, []string{"nothing keeps the clock", "timedatectl"}},
	{"Redis that forgets", func(_ *testing.T, w *ward) {
		w.options.Machine.Storage = func(context.Context) []doctor.Finding {
			return []doctor.Finding{{Level: doctor.Warning, What: "no append-only file", Do: "appendonly yes"}}
		}
	}, doctor.Warning, []string{"no append-only file; do: appendonly yes"}},
}

func TestDoctorNamesEachFaultAndTheRemedy(t *testing.T) {
	w := newWard(t)
	for place, faults := range map[string][]fault{"DNS": faultsOfTheDNS, "TLS": faultsOfTLS, "web": faultsOfTheWeb,
		"machine": faultsOfTheMachine, "issuing": faultsOfIssuing, "records": faultsOfRecords} {
		for _, f := range faults {
			t.Run(place+"/"+f.name, func(t *testing.T) {
				one := w.copied()
				f.spoil(t, one)
				found := doctor.Examine(t.Context(), one.options)
				lines := bad(found)
				if len(lines) != 1 || doctor.Worst(found) != f.level {
					t.Fatalf("%s, not %s:\n%s", doctor.Worst(found), f.level, strings.Join(lines, "\n"))
				}
				for _, want := range f.want {
					if !strings.Contains(lines[0], want) {
						t.Errorf("no %q in %q", want, lines[0])
					}
				}
			})
		}
	}
}

func TestDoctorWarnsOfACertificateAtItsEnd(t *testing.T) {
	w := newWard(t).copied()
	w.options.Now = func() time.Time { return time.Now().Add(50 * 24 * time.Hour) }
	ends := 0
	for _, line := range bad(doctor.Examine(t.Context(), w.options)) {
		switch {
		case strings.HasPrefix(line, "warning: the certificate at im.chat.example:52") && strings.Contains(line, "ends in 9 days"):
			ends++
		case !strings.Contains(line, "the clock of this machine"):
			t.Errorf("a certificate at its end: %s", line)
		}
	}
	if ends != 6 { // each is shown on two ports for clients, two for servers, and these are those of the rooms as well
		t.Errorf("%d certificates at their end", ends)
	}
}

func TestDoctorIsLenientWithCertificatesForServers(t *testing.T) {
	w := newWard(t).copied()
	w.options.Roots = x509.NewCertPool() // nobody's word counts
	counts := map[doctor.Level]int{}
	for _, f := range doctor.Examine(t.Context(), w.options) {
		if strings.HasPrefix(f.What, "the certificate at") {
			counts[f.Level]++
		}
	}
	// Servers may still ask back, for the host and for its rooms.
	if fmt.Sprint(counts) != "map[warning:4 wrong:2]" {
		t.Errorf("%v", counts)
	}
}
