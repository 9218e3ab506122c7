// Package upload takes files of our users and gives them out again (XEP-0363): each host has the service at
// upload.<host>, which hands out slots, and the HTTP listeners take and serve the files below Path.
//
// A slot is good for one file, for five minutes, and only with the Authorization header that came with it; slots are
// kept in memory where they were given, and the header says all of them, signed, to any other server. A file is one
// file on disk, or one object in a bucket (Store), which begins with what is known of it: it is written elsewhere,
// synced, and renamed or sent, so that after a crash it is there as a whole or not at all. Its address holds 128 random
// bits and the hour in which the slot was given; the folder of that hour goes when its time has come, so that nothing
// has to be looked up to serve or to purge. What an account has uploaded is in a storage.Log, for its quota and for its
// removal, and is durable before the file appears.
//
// What a browser could run is served as something to be saved, under a policy that lets nothing run (§ Security).
//
// Left out: the purposes profile and permanent of slots; files of people of other servers; thumbnails; bounds on how
// much is fetched.
package upload

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/router"
	"jackdaw/router/space"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Path is what the paths of all files begin with on the listeners; the URL of a Place stands for it.
const Path = "/upload/"

const (
	nsUpload  = "urn:xmpp:http:upload:0"
	nsPurpose = "urn:xmpp:http:upload:purpose:0"
)

const (
	// slotTime is how long a slot waits for its file to begin (XEP-0363 § Implementation Notes).
	slotTime = 5 * time.Minute
	// day is what the quota is for, and filesADay how many files an account may send meanwhile, however small.
	day       = 24 * time.Hour
	filesADay = 1000
	// openSlots and atOnce bound what an account may begin, allAtOnce what all may, who share it (storage.Fair).
	openSlots = 50
	atOnce    = 10
	allAtOnce = 100
	// slowest is the rate, in bytes a second, below which nobody is waited for; grace comes before it counts.
	slowest = 4 << 10
	grace   = time.Minute
	// patience bounds how long a file waits for storage.
	patience = 15 * time.Second
)

// A Place is a domain of the service and where its files are found, without a slash at the end.
type Place struct{ Domain, URL string }

// Settings may differ each time they are asked for.
type Settings struct {
	MaxSize int64         // bytes of a file
	Quota   int64         // bytes that an account may upload in a day
	Keep    time.Duration // of a file; 0: for ever
	Stall   time.Duration // without a byte, of whoever sends or fetches
	Space   space.Bounds  // files leave what Warn says to the messages, which are on the same disk
}

// Options of New; all are needed but Free.
type Options struct {
	Router  *router.Router
	Records storage.Log // nobody else writes it
	Keys    storage.Map // likewise; the key of slots
	// Dir is a local directory, where files are written before they go to where they lie. Nobody else writes it; it is
	// made when it is needed, with mode 0700.
	Dir   string
	Store Store // where files lie; nil: in Dir as well
	// Shared: other servers have the same Dir.
	Shared bool
	// Node is this server's own name among those, "" if it has none: what it leaves half-written carries it.
	Node string
	// Places are those where files can be had. Asked by router.Use and with each slot.
	Places func() []Place
	// May says whether an account, a bare address, is there and may log in.
	May      func(ctx context.Context, user jid.JID) (bool, error)
	Settings func() Settings // asked whenever it matters
	// Free says how many bytes are free on the disk of a directory, and how many there are; nil asks the system.
	Free func(dir string) (free, all int64, err error)
	Log  *slog.Logger
}

// Statuses are all that the service answers with over HTTP.
var Statuses = [...]int{200, 201, 204, 206, 304, 400, 401, 404, 405, 408, 409, 411, 412, 413, 415, 416, 429, 500, 503,
	507}

// Stats count since the start, but for those that say they are current.
type Stats struct {
	Slots    atomic.Int64 // given
	Refused  atomic.Int64 // requests for a slot, refused
	Bytes    atomic.Int64 // of files taken
	Active   atomic.Int64 // current: files being taken
	Purged   atomic.Int64 // folders of files whose time had come
	Panics   atomic.Int64
	Puts     [len(Statuses)]atomic.Int64 // requests to take a file, by the index of Statuses
	Requests [len(Statuses)]atomic.Int64 // all others, likewise
}

func (s *Stats) answered(method string, status int) {
	all := &s.Requests
	if method == http.MethodPut {
		all = &s.Puts
	}
	for i, one := range Statuses {
		if one == status {
			all[i].Add(1)
			return
		}
	}
}

// A Service gives slots, takes files and serves them. It is safe for concurrent use.
type Service struct {
	Stats Stats

	o       Options
	service *router.Service
	ctx     context.Context // of what goes into the store; ended by Close
	stop    context.CancelFunc
	working sync.WaitGroup // files being taken
	keyed   sync.Mutex     // guards key
	key     []byte         // of passes; nil: not read yet
	store   Store
	own     string       // what its half-written files begin with, in a directory that others have, too
	warned  atomic.Int64 // unix seconds of the last warning of a full disk
	away    atomic.Int64 // unix nanoseconds of when the store was last found away; 0: it is there

	mu     sync.Mutex // guards the rest
	slots  map[string]*slot
	users  map[string]map[*slot]bool // whose slots have no file yet
	active int                       // files being taken
	claim  int64                     // their bytes
	closed bool
}

