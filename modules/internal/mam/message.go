package mam

import (
	"encoding/binary"
	"errors"
	"strconv"
	"time"

	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// messageVersion is the first byte of a record: the layout of AppendMessage.
const messageVersion = 1

var errMessage = errors.New("archived message that cannot be read")

// AppendMessage appends a message as it is stored: version, type, then id, lang, from, to and
// attributes each with its length before it, then the payload up to the end.
func AppendMessage(dst []byte, s *xmpp.Stanza) []byte {
	dst = append(dst, messageVersion, byte(s.Type))
	for _, field := range [...]string{s.ID, s.Lang, s.From.String(), s.To.String()} {
		dst = binary.AppendUvarint(dst, uint64(len(field)))
		dst = append(dst, field...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(s.Attrs)))
	dst = append(dst, s.Attrs...)
	return append(dst, s.Payload...)
}

// ReadMessage reads what AppendMessage wrote. The stanza borrows from b.
func ReadMessage(b []byte) (s xmpp.Stanza, err error) {
	if len(b) < 2 || b[0] != messageVersion {
		return s, errMessage
	}
	s.Kind, s.Type = xmpp.Message, xmpp.Type(b[1])
	b = b[2:]
	var fields [5][]byte
	for i := range fields {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k) {
			return s, errMessage
		}
		fields[i], b = b[k:k+int(n):k+int(n)], b[k+int(n):]
	}
	s.ID, s.Lang = string(fields[0]), string(fields[1])
	if s.From, err = readJID(fields[2]); err != nil {
		return s, errMessage
	}
	if s.To, err = readJID(fields[3]); err != nil {
		return s, errMessage
	}
	if len(fields[4]) > 0 {
		s.Attrs = fields[4]
	}
	s.Payload = b
	return s, nil
}

// readJID reads an address or nothing: a message to the sender's own account has no 'to'.
func readJID(b []byte) (j jid.JID, err error) {
	if len(b) == 0 {
		return j, nil
	}
	return jid.ParseBytes(b)
}

// FormatID writes an archive id.
func FormatID(id uint64) string { return strconv.FormatUint(id, 10) }

// parseID reads an archive id. What we have not written is no id: one with a sign or leading zeros.
func parseID(s string) (id uint64, ok bool) {
	id, err := strconv.ParseUint(s, 10, 64)
	return id, err == nil && id != 0 && FormatID(id) == s
}

// AppendResult appends the payload of one result (XEP-0313 §4.2): the message as it was archived, with the time when.
func AppendResult(dst []byte, queryID string, id uint64, s *xmpp.Stanza) []byte {
	dst = append(dst, "<result xmlns='urn:xmpp:mam:2'"...)
	if queryID != "" {
		dst = append(dst, " queryid='"...)
		dst = append(xmpp.AppendAttr(dst, queryID), '\'')
	}
	dst = append(dst, " id='"...)
	dst = strconv.AppendUint(dst, id, 10)
	dst = append(dst, "'><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='"...)
	dst = xmpp.AppendTime(dst, timeOf(id))
	dst = append(dst, "'/>"...)
	dst = s.AppendQualified(dst)
	return append(dst, "</forwarded></result>"...)
}

// timeOf is when a record was appended, as results tell it: to the millisecond.
func timeOf(id uint64) time.Time { return storage.Record{ID: id}.Time().Truncate(time.Millisecond) }
