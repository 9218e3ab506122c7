package httpmessage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/stream"
)

// A form is a message as JSON: docs/http.md §4.
type form struct {
	to        []string
	isList    bool
	body      string
	hasBody   bool
	attrs     []pair // message_attributes
	bodyAttrs []pair
	extra     string
}

type pair struct{ name, value string }

// fault is what is wrong with a form, for the client.
type fault string

func (f fault) Error() string { return string(f) }

func faultf(format string, args ...any) error { return fault(fmt.Sprintf(format, args...)) }

// parseJSON makes the message out of the form, by way of XML, so that it passes the checks that any other passes.
func (p *post) parseJSON() *refusal {
	f, err := readForm(p.body)
	if err != nil {
		return badRequest(err.Error() + ".")
	}
	extra, err := stream.ParseContent([]byte(f.extra), p.set.Stanza)
	if err != nil {
		return badRequest("extra_elements: " + textXML + err.Error() + ".")
	}
	b, err := f.appendXML(nil, extra)
	if err != nil {
		return badRequest(err.Error() + ".")
	}
	st, err := stream.ParseStanza(b, p.set.Stanza) // it may have become larger than the body was
	if err != nil {
		return badRequest("the message cannot be written as XML: " + err.Error() + ".")
	}
	p.stanza = *st
	if f.isList {
		p.hasList, p.list = true, f.to
		return nil
	}
	j, err := jid.Parse(f.to[0])
	if err != nil {
		p.badTo = f.to[0]
	}
	p.stanza.To = j
	return nil
}

// appendXML appends the form as a message without addresses.
func (f *form) appendXML(b, extra []byte) ([]byte, error) {
	b = append(b, "<message"...)
	hasType := false
	for _, a := range f.attrs {
		if strings.EqualFold(a.name, "to") || strings.EqualFold(a.name, "from") {
			return nil, faultf("message_attributes: %s is not allowed here", quoted(a.name))
		}
		hasType = hasType || a.name == "type"
	}
	b, err := appendAttrs(b, "message_attributes", f.attrs)
	if err != nil {
		return nil, err
	}
	if !hasType {
		b = append(b, " type='chat'"...)
	}
	b = append(b, '>')
	if f.hasBody {
		if b, err = appendAttrs(append(b, "<body"...), "body_attributes", f.bodyAttrs); err != nil {
			return nil, err
		}
		if at := xmpp.InvalidAt(f.body); at >= 0 {
			return nil, faultf("body: it holds a character that XML does not allow, %s", placeIn(f.body, at))
		}
		b = append(xmpp.AppendText(append(b, '>'), f.body), "</body>"...)
	} else if len(f.bodyAttrs) > 0 {
		return nil, fault("body_attributes: there is no body")
	}
	b = append(b, extra...)
	return append(b, "</message>"...), nil
}

// appendAttrs appends attributes whose names must not be able to end the tag.
func appendAttrs(b []byte, field string, list []pair) ([]byte, error) {
	for _, a := range list {
		local := a.name
		switch prefix, rest, prefixed := strings.Cut(a.name, ":"); {
		case prefixed && prefix != "xml": // no other prefix is declared, and none can be
			return nil, faultf("%s: %s is not a name of an attribute that can be used here", field, quoted(a.name))
		case prefixed:
			local = rest
		}
		switch {
		case !isName(local):
			return nil, faultf("%s: %s is not a name of an attribute", field, quoted(a.name))
		case !xmpp.ValidText(a.value):
			return nil, faultf("%s: %s holds a character that XML does not allow, %s", field, quoted(a.name),
				placeIn(a.value, xmpp.InvalidAt(a.value)))
		case a.name == "xmlns" && a.value != xmpp.NSClient:
			return nil, faultf("%s: xmlns can only be %s", field, xmpp.NSClient)
		case a.name == "xmlns":
			continue // it is the default
		}
		b = append(b, ' ')
		b = append(b, a.name...)
		b = append(b, "='"...)
		b = append(xmpp.AppendAttr(b, a.value), '\'')
	}
	return b, nil
}

// placeIn names a character of a text, and where it is: lines and columns count from 1.
func placeIn(s string, at int) string {
	r, _ := utf8.DecodeRuneInString(s[at:])
	line := 1 + strings.Count(s[:at], "\n")
	column := 1 + utf8.RuneCountInString(s[strings.LastIndexByte(s[:at], '\n')+1:at])
	return fmt.Sprintf("%U at line %d, column %d of the text", r, line, column)
}

// isName says whether s is an NCName (Namespaces in XML 1.0 §3). Of the letters beyond ASCII the scanner knows the
// rest; here it matters only that none can end a tag.
func isName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c >= utf8.RuneSelf:
		case i > 0 && (c >= '0' && c <= '9' || c == '-' || c == '.'):
		default:
			return false
		}
	}
	return s != ""
}

