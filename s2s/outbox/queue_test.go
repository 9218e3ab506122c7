package outbox

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// A reader uses bytes outside of the lock.
type reader struct{ at, was []byte }

func (r *reader) check(t *rapid.T, what string) {
	if !bytes.Equal(r.at, r.was) {
		t.Fatalf("%s changed while they were read: %.40q, were %.40q", what, r.at, r.was)
	}
}

func TestNoBytesAreUsedAgainWhileSomebodyReadsThem(t *testing.T) {
	reused := 0
	rapid.Check(t, func(t *rapid.T) {
		l := Limits{}.orDefault()
		p := &pair{domain: newDomain(&Outbox{}, there)}
		var written *reader
		var bounced []reader
		var want [][]byte // what is in the queue
		next := 0
		withdraw := func(out []item) {
			for i := range out {
				bounced = append(bounced, reader{out[i].xml(), bytes.Clone(out[i].xml())})
			}
		}
		acknowledge := func(n int) {
			for range n {
				p.queue.pop()
			}
			p.written -= n
			want = want[n:]
		}
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				size := rapid.SampledFrom([]int{1, 200, 3000, 30_000, 100_000}).Draw(t, "size")
				for range rapid.SampledFrom([]int{1, 3, 30}).Draw(t, "times") {
					xml := bytes.Repeat([]byte(fmt.Sprintf("%09d ", next)), size/10+1)
					next++
					before, spares := p.queue.tail, len(p.queue.spare)
					p.queue.push(item{}, xml)
					if p.queue.tail == before && len(p.queue.tail.b) == len(xml) || len(p.queue.spare) < spares {
						reused++
					}
					want = append(want, xml)
				}
			},
			"take": func(t *rapid.T) {
				if written == nil {
					if xml, n := p.take(&l); n > 0 {
						written = &reader{xml, bytes.Join(want[p.written-n:p.written], nil)}
						written.check(t, "stanzas taken")
					}
				}
			},
			"wrote": func(t *rapid.T) {
				if written != nil {
					p.wrote()
					written = nil
				}
			},
			"acknowledge":     func(t *rapid.T) { acknowledge(rapid.IntRange(0, p.written).Draw(t, "n")) },
			"acknowledge all": func(t *rapid.T) { acknowledge(p.written) },
			"withdraw": func(t *rapid.T) {
				i, k := p.written, 0
				out := p.queue.filter(i, func(*item) bool { k++; return k%3 == 0 })
				withdraw(out)
				var left [][]byte
				for j, xml := range want[i:] {
					if (j+1)%3 != 0 {
						left = append(left, xml)
					}
				}
				want = append(want[:i:i], left...)
			},
			"drop all written": func(t *rapid.T) {
				withdraw(p.expire(0, func(it *item) bool { return it.at != nil }))
				want = nil
			},
			"told": func(*rapid.T) { // giveBack is done, and the goroutine, which writes too, goes on
				bounced = nil
				if written == nil {
					p.queue.reuse()
				}
			},
			"": func(t *rapid.T) {
				if written != nil {
					written.check(t, "stanzas being written")
				}
				for i := range bounced {
					bounced[i].check(t, "stanzas being bounced")
				}
				for i := range p.queue.len() {
					if got := p.queue.get(i).xml(); !bytes.Equal(got, want[i]) {
						t.Fatalf("stanza %d is %.40q, was %.40q", i, got, want[i])
					}
				}
				if len(p.queue.spare) > maxSpare {
					t.Fatalf("%d chunks are kept", len(p.queue.spare))
				}
			},
		})
	})
	if reused == 0 {
		t.Error("nothing was ever used again")
	}
}
