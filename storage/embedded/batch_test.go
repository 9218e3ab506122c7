package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"jackdaw/storage"
)

func TestOperationsAreReadAsTheyWereWritten(t *testing.T) {
	value := bytes.Repeat([]byte("v"), 100)
	ops := []byte("before")
	start := len(ops)
	ops = appendSet(ops, []byte("one"), value)
	at := len(ops) - len(value)
	ops = appendSame(ops, []byte("two"), at, len(value))
	b := batch{ops: ops}
	b.delete([]byte("three"))
	b.ops = appendSame(b.ops, []byte("four"), at+90, 10)
	var got []string
	err := eachOp(b.ops[start:], func(o op) { got = append(got, fmt.Sprintf("%s %d %v", o.key, len(o.value), o.deleted)) })
	if want := "[one 100 false two 100 false three 0 true four 10 false]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("%v, %v", got, err)
	}
	for name, bad := range map[string][]byte{
		"before the start":  {opSame, 1, 'k', 1, 1},
		"longer than it is": append(appendSet(nil, []byte("k"), []byte("v")), opSame, 1, 'k', 1, 2),
		"cut":               {opSame, 1, 'k', 0},
		"of another kind":   {3, 1, 'k'},
		"without a key":     {opDelete, 0},
	} {
		if err := eachOp(bad, func(op) {}); !errors.Is(err, errBadOps) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// gated is a file that is not durable before somebody lets it.
type gated struct {
	file
	syncing, let chan struct{}
}

func (g *gated) Sync() error {
	g.syncing <- struct{}{}
	<-g.let
	return g.file.Sync()
}

// The archives of both sides get the same data, which are written once and found for both after a crash.
func TestDataOfBothSidesAreInTheJournalOnce(t *testing.T) {
	dir, crashed := t.TempDir(), filepath.Join(t.TempDir(), "crashed")
	syncing, let := make(chan struct{}), make(chan struct{})
	e, err := OpenWith(dir, Options{files: creating{f: func(path string) (file, error) {
		f, err := osFiles{}.create(path)
		return &gated{f, syncing, let}, err
	}}})
	if err != nil {
		t.Fatal(err)
	}
	log := e.Log("archive")
	add := func(owner, peer string, data []byte) *storage.Pending {
		_, _, p, err := log.Append(t.Context(), owner, storage.Record{Peer: peer, Data: data}, storage.AppendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	data := bytes.Repeat([]byte("But, soft! "), 30)
	add("nurse", "", []byte("x"))
	<-syncing // what follows is one group
	add("romeo", "juliet", data)
	p := add("juliet", "romeo", bytes.Clone(data))
	add("mercutio", "", data[:20])
	let <- struct{}{}
	<-syncing
	let <- struct{}{}
	if err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	journals, err := filepath.Glob(filepath.Join(crashed, filePrefix+"*"))
	if err != nil || len(journals) != 1 {
		t.Fatalf("%q, %v", journals, err)
	}
	if b, err := os.ReadFile(journals[0]); err != nil || bytes.Count(b, data) != 1 {
		t.Errorf("the journal has the data %d times, %v", bytes.Count(b, data), err)
	}
	go func() {
		for range syncing {
			let <- struct{}{}
		}
	}()
	check := func(e storage.Engine) {
		t.Helper()
		for owner, want := range map[string][]byte{"nurse": []byte("x"), "romeo": data, "juliet": data, "mercutio": data[:20]} {
			page, _, err := e.Log("archive").Page(t.Context(), owner, storage.Query{})
			if err != nil || len(page) != 1 || !bytes.Equal(page[0].Data, want) {
				t.Errorf("%s: %v, %v", owner, page, err)
			}
		}
	}
	check(e)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	close(syncing)
	if e, err = Open(crashed); err != nil {
		t.Fatal(err)
	}
	check(e)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}
