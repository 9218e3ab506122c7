package console

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheEndOfTheLogIsKept(t *testing.T) {
	var out bytes.Buffer
	r := new(Record)
	log := slog.New(r.Tap(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	log.Debug("the way of a stanza")
	log.With("session", "a b").WithGroup("g").Warn("odd", "x", 1)
	log.Info("http post", "status", 200, "account", "romeo@localhost", "sender", "romeo@localhost/x", "id", "m-1", "client", "unix",
		"path", "/message", "delivered", "a@x b@x", "stored", "c@x", "queued", "d@y", "refused", "e@y")
	log.Info("report", "by", "romeo@localhost", "about", "spam@evil.example", "reason", "urn:xmpp:reporting:spam")
	if n := strings.Count(out.String(), "\n"); n != 4 {
		t.Errorf("%d lines went on", n)
	}
	lines := r.Lines()
	if len(lines) != 3 || lines[2].Text != `odd session="a b" g.x=1` || lines[2].Level != "warn" || lines[0].At.IsZero() {
		t.Errorf("%+v", lines)
	}
	if p := r.Posts(); len(p) != 1 || p[0].Status != 200 || p[0].To() != "a@x b@x c@x d@y e@y" || p[0].Account != "romeo@localhost" ||
		p[0].Client != "unix" || p[0].Path != "/message" || p[0].ID != "m-1" {
		t.Errorf("%+v", p)
	}
	if p := r.Reports(); len(p) != 1 || p[0].By != "romeo@localhost" || p[0].About != "spam@evil.example" || p[0].Reason == "" {
		t.Errorf("%+v", p)
	}
	log.Info("post", "status", 403, "account", "romeo@localhost", "by", "hook ops")
	if p := r.Posts(); len(p) != 2 || p[0].Status != 403 || p[0].Path != "hook ops" {
		t.Errorf("%+v", p)
	}
	for i := range maxPosts + 5 {
		log.Info("http post", "status", i, "account", strings.Repeat("é", maxValue))
	}
	lines = r.Lines()
	posts := r.Posts()
	if len(lines) != maxLines || len(posts) != maxPosts || posts[0].Status != maxPosts+4 || posts[maxPosts-1].Status != 5 {
		t.Errorf("%d lines, %d posts", len(lines), len(posts))
	}
	if a := posts[0].Account; len(a) > maxValue+len("…") || !strings.HasSuffix(a, "é…") {
		t.Errorf("%d bytes: %s", len(a), a)
	}
	log.Error(strings.Repeat("x", 2*maxLine), "error", errors.New("y"))
	if l := r.Lines()[0]; len(l.Text) > maxLine+len("…") || l.Level != "error" {
		t.Errorf("%+v", l)
	}
}

func TestADayIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var messages atomic.Int64
		messages.Store(1000)
		h := &History{Messages: messages.Load, Sessions: func() int64 { return 3 }, Free: func() int64 { return 1 << 30 }}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { h.Run(ctx); close(done) }()
		synctest.Wait()
		messages.Add(42)
		h.Committed(time.Millisecond)
		h.Committed(3 * time.Millisecond)
		h.Committed(2 * time.Millisecond)
		time.Sleep(sampled + time.Second)
		if all := h.Samples(); len(all) != 1 || all[0] != (Sample{42, 3, 0.003, 1 << 30}) {
			t.Errorf("%+v", all)
		}
		time.Sleep(25 * time.Hour)
		if all := h.Samples(); len(all) != kept || all[0].Messages != 0 || all[0].Durable != 0 {
			t.Errorf("%d samples, %+v", len(all), all[0])
		}
		cancel()
		<-done
	})
}

func TestPlotsAreDrawn(t *testing.T) {
	var day []Sample
	for i := range kept {
		day = append(day, Sample{Messages: float32(i % 60)})
	}
	for name, samples := range map[string][]Sample{"nothing": nil, "a moment": day[:1], "zeros": make([]Sample, 9), "an hour": day[:61], "a day": day} {
		svg := string(plot(samples, func(s Sample) float32 { return s.Messages }, false, `"<&`))
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v in %s", name, err, svg)
			}
		}
		if n := strings.Count(svg, ","); strings.Contains(svg, "NaN") || n > 2*(drawn+2) {
			t.Errorf("%s: %d points, %s", name, n, svg)
		}
	}
}

func TestFiguresAreSaidAsPeopleDo(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 999: "999 bytes", 1000: "1.0 KiB", 1 << 20: "1.0 MiB", 55 << 30: "55 GiB", 3 << 50: "3072 TiB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{0: "moments ago", -5 * time.Minute: "5 min ago", -3 * time.Hour: "3 hours ago", -72 * time.Hour: "3 days ago",
		30 * 24 * time.Hour: "in 30 days"} {
		if got := string(moment(now.Add(d), now)); !strings.Contains(got, ">"+want+"<") {
			t.Errorf("%v: %s", d, got)
		}
	}
	if got := string(moment(time.Time{}, now)); strings.Contains(got, "ago") {
		t.Error(got)
	}
	if fmt.Sprint(count(1, "session", "sessions"), count(2, "session", "sessions")) != "1 session2 sessions" {
		t.Error("count")
	}
}
