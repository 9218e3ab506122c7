package accounts

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"

	"jackdaw/xmpp/jid"
)

// A NewAccount is one line of a batch.
type NewAccount struct {
	User     jid.JID
	Password string
}

// CreateBatch makes many accounts, each as Create does, with a worker on every core. No worker waits for the disk, so
// that the engine can put many accounts into one commit. done, which may be nil, is called once for each account, in no
// promised order but never twice at once, when it is durable or with the reason why it was not made. One account that
// is refused does not stop the others. The error is the context's; done is then not called for those that were not
// settled.
func (s *Service) CreateBatch(ctx context.Context, list []NewAccount, done func(index int, err error)) error {
	type outcome struct {
		index int
		err   error
	}
	// Room for all: an engine that finishes a write must not wait for us.
	outcomes := make(chan outcome, len(list))
	var next atomic.Int64
	var workers sync.WaitGroup
	defer workers.Wait()
	for range min(runtime.GOMAXPROCS(0), len(list)) {
		workers.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(list) {
					return
				}
				p, err := s.create(ctx, list[i].User, list[i].Password)
				if err != nil {
					outcomes <- outcome{i, err}
					continue
				}
				user := list[i].User
				p.Then(func(err error) {
					if err != nil {
						outcomes <- outcome{i, about(user.String(), err)}
						return
					}
					go func() { // listeners may block, the engine must not
						s.notify(user, Created)
						outcomes <- outcome{i, nil}
					}()
				})
			}
		})
	}
	for range list {
		select {
		case o := <-outcomes:
			if done != nil {
				done(o.index, o.err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
