package httpmessage

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"jackdaw/modules/internal/posting"
)

// media is what a body is read as.
type media uint8

const (
	mediaXML media = iota
	mediaJSON
	mediaForm      // application/x-www-form-urlencoded, which curl also says of what is none
	mediaMultipart // multipart/form-data (RFC 7578)
)

// maxParts bounds the parts of a multipart form.
const maxParts = 1000

// mediaOf reads the media type of a body for POST /message, where all that is not known is XML.
func mediaOf(name string) media {
	switch {
	case strings.EqualFold(name, "application/json"), hasSuffix(name, "+json"):
		return mediaJSON
	case strings.EqualFold(name, "application/x-www-form-urlencoded"):
		return mediaForm
	case strings.EqualFold(name, "multipart/form-data"):
		return mediaMultipart
	}
	return mediaXML
}

// isForm says whether the body is a form. One that begins as XML does is XML, whatever its type; so is one of curl's
// default type without a recipient, for the answer that it always had.
func (p *post) isForm() bool {
	switch start := start(p.body); {
	case p.media != mediaForm && p.media != mediaMultipart, start == '<', start == '{':
		return false
	}
	if p.media == mediaMultipart {
		return true
	}
	for pair := range bytes.SplitSeq(p.body, []byte("&")) {
		if name, _, _ := bytes.Cut(pair, []byte("=")); string(name) == "to" {
			return true
		}
	}
	return false
}

// start is the first byte of a body behind a byte-order mark and white space, 0 if there is none.
func start(b []byte) byte {
	b = bytes.TrimLeft(bytes.TrimPrefix(b, []byte("\xEF\xBB\xBF")), " \t\r\n")
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

// sameOrigin refuses forms that a browser sends from a page of another server: it would add the credentials that its
// user has entered here once.
var sameOrigin = http.NewCrossOriginProtection()

// parseForm makes the message out of a form.
func (p *post) parseForm() *refusal {
	if sameOrigin.Check(p.r) != nil {
		return forbidden("forms are not taken from pages of other servers.")
	}
	if p.media == mediaForm {
		return p.take(readFields(p.body))
	}
	return p.take(readParts(p.body, p.r.Header.Get("Content-Type")))
}

// readFields reads a form of the default type (application/x-www-form-urlencoded).
func readFields(b []byte) (*form, error) {
	f, seen := new(form), map[string]bool{}
	for pair := range strings.SplitSeq(string(bytes.TrimRight(b, "\r\n")), "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err == nil {
			value, err = url.QueryUnescape(value)
		}
		if err != nil {
			return f, faultf("form parsing failed: %s", err.Error())
		}
		if err := f.set(name, value, seen); err != nil {
			return f, err
		}
	}
	return f, f.check()
}

// readParts reads a form of the type multipart/form-data. Its files are attachments, whatever their field is called.
func readParts(b []byte, contentType string) (*form, error) {
	f, seen := new(form), map[string]bool{}
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil || params["boundary"] == "" {
		return f, fault("form parsing failed: Content-Type names no boundary")
	}
	r := multipart.NewReader(bytes.NewReader(b), params["boundary"])
	for n := 0; ; n++ {
		part, err := r.NextPart()
		if errors.Is(err, io.EOF) && n > 0 {
			return f, f.check()
		}
		if n == maxParts {
			return f, faultf("form parsing failed: it has more than %d parts", maxParts)
		}
		var data []byte
		if err == nil {
			data, err = io.ReadAll(part)
		}
		if err != nil {
			return f, fault("form parsing failed: it is not made of parts that end with the boundary")
		}
		if name := part.FileName(); name != "" {
			err = f.attach(posting.Attachment{Name: name, Type: fileType(part.Header.Get("Content-Type")), Data: data})
		} else {
			err = f.set(part.FormName(), string(data), seen)
		}
		if err != nil {
			return f, err
		}
	}
}

// fileType is the type that a form gives a file; what only says that it has bytes says nothing.
func fileType(name string) string {
	if strings.EqualFold(name, "application/octet-stream") {
		return ""
	}
	return name
}

// set takes a field, whose value is text. Fields of objects are written with a dot.
func (f *form) set(name, value string, seen map[string]bool) error {
	switch {
	case !utf8.ValidString(name) || !utf8.ValidString(value):
		return faultf("form parsing failed: %s is not UTF-8", quoted(strings.ToValidUTF8(name, "\uFFFD")))
	case name == "to":
		f.to = append(f.to, value)
		f.isList = len(f.to) > 1
		return nil
	case name == "attachments" && value == "": // a field for files that was left empty
		return nil
	case name == "attachments":
		return f.attach(posting.Attachment{URL: value})
	case seen[name]:
		return faultf("form parsing failed: %s is there twice", quoted(name))
	}
	seen[name] = true
	value = strings.ReplaceAll(value, "\r\n", "\n") // as browsers end lines
	object, member, isMember := strings.Cut(name, ".")
	switch {
	case isMember && object == "message_attributes":
		f.attrs = append(f.attrs, pair{member, value})
		return nil
	case isMember && object == "body_attributes":
		f.bodyAttrs = append(f.bodyAttrs, pair{member, value})
		return nil
	case object == "reply_to" && f.reply == nil:
		f.reply = new(reply)
	}
	switch name {
	case "body":
		f.hasBody, f.body = true, value
	case "markdown":
		f.isMarkup, f.markdown = true, value
	case "subject":
		f.subject = value
	case "thread":
		f.thread = value
	case "extra_elements":
		f.extra = value
	case "reply_to":
		f.reply.id = value
	case "reply_to.to":
		f.reply.to = value
	case "reply_to.quote":
		f.reply.quote = value
	default:
		return faultf("%s is not a field of a message", quoted(name))
	}
	return nil
}