// New returns the service, which has not touched its directory.
func New(o Options) *Service {
	if o.Free == nil {
		o.Free = space.Free
	}
	s := &Service{o: o, store: o.Store, slots: map[string]*slot{}, users: map[string]map[*slot]bool{}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	if s.store == nil {
		s.store = Directory(o.Dir)
	}
	if o.Node != "" {
		of := sha256.Sum256([]byte(o.Node)) // a name may hold what no path does
		s.own = hex.EncodeToString(of[:8]) + "-"
	}
	s.service = &router.Service{Handle: s.handle, Domains: func() (all []string) {
		for _, p := range o.Places() {
			all = append(all, p.Domain)
		}
		return all
	}}
	return s
}

// Recover removes what a crash has left half-written. It comes before anything is served. In a directory that others
// have, too, this is what it has begun itself, and what nobody has written to for a day.
func (s *Service) Recover() {
	remove := os.RemoveAll
	if s.o.Shared {
		remove = s.removeOwn
	}
	if err := remove(s.unfinished()); err != nil {
		s.o.Log.Warn("half-written files not removed", "error", err)
	}
}

// removeOwn removes the files of a directory that a server of this name has begun, or that nobody has written to for a
// day.
func (s *Service) removeOwn(dir string) error {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range list {
		info, bad := e.Info()
		if bad != nil { // it has gone
			continue
		}
		if s.own != "" && strings.HasPrefix(e.Name(), s.own) || time.Since(info.ModTime()) > day {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

func (s *Service) unfinished() string { return filepath.Join(s.o.Dir, unfinishedName) }

// Module returns the module.
func (s *Service) Module() router.Module {
	return router.Module{
		Name:    "upload",
		Specs:   []router.Spec{{Name: "XEP-0363", Version: "1.2.0", Note: "purposes message and ephemeral"}},
		Service: s.service,
		Portable: []router.Portable{{Spaces: []string{"log upload"},
			Stays: "links to files name this server; copy the directory of the files, which serves them elsewhere, too"}},
		Removed: s.removed,
	}
}

// Close takes no more files and waits for those under way, which end when their connections do, or soon after that if
// the store is slow. It comes after the listeners have been closed and before the storage is.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	enough := time.AfterFunc(patience, s.stop)
	s.working.Wait()
	enough.Stop()
	s.stop()
}

// handle takes what is addressed to the domains of the service. What it leaves undecided the router refuses.
func (s *Service) handle(e *router.Envelope) {
	q := e.Stanza
	switch {
	case q.Type == xmpp.TypeError, q.IsAnswer(), q.Kind == xmpp.Presence:
		e.Settle(router.Dropped)
		return
	case q.Kind != xmpp.IQ || q.Type != xmpp.TypeGet || !q.To.IsDomain():
		return
	}
	name, _ := q.First()
	switch name {
	case xmpp.Name{Space: nsUpload, Local: "request"}:
		s.request(e)
	case xmpp.Name{Space: xmpp.NSPing, Local: "ping"}:
		s.o.Router.Answer(e, nil)
	case xmpp.Name{Space: xmpp.NSDiscoInfo, Local: "query"}, xmpp.Name{Space: xmpp.NSDiscoItems, Local: "query"}:
		if el := q.Child(name); el == nil || el.Attr("node") != "" {
			e.Refuse(xmpp.ItemNotFound("there is no such node"))
			return
		}
		w := xmpp.NewWriter(nil).Start(name.Space, "query")
		if name.Space == xmpp.NSDiscoInfo {
			s.describe(w)
		}
		s.o.Router.Answer(e, w.End().Bytes())
	}
}

// describe says what this is and how large a file may be (§ Discovering Support).
func (s *Service) describe(w *xmpp.Writer) {
	w.Start("", "identity").Attr("category", "store").Attr("type", "file").Attr("name", "HTTP File Upload").End()
	for _, f := range []string{xmpp.NSDiscoInfo, xmpp.NSDiscoItems, nsUpload, nsPurpose + "#ephemeral",
		nsPurpose + "#message", xmpp.NSPing} {
		w.Start("", "feature").Attr("var", f).End()
	}
	w.Start(xmpp.NSDataForms, "x").Attr("type", "result")
	w.Start("", "field").Attr("var", "FORM_TYPE").Attr("type", "hidden").Leaf("", "value", nsUpload).End()
	w.Start("", "field").Attr("var", "max-file-size").Leaf("", "value", number(s.o.Settings().MaxSize)).End()
	w.End()
}
