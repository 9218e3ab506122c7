package notice

import (
	"net/http"
	"net/url"
)

// A Request is what a face may know of an HTTP request: no credentials, and no more of the path than what follows them.
type Request struct {
	Method string
	Header http.Header // without Authorization, Cookie and other credentials
	Query  url.Values  // without token and auth
	// Rest is the path behind what opened the hook, without a slash at its beginning.
	Rest string
	// Media is the type of the body in lower case, without parameters; "" where there is none.
	Media string
	// Params are the parameters of that type, such as the boundary of a form.
	Params map[string]string
	Body   []byte // bounded before it comes here
	// Rename are keys that the administrator says stand for others, of faces that can be told so.
	Rename map[string]string

	parsed parsed
}

// A Reading is what a face made of a request.
type Reading struct {
	// Notices to be sent, in order; most requests are one. None: the request is fine, and nothing is to be shown.
	Notices []Notice
	// Ignored says why there are none.
	Ignored string
	// Event is what happened, one of the Events of the face, for hooks that want only some; "" is wanted by all.
	Event string
}

// A Mistake is the error of a request that no notice can be made of. Nothing is sent.
type Mistake struct {
	Status int    // 400, 413 or 415
	Word   string // the code that the family of programs has for it, such as invalid_payload; may be ""
	Text   string // one line that says what is wrong and where
}

// Error implements error.
func (m *Mistake) Error() string { return m.Text }

// An Outcome is what became of a request, for Answer.
type Outcome struct {
	Status   int    // 200, or why not: 400, 401, 403, 404, 405, 413, 415, 503
	Word     string // of a Mistake
	Text     string // one line about an error; "" with 200
	Ignored  string // of a Reading
	ID       string // of the message that was sent
	Serial   int64  // of the message within its hook, from 1
	Hook     string // its name
	Received int64  // unix seconds
	Retry    int    // seconds, with 503
	Request  *Request
	Reading  *Reading // nil where there was no request that could be read
}

// A Response is what the program is told.
type Response struct {
	Status int
	Media  string // Content-Type; "" with an empty body
	Header map[string]string
	Body   []byte
}

// A Face is what one family of programs speaks.
type Face struct {
	Name string // the kind of a hook, and a reserved word in paths: lower-case letters
	// Read makes notices of a request; its error is a *Mistake.
	Read func(r *Request) (Reading, error)
	// Answer says what the program takes for success or failure; nil: as AnswerJSON does.
	Answer func(o *Outcome) Response
	// Claims says, for hooks of the kind auto, whether a request is one of this face. It looks at head and, where it must,
	// at body, whose JSON has been read once for all faces; nil: never.
	Claims func(r *Request, body Object) bool
	// Looks says that its programs GET the address of a hook before they post: Read is given that, and makes no notices
	// of it.
	Looks bool
	// Also are the kinds that a path may name behind a hook of this one: what the programs that it stands for take, too.
	Also []string
	// Events are the names that the Event of its readings may have; nil: it has none.
	Events []string
}

// Object is the outermost object of a JSON body; nil for a body that is none.
type Object map[string]any
