package lookup

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stub is a DNS server on loopback, over UDP and TCP.
type stub struct {
	udp net.PacketConn
	tcp net.Listener

	mu      sync.Mutex // guards what follows
	answers map[string][]dnsmessage.ResourceBody
	rcodes  map[string]dnsmessage.RCode
	asked   []string // "TypeSRV _xmpp-server._tcp.example.net."
}

func newStub(t *testing.T) *stub {
	t.Helper()
	s := &stub{answers: map[string][]dnsmessage.ResourceBody{}, rcodes: map[string]dnsmessage.RCode{}}
	var err error
	if s.udp, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if s.tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(s.serveUDP)
	running.Go(func() {
		for {
			c, err := s.tcp.Accept()
			if err != nil {
				return
			}
			running.Go(func() { s.serveTCP(c) })
		}
	})
	t.Cleanup(func() {
		_ = s.udp.Close()
		_ = s.tcp.Close()
		running.Wait()
	})
	return s
}

// resolver is Go's own, with the stub as its only server.
func (s *stub) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		addr := s.udp.LocalAddr()
		if strings.HasPrefix(network, "tcp") {
			addr = s.tcp.Addr()
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr.String())
	}}
}

func (s *stub) srv(service, domain string, priority, weight, port uint16, target string) {
	s.add("TypeSRV _"+service+"._tcp."+domain+".", &dnsmessage.SRVResource{
		Priority: priority, Weight: weight, Port: port, Target: dnsmessage.MustNewName(target)})
}

func (s *stub) host(name string, addrs ...string) {
	for _, a := range addrs {
		if ip := netip.MustParseAddr(a); ip.Is4() {
			s.add("TypeA "+name+".", &dnsmessage.AResource{A: ip.As4()})
		} else {
			s.add("TypeAAAA "+name+".", &dnsmessage.AAAAResource{AAAA: ip.As16()})
		}
	}
}

func (s *stub) add(question string, r dnsmessage.ResourceBody) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[question] = append(s.answers[question], r)
}

// fail has a question answered by an error; the zero code ends it.
func (s *stub) fail(question string, code dnsmessage.RCode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rcodes[question] = code
}

// questions returns each that came, once and sorted, and forgets them.
func (s *stub) questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.asked
	s.asked = nil
	slices.Sort(q)
	return slices.Compact(q)
}

func (s *stub) serveUDP() {
	buf := make([]byte, 4096)
	for {
		n, from, err := s.udp.ReadFrom(buf)
		if err != nil {
			return
		}
		answer := s.answer(buf[:n], 1232)
		_, _ = s.udp.WriteTo(answer, from) // the client asks again
	}
}

func (s *stub) serveTCP(c net.Conn) {
	defer c.Close()
	for {
		var length [2]byte
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(c, query); err != nil {
			return
		}
		answer := s.answer(query, 65535)
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

// answer is truncated where it does not fit (RFC 1035 §4.2.1).
func (s *stub) answer(query []byte, most int) []byte {
	var q dnsmessage.Message
	if err := q.Unpack(query); err != nil || len(q.Questions) != 1 {
		return nil
	}
	name := q.Questions[0].Name
	question := q.Questions[0].Type.String() + " " + name.String()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, question)
	a := dnsmessage.Message{Questions: q.Questions, Header: dnsmessage.Header{
		ID: q.ID, Response: true, RecursionAvailable: true, RCode: s.rcodes[question]}}
	if a.RCode == dnsmessage.RCodeSuccess && !s.knows(name.String()) {
		a.RCode = dnsmessage.RCodeNameError
	}
	for _, r := range s.answers[question] {
		h := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 60}
		a.Answers = append(a.Answers, dnsmessage.Resource{Header: h, Body: r})
	}
	b, err := a.Pack()
	if err != nil {
		panic(err)
	}
	if len(b) > most {
		a.Truncated, a.Answers = true, nil
		if b, err = a.Pack(); err != nil {
			panic(err)
		}
	}
	return b
}

// knows says that there is any record of the name or below it.
func (s *stub) knows(name string) bool {
	for question := range s.answers {
		if _, of, _ := strings.Cut(question, " "); of == name || strings.HasSuffix(of, "."+name) {
			return true
		}
	}
	return false
}
