package storage

import (
	"context"
	"errors"
	"slices"
	"testing"
)

func TestThenRunsInOrderEvenWhileFinishRuns(t *testing.T) {
	p := NewPending()
	var got []int
	inside, goOn := make(chan struct{}), make(chan struct{})
	p.Then(func(error) { close(inside); <-goOn; got = append(got, 1) })
	done := make(chan struct{})
	go func() { p.Finish(nil); close(done) }()
	<-inside
	p.Then(func(error) { got = append(got, 2) })
	close(goOn)
	<-done
	p.Then(func(error) { got = append(got, 3) })
	if !slices.Equal(got, []int{1, 2, 3}) {
		t.Errorf("functions ran in the order %v", got)
	}
}

func TestPendingTellsEveryoneTheSameOutcome(t *testing.T) {
	p, lost := NewPending(), errors.New("lost")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait with an ended context: %v", err)
	}
	if done, _ := p.Finished(); done {
		t.Error("finished before Finish")
	}
	waited := make(chan error)
	go func() { waited <- p.Wait(context.Background()) }()
	p.Finish(lost)
	if err := <-waited; err != lost {
		t.Errorf("Wait: %v", err)
	}
	if done, err := p.Finished(); !done || err != lost {
		t.Errorf("Finished: %v, %v", done, err)
	}
	p.Then(func(err error) {
		if err != lost {
			t.Errorf("Then: %v", err)
		}
	})
}

func TestNilPendingIsDurable(t *testing.T) {
	var p *Pending
	if done, err := p.Finished(); !done || err != nil {
		t.Errorf("Finished: %v, %v", done, err)
	}
	ran := false
	p.Then(func(err error) { ran = err == nil })
	if err := p.Wait(context.Background()); err != nil || !ran {
		t.Errorf("Wait: %v, Then ran: %v", err, ran)
	}
}

func TestJoinedWritesAreDurableWhenAllAre(t *testing.T) {
	if Join() != nil || Join(nil, nil) != nil {
		t.Error("nothing to wait for is waited for")
	}
	a, b := NewPending(), NewPending()
	if Join(nil, a) != a {
		t.Error("one write is not itself")
	}
	both := Join(a, b)
	b.Finish(nil)
	if done, _ := both.Finished(); done {
		t.Error("durable before the first is")
	}
	a.Finish(nil)
	if done, err := both.Finished(); !done || err != nil {
		t.Errorf("not durable: %v", err)
	}
	c, d := NewPending(), NewPending()
	both = Join(c, d)
	c.Finish(errors.New("disk"))
	if done, err := both.Finished(); !done || err == nil {
		t.Error("durable though one is not")
	}
	d.Finish(nil)
	writes := []*Pending{NewPending(), NewPending()}
	kept := Join(writes...)
	writes[0].Finish(nil)
	second := writes[1]
	clear(writes) // whoever called may use it again
	second.Finish(nil)
	if done, err := kept.Finished(); !done || err != nil {
		t.Errorf("not durable: %v", err)
	}
}
