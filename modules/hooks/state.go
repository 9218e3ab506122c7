package hooks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"jackdaw/storage"
)

// What is kept of what a hook has sent, by the id of the hook.
const (
	keySerial = "serial"  // how many messages there were
	keyThread = "thread " // and the digest of a notice.Notice.Key: a thread
	keyOnce   = "once "   // and the digest of a Dedupe: a once
)

const (
	// keepThread is how long a message is known that another may answer or correct.
	keepThread = 14 * 24 * time.Hour
	// keepOnce is how long it is known how often something was sent, at least: longer than posts are told from
	// repetitions (storage.DedupWindow), of which each has a key of its own.
	keepOnce = 3 * 24 * time.Hour
	// maxState bounds the threads and repetitions that are known of one hook, and sweepAfter what may come on top
	// before that is looked at.
	maxState   = 2000
	sweepAfter = 200
	// defaultOnce is how long a Dedupe counts of which nothing else is said.
	defaultOnce = 24 * time.Hour
)

// A thread is the last that was sent with a key.
type thread struct {
	State uint8     `json:"state"`
	ID    string    `json:"id"`             // of the message that others answer or correct
	Head  string    `json:"head,omitempty"` // its first line
	At    time.Time `json:"at"`
	// Rooms are the ids that rooms gave it (XEP-0359), by their addresses.
	Rooms map[string]string `json:"rooms,omitempty"`
}

// A once is what must not be sent twice.
type once struct {
	Times  int       `json:"times"` // that it was sent
	Until  time.Time `json:"until"`
	At     time.Time `json:"at"`
	Post   string    `json:"post"`
	Serial int64     `json:"serial"`
}

// digest is a short name for something long. 128 bits are not met by chance, nor by those who may use the hook.
func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// load reads a value of the state; it stays zero where there is none.
func (s *Hooks) load(ctx context.Context, hook, key string, v any) error {
	b, err := s.state.Get(ctx, hook, key)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err == nil && (len(b) == 0 || b[0] != rowVersion) {
		err = errors.New("what a hook has sent is of a version that is not known")
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(b[1:], v)
}

// save is the change that writes a value of the state.
func save(key string, v any) storage.Change {
	b, _ := json.Marshal(v) // there is nothing in it that JSON has no word for
	return storage.Change{Key: key, Value: append([]byte{rowVersion}, b...)}
}

// write writes the state and returns when it is durable. From time to time it leaves out what is old. The count of
// messages alone is not waited for: after a crash it may be behind, and nothing rests on it.
func (s *Hooks) write(ctx context.Context, hook string, g *gate, changes ...storage.Change) error {
	counts := len(changes) == 1 && changes[0].Key == keySerial
	if g.written++; g.written >= sweepAfter || !g.swept {
		old, err := s.old(ctx, hook)
		if err != nil {
			return err
		}
		changes = append(old, changes...) // what is written anew comes later, and stays
		g.written, g.swept = 0, true
	}
	_, p, err := s.state.Update(ctx, hook, storage.AnyVersion, changes...)
	if err != nil || counts {
		return err
	}
	return p.Wait(ctx)
}

// old are the changes that remove what is no longer needed, and the oldest of what is too much.
func (s *Hooks) old(ctx context.Context, hook string) (changes []storage.Change, err error) {
	entries, _, err := s.state.List(ctx, hook)
	if err != nil {
		return nil, err
	}
	type aged struct {
		key string
		at  time.Time
	}
	var left []aged
	now := time.Now()
	for _, e := range entries {
		if e.Key == keySerial || len(e.Value) == 0 {
			continue
		}
		var v struct{ At, Until time.Time }
		keep := keepThread
		if strings.HasPrefix(e.Key, keyOnce) {
			keep = keepOnce
		}
		if json.Unmarshal(e.Value[1:], &v) != nil || now.Sub(v.At) > keep && now.After(v.Until) {
			changes = append(changes, storage.Change{Key: e.Key, Delete: true})
			continue
		}
		left = append(left, aged{e.Key, v.At})
	}
	if len(left) > maxState {
		slices.SortFunc(left, func(a, b aged) int { return a.at.Compare(b.at) })
		for _, one := range left[:len(left)-maxState] {
			changes = append(changes, storage.Change{Key: one.key, Delete: true})
		}
	}
	return changes, nil
}

// A gate lets the notices of a hook pass one by one: what is answered by another is sent first, and what is sent twice
// at once is found to be the same.
type gate struct {
	turn    chan struct{} // taken by the one that passes
	waiting int           // guarded by Hooks.mu

	// What follows is of the one that passes.
	written int // changes of the state since the last sweep
	swept   bool
	full    time.Time // of open hooks: when as many uses as may come at once may come again
}

// maxWaiting is how many requests of one hook wait for their turn.
const maxWaiting = 64

// enter waits for the turn of a hook; false says that there is none soon. The gate must be left.
func (s *Hooks) enter(ctx context.Context, hook string) (*gate, bool) {
	s.mu.Lock()
	g := s.gates[hook]
	if g == nil {
		g = &gate{turn: make(chan struct{}, 1)}
		s.gates[hook] = g
	}
	if g.waiting >= maxWaiting {
		s.mu.Unlock()
		return nil, false
	}
	g.waiting++
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	entered := false
	select {
	case g.turn <- struct{}{}:
		entered = true
	case <-ctx.Done():
	}
	s.mu.Lock()
	g.waiting--
	s.mu.Unlock()
	return g, entered
}

func (g *gate) leave() { <-g.turn }

// forget drops what is known in memory of a hook that is removed.
func (s *Hooks) forget(hook string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.gates, hook)
}
