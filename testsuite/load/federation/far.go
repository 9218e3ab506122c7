package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

// farDomain is the domain whose server the tool itself is.
const farDomain = "far.example"

const (
	nsDialback = "jabber:server:dialback"
	nsTLS      = "urn:ietf:params:xml:ns:xmpp-tls"
	nsSASL     = "urn:ietf:params:xml:ns:xmpp-sasl"
)

// far is a server of nothing but streams to and from peers. It believes whoever calls: EXTERNAL and dialback succeed at
// once. It counts the messages that come, and acknowledges them where it is asked to (XEP-0198).
type far struct {
	tls       *tls.Config
	listeners []net.Listener

	mu      sync.Mutex // guards the rest
	traffic *traffic   // of the run; nil between runs
	conns   map[net.Conn]struct{}
}

// startFar listens at the site that the network has for farDomain.
func startFar(n *peers.Network, directTLS bool) (*far, error) {
	c := n.Authority.IssueForBoth(farDomain, peers.None)
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, err
	}
	f := &far{conns: map[net.Conn]struct{}{}, tls: &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert,
		// Both ends are the tool's own business; a server under test checks, the tool does not.
		InsecureSkipVerify: true,
	}}
	site := n.Site(farDomain)
	for _, direct := range []bool{false, true} {
		addr := site.S2S
		if direct {
			addr = site.S2STLS
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, err
		}
		f.listeners = append(f.listeners, l)
		go f.accept(l, direct)
	}
	if !directTLS {
		site.S2STLS = ""
	}
	n.Names.Set(farDomain, site)
	return f, nil
}

func (f *far) close() {
	for _, l := range f.listeners {
		l.Close()
	}
	f.begin(nil)
}

// begin makes a run the one whose messages come. Streams of another end.
func (f *far) begin(t *traffic) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.traffic = t
	for c := range f.conns {
		c.Close()
	}
}

func (f *far) accept(l net.Listener, direct bool) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		t := f.traffic
		f.conns[conn] = struct{}{}
		f.mu.Unlock()
		go func() {
			defer func() {
				f.mu.Lock()
				delete(f.conns, conn)
				f.mu.Unlock()
				conn.Close()
			}()
			if t == nil {
				return
			}
			if err := f.serve(conn, t, direct); !errors.Is(err, io.EOF) && !t.stopped() {
				t.fail("a stream to the sink: %v", err)
			}
		}()
	}
}

// An accepted is a stream that a server under test has opened.
type accepted struct {
	inlet
	far    *far
	conn   net.Conn
	secure bool
	proved bool // by EXTERNAL
	sm     bool
	asked  bool // for an acknowledgement, since the last
}

// serve returns why a stream has ended.
func (f *far) serve(conn net.Conn, t *traffic, direct bool) error {
	s := &accepted{far: f, conn: conn, inlet: inlet{framer: newFramer(conn), t: t}}
	s.other, s.flush = s.handle, s.acknowledge
	if direct {
		if err := s.encrypt(); err != nil {
			return err
		}
	}
	return s.run()
}

func (s *accepted) encrypt() error {
	conn := tls.Server(s.conn, s.far.tls)
	if err := conn.Handshake(); err != nil {
		return err
	}
	s.conn, s.secure, s.framer = conn, true, newFramer(conn)
	return nil
}

func (s *accepted) write(format string, args ...any) error {
	_, err := fmt.Fprintf(s.conn, format, args...)
	return err
}

func (s *accepted) handle(item []byte) error {
	el := string(item)
	attr := func(name string) string { return harness.Attr(el, name) }
	switch {
	case is(item, "<?xml"), is(item, "<stream:stream"):
		_, header, _ := strings.Cut(el, "<stream:stream")
		if err := s.write("<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'"+
			" xmlns:db='%s' version='1.0' id='%p' from='%s' to='%s'>", nsDialback, s, farDomain, harness.Attr(header, "from")); err != nil {
			return err
		}
		return s.write("<stream:features>%s</stream:features>", s.features())
	case is(item, "<starttls"):
		if err := s.write("<proceed xmlns='%s'/>", nsTLS); err != nil {
			return err
		}
		return s.encrypt()
	case is(item, "<auth"):
		s.proved = true
		return s.write("<success xmlns='%s'/>", nsSASL)
	case is(item, "<db:result"):
		return s.write("<db:result from='%s' to='%s' type='valid'/>", attr("to"), attr("from"))
	case is(item, "<db:verify"):
		return s.write("<db:verify from='%s' to='%s' id='%s' type='valid'/>", attr("to"), attr("from"), attr("id"))
	case is(item, "<enable"):
		s.sm, s.stanzas = true, 0
		return s.write("<enabled xmlns='urn:xmpp:sm:3'/>")
	case is(item, "<r "), is(item, "<r>"):
		s.asked = true
	case is(item, "<iq") && attr("type") == "get": // a ping; no other question matters to a server
		return s.write("<iq type='result' id='%s' from='%s' to='%s'/>", attr("id"), attr("to"), attr("from"))
	case is(item, "<stream:error"):
		return fmt.Errorf("%.300s", el)
	case is(item, "</stream:stream"):
		return io.EOF
	}
	return nil
}

func (s *accepted) features() string {
	switch {
	case !s.secure:
		return "<starttls xmlns='" + nsTLS + "'><required/></starttls>"
	case s.proved:
		return "<sm xmlns='urn:xmpp:sm:3'/>"
	}
	return "<mechanisms xmlns='" + nsSASL + "'><mechanism>EXTERNAL</mechanism></mechanisms>" +
		"<dialback xmlns='urn:xmpp:features:dialback'/><sm xmlns='urn:xmpp:sm:3'/>"
}

// acknowledge answers all requests that came together by one acknowledgement.
func (s *accepted) acknowledge() error {
	if !s.asked {
		return nil
	}
	s.asked = false
	return s.write("%s", smAnswer(s.stanzas))
}
