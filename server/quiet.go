package server

import (
	"context"
	"runtime/debug"
	gauge "runtime/metrics"
	"time"
)

// A quiet server gives memory back. A burst of logins leaves garbage and free memory behind, as much again as the
// sessions need; the runtime collects it when something is allocated and returns it to the system over minutes, which
// is for ever if nothing happens.
const (
	quietEvery = time.Second
	quietAlloc = 256 << 10 // bytes allocated in that time: beyond, it is not quiet
	quietGain  = 4 << 20   // bytes that are worth a collection
)

// giveBack collects and returns memory once after each busy time, until ctx ends.
func giveBack(ctx context.Context) {
	samples := []gauge.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}}
	read := func() (allocated, free, objects uint64) {
		gauge.Read(samples)
		return samples[0].Value.Uint64(), samples[1].Value.Uint64(), samples[2].Value.Uint64()
	}
	tick := time.NewTicker(quietEvery)
	defer tick.Stop()
	before, _, clean := read()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		allocated, free, objects := read()
		quiet := allocated-before < quietAlloc
		before = allocated
		// Objects beyond those of the last collection may be garbage; a few seconds of chat are not worth one.
		if quiet && (free > quietGain || objects > clean+quietGain) {
			debug.FreeOSMemory()
			before, _, clean = read()
		}
	}
}
