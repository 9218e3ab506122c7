package httpmessage

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"unicode/utf8"

	"jackdaw/modules/internal/posting"
)

// readForm reads the body strictly: encoding/json alone would take the last of two equal keys, ignore the case of
// letters and mend broken UTF-8.
func readForm(b []byte) (*form, error) {
	f := new(form)
	b = bytes.TrimPrefix(b, []byte("\xEF\xBB\xBF"))
	if !utf8.Valid(b) {
		return f, fault("JSON parsing failed: it is not UTF-8")
	}
	if at := halfPair(b); at >= 0 {
		return f, faultAt(b, at, "half a surrogate pair")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
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
		if err = f.read(d, b, key); err != nil {
			return f, err
		}
	}
	if _, err := d.Token(); err != nil { // the end of the object
		return f, syntax(d, b, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return f, fault("JSON parsing failed: something follows the object")
	}
	return f, f.check()
}

// read reads the value of a field.
func (f *form) read(d *json.Decoder, b []byte, key string) (err error) {
	switch key {
	case "to":
		err = f.readTo(d, b)
	case "body":
		f.hasBody = true
		f.body, err = text(d, key, b)
	case "markdown":
		f.isMarkup = true
		f.markdown, err = text(d, key, b)
	case "subject":
		f.subject, err = text(d, key, b)
	case "thread":
		f.thread, err = text(d, key, b)
	case "reply_to":
		err = f.readReply(d, b)
	case "attachments":
		err = f.readAttachments(d, b)
	case "message_attributes":
		f.attrs, err = pairs(d, key, b)
	case "body_attributes":
		f.bodyAttrs, err = pairs(d, key, b)
	case "extra_elements":
		f.extra, err = text(d, key, b)
	default:
		err = faultf("%s is not a field of a message", quoted(key))
	}
	return err
}

// readReply reads which message is answered: its id, or an object.
func (f *form) readReply(d *json.Decoder, b []byte) error {
	t, err := d.Token()
	if err != nil {
		return syntax(d, b, err)
	}
	f.reply = new(reply)
	if s, ok := t.(string); ok {
		f.reply.id = s
		return nil
	}
	if t != json.Delim('{') {
		return fault("reply_to must be the id of a message or an object")
	}
	return object(d, b, func(key string) (err error) {
		switch key {
		case "id":
			f.reply.id, err = text(d, "reply_to.id", b)
		case "to":
			f.reply.to, err = text(d, "reply_to.to", b)
		case "quote":
			f.reply.quote, err = text(d, "reply_to.quote", b)
		default:
			err = faultf("%s is not a field of reply_to", quoted(key))
		}
		return err
	})
}

// readAttachments reads an array of files.
func (f *form) readAttachments(d *json.Decoder, b []byte) error {
	const wrong = fault("attachments must be an array of objects")
	t, err := d.Token()
	if err != nil {
		return syntax(d, b, err)
	}
	if t != json.Delim('[') {
		return wrong
	}
	for d.More() {
		if t, err = d.Token(); err != nil {
			return syntax(d, b, err)
		}
		if t != json.Delim('{') {
			return wrong
		}
		var a posting.Attachment
		at := "attachments[" + strconv.Itoa(len(f.attached)) + "]."
		if err := object(d, b, func(key string) error { return readAttachment(d, b, &a, at, key) }); err != nil {
			return err
		}
		if err := f.attach(a); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return syntax(d, b, err)
	}
	return nil
}

func (f *form) attach(a posting.Attachment) error {
	if len(f.attached) == maxAttached {
		return faultf("attachments: %d are allowed", maxAttached)
	}
	f.attached = append(f.attached, a)
	return nil
}

func readAttachment(d *json.Decoder, b []byte, a *posting.Attachment, at, key string) (err error) {
	switch key {
	case "url":
		a.URL, err = text(d, at+key, b)
	case "name":
		a.Name, err = text(d, at+key, b)
	case "type":
		a.Type, err = text(d, at+key, b)
	case "size":
		t, bad := d.Token()
		if bad != nil {
			return syntax(d, b, bad)
		}
		n, _ := t.(json.Number)
		if a.Size, err = strconv.ParseInt(n.String(), 10, 64); err != nil || a.Size < 0 {
			return faultf("%ssize must be a number of bytes", at)
		}
	case "data":
		s, bad := text(d, at+key, b)
		if bad != nil {
			return bad
		}
		if a.Data, err = base64.StdEncoding.DecodeString(s); err != nil {
			return faultf("%sdata is not base64 (RFC 4648 §4)", at)
		}
	default:
		return faultf("%s%s is not a field of an attachment", at, quoted(key))
	}
	return err
}

// object reads the members of an object that has begun.
func object(d *json.Decoder, b []byte, read func(key string) error) error {
	seen := map[string]bool{}
	for d.More() {
		key, err := field(d, seen, b)
		if err != nil {
			return err
		}
		if err := read(key); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return syntax(d, b, err)
	}
	return nil
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
	err = object(d, b, func(name string) error {
		value, err := text(d, what+": "+quoted(name), b)
		list = append(list, pair{name, value})
		return err
	})
	return list, err
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