// readForm reads the body strictly: encoding/json alone would take the last of two equal keys, ignore the case of
// letters and mend broken UTF-8.
func readForm(b []byte) (form, error) {
	var f form
	b = bytes.TrimPrefix(b, []byte("\xEF\xBB\xBF"))
	if !utf8.Valid(b) {
		return f, fault("JSON parsing failed: it is not UTF-8")
	}
	if at := halfPair(b); at >= 0 {
		return f, faultAt(b, at, "half a surrogate pair")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	t, err := d.Token()
	if err != nil {
		return f, syntax(d, b, err)
	}
	if t != json.Delim('{') {
		return f, fault("JSON parsing failed: the message must be an object")
	}
	seen := map[string]bool{}
	for d.More() {
		key, err := field(d, seen, b)
		if err != nil {
			return f, err
		}
		switch key {
		case "to":
			err = f.readTo(d, b)
		case "body":
			f.hasBody = true
			f.body, err = text(d, key, b)
		case "message_attributes":
			f.attrs, err = pairs(d, key, b)
		case "body_attributes":
			f.bodyAttrs, err = pairs(d, key, b)
		case "extra_elements":
			f.extra, err = text(d, key, b)
		default:
			err = faultf("%s is not a field of a message", quoted(key))
		}
		if err != nil {
			return f, err
		}
	}
	if _, err := d.Token(); err != nil { // the end of the object
		return f, syntax(d, b, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return f, fault("JSON parsing failed: something follows the object")
	}
	if !seen["to"] {
		return f, fault("the message has no recipient: to is missing")
	}
	return f, nil
}

// field reads the name of a member, each of which can be there once.
func field(d *json.Decoder, seen map[string]bool, b []byte) (string, error) {
	t, err := d.Token()
	if err != nil {
		return "", syntax(d, b, err)
	}
	key, ok := t.(string)
	if !ok { // the decoder asks for one itself
		return "", fault("JSON parsing failed: a name is missing")
	}
	if seen[key] {
		return "", faultf("JSON parsing failed: %s is there twice", quoted(key))
	}
	seen[key] = true
	return key, nil
}

// text reads a string.
func text(d *json.Decoder, what string, b []byte) (string, error) {
	t, err := d.Token()
	if err != nil {
		return "", syntax(d, b, err)
	}
	s, ok := t.(string)
	if !ok {
		return "", faultf("%s must be a string", what)
	}
	return s, nil
}

func (f *form) readTo(d *json.Decoder, b []byte) error {
	const wrong = fault("to must be an address or an array of addresses, each a string")
	t, err := d.Token()
	if err != nil {
		return syntax(d, b, err)
	}
	if s, ok := t.(string); ok {
		f.to = []string{s}
		return nil
	}
	if t != json.Delim('[') {
		return wrong
	}
	f.isList, f.to = true, []string{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return syntax(d, b, err)
		}
		s, ok := t.(string)
		if !ok {
			return wrong
		}
		f.to = append(f.to, s)
	}
	if _, err := d.Token(); err != nil {
		return syntax(d, b, err)
	}
	return nil
}

// pairs reads an object of strings.
func pairs(d *json.Decoder, what string, b []byte) ([]pair, error) {
	t, err := d.Token()
	if err != nil {
		return nil, syntax(d, b, err)
	}
	if t != json.Delim('{') {
		return nil, faultf("%s must be an object of strings", what)
	}
	var list []pair
	seen := map[string]bool{}
	for d.More() {
		name, err := field(d, seen, b)
		if err != nil {
			return nil, err
		}
		value, err := text(d, what+": "+quoted(name), b)
		if err != nil {
			return nil, err
		}
		list = append(list, pair{name, value})
	}
	if _, err := d.Token(); err != nil {
		return nil, syntax(d, b, err)
	}
	return list, nil
}

// syntax says what encoding/json found, and where the token begins that it does not like.
func syntax(d *json.Decoder, b []byte, err error) error {
	var bad *json.SyntaxError
	if !errors.As(err, &bad) {
		return faultAt(b, len(b), "it ends too early")
	}
	at := min(int(d.InputOffset()), len(b))
	at += len(b[at:]) - len(bytes.TrimLeft(b[at:], " \t\r\n:,"))
	return faultAt(b, at, bad.Error())
}

func faultAt(b []byte, at int, what string) error {
	line := 1 + bytes.Count(b[:at], []byte{'\n'})
	column := 1 + utf8.RuneCount(b[bytes.LastIndexByte(b[:at], '\n')+1:at])
	return faultf("JSON parsing failed: %s at line %d, column %d", what, line, column)
}

// halfPair finds an escape of one half of a surrogate pair, for which encoding/json would put another character; -1 if
// there is none.
func halfPair(b []byte) int {
	for i := 0; i < len(b); i++ {
		k := bytes.IndexByte(b[i:], '\\')
		if k < 0 {
			return -1
		}
		i += k
		u, ok := escaped(b[i:])
		switch {
		case !ok:
			i++ // what is escaped, which may be a backslash
		case u&0xfc00 == 0xd800:
			if low, ok := escaped(b[i+6:]); !ok || low&0xfc00 != 0xdc00 {
				return i
			}
			i += 11
		case u&0xfc00 == 0xdc00:
			return i
		}
	}
	return -1
}

// escaped reads a \u escape.
func escaped(b []byte) (uint64, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	u, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return u, err == nil
}
