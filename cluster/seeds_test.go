//go:build !race

package cluster

// usualSeeds are for those who change something else; make check has 2,000, make soak 200,000.
const usualSeeds = 300
