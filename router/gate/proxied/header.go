package proxied

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strings"
)

const (
	// sign1 begins version 1 (§2.1).
	sign1 = "PROXY "
	// sign2 begins version 2 (§2.2).
	sign2 = "\r\n\r\n\x00\r\nQUIT\n"
	// fixed2 is what stands before the addresses of version 2.
	fixed2 = len(sign2) + 4
	// maxLine is the longest line of version 1, with its end (§2.1).
	maxLine = 107
	// maxBlock is the longest header of version 2 that is read. §2 has headers fit into 536 bytes; what proxies add about
	// TLS may take more.
	maxBlock = 4096
	// maxHeader is the longest of both.
	maxHeader = max(maxLine, maxBlock)
)

// What is wrong with a header.
var (
	errNone     = errors.New("no PROXY header")
	errLong     = errors.New("the PROXY header is too long")
	errLine     = errors.New("the line of the PROXY header is malformed")
	errBlock    = errors.New("the block of the PROXY header is malformed")
	errChecksum = errors.New("the checksum of the PROXY header is wrong")
)

// A header is what a proxy says of a connection. Addresses that are not valid are those of the connection itself: the
// proxy speaks for itself, or does not say for whom.
type header struct{ from, to netip.AddrPort }

// whole says how many bytes a header has at least that begins with b, which is what has been received: if these are
// all, the header is whole.
func whole(b []byte) (n int, err error) {
	switch {
	case len(b) < len(sign2):
		s := string(b)
		if !strings.HasPrefix(sign2, s) && !strings.HasPrefix(s, sign1) && !strings.HasPrefix(sign1, s) {
			return 0, errNone
		}
		return len(sign2), nil // no line is as short
	case string(b[:len(sign2)]) == sign2:
		if len(b) < fixed2 {
			return fixed2, nil
		}
		if n = fixed2 + int(binary.BigEndian.Uint16(b[fixed2-2:])); n > maxBlock {
			return 0, errLong
		}
		return n, nil
	case !strings.HasPrefix(string(b[:len(sign1)]), sign1):
		return 0, errNone
	}
	end := bytes.Index(b, []byte("\r\n")) + 2
	switch {
	case end == len(b):
		return end, nil
	case end > 1: // the shortest line has been read, and this one was shorter
		return 0, errLine
	case len(b) >= maxLine:
		return 0, errLong
	case b[len(b)-1] == '\r':
		return len(b) + 1, nil
	}
	return len(b) + 2, nil
}

// parse reads a whole header.
func parse(b []byte) (header, error) {
	if strings.HasPrefix(string(b), sign1) {
		return parseLine(string(b[:len(b)-2]))
	}
	return parseBlock(b)
}

// parseLine reads version 1 without its end (§2.1): PROXY TCP4 192.0.2.1 198.51.100.2 56324 443.
func parseLine(line string) (h header, err error) {
	f := strings.Split(line, " ")
	if f[1] == "UNKNOWN" { // whatever follows is ignored
		return h, nil
	}
	if len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return h, errLine
	}
	four := f[1] == "TCP4"
	if h.from, err = end(f[2], f[4], four); err != nil {
		return header{}, err
	}
	if h.to, err = end(f[3], f[5], four); err != nil {
		return header{}, err
	}
	return h, nil
}

// end reads an address and a port of version 1.
func end(addr, port string, four bool) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(addr) // which refuses leading zeros
	if err != nil || a.Is4() != four || a.Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("%w: bad address", errLine)
	}
	n := 0
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' || len(port) > 5 || port[0] == '0' && len(port) > 1 {
			return netip.AddrPort{}, fmt.Errorf("%w: bad port", errLine)
		}
		n = 10*n + int(port[i]-'0')
	}
	if port == "" || n > 65535 {
		return netip.AddrPort{}, fmt.Errorf("%w: bad port", errLine)
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), nil
}

// parseBlock reads version 2 (§2.2).
func parseBlock(b []byte) (h header, err error) {
	command, family := b[len(sign2)], b[len(sign2)+1]
	switch {
	case command>>4 != 2:
		return h, fmt.Errorf("%w: unknown version", errBlock)
	case command&15 == 0: // LOCAL: of the proxy itself. The family and the rest are discarded
		return h, nil
	case command&15 != 1:
		return h, fmt.Errorf("%w: unknown command", errBlock)
	case family>>4 > 3, family&15 > 2:
		return h, fmt.Errorf("%w: unknown family of addresses", errBlock)
	}
	size := [...]int{0, 4, 16, 108}[family>>4] // of an address
	if size == 0 || family&15 == 0 {           // AF_UNSPEC, UNSPEC: nothing is taken from it
		return h, nil
	}
	ports := 2
	if size == 108 { // AF_UNIX
		ports = 0
	}
	addrs := b[fixed2:]
	if len(addrs) < 2*(size+ports) {
		return h, fmt.Errorf("%w: too short for its addresses", errBlock)
	}
	if err := checkExtras(b, fixed2+2*(size+ports)); err != nil {
		return h, err
	}
	if ports == 0 || family&15 != 1 { // neither came over TCP
		return h, nil
	}
	at := func(n int) netip.AddrPort {
		a, _ := netip.AddrFromSlice(addrs[n*size : (n+1)*size]) // of four bytes or of sixteen
		return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(addrs[2*size+n*ports:]))
	}
	return header{from: at(0), to: at(1)}, nil
}

// checkExtras passes over what a header holds behind its addresses, from b[at:] on. Nothing is taken from it, but its
// checksum must be right where there is one (§2.2.3).
func checkExtras(b []byte, at int) error {
	const checksum = 0x03 // PP2_TYPE_CRC32C
	for at < len(b) {
		if len(b)-at < 3 {
			return fmt.Errorf("%w: cut off", errBlock)
		}
		kind, size := b[at], int(binary.BigEndian.Uint16(b[at+1:]))
		if at += 3; len(b)-at < size {
			return fmt.Errorf("%w: cut off", errBlock)
		}
		if kind == checksum {
			if size != 4 {
				return errChecksum
			}
			table := crc32.MakeTable(crc32.Castagnoli)
			sum := crc32.Update(0, table, b[:at])
			sum = crc32.Update(sum, table, make([]byte, 4)) // as zeros
			sum = crc32.Update(sum, table, b[at+4:])
			if sum != binary.BigEndian.Uint32(b[at:]) {
				return errChecksum
			}
		}
		at += size
	}
	return nil
}
