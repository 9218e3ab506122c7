package main

import (
	"net"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// host is the name under which the load generator knows all nodes.
const host = "nodes.test."

// names is a name server that tells each stream of a run, in the order in which they are opened, one node.
type names struct {
	conn net.PacketConn

	mu    sync.Mutex
	route func(stream int) net.IP // guarded by mu
	asked int                     // streams of the run so far; guarded by mu
	all   int                     // guarded by mu
	done  chan struct{}           // closed when all have asked
}

func serveNames(addr string) (*names, error) {
	conn, err := net.ListenPacket("udp", addr)
	if err != nil {
		return nil, err
	}
	n := &names{conn: conn}
	go n.serve()
	return n, nil
}

func (n *names) close() { n.conn.Close() }

// begin says where the streams of the next run lead; what it returns is closed when the last has asked.
func (n *names) begin(all int, route func(stream int) net.IP) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.route, n.asked, n.all, n.done = route, 0, all, make(chan struct{})
	return n.done
}

// count is how many streams have asked.
func (n *names) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

func (n *names) serve() {
	buf := make([]byte, 1500)
	for {
		size, from, err := n.conn.ReadFrom(buf)
		if err != nil {
			return // it was closed
		}
		if reply, err := n.answer(buf[:size]); err == nil {
			n.conn.WriteTo(reply, from) // who hears nothing asks again, which count tells
		}
	}
}

// answer answers one question. Each stream asks once for each family of addresses; there is one of IPv4.
func (n *names) answer(question []byte) ([]byte, error) {
	var p dnsmessage.Parser
	header, err := p.Start(question)
	if err != nil {
		return nil, err
	}
	q, err := p.Question()
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: header.ID, Response: true, Authoritative: true, RecursionAvailable: true},
		Questions: []dnsmessage.Question{q},
	}
	switch {
	case q.Name.String() != host:
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET},
			Body:   &dnsmessage.AResource{A: [4]byte(n.next().To4())},
		}}
	}
	return m.Pack()
}

func (n *names) next() net.IP {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.route == nil {
		return net.IPv4zero
	}
	ip := n.route(n.asked)
	if n.asked++; n.asked == n.all {
		close(n.done)
	}
	return ip
}
