package notice

import (
	"fmt"
	"net/http"
	"strings"
)

// Events of the forges, in the words that a hook may choose from.
const (
	eventPush        = "push" // of commits; branches that come and go, too
	eventTag         = "tag"
	eventPullRequest = "pull_request" // GitLab's merge requests, too
	eventIssue       = "issue"
	eventComment     = "comment" // reviews, too
	eventRelease     = "release"
	eventBuild       = "build" // what failed, and what succeeds again
)

var forgeEvents = []string{eventPush, eventTag, eventPullRequest, eventIssue, eventComment, eventRelease, eventBuild}

// Bounds of what is shown of an event.
const (
	maxCommits = 5   // lines of commits
	maxComment = 200 // characters of a comment
)

// A happening is one event of a forge: who did what, and where.
type happening struct {
	repo   string
	who    string
	what   string // such as: opened pull request #12 “Fix crash”
	text   string
	link   string
	key    string // behind the name of the repository; "" is by itself
	dedupe string
}

// reading makes the notice of an event.
func (h *happening) reading(event string) (Reading, error) {
	title := strings.TrimSpace(h.who + " " + h.what)
	n := Notice{Source: h.repo, Title: title, Text: h.text, Link: h.link, Dedupe: h.dedupe}
	if h.key != "" && h.repo != "" {
		n.Key = h.repo + h.key
	}
	return Reading{Notices: []Notice{n}, Event: event}, nil
}

// build makes the notice of a build that failed, or of one that succeeded, which is worth one only after a failure.
func (h *happening) build(failed bool) (Reading, error) {
	r, err := h.reading(eventBuild)
	n := &r.Notices[0]
	if n.State, n.Level = Firing, Error; !failed {
		n.State, n.Level, n.IfFiring = Resolved, Info, true
	}
	return r, err
}

// ignored is the reading of an event that is not shown.
func ignored(format string, args ...any) (Reading, error) {
	return Reading{Ignored: fmt.Sprintf(format, args...)}, nil
}

// bad is the mistake of a body.
func bad(format string, args ...any) error {
	return &Mistake{Status: http.StatusBadRequest, Text: fmt.Sprintf(format, args...)}
}

// need is a member that must be an object.
func need(o Object, name string) (Object, error) {
	if x := o.Object(name); x != nil {
		return x, nil
	}
	return nil, bad("the member %q must be an object", name)
}

// one is the first text that is not empty.
func one(texts ...string) string {
	for _, t := range texts {
		if t = strings.TrimSpace(t); t != "" {
			return t
		}
	}
	return ""
}

// quoted is a title in quotation marks, with a space before it; "" of none.
func quoted(title string) string {
	if title = strings.Join(strings.Fields(title), " "); title == "" {
		return ""
	}
	return " “" + shorten(title, maxComment) + "”"
}

// count is a number with its noun.
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// ref is what a full name of git stands for: a branch or a tag.
func ref(full string) (kind, name string) {
	if name, ok := strings.CutPrefix(full, "refs/tags/"); ok {
		return "tag", name
	}
	return "branch", strings.TrimPrefix(full, "refs/heads/")
}

// none says whether a hash of git is that of nothing.
func none(hash string) bool { return hash != "" && strings.Trim(hash, "0") == "" }

// short is how git shows a hash to people.
func short(hash string) string { return hash[:min(len(hash), 7)] }

// commits are the first lines of the newest commits, one a line. There are total of them.
func commits(list []any, total int64) string {
	total = max(total, int64(len(list)))
	list = list[max(len(list)-maxCommits, 0):]
	var b strings.Builder
	for _, c := range list {
		c, _ := c.(Object)
		first, _, _ := strings.Cut(strings.TrimSpace(c.String("message")), "\n")
		if hash := c.String("id"); hash != "" {
			b.WriteString(short(hash) + " ")
		}
		b.WriteString(shorten(first, maxComment) + "\n")
	}
	if more := total - int64(len(list)); more > 0 {
		fmt.Fprintf(&b, "… and %s before\n", count(more, "commit"))
	}
	return b.String()
}

// push is what was done to a branch or a tag by a push of commits.
func (h *happening) push(o Object, list []any, total int64) (Reading, error) {
	full := o.String("ref")
	if full == "" {
		return Reading{}, bad("the member %q must name what was pushed", "ref")
	}
	kind, name := ref(full)
	event := eventPush
	if kind == "tag" {
		event = eventTag
	}
	total = max(total, int64(len(list)))
	created, deleted := none(o.String("before")), none(o.String("after"))
	switch {
	case deleted:
		h.what, h.link = "deleted "+kind+" "+name, ""
	case kind == "tag":
		h.what = "pushed tag " + name
	case created && total == 0:
		h.what = "created branch " + name
	case created:
		h.what = fmt.Sprintf("created branch %s with %s", name, count(total, "commit"))
	case o.String("forced") == "true":
		h.what = fmt.Sprintf("force-pushed %s to %s", count(total, "commit"), name)
	case total == 0:
		return ignored("a push of no commits")
	default:
		h.what = fmt.Sprintf("pushed %s to %s", count(total, "commit"), name)
	}
	if !deleted && kind == "branch" {
		h.text = commits(list, total)
	}
	return h.reading(event)
}

// comment is what somebody said about something.
func (h *happening) comment(about, text string) (Reading, error) {
	h.what = "commented on " + about
	if h.text = shorten(strings.TrimSpace(text), maxComment); h.text == "" {
		return Reading{}, bad("the comment has no text")
	}
	return h.reading(eventComment)
}
