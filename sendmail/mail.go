package sendmail

import (
	"bytes"
	"errors"
	"io"
	"net/mail"
	"regexp"
	"strings"
	"sync"

	"github.com/emersion/go-message"
	"golang.org/x/net/html"
	"golang.org/x/text/encoding/charmap"

	"jackdaw/xmpp"
)

const (
	// maxMail is how many bytes of a mail are read; the rest is passed over.
	maxMail = 2 << 20
	// maxHeader is how many bytes of a header are.
	maxHeader = 256 << 10
	// maxParts and maxDepth bound what is looked at for a text.
	maxParts, maxDepth = 100, 10
	// MaxText is how many characters of a text are posted.
	MaxText = 8000
)

// A Mail is what matters of one.
type Mail struct {
	Subject string   // decoded, on one line
	Text    string   // of the first part that has one, as XML can hold it; bounded
	To      []string // addresses in To, Cc and Bcc
}

// Body is what is posted: the subject, which lists and notifications show, above the text.
func (m *Mail) Body() string {
	switch {
	case m.Subject == "":
		return m.Text
	case m.Text == "":
		return m.Subject
	}
	return m.Subject + "\n" + m.Text
}

// Read reads a mail (RFC 5322, RFC 2045 to 2047) to the end of the input or, unless dots is set, to a line with a dot
// alone. It takes a text without a header, too, as sendmail does. The error is of the input, or a Failure with
// ExitData.
func Read(in io.Reader, dots bool) (*Mail, error) {
	raw, err := input(in, dots)
	if err != nil {
		return nil, err
	}
	decodes()
	m := new(Mail)
	head, body := split(raw)
	e, err := message.Read(io.MultiReader(bytes.NewReader(head), strings.NewReader("\r\n"), bytes.NewReader(body)))
	if e == nil {
		return nil, failure(ExitData, "the mail cannot be read: %w", err)
	}
	subject, err := e.Header.Text("Subject")
	if err != nil { // as it came
		subject = e.Header.Get("Subject")
	}
	m.Subject = strings.Join(strings.Fields(xmpp.MendText(subject)), " ")
	for _, field := range []string{"To", "Cc", "Bcc"} {
		for fields := e.Header.FieldsByKey(field); fields.Next(); {
			m.To = append(m.To, addressesIn(fields.Value())...)
		}
	}
	m.Text = bounded(textOf(e))
	if m.Body() == "" {
		return nil, failure(ExitData, "the mail has neither a subject nor a text")
	}
	return m, nil
}

// addressesIn are those of a field. What RFC 5322 does not allow, such as names of users alone, is taken by commas.
func addressesIn(field string) (all []string) {
	if list, err := mail.ParseAddressList(field); err == nil {
		for _, a := range list {
			all = append(all, a.Address)
		}
		return all
	}
	for one := range strings.SplitSeq(field, ",") {
		if a, err := mail.ParseAddress(one); err == nil {
			one = a.Address
		}
		if _, inside, ok := strings.Cut(one, "<"); ok {
			one, _, _ = strings.Cut(inside, ">")
		}
		if one = strings.TrimSpace(one); one != "" {
			all = append(all, one)
		}
	}
	return all
}

// fieldLine begins a field of a header (RFC 5322 §2.2).
var fieldLine = regexp.MustCompile(`^[!-9;-~]+[ \t]*:`)

// input is what is read of a mail.
func input(in io.Reader, dots bool) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(in, maxMail))
	if err == nil {
		_, err = io.Copy(io.Discard, in) // so that the caller is not told of a broken pipe
	}
	if err != nil {
		return nil, failure(ExitTemporary, "read the mail: %w", err)
	}
	for at := 0; !dots && at < len(raw); {
		line, _, _ := bytes.Cut(raw[at:], []byte("\n"))
		if string(bytes.TrimRight(line, "\r")) == "." {
			return raw[:at], nil
		}
		at += len(line) + 1
	}
	return raw, nil
}

