// Package server assembles the parts of jackdaw and starts and stops them in an order that one
// can read in one function: Run. It also holds what stands between the parts: the certificates, the
// control socket that the commands use, the metrics, and what a first start prints.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"jackdaw/admin"
	"jackdaw/admin/adhoc"
	"jackdaw/admin/console"
	"jackdaw/c2s"
	"jackdaw/calls"
	"jackdaw/cluster/link"
	"jackdaw/cluster/relay"
	"jackdaw/component"
	"jackdaw/config"
	"jackdaw/modules"
	"jackdaw/modules/bytestreams"
	"jackdaw/modules/externalservices"
	"jackdaw/modules/hooks"
	"jackdaw/modules/hostmeta"
	"jackdaw/modules/httpmessage"
	"jackdaw/modules/upload"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/router/budget"
	"jackdaw/router/devices"
	"jackdaw/router/gate"
	"jackdaw/router/space"
	"jackdaw/router/tokens"
	"jackdaw/s2s"
	"jackdaw/s2s/lookup"
	"jackdaw/server/certificates"
	"jackdaw/storage"
	"jackdaw/storage/embedded"
	"jackdaw/web"
	"jackdaw/web/bosh"
	"jackdaw/wire"
	"jackdaw/wire/front"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// RunOptions are what Run needs beside the configuration.
type RunOptions struct {
	ConfigPath string    // "" runs on the defaults
	Stderr     io.Writer // for what a person who starts the server should read
	Version    string    // of the build
	Commit     string    // likewise; "" if it is not known
	Log        *slog.Logger
	// Level is that of Log; a reload sets it. Nil: it stays.
	Level *slog.LevelVar
	// Load reads the configuration again, for a reload.
	Load func() (*config.Config, error)

	record *console.Record // what the console shows of Log
	start  *patience       // with Redis; nil: there is none
	// Ready is called when every listener accepts; it may be nil.
	Ready func()
}

// drainTime is how long a stop waits for acknowledgements and posts on their way.
const drainTime = 10 * time.Second

// Run serves until ctx ends, then drains and returns nil. Before it has printed "jackdaw: ready"
// it returns an error that says what to do.
func Run(ctx context.Context, cfg *config.Config, o RunOptions) error {
	o.record = new(console.Record)
	o.Log = slog.New(masked{o.record.Tap(o.Log.Handler())})
	o.Log.Info("starting", "version", o.Version, "commit", o.Commit, "go", runtime.Version(), "data", cfg.Data,
		"configuration", o.ConfigPath)
	for _, w := range cfg.Warnings {
		o.Log.Warn("configuration", "note", w)
	}
	sayIfRoot(o, cfg.Data)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if cfg.Storage.Engine == config.EngineRedis {
		o.start = newPatience(o.Log)
	}
	var node *nodes
	if cfg.Cluster.On() {
		var err error
		if node, err = joinCluster(ctx, cfg, o); err != nil {
			return err
		}
		defer node.close()
	}
	// After such a failure the process tells its clients and ends, and closing the store says why: whoever supervises
	// it starts it anew, which is what helps.
	var store storage.Engine
	err := o.start.await(ctx, "open the store", func() (err error) {
		store, err = openStore(ctx, cfg, node, embedded.Options{Log: o.Log, Failed: func(error) {
			if cfg.Storage.ExitOnFailure {
				cancel()
			}
		}})
		return err
	})
	if err != nil {
		return err
	}
	o.Log.Info("storage open", "engine", cfg.Storage.Engine, "promise", store.Promise())
	s, err := assemble(ctx, store, cfg, node, o)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	s.end = cancel
	if err := s.listen(ctx); err != nil {
		s.stop()
		return errors.Join(err, store.Close())
	}
	if node != nil {
		node.begin(s)
	}
	fmt.Fprintln(o.Stderr, "jackdaw: ready")
	s.ready.Store(true)
	if o.Ready != nil {
		o.Ready()
	}
	s.sayWhereFilesAre()
	s.sayCertificatesInUse()
	s.sayCertificates()
	s.sayAdmins(ctx)
	s.sayWhoIsServed()
	go giveBack(ctx)
	s.running.Go(func() { s.watchStorage(ctx) })
	s.running.Go(func() { s.watchCertificates(ctx) })
	s.running.Go(func() { s.issued.Run(ctx) })
	s.running.Go(func() { s.features.Run(ctx) })
	s.running.Go(func() { s.devices.Run(ctx) })
	s.running.Go(func() { s.tokens.Run(ctx) })
	s.running.Go(func() { s.accounts.Watch(ctx, s.present) })
	s.running.Go(func() { s.files.Run(ctx) })
	s.running.Go(func() { s.space.Run(ctx) })
	s.running.Go(func() { s.past.Run(ctx) })
	if s.relay != nil {
		s.running.Go(func() { s.relay.Run(ctx) })
	}
	s.wait(ctx)
	s.ready.Store(false)
	o.Log.Info("stopping")
	if node != nil {
		node.leave()
	}
	s.stop()
	if err := store.Close(); err != nil {
		return fmt.Errorf("close the store: %w", err)
	}
	o.Log.Info("stopped")
	return nil
}

