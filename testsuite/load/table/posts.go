package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/load/stage"
	"jackdaw/testsuite/load/supply"
)

var done = regexp.MustCompile(`requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed`)

// posts has h2load post to recipients with stream management: sixteen connections with ten requests on their way each.
func (b *bench) posts(t *target, name, flag, url string) {
	if !b.wanted(name) {
		return
	}
	if err := b.post(t, name, flag, url); err != nil {
		b.fail("%s: %v", name, err)
	}
}

func (b *bench) post(t *target, name, flag, url string) error {
	recipient := supply.User(10 + len(name)) // one of its own, for whom nothing waits
	c, err := harness.Connect(t.C2STLS, recipient, "desk")
	if err == nil {
		_, err = c.Ask("up", "<presence/><iq type='get' id='up'><query xmlns='jabber:iq:roster'/></iq>")
	}
	if err == nil {
		_, err = c.Enable()
	}
	if err != nil {
		return err
	}
	defer c.Close()
	heard := make(chan int, 1<<20)
	go func() {
		defer close(heard)
		n := 0
		for {
			el, err := c.Next()
			switch {
			case err != nil:
				return
			case strings.HasPrefix(el, "<r "):
				if c.Send("<a xmlns='urn:xmpp:sm:3' h='"+strconv.Itoa(n)+"'/>") != nil {
					return
				}
				continue
			}
			n++
			heard <- n
		}
	}()
	file := filepath.Join(b.home, "post.xml")
	text := "<message to='" + recipient + "@" + harness.Domain + "' type='chat'><body>" + strings.Repeat("x", 100) +
		"</body></message>"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	basic := base64.StdEncoding.EncodeToString([]byte(supply.User(0) + "@" + harness.Domain + ":" + harness.Password))
	args := []string{"-c", "16", "-m", "10", "-D", strconv.Itoa(int(b.seconds.Seconds())), "-d", file,
		"-H", "authorization: Basic " + basic, "-H", "content-type: application/xml", url + "/message"}
	if flag != "" {
		args = append([]string{flag}, args...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	// The first post of an account has its password derived, which the others wait for.
	if out, err := exec.CommandContext(ctx, "h2load", append(args, "-n", "1", "-c", "1", "-m", "1", "-D", "0")...).CombinedOutput(); err != nil {
		return fmt.Errorf("h2load: %w: %.500s", err, out)
	}
	before, err := stage.TreeCPU(t.pid)
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "h2load", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("h2load: %w: %.500s", err, out)
	}
	found := done.FindSubmatch(out)
	if found == nil {
		return fmt.Errorf("h2load says %.800s", out)
	}
	succeeded, err := strconv.Atoi(string(found[2]))
	if err != nil || succeeded == 0 || string(found[3]) != "0" {
		return fmt.Errorf("h2load: %s", found[0])
	}
	for n := range heard { // with the first; h2load does not count what was on its way at the end
		if n > succeeded {
			break
		}
	}
	after, err := stage.TreeCPU(t.pid)
	if err != nil {
		return err
	}
	values := map[string]float64{"posts_per_server_cpu_s": float64(succeeded) / (after - before).Seconds(),
		"posts_per_s": float64(succeeded) / b.seconds.Seconds()}
	b.keep(name, t.name, values)
	b.Logf("table: %s: %s", name, brief(values))
	return nil
}
