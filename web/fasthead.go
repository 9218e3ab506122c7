package web

import (
	"bytes"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
)

// endOfHead ends the header of a request (RFC 9112 §2.1).
var endOfHead = []byte("\r\n\r\n")

// head is the size of the header that has been read, or 0 if there is no end of it yet.
func (f *fastConn) head() int {
	if i := bytes.Index(f.buf, endOfHead); i >= 0 {
		return i + len(endOfHead)
	}
	return 0
}

// promising says whether what has been read of a header may yet become one for the fast path.
func (f *fastConn) promising() bool {
	line, rest, whole := bytes.Cut(f.buf, []byte("\n"))
	if !whole {
		const start = "POST /"
		n := min(len(f.buf), len(start))
		return string(f.buf[:n]) == start[:n]
	}
	for ; whole; line, rest, whole = bytes.Cut(rest, []byte("\n")) {
		if !bytes.HasSuffix(line, []byte("\r")) { // it may have ended already, in the eyes of others
			return false
		}
	}
	_, ok := f.target(string(f.buf[:bytes.IndexByte(f.buf, '\r')]))
	return ok
}

// target is what a request line asks for, if the path is one of ours (RFC 9112 §3).
func (f *fastConn) target(line string) (string, bool) {
	line, ours := strings.CutPrefix(line, "POST ")
	target, known := strings.CutSuffix(line, " HTTP/1.1")
	path, query, asks := strings.Cut(target, "?")
	if !ours || !known || !slices.Contains(f.s.fast.paths, path) || asks && query == "" {
		return "", false
	}
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c > '~' || c == '#' {
			return "", false
		}
	}
	f.url.Path, f.url.RawQuery = path, query
	return target, true
}

// parse reads the header that takes up the first size bytes. It is false, and nothing is used up, where the request is
// not plain: a field that says how it is to be read, or that the connection is to become another, or anything that
// RFC 9110 or RFC 9112 would have refused.
func (f *fastConn) parse(size int) bool {
	text := string(f.buf[:size-2])
	line, text, _ := strings.Cut(text, "\r\n")
	target, ok := f.target(line)
	if !ok {
		return false
	}
	clear(f.header)
	f.values = slices.Grow(f.values[:0], strings.Count(text, "\r\n"))
	host, length := "", -1
	for text != "" {
		line, text, _ = strings.Cut(text, "\r\n")
		name, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if !ok || !token(name) || !content(value) {
			return false
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		switch name {
		case "Host":
			if host != "" || !authority(value) { // RFC 9112 §3.2: exactly one
				return false
			}
			host = value
			continue
		case "Content-Length":
			n, ok := decimal(value)
			if length >= 0 || !ok || n > fastBody {
				return false
			}
			length = n
		case "Connection":
			if !strings.EqualFold(value, "keep-alive") {
				return false
			}
		case "Transfer-Encoding", "Trailer", "Te", "Upgrade", "Expect", "Pragma", "Prefer":
			return false
		}
		f.add(name, value)
	}
	if host == "" || length < 0 {
		return false
	}
	f.buf, f.left = f.buf[size:], length
	f.req = *f.blank
	f.req.Host, f.req.RequestURI, f.req.URL, f.req.Header = host, target, &f.url, f.header
	f.req.Body, f.req.ContentLength = &fastReader{f: f}, int64(length)
	return true
}

// add adds a field without an allocation of its own where it is the first of its name.
func (f *fastConn) add(name, value string) {
	if list, ok := f.header[name]; ok {
		f.header[name] = append(list, value)
		return
	}
	f.values = append(f.values, value)
	n := len(f.values)
	f.header[name] = f.values[n-1 : n : n]
}

// token says whether a name of a field is one (RFC 9110 §5.6.2).
func token(name string) bool {
	for i := range len(name) {
		if c := name[i]; !alphanumeric(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return name != ""
}

func alphanumeric(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' }

// content says whether a value has no byte that a field must not have (RFC 9110 §5.5).
func content(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7F {
			return false
		}
	}
	return true
}

// authority says whether a value of Host is beyond doubt: a name or an address, and a port (RFC 9110 §7.2).
func authority(value string) bool {
	for i := range len(value) {
		if c := value[i]; !alphanumeric(c) && strings.IndexByte("-.:[]_", c) < 0 {
			return false
		}
	}
	return value != ""
}

// decimal reads a length: digits and nothing else (RFC 9110 §8.6).
func decimal(value string) (int, bool) {
	if len(value) > 6 || strings.Trim(value, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(value)
	return n, err == nil
}
