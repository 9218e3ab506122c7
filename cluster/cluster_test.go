package cluster

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// The slots of owners are agreed on by nodes of all versions: these numbers never change.
func TestSlotsAreThoseOfEveryVersion(t *testing.T) {
	for owner, want := range map[string]int{
		"": 959, "romeo@example.org": 952, "juliet@example.org": 317, "example.org": 820, "example.org>example.com": 598, "example.com": 598,
		"bücher@münchen.example": 809,
	} {
		if got := SlotOf(owner); got != want {
			t.Errorf("%q has the slot %d, not %d", owner, got, want)
		}
	}
}

func TestWhatFollowsABareAddressHasItsSlot(t *testing.T) {
	for _, owner := range []string{"romeo@example.org node", "romeo@example.org\x00x", "romeo@example.org/orchard",
		"romeo@example.org\tjuliet@example.org", "romeo@example.org>x"} {
		if SlotOf(owner) != SlotOf("romeo@example.org") {
			t.Errorf("%q is elsewhere", owner)
		}
	}
	if SlotOf("example.org>example.com") != SlotOf("rooms.example.org>example.com") {
		t.Error("what waits for a peer is in several places")
	}
	if SlotOf("waiting a@example.org") == SlotOf("waiting b@example.org") {
		t.Error("where the beginning is no address, all of it counts")
	}
}

func TestAccountsRoomsAndPairsAreHomed(t *testing.T) {
	for owner, want := range map[string]bool{
		"romeo@example.org": true, "hall@rooms.example.org": true, "romeo@example.org urn:xmpp:x": true,
		"example.org>example.com": true, "romeo@example.org>x": true,
		"": false, "bots": false, "example.org": false, "waiting example.org": false, "waiting romeo@example.org": false,
		">example.org": false, "@example.org": false,
	} {
		if Homed(owner) != want {
			t.Errorf("%q homed: %v", owner, !want)
		}
	}
}

// slotOf and homed are what SlotOf and Homed were written as first: what they have to agree with, byte for byte.
func slotOf(owner string) int {
	if b := bare(owner); strings.IndexByte(b, '@') > 0 {
		owner = b
	} else if _, remote, pair := strings.Cut(owner, ">"); pair {
		owner = remote
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(owner)) // never fails
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return int(x >> 54)
}

func homed(owner string) bool {
	return strings.IndexByte(bare(owner), '@') > 0 || strings.IndexByte(owner, '>') > 0
}

func bare(owner string) string {
	end := strings.IndexFunc(owner, func(r rune) bool {
		return r <= ' ' || r == 0x7f || strings.ContainsRune(`"&'/<>`, r)
	})
	if end < 0 {
		return owner
	}
	return owner[:end]
}

func FuzzSlotsStayWhatTheyWere(f *testing.F) {
	for _, owner := range []string{"", "@", "@a@b", "a@b c@d", "a>b", ">a", "a b@c", "ü@\xff\x7f@", "a@b>c", "a/b@c", "\u2028@x"} {
		f.Add(owner)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		owner := make([]byte, random.IntN(12))
		for i := range owner {
			owner[i] = "a@> \x00\x7f/\xc3\xbc\"."[random.IntN(11)]
		}
		f.Add(string(owner))
	}
	f.Fuzz(func(t *testing.T, owner string) {
		if got, want := SlotOf(owner), slotOf(owner); got != want {
			t.Errorf("%q has the slot %d, not %d", owner, got, want)
		}
		if got, want := Homed(owner), homed(owner); got != want {
			t.Errorf("%q homed: %v", owner, got)
		}
	})
}

func BenchmarkSlotOf(b *testing.B) {
	for b.Loop() {
		SlotOf("romeo.montague@verona.example.org urn:xmpp:mam:2")
	}
}

