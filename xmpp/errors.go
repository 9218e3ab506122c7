package xmpp

import "jackdaw/xmpp/jid"

// ErrorType says what the sender can do about an error (RFC 6120 §8.3.2).
type ErrorType string

// The error types of RFC 6120 §8.3.2.
const (
	ErrorAuth     ErrorType = "auth"     // retry after giving credentials
	ErrorCancel   ErrorType = "cancel"   // do not retry
	ErrorContinue ErrorType = "continue" // only a warning
	ErrorModify   ErrorType = "modify"   // retry after changing what was sent
	ErrorWait     ErrorType = "wait"     // retry later
)

// Condition is a defined condition of RFC 6120 §8.3.3.
type Condition string

// The conditions of RFC 6120 §8.3.3.
const (
	CondBadRequest            Condition = "bad-request"
	CondConflict              Condition = "conflict"
	CondFeatureNotImplemented Condition = "feature-not-implemented"
	CondForbidden             Condition = "forbidden"
	CondGone                  Condition = "gone"
	CondInternalServerError   Condition = "internal-server-error"
	CondItemNotFound          Condition = "item-not-found"
	CondJIDMalformed          Condition = "jid-malformed"
	CondNotAcceptable         Condition = "not-acceptable"
	CondNotAllowed            Condition = "not-allowed"
	CondNotAuthorized         Condition = "not-authorized"
	CondPolicyViolation       Condition = "policy-violation"
	CondRecipientUnavailable  Condition = "recipient-unavailable"
	CondRedirect              Condition = "redirect"
	CondRegistrationRequired  Condition = "registration-required"
	CondRemoteServerNotFound  Condition = "remote-server-not-found"
	CondRemoteServerTimeout   Condition = "remote-server-timeout"
	CondResourceConstraint    Condition = "resource-constraint"
	CondServiceUnavailable    Condition = "service-unavailable"
	CondSubscriptionRequired  Condition = "subscription-required"
	CondUndefinedCondition    Condition = "undefined-condition"
	CondUnexpectedRequest     Condition = "unexpected-request"
)

// known reports whether c is one of the conditions above.
func (c Condition) known() bool {
	switch c {
	case CondBadRequest, CondConflict, CondFeatureNotImplemented, CondForbidden, CondGone, CondInternalServerError,
		CondItemNotFound, CondJIDMalformed, CondNotAcceptable, CondNotAllowed, CondNotAuthorized, CondPolicyViolation,
		CondRecipientUnavailable, CondRedirect, CondRegistrationRequired, CondRemoteServerNotFound,
		CondRemoteServerTimeout, CondResourceConstraint, CondServiceUnavailable, CondSubscriptionRequired,
		CondUndefinedCondition, CondUnexpectedRequest:
		return true
	}
	return false
}

// AppCondition is an application-specific condition (RFC 6120 §8.3.4): an element in a namespace of its own.
type AppCondition = Element

// Error is a stanza error (RFC 6120 §8.3). It is an error of Go too, so that a handler can return it as its answer.
type Error struct {
	Type      ErrorType
	Condition Condition
	Text      string  // in English, bland: no path, no host, no policy; may be empty
	URI       string  // another address, of gone and redirect only
	By        jid.JID // who found the error, where that is neither end
	App       *AppCondition
}

// Error returns the condition and its text.
func (e *Error) Error() string {
	if e.Text == "" {
		return string(e.Condition)
	}
	return string(e.Condition) + ": " + e.Text
}

// Is makes errors.Is compare errors by condition alone.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Condition == e.Condition
}

// WithApp returns a copy with an application-specific condition.
func (e *Error) WithApp(space, local string) *Error {
	c := *e
	c.App = &AppCondition{Name: Name{space, local}}
	return &c
}

// WithType returns a copy with another type.
func (e *Error) WithType(t ErrorType) *Error {
	c := *e
	c.Type = t
	return &c
}

// Append appends the <error/> element, in the content namespace.
func (e *Error) Append(dst []byte) []byte {
	w := Writer{buf: dst}
	w.Start(NSClient, "error").Attr("type", string(e.Type))
	if !e.By.IsZero() {
		w.Attr("by", e.By.String())
	}
	w.Leaf(NSStanzaErrors, string(e.Condition), e.URI)
	if e.Text != "" {
		w.Start(NSStanzaErrors, "text").Attr("xml:lang", "en").Text(e.Text).End()
	}
	if e.App != nil {
		w.Element(e.App)
	}
	return w.End().Bytes()
}

// ParseError reads an <error/> element; nil where el is nil. A condition that is not known, or none, counts as
// undefined-condition, a type that is not known as cancel.
func ParseError(el *Element) *Error {
	if el == nil {
		return nil
	}
	e := &Error{Type: ErrorType(el.Attr("type")), Condition: CondUndefinedCondition}
	switch e.Type {
	case ErrorAuth, ErrorCancel, ErrorContinue, ErrorModify, ErrorWait:
	default:
		e.Type = ErrorCancel
	}
	if by, err := jid.Parse(el.Attr("by")); err == nil {
		e.By = by
	}
	for _, c := range el.Children() {
		switch {
		case c.Name.Space != NSStanzaErrors:
			if e.App == nil && c.Name.Space != NSClient {
				e.App = c
			}
		case c.Name.Local == "text":
			e.Text = c.Text()
		case Condition(c.Name.Local).known():
			e.Condition = Condition(c.Name.Local)
			if e.Condition == CondGone || e.Condition == CondRedirect {
				e.URI = c.Text()
			}
		}
	}
	return e
}

