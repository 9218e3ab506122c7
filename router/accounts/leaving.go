package accounts

import (
	"context"
	"sync"
)

// leaving are the accounts that are being deleted. Their names are free when all that was kept of them has been erased:
// whoever takes one of them must neither find that, nor lose what is his.
type leaving struct {
	mu    sync.Mutex // guards names
	names map[string]chan struct{}
}

// begin says that an account is being deleted, until end. It waits for whoever is at it already; the error is the
// context's.
func (l *leaving) begin(ctx context.Context, name string) (end func(), err error) {
	for {
		if err := l.over(ctx, name); err != nil {
			return nil, err
		}
		l.mu.Lock()
		if l.names[name] == nil {
			break
		}
		l.mu.Unlock()
	}
	defer l.mu.Unlock()
	if l.names == nil {
		l.names = map[string]chan struct{}{}
	}
	erased := make(chan struct{})
	l.names[name] = erased
	return func() {
		l.mu.Lock()
		delete(l.names, name)
		l.mu.Unlock()
		close(erased)
	}, nil
}

// over waits until an account is not being deleted. The error is the context's.
func (l *leaving) over(ctx context.Context, name string) error {
	l.mu.Lock()
	erased := l.names[name]
	l.mu.Unlock()
	if erased == nil {
		return nil
	}
	select {
	case <-erased:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
