package hooks

import (
	"mime"
	"strconv"
	"strings"
	"unicode"

	"jackdaw/modules/hooks/notice"
	"jackdaw/modules/internal/posting"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// maxFiles bounds the attachments that follow a message, maxFileName the characters of their names.
const (
	maxFiles    = 4
	maxFileName = 60
)

// enclosed is a file that came with a request, as one of the owner's uploads.
func enclosed(a notice.Attachment) posting.Attachment {
	media, _, err := mime.ParseMediaType(a.Type)
	if err != nil || !strings.Contains(media, "/") {
		media = "" // it is found out
	}
	return posting.Attachment{Name: fileName(a), Type: media, Data: a.Data}
}

// fileName is what the file is called, without what is no part of a name.
func fileName(a notice.Attachment) string {
	name := a.Name[strings.LastIndexAny(a.Name, `/\`)+1:]
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, xmpp.MendText(name))
	if name = strings.TrimSpace(notice.FirstLine(name, maxFileName)); name == "" {
		return "file"
	}
	return name
}

// leftOut says that there was a file.
func leftOut(a notice.Attachment) string { return "(a file is left out: " + fileName(a) + ")" }

// fileStanza is a message that is a file, as clients show one (XEP-0066 §3).
func (m *message) fileStanza(room jid.JID, i int, address string) xmpp.Stanza {
	w := xmpp.NewWriter(nil)
	if address != "" { // else the post knows it
		w.Leaf("", "body", xmpp.MendText(address))
		w.Start(xmpp.NSOOB, "x").Leaf("", "url", xmpp.MendText(address)).End()
	}
	return m.headed(w, room, m.id+"-"+strconv.Itoa(i+1))
}

// leftOutStanza comes in place of a file.
func (m *message) leftOutStanza(room jid.JID, i int, a notice.Attachment) xmpp.Stanza {
	w := xmpp.NewWriter(nil)
	w.Leaf("", "body", leftOut(a))
	return m.headed(w, room, m.id+"-"+strconv.Itoa(i+1))
}