// house is a running server: all its parts.
type house struct {
	o        RunOptions
	cfg      atomic.Pointer[config.Config]
	store    storage.Engine
	nodes    *nodes // nil for a server that is alone
	accounts *accounts.Service
	router   *router.Router
	features *modules.Set
	space    *space.Watch
	certs    *CertStore
	issued   *certificates.Service
	devices  *devices.Service
	tokens   *tokens.Service
	admin    *admin.Service
	clients  *c2s.Server
	programs *component.Server
	peering  *s2s.Server   // nil without a listener for peers
	relay    *calls.Server // nil unless calls.enabled
	services *externalservices.Module
	proxy    *bytestreams.Service
	posts    *httpmessage.Service
	files    *upload.Service
	// filePlaces are those that clients can be told of.
	filePlaces func() []upload.Place
	metrics    *metrics // nil without a listener
	web        *web.Server
	passed     *web.Server   // of what other nodes pass on; nil for a server that is alone
	front      *front.Server // nil without a listener
	binding    *bosh.Handler
	asked      turnstile // posts and files, on their way through web
	pages      *leaves
	console    *console.Console
	past       *console.History // for its plots
	sockets    listeners
	gate       *gate.Keeper
	senders    *budget.Book // of accounts
	others     *budget.Book // of peer domains and components
	ready      atomic.Bool
	running    sync.WaitGroup // serving goroutines
	reloads    sync.Mutex     // one at a time

	end    func() // ends Run
	ending sync.Mutex
	ends   *time.Timer // that will end it; guarded by ending
}

