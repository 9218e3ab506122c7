package hooks

import (
	"encoding/base64"
	"net"
	"net/http"
	"strings"

	"jackdaw/modules/hooks/notice"
	"jackdaw/router/tokens"
)

// Paths of hooks. Gotify and ntfy are told by where their own servers are called, so that programs for them need no
// more than another base address.
const (
	pathHooks   = "/hooks"
	pathGotify  = "/gotify"
	pathNtfy    = "/ntfy"
	pathMessage = "/message" // of package httpmessage, and of Gotify
	pathHealth  = "/v1/health"
)

// Faces that have paths of their own.
const (
	faceGotify     = "gotify"
	faceNtfy       = "ntfy"
	faceRocketChat = "rocketchat"
)

// A way is what the address of a request says.
type way struct {
	secret string // that stands in the path; ""
	face   string // that the path names; "": none
	// fixed says that the face is that of the path itself, and not named by whoever has made the address.
	fixed bool
	topic string // the name of a hook; ""
	root  bool   // the body names the topic
	rest  string // for the face
	tail  bool   // a token may stand in the query
	known bool   // it is one of a hook
}

// Owns says whether a request is one for hooks. It reads no body: at /message that of Gotify is told from a post by its
// token, which could not be good for a post (docs/http.md), and whatever has Basic credentials is a post.
func (s *Hooks) Owns(r *http.Request) bool {
	path := r.URL.Path
	switch {
	case below(path, pathHooks), below(path, pathGotify), below(path, pathNtfy):
		return true
	case path == pathMessage:
		return isGotify(r)
	}
	return s.o.Face(hostOf(r)) == faceNtfy &&
		(path == pathHealth || atNtfy(r.Method, strings.TrimPrefix(path, "/")).known)
}

func below(path, base string) bool {
	rest, ok := strings.CutPrefix(path, base)
	return ok && (rest == "" || rest[0] == '/')
}

// hostOf is the host that the request names, without its port.
func hostOf(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.Host); err == nil {
		return host
	}
	return r.Host
}

// isGotify says whether a request at /message is one of Gotify's.
func isGotify(r *http.Request) bool {
	scheme, bearer := authorization(r)
	if scheme == "basic" {
		return false
	}
	for _, one := range [...]string{r.Header.Get("X-Gotify-Key"), bearer, r.URL.Query().Get("token")} {
		if strings.HasPrefix(one, string(tokens.KindHook)) {
			return true
		}
	}
	return false
}

// wayOf reads the address.
func (s *Hooks) wayOf(r *http.Request) way {
	path := r.URL.Path
	switch {
	case below(path, pathHooks):
		return atHooks(strings.Trim(strings.TrimPrefix(path, pathHooks), "/"))
	case path == pathMessage:
		return way{face: faceGotify, fixed: true, tail: true, known: r.Method == http.MethodPost}
	case below(path, pathGotify):
		rest := strings.Trim(strings.TrimPrefix(path, pathGotify), "/")
		return way{face: faceGotify, fixed: true, tail: true, rest: rest,
			known: rest == "message" && r.Method == http.MethodPost} // what can be read of Gotify is not here
	case below(path, pathNtfy):
		return atNtfy(r.Method, strings.Trim(strings.TrimPrefix(path, pathNtfy), "/"))
	}
	return atNtfy(r.Method, strings.TrimPrefix(path, "/"))
}

// atHooks reads what stands behind /hooks: a token, or the two parts of one, or with credentials elsewhere the name of
// a hook; and behind that a kind.
func atHooks(path string) way {
	parts := strings.Split(path, "/")
	w := way{known: true}
	first := parts[0]
	switch {
	case looksSecret(first):
		w.secret, parts = first, parts[1:]
		if _, whole := tokens.KindOf(first); !whole && len(parts) > 0 {
			// Rocket.Chat has two parts. Where both are no token, it is one that is wrong.
			if _, both := tokens.KindOf(first + parts[0]); both {
				w.secret, parts = first+parts[0], parts[1:]
				w.face, w.fixed = faceRocketChat, true
			}
		}
	case notice.Find(first) == nil && isName(first):
		w.topic, parts = first, parts[1:]
	}
	if len(parts) > 0 && parts[0] != "" {
		if notice.Find(parts[0]) == nil {
			w.known = false
			return w
		}
		w.face, w.fixed, parts = parts[0], false, parts[1:]
	} else if len(parts) > 0 {
		parts = parts[1:]
	}
	w.rest = strings.Join(parts, "/")
	w.tail = w.face == "homeassistant"
	return w
}

