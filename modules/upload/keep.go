package upload

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"time"

	"jackdaw/modules/internal/posting"
	"jackdaw/xmpp/jid"
)

// Keep takes a file that the server has from a user by another way than a slot, with the same bounds, and returns its
// URL at a domain of the service. It is durable then. Errors: a *posting.Refusal, or what went wrong with the storage.
func (s *Service) Keep(ctx context.Context, domain string, user jid.JID, name, kind string, data []byte) (string,
	error) {
	at := ""
	for _, p := range s.o.Places() {
		if p.Domain == domain {
			at = p.URL
		}
	}
	set, now := s.o.Settings(), time.Now()
	switch {
	case at == "":
		return "", &posting.Refusal{Status: http.StatusForbidden, Text: "Forbidden: this server takes no files."}
	case int64(len(data)) > set.MaxSize:
		return "", &posting.Refusal{Status: http.StatusRequestEntityTooLarge,
			Text: "Request entity too large: a file may have " + number(set.MaxSize) + " bytes."}
	}
	switch may, err := s.o.May(ctx, user); {
	case err != nil:
		return "", err
	case !may:
		return "", &posting.Refusal{Status: http.StatusForbidden, Text: "Forbidden: the account may not keep files."}
	}
	if kind == "" || len(kind) > nameBytes {
		kind = octets
	}
	sl := &slot{owner: user.Bare(), name: cleanName(name), kind: kind, size: int64(len(data)), created: now,
		expires: now.Add(slotTime)}
	if err := s.admit(sl); err != nil {
		return "", notKept(err, now)
	}
	if bad := s.keep(sl, data); bad != nil {
		s.mu.Lock()
		s.drop(sl, dropped)
		s.mu.Unlock()
		return "", notKept(bad, now)
	}
	return s.urlOf(at, sl), nil
}

// keep writes the file of a slot that nobody else knows.
func (s *Service) keep(sl *slot, data []byte) error {
	s.mu.Lock()
	bad := s.occupy(sl)
	s.mu.Unlock()
	if bad != nil {
		return &posting.Refusal{Status: http.StatusServiceUnavailable, Retry: 1,
			Text: "Service unavailable: too many files at once. Try again later."}
	}
	kept := false
	defer func() { s.end(sl, kept) }()
	err := s.take(sl, sl.kind, bytes.NewReader(data))
	kept = err == nil
	return err
}

// notKept is the answer to whom a slot was refused.
func notKept(err error, now time.Time) error {
	var over errTooMuch
	switch {
	case errors.As(err, &over):
		return &posting.Refusal{Status: http.StatusTooManyRequests, Retry: int(over.until.Sub(now)/time.Second) + 1,
			Text: "Too many requests: no more files can be kept for the account for now."}
	case errors.Is(err, ErrAway):
		return &posting.Refusal{Status: http.StatusServiceUnavailable, Retry: 10,
			Text: "Service unavailable: files cannot be kept now. Try again later."}
	case errors.Is(err, errFull):
		return &posting.Refusal{Status: http.StatusServiceUnavailable, Retry: 60,
			Text: "Service unavailable: there is no room for files now."}
	}
	return err
}
