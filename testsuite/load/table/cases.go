package main

import (
	"strconv"
	"strings"

	"jackdaw/testsuite/load/stage"
	"jackdaw/testsuite/load/supply"
)

// The names of the cases.
const (
	managed10, managed1 = "messages, window 10, management", "messages, window 1, management"
	managedRate         = "5,000/s offered, management"
	managedHTTP         = "HTTP posts, management"
	plain10, plain1     = "messages, window 10", "messages, window 1"
	plainRate           = "5,000/s offered"
	plainHTTP           = "HTTP posts"
	bare10, bareHTTP    = "messages, window 10, archive off", "HTTP posts, archive off"
	bodies              = "bodies of 20 kB, archive off"
	presence            = "presence, 100 users × 20 contacts"
	logins              = "logins, direct TLS"
	offline             = "offline store, 100 users × 50"
	storm               = "storm of archived messages"
	idleTLS, idlePlain  = "idle session, TLS", "idle session, no TLS"
	idleFull            = "idle session, TLS, management, presence, 50 contacts"
	firstLogin          = "first login after exec"
	started             = "started server"
	pipelined, http2    = "HTTP posts, HTTP/1.1 pipelined", "HTTP posts, HTTP/2"
)

// timed are the options of a run that takes a time.
func (b *bench) timed(args ...string) []string {
	return append(args, "-tls", "direct", "-warmup", "1s", "-duration", b.seconds.String())
}

func (b *bench) managed() []kase {
	return []kase{
		{managed10, "message", b.timed("-sm")},
		{managed1, "message", b.timed("-sm", "-window", "1")},
		{managedRate, "rate", b.timed("-sm", "-rate", "5000")},
		{managedHTTP, "http", b.timed("-sm")},
	}
}

func (b *bench) unmanaged() []kase {
	return []kase{
		{plain10, "message", b.timed()},
		{plain1, "message", b.timed("-window", "1")},
		{plainRate, "rate", b.timed("-rate", "5000")},
		{plainHTTP, "http", b.timed()},
	}
}

func (b *bench) others(mech string) []kase {
	return []kase{
		{presence, "presence", []string{"-tls", "direct"}},
		{logins, "login", []string{"-tls", "direct", "-mech", mech, "-logins", "1000"}},
		{offline, "offline", []string{"-tls", "direct"}},
	}
}

func (b *bench) bodies() kase {
	return kase{bodies, "message", b.timed("-pairs", "20", "-size", "20000")}
}

// all measures cases on a server, which is stopped then.
func (b *bench) all(t *target, kases []kase) {
	defer t.stop()
	for _, k := range kases {
		b.measure(t, k)
	}
}

// any says whether one of the cases is wanted.
func (b *bench) any(kases []kase) bool {
	for _, k := range kases {
		if b.wanted(k.name) {
			return true
		}
	}
	return false
}

// relay passes bytes on, unparsed: the ceiling. It knows no stream management.
func (b *bench) relay() {
	t, err := b.script("relay")
	if err != nil {
		b.fail("%v", err)
		return
	}
	b.all(t, append(b.unmanaged(), b.bodies(), b.others("PLAIN")[1]))
}

const archiveOff = ", archive: false"

// jackdaw is measured on a fresh server for each group of cases.
func (b *bench) jackdaw() {
	w := supply.Store{Accounts: 300}
	group := func(modules string, kases ...kase) {
		if b.any(kases) {
			b.all(b.start(w, "", modules), kases)
		}
	}
	group("", b.managed()...)
	group("", b.unmanaged()...)
	group("", b.others("SCRAM-SHA-1")...)
	group(archiveOff, b.bodies(), kase{bare10, "message", b.timed()}, kase{bareHTTP, "http", b.timed()})
	if b.wanted(storm) {
		t := b.start(w, "", "")
		b.storm(t)
		t.stop()
	}
	if b.wanted(pipelined) || b.wanted(http2) {
		t := b.start(w, "", "")
		b.posts(t, pipelined, "--h1", "http://"+t.HTTP)
		b.posts(t, http2, "", "https://"+t.HTTPS)
		t.stop()
	}
}

// peer measures another server once.
func (b *bench) peer(name string) {
	for _, group := range [][]kase{b.managed(), b.unmanaged(), b.others("SCRAM-SHA-1")} {
		var kases []kase
		for _, k := range group {
			if k.scenario != "rate" { // they do not reach it, and take minutes to end
				kases = append(kases, k)
			}
		}
		if !b.any(kases) {
			continue
		}
		t, err := b.script(name)
		if err != nil {
			b.fail("%v", err)
			return
		}
		if mib, err := stage.RSS(t.pid); err == nil && group[0].name == managed10 {
			b.keep(started, name, map[string]float64{"mib": mib})
		}
		b.all(t, kases)
	}
}

// storm takes the most memory that a server has had when some 200,000 messages have been archived in seconds.
func (b *bench) storm(t *target) {
	values, err := b.generate(t, "message", "-tls", "direct", "-window", "100", "-warmup", "1s", "-duration", "2s")
	if err == nil {
		values["peak_mib"], err = stage.PeakRSS(t.pid)
	}
	if err != nil {
		b.fail("%s: %v", storm, err)
		return
	}
	values["archived"] = 2 * 3 * values["delivered_per_s"] // about, for both sides
	b.keep(storm, t.name, values)
	b.Logf("table: %s: %.0f MiB at most, some %.0f archived", storm, values["peak_mib"], values["archived"])
}

// rest is what need not be repeated, or repeats itself.
func (b *bench) rest() {
	for _, x := range []struct {
		name     string
		contacts int
		c2s      string
		args     []string
	}{
		{idleTLS, 0, "", []string{"-tls", "direct"}},
		{idlePlain, 0, "require_tls: false", nil},
		{idleFull, 50, "", []string{"-tls", "direct", "-sm"}},
	} {
		if !b.wanted(x.name) {
			continue
		}
		t := b.start(supply.Store{Accounts: b.idle, Contacts: x.contacts}, x.c2s, "")
		if mib, err := stage.RSS(t.pid); err == nil && x.contacts == 0 {
			b.keep(started, t.name, map[string]float64{"mib": mib})
		}
		n := strconv.Itoa(b.idle)
		b.measure(t, kase{x.name, "idle", append(x.args, "-c", "50", "-steps", n, "-users", n, "-hold", "20s")})
		t.stop()
	}
	if !b.wanted(firstLogin) {
		return
	}
	none := b.start(supply.Store{Accounts: 1}, "", "")
	large := b.start(supply.Store{Accounts: b.large[0], Archived: b.large[1]}, "", "")
	defer none.stop()
	defer large.stop()
	for range 3 * b.reps {
		b.keep(firstLogin, "none", map[string]float64{"ms": supply.FirstLogin(b.Stage, none.Server)})
		b.keep(firstLogin, "jackdaw", map[string]float64{"ms": supply.FirstLogin(b.Stage, large.Server)})
	}
}

// largeName says how large the store is.
func (b *bench) largeName() string {
	return strings.Join([]string{stage.Thousands(float64(b.large[0])), "accounts,", stage.Thousands(float64(b.large[1])), "archived"}, " ")
}