// split finds where the header ends, and leaves out of it what is longer than a header. It is empty where there is
// none.
func split(raw []byte) (head, body []byte) {
	for body = raw; len(body) > 0; {
		line, after, _ := bytes.Cut(body, []byte("\n"))
		line = bytes.TrimRight(line, "\r")
		switch {
		case len(line) == 0:
			return head, after
		case len(body) == len(raw) && bytes.HasPrefix(line, []byte("From ")): // as mailboxes have it
		case fieldLine.Match(line), len(head) > 0 && (line[0] == ' ' || line[0] == '\t'):
			if len(head)+len(line) <= maxHeader {
				head = append(append(head, line...), "\r\n"...)
			}
		default:
			return head, body
		}
		body = after
	}
	return head, nil
}

// decodes has the library read character sets as decoder does; it knows of one place for that alone.
var decodes = sync.OnceFunc(func() { message.CharsetReader = decoder })

// decoder reads a text in one of the character sets that programs write. The larger ones of East Asia would make the
// server a megabyte larger for a program that is not the server.
func decoder(name string, in io.Reader) (io.Reader, error) {
	switch name = strings.ToLower(name); name {
	case "utf-8", "utf8", "us-ascii", "ascii", "ansi_x3.4-1968":
		return in, nil
	}
	for _, c := range charmap.All {
		if m, ok := c.(*charmap.Charmap); ok && strings.EqualFold(strings.ReplaceAll(m.String(), " ", "-"), name) {
			return m.NewDecoder().Reader(in), nil
		}
	}
	return nil, errors.New("unknown character set " + name)
}

// textOf is that of the first part in plain text, else that of the first one in HTML.
func textOf(e *message.Entity) string {
	var plain, markup string
	parts, found := 0, false
	_ = e.Walk(func(path []int, part *message.Entity, err error) error {
		if parts++; parts > maxParts || len(path) > maxDepth {
			return io.EOF
		}
		if part == nil || err != nil && !message.IsUnknownCharset(err) && !message.IsUnknownEncoding(err) {
			return err
		}
		media, _, err := part.Header.ContentType()
		if err != nil {
			media = "text/plain"
		}
		if how, _, err := part.Header.ContentDisposition(); err == nil && strings.EqualFold(how, "attachment") {
			return nil
		}
		switch strings.ToLower(media) {
		case "text/plain":
			b, _ := io.ReadAll(io.LimitReader(part.Body, maxMail)) // a part that is cut off is better than none
			plain, found = string(b), true
			return io.EOF // the first is enough
		case "text/html":
			if markup == "" {
				b, _ := io.ReadAll(io.LimitReader(part.Body, maxMail))
				markup = string(b)
			}
		}
		return nil
	})
	if !found {
		plain = fromHTML(markup)
	}
	plain = strings.ReplaceAll(plain, "\r\n", "\n")
	return strings.Trim(strings.TrimRight(xmpp.MendText(plain), " \t\n"), "\n")
}

// fromHTML is the text of a page, with lines where it has blocks.
func fromHTML(page string) string {
	var b strings.Builder
	hidden := 0
	z := html.NewTokenizer(strings.NewReader(page))
	z.SetMaxBuf(maxMail)
	for {
		kind := z.Next()
		switch kind {
		case html.ErrorToken:
			return blanks.ReplaceAllString(b.String(), "\n\n")
		case html.TextToken:
			if hidden == 0 {
				text := strings.Join(strings.Fields(string(z.Text())), " ")
				if s := b.String(); text != "" && s != "" && !strings.HasSuffix(s, "\n") {
					b.WriteByte(' ')
				}
				b.WriteString(text)
			}
		case html.StartTagToken, html.EndTagToken, html.SelfClosingTagToken:
			name, _ := z.TagName()
			switch string(name) {
			case "script", "style", "head", "title":
				if kind == html.StartTagToken {
					hidden++
				} else if kind == html.EndTagToken {
					hidden = max(hidden-1, 0)
				}
			case "br", "p", "div", "tr", "li", "ul", "ol", "table", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "blockquote":
				b.WriteByte('\n')
			}
		}
	}
}

var blanks = regexp.MustCompile(`\n{3,}`)

// bounded is a text of at most MaxText characters, cut at the end of a line.
func bounded(text string) string {
	n := 0
	for i := range text {
		if n++; n <= MaxText {
			continue
		}
		kept := text[:i]
		if end := strings.LastIndexByte(kept, '\n'); end > 0 {
			kept = kept[:end]
		}
		return kept + "\n… (" + plural(strings.Count(text[len(kept):], "\n"), "more line") + ")"
	}
	return text
}
