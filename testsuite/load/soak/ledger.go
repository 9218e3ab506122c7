package main

import (
	"fmt"
	"slices"
	"sync"
)

// A ledger knows what has been promised, and what has come of it. A message is promised once its sender has been told
// that the server has it: by an acknowledgement of XEP-0198, or by the status 200 of a post.
type ledger struct {
	mu      sync.Mutex // guards what follows
	letters map[string]*letter
	last    int

	promised, kept, twice, returned int
}

// A letter is one message to one user.
type letter struct {
	to                       string
	promised, come, returned bool
}

func newLedger() *ledger { return &ledger{letters: map[string]*letter{}} }

// open enters a new message and returns its id.
func (l *ledger) open(to string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	id := fmt.Sprintf("soak-%d", l.last)
	l.letters[id] = &letter{to: to}
	return id
}

// promise notes that the server has acknowledged it.
func (l *ledger) promise(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.letters[id]
	if x == nil || x.promised {
		return
	}
	x.promised = true
	l.promised++
	if x.come || x.returned {
		l.kept++
	}
}

// came notes that a user has got it. It is false for a message that is not the user's.
func (l *ledger) came(id, user string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.letters[id]
	switch {
	case x == nil || x.to != user:
		return false
	case x.come:
		l.twice++ // after a connection that was lost, whose client had not acknowledged it
	case x.promised && !x.returned:
		l.kept++
	}
	x.come = true
	return true
}

// bounced notes that it came back to its sender with an error.
func (l *ledger) bounced(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.letters[id]
	if x == nil || x.returned {
		return
	}
	x.returned = true
	l.returned++
	if x.promised && !x.come {
		l.kept++
	}
}

// counts are those of all messages so far.
func (l *ledger) counts() (promised, kept, twice, returned int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.promised, l.kept, l.twice, l.returned
}

// lost are the messages that were promised and have neither come nor come back.
func (l *ledger) lost() (all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, x := range l.letters {
		if x.promised && !x.come && !x.returned {
			all = append(all, id+" to "+x.to)
		}
	}
	slices.Sort(all)
	return all
}
