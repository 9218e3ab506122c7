package bosh

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

// The conditions that end a session (§17.2).
const (
	badRequest      = "bad-request"
	itemNotFound    = "item-not-found"
	policyViolation = "policy-violation"
)

// A body is what a request says: the attributes of <body/> that mean something here, and its content.
type body struct {
	sid, to, lang, version string
	sender                 string // 'from'
	rid                    uint64
	key, newkey            string
	terminate, restart     bool
	ver                    string
	wait, hold, ack, pause number
	content                []byte
	count                  int  // elements in content
	read                   bool // content has been looked at
}

// empty says that the client has nothing to say with it (§11, §12).
func (b *body) empty() bool { return b.count == 0 && !b.terminate && !b.restart && !b.pause.set }

// leaves says that it is the one request more that may come (§11).
func (b *body) leaves() bool { return b.terminate || b.pause.set }

// A number is an attribute that may be absent.
type number struct {
	n   uint64
	set bool
}

func (n number) or(d uint64) uint64 {
	if n.set {
		return n.n
	}
	return d
}

// maxRID is the largest 'rid' (§14.1): 2^53-1.
const maxRID = 1<<53 - 1

var errAttribute = errors.New("an attribute of <body/> is not what it must be")

// parse reads the attributes.
func (b *body) parse(attrs []xmpp.Attr) error {
	var rid number
	for _, a := range attrs {
		var n *number
		switch a.Name {
		case xmpp.Name{Local: "sid"}:
			b.sid = a.Value
		case xmpp.Name{Local: "to"}:
			b.to = a.Value
		case xmpp.Name{Local: "from"}:
			b.sender = a.Value
		case xmpp.Name{Local: "key"}:
			b.key = a.Value
		case xmpp.Name{Local: "newkey"}:
			b.newkey = a.Value
		case xmpp.Name{Local: "ver"}:
			b.ver = a.Value
		case xmpp.Name{Local: "type"}:
			b.terminate = a.Value == "terminate"
		case xmpp.Name{Space: xmpp.NSXML, Local: "lang"}:
			b.lang = a.Value
		case xmpp.Name{Space: xmpp.NSBOSH, Local: "version"}:
			b.version = a.Value
		case xmpp.Name{Space: xmpp.NSBOSH, Local: "restart"}: // XEP-0206 §5
			b.restart = a.Value == "true" || a.Value == "1"
		case xmpp.Name{Local: "rid"}:
			n = &rid
		case xmpp.Name{Local: "wait"}:
			n = &b.wait
		case xmpp.Name{Local: "hold"}:
			n = &b.hold
		case xmpp.Name{Local: "ack"}:
			n = &b.ack
		case xmpp.Name{Local: "pause"}:
			n = &b.pause
		}
		if n != nil {
			v, err := strconv.ParseUint(a.Value, 10, 64)
			if err != nil {
				return errAttribute
			}
			*n = number{v, true}
		}
	}
	if b.rid = rid.n; b.rid == 0 || b.rid > maxRID {
		return errAttribute
	}
	return nil
}

// read takes in a request: its session, nil for a new one, and its content, as far as the session looks at it. No more
// is read than a client may send that has not logged in, unless the session's has.
func (h *Handler) read(w http.ResponseWriter, r *http.Request, from netip.Addr, secure bool) (*body, *session, *reply) {
	l := h.o.Limits()
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(l.BodyTime))     // an error is a test's, which has no connection
	defer func() { _ = rc.SetReadDeadline(time.Time{}) }() // else it would end the request while it is held

	// A proxy that is still sending when the answer comes may find its connection reset, and the answer gone.
	defer func() { _, _ = io.CopyN(io.Discard, r.Body, int64(bodies*l.After.Bytes)) }()

	// §7.2: 'accept' is not offered
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, nil, terminal(badRequest)
	}
	raw, more, err := appendUpTo(nil, r.Body, l.Before.Bytes+wrapperBytes)
	if err != nil {
		return nil, nil, unread
	}
	limits := l.Before
	limits.Bytes = wrapperBytes
	u := stream.NewUnwrapper(xmpp.Name{Space: xmpp.NSHTTPBind, Local: "body"}, limits)
	defer u.Close()
	attrs, head, err := u.Open(raw)
	if err != nil || head == 0 {
		return nil, nil, terminal(syntax(err))
	}
	b := new(body)
	if b.parse(attrs) != nil {
		return nil, nil, terminal(badRequest)
	}
	var s *session
	limits = l.Before
	if b.sid != "" {
		if s = h.find(b.sid); s == nil {
			return nil, nil, terminal(itemNotFound)
		}
		if s.secure && !secure { // §19.1: it must not end the session
			return nil, nil, &reply{status: http.StatusOK, body: terminate(itemNotFound), close: true}
		}
		if !s.expects(b, from) {
			return b, s, nil // it is refused, or answered from what is kept
		}
		if s.authenticated() {
			limits = l.After
			if raw, more, err = appendUpTo(raw, r.Body, bodies*limits.Bytes+wrapperBytes); err != nil {
				return nil, nil, unread
			}
		}
	}
	if more {
		return nil, nil, h.spoiled(s, policyViolation)
	}
	content, count, err := u.Content(nil, raw[head:], limits, mostElements)
	if err != nil {
		return nil, nil, h.spoiled(s, syntax(err))
	}
	b.content, b.count, b.read = content, count, true
	return b, s, nil
}

