package server

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestAStopWaitsForRequestsUnderWay(t *testing.T) {
	var door turnstile
	goOn, inside := make(chan struct{}), make(chan struct{})
	h := door.guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		inside <- struct{}{}
		<-goOn
	}))
	request := func() int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/message", nil))
		return w.Code
	}
	first := make(chan int, 1)
	go func() { first <- request() }()
	<-inside
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := door.drain(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("with a request under way: %v", err)
	}
	if code := request(); code != http.StatusServiceUnavailable {
		t.Errorf("a request during the stop: %d", code)
	}
	drained := make(chan error, 1)
	go func() { drained <- door.drain(t.Context()) }()
	close(goOn)
	if err, code := <-drained, <-first; err != nil || code != http.StatusOK {
		t.Error(err, code)
	}
	if err := door.drain(t.Context()); err != nil {
		t.Error("without one:", err)
	}
}
