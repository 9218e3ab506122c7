package bots

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"jackdaw/storage"
)

// MaxDeliveries is how many requests are remembered of a bot.
const MaxDeliveries = 50

// A Delivery is a request to a bot, and how it went.
type Delivery struct {
	At     time.Time     `json:"at"`
	Took   time.Duration `json:"took"`
	Key    string        `json:"key"`    // that of each try to hand over one message
	From   string        `json:"from"`   // who wrote
	Status int           `json:"status"` // of the answer; 0: there was none
	Said   int           `json:"said"`   // how many messages the answer was
	Error  string        `json:"error,omitempty"`
}

// A history is the last requests of a bot, in storage.
type history struct {
	log   storage.Log
	owner string

	mu    sync.Mutex // guards added
	added int        // since the last time that it was trimmed
}

// add remembers a request. Nobody waits for it: what a crash loses is in no promise.
func (h *history) add(d Delivery, log *slog.Logger) {
	data, err := write(d)
	if err == nil {
		_, _, _, err = h.log.Append(context.Background(), h.owner, storage.Record{Data: data}, storage.AppendOptions{})
	}
	if err == nil {
		err = h.trim()
	}
	if err != nil && !errors.Is(err, storage.ErrClosed) {
		log.Warn("a request to a bot is not remembered", "bot", h.owner, "error", err)
	}
}

// trim forgets what is too old, each time that as much has come again.
func (h *history) trim() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.added++; h.added < MaxDeliveries {
		return nil
	}
	h.added = 0
	records, more, err := h.log.Page(context.Background(), h.owner, storage.Query{Backward: true, Limit: MaxDeliveries})
	if err == nil && more {
		_, err = h.log.Trim(context.Background(), h.owner, records[0].ID)
	}
	return err
}

// list is what is remembered, the newest first.
func (h *history) list(ctx context.Context) ([]Delivery, error) {
	records, _, err := h.log.Page(ctx, h.owner, storage.Query{Backward: true, Limit: MaxDeliveries})
	if err != nil {
		return nil, err
	}
	list := make([]Delivery, 0, len(records))
	for _, r := range slices.Backward(records) {
		var d Delivery
		if read(r.Data, &d) == nil {
			list = append(list, d)
		}
	}
	return list, nil
}
