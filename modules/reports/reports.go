// Package reports takes what users report when they block somebody (XEP-0377): it is logged, and the host's
// administrators are told by a message.
//
// A report goes with an item of a request to block (XEP-0191) and changes nothing about that, whatever it says (§6):
// one that cannot be read is no report. What a user says beside the reason is for the administrators and does not get
// into the log; of the messages that are reported only the ids are known. A user who reports too much is heard of in
// numbers only.
//
// If the user agrees (§5), a report is forwarded to the domain of the one that is reported, at the address that it
// names for that, and to others that the administrators have named. Neither learns who has reported.
package reports

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	ns = "urn:xmpp:reporting:1"

	// maxReports is how many reports a user may make within a window; further ones are only counted.
	maxReports = 20
	window     = time.Hour

	// maxReason and the following are what is kept of one report.
	maxReason = 128 // bytes
	maxText   = 512 // bytes
	maxIDs    = 10
	maxID     = 128 // bytes
)

// prefix begins the local part of the addresses in whose name domains are asked for theirs.
const prefix = "reports-"

// Options of New; all are needed.
type Options struct {
	Router *router.Router
	// Tell lets the administrators of a host know of a report by somebody. It must not route anything itself.
	Tell func(host, by, line string)
	// Received returns a message that an account has been sent, by its id in the archive.
	Received func(ctx context.Context, owner string, id uint64) (xmpp.Stanza, error)
	// Origin says whether reports go to the domain of the one that is reported, ThirdParties to whom else.
	Origin       func() bool
	ThirdParties func() []jid.JID
	// Address gives local parts that begin with "reports-" and that nobody else can know.
	Address func(i int) string
	Log     *slog.Logger
}

// Stats count reports that were forwarded.
type Stats struct{ Origins, ThirdParties atomic.Int64 }

// Reports is the module. It is safe for concurrent use.
type Reports struct {
	Options
	Stats Stats

	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex // guards the rest
	made   map[jid.JID]int
	sent   map[jid.JID]int
	since  time.Time // of the window
	asked  map[string]question
	asking int
	closed bool
}

// Of makes the reports of a server.
func Of(p parts.Parts, tell func(host, by, line string),
	received func(ctx context.Context, owner string, id uint64) (xmpp.Stanza, error)) *Reports {
	return New(Options{Router: p.Router, Tell: tell, Received: received, Log: p.Log,
		Origin: func() bool { return p.Config().Modules.Reports.Origin },
		ThirdParties: func() (all []jid.JID) {
			for _, to := range p.Config().Modules.Reports.ThirdParties {
				if j, err := jid.Parse(to); err == nil { // they have been checked
					all = append(all, j)
				}
			}
			return all
		},
		Address: func(i int) string {
			own := p.Accounts.Derive("reports", string(rune('a'+i%26)))
			return prefix + hex.EncodeToString(own[:8])
		}})
}

// New returns the module.
func New(o Options) *Reports {
	m := &Reports{Options: o, made: map[jid.JID]int{}, sent: map[jid.JID]int{}, asked: map[string]question{}}
	m.ctx, m.stop = context.WithCancel(context.Background())
	return m
}

// Module says where it takes part. It must come after the one that stops forged requests.
func (m *Reports) Module() router.Module {
	return router.Module{
		Name:     "reports",
		Needs:    []string{"blocking"}, // which answers the requests that reports come with
		Specs:    []router.Spec{{Name: "XEP-0377", Version: "0.4.1"}},
		Features: []string{ns}, // §3
		Arriving: router.Stage{IQ: m.arriving},
	}
}

// Close ends what is on its way and returns when it has ended.
func (m *Reports) Close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.stop()
	m.running.Wait()
}

var (
	block  = xmpp.Name{Space: xmpp.NSBlocking, Local: "block"}
	item   = xmpp.Name{Space: xmpp.NSBlocking, Local: "item"}
	report = xmpp.Name{Space: ns, Local: "report"}
)

// arriving looks into requests to block, which their module answers.
func (m *Reports) arriving(e *router.Envelope) {
	if m.answered(e); e.Settled() {
		return
	}
	if name, _ := e.Stanza.First(); name != block || e.Stanza.Type != xmpp.TypeSet || !e.FromOwn() {
		return
	}
	el := e.Stanza.Child(block)
	if el == nil {
		return
	}
	type one struct {
		about jid.JID
		what  *xmpp.Element
	}
	var all []one
	for _, i := range el.Children() {
		if i.Name != item {
			continue
		}
		about, err := jid.Parse(i.Attr("jid"))
		if err != nil { // the request is refused
			return
		}
		// One report for an item (§7).
		if r := i.Child(report); r != nil && r.Attr("reason") != "" && len(r.Attr("reason")) <= maxReason {
			all = append(all, one{about, r})
		}
	}
	user := e.Session.Bare()
	for _, r := range all {
		switch n := m.count(user); {
		case n > maxReports+1:
		case n > maxReports:
			m.Log.Warn("a user makes too many reports; further ones are not looked at", "user", user)
			m.Tell(user.Domain(), user.String(),
				fmt.Sprintf("%s makes very many reports. Further ones are not told for a while.", user))
		default:
			m.take(user, r.about, r.what)
		}
	}
}

// count is the number of reports that a user has made within the window, this one among them.
func (m *Reports) count(user jid.JID) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn(time.Now())
	m.made[user]++
	return m.made[user]
}

// turn begins a new window if the last one is over. The caller holds mu.
func (m *Reports) turn(now time.Time) {
	if now.Sub(m.since) >= window {
		m.since = now
		clear(m.made)
		clear(m.sent)
	}
}

func (m *Reports) take(user, about jid.JID, r *xmpp.Element) {
	reason := r.Attr("reason")
	ids := idsOf(r)
	m.Log.Info("report", "by", user, "about", about, "reason", reason, "stanzas", ids)
	line := fmt.Sprintf("%s has blocked %s and reports %s.", user, about, word(reason))
	if len(ids) > 0 {
		line += fmt.Sprintf(" Stanza ids: %s.", strings.Join(ids, ", "))
	}
	if text := textOf(r); text != "" {
		line += fmt.Sprintf(" The user says: %q", text)
	}
	m.Tell(user.Domain(), user.String(), line)
	m.forward(user, about, r)
}

// word is a reason as people say it (§4).
func word(reason string) string {
	switch reason {
	case "urn:xmpp:reporting:spam":
		return "spam"
	case "urn:xmpp:reporting:abuse":
		return "abuse"
	}
	return fmt.Sprintf("%q", reason)
}

// idsOf are the stanzas that a report names (§6), each as id and who gave it.
func idsOf(r *xmpp.Element) (ids []string) {
	for _, c := range r.Children() {
		if c.Name != (xmpp.Name{Space: xmpp.NSStanzaID, Local: "stanza-id"}) {
			continue
		}
		by, err := jid.Parse(c.Attr("by"))
		if id := c.Attr("id"); err == nil && id != "" && len(id) <= maxID && len(ids) < maxIDs {
			ids = append(ids, fmt.Sprintf("%q by %s", id, by))
		}
	}
	return ids
}

// textOf is what the user says, in the first language, on one line.
func textOf(r *xmpp.Element) string {
	el := r.ChildLocal("text")
	if el == nil {
		return ""
	}
	text := strings.Join(strings.Fields(el.Text()), " ")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}
