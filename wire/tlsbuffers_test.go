package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"unsafe"

	"jackdaw/xmpp/stream"
)

func TestTLSBuffersAreWhereTheyWere(t *testing.T) {
	if !places.known {
		t.Error("crypto/tls has other buffers than tlsPlaces knows: an idle session over TLS is 3.5 KiB larger")
	}
}

// secured returns a stream over TLS, and its other end.
func secured(t testing.TB) (*Stream, *tls.Conn, net.Conn) {
	t.Helper()
	s, _, far := pair(t)
	client := tls.Client(far, &tls.Config{InsecureSkipVerify: true})
	shaken := make(chan error, 1)
	go func() { shaken <- client.Handshake() }()
	if err := s.Handshake(context.Background(), tls.Server(s.Transport,
		&tls.Config{Certificates: []tls.Certificate{certificate(t)}})); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	return s, client, far
}

func TestAStreamThatRestsHoldsNoBufferOfTLS(t *testing.T) {
	s, client, far := secured(t)
	s.Shallow = true
	records := (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(s.TLS), places.records))
	handshake := (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(s.TLS), places.handshake))
	next := func() stream.ItemKind {
		t.Helper()
		for {
			switch item, err := s.Next(); err {
			case nil:
				return item
			case ErrAgain:
				s.Rest()
				if records.Cap() > 0 || handshake.Cap() > 0 {
					t.Errorf("%d and %d bytes are held", records.Cap(), handshake.Cap())
				}
				if err := s.Transport.Await(); err != nil {
					t.Fatal(err)
				}
			default:
				t.Fatal(err)
			}
		}
	}
	say(t, client, header)
	if item := next(); item != stream.ItemHeader {
		t.Fatalf("got %v", item)
	}
	for _, size := range []int{10, 10_000, 40_000} { // within a record, and beyond
		said := "<message><body>" + strings.Repeat("x", size) + "</body></message>"
		say(t, client, said)
		if item := next(); item != stream.ItemStanza {
			t.Fatalf("got %v", item)
		}
		if got := len(s.Scanner.Stanza().Payload); got != len(said)-len("<message></message>") {
			t.Errorf("%d bytes: %d have come", size, got)
		}
	}
	_ = far.Close()
}

// What is in the midst of a record stays.
func TestAStreamThatRestsInARecordKeepsIt(t *testing.T) {
	s, _, far := pair(t)
	half := &halving{Conn: far}
	secure := tls.Client(half, &tls.Config{InsecureSkipVerify: true})
	shaken := make(chan error, 1)
	go func() { shaken <- secure.Handshake() }()
	if err := s.Handshake(context.Background(), tls.Server(s.Transport,
		&tls.Config{Certificates: []tls.Certificate{certificate(t)}})); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	s.Shallow = true
	half.collect = true
	say(t, secure, header)
	cut := len(half.held) / 2
	for _, part := range [][]byte{half.held[:cut], half.held[cut:]} {
		if item, err := s.Next(); err != ErrAgain {
			t.Fatalf("got %v and %v", item, err)
		}
		s.Rest()
		if _, err := far.Write(part); err != nil {
			t.Fatal(err)
		}
		if err := s.Transport.Await(); err != nil {
			t.Fatal(err)
		}
	}
	if item, err := s.Next(); item != stream.ItemHeader || err != nil {
		t.Errorf("got %v and %v", item, err)
	}
	_ = far.Close()
}

func TestTheEndOfAStreamAndOfItsTLSLeaveTogether(t *testing.T) {
	s, client, far := secured(t)
	s.Transport.Queue()
	s.Transport.collect()
	if err := s.Send([]byte("<presence/>")); err != nil {
		t.Fatal(err)
	}
	if produced, accepted := s.Transport.Written(); produced == 0 || accepted != 0 {
		t.Errorf("of %d bytes that are collected, %d have left", produced, accepted)
	}
	s.Goodbye([]byte(stream.Close))
	if produced, accepted := s.Transport.Written(); accepted != produced {
		t.Errorf("of %d bytes %d have left", produced, accepted)
	}
	for _, want := range []string{"<presence/>", stream.Close} {
		b := make([]byte, 100)
		if n, err := client.Read(b); string(b[:n]) != want {
			t.Errorf("got %q and %v", b[:n], err)
		}
	}
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("TLS ends with %v", err)
	}
	_ = far.Close()
}
