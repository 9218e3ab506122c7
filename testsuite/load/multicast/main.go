// Command multicast measures one HTTP post to many users of a jackdaw, some of them online over TLS and the others
// away: the CPU time of the server from the request until the last who is online has the message, and the time until
// the answer, which is after all copies are durable. The archive is on, as by default, unless -archive=false.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/load/stage"
)

func main() { os.Exit(stage.Run("multicast", run)) }

// A plan is what is measured.
type plan struct {
	recipients, online, reps int
	archive                  bool
	engine                   harness.Engine
	program                  string
}

// An outcome is that of one post.
type outcome struct {
	CPU, Answer time.Duration
	Commits     float64 // until the answer
}

func run(s *stage.Stage) int {
	var p plan
	flag.IntVar(&p.recipients, "recipients", 10000, "of the post")
	flag.IntVar(&p.online, "online", 1000, "of them with a session")
	flag.IntVar(&p.reps, "reps", 5, "posts, one after the other")
	flag.BoolVar(&p.archive, "archive", true, "with the archive")
	flag.StringVar(&p.program, "jackdaw", "", "the program (default: built now)")
	engines := flag.String("engines", "embedded,redis", "of storage")
	flag.Parse()
	if p.recipients < 1 || p.online < 0 || p.online > p.recipients || p.reps < 1 {
		fmt.Fprintln(os.Stderr, "multicast: -recipients and -reps are above 0, -online is not above -recipients")
		return 2
	}
	defer harness.Cleanup()
	fmt.Println("| one post to many | CPU s | answer s | commits |\n| --- | --- | --- | --- |")
	for _, engine := range strings.Split(*engines, ",") {
		p.engine = harness.Engine(engine)
		var cpu, answer, commits []float64
		for _, o := range measure(s, p) {
			cpu, answer = append(cpu, o.CPU.Seconds()), append(answer, o.Answer.Seconds())
			commits = append(commits, o.Commits)
		}
		fmt.Printf("| %s recipients, %s online, %s, archive %v: median of %d | %.2f | %.2f | %.0f |\n| the single posts | %.2f | %.2f | %.0f |\n",
			stage.Thousands(float64(p.recipients)), stage.Thousands(float64(p.online)), engine,
			p.archive, p.reps, stage.Median(cpu), stage.Median(answer), stage.Median(commits), cpu, answer, commits)
	}
	return 0
}

// measure starts a server and posts.
func measure(s *stage.Stage, p plan) (outcomes []outcome) {
	var users []string
	for i := range p.recipients {
		users = append(users, fmt.Sprintf("user%d", i))
	}
	server := harness.Start(s, harness.Options{Program: p.program, Fast: true, Place: harness.Place{Engine: p.engine},
		Users: append(users, "poster"), HTTP: fmt.Sprintf("max_recipients: %d\npermissions: {multicast: [poster@%s]}", p.recipients, harness.Domain),
		Config: fmt.Sprintf("log: {level: warn}\nmodules: {archive: %v}\n", p.archive)})
	defer server.Stop()
	here := make([]*harness.Client, p.online)
	for i := range here {
		c, err := harness.Connect(server.C2STLS, users[i], "desk")
		if err == nil {
			_, err = c.Ask("up", "<presence/><iq type='get' id='up' to='"+server.Domain+"'><ping xmlns='urn:xmpp:ping'/></iq>")
		}
		if err != nil {
			s.Fatalf("log in %s: %v", users[i], err)
		}
		defer c.Conn.Close()
		here[i] = c
	}
	for i := range users {
		users[i] += "@" + server.Domain
	}
	for n := range p.reps {
		outcomes = append(outcomes, post(s, server, users, here, fmt.Sprintf("post-%d", n)))
	}
	return outcomes
}

func post(s *stage.Stage, server *harness.Server, users []string, here []*harness.Client, id string) (o outcome) {
	body, err := json.Marshal(map[string]any{"to": users, "body": id})
	if err != nil {
		s.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+server.HTTP+"/message", strings.NewReader(string(body)))
	if err != nil {
		s.Fatal(err)
	}
	req.SetBasicAuth("poster@"+server.Domain, harness.Password)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	had := commits(s, server)
	before, err := stage.TreeCPU(server.PID())
	if err != nil {
		s.Fatal(err)
	}
	began := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	o.Answer = time.Since(began)
	resp.Body.Close()
	o.Commits = commits(s, server) - had
	var report struct{ Accepted int }
	if err == nil {
		err = json.Unmarshal(text, &report)
	}
	if err != nil || report.Accepted != len(users) {
		s.Fatalf("the answer is %d, %v: %.300s", resp.StatusCode, err, text)
	}
	for _, c := range here {
		if _, err := c.Until(func(el string) bool {
			return strings.HasPrefix(el, "<message") && strings.Contains(el, "<body>"+id+"</body>")
		}); err != nil {
			s.Fatalf("%s does not get the message: %v", c.JID, err)
		}
	}
	after, err := stage.TreeCPU(server.PID())
	if err != nil {
		s.Fatal(err)
	}
	o.CPU = after - before
	return o
}

// commits is how many a server has made.
func commits(s *stage.Stage, server *harness.Server) float64 {
	all, err := stage.Scrape(server.Metrics)
	if err != nil {
		s.Fatal(err)
	}
	return all["jackdaw_storage_commit_seconds_count"]
}
