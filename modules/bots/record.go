package bots

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// version is the first byte of what is stored; JSON follows.
const version = 1

// A Bot is an account that a program answers for.
type Bot struct {
	JID    jid.JID `json:"jid"` // bare, of an account here
	URL    string  `json:"url"`
	Secret string  `json:"secret,omitempty"` // that requests are signed with; "": they are not
	// Owner is whose bot it is, a bare address; zero: the administrators'. Unless the owner administers, the bot
	// reaches public addresses alone.
	Owner jid.JID   `json:"owner,omitzero"`
	Rooms []jid.JID `json:"rooms,omitempty"` // that it is in
	Nick  string    `json:"nick,omitempty"`  // in rooms
	// Trigger is what a command begins with, such as "!w "; "": none.
	Trigger string `json:"trigger,omitempty"`
	// Encrypted has encrypted messages go out, too, without a text.
	Encrypted bool `json:"encrypted,omitempty"`
	// Composing shows to whoever writes that the bot is at work.
	Composing bool      `json:"composing,omitempty"`
	Added     time.Time `json:"added"`
}

// write is the record of something.
func write(v any) ([]byte, error) {
	b := bytes.NewBuffer([]byte{version})
	w := json.NewEncoder(b)
	w.SetEscapeHTML(false)
	err := w.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// read reads a record.
func read(data []byte, v any) error {
	if len(data) < 2 || data[0] != version {
		return errors.New("it is of another version")
	}
	return json.Unmarshal(data[1:], v)
}

func readBot(data []byte) (b Bot, err error) {
	if err = read(data, &b); err == nil && !b.JID.IsBare() {
		err = errors.New("it has no address")
	}
	return b, err
}

// An event is a message as it is posted (docs/hooks.md §6).
type event struct {
	Bot      string   `json:"bot"`
	From     string   `json:"from"`
	Type     string   `json:"type"`
	Room     *string  `json:"room"`
	Nick     *string  `json:"nick"`
	ID       string   `json:"id"`
	StanzaID *string  `json:"stanza_id"`
	Text     *string  `json:"text"`
	Command  *string  `json:"command"`
	Args     []string `json:"args"`
	ReplyURL *string  `json:"reply_url"`
	Stanza   string   `json:"stanza"`
}

// A queued message is what waits: the event, and what a reply keeps of the message.
type queued struct {
	event
	Thread string `json:"thread,omitempty"` // the element
	// Receipt says that the sender wants to know when it was received (XEP-0184).
	Receipt bool `json:"receipt,omitempty"`
}

// sender is whose a record is, for the order: an account or, in a room, an occupant.
func sender(r storage.Record) string {
	q, err := readQueued(r.Data)
	if err != nil {
		return ""
	}
	return q.sender()
}

func (q *queued) sender() string {
	from, err := jid.Parse(q.From)
	if err != nil || q.Room != nil {
		return q.From
	}
	return from.Bare().String()
}

func readQueued(data []byte) (q queued, err error) {
	err = read(data, &q)
	return q, err
}

// body is the request for an event.
func (q *queued) body() ([]byte, error) {
	b, err := write(q.event)
	if err != nil {
		return nil, err
	}
	return b[1:], nil
}

// keyOf is the Idempotency-Key of a record: another for each message, and the same at each try. The time of a record is
// its own among those of one bot alone.
func keyOf(bot string, id uint64) string {
	return fmt.Sprintf("b-%d-%d-%x", id/1e6, id%1e6, crc32.ChecksumIEEE([]byte(bot)))
}
