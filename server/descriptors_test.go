package server

import "testing"

func TestSomeDescriptorsAreKeptFromConnections(t *testing.T) {
	for _, c := range []struct{ limit, open, want int }{
		{128, 20, 76}, {400, 20, 330}, {1024, 30, 866}, {1 << 20, 30, 1<<20 - 30 - 1024},
		{40, 30, 8}, // too few for anything; still somebody gets in
	} {
		if got := connectionRoom(c.limit, c.open); got != c.want {
			t.Errorf("with %d descriptors and %d open there is room for %d connections, want %d", c.limit, c.open, got, c.want)
		}
	}
}
