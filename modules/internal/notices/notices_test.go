package notices

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/xmpp/jid"
)

// start has romeo, who hears of the topic "a". It belongs into a bubble of synctest.
func start(t *testing.T) (n *Notices, heard func() []string) {
	r := moduletest.New("romeo")
	romeo := moduletest.Login(t, r, "romeo/orchard")
	romeo.Available(0)
	n = New(Options{Router: r, Every: time.Minute, From: func(string) string { return moduletest.Host },
		To: func(topic string) []jid.JID {
			if topic == "a" {
				return []jid.JID{romeo.Bare()}
			}
			return nil
		}})
	t.Cleanup(n.Close)
	return n, func() []string {
		synctest.Wait()
		return romeo.Received()
	}
}

func said(text string) string {
	return "<message from='example.org' to='romeo@example.org'><body>" + text + "</body></message>"
}

func TestTheFirstIsWrittenAtOnceAndTheRestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, heard := start(t)
		want := func(want ...string) {
			t.Helper()
			got := heard()
			if len(got) != len(want) {
				t.Fatalf("%d messages, not %d: %s", len(got), len(want), got)
			}
			for i := range want {
				moduletest.Same(t, got[i], said(want[i]))
			}
		}
		n.Add("a", "who", "one <&>")
		n.Add("b", "who", "nobody hears this")
		want("one &lt;&amp;&gt;")
		n.Add("a", "who", "two")
		n.Add("a", "who", "three")
		want()
		time.Sleep(time.Minute)
		want("two\nthree")
		time.Sleep(time.Hour)
		want()
		n.Add("a", "who", "four")
		want("four")
		n.mu.Lock()
		defer n.mu.Unlock()
		if len(n.topics) != 1 {
			t.Errorf("%d topics are remembered", len(n.topics))
		}
	})
}

func TestAFloodIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, heard := start(t)
		n.Add("a", "who", "first")
		heard()
		for i := range 1000 {
			n.Add("a", "who", fmt.Sprint(strings.Repeat("ä", maxLine), i))
		}
		time.Sleep(2 * time.Minute)
		got := heard()
		if len(got) != 1 || strings.Count(got[0], "…") != maxLines || !strings.Contains(got[0], fmt.Sprintf("\nand %d more</body>", 1000-maxLines)) {
			t.Errorf("got %.300q", got)
		}
	})
}

func TestOneHidesNothingAboutOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, heard := start(t)
		n.Add("a", "who", "first")
		heard()
		for i := range 100 {
			n.Add("a", "evil", fmt.Sprint("evil ", i, "."))
		}
		n.Add("a", "friend", "friend 1.")
		n.Add("a", "friend", "friend 2.")
		n.Add("a", "evil", "evil again.")
		time.Sleep(2 * time.Minute)
		got := heard()
		if len(got) != 1 || strings.Count(got[0], "evil") != maxLines-2 || strings.Count(got[0], "friend") != 2 ||
			!strings.Contains(got[0], "\nand 83 more</body>") {
			t.Errorf("got %.900q", got)
		}
	})
}

func TestNothingIsWrittenAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, heard := start(t)
		n.Add("a", "who", "one")
		heard()
		n.Add("a", "who", "two")
		n.Close()
		n.Add("a", "who", "three")
		time.Sleep(time.Hour)
		if got := heard(); len(got) > 0 {
			t.Errorf("got %q", got)
		}
	})
}
