//go:build !ackearly

package redis

// ackEarly is true only in negative controls.
const ackEarly = false
