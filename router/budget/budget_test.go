package budget

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAllWhoUseABudgetShareIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(func() Rate { return Rate{PerSecond: 100, Burst: 1000} })
		one, two, other := b.Open("juliet"), b.Open("juliet"), b.Open("romeo")
		if one.Take(800) != 0 || two.Take(700) != 0 {
			t.Error("nothing may be taken though there is something")
		}
		if d := one.Take(1); d != 5*time.Second {
			t.Errorf("the debt lasts %v", d)
		}
		if d := other.Wait(); d != 0 {
			t.Errorf("another waits %v", d)
		}
		time.Sleep(5 * time.Second)
		if d := two.Take(10); d != 0 {
			t.Errorf("after it %v", d)
		}
		two.Spend(-10)
		time.Sleep(time.Hour)
		one.Spend(1000)
		if d := one.Wait(); d != 0 {
			t.Errorf("the burst is less than said: %v", d)
		}
		one.Spend(1)
		if d := two.Wait(); d != 10*time.Millisecond {
			t.Errorf("the burst is not what it is said to be: %v", d)
		}
	})
}

func TestABookRemembersDebtsAndForgetsWhoIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(func() Rate { return Rate{PerSecond: 10, Burst: 1000} })
		x := b.Open("juliet")
		x.Spend(1500)
		x.Close()
		for range 1000 {
			b.Open("romeo").Close()
		}
		if d := b.Open("juliet").Wait(); d != 50*time.Second {
			t.Errorf("who comes back has a debt for %v", d)
		}
		b.Open("nurse").Spend(1)
		time.Sleep(10 * time.Minute)
		b.Open("tybalt").Close()
		if len(b.of) != 3 { // juliet and nurse are in use
			t.Errorf("%d are remembered", len(b.of))
		}
		var none *Book
		if y := none.Open("juliet"); y.Take(1<<40) != 0 || y.Wait() != 0 {
			t.Error("no book, and yet a limit")
		}
	})
}