// assemble makes the parts, each from those before it. Nothing is served yet.
func assemble(
	ctx context.Context, store storage.Engine, cfg *config.Config, node *nodes, o RunOptions,
) (*house, error) {
	h := &house{o: o, store: store, nodes: node, gate: new(gate.Keeper)}
	h.cfg.Store(cfg)
	h.senders = budget.New(func() budget.Rate {
		l := &h.cfg.Load().Limits
		return budget.Rate{PerSecond: l.StreamRate, Burst: l.StreamBurst}
	})
	h.others = budget.New(func() budget.Rate {
		l := &h.cfg.Load().Limits
		return budget.Rate{PerSecond: l.PeerRate, Burst: l.PeerBurst}
	})
	options, err := AccountOptions(cfg, o.Log)
	if err != nil {
		return nil, err
	}
	if err := o.start.await(ctx, "read the accounts", func() (err error) {
		h.accounts, err = accounts.New(ctx, store, options)
		return err
	}); err != nil {
		return nil, err
	}
	h.router = router.New(router.Options{Hosts: domains(cfg), Users: h.accounts,
		MaxSessions: cfg.Limits.ResourcesPerAccount, Log: o.Log})
	name := ""
	if node != nil {
		node.relay = relay.New(relay.Options{Router: h.router, Node: node, Links: node.links, Budgets: h.senders,
			Patience: cfg.Cluster.Lease + 5*time.Second, Log: o.Log}) // who takes over needs the lease and two seconds
		h.router.SetHomes(node.relay)
		h.accounts.SetHomes(node.relay.Here)
		name = node.self()
	}
	h.space = space.New(space.Options{Dir: cfg.Data, Log: o.Log,
		Bounds: func() space.Bounds { return spaceBounds(h.cfg.Load()) }})
	onDisk := h.space
	if cfg.Storage.Engine == config.EngineRedis { // what modules keep is elsewhere
		onDisk = nil
	}
	h.devices = newDevices(store, h.accounts, h.cfg.Load, o.Log)
	h.tokens = newTokens(store, h.accounts, h.cfg.Load, func(user jid.JID, about, line string) {
		h.features.TellUser(user, about, line)
	}, o.Log)
	h.posts = h.newPosts(store)
	h.features = modules.All(modules.Deps{Router: h.router, Store: store, Accounts: h.accounts, Devices: h.devices,
		Tokens: h.tokens, Config: h.cfg.Load, Space: onDisk, URL: h.urlOf, Post: h.posts.Post,
		Budgets: h.senders, Node: name, Version: o.Version, Log: o.Log})
	h.posts.TrackBy(h.features.Posts)
	var clients c2s.Elsewhere // nil is that of a server that is alone
	var programs component.Elsewhere
	if node != nil {
		clients, programs = ways{node, link.Clients}, ways{node, link.Components}
	}
	h.programs = component.New(component.Options{Elsewhere: programs, Router: h.router, Gate: h.gate, Budgets: h.others,
		Log: o.Log,
		Connected: func(domain string) {
			h.features.Privileges.Connected(domain)
			h.features.Delegations.Connected(domain)
			if node != nil && h.features.Privileges.Watches(domain) {
				h.running.Go(func() { node.greet(domain) })
			}
		},
		Settings: func() config.Component { return h.cfg.Load().Component },
		Limits:   func() config.Limits { return h.cfg.Load().Limits }})
	h.filePlaces = func() []upload.Place {
		running := h.cfg.Load()
		return filePlaces(running, &running.Listen)
	}
	if h.files, err = newFiles(fileParts{h.router, store, h.accounts, h.cfg.Load, h.filePlaces, o.Log}); err != nil {
		return nil, err
	}
	if err := lookAtFiles(ctx, cfg, o.Log); err != nil {
		return nil, err
	}
	h.files.Recover()
	h.accounts.OnChange(h.accountChanged)
	h.newProxy()
	if err := h.newCalls(cfg); err != nil {
		return nil, err
	}
	h.router.Use(h.modules()...)
	var offices admin.Elsewhere // nil is that of a server that is alone
	if node != nil {
		node.offices = newOffices(node)
		offices = node.offices
	}
	h.admin = admin.New(admin.Options{Elsewhere: offices, Accounts: h.accounts, Config: h.cfg.Load,
		Kept: h.features, Devices: h.devices, Hooks: h.features.Hooks,
		URL: func(host string) string {
			c := h.cfg.Load()
			return programsURL(c, host, &c.Listen)
		},
		Tokens:      h.tokens,
		Invitations: h.features.Invitations,
		Roster:      h.features.Roster, Announcements: h.features.Announcements, Rooms: h.features.Rooms,
		Bots: h.features.Bots, Uploads: h.files, Log: o.Log,
		Live: routerLive{router: h.router, reload: h.reload, peers: h.peers, stop: h.stopSoon}})
	if node != nil {
		h.features.Rooms.SetElsewhere(h.admin.RoomsElsewhere)
	}
	h.features.Commands.Add(adhoc.Commands(h.admin, func() bool { return h.cfg.Load().Modules.Enabled(adhoc.Name) })...)
	if h.certs, err = NewCertStore(cfg); err != nil {
		return nil, err
	}
	if err := h.newIssued(cfg); err != nil {
		return nil, err
	}
	h.clients = c2s.New(c2s.Options{Elsewhere: clients, Location: cfg.Cluster.Location,
		Framing: framingOf, Router: h.router, Accounts: h.accounts, Tokens: h.devices,
		TLS:      h.certs.TLSConfig("xmpp-client"),
		Register: h.features.Registration, AllowPlainWithoutTLS: !cfg.C2S.RequireTLS,
		Gate: h.gate, Budgets: h.senders, C2S: cfg.C2S, Limits: cfg.Limits, Log: o.Log})
	h.devices.OnRemoved(h.clients.EndDevice)
	if cfg.Federates() {
		h.peering = s2s.New(s2s.Options{Router: h.router, Store: store,
			Finder: lookup.New(lookup.Options{Resolve: h.resolve}), Certificate: h.certs.Certificate,
			TLS: h.certs.TLSConfig(xmpp.ALPNServer), Gate: h.gate, Budgets: h.others,
			Settings: h.cfg.Load, Log: o.Log})
		if err := o.start.await(ctx, "read what waits for peers", func() error { return h.peering.Start(ctx) }); err != nil {
			return nil, err
		}
		h.router.SetRemote(h.peering)
	}
	h.newPages()
	h.newConsole()
	pages := h.webHandler()
	if node != nil {
		pages = node.passing(h.accountOf, pages)
	}
	limits := web.Limits{HeaderBytes: cfg.Limits.HTTPHeaderBytes, HeaderTime: cfg.Limits.HTTPHeaderTime,
		BodyTime: cfg.Limits.HTTPBodyTime, Idle: cfg.Limits.HTTPIdle, Streams: cfg.Limits.HTTPStreams}
	h.web = web.NewServer(pages, limits, o.Log)
	h.web.FastPath(httpmessage.PathMessage)
	if node != nil {
		h.passed = web.NewServer(taking(pages), limits, o.Log)
	}
	if len(cfg.Listen.TLS) > 0 {
		h.front = h.newFront()
	}
	if len(cfg.Listen.Metrics) > 0 {
		h.metrics = newMetrics()
		h.metrics.parts(h)
	}
	h.observe()
	return h, nil
}

