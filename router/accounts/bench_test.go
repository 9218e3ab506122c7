package accounts

import (
	"fmt"
	"net/netip"
	"testing"

	"jackdaw/xmpp/jid"
)

// What one post over HTTP asks: the throttle, the password and the rights.
func BenchmarkAuthenticateRemembered(b *testing.B) {
	s, _ := service(b, Options{})
	must(b, s.Create(b.Context(), juliet, "wherefore art thou"))
	from := Source{Addr: netip.MustParseAddr("127.0.0.1"), Exempt: true}
	must(b, s.Authenticate(b.Context(), from, juliet, "wherefore art thou"))
	b.ReportAllocs()
	for b.Loop() {
		if s.Authenticate(b.Context(), from, juliet, "wherefore art thou") != nil || !s.Permitted(b.Context(), juliet, PermHTTPMessage) {
			b.Fatal("refused")
		}
	}
}

func BenchmarkVerifyRemembered(b *testing.B) {
	s, _ := service(b, Options{})
	ctx := b.Context()
	must(b, s.Create(ctx, juliet, "wherefore art thou"))
	must(b, s.Verify(ctx, juliet, "wherefore art thou"))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if s.Verify(ctx, juliet, "wherefore art thou") != nil {
				b.Error("refused")
			}
		}
	})
}

func BenchmarkVerifyDerived(b *testing.B) {
	s, _ := service(b, Options{Iterations: DefaultIterations})
	must(b, s.Create(b.Context(), juliet, "wherefore"))
	for b.Loop() {
		if s.Verify(b.Context(), juliet, "wrong") != ErrNotAuthorized {
			b.Fatal("accepted")
		}
	}
}

func BenchmarkThrottleWaitWhileOthersFail(b *testing.B) {
	s, _ := service(b, Options{})
	for i := range 10000 {
		s.Throttle().Failed(Source{Addr: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}, "a")
	}
	from := Source{Addr: netip.MustParseAddr("192.0.2.1")}
	b.ReportAllocs()
	for b.Loop() {
		if s.Throttle().Wait(from, "juliet@capulet.example") != 0 {
			b.Fatal("waits")
		}
	}
}

// One account of a batch at 4,096 iterations.
func BenchmarkCreateBatch(b *testing.B) {
	s, _ := service(b, Options{})
	list := make([]NewAccount, b.N)
	for i := range list {
		list[i] = NewAccount{jid.MustParse(fmt.Sprintf("u%d@a.example", i)), "password"}
	}
	b.ResetTimer()
	must(b, s.CreateBatch(b.Context(), list, nil))
}

func TestRememberedPasswordCostsNoAllocation(t *testing.T) {
	s, _ := service(t, Options{})
	must(t, s.Create(t.Context(), juliet, "wherefore"))
	ctx := t.Context()
	must(t, s.Verify(ctx, juliet, "wherefore"))
	var failed error
	n := testing.AllocsPerRun(1000, func() {
		if err := s.Verify(ctx, juliet, "wherefore"); err != nil {
			failed = err
		}
		if !s.Permitted(ctx, juliet, PermHTTPMessage) {
			failed = ErrPermission
		}
	})
	must(t, failed)
	if n > 3 { // 0, but the race detector loses a part of what is pooled
		t.Errorf("%v allocations", n)
	}
}