// The functions below make errors, each with the type that RFC 6120 §8.3.3 recommends for the condition. The text,
// which may be empty, is for people; it is shown to the sender, so it must not tell what only this server may know.

// BadRequest says that the stanza is malformed or makes no sense (RFC 6120 §8.3.3.1).
func BadRequest(text string) *Error {
	return &Error{Type: ErrorModify, Condition: CondBadRequest, Text: text}
}

// Conflict says that a resource or session with that name exists (RFC 6120 §8.3.3.2).
func Conflict(text string) *Error {
	return &Error{Type: ErrorCancel, Condition: CondConflict, Text: text}
}

// FeatureNotImplemented says that the feature is not offered here (RFC 6120 §8.3.3.3).
func FeatureNotImplemented(text string) *Error {
	return &Error{Type: ErrorCancel, Condition: CondFeatureNotImplemented, Text: text}
}

// Forbidden says that the sender lacks the permission (RFC 6120 §8.3.3.4).
func Forbidden(text string) *Error {
	return &Error{Type: ErrorAuth, Condition: CondForbidden, Text: text}
}

// Gone says that the recipient is not at this address any more; uri, which may be empty, is the new one (RFC 6120
// §8.3.3.5).
func Gone(uri, text string) *Error {
	return &Error{Type: ErrorCancel, Condition: CondGone, URI: uri, Text: text}
}

// InternalServerError says that something is wrong with the server (RFC 6120 §8.3.3.6).
func InternalServerError(text string) *Error {
	return &Error{Type: ErrorCancel, Condition: CondInternalServerError, Text: text}
}

// ItemNotFound says that the address or item does not exist (RFC 6120 §8.3.3.7).
func ItemNotFound(text string) *Error {
	return &Error{Type: ErrorCancel, Condition: CondItemNotFound, Text: text}
}

// BadToText is the text of jid-malformed where 'to' is at fault, on streams of every kind.
const BadToText = "'to' is no address: a part is empty, too long, or has characters that it cannot have"

// JIDMalformed says that an address in the stanza is not valid (RFC 6120 §8.3.3.8).
func JIDMalformed(text string) *Error {
	return &Error{Type: ErrorModify, Condition: CondJIDMalformed, Text: text}
}

// NotAcceptable says that the stanza is understood and does not meet the criteria of the recipient (RFC 6120
// §8.3.3.9).
func NotAcceptable(text string) *Error {
	return &Error{Type: ErrorModify, Condition: CondNotAcceptable, Text: text}
}

// NotAllowed says that nobody may do this here (RFC 6120 §8.3.3.10).
func NotAllowed(text string) *Error {
	return &Error{Type: ErrorCancel, Condition: CondNotAllowed, Text: text}
}

// NotAuthorized says that credentials are needed first (RFC 6120 §8.3.3.11).
func NotAuthorized(text string) *Error {
	return &Error{Type: ErrorAuth, Condition: CondNotAuthorized, Text: text}
}

// PolicyViolation says that a local policy forbids the stanza (RFC 6120 §8.3.3.12).
func PolicyViolation(text string) *Error {
	return &Error{Type: ErrorModify, Condition: CondPolicyViolation, Text: text}
}

// RecipientUnavailable says that the recipient cannot be reached for now (RFC 6120 §8.3.3.13).
func RecipientUnavailable(text string) *Error {
	return &Error{Type: ErrorWait, Condition: CondRecipientUnavailable, Text: text}
}

// Redirect asks the sender to use the address uri for a while (RFC 6120 §8.3.3.14).
func Redirect(uri, text string) *Error {
	return &Error{Type: ErrorModify, Condition: CondRedirect, URI: uri, Text: text}
}

// RegistrationRequired says that the sender has to register first (RFC 6120 §8.3.3.15).
func RegistrationRequired(text string) *Error {
	return &Error{Type: ErrorAuth, Condition: CondRegistrationRequired, Text: text}
}

// RemoteServerNotFound says that the domain does not exist or is not served (RFC 6120 §8.3.3.16).
func RemoteServerNotFound(text string) *Error {
	return &Error{Type: ErrorCancel, Condition: CondRemoteServerNotFound, Text: text}
}

// RemoteServerTimeout says that the domain could not be reached in time (RFC 6120 §8.3.3.17).
func RemoteServerTimeout(text string) *Error {
	return &Error{Type: ErrorWait, Condition: CondRemoteServerTimeout, Text: text}
}

// ResourceConstraint says that the server is too busy, or that a store is full (RFC 6120 §8.3.3.18).
func ResourceConstraint(text string) *Error {
	return &Error{Type: ErrorWait, Condition: CondResourceConstraint, Text: text}
}

// ServiceUnavailable says that the service is not provided, or that nobody may know whether it is (RFC 6120
// §8.3.3.19).
func ServiceUnavailable(text string) *Error {
	return &Error{Type: ErrorCancel, Condition: CondServiceUnavailable, Text: text}
}

// SubscriptionRequired says that the sender has to subscribe first (RFC 6120 §8.3.3.20).
func SubscriptionRequired(text string) *Error {
	return &Error{Type: ErrorAuth, Condition: CondSubscriptionRequired, Text: text}
}

// UndefinedCondition says that none of the others fits; add an application-specific one (RFC 6120 §8.3.3.21).
func UndefinedCondition(text string) *Error {
	return &Error{Type: ErrorCancel, Condition: CondUndefinedCondition, Text: text}
}

// UnexpectedRequest says that the request is understood, but not at this point (RFC 6120 §8.3.3.22).
func UnexpectedRequest(text string) *Error {
	return &Error{Type: ErrorWait, Condition: CondUnexpectedRequest, Text: text}
}