func TestOwnersSpreadOverTheSlots(t *testing.T) {
	var count [Slots]int
	const each = 64
	for i := range Slots * each {
		count[SlotOf(fmt.Sprintf("user%d@example.org", i))]++
	}
	// Of a Poisson distribution with this mean, one in a million is beyond five times its deviation.
	if low, high := slices.Min(count[:]), slices.Max(count[:]); low < each-5*8 || high > each+6*8 {
		t.Errorf("a slot has %d to %d owners, %d in the mean", low, high, each)
	}
}

// spread puts slots on nodes, some of which are not there.
func spread(r *rand.Rand, ids []string) *[Slots]Place {
	places := &[Slots]Place{}
	for s := range places {
		if i := r.IntN(len(ids) + 2); i < len(ids) {
			places[s] = Place{Node: ids[i], Fence: 1}
		} else if i == len(ids) {
			places[s] = Place{Node: "gone", Fence: 1}
		}
	}
	return places
}

func TestSharesAreEvenAndMoveAsFewAsPossible(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var ids []string
		for i := range 1 + r.IntN(7) {
			ids = append(ids, fmt.Sprint("n", i))
		}
		places := spread(r, ids[:1+r.IntN(len(ids))])
		target := shares(places, ids)
		has, gets, stay := map[string]int{}, map[string]int{}, 0
		for s, p := range places {
			has[p.Node]++
			gets[target[s]]++
			if p.Node == target[s] {
				stay++
			}
		}
		least, best := Slots/len(ids), 0
		var spare []int
		for _, id := range ids {
			if gets[id] < least || gets[id] > least+1 {
				t.Fatalf("%s gets %d of %d for %d nodes", id, gets[id], Slots, len(ids))
			}
			best += min(has[id], least)
			spare = append(spare, min(max(has[id]-least, 0), 1))
		}
		slices.Sort(spare)
		for _, one := range spare[len(spare)-Slots%len(ids):] {
			best += one
		}
		if stay != best {
			t.Fatalf("%d slots stay, and %d could: %v of %v", stay, best, gets, has)
		}
		for s := range places {
			places[s].Node = target[s]
		}
		if *shares(places, ids) != *target {
			t.Fatal("what is even is moved again")
		}
	}
	if target := shares(&[Slots]Place{}, nil); *target != [Slots]string{} {
		t.Error("without nodes there are shares")
	}
}

func TestWhoeverIsInMostSilentPairsLeaves(t *testing.T) {
	start := time.Unix(1e9, 0)
	seat := func(id string, age int, silent ...string) Seat {
		m := Member{ID: id, Run: id, Started: start.Add(time.Duration(-age) * time.Second)}
		return Seat{Member: m, Silent: silent, Since: time.Minute}
	}
	fresh := seat("c", 1, "a")
	fresh.Since = time.Second
	out := seat("b", 1, "a")
	out.Expelled = "a"
	for name, test := range map[string]struct {
		want  string
		seats []Seat
	}{
		"nobody is silent":             {"", []Seat{seat("a", 2), seat("b", 1)}},
		"of two the younger":           {"b", []Seat{seat("a", 2, "b"), seat("b", 1, "a")}},
		"of two, though one does hear": {"b", []Seat{seat("a", 2, "b"), seat("b", 1)}},
		"of the same age by id":        {"b", []Seat{seat("a", 1, "b"), seat("b", 1, "a")}},
		"of three the one cut off":     {"a", []Seat{seat("a", 9, "b", "c"), seat("b", 2, "a"), seat("c", 1, "a")}},
		"though only it tells":         {"a", []Seat{seat("a", 9, "b", "c"), seat("b", 2), seat("c", 1)}},
		"what is not settled waits":    {"", []Seat{seat("a", 2), seat("b", 3), fresh}},
		"one that leaves already":      {"", []Seat{seat("a", 2, "b"), out}},
		"an earlier run of it":         {"", []Seat{seat("a", 2, "b.earlier"), seat("b", 1)}},
		"one that is gone":             {"", []Seat{seat("a", 2, "x")}},
	} {
		if got := leaver(test.seats, 4*time.Second); got != test.want {
			t.Errorf("%s: %q leaves", name, got)
		}
	}
}
