package httpmessage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"jackdaw/modules/internal/posting"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Namespaces of what a form can say.
const (
	nsReply    = "urn:xmpp:reply:0"                    // XEP-0461
	nsFallback = "urn:xmpp:fallback:0"                 // XEP-0428
	nsSharing  = "urn:xmpp:sfs:0"                      // XEP-0447
	nsFile     = "urn:xmpp:file:metadata:0"            // XEP-0446
	nsURLData  = "http://jabber.org/protocol/url-data" // XEP-0103
	nsHashes   = "urn:xmpp:hashes:2"                   // XEP-0300
)

// An Upload keeps a file of an account where others can fetch it, and returns its URL. It is there when it returns. Its
// error may be a *posting.Refusal.
type Upload func(ctx context.Context, user jid.JID, name, kind string, data []byte) (url string, err error)

// fits says whether the files can be attached: those that are sent with the message need an account that may keep them,
// and all of them room in the message.
func (d *delivery) fits() *refusal {
	room := d.set.MaxBody - len(d.stanza.Payload)
	for i := range d.attached {
		a := &d.attached[i]
		if a.URL == "" {
			if d.s.o.Upload == nil || d.rights.None() {
				return forbidden("files cannot be sent with the message here: attach them by their url.")
			}
			room -= maxURL
		}
		room -= 6*(len(a.URL)+len(a.Name)) + 600 // with escapes and elements, more or less
	}
	if room < 0 {
		return badRequest("the message cannot be written as XML: it is larger than " + strconv.Itoa(d.set.MaxBody) +
			" bytes with its attachments.")
	}
	return nil
}

// attach uploads the files that came with the message, and tells of all of them in it.
func (d *delivery) attach(ctx context.Context) *refusal {
	for i := range d.attached {
		a := &d.attached[i]
		if a.Type == "" && a.Data != nil {
			a.Type = http.DetectContentType(a.Data)
		}
		if a.URL != "" {
			continue
		}
		var err error
		if a.URL, err = d.s.o.Upload(ctx, d.user.Bare(), a.Name, a.Type, a.Data); err != nil {
			var known *posting.Refusal
			if errors.As(err, &known) {
				return &refusal{status: known.Status, text: known.Text, retry: known.Retry}
			}
			d.s.o.Log.Warn("attachment not kept", "account", d.account, "id", d.reportID(), "error", err)
			return unavailable()
		}
	}
	d.setPayload(appendAttached(d.stanza.Payload, d.stanza.Children, d.attached))
	return nil
}

// setPayload replaces the payload, with its index, which many copies will use.
func (d *delivery) setPayload(b []byte) {
	d.stanza.Payload, d.stanza.Children = b, xmpp.Index(b)
}

// appendAttached returns a payload with files: their addresses on lines of their own at the end of the body, for all
// clients, and what they are for those that know XEP-0447 or XEP-0066. One file without text is a body that is nothing
// but its address, which clients show as the file.
func appendAttached(payload []byte, children []xmpp.Child, list []posting.Attachment) []byte {
	lines := make([]string, len(list))
	for i := range list {
		lines[i] = list[i].URL
	}
	addresses := strings.Join(lines, "\n")
	at, before := 0, 0 // where it goes in the payload, and what is before it in the body
	for _, c := range children {
		if c.Name == (xmpp.Name{Space: xmpp.NSClient, Local: "body"}) {
			if body, err := xmpp.ParseElement(payload[c.Start:c.End]); err == nil {
				at, before = c.End, utf8.RuneCountInString(body.Text())
			}
			break
		}
	}
	if before > 0 {
		addresses = "\n" + addresses
	}
	out := make([]byte, 0, len(payload)+len(list)*1024)
	end := bytes.LastIndex(payload[:at], []byte("</"))
	switch {
	case at == 0:
		out = append(out, "<body>"...)
		out = append(xmpp.AppendText(out, addresses), "</body>"...)
		out = append(out, payload...)
	case bytes.HasSuffix(payload[:at], []byte("/>")) && before == 0: // an empty body, with its attributes
		name := payload[:at-2]
		out = append(append(out, name...), '>')
		out = append(xmpp.AppendText(out, addresses), "</body>"...)
		out = append(out, payload[at:]...)
	default:
		out = append(out, payload[:end]...)
		out = xmpp.AppendText(out, addresses)
		out = append(out, payload[end:]...)
	}
	w := xmpp.NewWriter(out)
	for i := range list {
		share(w, &list[i], i, len(list))
	}
	if before == 0 {
		fallback(w, nsSharing, 0, 0)
	} else {
		fallback(w, nsSharing, before, before+utf8.RuneCountInString(addresses))
	}
	for i := range list {
		w.Start(xmpp.NSOOB, "x").Leaf("", "url", list[i].URL).End() // XEP-0066 §3
	}
	return w.Bytes()
}

// share tells of a file (XEP-0447 §3.1).
func share(w *xmpp.Writer, a *posting.Attachment, i, of int) {
	media, _, _ := mime.ParseMediaType(a.Type)
	disposition := "attachment"
	if kind, _, _ := strings.Cut(media, "/"); kind == "image" || kind == "audio" || kind == "video" {
		disposition = "inline"
	}
	w.Start(nsSharing, "file-sharing").Attr("disposition", disposition)
	if of > 1 {
		w.AttrInt("id", int64(i+1))
	}
	w.Start(nsFile, "file")
	if media != "" {
		w.Leaf("", "media-type", media)
	}
	if a.Name != "" {
		w.Leaf("", "name", a.Name)
	}
	if a.Size > 0 {
		w.Leaf("", "size", strconv.FormatInt(a.Size, 10))
	}
	if a.Data != nil {
		sum := sha256.Sum256(a.Data)
		w.Start(nsHashes, "hash").Attr("algo", "sha-256").Text(base64.StdEncoding.EncodeToString(sum[:])).End()
	}
	w.End().Start("", "sources").Start(nsURLData, "url-data").Attr("target", a.URL).End().End().End()
}

// fallback says which part of the body is for clients that do not know a namespace (XEP-0428 §2.2), in characters
// (XEP-0426); all of it from 0 to 0.
func fallback(w *xmpp.Writer, namespace string, start, end int) {
	w.Start(nsFallback, "fallback").Attr("for", namespace).Start("", "body")
	if end > 0 {
		w.AttrInt("start", int64(start)).AttrInt("end", int64(end))
	}
	w.End().End()
}
