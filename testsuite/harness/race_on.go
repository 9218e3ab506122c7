//go:build race

package harness

const raceTest = true // the test process has the race detector