// PathOf is the path at which a token opens a hook: in two parts for senders of Rocket.Chat, which want it so.
func PathOf(h Hook, secret string) string {
	if h.Kind == faceRocketChat {
		const prefix = len(tokens.KindHook)
		at := prefix + (len(secret)-prefix)/2
		return pathHooks + "/" + secret[:at] + "/" + secret[at:]
	}
	return pathHooks + "/" + secret
}

// looksSecret says whether something is a token, or meant to be one.
func looksSecret(s string) bool {
	return strings.HasPrefix(s, string(tokens.KindHook)) || strings.HasPrefix(s, string(tokens.KindAccount)) && len(s) > 8
}

// atNtfy reads a path as that of a server of ntfy: nothing, where the body names the topic; a topic; or, for GET, a
// topic and a word.
func atNtfy(method, path string) way {
	w := way{face: faceNtfy, fixed: true, tail: true}
	topic, word, more := strings.Cut(path, "/")
	switch get := method == http.MethodGet || method == http.MethodHead; {
	case path == "":
		w.root, w.known = true, !get
	case path == strings.TrimPrefix(pathMessage, "/"): // which posts have on every host
	case get:
		w.known = more && (word == "publish" || word == "send" || word == "trigger") && isTopic(topic)
	default:
		w.known = !more && isTopic(topic)
	}
	if w.known {
		w.topic, w.rest = topic, word
	}
	if looksSecret(topic) {
		w.topic, w.secret = "", topic
	}
	return w
}

// isTopic says whether something can be a topic of ntfy.
func isTopic(s string) bool { return isName(s) || looksSecret(s) }

// authorization is the scheme, in lower case, and what follows it.
func authorization(r *http.Request) (scheme, rest string) {
	scheme, rest, _ = strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.ToLower(scheme), strings.TrimSpace(rest)
}

// secretOf is what is to open the hook: the first that has the form of a token, in an order that is the same for all
// faces, else the first that there is, which opens nothing. Credentials of another kind, which a program was given for
// a proxy maybe, are passed over.
func (w *way) secretOf(r *http.Request) string {
	first := ""
	for _, one := range w.candidates(r) {
		kind, ok := tokens.KindOf(one.value)
		if ok && one.open && kind != tokens.KindHook {
			one.value, ok = string(kind), false // it is known to too many now
		}
		if ok {
			return one.value
		}
		if first == "" {
			first = one.value
		}
	}
	return first
}

type candidate struct {
	value string
	open  bool // it stands in an address, where only the token of a single hook belongs
}

func (w *way) candidates(r *http.Request) []candidate {
	var all []candidate
	header := r.Header.Get("Authorization")
	query := r.URL.Query()
	if auth := query.Get("auth"); header == "" && auth != "" && w.face == faceNtfy {
		// ntfy takes the header in the query, for those who can set none: as base64, of which Basic has some inside.
		if b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(auth, "=")); err == nil {
			header = string(b)
		} else if b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(auth, "=")); err == nil {
			header = string(b)
		}
	}
	asked := http.Request{Header: http.Header{"Authorization": {header}}}
	if scheme, rest := authorization(&asked); scheme == "bearer" {
		all = append(all, candidate{value: rest})
	} else if _, password, ok := asked.BasicAuth(); ok {
		all = append(all, candidate{value: password})
	}
	all = append(all, candidate{value: r.Header.Get("X-Gotify-Key")}, candidate{value: r.Header.Get("X-Gitlab-Token")},
		candidate{value: w.secret, open: true})
	if w.tail {
		all = append(all, candidate{value: query.Get("token"), open: true})
	}
	return all
}

// hidden are headers that no face sees: they hold credentials, or say where a request came from.
var hidden = [...]string{"Authorization", "Proxy-Authorization", "Cookie", "X-Gotify-Key", "X-Gitlab-Token", "Referer"}

// shown are the header and the query as a face may see them.
func shown(r *http.Request) (http.Header, map[string][]string) {
	h := r.Header.Clone()
	for _, name := range hidden {
		h.Del(name)
	}
	q := r.URL.Query()
	q.Del("token")
	q.Del("auth")
	return h, q
}
