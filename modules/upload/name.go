package upload

import (
	"mime"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// nameBytes is how long a name may be, as most file systems have it.
const nameBytes = 255

// cleanName makes of what a client calls a file a name that is safe to save under and to put into a URL: the last part
// of a path, without what cannot be seen or turns text around, not too long, and with its ending. It is never used as a
// path here.
func cleanName(s string) string {
	s = s[strings.LastIndexAny(s, `/\`)+1:]
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			return -1
		}
		return r
	}, s))
	if len(s) > nameBytes {
		end := path.Ext(s)
		if len(end) > nameBytes/4 {
			end = ""
		}
		s = strings.TrimSpace(whole(s[:nameBytes-len(end)])) + end
	}
	if strings.Trim(s, ".") == "" { // URLs with such parts are made into others (RFC 3986 §5.2.4)
		return "file"
	}
	return s
}

// whole cuts off a rune that was cut in two.
func whole(s string) string {
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}

// octets is the type of what has none, and of what must not be taken for what it is.
const octets = "application/octet-stream"

// served says as which type a file is served, and whether a browser may show it: pictures, sound, films and plain text.
// What can hold scripts or styles is no longer what it was, so that no other page can have it run either.
func served(kind string) (as string, show bool) {
	t, _, err := mime.ParseMediaType(kind)
	if err != nil {
		return octets, false
	}
	top, sub, _ := strings.Cut(t, "/")
	switch {
	case sub == "xml", strings.HasSuffix(sub, "+xml"), strings.Contains(sub, "html"), strings.Contains(sub, "script"),
		sub == "css", sub == "x-shockwave-flash", top == "multipart", top == "message":
		return octets, false
	case top == "image", top == "audio", top == "video", t == "text/plain":
		return kind, true
	}
	return kind, false
}
