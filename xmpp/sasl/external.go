package sasl

import (
	"strings"
	"unicode/utf8"
)

// external is the server's side of EXTERNAL (RFC 4422 Appendix A).
type external struct {
	config  *Config
	step    step
	authzID string
}

func (e *external) Username() string { return "" }
func (e *external) AuthzID() string  { return e.authzID }

func (e *external) Next(response []byte) (challenge []byte, done bool, err error) {
	at := e.step
	e.step = over
	switch {
	case at == atStart && response == nil:
		e.step = asked
		return []byte{}, false, nil
	case at > asked:
		return nil, false, MalformedRequest
	}
	if e.authzID, err = parseExternal(string(response)); err != nil {
		return nil, false, err
	}
	switch ok, err := e.config.External(e.authzID); {
	case err != nil:
		return nil, false, asFailure(err)
	case !ok:
		return nil, false, NotAuthorized
	}
	return nil, true, nil
}

// parseExternal reads the one message, which is the authorization identity or
// empty (RFC 4422 Appendix A.1).
func parseExternal(s string) (authzID string, err error) {
	switch {
	case len(s) > MaxMessage || !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0:
		return "", MalformedRequest
	case len(s) > MaxAuthzID:
		return "", InvalidAuthzID
	}
	return s, nil
}
