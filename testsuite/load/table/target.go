package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/load/supply"
)

// A target is a server that runs.
type target struct {
	name string
	pid  int
	args []string   // by which the load generator finds it and its accounts
	http [][]string // further ones of each way to post to it
	stop func()

	*harness.Server // of jackdaw
}

// limit bounds one run of the load generator and each step of a script.
const limit = 5 * time.Minute

// portC2S and the others are those of servers that scripts start.
const portC2S, portTLS, portHTTP = "15222", "15223", "15280"

// script starts the relay or a peer, with the archive on where it has one.
func (b *bench) script(name string) (*target, error) {
	path := filepath.Join(b.dir, "peers", name+".sh")
	call := func(verb string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		cmd := exec.CommandContext(ctx, path, verb)
		cmd.Env = append(os.Environ(), "BENCH="+b.dir, "BENCH_HOME="+b.home, "LOADGEN="+b.loadgen, "DOMAIN="+harness.Domain,
			"PASSWORD="+harness.Password, "USERS=300", "ARCHIVE=true", "PORT_C2S="+portC2S, "PORT_TLS="+portTLS, "PORT_HTTP="+portHTTP)
		cmd.WaitDelay = time.Second // the server keeps what it inherited
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		if errors.Is(err, exec.ErrWaitDelay) {
			err = nil
		}
		if err != nil {
			err = fmt.Errorf("%s %s: %w: %.500s", name, verb, err, errs.String())
		}
		return out.Bytes(), err
	}
	stop := func() { // by the script, as some need more than a signal
		if _, err := call("stop"); err != nil {
			b.fail("%v", err)
		}
	}
	if _, err := call("start"); err != nil {
		stop()
		return nil, err
	}
	ways, err := call("http")
	var pid int
	if err == nil {
		pid, err = b.pid(filepath.Join(b.home, "run", name, "pid"))
	}
	if err != nil {
		stop()
		return nil, err
	}
	t := &target{name: name, pid: pid, stop: stop, args: address("127.0.0.1:"+portC2S, "127.0.0.1:"+portTLS, "user", "1")}
	for line := range strings.Lines(string(ways)) {
		t.http = append(t.http, strings.Split(strings.TrimRight(line, "\n"), "\t")[1:])
	}
	return t, b.opens(t)
}

func address(c2s, tls, user, first string) []string {
	return []string{"-insecure", "-addr", c2s, "-tls-addr", tls, "-domain", harness.Domain, "-password", harness.Password,
		"-user", user, "-first", first}
}

// pid reads the file in which a server says who it is, which some write a while after they have begun to listen.
func (b *bench) pid(name string) (pid int, err error) {
	for range 100 {
		var text []byte
		if text, err = os.ReadFile(name); err == nil {
			if pid, err = strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
				return pid, nil
			}
		}
		<-time.After(100 * time.Millisecond)
	}
	return 0, err
}

// opens waits until a server takes logins, and a moment longer, as it may still be at its own affairs.
func (b *bench) opens(t *target) error {
	_, err := b.generate(t, "startup", "-tls", "direct")
	<-time.After(2 * time.Second)
	return err
}

// start runs a jackdaw with a store, with further YAML, and without what holds a generator up that everybody writes to.
func (b *bench) start(w supply.Store, c2s, modules string) *target {
	s := supply.Serve(b.Stage, w, harness.Options{Program: b.program, C2S: c2s, Config: "log: {level: warn}\n" +
		"limits: {resources_per_account: 1000}\nmodules: {strangers: {recipients: 0}, offline: {max_messages: 100000, max_bytes: 1073741824}" +
		modules + "}\n"})
	t := &target{name: "jackdaw", pid: s.PID(), Server: s, stop: func() { s.Stop() }, args: address(s.C2S, s.C2STLS, "u", "0")}
	t.http = [][]string{{"-url", "http://" + s.HTTP + "/message", "-auth", supply.User(0) + "@" + harness.Domain + ":" + harness.Password}}
	<-time.After(2 * time.Second)
	return t
}

// generate runs the load generator and returns its figures.
func (b *bench) generate(t *target, scenario string, args ...string) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	args = append(append([]string{scenario}, t.args...), args...)
	if scenario != "startup" {
		args = append(args, "-pid", strconv.Itoa(t.pid))
	}
	cmd := exec.CommandContext(ctx, b.loadgen, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var result struct {
		OK     bool
		Errors []string
		Values map[string]any
	}
	if e := json.Unmarshal(out.Bytes(), &result); e != nil {
		return nil, fmt.Errorf("the load generator: %v: %.500s", err, errs.String())
	}
	if !result.OK {
		return nil, fmt.Errorf("%.700s", strings.Join(result.Errors, "; "))
	}
	values := map[string]float64{}
	for k, v := range result.Values {
		if x, ok := v.(float64); ok {
			values[k] = x
		}
	}
	return values, nil
}

// A kase is one line of the load generator.
type kase struct {
	name, scenario string
	args           []string
}

// measure runs a case. Of several ways to post the one that brings most counts.
func (b *bench) measure(t *target, k kase) {
	if !b.wanted(k.name) {
		return
	}
	ways := [][]string{nil}
	if k.scenario == "http" {
		ways = t.http
	}
	var best map[string]float64
	for _, way := range ways {
		values, err := b.generate(t, k.scenario, append(append([]string{}, k.args...), way...)...)
		if err != nil {
			b.fail("%s, %s: %v", k.name, t.name, err)
			continue
		}
		if best == nil || values["posts_per_server_cpu_s"] > best["posts_per_server_cpu_s"] {
			best = values
		}
	}
	if best != nil {
		b.keep(k.name, t.name, best)
		b.Logf("table: %s, %s: %v", k.name, t.name, brief(best))
	}
}

// brief is the figure that a run is about.
func brief(values map[string]float64) string {
	var text []string
	for k, v := range values {
		if strings.HasSuffix(k, "_per_server_cpu_s") || strings.HasPrefix(k, "kib_per_conn") || strings.HasSuffix(k, "p99_ms") {
			text = append(text, fmt.Sprintf("%s %.4g", k, v))
		}
	}
	return strings.Join(text, ", ")
}
