package httpmessage

import (
	"fmt"
	"mime"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"jackdaw/modules/internal/posting"
	"jackdaw/modules/internal/styling"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/stream"
)

// A form is a message by its parts, as JSON (docs/http.md §4) and forms (§4.1) have it.
type form struct {
	to        []string
	isList    bool
	body      string
	hasBody   bool
	markdown  string // in place of body
	isMarkup  bool
	subject   string
	thread    string
	reply     *reply
	attrs     []pair // message_attributes
	bodyAttrs []pair
	extra     string
	attached  []posting.Attachment
}

type pair struct{ name, value string }

// A reply says which message is answered (XEP-0461).
type reply struct {
	id, to, quote string
}

// Bounds of a form. Its texts are bounded by the size of the body.
const (
	maxAttached = 10
	maxURL      = 2048
	maxName     = 255 // bytes of the name of a file, and of a media type
	maxID       = 1024
)

// fault is what is wrong with a form, for the client.
type fault string

func (f fault) Error() string { return string(f) }

func faultf(format string, args ...any) error { return fault(fmt.Sprintf(format, args...)) }

// take makes the message out of a form, by way of XML, so that it passes the checks that any other passes.
func (p *post) take(f *form, err error) *refusal {
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
	p.stanza, p.attached = *st, f.attached
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

// check finds what is wrong with a form as a whole.
func (f *form) check() error {
	switch {
	case len(f.to) == 0 && !f.isList:
		return fault("the message has no recipient: to is missing")
	case f.isMarkup && f.hasBody:
		return fault("markdown: there is a body as well")
	}
	for _, one := range [...]struct{ field, text string }{{"body", f.body}, {"markdown", f.markdown},
		{"subject", f.subject}, {"thread", f.thread}} {
		if at := xmpp.InvalidAt(one.text); at >= 0 {
			return faultf("%s: it holds a character that XML does not allow, %s", one.field, placeIn(one.text, at))
		}
	}
	if f.isMarkup {
		f.hasBody, f.body = true, styling.FromMarkdown(f.markdown)
	}
	if err := f.reply.check(f.hasBody); err != nil {
		return err
	}
	for i := range f.attached {
		if err := checkAttachment(&f.attached[i]); err != nil {
			return faultf("attachments[%d].%s", i, err)
		}
	}
	return nil
}

// check finds what is wrong with a reply; nil is none.
func (r *reply) check(hasBody bool) error {
	if r == nil {
		return nil
	}
	switch at := xmpp.InvalidAt(r.quote); {
	case r.id == "" || len(r.id) > maxID || !xmpp.ValidText(r.id):
		return fault("reply_to.id must be the id of a message")
	case at >= 0:
		return faultf("reply_to.quote: it holds a character that XML does not allow, %s", placeIn(r.quote, at))
	case r.quote != "" && !hasBody:
		return fault("reply_to.quote: there is no body")
	case r.to == "":
		return nil
	}
	to, err := jid.Parse(r.to)
	if err != nil {
		return faultf("reply_to.to is %s, which is not an address", quoted(r.to))
	}
	r.to = to.String()
	return nil
}

// checkAttachment finds what is wrong with one; the error begins with the field.
func checkAttachment(a *posting.Attachment) error {
	if a.Type != "" {
		t, param, err := mime.ParseMediaType(a.Type)
		if err != nil || len(a.Type) > maxName || !strings.Contains(t, "/") {
			return faultf("type is %s, which is no media type", quoted(a.Type))
		}
		a.Type = mime.FormatMediaType(t, param)
	}
	switch {
	case len(a.Name) > maxName || !utf8.ValidString(a.Name) || strings.ContainsFunc(a.Name, unicode.IsControl) ||
		!xmpp.ValidText(a.Name):
		return faultf("name must be at most %d bytes, without control characters", maxName)
	case a.URL == "" && a.Data == nil:
		return fault("url or data is missing")
	case a.URL == "" && len(a.Data) == 0:
		return fault("data is empty")
	case a.URL == "" && a.Name == "":
		return fault("name is missing")
	case a.URL == "":
		a.Size = int64(len(a.Data))
		return nil
	case a.Data != nil:
		return fault("url: there is data as well")
	}
	u, err := url.Parse(a.URL)
	if err != nil || len(a.URL) > maxURL || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" ||
		strings.ContainsFunc(a.URL, func(r rune) bool { return r <= ' ' || r == 0x7f || unicode.IsSpace(r) }) ||
		!xmpp.ValidText(a.URL) {
		return faultf("url is %s, which is no address that begins with https:// or http://", quoted(a.URL))
	}
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
	if f.subject != "" {
		b = append(xmpp.AppendText(append(b, "<subject>"...), f.subject), "</subject>"...)
	}
	quote := ""
	if f.reply != nil && f.reply.quote != "" {
		// XEP-0461 §3.1: for whoever does not know what is answered
		quote = "> " + strings.ReplaceAll(strings.TrimRight(f.reply.quote, "\n"), "\n", "\n> ") + "\n"
	}
	if f.hasBody {
		if b, err = appendAttrs(append(b, "<body"...), "body_attributes", f.bodyAttrs); err != nil {
			return nil, err
		}
		b = xmpp.AppendText(append(b, '>'), quote)
		b = append(xmpp.AppendText(b, f.body), "</body>"...)
	} else if len(f.bodyAttrs) > 0 {
		return nil, fault("body_attributes: there is no body")
	}
	if f.thread != "" {
		b = append(xmpp.AppendText(append(b, "<thread>"...), f.thread), "</thread>"...)
	}
	if f.reply != nil {
		w := xmpp.NewWriter(b)
		w.Start(nsReply, "reply").AttrIf("to", f.reply.to).Attr("id", f.reply.id).End()
		if quote != "" {
			fallback(w, nsReply, 0, utf8.RuneCountInString(quote))
		}
		b = w.Bytes()
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
