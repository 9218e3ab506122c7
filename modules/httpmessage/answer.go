package httpmessage

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"jackdaw/modules/internal/addresses"
	"jackdaw/router"
	"jackdaw/router/tokens"
	"jackdaw/xmpp/jid"
)

// shape is the form of an answer.
type shape uint8

const (
	shapeText    shape = iota // one line
	shapeJSON                 // the report, or problem details (RFC 9457)
	shapeGateway              // JSON with status and message
)

// Values of Content-Type, made once: a header is a slice.
var (
	typeHTML    = []string{"text/html; charset=utf-8"}
	typeText    = []string{"text/plain; charset=utf-8"}
	typeJSON    = []string{"application/json"}
	typeProblem = []string{"application/problem+json"}
	lenientOnly = []string{"handling=lenient"}
	yes         = []string{"true"}
)

// challenge is spelled as RFC 9110 §11.6.1 does, for those who search an answer for it; Go would write
// Www-Authenticate.
const challenge = "WWW-Authenticate"

const textOK = "OK\n"

// A refusal is an answer other than 200.
type refusal struct {
	status int
	text   string // one line, without its end
	allow  string // 405
	realm  string // 401
	bearer string // 401: what there is to say of a token
	retry  int    // 429, 503: seconds
	close  bool   // the rest of the body is not worth reading
	report bool   // there is a report to tell
}

func problem(status int, text string) *refusal { return &refusal{status: status, text: text} }

func badRequest(text string) *refusal {
	return problem(http.StatusBadRequest, "Bad request: "+text)
}

func forbidden(text string) *refusal {
	return problem(http.StatusForbidden, "Forbidden: "+text)
}

func methodNotAllowed(use string) *refusal {
	return &refusal{status: http.StatusMethodNotAllowed, text: "Method not allowed. Use " + use + ".", allow: use}
}

// retrySeconds is what a client should wait when storage is away.
const retrySeconds = 5

func unavailable() *refusal {
	return &refusal{status: http.StatusServiceUnavailable, retry: retrySeconds,
		text: "Service unavailable: the message cannot be stored now. Try again later."}
}

// write sends the refusal; report, which may be nil, holds the members of one, with a leading comma.
func (x *refusal) write(w http.ResponseWriter, form shape, report []byte) {
	h := w.Header()
	switch {
	case x.allow != "":
		h.Set("Allow", x.allow)
	case x.realm != "":
		// RFC 7617 §2.1. The realm is a domain, so that it needs no escapes.
		h[challenge] = []string{`Basic realm="` + x.realm + `", charset="UTF-8"`}
		if x.bearer != "" { // RFC 6750 §3
			h[challenge] = append(h[challenge], `Bearer realm="`+x.realm+`", `+x.bearer)
		}
	case x.retry > 0:
		h.Set("Retry-After", strconv.Itoa(x.retry))
	}
	if x.close {
		h.Set("Connection", "close")
	}
	var b []byte
	switch form {
	case shapeGateway:
		h["Content-Type"] = typeJSON
		b = append(b, `{"status":"error","message":`...)
		b = appendJSON(b, x.text)
		b = append(append(b, report...), "}\n"...)
	case shapeJSON:
		h["Content-Type"] = typeProblem
		b = append(b, `{"type":"about:blank","title":`...) // RFC 9457 §4.2.1
		b = appendJSON(b, http.StatusText(x.status))
		b = append(b, `,"status":`...)
		b = strconv.AppendInt(b, int64(x.status), 10)
		b = append(b, `,"detail":`...)
		b = appendJSON(b, x.text)
		b = append(append(b, report...), "}\n"...)
	default:
		h["Content-Type"] = typeText
		h.Set("X-Content-Type-Options", "nosniff") // the text may quote the request
		b = append(append(b, x.text...), '\n')
	}
	w.WriteHeader(x.status)
	w.Write(b) // a client that has gone needs no answer
}

