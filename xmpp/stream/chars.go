package stream

import (
	"encoding/binary"
	"math/bits"
)

// What a byte is, for the tables below.
const (
	isSpace     uint8 = 1 << iota // S of XML 1.0 §2.3
	isNameStart                   // ASCII that may begin an NCName
	isName                        // ASCII that may go on one
	isPlain                       // stands for itself in an attribute value, also in one that we write
	isText                        // stands for itself in character data
)

var class = func() (t [256]uint8) {
	for _, c := range " \t\n\r" {
		t[c] |= isSpace
	}
	for c := range 128 {
		b := byte(c)
		letter := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b == '_'
		if letter {
			t[c] |= isNameStart
		}
		if letter || b >= '0' && b <= '9' || b == '-' || b == '.' {
			t[c] |= isName
		}
		if b >= 0x20 && b != '<' && b != '>' && b != '&' && b != '\'' && b != '"' {
			t[c] |= isPlain
		}
		if (b >= 0x20 || t[c]&isSpace != 0) && b != '<' && b != '&' && b != '>' {
			t[c] |= isText
		}
	}
	return t
}()

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// plainText returns the first offset from p on where text holds something other than printable ASCII, or '<', '>' or
// '&'. It looks at eight bytes at a time, at four times eight of what is long; the last few are left to the caller.
func plainText(b []byte, p int) int {
	for len(b)-p >= 32 {
		four := b[p : p+32 : p+32]
		m := special(binary.LittleEndian.Uint64(four)) | special(binary.LittleEndian.Uint64(four[8:])) |
			special(binary.LittleEndian.Uint64(four[16:])) | special(binary.LittleEndian.Uint64(four[24:]))
		if m&highs != 0 {
			break
		}
		p += 32
	}
	for p+8 <= len(b) {
		if m := special(binary.LittleEndian.Uint64(b[p:])) & highs; m != 0 {
			return p + bits.TrailingZeros64(m)/8
		}
		p += 8
	}
	return p
}

// special has the highest bit of each byte of x set that is below 0x20, one of the three, or not ASCII; its other
// bits mean nothing. A borrow can only mark bytes above one that is rightly marked, and the lowest counts.
func special(x uint64) uint64 {
	angle := (x &^ (ones * 2)) ^ (ones * '<') // '<' and '>' differ in one bit
	amp := x ^ (ones * '&')
	// A byte that is not ASCII is marked by itself, so what is subtracted from it does not matter.
	return (x - ones*0x20) | (angle - ones) | (amp - ones) | x
}

// plainValue does the same for an attribute value: it stops at what is not plain.
func plainValue(b []byte, p int) int {
	for p+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[p:])
		angle := (x &^ (ones * 2)) ^ (ones * '<') // as above
		single := (x &^ ones) ^ (ones * '&')      // '&' and '\'' differ in one bit
		m := ((x-ones*0x20)|(angle-ones)|(single-ones)|((x^(ones*'"'))-ones))&^x&highs | x&highs
		if m != 0 {
			return p + bits.TrailingZeros64(m)/8
		}
		p += 8
	}
	return p
}

// text goes on over character data to the next '<', '&' or '>'; more says that b ended first.
func text(b []byte, p int) (next int, more bool, err *SyntaxError) {
	for {
		if p = plainText(b, p); p == len(b) {
			return p, true, nil
		}
		// Byte by byte, over what stopped the fast loop and its surroundings: scripts other than Latin mix with spaces.
		for ascii := 0; ascii < 8; {
			if p == len(b) {
				return p, true, nil
			}
			c := b[p]
			switch {
			case c < 0x80:
				if class[c]&isText == 0 {
					if c == '<' || c == '&' || c == '>' {
						return p, false, nil
					}
					return p, false, charError(badChar, p)
				}
				ascii++
				p++
			case c >= 0xC2 && c < 0xE0 && p+1 < len(b) && b[p+1]&0xC0 == 0x80:
				ascii = 0
				p += 2
			default:
				ascii = 0
				n := char(b[p:])
				if n == 0 {
					return p, true, nil
				}
				if n < 0 {
					return p, false, charError(n, p)
				}
				p += n
			}
		}
	}
}

// Results of char for what is not a character.
const (
	badUTF8 = -1
	badChar = -2
)

// char returns the length of the character outside ASCII that b starts with, 0 where b ends inside it, badUTF8
// (overlong forms and surrogates included), or badChar for U+FFFE and U+FFFF, which XML 1.0 §2.2 leaves out.
func char(b []byte) int {
	c := b[0]
	lo, hi := byte(0x80), byte(0xBF)
	n := 0
	switch {
	case c < 0xC2 || c > 0xF4:
		return badUTF8
	case c < 0xE0:
		n = 2
	case c < 0xF0:
		n = 3
		if c == 0xE0 {
			lo = 0xA0
		} else if c == 0xED {
			hi = 0x9F
		}
	default:
		n = 4
		if c == 0xF0 {
			lo = 0x90
		} else if c == 0xF4 {
			hi = 0x8F
		}
	}
	if len(b) < 2 {
		return 0
	}
	if b[1] < lo || b[1] > hi {
		return badUTF8
	}
	for i := 2; i < n; i++ {
		if i == len(b) {
			return 0
		}
		if b[i]&0xC0 != 0x80 {
			return badUTF8
		}
	}
	if c == 0xEF && b[1] == 0xBF && b[2] >= 0xBE {
		return badChar
	}
	return n
}

// charError is the error for a negative result of char at offset at.
func charError(code, at int) *SyntaxError {
	if code == badUTF8 {
		return fail(at, UnsupportedEncoding, "invalid UTF-8") // RFC 6120 §4.9.3.22
	}
	return fail(at, NotWellFormed, "character that XML does not allow")
}
