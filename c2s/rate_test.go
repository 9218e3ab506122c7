package c2s

import (
	"testing"
	"time"

	"jackdaw/wire"
)

func TestAllStreamsOfAnAccountShareItsRate(t *testing.T) {
	h := open(t, func(o *Options) {
		withoutTLS(o)
		o.Limits.StreamRate, o.Limits.StreamBurst = 100_000, 1000
	})
	defer h.close()
	const n = 1000
	var bytes int
	began := time.Now()
	for _, resource := range []string{"balcony", "garden"} {
		a, b := tcpPair(t)
		h.accept(distant{a}, STARTTLS)
		c := &client{t: t, conn: b, c: b}
		defer c.close()
		c.header()
		c.login("juliet").bind(resource)
		xml, _ := numbered(0, n)
		bytes += len(xml)
		go func() { _, _ = b.Write([]byte(xml)) }() // the test sees what comes
	}
	eventually(t, "all is routed", func() bool { return len(h.list(&h.routed)) == 2*n })
	// A stream brings what one read takes before it is held back.
	if took, least := time.Since(began), time.Duration(bytes-3*wire.BufSize)*time.Second/100_000; took < least {
		t.Errorf("%d bytes took %v, less than %v", bytes, took, least)
	}
}
