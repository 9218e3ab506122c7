//go:build !race

package cluster

const usualSeeds = 2000
