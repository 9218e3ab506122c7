//go:build !ackearly

package embedded

// ackEarly is true only in the negative control of the kill test.
const ackEarly = false