// modules are what takes part in the router, as the configuration in force says.
func (h *house) modules() []router.Module {
	return h.features.Modules(h.programs.Module(), h.files.Module(), hostmeta.Module(), adhoc.Module(),
		h.externalServicesModule(), h.proxy.Module())
}

func domains(cfg *config.Config) (list []string) {
	for _, h := range cfg.Hosts {
		list = append(list, h.Domain)
	}
	return list
}

// origins are those of pages that may connect, as the configuration in force says.
func (h *house) origins() web.Origins {
	return web.Origins{Allowed: func() []string { return h.cfg.Load().Web.Origins }, Serves: h.router.Serves}
}

// webHandler is the streams of browsers, the files, the HTTP APIs and what is told of the ways to connect, as long as
// they are on.
func (h *house) webHandler() http.Handler {
	posts, files := h.asked.guard(h.posts.Handler()), h.asked.guard(h.files.Handler())
	late := h.asked.guard(h.features.Bots)
	inbound := h.asked.guard(h.features.Hooks)
	ways := hostmeta.Handler(h.hostMeta)
	h.binding = h.newBOSH()
	sockets := &web.WebSockets{Origins: h.origins(), Take: h.clients.Take,
		Limits:  func() *config.Limits { return &h.cfg.Load().Limits },
		Trusted: func() []netip.Prefix { return h.cfg.Load().HTTP.TrustedProxies }}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cfg := h.cfg.Load()
		on := cfg.Modules.Enabled
		switch {
		case r.URL.Path == web.PathWebSocket && cfg.Web.WebSocket:
			sockets.ServeHTTP(w, r)
		case r.URL.Path == pathBOSH && cfg.Web.BOSH:
			h.binding.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, certificates.PathChallenge) && cfg.ACME.On():
			h.issued.ServeHTTP(w, r)
		case on("bots") && h.features.Bots.Owns(r.URL.Path):
			late.ServeHTTP(w, r)
		case on(hooks.Name) && h.features.Hooks.Owns(r):
			inbound.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, upload.Path) && on("upload"):
			files.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, hostmeta.Path) && on("hostmeta"):
			ways.ServeHTTP(w, r)
		case console.Owns(r.URL.Path) && cfg.Web.Admin:
			h.console.ServeHTTP(w, r)
		case h.page(w, r):
		case on("httpmessage"):
			posts.ServeHTTP(w, r)
		default:
			http.NotFound(w, r)
		}
	})
}

