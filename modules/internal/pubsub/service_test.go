package pubsub

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/modules/internal/rsm"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// alone is a profile in which everybody owns their own and knows nobody.
type alone struct{}

func (alone) Owns(service, entity jid.JID) bool                { return service == entity }
func (alone) Creates(service, entity jid.JID) bool             { return service == entity }
func (alone) Sees(_, _ jid.JID) (bool, error)                  { return false, nil }
func (alone) Groups(_, _ jid.JID) ([]string, error)            { return nil, nil }
func (alone) Blocks(_, _ jid.JID) bool                         { return false }
func (alone) Default(string) Config                            { return Config{Persist: true, Payloads: true} }
func (alone) Implicit(jid.JID, string, func(jid.JID))          {}
func (alone) Resources(_, _ jid.JID, _ string) (all []jid.JID) { return nil }

func engine() *Engine {
	store := moduletest.NewStore()
	return New(Options{Router: moduletest.New(), Nodes: store.Map("nodes"), Items: store.Map("items"), Profile: alone{},
		Limits: func() Limits { return Limits{Nodes: 100, Items: 100, ItemBytes: 100} }, Log: moduletest.Discard()})
}

func TestServicesUsedLongAgoAreLetGo(t *testing.T) {
	g := engine()
	loads := &loads{Map: g.o.Nodes, of: map[string]int{}}
	g.o.Nodes = loads
	first := jid.MustParse("first@example.org")
	if _, err := g.Publish(nil, first, "n", alone{}.Default(""), Item{ID: "1", Payload: []byte("<t xmlns='urn:t'/>")}); err != nil {
		t.Fatal(err)
	}
	const many = 64*idleCost + 20000 // more than there is room for in the 64 parts of the cache
	for i := range many {
		if _, _, _, err := g.Visible(jid.MustParse(fmt.Sprintf("u%d@example.org", i)), first, rsm.All()); err != nil {
			t.Fatal(err)
		}
	}
	if it, _, err := g.Item(first, "n", ""); err != nil || it == nil || it.ID != "1" {
		t.Errorf("its item is %v, %v", it, err)
	}
	if n := loads.of[first.String()]; n != 2 {
		t.Errorf("the one used first was loaded %d times", n)
	}
	last := fmt.Sprintf("u%d@example.org", many-1)
	if _, _, _, err := g.Visible(jid.MustParse(last), first, rsm.All()); err != nil || loads.of[last] != 1 {
		t.Errorf("the one used last was loaded %d times, %v", loads.of[last], err)
	}
}

func TestLargeServiceIsKeptWhileItIsTheLastUsed(t *testing.T) {
	g := engine()
	loads := &loads{Map: g.o.Nodes, of: map[string]int{}}
	g.o.Nodes = loads
	big := jid.MustParse("big@example.org")
	for i := range 25 {
		var items []Item
		for k := range 100 {
			items = append(items, Item{ID: fmt.Sprint(k)})
		}
		if _, err := g.Publish(nil, big, fmt.Sprint(i), Config{Persist: true}, items...); err != nil {
			t.Fatal(err)
		}
	}
	if n := loads.of[big.String()]; n != 1 {
		t.Errorf("it was loaded %d times", n)
	}
}

// loads counts how often the nodes of a service are read.
type loads struct {
	storage.Map
	of map[string]int
}

func (l *loads) List(ctx context.Context, owner string) ([]storage.Entry, uint64, error) {
	l.of[owner]++
	return l.Map.List(ctx, owner)
}

func TestRecordsAreReadAsTheyWereWritten(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringMatching(`[a-zé]{0,9}`)
		c := Config{Title: text.Draw(rt, "title"), Description: text.Draw(rt, "description"), Type: text.Draw(rt, "type"),
			Access: Access(rapid.IntRange(0, 4).Draw(rt, "access")), Publishers: Publishers(rapid.IntRange(0, 2).Draw(rt, "publishers")),
			Last: Last(rapid.IntRange(0, 2).Draw(rt, "last")), MaxItems: rapid.IntRange(0, 1000).Draw(rt, "max"),
			Full: Full(rapid.IntRange(0, 2).Draw(rt, "full")), Expire: rapid.Int64Range(0, maxExpire).Draw(rt, "expire")}
		for i, f := range c.flags() {
			*f = rapid.Bool().Draw(rt, fmt.Sprint("flag", i))
		}
		for range rapid.IntRange(0, 3).Draw(rt, "groups") {
			c.Groups = append(c.Groups, text.Draw(rt, "group"))
		}
		b := nodeRecord(c, 17, jid.JID{})
		got, created, _, err := readNode(b)
		if err != nil || created != 17 || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", c) {
			rt.Fatalf("%+v became %+v, %v", c, got, err)
		}
		if cut := rapid.IntRange(0, len(b)-1).Draw(rt, "cut"); cut > 0 {
			if _, _, _, err := readNode(b[:cut]); err == nil {
				rt.Fatalf("%d bytes of %d are a record", cut, len(b))
			}
		}
		it := Item{ID: "1", At: rapid.Int64Min(0).Draw(rt, "at"), By: text.Draw(rt, "by"), Payload: []byte(text.Draw(rt, "payload"))}
		back, err := readItem("1", itemRecord(it))
		if err != nil || back.At != it.At || back.By != it.By || !bytes.Equal(back.Payload, it.Payload) {
			rt.Fatalf("%+v became %+v, %v", it, back, err)
		}
	})
}

func TestNodesOfBeforeTheyCouldExpireAreRead(t *testing.T) {
	c := Config{Title: "N", Access: Roster, Groups: []string{"Friends"}, MaxItems: 3, Persist: true}
	b := nodeRecord(c, 17, jid.JID{})
	b = append([]byte{recordVersion}, b[1:len(b)-2]...) // without what the old kind did not say
	got, created, _, err := readNode(b)
	if err != nil || created != 17 || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", c) {
		t.Errorf("%+v became %+v, %v", c, got, err)
	}
}

func FuzzRecordsOfOthersDoNoHarm(f *testing.F) {
	f.Add(nodeRecord(alone{}.Default(""), 1, jid.JID{}))
	f.Add(nodeRecord(alone{}.Default(""), 1, jid.MustParse("a@b")))
	f.Add(itemRecord(Item{At: 1, By: "a", Payload: []byte("<t/>")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, created, maker, err := readNode(b); err == nil {
			again, _, _, err := readNode(nodeRecord(c, created, maker))
			if err != nil || fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", c) {
				t.Errorf("%+v became %+v, %v", c, again, err)
			}
		}
		if it, err := readItem("1", b); err == nil && !bytes.HasSuffix(b, it.Payload) {
			t.Errorf("the payload %q is not in the record", it.Payload)
		}
	})
}