// spoiled ends a session whose client has sent something unfit, under a 'rid' that is its own.
func (h *Handler) spoiled(s *session, condition string) *reply {
	if s == nil {
		return terminal(condition)
	}
	s.abort(condition)
	return s.refusal(condition)
}

// syntax is the condition for a <body/> that cannot be read.
func syntax(err error) string {
	if bad, ok := errors.AsType[*stream.SyntaxError](err); ok && bad.Condition == stream.PolicyViolation {
		return policyViolation
	}
	return badRequest
}

// appendUpTo reads until most bytes are in b, and says whether there are others.
func appendUpTo(b []byte, r io.Reader, most int) (out []byte, more bool, err error) {
	for {
		if len(b) > most {
			return b, true, nil
		}
		if len(b) == cap(b) {
			grown := make([]byte, len(b), min(max(512, 2*cap(b)), most+1))
			copy(grown, b)
			b = grown
		}
		n, err := r.Read(b[len(b):min(cap(b), most+1)])
		b = b[:len(b)+n]
		switch err {
		case nil:
		case io.EOF:
			return b, len(b) > most, nil
		default:
			return nil, false, err
		}
	}
}

// A reply is the answer to one request.
type reply struct {
	status int
	body   []byte
	close  bool // the connection is not to be used again
}

// unread is the answer to a request whose body did not come in time.
var unread = &reply{status: http.StatusRequestTimeout, close: true}

func (a *reply) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if len(a.body) > 0 {
		h.Set("Content-Type", "text/xml; charset=utf-8") // §7.1
		h.Set("X-Content-Type-Options", "nosniff")       // what others wrote is in it
	}
	h.Set("Content-Length", strconv.Itoa(len(a.body))) // §5: not chunked
	if a.close {
		h.Set("Connection", "close")
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // what does not arrive is asked for again
}

// terminal is the answer to a request without a session.
func terminal(condition string) *reply {
	return &reply{status: http.StatusOK, body: terminate(condition)}
}

const bodyStart = "<body xmlns='" + xmpp.NSHTTPBind + "'"

func terminate(condition string) []byte {
	return append(appendTerminate([]byte(bodyStart), condition), "/>"...)
}

func appendTerminate(dst []byte, condition string) []byte {
	dst = append(dst, " type='terminate'"...)
	return appendAttr(dst, "condition", condition)
}

func appendAttr(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(append(append(dst, ' '), name...), '=', '\'')
	return append(xmpp.AppendAttr(dst, value), '\'')
}

func appendNumber(dst []byte, name string, n uint64) []byte {
	dst = append(append(append(dst, ' '), name...), '=', '\'')
	return append(strconv.AppendUint(dst, n, 10), '\'')
}

// legacyStatus is how a client hears of a condition that does not know of conditions (§17.1).
var legacyStatus = map[string]int{
	badRequest: http.StatusBadRequest, policyViolation: http.StatusForbidden, itemNotFound: http.StatusNotFound,
}

// version is the one that is spoken with a client: its own, or ours where that is lower (§7.2).
func version(client string) string {
	const major, minor = 1, 11
	a, b, _ := strings.Cut(client, ".")
	x, err := strconv.ParseUint(a, 10, 16)
	y, err2 := strconv.ParseUint(b, 10, 16)
	if err != nil || err2 != nil || x > major || x == major && y > minor {
		return strconv.Itoa(major) + "." + strconv.Itoa(minor)
	}
	return strconv.FormatUint(x, 10) + "." + strconv.FormatUint(y, 10)
}
