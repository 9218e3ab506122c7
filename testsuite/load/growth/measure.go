package main

import (
	"fmt"
	"slices"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/load/stage"
	"jackdaw/testsuite/load/supply"
)

// server is how each is set up: everybody writes to everybody.
func (p plan) server() harness.Options {
	return harness.Options{Program: p.program, Config: "log: {level: warn}\nmodules: {strangers: {recipients: 0}}\n"}
}

// A turn is one server's, whose values have this prefix.
type turn struct {
	prefix string
	*crowd
}

// measure takes everything at one point of an axis.
func measure(s *stage.Stage, p plan, axis string, at int, w supply.Store, there int) {
	keep := func(values map[string]float64) {
		l := line{What: "growth", Axis: axis, At: at, Time: time.Now().UTC().Truncate(time.Second), Values: values}
		s.Keep(p.out, l)
		s.Logf("growth: %s %d: %v", axis, at, values)
	}
	small, large := supply.Serve(s, supply.Store{Accounts: p.present}, p.server()), supply.Serve(s, w, p.server())
	defer small.Stop()
	defer large.Stop()
	for range p.reps {
		keep(map[string]float64{"base_first_login_ms": supply.FirstLogin(s, small), "first_login_ms": supply.FirstLogin(s, large)})
	}
	rss := func() float64 {
		<-time.After(p.settle)
		mib, err := stage.RSS(large.PID())
		if err != nil {
			s.Fatal(err)
		}
		return mib
	}
	base, full := newCrowd(s, small), newCrowd(s, large)
	defer base.close()
	defer full.close()
	started := rss()
	keep(map[string]float64{"started_mib": started})
	must(s, full.grow(there, w.Accounts))
	keep(map[string]float64{"session_kib": (rss() - started) * 1024 / float64(there)})
	must(s, base.grow(p.present, p.present))
	full.employ(50)
	base.employ(50)

	must(s, base.warm())
	must(s, full.warm())
	turns := []turn{{"base_", base}, {"", full}}
	for range p.reps {
		values := map[string]float64{}
		for _, c := range turns {
			burst, err := c.talk(p.burst, 0, len(c.sessions))
			must(s, err)
			values[c.prefix+"message_us"] = burst.cpu.Seconds() * 1e6 / float64(burst.messages)
			few, err := c.talk(p.burst, 0, p.present)
			must(s, err)
			values[c.prefix+"few_us"] = few.cpu.Seconds() * 1e6 / float64(few.messages)
			values[c.prefix+"messages_per_s"] = float64(burst.messages) / p.burst.Seconds()
			calm, err := c.talk(p.calm, p.rate, len(c.sessions))
			must(s, err)
			values[c.prefix+"calm_message_us"] = calm.cpu.Seconds() * 1e6 / float64(calm.messages)
			for name, times := range map[string][]time.Duration{"delivered": calm.arrived, "acknowledged": calm.acknowledged} {
				values[c.prefix+name+"_p50_ms"] = quantile(times, 0.5)
				values[c.prefix+name+"_p99_ms"] = quantile(times, 0.99)
			}
			values[c.prefix+"login_us"] = logins(s, c.server, p.logins, min(p.present, w.Accounts))
		}
		slices.Reverse(turns)
		for _, of := range []string{"message", "few", "login"} {
			if base := values["base_"+of+"_us"]; base > 0 { // a tick at least
				values[of+"_ratio"] = values[of+"_us"] / base
			}
		}
		keep(values)
	}
}

// logins is the CPU time of a login and logout, in microseconds.
func logins(s *stage.Stage, server *harness.Server, n, accounts int) float64 {
	before, err := stage.TreeCPU(server.PID())
	must(s, err)
	must(s, parallel(n, func(i int) error {
		c, err := harness.Connect(server.C2STLS, supply.User(i%accounts), fmt.Sprintf("login%d", i))
		if err == nil {
			c.Close()
		}
		return err
	}))
	after, err := stage.TreeCPU(server.PID())
	must(s, err)
	return (after - before).Seconds() * 1e6 / float64(n)
}

// starts compares the first login after exec with a large store to that with none.
func starts(s *stage.Stage, p plan, w supply.Store) {
	none, large := supply.Serve(s, supply.Store{Accounts: 1}, p.server()), supply.Serve(s, w, p.server())
	var without, with []float64
	for range 3 * p.reps {
		without, with = append(without, supply.FirstLogin(s, none)), append(with, supply.FirstLogin(s, large))
		s.Keep(p.out, line{What: "first-login", Axis: fmt.Sprintf("%d accounts", w.Accounts), At: w.Archived,
			Time: time.Now().UTC().Truncate(time.Second), Values: map[string]float64{
				"none_ms": without[len(without)-1], "first_login_ms": with[len(with)-1]}})
	}
	fmt.Printf("first login after exec, medians of %d, in turns: "+
		"%.1f ms with one account, %.1f ms with %s accounts and %s archived messages\n", 3*p.reps,
		stage.Median(without), stage.Median(with), stage.Thousands(float64(w.Accounts)), stage.Thousands(float64(w.Archived)))
}

func must(s *stage.Stage, err error) {
	if err != nil {
		s.Fatal(err)
	}
}
