package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"jackdaw/testsuite/harness"
)

// The names of the lines.
const (
	window10 = "window 10"
	window1  = "window 1"
	offered  = "offered"
)

// settling is how long the load generator waits between its last login and its first message.
const settling = 300 * time.Millisecond

// margin is what of the measured time is left out at both ends, as the generator does not say when it begins.
const margin = 100 * time.Millisecond

// lines measures all lines at one place; route says to which node a stream goes.
func (b *bench) lines(place string, s *servers, u *users, route func(stream int) int) {
	here := 0
	for stream, home := range u.homes {
		if route(stream) == home {
			here++
		}
	}
	for _, l := range []struct {
		name string
		args []string
	}{
		{window10, []string{"message", "-window", "10"}},
		{window1, []string{"message", "-window", "1"}},
		{offered, []string{"rate", "-rate", strconv.Itoa(b.rate)}},
	} {
		if !among(l.name, b.onlyLines) {
			continue
		}
		values, err := b.generate(s, u, route, l.args...)
		if errors.Is(err, errEarly) { // this tool had no CPU when it was to look
			b.Logf("nodes: %s, %s: once more, since %v", l.name, place, err)
			values, err = b.generate(s, u, route, l.args...)
		}
		if err != nil {
			b.fail("%s, %s: %v", l.name, place, err)
			continue
		}
		values["apart"], values["at_home"] = float64(u.apart), float64(here)
		b.keep(l.name, place, values)
		b.Logf("nodes: %s, %s: %.0f messages/s, servers %.1f µs, Redis %.1f µs, %.1f commands a message, acknowledged after "+
			"%.2f ms (p50), %.2f ms (p99)", l.name, place, values["delivered_per_s"], values["servers_us"], values["redis_us"],
			values["commands"], values["ack_p50_ms"], values["ack_p99_ms"])
	}
}

// generate runs the load generator, and takes meanwhile what the servers and Redis spend.
func (b *bench) generate(s *servers, u *users, route func(stream int) int, args ...string) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	streams := 2 * b.pairs
	all := b.names.begin(streams, func(stream int) net.IP { return ip(route(min(stream, streams-1))) })
	// One login after the other, so that the streams ask for their nodes in order.
	args = append(args, "-sm", "-tls", "direct", "-insecure", "-tls-addr", net.JoinHostPort(host, portC2S), "-c", "1",
		"-domain", harness.Domain, "-password", harness.Password, "-user", "u", "-first", strconv.Itoa(u.first),
		"-pairs", strconv.Itoa(b.pairs), "-warmup", b.warmup.String(), "-duration", b.seconds.String(), "-pid", s.pids())
	cmd := exec.CommandContext(ctx, "unshare", append([]string{"--mount", "--", "sh", "-c",
		`mount --bind "$0" /etc/resolv.conf && exec "$@"`, filepath.Join(b.home, "resolv.conf"), b.loadgen}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	ended := make(chan struct{})
	var watch sync.WaitGroup
	var spent map[string]float64
	var spentErr error
	watch.Go(func() { spent, spentErr = s.spent(all, ended, settling+b.warmup+margin, b.seconds-2*margin) })
	err := cmd.Run()
	close(ended)
	watch.Wait()
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
	if n := b.names.count(); n != streams {
		return nil, fmt.Errorf("%d streams asked for their node %d times, so that they are not where they should be", streams, n)
	}
	if spentErr != nil {
		return nil, spentErr
	}
	values := map[string]float64{}
	for k, v := range result.Values {
		if x, ok := v.(float64); ok {
			values[k] = x
		}
	}
	each := 1 / values["delivered_per_s"]
	values["servers_us"] = spent["servers"] * 1e6 * each
	values["redis_us"] = spent["redis"] * 1e6 * each
	values["commands"] = spent["commands"] * each
	values["total_us"] = values["servers_us"] + values["redis_us"]
	maps.DeleteFunc(values, func(k string, v float64) bool { return v != v })
	return values, nil
}

// spent takes what is spent a second for as long as said, some time after all have come.
func (s *servers) spent(all, ended <-chan struct{}, after, span time.Duration) (map[string]float64, error) {
	select {
	case <-all:
	case <-ended:
		return nil, errEarly
	}
	began := time.Now()
	var taken [2]usage
	for i, at := range []time.Duration{after, after + span} {
		select {
		case <-time.After(time.Until(began.Add(at))):
		case <-ended:
			return nil, errEarly
		}
		var err error
		if taken[i], err = s.usage(); err != nil {
			return nil, err
		}
	}
	a, z := taken[0], taken[1]
	seconds := z.at.Sub(a.at).Seconds()
	return map[string]float64{
		"servers":  (z.servers - a.servers).Seconds() / seconds,
		"redis":    (z.redis - a.redis).Seconds() / seconds,
		"commands": (z.commands - a.commands) / seconds,
	}, nil
}

var errEarly = errors.New("the load generator ended before it was measured")

// pids are the processes whose CPU counts.
func (s *servers) pids() string {
	var all []string
	for _, p := range s.nodes {
		all = append(all, strconv.Itoa(p.cmd.Process.Pid))
	}
	if s.redis != nil {
		all = append(all, strconv.Itoa(s.redis.cmd.Process.Pid))
	}
	return strings.Join(all, ",")
}

// takeOver kills a node, and takes how long it is from there until a message of accounts that were at home there is
// acknowledged again: the first of some, and the last.
func (b *bench) takeOver(s *servers, u *users) {
	const dead, accounts = 1, 6
	var senders []string
	to := ""
	for i, home := range u.homes {
		switch n := name(u.first + i); {
		case home != dead:
			to = n
		case len(senders) < accounts:
			senders = append(senders, n)
		}
	}
	if len(senders) == 0 || to == "" {
		b.fail("take-over: no account is at home on the node that dies")
		return
	}
	began := time.Now()
	s.nodes[dead].end(syscall.SIGKILL)
	var mu sync.Mutex
	var wg sync.WaitGroup
	values, errs := map[string]float64{}, []error{}
	for i, sender := range senders {
		wg.Go(func() {
			var err error
			for try := 0; time.Since(began) < b.lease+patience; try++ {
				node := (i + try) % 2 * 2 // the other two in turns
				if err = acknowledged(net.JoinHostPort(address(node), portC2S), sender, to); err == nil {
					break
				}
				<-time.After(50 * time.Millisecond)
			}
			took := time.Since(began).Seconds()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return
			}
			if first, ok := values["first_s"]; !ok || took < first {
				values["first_s"] = took
			}
			values["last_s"] = max(values["last_s"], took)
		})
	}
	wg.Wait()
	if len(errs) > 0 {
		b.fail("take-over: %v", errs[0])
		return
	}
	b.keep(takeOver, atHome, values)
	b.Logf("nodes: take-over: acknowledged after %.1f to %.1f s", values["first_s"], values["last_s"])
}

// acknowledged logs in, sends one message and waits for its acknowledgement (XEP-0198 §4).
func acknowledged(addr, from, to string) error {
	c, err := harness.Connect(addr, from, "after")
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Enable(); err != nil {
		return err
	}
	err = c.Send("<message type='chat' to='" + to + "@" + harness.Domain + "'><body>again</body></message><r xmlns='urn:xmpp:sm:3'/>")
	if err != nil {
		return err
	}
	_, err = c.Until(func(el string) bool { return strings.HasPrefix(el, "<a ") && harness.Attr(el, "h") == "1" })
	return err
}
