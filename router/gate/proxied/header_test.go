package proxied

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net/netip"
	"strings"
	"testing"
)

// block makes a header of version 2.
func block(command, family byte, rest ...string) string {
	all := strings.Join(rest, "")
	return sign2 + string([]byte{command, family, byte(len(all) >> 8), byte(len(all))}) + all
}

const (
	four = "\xc0\x00\x02\x07" + "\xc6\x33\x64\x01" + "\xdb\x64\x14\x66" // 192.0.2.7:56164 to 198.51.100.1:5222
	six  = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\xdb\x64\x14\x66"
)

// extra is what may stand behind the addresses.
func extra(kind byte, value string) string {
	return string([]byte{kind, byte(len(value) >> 8), byte(len(value))}) + value
}

// summed puts a right checksum into the one that a header has.
func summed(header string) string {
	b := []byte(header)
	at := bytes.LastIndex(b, []byte(extra(3, "\x00\x00\x00\x00"))) + 3
	binary.BigEndian.PutUint32(b[at:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return string(b)
}

// piecewise gives out what it has in pieces, and looks ahead no further than the piece.
type piecewise struct {
	rest string
	size int
}

func (p *piecewise) peek(b []byte) (int, error) {
	if p.rest == "" {
		return 0, io.EOF
	}
	return copy(b, p.rest[:min(p.size, len(p.rest))]), nil
}

func (p *piecewise) Read(b []byte) (int, error) {
	n, err := p.peek(b)
	p.rest = p.rest[n:]
	return n, err
}

var headers = []struct {
	name, header string
	from, to     string // "": those of the connection
	err          error
}{
	{"TCP4", "PROXY TCP4 192.0.2.7 198.51.100.1 56164 5222\r\n", "192.0.2.7:56164", "198.51.100.1:5222", nil},
	{"TCP6", "PROXY TCP6 2001:db8::7 2001:DB8::1 56164 5222\r\n", "[2001:db8::7]:56164", "[2001:db8::1]:5222", nil},
	{"the longest address", "PROXY TCP6 " + strings.Repeat("ffff:", 7) + "ffff " + strings.Repeat("ffff:", 7) + "ffff 65535 65535\r\n",
		"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", nil},
	{"IPv4 as IPv6", "PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 1 2\r\n", "192.0.2.7:1", "198.51.100.1:2", nil},
	{"unknown", "PROXY UNKNOWN\r\n", "", "", nil},
	{"unknown with more", "PROXY UNKNOWN what ever 1\r2\n3\r\n", "", "", nil},
	{"unknown of 107", "PROXY UNKNOWN " + strings.Repeat("x", 91) + "\r\n", "", "", nil},
	{"unknown of 108", "PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n", "", "", errLong},
	{"another protocol", "PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n", "", "", errLine},
	{"two spaces", "PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n", "", "", errLine},
	{"space at the end", "PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n", "", "", errLine},
	{"one address", "PROXY TCP4 192.0.2.7 1 2\r\n", "", "", errLine},
	{"leading zero", "PROXY TCP4 192.0.2.07 198.51.100.1 1 2\r\n", "", "", errLine},
	{"the other family", "PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n", "", "", errLine},
	{"IPv4 for IPv6", "PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n", "", "", errLine},
	{"a zone", "PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n", "", "", errLine},
	{"port too high", "PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n", "", "", errLine},
	{"port with a zero", "PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n", "", "", errLine},
	{"port 0", "PROXY TCP4 192.0.2.7 198.51.100.1 0 2\r\n", "192.0.2.7:0", "198.51.100.1:2", nil},
	{"signed port", "PROXY TCP4 192.0.2.7 198.51.100.1 1 +2\r\n", "", "", errLine},
	{"LF alone", "PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n" + strings.Repeat("x", 80), "", "", errLong},
	{"too short", "PROXY TC\r\n<str", "", "", errLine},
	{"lower case", "proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n", "", "", errNone},
	{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abc", "", "", errNone},
	{"XML", "<?xml version='1.0'?>", "", "", errNone},
	{"nothing", "", "", "", errAway},
	{"cut off line", "PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r", "", "", io.ErrUnexpectedEOF},
	{"cut off at once", "PRO", "", "", io.ErrUnexpectedEOF},

	{"v2 TCP over IPv4", block(0x21, 0x11, four), "192.0.2.7:56164", "198.51.100.1:5222", nil},
	{"v2 TCP over IPv6", block(0x21, 0x21, six), "[2001:db8::7]:56164", "[2001:db8::1]:5222", nil},
	{"v2 UDP", block(0x21, 0x12, four), "", "", nil},
	{"v2 unix", block(0x21, 0x31, strings.Repeat("/", 216)), "", "", nil},
	{"v2 unspecified", block(0x21, 0x00), "", "", nil},
	{"v2 unspecified with bytes", block(0x21, 0x00, "what"), "", "", nil},
	{"v2 local", block(0x20, 0x00), "", "", nil},
	{"v2 local with a family of its own", block(0x20, 0xff, four), "", "", nil},
	{"v2 unknown family", block(0x21, 0x41, four), "", "", errBlock},
	{"v2 unknown transport", block(0x21, 0x13, four), "", "", errBlock},
	{"v2 unknown command", block(0x22, 0x11, four), "", "", errBlock},
	{"v3", block(0x31, 0x11, four), "", "", errBlock},
	{"v2 too short for its addresses", block(0x21, 0x21, four), "", "", errBlock},
	{"v2 with extras", block(0x21, 0x11, four, extra(0x02, "im.example.org"), extra(0x20, "\x01\x00\x00\x00\x00"), extra(0xee, "")),
		"192.0.2.7:56164", "198.51.100.1:5222", nil},
	{"v2 with an extra cut off", block(0x21, 0x11, four, "\x04\x00\x02x"), "", "", errBlock},
	{"v2 with half an extra", block(0x21, 0x11, four, "\x04\x00"), "", "", errBlock},
	{"v2 with a checksum", summed(block(0x21, 0x11, four, extra(0x04, "pad"), extra(3, "\x00\x00\x00\x00"))),
		"192.0.2.7:56164", "198.51.100.1:5222", nil},
	{"v2 with a wrong checksum", block(0x21, 0x11, four, extra(3, "\x00\x00\x00\x01")), "", "", errChecksum},
	{"v2 with a short checksum", block(0x21, 0x11, four, extra(3, "\x00\x00")), "", "", errChecksum},
	{"v2 of the longest", block(0x21, 0x11, four, extra(0x04, strings.Repeat("x", maxBlock-fixed2-len(four)-3))),
		"192.0.2.7:56164", "198.51.100.1:5222", nil},
	{"v2 too long", block(0x21, 0x11, four, extra(0x04, strings.Repeat("x", maxBlock-fixed2-len(four)-2))), "", "", errLong},
	{"v2 cut off", block(0x21, 0x11, four)[:20], "", "", io.ErrUnexpectedEOF},
}

func TestHeadersAreReadAsTheSpecificationSays(t *testing.T) {
	const after = "PROXY \r\n<stream:stream>" // not the header's
	for _, row := range headers {
		for _, size := range []int{1, 5, 1 << 20} {
			r := &piecewise{row.header, size}
			if row.err == nil {
				r.rest += after
			}
			h, err := take(r, r.peek)
			if !errors.Is(err, row.err) {
				t.Errorf("%s in pieces of %d: %v, want %v", row.name, size, err, row.err)
			}
			if err == nil && r.rest != after {
				t.Errorf("%s in pieces of %d: %q is left", row.name, size, r.rest)
			}
			var from, to netip.AddrPort
			if row.from != "" {
				from, to = netip.MustParseAddrPort(row.from), netip.MustParseAddrPort(row.to)
			}
			if h.from != from || h.to != to {
				t.Errorf("%s in pieces of %d: from %v to %v", row.name, size, h.from, h.to)
			}
		}
	}
}

// e3069283 is the check value of CRC32c, of the digits from 1 to 9.
func TestTheChecksumIsCastagnoli(t *testing.T) {
	if sum := crc32.Checksum([]byte("123456789"), crc32.MakeTable(crc32.Castagnoli)); sum != 0xe3069283 {
		t.Errorf("%08x", sum)
	}
}

// FuzzHeader has any bytes come in any pieces: nothing panics, nothing behind the header is taken, no more is read than
// may be, and the pieces make no difference.
func FuzzHeader(f *testing.F) {
	for _, row := range headers {
		f.Add([]byte(row.header), 3)
	}
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		if size = max(size%64, 1); len(b) > 1<<16 {
			return
		}
		const after = "\r\n\x16\x03\r\n"
		one, many := &piecewise{string(b) + after, 1 << 20}, &piecewise{string(b) + after, size}
		h, err := take(one, one.peek)
		g, again := take(many, many.peek)
		if (err == nil) != (again == nil) || h != g {
			t.Fatalf("%v, %v in one piece, %v, %v in many", h, err, g, again)
		}
		if err != nil {
			return
		}
		used := len(b) + len(after) - len(one.rest)
		if one.rest != many.rest || used > maxHeader {
			t.Fatalf("%d bytes are left of one piece, %d of many", len(one.rest), len(many.rest))
		}
		whole := (string(b) + after)[:used]
		if strings.HasPrefix(whole, sign1) && strings.Index(whole, "\r\n")+2 != used {
			t.Fatalf("a line ends elsewhere: %q", whole)
		}
	})
}