// appendReport appends the members of a report that tell of the recipients.
func appendReport(b []byte, id string, recipients []recipient) []byte {
	accepted := 0
	for i := range recipients {
		if recipients[i].accepted() {
			accepted++
		}
	}
	b = append(b, `"id":`...)
	b = appendJSON(b, id)
	b = append(b, `,"accepted":`...)
	b = strconv.AppendInt(b, int64(accepted), 10)
	b = append(b, `,"recipients":[`...)
	for i := range recipients {
		r := &recipients[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"jid":`...)
		b = appendJSON(b, r.to.String())
		outcome, reason := r.outcome, r.reason
		if r.now != router.Undecided {
			outcome, reason = r.now, r.why
		}
		b = append(b, `,"outcome":"`...)
		b = append(b, outcome.String()...)
		b = append(b, '"')
		if reason != "" {
			b = append(b, `,"reason":`...)
			b = appendJSON(b, reason)
		}
		b = append(b, '}')
	}
	return append(b, ']')
}

// appendJSON appends valid UTF-8 as a JSON string (RFC 8259 §7).
func appendJSON(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	last := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[last:i]...)
		last = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(b, s[last:]...), '"')
}

// accepted says whether the copy is in safe hands, or would be.
func (r *recipient) accepted() bool {
	return r.outcome == router.Delivered || r.outcome == router.Stored || r.outcome == router.Queued
}

// listed bounds how many names a line of text holds.
const listed = 100

// names writes what a line of text says of those recipients that take part.
func names(recipients []recipient, takes func(*recipient) bool) string {
	var b strings.Builder
	n := 0
	for i := range recipients {
		r := &recipients[i]
		if !takes(r) {
			continue
		}
		if n++; n > listed {
			continue
		}
		if n > 1 {
			b.WriteString(", ")
		}
		b.WriteString(shown(r.to))
		b.WriteString(" (" + r.reason + ")")
	}
	if n > listed {
		b.WriteString(" and " + strconv.Itoa(n-listed) + " more")
	}
	return b.String()
}

// shown is an address on one line: a resource may hold nearly anything, but no control character (RFC 7622 §3.4), so
// that only the line separators of Unicode remain.
func shown(j jid.JID) string {
	return strings.NewReplacer("\u2028", " ", "\u2029", " ", "\u0085", " ").Replace(j.String())
}

// quoted is a piece of the request on one line, bounded. It has no tokens: errors end up in the logs of programs.
func quoted(s string) string { return addresses.Quoted(tokens.Mask(s)) }

// shapeOf reads Accept (RFC 9110 §12.5.1): JSON must be named, and no text preferred to it.
func shapeOf(r *http.Request) shape {
	accept := r.Header["Accept"]
	if len(accept) == 0 || len(accept) == 1 && accept[0] == "*/*" {
		return shapeText
	}
	json, text := -1, -1
	for _, line := range accept {
		for one := range strings.SplitSeq(line, ",") {
			media, params, _ := strings.Cut(one, ";")
			q := quality(params)
			switch strings.ToLower(strings.TrimSpace(media)) {
			case "application/json", "application/problem+json":
				json = max(json, q)
			case "text/html", "text/plain":
				text = max(text, q)
			}
		}
	}
	if json > 0 && json >= text {
		return shapeJSON
	}
	return shapeText
}

// quality is the weight of RFC 9110 §12.4.2 in thousandths; 1000 without one, 0 for a bad one.
func quality(params string) int {
	for p := range strings.SplitSeq(params, ";") {
		name, value, ok := strings.Cut(strings.TrimSpace(p), "=")
		if !ok || !strings.EqualFold(name, "q") {
			continue
		}
		f, err := strconv.ParseFloat(value, 64)
		if err != nil || f < 0 || f > 1 {
			return 0
		}
		return int(f * 1000)
	}
	return 1000
}

// prefersLenient reads Prefer (RFC 7240 §2; handling is that of §4.4).
func prefersLenient(h http.Header) bool {
	return strings.EqualFold(preference(h, "handling"), "lenient")
}

// maxWait bounds how long a request waits for what becomes of it.
const maxWait = time.Minute

// prefersWait reads Prefer: wait (RFC 7240 §4.3), whole seconds; 0 if there is none, or none that can be.
func prefersWait(h http.Header) time.Duration {
	n, err := strconv.ParseUint(preference(h, "wait"), 10, 31)
	if err != nil {
		return 0
	}
	return min(time.Duration(n)*time.Second, maxWait)
}

// preference is the value of one that is asked for, "" for none. The first one counts (RFC 7240 §2).
func preference(h http.Header, wanted string) string {
	for _, line := range h["Prefer"] {
		for one := range strings.SplitSeq(line, ",") {
			token, _, _ := strings.Cut(one, ";")
			name, value, _ := strings.Cut(token, "=")
			if strings.EqualFold(strings.TrimSpace(name), wanted) {
				return strings.Trim(strings.TrimSpace(value), `"`)
			}
		}
	}
	return ""
}
