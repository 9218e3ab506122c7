package c2s

import (
	"testing"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// What was held back for an inactive client is queued when the session ends, ahead of what came since. Copies that are
// stored in that moment are still those of the messages that were asked for.
func TestCopiesStayWithTheirMessagesWhenHeldStanzasAreLetOut(t *testing.T) {
	s := &session{srv: &Server{}, idle: &inactivity{}}
	chat := func(payload string) router.Delivery {
		return router.Delivery{Stanza: &xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat,
			From: jid.MustParse("romeo@example.org/a"), To: jid.MustParse("juliet@example.org"), Payload: []byte(payload)}}
	}
	s.Send(chat("<composing xmlns='http://jabber.org/protocol/chatstates'/>"))
	if s.idle == nil || s.idle.chunk == nil {
		t.Fatal("nothing is held back")
	}
	s.ending = true
	s.Send(chat("<body>late</body>"))
	list, first := s.Uncopied()
	if len(list) != 1 {
		t.Fatalf("%d messages have no copy", len(list))
	}
	s.mu.Lock()
	s.release()
	s.mu.Unlock()
	list[0].Kept = 7
	s.Copied(list, first)
	if got := s.late.marks[0].kept; got != 7 {
		t.Errorf("the message has the copy %d", got)
	}
	if got := s.queue.marks[0].kept; got != 0 {
		t.Errorf("what was held back has the copy %d", got)
	}
}
