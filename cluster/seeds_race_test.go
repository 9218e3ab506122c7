//go:build race

package cluster

// usualSeeds are few here: one goroutine has each history, and the race detector takes ten times as long.
const usualSeeds = 50
