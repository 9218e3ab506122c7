package server

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"jackdaw/router/tokens"
	"jackdaw/xmpp/jid"
)

// later is a value that says later what it is.
type later string

func (l later) LogValue() slog.Value { return slog.StringValue(string(l)) }

func TestNoTokenReachesALog(t *testing.T) {
	secret := tokens.Generate(tokens.KindHook)
	var out bytes.Buffer
	log := slog.New(masked{slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})})
	log.Debug("met "+secret, "path", "/hooks/"+secret, "n", 7)
	log.Info("error", "err", errors.New("no "+secret), "user", jid.MustParse(secret+"@localhost"), "list", []string{secret})
	log.Info("group", slog.Group("a", slog.Group("b", "c", secret)), "later", later(secret))
	log.With("token", secret).WithGroup("g").Info("with", "x", secret)
	got := out.String()
	if strings.Contains(got, secret[5:]) {
		t.Errorf("%s", got)
	}
	for _, want := range []string{`msg="met jdh…" path=/hooks/jdh… n=7`, `err="no jdh…" user=jdh…@localhost list=[jdh…]`, "a.b.c=jdh… later=jdh…",
		"token=jdh… g.x=jdh…"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	out.Reset()
	log.Info("plain", "user", jid.MustParse("romeo@localhost"), "list", []int{1, 2})
	if !strings.Contains(out.String(), `msg=plain user=romeo@localhost list="[1 2]"`) {
		t.Errorf("%s", out.String())
	}
	if log.Enabled(context.Background(), slog.LevelDebug-1) {
		t.Error("more is enabled than was")
	}
}
