package share

import (
	"fmt"
	"testing"
)

func TestOneWhoFillsATableTakesNothingFromOthers(t *testing.T) {
	table := New[string, int](100)
	for i := range 5 {
		table.Put("friend", fmt.Sprint("f", i), i, 1)
	}
	for i := range 1000 {
		for _, gone := range table.Put("evil", fmt.Sprint("e", i), i, 1) {
			if gone[0] != 'e' {
				t.Fatalf("%s had to go", gone)
			}
		}
	}
	if n := table.Len(); n != 5+23 { // 3*23 <= 100-28
		t.Errorf("%d entries", n)
	}
	if v, ok := table.Get("e999"); !ok || v != 999 {
		t.Errorf("the last: %d, %v", v, ok)
	}
	if _, ok := table.Get("e976"); ok {
		t.Error("one of the first is still there")
	}
}

func TestWhoComesWhenEverythingIsTakenGetsAPlaceOfWhoHasMost(t *testing.T) {
	table := New[string, int](100)
	for i := range 200 {
		table.Put("", fmt.Sprint(i), i, 1)
	}
	if n := table.Len(); n != 100 {
		t.Fatalf("%d entries of nobody", n)
	}
	for who := range 300 {
		for i := range 10 {
			key := fmt.Sprintf("%d/%d", who, i)
			table.Put(fmt.Sprint("who", who), key, i, 1)
			if v, ok := table.Get(key); !ok || v != i {
				t.Fatalf("%s is not there", key)
			}
		}
	}
	if table.Len() > 100 || table.Weight() != int64(table.Len()) {
		t.Errorf("%d entries of weight %d", table.Len(), table.Weight())
	}
}

func TestTableIsBoundedByWeight(t *testing.T) {
	table := New[int, int](1000)
	table.Put("a", 1, 1, 1001)
	if table.Len() != 0 {
		t.Error("what is heavier than the table is kept")
	}
	for i := range 100 {
		table.Put(fmt.Sprint("who", i%3), i%7, i, int64(i*7%240))
		if table.Weight() > 1000 {
			t.Fatalf("weight %d", table.Weight())
		}
	}
	for i := range 7 {
		table.Delete(i)
	}
	if table.Len() != 0 || table.Weight() != 0 || len(table.sharers) != 0 {
		t.Errorf("%d entries of weight %d are left", table.Len(), table.Weight())
	}
}
