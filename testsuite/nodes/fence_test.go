//go:build soak

package nodes

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The negative control, of the long form alone, since one round does not always show it; the simulation of package
// cluster has it in short: nodes whose writes Redis takes though others have followed them are caught.
func TestNodesWithoutAFenceAreCaught(t *testing.T) {
	t.Parallel()
	w := &witness{TB: t}
	var problems []string
	over := make(chan struct{})
	go func() {
		defer close(over)
		problems, _ = play(w, plan{tags: "nofence", away: 6,
			troubles: []trouble{{"what a node writes comes to Redis late", late}}}, 1, 5)
	}()
	<-over
	harm := slices.DeleteFunc(problems, func(p string) bool {
		return !strings.HasPrefix(p, "lost") && !strings.HasPrefix(p, "doubled") && !strings.HasPrefix(p, "reordered")
	})
	if len(harm) == 0 {
		t.Fatalf("nodes without a fence have done no harm; other problems: %q", w.errors)
	}
	t.Logf("%d problems, the first: %s", len(harm), harm[0])
}

// A witness takes note of errors, and fails no test.
type witness struct {
	testing.TB
	mu     sync.Mutex // guards errors
	errors []string
}

func (w *witness) Errorf(format string, args ...any) { w.Error(fmt.Sprintf(format, args...)) }
func (w *witness) Error(args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errors = append(w.errors, fmt.Sprint(args...))
}
func (w *witness) FailNow()                          { runtime.Goexit() }
func (w *witness) Fatalf(format string, args ...any) { w.Errorf(format, args...); w.FailNow() }
func (w *witness) Fatal(args ...any)                 { w.Error(args...); w.FailNow() }
