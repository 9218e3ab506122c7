package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/config"
	"jackdaw/storage"
)

// An ailing engine has the error that it is given.
type ailing struct {
	storage.Engine
	mu  sync.Mutex // guards err
	err error
}

func (a *ailing) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

func (a *ailing) set(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

func TestStorageThatFailsIsOneErrorAndOneLineWhenItIsBack(t *testing.T) {
	for engine, c := range map[string]struct {
		err error
		do  string
	}{
		config.EngineRedis:    {fmt.Errorf("%w: redis: connection refused", storage.ErrUnavailable), "bring Redis at 127.0.0.1:6379 back"},
		config.EngineEmbedded: {fmt.Errorf("write journal-3: %w", syscall.ENOSPC), "make room on the disk"},
	} {
		synctest.Test(t, func(t *testing.T) {
			cfg := config.Default()
			cfg.Storage.Engine = engine
			log := &lines{}
			store := &ailing{}
			h := &house{o: RunOptions{Log: slog.New(slog.NewTextHandler(log, nil))}, store: store}
			h.cfg.Store(cfg)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { h.watchStorage(ctx); close(done) }()
			time.Sleep(10*time.Second + healthEvery/2) // never at the moment of a look
			if got := log.take(); got != "" {
				t.Errorf("all is well: %s", got)
			}
			store.set(c.err)
			time.Sleep(time.Minute)
			if got := log.take(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=ERROR") ||
				!strings.Contains(got, c.do) ||
				!strings.Contains(got, c.err.Error()) {
				t.Errorf("%s: %s", engine, got)
			}
			store.set(nil)
			time.Sleep(time.Minute)
			if got := log.take(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=INFO") || !strings.Contains(got, "storage is back") ||
				!strings.Contains(got, "after=1m") {
				t.Errorf("%s is back: %s", engine, got)
			}
			store.set(storage.ErrClosed) // a stop is no accident
			time.Sleep(time.Minute)
			if got := log.take(); got != "" {
				t.Errorf("closed: %s", got)
			}
			cancel()
			<-done
		})
	}
}

func TestHealthSaysWhatIsWrong(t *testing.T) {
	for want, err := range map[string]error{
		"200 OK\n": nil,
		"503 storage cannot acknowledge writes: no space\n": errors.New("no space"),
		"503 starting or stopping\n":                        errNotReady,
	} {
		w := httptest.NewRecorder()
		health(w, err)
		if got := fmt.Sprintf("%d %s", w.Code, w.Body); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}
