//go:build !race

package harness

const raceTest = false
