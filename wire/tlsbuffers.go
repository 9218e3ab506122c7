package wire

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"unsafe"
)

// tlsPlaces are where a tls.Conn has its buffers. It keeps them for as long as it lives: the one that records are read
// into, which is as large as the largest record so far, up to 16 KiB, and the one of the handshake, in which a hello
// with a post-quantum key share has left 1.5 KiB. An idle session would be a third larger by them. There is no way to
// ask for them back, so their places are looked up once; where a version of Go has others, it goes without
// (TestTLSBuffersAreWhereTheyWere fails then). docs/decisions/0047-what-a-session-costs.md says more.
type tlsPlaces struct {
	records, handshake uintptr // bytes.Buffer
	plain              uintptr // bytes.Reader over what is in records
	known              bool
}

var places = lookUpTLS()

func lookUpTLS() (p tlsPlaces) {
	conn := reflect.TypeFor[tls.Conn]()
	at := func(name string, want reflect.Type) (offset uintptr, ok bool) {
		f, ok := conn.FieldByName(name)
		return f.Offset, ok && f.Type == want
	}
	var ok [3]bool
	p.records, ok[0] = at("rawInput", reflect.TypeFor[bytes.Buffer]())
	p.handshake, ok[1] = at("hand", reflect.TypeFor[bytes.Buffer]())
	p.plain, ok[2] = at("input", reflect.TypeFor[bytes.Reader]())
	p.known = ok == [3]bool{true, true, true}
	return p
}

// drop lets go of the buffers of a connection whose handshake is over, if nothing is in them. The caller is the only
// one who reads from it, and does not do so now.
func (p *tlsPlaces) drop(c *tls.Conn) {
	if !p.known {
		return
	}
	base := unsafe.Pointer(c)
	records, handshake := (*bytes.Buffer)(unsafe.Add(base, p.records)), (*bytes.Buffer)(unsafe.Add(base, p.handshake))
	plain := (*bytes.Reader)(unsafe.Add(base, p.plain))
	if records.Len() > 0 || handshake.Len() > 0 || plain.Len() > 0 {
		return
	}
	*records, *handshake, *plain = bytes.Buffer{}, bytes.Buffer{}, bytes.Reader{}
}

// Rest lets go of what is only of use while bytes come. The caller is the reader, to which Next has returned ErrAgain.
func (s *Stream) Rest() {
	if s.TLS != nil {
		places.drop(s.TLS)
	}
	if c, ok := s.Transport.conn.(*Carried); ok {
		c.Rest()
	}
}
