package peers

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"jackdaw/testsuite/harness"
)

// Names is a name server that knows the domains of a test and no others. It answers for
// SRV and A records, over UDP and TCP (RFC 1035 §4.2); its methods may be called from
// any goroutine.
type Names struct {
	Addr string // HOST:PORT

	mu      sync.Mutex // guards what follows
	domains map[string]Site
	zone    map[string][]dnsmessage.ResourceBody // by name, in lower case and without the dot at its end
}

// A Site is where a domain's server is; an empty address says that there is none of the kind.
type Site struct {
	S2S    string // IP:PORT of STARTTLS
	S2STLS string // IP:PORT of direct TLS
}

// StartNames runs one until the end of the test.
func StartNames(t testing.TB) *Names { t.Helper(); return StartNamesAt(t, harness.FreeAddr()) }

// StartNamesAt is StartNames at an address.
func StartNamesAt(t testing.TB, addr string) *Names {
	t.Helper()
	n := &Names{Addr: addr, domains: map[string]Site{}, zone: map[string][]dnsmessage.ResourceBody{}}
	packets, err := net.ListenPacket("udp", n.Addr)
	if err != nil {
		t.Fatal(err)
	}
	streams, err := net.Listen("tcp", n.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { packets.Close(); streams.Close() })
	go n.servePackets(packets)
	go n.serveStreams(streams)
	return n
}

// Set says where a domain is, from now on. Peers may remember what they have been told for a minute.
func (n *Names) Set(domain string, s Site) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.domains[domain] = s
}

// Paste adds the records of a fragment of a zone file: A, AAAA and SRV, one on a line, with whole names. Comments and
// records of other types are passed over.
func (n *Names) Paste(t testing.TB, fragment string) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	for line := range strings.Lines(fragment) {
		f := strings.Fields(line)
		if len(f) < 5 || f[0] == ";" || f[2] != "IN" {
			continue
		}
		var body dnsmessage.ResourceBody
		switch f[3] {
		case "A":
			body = &dnsmessage.AResource{A: netip.MustParseAddr(f[4]).As4()}
		case "AAAA":
			body = &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(f[4]).As16()}
		case "SRV":
			var r dnsmessage.SRVResource
			var target string
			if _, err := fmt.Sscan(strings.Join(f[4:], " "), &r.Priority, &r.Weight, &r.Port, &target); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			r.Target = dnsmessage.MustNewName(target)
			body = &r
		default:
			continue
		}
		name := strings.ToLower(strings.TrimSuffix(f[0], "."))
		n.zone[name] = append(n.zone[name], body)
	}
}

// pasted are the records of a name that was pasted.
func (n *Names) pasted(q dnsmessage.Question, name string) (records []dnsmessage.Resource, known bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, body := range n.zone[name] {
		kind := dnsmessage.TypeA
		switch body.(type) {
		case *dnsmessage.AAAAResource:
			kind = dnsmessage.TypeAAAA
		case *dnsmessage.SRVResource:
			kind = dnsmessage.TypeSRV
		}
		if kind == q.Type {
			records = append(records, dnsmessage.Resource{Body: body,
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: kind, Class: dnsmessage.ClassINET, TTL: 60}})
		}
	}
	return records, len(n.zone[name]) > 0
}

func (n *Names) servePackets(conn net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		size, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if reply := n.answer(buf[:size]); reply != nil {
			conn.WriteTo(reply, from) // a lost answer is asked for again
		}
	}
}

func (n *Names) serveStreams(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(time.Minute))
			for {
				var size [2]byte
				if _, err := io.ReadFull(conn, size[:]); err != nil {
					return
				}
				query := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(conn, query); err != nil {
					return
				}
				reply := n.answer(query)
				if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))),
					reply...)); err != nil {
					return
				}
			}
		}()
	}
}

// answer is nil for what is no question.
func (n *Names) answer(query []byte) []byte {
	var p dnsmessage.Parser
	head, err := p.Start(query)
	if err != nil || head.Response {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	records, known := n.records(q)
	reply := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: head.ID, Response: true, Authoritative: true,
			RecursionDesired: head.RecursionDesired, RecursionAvailable: true,
		},
		Questions: []dnsmessage.Question{q},
		Answers:   records,
	}
	if !known {
		reply.RCode = dnsmessage.RCodeNameError
	}
	packed, err := reply.Pack()
	if err != nil {
		return nil
	}
	return packed
}

func (n *Names) records(q dnsmessage.Question) (records []dnsmessage.Resource, known bool) {
	name := strings.TrimSuffix(strings.ToLower(q.Name.String()), ".")
	if records, known := n.pasted(q, name); known {
		return records, true
	}
	service, domain := "", name
	for _, s := range []string{"_xmpp-server._tcp.", "_xmpps-server._tcp."} {
		if rest, ok := strings.CutPrefix(name, s); ok {
			service, domain = s, rest
		}
	}
	head := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: dnsmessage.ClassINET, TTL: 60}
	if ip, err := strconv.ParseUint(name, 0, 32); err == nil { // of hostname
		if q.Type != dnsmessage.TypeA {
			return nil, true
		}
		return []dnsmessage.Resource{{Header: head,
			Body: &dnsmessage.AResource{A: [4]byte(binary.BigEndian.AppendUint32(nil, uint32(ip)))}}}, true
	}
	n.mu.Lock()
	site, known := n.domains[domain]
	n.mu.Unlock()
	if !known {
		return nil, false
	}
	addr := site.S2S
	if service == "_xmpps-server._tcp." || service == "" && addr == "" {
		addr = site.S2STLS
	}
	where, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, service == ""
	}
	switch {
	case service == "" && q.Type == dnsmessage.TypeA:
		return []dnsmessage.Resource{{Header: head, Body: &dnsmessage.AResource{A: where.Addr().As4()}}}, true
	case service != "" && q.Type == dnsmessage.TypeSRV:
		target, err := dnsmessage.NewName(hostname(where.Addr()) + ".")
		if err != nil {
			return nil, false
		}
		return []dnsmessage.Resource{{Header: head, Body: &dnsmessage.SRVResource{Port: where.Port(), Target: target}}},
			true
	}
	return nil, true
}

// hostname is the name of an address. ejabberd leaves the names that SRV records point to to
// the C library, which asks the name servers of the system; the C library takes this one
// for an address (inet_aton(3)), and to all others it is a name like any.
func hostname(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("0x%x", b[:])
}
