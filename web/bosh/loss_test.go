package bosh

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var ids = regexp.MustCompile(`id='(\d+)'`)

// A lossy client is at the other end of a network that loses requests, breaks connections while they are held, and
// loses responses. It sends each request again until it has the response (§14.3).
type lossy struct {
	*client
	rand *rand.Rand

	mu     sync.Mutex // guards the rest
	cond   *sync.Cond
	flight int
	got    map[int]string // responses by rid
	next   int            // rid of the response that is read next
	seen   []string       // ids in responses
	bad    string
}

// chance is one of n.
func (l *lossy) chance(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rand.IntN(n)
}

// request sends one until it has its answer.
func (l *lossy) request(rid int, content string) {
	body := fmt.Sprintf("<body rid='%d' sid='%s' xmlns='http://jabber.org/protocol/httpbind'>%s</body>", rid, l.sid, content)
	for {
		if l.chance(5) == 0 { // it does not arrive
			later(time.Second)
			continue
		}
		ctx, cancel := context.WithCancel(l.t.Context())
		if l.chance(4) == 0 {
			d := time.Duration(l.chance(3000)) * time.Millisecond
			time.AfterFunc(d, cancel)
		}
		w := httptest.NewRecorder()
		l.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader(body)))
		cancel()
		got := w.Body.String()
		if got == "" || strings.Contains(got, "type='error'") || l.chance(5) == 0 { // broken, or lost
			continue
		}
		l.mu.Lock()
		l.flight--
		l.got[rid] = got
		for got, ok := l.got[l.next]; ok; got, ok = l.got[l.next] {
			delete(l.got, l.next)
			l.next++
			if strings.Contains(got, "terminate") {
				l.bad = got
			}
			for _, m := range ids.FindAllStringSubmatch(got, -1) {
				l.seen = append(l.seen, m[1])
			}
		}
		l.cond.Broadcast()
		l.mu.Unlock()
		return
	}
}

func later(d time.Duration) { <-time.After(d) }

func TestNothingIsLostOrDoubledOnABadNetwork(t *testing.T) {
	const n = 40
	var want []string
	for i := range n {
		want = append(want, fmt.Sprint(i))
	}
	for seed := range uint64(30) {
		play(t, func(t *testing.T, x *house) {
			l := &lossy{client: x.begin(open), rand: rand.New(rand.NewPCG(seed, 1)), got: map[int]string{}, next: 101}
			l.cond = sync.NewCond(&l.mu)
			var read []string
			var server sync.WaitGroup
			server.Go(func() { // reads
				var all strings.Builder
				_, _ = io.Copy(&all, l.Conn) // until the session is closed below
				for _, m := range ids.FindAllStringSubmatch(all.String(), -1) {
					read = append(read, m[1])
				}
			})
			server.Go(func() { // writes
				for i := range n {
					if _, err := fmt.Fprintf(l.Conn, "<message id='%d'><body>x</body></message>", i); err != nil {
						t.Error(err)
						return
					}
					if i%7 == 0 {
						later(500 * time.Millisecond)
					}
				}
			})
			var requests sync.WaitGroup
			l.mu.Lock()
			for sent, rid := 0, 100; (sent < n || len(l.seen) < n) && l.bad == ""; {
				if rid > l.next || l.flight == 1 && sent == n {
					l.cond.Wait()
					continue
				}
				content := ""
				for range l.rand.IntN(3) + 1 {
					if sent < n {
						content += fmt.Sprintf("<message xmlns='jabber:client' id='%d'/>", sent)
						sent++
					}
				}
				rid++
				l.flight++
				requests.Go(func() { l.request(rid, content) })
			}
			l.mu.Unlock()
			synctest.Wait()
			if l.bad != "" {
				t.Fatalf("seed %d: %s", seed, l.bad)
			}
			later(2 * longestWait) // what is still held is answered
			requests.Wait()
			l.Close()
			server.Wait()
			if !slices.Equal(l.seen, want) || !slices.Equal(read, want) {
				t.Errorf("seed %d\nthe client got %v\nthe server got %v", seed, l.seen, read)
			}
		})
	}
}
