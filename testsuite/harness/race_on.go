//go:build race

package harness

// raceFlag builds the server with the race detector when the tests are.
var raceFlag = []string{"-race"}
