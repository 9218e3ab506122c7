package posts

import (
	"bytes"
	"fmt"
	"testing"

	"jackdaw/router"
	"jackdaw/xmpp/jid"
)

func samplePost(n int) *post {
	p := &post{id: 1_795_000_000_000_000, sender: jid.MustParse("andy@example.org"), messageID: "said", settled: true}
	for i := range n {
		r := recipient{to: jid.MustParse(fmt.Sprintf("user%d@example.org", i)), outcome: router.Stored, at: p.id + uint64(i)*1000}
		switch i % 5 {
		case 1:
			r.to, r.outcome, r.reason = jid.MustParse("x@example.net/home"), router.Bounced, "gone"
		case 2:
			r.to, r.outcome = jid.MustParse("example.net"), router.Queued
		}
		p.to = append(p.to, r)
	}
	return p
}

func recordOf(posts ...*post) []byte {
	g := &page{posts: posts, chunks: []chunk{{dirty: true}}}
	return g.encode()[0]
}

func TestRecordKeepsPostsAndRecipients(t *testing.T) {
	a, b := samplePost(7), samplePost(1)
	b.messageID = ""
	rows, err := readRows(recordOf(a, b))
	if err != nil || len(rows) != 2 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, want := range []*post{a, b} {
		got := rows[i]
		if got.total != len(want.to) || got.n != len(want.to) || got.first != 0 || got.post.id != want.id ||
			got.post.sender != want.sender || got.post.messageID != want.messageID {
			t.Errorf("got %+v of %+v", got, got.post)
		}
		for j := range want.to {
			if got.post.to[j] != want.to[j] {
				t.Errorf("recipient %d is %+v, not %+v", j, got.post.to[j], want.to[j])
			}
		}
	}
	if got := newestIn(recordOf(a, b)); got != a.to[6].at {
		t.Errorf("the newest is %d", got)
	}
}

func TestRecordThatIsCutIsAnError(t *testing.T) {
	b := recordOf(samplePost(3))
	for i := range b {
		if rows, err := readRows(b[:i]); err == nil && i != 9 {
			t.Errorf("the first %d of %d bytes passed for %d rows", i, len(b), len(rows))
		}
	}
	b[0] = 99
	if _, err := readRows(b); err == nil {
		t.Error("a record of an unknown format was read")
	}
}

func TestRecipientsOfOneDomainTakeLittleRoom(t *testing.T) {
	p := &post{id: 1_795_000_000_000_000, sender: jid.MustParse("andy@example.org")}
	for i := range 10000 {
		p.to = append(p.to, recipient{to: jid.MustParse(fmt.Sprintf("user%d@im.example.org", i)), outcome: router.Taken,
			at: p.id + 3_600_000_000})
	}
	total := 0
	for _, b := range newPage(p).encode() {
		total += len(b)
	}
	if total > 160_000 {
		t.Errorf("%d bytes for 10,000", total)
	}
}

func FuzzReadRows(f *testing.F) {
	f.Add(recordOf(samplePost(7), samplePost(1)))
	f.Add([]byte{rowFormat, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 'a', 0, 1, 0, 1, 1, 0, 1, 'b'})
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, err := readRows(b)
		if err != nil {
			return
		}
		for _, w := range rows {
			again := appendRow(make([]byte, 9), &post{id: w.post.id, sender: w.post.sender, messageID: w.post.messageID,
				to: w.post.to}, 0, w.n)
			again[0] = rowFormat
			back, err := readRows(again)
			if err != nil || len(back) != 1 || len(back[0].post.to) != w.n {
				t.Fatalf("%v: %d rows", err, len(back))
			}
			for i := range w.post.to {
				if back[0].post.to[i] != w.post.to[i] {
					t.Fatalf("%+v is read as %+v", w.post.to[i], back[0].post.to[i])
				}
			}
		}
	})
}

func TestIDsAreReadAsTheyAreWritten(t *testing.T) {
	for _, id := range []uint64{1, 1_795_000_000_000_000, ^uint64(0)} {
		if got := idOf(nameOf(id)); got != id {
			t.Errorf("%d is written as %s and read as %d", id, nameOf(id), got)
		}
	}
	for _, name := range []string{"", "m-", "m-123", "m-000000000000000g", "x-0000000000000001", "m-00000000000000001",
		"m-000000000000000A", "m-0000000000000000"} {
		if got := idOf(name); got != 0 {
			t.Errorf("%q passed for %d", name, got)
		}
	}
	if bytes.Equal([]byte(nameOf(1)), []byte(nameOf(16))) {
		t.Error("two ids are written alike")
	}
}
