package router

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func TestDebugFollowsAStanzaWithoutItsText(t *testing.T) {
	var log bytes.Buffer
	level := new(slog.LevelVar)
	r := New(Options{Hosts: []string{"example.org"}, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: level}))})
	r.users = users{}
	post := func() {
		r.Emit(&xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: "m1", From: jid.MustParse("example.org"), To: jid.MustParse("romeo@example.org"),
			Payload: []byte("<body>the secret</body>"), Children: []xmpp.Child{{Name: xmpp.Name{Space: xmpp.NSClient, Local: "body"}, End: 23}}}, nil)
	}
	post()
	if log.Len() != 0 {
		t.Errorf("at info: %s", &log)
	}
	level.Set(slog.LevelDebug)
	post()
	got := log.String()
	for _, want := range []string{`msg="stanza came" kind=message type=chat id=m1 from=example.org to=romeo@example.org via=server holds=body`,
		`msg="stanza settled"`, "outcome=refused", "service-unavailable"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
	if strings.Contains(got, "secret") {
		t.Errorf("the text is in the log: %s", got)
	}
}
