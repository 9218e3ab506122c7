// Alertsender reads the configuration of an Alertmanager and sends what it is told on standard input by the receivers in
// it, as Alertmanager does: with its notifiers, its templates and its retries. What a program cannot do here is wait: to
// group alerts is the business of another part.
//
// Each line in is a notification, each line out what became of it.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/config/receiver"
	"github.com/prometheus/alertmanager/eventrecorder"
	"github.com/prometheus/alertmanager/featurecontrol"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
)

// A notification is what Alertmanager decides to tell a receiver of a group.
type notification struct {
	Receiver string         `json:"receiver"`
	Group    model.LabelSet `json:"group"`
	Key      string         `json:"key"`
	Reason   string         `json:"reason"`
	Alerts   []model.Alert  `json:"alerts"`
	Seconds  int            `json:"seconds"` // until it gives up
}

// A result is what its receivers said. Warnings are attempts that are to be made again.
type result struct {
	Error    string   `json:"error"`
	Warnings []string `json:"warnings"`
}

var reasons = map[string]notify.NotifyReason{"first": notify.ReasonFirstNotification,
	"repeat": notify.ReasonRepeatIntervalElapsed, "resolved": notify.ReasonAllAlertsResolved}

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "alertsender:", err)
		os.Exit(1)
	}
}

func run(file string) error {
	conf, err := config.LoadFile(file)
	if err != nil {
		return err
	}
	tmpl, err := template.FromGlobs(conf.Templates)
	if err != nil {
		return err
	}
	if tmpl.ExternalURL, err = url.Parse("http://am.example:9093"); err != nil {
		return err
	}
	var warned collector
	log := slog.New(&warned)
	metrics := notify.NewMetrics(prometheus.NewRegistry(), featurecontrol.NoopFlags{})
	stages := map[string]notify.FanoutStage{}
	for _, r := range conf.Receivers {
		list, err := receiver.BuildReceiverIntegrations(r, tmpl, log)
		if err != nil {
			return err
		}
		for _, i := range list {
			stages[r.Name] = append(stages[r.Name],
				notify.NewRetryStage(i, r.Name, metrics, eventrecorder.NopRecorder()))
		}
	}
	in, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	in.Buffer(nil, 1<<24)
	for in.Scan() {
		var n notification
		if err := json.Unmarshal(in.Bytes(), &n); err != nil {
			return err
		}
		warned.lines = []string{}
		var r result
		if err := send(stages, log, &n); err != nil {
			r.Error = err.Error()
		}
		r.Warnings = warned.lines
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	return in.Err()
}

func send(stages map[string]notify.FanoutStage, log *slog.Logger, n *notification) error {
	stage, ok := stages[n.Receiver]
	if !ok {
		return fmt.Errorf("no receiver %s", n.Receiver)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(n.Seconds)*time.Second)
	defer cancel()
	var firing []uint64
	list := make([]*alert.Alert, len(n.Alerts))
	for i, a := range n.Alerts {
		list[i] = alert.New(a, time.Now(), false)
		if !a.Resolved() {
			firing = append(firing, uint64(a.Fingerprint()))
		}
	}
	ctx = notify.WithReceiverName(ctx, n.Receiver)
	ctx = notify.WithGroupKey(ctx, n.Key)
	ctx = notify.WithGroupLabels(ctx, n.Group)
	ctx = notify.WithNotificationReason(ctx, reasons[n.Reason])
	ctx = notify.WithFiringAlerts(ctx, firing)
	_, _, err := stage.Exec(ctx, log, list...)
	return err
}

// A collector keeps what is logged as a warning.
type collector struct{ lines []string }

func (c *collector) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (c *collector) WithAttrs([]slog.Attr) slog.Handler           { return c }
func (c *collector) WithGroup(string) slog.Handler                { return c }

func (c *collector) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	c.lines = append(c.lines, line)
	return nil
}