// listen opens every socket and starts serving.
func (h *house) listen(ctx context.Context) error {
	cfg := h.cfg.Load()
	l := cfg.Listen
	for _, one := range []struct {
		name  string
		addrs []string
		serve func(net.Listener)
	}{
		{"c2s", l.C2S, func(ln net.Listener) { h.logged("c2s", h.clients.Serve(ln, c2s.STARTTLS)) }},
		{"c2s_tls", l.C2STLS, func(ln net.Listener) { h.logged("c2s_tls", h.clients.Serve(ln, c2s.DirectTLS)) }},
		{"tls", l.TLS, func(ln net.Listener) { h.logged("tls", h.front.Serve(ln)) }},
		{"s2s", l.S2S, func(ln net.Listener) { h.logged("s2s", h.peering.Serve(ln, s2s.STARTTLS)) }},
		{"s2s_tls", l.S2STLS, func(ln net.Listener) { h.logged("s2s_tls", h.peering.Serve(ln, s2s.DirectTLS)) }},
		{"component", l.Component, func(ln net.Listener) { h.logged("component", h.programs.Serve(ln)) }},
		{"http", l.HTTP, func(ln net.Listener) {
			h.logged("http", h.web.Serve(h.gated(ln, "http", web.TurnAway)))
		}},
		{"https", l.HTTPS, func(ln net.Listener) {
			h.logged("https", h.web.ServeTLS(h.gated(ln, "https", nil), h.certs.TLSConfig()))
		}},
		{"acme", l.ACME, func(ln net.Listener) { h.serveACME(h.gated(ln, "acme", web.TurnAway)) }},
		{"metrics", l.Metrics, func(ln net.Listener) {
			h.metrics.serve(h.gated(ln, "metrics", web.TurnAway), h.store, h.ready.Load)
		}},
	} {
		sockets, err := h.sockets.open(one.name, one.addrs)
		if err != nil {
			return err
		}
		for i, ln := range sockets {
			h.o.Log.Info("listening", "for", one.name, "address", ln.Addr(), "configured", one.addrs[i])
			ln := h.proxied(ln, one.name)
			h.running.Go(func() { one.serve(ln) })
		}
	}
	if h.front != nil {
		h.running.Go(func() { h.logged("tls", h.web.ServeTaken()) })
	}
	if err := h.listenForCalls(cfg); err != nil {
		return err
	}
	if err := h.listenForProxy(cfg); err != nil {
		return err
	}
	control, err := ListenControl(cfg.Data, &Control{Admin: h.admin, keeper: newKeeper(cfg, h.store)})
	if err != nil {
		return err
	}
	h.sockets.all = append(h.sockets.all, control)
	h.boundConnections()
	first := ""
	if len(l.HTTP) > 0 {
		first = l.HTTP[0]
	}
	return h.o.start.await(ctx, "look for accounts", func() error {
		return FirstStart(ctx, h.store, h.accounts, cfg, h.o.ConfigPath, first, h.o.Stderr)
	})
}

// logged says that a listener ended other than by a stop.
func (h *house) logged(listener string, err error) {
	if err != nil && !errors.Is(err, net.ErrClosed) {
		h.o.Log.Error("listener ended", "listener", listener, "error", err, "do", "restart this server")
	}
}

// wait returns when ctx ends; a SIGHUP reloads.
func (h *house) wait(ctx context.Context) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			if _, err := h.reload(false); err != nil {
				h.o.Log.Error("configuration kept as it was", "error", err,
					"do", "mend the file, then run `jackdaw reload`")
			}
		}
	}
}

// stop ends what listen started: first the posts, which must not find sessions gone, then what clients send, then the
// sessions, then the sockets of administrators.
func (h *house) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if h.front != nil {
		h.front.Shutdown(ctx) // what is nobody's is closed; it does not wait for more
	}
	h.features.Posts.Quit() // or who waits for what becomes of a post would be waited for
	if err := h.asked.drain(ctx); err != nil {
		h.o.Log.Warn("posts were cut off", "error", err)
	}
	h.files.Close()
	h.console.Close()
	h.stopCalls()
	h.proxy.Close()
	// Clients send no more from here on: what they get an acknowledgement for has met all the parts.
	h.clients.Quiesce(ctx)
	// What components did not take goes back to sessions that are still there.
	if err := h.programs.Shutdown(ctx); err != nil {
		h.o.Log.Warn("components were cut off", "error", err)
	}
	h.features.Leave()
	h.clients.Shutdown(ctx)
	// Streams over BOSH say why they end in answers to requests, and some are between two of them.
	last, enough := context.WithTimeout(ctx, wire.FarewellTime)
	h.binding.Settle(last)
	enough()
	if err := h.web.Shutdown(ctx); err != nil {
		h.o.Log.Warn("connections over HTTP were cut off", "error", err)
	}
	if h.passed != nil {
		if err := h.passed.Shutdown(ctx); err != nil {
			h.o.Log.Warn("requests of other nodes were cut off", "error", err)
		}
		h.nodes.desk.Close()
	}
	// Peers hear last that our users have gone; what they do not take waits on disk.
	if h.peering != nil {
		if err := h.peering.Shutdown(ctx); err != nil {
			h.o.Log.Warn("streams of peers were cut off", "error", err)
		}
	}
	h.features.Close()
	h.sockets.close()
	h.running.Wait()
}

// present are the accounts that have sessions, each once.
func (h *house) present() (all []jid.JID) {
	seen := map[jid.JID]bool{}
	h.router.EachSession(func(s *router.Session) bool {
		if user := s.Bare(); !seen[user] {
			seen[user] = true
			all = append(all, user)
		}
		return true
	})
	return all
}

// accountChanged ends what a changed account must not go on with (docs/cli.md §2).
func (h *house) accountChanged(user jid.JID, what accounts.Change) {
	// Of some changes whoever made them has told, and has more to say.
	if what != accounts.PermissionsChanged && what != accounts.Created {
		h.o.Log.Info("account changed", "account", user, "change", what)
	}
	if what == accounts.Disabled || what == accounts.Deleted {
		h.proxy.EndOf(user)
		if h.relay != nil {
			h.relay.EndOf(user)
		}
	}
	switch what {
	case accounts.PasswordChanged, accounts.Disabled:
		for _, s := range h.router.Sessions(user) {
			if what == accounts.PasswordChanged && h.features.Registration.Stays(s) {
				continue
			}
			s.End("not-authorized", what.String())
		}
	case accounts.Deleted:
		if err := h.router.Remove(user); err != nil {
			h.o.Log.Error("erase an account", "account", user, "error", err,
				"do", "make the account once more and remove it again, when storage is well")
		}
	}
}
